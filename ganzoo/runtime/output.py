"""Standard streams that are switched off where they fail."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO


class SurvivingStream:
    """A text stream that is switched off once it cannot be written to: its reader, or the room on its disk, has gone.

    Attributes:
        error: why it is off; None while it is on.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """Write text, or drop it where the stream is off."""
        self._try(self._stream.write, text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        self.write("".join(lines))

    def flush(self) -> None:
        """Flush the stream unless it is off."""
        self._try(self._stream.flush)

    def _try(self, action: Callable[..., object], *arguments: str) -> None:
        if self.error is None:
            try:
                action(*arguments)
            except OSError as error:
                self.error = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def surviving_output(*names: str) -> Iterator[None]:
    """Switch off `sys.stdout` and `sys.stderr`, or those of `names`, where they fail, rather than raise an error."""
    before = {name: getattr(sys, name) for name in names or ("stdout", "stderr")}
    for name, stream in before.items():
        if stream is not None and not isinstance(stream, SurvivingStream):
            setattr(sys, name, SurvivingStream(stream))
    try:
        yield
    finally:
        for name, stream in before.items():
            setattr(sys, name, stream)


def output_error() -> OSError | None:
    """Return why one of the standard streams is off."""
    return next(filter(None, (getattr(stream, "error", None) for stream in (sys.stderr, sys.stdout))), None)
