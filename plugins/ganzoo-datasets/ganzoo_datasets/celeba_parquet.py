"""CelebA's parquet copy on the Hugging Face Hub, written into the archive and the lists that its authors publish."""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

from ganzoo.plugin import DataError, count_progress, first_line, open_file

REPOSITORY = "flwrlabs/celeba"
"""Holds the images in the authors' three splits, with the 40 attributes."""
EXTRA = 'pip install "./plugins/ganzoo-datasets[huggingface]"'
ROWS = 256
"""Images in memory at once."""

_SPLITS = ("train", "valid", "test")
_FILE = re.compile(r"(train|valid|test)(?:ation)?-(\d+)-of-(\d+).*\.parquet")
_NAME = re.compile(r"\d{6}\.(jpg|png)")


def parquet_files(folder: Path) -> list[Path]:
    """Return the parquet files anywhere in a folder, by split and number.

    Raises:
        DataError: some of them are missing.
    """
    found = [(match, path) for path in folder.rglob("*.parquet") if (match := _FILE.fullmatch(path.name))]
    here = Counter(match[1] for match, _ in found)
    for split in _SPLITS if found else ():
        wanted = next((int(match[3]) for match, _ in found if match[1] == split), 1)
        if here[split] != wanted:
            raise DataError(
                f'{folder} holds {here[split]} of {wanted} parquet files of CelebA\'s split "{split}": '
                f"add the others from https://huggingface.co/datasets/{REPOSITORY}"
            )
    return [path for *_, path in sorted((_SPLITS.index(match[1]), int(match[2]), path) for match, path in found)]


def fetch_parquet(folder: Path) -> list[Path]:
    """Download the parquet files to a folder, resumed and checked by `huggingface_hub`, and return them in order.

    Raises:
        DataError: they cannot be downloaded, or the package is not installed.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise DataError(f"huggingface_hub downloads CelebA from the Hugging Face Hub: {EXTRA}") from error
    try:
        snapshot_download(REPOSITORY, repo_type="dataset", allow_patterns="*.parquet", local_dir=folder)
    except Exception as error:  # of many types
        raise DataError(
            f"CelebA cannot be downloaded from the Hugging Face Hub, {REPOSITORY} ({first_line(error)}): try again, "
            f"which goes on with what is in {folder}"
        ) from error
    files = parquet_files(folder)
    if not files:
        raise DataError(f"{REPOSITORY} on the Hugging Face Hub holds no parquet files of CelebA any more")
    return files


def unpack_parquet(files: Sequence[Path], archive: Path, partition: Path, attributes: Path) -> None:
    """Write the images, as they are, into an archive, and their splits and attributes into lists.

    Args:
        files: the parquet files; a column `image` of bytes and paths, boolean columns for the attributes.
        archive: the zip; it gets its name last, when all is written.
        partition: list of the splits.
        attributes: list of the attributes.

    Raises:
        DataError: a file is damaged or has other columns, the disk is full, or pyarrow is not installed.
    """
    splits: list[str] = []
    rows: list[str] = []
    columns: list[str] = []
    unfinished = archive.with_name(f"{archive.name}.unfinished")
    try:
        with zipfile.ZipFile(unfinished, "w") as zipped, count_progress(what="unpacking parquet files") as progress:
            for name, split, row, total in _rows(files):
                zipped.writestr(zipfile.ZipInfo(f"{archive.stem}/{name}"), row["image"]["bytes"])
                columns = [each for each, value in row.items() if isinstance(value, bool)]
                splits.append(f"{name} {split}\n")
                rows.append(" ".join([name, *("1" if row[each] else "-1" for each in columns)]) + "\n")
                progress(len(rows), total)
        partition.write_text("".join(splits))
        if columns:
            attributes.write_text(f"{len(rows)}\n{' '.join(columns)}\n{''.join(rows)}")
        unfinished.replace(archive)
    except OSError as error:
        raise DataError(f"{archive} cannot be written: {error.strerror or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _rows(files: Sequence[Path]) -> Iterator[tuple[str, int, dict[str, Any], int]]:
    """Yield the name of each image, the number of its split, its row and how many there are."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise DataError(f"{files[0].parent}: pyarrow reads CelebA's parquet files: {EXTRA}") from error
    path, total, count = files[0], 0, 0
    try:
        for path in files:
            with open_file(path) as file:
                total += ParquetFile(file).metadata.num_rows
        for path in files:
            split = next(number for number, name in enumerate(_SPLITS) if path.name.startswith(name))
            with open_file(path) as file:
                for row in chain.from_iterable(batch.to_pylist() for batch in ParquetFile(file).iter_batches(ROWS)):
                    count += 1
                    named = PurePosixPath(row["image"]["path"] or "").name
                    suffix = "png" if row["image"]["bytes"].startswith(b"\x89PNG") else "jpg"
                    yield named if _NAME.fullmatch(named) else f"{count:06d}.{suffix}", split, row, total
    except (ArrowException, OSError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is damaged or not one of CelebA's, with bytes and paths in a column image ({first_line(error)}): "
            f"download it again"
        ) from error
