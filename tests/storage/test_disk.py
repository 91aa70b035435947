"""Writing files whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ganzoo.errors import OutputError, RequestError
from ganzoo.storage.disk import check_unused, new_folder, output_errors, write_atomic, write_text


def test_text_is_replaced_as_a_whole(tmp_path: Path):
    path = tmp_path / "a.txt"
    write_text(path, "one")
    write_text(path, "zwölf")
    assert path.read_text(encoding="utf-8") == "zwölf"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_failing_writer_leaves_what_was_there(tmp_path: Path):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail(partial: Path) -> None:
        partial.write_text("half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        write_atomic(path, fail)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Else a power cut could leave an empty file in the place of the old one."""
    flushed: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda _: flushed.append((tmp_path / "a.txt").exists()))
    write_text(tmp_path / "a.txt", "new")
    assert flushed == [False]


def test_nothing_is_made_in_the_place_of_a_link(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    check_unused(tmp_path / "empty")
    with pytest.raises(RequestError, match="link: is there already"):
        check_unused(tmp_path / "link")


def test_a_folder_that_fails_leaves_none_of_those_made_for_it(tmp_path: Path):
    def fill(out: Path) -> None:
        with new_folder(out) as folder:
            (folder / "half").touch()
            raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "there").mkdir()
    with pytest.raises(OutputError, match="the disk is full"):
        fill(tmp_path / "there" / "a" / "b")
    with pytest.raises(RequestError, match="cannot be made: File name too long"):
        fill(tmp_path / "a" / ("b" * 300))
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_partial_file_has_the_suffix_of_the_whole(tmp_path: Path):
    """Writers that go by the suffix, as PIL does, write the right format."""
    seen: list[Path] = []
    write_atomic(tmp_path / "grid.png", lambda partial: (seen.append(partial), partial.write_bytes(b"x")))
    assert seen[0].suffix == ".png"
    assert seen[0].name.startswith(".")


def test_folder_that_is_not_there_is_told(tmp_path: Path):
    with pytest.raises(OutputError, match=r"gone/a\.txt: cannot be written: No such file or directory"):
        write_text(tmp_path / "gone" / "a.txt", "x")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_told_with_the_cure(number: int):
    with pytest.raises(OutputError, match="runs/1: the disk is full: make room there"), output_errors(Path("runs/1")):
        raise OSError(number, os.strerror(number))


def test_full_device(tmp_path: Path):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    path = tmp_path / "metrics"
    with pytest.raises(OutputError, match="the disk is full"), output_errors(path), Path("/dev/full").open("w") as file:
        file.write("x" * 100_000)


def test_link_in_the_place_of_the_half_written_file_is_not_written_through(tmp_path: Path):
    other = tmp_path / "other"
    other.write_text("of somebody else")
    (tmp_path / ".a.partial.txt").symlink_to(other)
    write_text(tmp_path / "a.txt", "mine")
    assert other.read_text() == "of somebody else"
    assert (tmp_path / "a.txt").read_text() == "mine"
    assert not (tmp_path / "a.txt").is_symlink()
