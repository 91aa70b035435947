"""Random numbers of a minibatch that several processes share: each draws all of them and keeps its part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

SIZED: tuple[Callable[..., Any], ...] = (torch.rand, torch.randn, torch.randint)


class ShardedRNG(TorchFunctionMode):
    """While open, draws from `rng` are those of one process that has the whole minibatch, cut to this one's part.

    So latents and noise are the same however many processes there are, and `rng` is in the same state in all of
    them. That is exact for `torch.rand`, `randn` and `randint`; whatever else draws is called once for each
    process. A scalar, or a single row where a process has more images than one, is the same in all processes.

    Args:
        rng: the run's; draws from others are left alone.
        rows: images of the minibatch that this process has.
        rank: of this process.
        count: of processes.
    """

    def __init__(self, rng: torch.Generator, rows: int, rank: int, count: int) -> None:
        super().__init__()
        self._rng = rng
        self._rows = rows
        self._rank = rank
        self._count = count

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """What torch calls in the place of each of its functions."""
        options = dict(kwargs or {})
        if options.get("generator") is not self._rng:
            return func(*args, **options)
        if func not in SIZED or "out" in options:
            return self._in_turn(func, args, options)
        bounds, size = _split(func, args, options)
        if not self._has_row_for_each_image(size):
            return func(*bounds, size, **options)
        rows = size[0]
        return func(*bounds, (rows * self._count, *size[1:]), **options).narrow(0, self._rank * rows, rows)

    def _in_turn(self, func: Callable[..., Any], args: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """What this process draws where each draws after the other."""
        draws = [func(*args, **options).clone() for _ in range(self._count)]
        own = draws[self._rank if self._has_row_for_each_image(draws[0].shape) else 0]
        target = args[0] if func.__name__.endswith("_") else options.get("out")
        return own if target is None else target.copy_(own)

    def _has_row_for_each_image(self, size: Sequence[int]) -> bool:
        return len(size) > 0 and (size[0] > 1 or size[0] == self._rows)


def _split(
    func: Callable[..., Any], args: Sequence[Any], options: dict[str, Any]
) -> tuple[Sequence[Any], Sequence[int]]:
    """The arguments before the size, and the size, which leaves `options` where it is there."""
    if "size" in options:
        return args, tuple(options.pop("size"))
    if func is torch.randint or (args and not isinstance(args[0], int)):
        return args[:-1], tuple(args[-1])
    return (), tuple(args)
