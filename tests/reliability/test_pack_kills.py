"""A pack that is being made, killed at every line and at random moments; shared, changed and damaged packs."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ganzoo_datasets import image_folder
from ganzoo_datasets.configs import ImageFolderConfig
from ganzoo_datasets.image_folder import ImageFolder
from killed import killed_at, lines_of
from PIL import Image

from ganzoo.data import decode
from ganzoo.data import packed_dataset as packed
from ganzoo.data.packed_dataset import PackedDataset, pack_dataset

if not hasattr(os, "fork"):
    pytest.skip("processes are killed as POSIX has it", allow_module_level=True)

TRACED = {packed.__file__, decode.__file__, shutil.__file__}
"""Where every line is a moment to be killed at; pixels are decoded in threads, which are not traced."""

KILLS = 12
SEED = 20240229


def save(path: Path, value: int, side: int = 6) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), (value, value, value)).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Five pictures in two classes."""
    for number in range(5):
        save(tmp_path / "pictures" / "ab"[number % 2] / f"{number}.png", 10 * number)
    return tmp_path / "pictures"


def prepare(root: Path, **options: Any) -> PackedDataset:
    config = ImageFolderConfig(root=str(root), image_size=4, labels="folders")
    return pack_dataset(ImageFolder(config), cache=root.parent / "cache", **options)


def grays(found: PackedDataset) -> list[int]:
    return found.images[:, 0, 0, 0].tolist()


def left_overs(root: Path) -> list[Path]:
    return [path for path in (root.parent / "cache" / "packs").iterdir() if path.is_dir() and path.name[0] == "."]


def nothing(root: Path) -> None:
    """There is no pack yet."""


def damaged(root: Path) -> None:
    """There is one, with its end cut off."""
    images = prepare(root).path / "images.npy"
    os.truncate(images, images.stat().st_size - 1)


@pytest.mark.slow
@pytest.mark.parametrize("before", [nothing, damaged])
def test_killed_at_every_line(root: Path, before: Callable[[Path], None]):
    cache = root.parent / "cache"
    before(root)
    seen = lines_of(lambda: prepare(root), TRACED)
    expected = prepare(root)
    images, labels = expected.images.copy(), expected.labels
    # Of lines in a loop the first time; with a damaged pack in the way, each time of those that remove it.
    moments = sorted({place: number for number, place in reversed(list(enumerate(seen)))}.values())
    if before is damaged:
        moments = [number for number, (file, _) in enumerate(seen) if file == shutil.__file__]
    assert len(moments) >= (30 if before is damaged else 100)
    for moment in moments:
        shutil.rmtree(cache)
        before(root)
        assert killed_at(moment, lambda: prepare(root), TRACED) == -signal.SIGKILL
        again = prepare(root)
        assert np.array_equal(again.images, images), seen[moment]
        assert np.array_equal(again.labels, labels), seen[moment]
        assert again.is_intact()
        assert left_overs(root) == []


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path: Path):
    """One prepare after the other, each killed, in the same cache."""
    root, rng = tmp_path / "pictures", random.Random(SEED)
    noise = np.random.default_rng(0)
    for number in range(150):
        pixels = noise.integers(0, 256, (96, 96, 3), dtype=np.uint8)
        path = root / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, compress_level=1)
    began = time.perf_counter()
    expected = prepare(root).images.copy()
    took = time.perf_counter() - began
    shutil.rmtree(tmp_path / "cache")
    whole = 0
    for _ in range(KILLS):
        child = os.fork()
        if not child:
            prepare(root)
            os._exit(0)
        time.sleep(rng.uniform(0, took))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for folder in (tmp_path / "cache").glob("packs/[!.]*/"):
            whole += 1
            assert np.array_equal(np.load(folder / "images.npy"), expected)
            shutil.rmtree(folder)
    assert whole < KILLS
    assert np.array_equal(prepare(root).images, expected)
    assert left_overs(root) == []


def test_what_a_kill_left_of_another_pack_is_cleared_away_unless_it_is_being_made(root: Path):
    prepare(root)
    packed_datasets = root.parent / "cache" / "packs"
    dead, live = packed_datasets / ".other-0123.abc", packed_datasets / ".busy.set-4567.def"
    for folder in (dead, live):
        folder.mkdir()
        (folder / "images.npy").write_bytes(b"half")
    save(root / "a" / "new.png", 99)
    with packed.FileLock(packed_datasets / "busy.set-4567.lock"):
        prepare(root)
    assert not dead.exists()
    assert live.exists()


def test_many_processes_make_it_once(root: Path):
    made = root.parent / "made"
    made.mkdir()

    def work() -> None:
        prepare(root, progress=lambda done, total: (made / str(os.getpid())).touch())

    children = []
    for _ in range(6):
        child = os.fork()
        if not child:
            try:
                work()
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 6
    assert len(list(made.iterdir())) == 1


def test_one_that_waits_goes_on_where_another_was_killed(root: Path):
    ready, release = os.pipe()
    first = os.fork()
    if not first:
        prepare(root, progress=lambda done, total: (os.write(release, b"."), time.sleep(60)))
        os._exit(1)
    os.read(ready, 1)
    second = os.fork()
    if not second:
        try:
            os._exit(0 if len(prepare(root)) == 5 else 2)
        finally:
            os._exit(1)
    time.sleep(0.2)
    assert os.waitpid(second, os.WNOHANG) == (0, 0)
    os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)
    assert os.waitstatus_to_exitcode(os.waitpid(second, 0)[1]) == 0
    os.close(ready)
    os.close(release)


@pytest.fixture
def recipe(tables: dict[str, Any], recipe_file: Callable[[dict[str, Any]], Path], tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    tables["dataset"] = {"name": "synthetic", "image_size": 32, "count": 3000}
    return recipe_file(tables)


@pytest.mark.slow
def test_the_command_killed_and_twice_at_once(
    recipe: Path, forked: Callable[..., subprocess.Popen[str]], tmp_path: Path
):
    killed = forked("data", "prepare", recipe)
    assert killed.stderr is not None
    assert killed.stderr.readline().startswith("reading samples")
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    packed_datasets = tmp_path / "cache" / "packs"
    assert [path.name[0] for path in packed_datasets.iterdir() if path.is_dir()] == ["."]
    two = [forked("data", "prepare", recipe) for _ in range(2)]
    (out, err), (other_out, other_err) = [each.communicate(timeout=120) for each in two]
    assert [each.returncode for each in two] == [0, 0], err + other_err
    assert out == other_out
    assert out.splitlines()[0] == "3000 images 3×32×32, 10 classes, 8.8 MiB"
    assert sorted("reading samples" in text for text in (err, other_err)) == [False, True]
    assert [path for path in packed_datasets.iterdir() if path.is_dir()] == [Path(out.splitlines()[1])]


def rewrite(path: Path, value: int) -> None:
    """Another picture, of the same length, at the same name, later."""
    before = path.stat()
    save(path, value)
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))


def swap(root: Path) -> None:
    (root / "a" / "0.png").rename(root / "a" / "x.png")
    (root / "a" / "2.png").rename(root / "a" / "0.png")
    (root / "a" / "x.png").rename(root / "a" / "2.png")


CHANGES: dict[str, tuple[Callable[[Path], object], list[int]]] = {
    "added": (lambda root: save(root / "b" / "9.png", 90), [0, 20, 40, 10, 30, 90]),
    "removed": (lambda root: (root / "a" / "2.png").unlink(), [0, 40, 10, 30]),
    "replaced": (lambda root: save(root / "a" / "2.png", 77, side=30), [0, 77, 40, 10, 30]),
    "replaced by one as long": (lambda root: rewrite(root / "a" / "2.png", 21), [0, 21, 40, 10, 30]),
    "renamed": (lambda root: (root / "a" / "0.png").rename(root / "a" / "z.png"), [20, 40, 0, 10, 30]),
    "moved to another class": (lambda root: (root / "a" / "0.png").rename(root / "b" / "0.png"), [20, 40, 0, 10, 30]),
    "class renamed": (lambda root: (root / "a").rename(root / "c"), [10, 30, 0, 20, 40]),
    "class removed": (lambda root: shutil.rmtree(root / "b"), [0, 20, 40]),
    "class added": (lambda root: save(root / "c" / "5.png", 50), [0, 20, 40, 10, 30, 50]),
    "link added": (lambda root: (root / "b" / "9.png").symlink_to(root / "a" / "0.png"), [0, 20, 40, 10, 30, 0]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_source_is_noticed(root: Path, change: str):
    do, expected = CHANGES[change]
    first = prepare(root)
    assert grays(first) == [0, 20, 40, 10, 30]
    do(root)
    second = prepare(root)
    assert grays(second) == expected
    assert second.path != first.path


def test_files_that_swap_their_names(root: Path):
    for number in (0, 2):
        os.utime(root / "a" / f"{number}.png", ns=(number, number))
    prepare(root)
    swap(root)
    assert grays(prepare(root)) == [20, 0, 40, 10, 30]


def test_a_folder_that_moves_keeps_its_pack(root: Path):
    first = prepare(root)
    moved = root.parent / "elsewhere"
    root.rename(moved)
    assert prepare(moved).path == first.path


def test_an_image_that_can_be_read_again_is_taken(root: Path, monkeypatch: pytest.MonkeyPatch):
    """Permission given, a disk back: nothing of this shows in a file's size and time."""
    open_ = os.open

    def fails(path: Path, *arguments: Any, **options: Any) -> int:
        if Path(path).name == "2.png":
            raise PermissionError(13, "Permission denied")
        return open_(path, *arguments, **options)

    monkeypatch.setattr(os, "open", fails)
    config = ImageFolderConfig(root=str(root), image_size=4, max_bad_fraction=0.5, labels="folders")
    lenient = pack_dataset(ImageFolder(config), cache=root.parent / "cache")
    assert lenient.skipped == (f"{root}/a/2.png: Permission denied",)
    monkeypatch.undo()
    assert grays(prepare(root)) == [0, 20, 40, 10, 30]


def test_data_prepare_reads_again_what_a_pack_leaves_out(root: Path, monkeypatch: pytest.MonkeyPatch):
    """The fingerprint, which looks into 64 files at most, may not tell that another can be read now."""
    config = ImageFolderConfig(root=str(root), image_size=4, max_bad_fraction=0.5, labels="folders")
    read, cache = image_folder.read_file, root.parent / "cache"

    def fails(path: Path, *arguments: Any) -> bytes:
        if path.name == "3.png":
            raise PermissionError(13, "Permission denied")
        return read(path, *arguments)

    monkeypatch.setattr(image_folder, "read_file", fails)
    assert grays(pack_dataset(ImageFolder(config), cache=cache)) == [0, 20, 40, 10]
    monkeypatch.setattr(image_folder, "read_file", read)
    assert len(pack_dataset(ImageFolder(config), cache=cache)) == 4  # a run takes it as it is
    again = pack_dataset(ImageFolder(config), cache=cache, check=True)
    assert (grays(again), again.skipped) == ([0, 20, 40, 10, 30], ())


def files(found: PackedDataset) -> Iterator[Path]:
    return iter(sorted(found.path.iterdir()))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "removed": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut by a byte": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "cut in half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "zeros": lambda path: path.write_bytes(b"\0" * path.stat().st_size),
    "text": lambda path: path.write_text("hello"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a link to nowhere": lambda path: (path.unlink(), path.symlink_to("nowhere")),
    "code": lambda path: path.write_bytes(b"\x80\x04cposix\nsystem\n(X\x05\0\0\0falsetR."),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["images.npy", "labels.npy", "pack.json"])
def test_a_damaged_file_of_a_pack(root: Path, file: str, damage: str):
    first = prepare(root)
    expected = first.images.copy()
    assert [path.name for path in files(first)] == ["images.npy", "labels.npy", "pack.json"]
    DAMAGES[damage](first.path / file)
    again = prepare(root)
    assert again.path == first.path
    assert np.array_equal(again.images, expected)
    assert again.labels is not None
    assert again.labels.tolist() == [0, 0, 0, 1, 1]
    assert left_overs(root) == []


@pytest.mark.slow
@pytest.mark.parametrize("file", ["images.npy", "labels.npy", "pack.json"])
def test_any_flipped_bit_in_a_header_or_in_labels_ends_in_a_whole_pack(root: Path, file: str):
    first = prepare(root)
    expected, labels = first.images.copy(), first.labels
    path, rng = first.path / file, random.Random(SEED)
    whole = path.read_bytes()
    end = len(whole) - (expected.nbytes if file == "images.npy" else 0)
    for place in range(0, min(end, 600), 9 if file == "pack.json" else 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << rng.randrange(8))]) + whole[place + 1 :])
        again = prepare(root)
        assert np.array_equal(again.images, expected), place
        assert np.array_equal(again.labels, labels), place
        if path.read_bytes() != whole:  # what it says of no consequence
            path.write_bytes(whole)


def test_flipped_bits_in_pixels_are_found_when_asked_for(root: Path):
    first = prepare(root, check=True)
    path, expected = first.path / "images.npy", first.images.copy()
    whole = path.read_bytes()
    for place in range(len(whole) - expected.nbytes, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        assert np.array_equal(prepare(root, check=True).images, expected)
    path.write_bytes(whole)
    made = []
    prepare(root, check=True, progress=lambda done, total: made.append(done))
    assert made == []
