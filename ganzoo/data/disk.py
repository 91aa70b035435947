"""Room on the disk, what a full or broken one says, and making sure that what was written stays."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ganzoo.errors import DataError
from ganzoo.images import ImageSpec

_HEADROOM = 16 * 1024 * 1024


def check_room(folder: Path, name: str, count: int, image: ImageSpec) -> None:
    """Say at once, before anything is decoded, that a pack of so many images does not fit.

    Raises:
        DataError: it does not; the text says how much is wanted.
    """
    need = count * (image.channels * image.height * image.width + 8) + _HEADROOM
    free = shutil.disk_usage(folder).free
    if free < need:
        raise DataError(
            f'the pack of the dataset "{name}" ({count} images of {image}) needs {size(need)} in {folder}, '
            f"and {size(free)} are free there: free some, or set GANZOO_CACHE to a folder on a larger disk"
        )


@contextmanager
def reporting_disk_errors(name: str, packs: Path) -> Iterator[None]:
    """Turn the system's errors while a pack is made into one that names the file and the cure."""
    try:
        yield
    except OSError as error:
        text = error.strerror or str(error)
        if error.filename is not None and not Path(error.filename).is_relative_to(packs):
            raise DataError(f'{error.filename}: {text} (wanted for the dataset "{name}")') from error
        raise DataError(
            f'the pack of the dataset "{name}" cannot be written to {packs}: {text}. '
            f"Set GANZOO_CACHE to keep packs elsewhere"
        ) from error


def size(count: int) -> str:
    """So many bytes, with their unit."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def flush(descriptor: int) -> None:
    """Have what was written to a file put on the disk."""
    os.fsync(descriptor)


def flush_folder(folder: Path) -> None:
    """Make the rename itself last; systems that cannot open a folder do without."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
