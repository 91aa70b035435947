"""Preparing a dataset once: what is stored, when it is made anew, and what goes wrong."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from forked import Forked
from PIL import Image, UnidentifiedImageError
from pydantic import Field

from ganzoo.builtin.configs import SyntheticConfig
from ganzoo.builtin.datasets import Synthetic
from ganzoo.components.dataset import Batch, Dataset
from ganzoo.components.options import ImageDatasetConfig, TrainerConfig
from ganzoo.components.spec import DatasetInfo, LabelSpec, VectorSpec
from ganzoo.data import packed_dataset as pack_module
from ganzoo.data.decode import npy_header
from ganzoo.data.loader import Loader
from ganzoo.data.packed_dataset import cache_folder, pack_dataset, seen_by
from ganzoo.data.prepare import examine_dataset
from ganzoo.errors import DataError, RequestError


class GraysConfig(ImageDatasetConfig):
    image_size: int = 4
    count: int = 10
    num_classes: int = 0
    shift: int = 0
    speed: str = Field(default="slow", json_schema_extra={"affects_pixels": False})


class Grays(Dataset):
    """Image i is the flat gray i; `bad` says what reading some of them raises instead."""

    Config = GraysConfig
    config: GraysConfig

    def __init__(self, config, *, bad=None, version=1, opened=None):
        super().__init__(config)
        self.bad = bad or {}
        self.version = version
        self.opened = opened if opened is not None else []

    def prepare(self):
        pass

    def fingerprint(self):
        return [("grays", self.version)]

    def open(self):
        self.opened.append(1)
        return self

    def labels(self):
        return LabelSpec.classes(f"class {index}" for index in range(self.config.num_classes))

    def describe(self, index):
        return f"grays/{index}.png"

    def __len__(self):
        return self.config.count

    def __getitem__(self, index):
        if index in self.bad:
            raise self.bad[index]
        label = (index + self.config.shift) % max(1, self.config.num_classes)
        return Image.new("RGB", (6, 5), (index % 256,) * 3), label


def grays(*, bad=None, version=1, opened=None, **options) -> Grays:
    return Grays(GraysConfig(**options), bad=bad, version=version, opened=opened)


def leftovers(cache: Path) -> list[Path]:
    return [path for path in (cache / "packs").glob(".*") if path.is_dir()]


def test_a_pack_holds_the_images_in_order(tmp_path):
    packed = pack_dataset(grays(count=300, num_classes=3), cache=tmp_path)
    assert len(packed) == 300
    assert packed.images.shape == (300, 4, 4, 3)
    assert packed.images.dtype == np.uint8
    assert isinstance(packed.images, np.memmap)
    assert not packed.images.flags.writeable
    assert (packed.images == (np.arange(300) % 256).astype(np.uint8)[:, None, None, None]).all()
    assert packed.labels is not None
    assert packed.labels.dtype == np.int64
    assert packed.labels.tolist() == [index % 3 for index in range(300)]
    assert packed.info.image.shape == (3, 4, 4)
    assert packed.info.class_names == ("class 0", "class 1", "class 2")
    assert packed.skipped == ()
    assert packed.path.parent == tmp_path / "packs"
    assert re.fullmatch(r"grays-[0-9a-f]{16}", packed.path.name)
    assert leftovers(tmp_path) == []


def test_without_classes_there_are_no_labels(tmp_path):
    packed = pack_dataset(grays(channels=1), cache=tmp_path)
    assert packed.labels is None
    assert packed.images.shape == (10, 4, 4, 1)
    assert not (packed.path / "labels.npy").exists()


def test_a_ready_pack_is_opened_without_decoding(tmp_path):
    opened = []
    first = pack_dataset(grays(opened=opened, num_classes=2), cache=tmp_path)
    second = pack_dataset(grays(opened=opened, num_classes=2), cache=tmp_path)
    assert opened == [1]
    assert second.path == first.path
    assert np.array_equal(second.images, first.images)
    assert np.array_equal(second.labels, first.labels)
    assert second.info == first.info


def test_a_ready_pack_in_a_cache_that_may_only_be_read(tmp_path, monkeypatch):
    path = pack_dataset(grays(), cache=tmp_path).path
    for lock in (tmp_path / "packs").glob("*.lock"):
        lock.unlink()
    # Root may write everywhere, so taking the right away would not do.
    monkeypatch.setattr(os, "access", lambda *args: False)
    assert pack_dataset(grays(), cache=tmp_path).path == path
    assert list((tmp_path / "packs").glob("*.lock")) == []


@pytest.mark.parametrize(("options", "name"), [({}, "grays"), ({"name": "my/grays: ü"}, "my_grays__ü")])
def test_the_folder_is_named_after_the_dataset(tmp_path, options, name):
    assert pack_dataset(grays(**options), cache=tmp_path).path.name.rpartition("-")[0] == name


@pytest.mark.parametrize(
    "options",
    [
        {"horizontal_flip": True},
        {"root": "elsewhere"},
        {"placement": "device"},
        {"speed": "fast"},
        {"max_bad_fraction": 0.5},
    ],
)
def test_options_that_leave_the_pixels_alone_keep_the_pack(tmp_path, options):
    assert pack_dataset(grays(), cache=tmp_path).path == pack_dataset(grays(**options), cache=tmp_path).path


@pytest.mark.parametrize(
    "options",
    [
        {"image_size": 5},
        {"channels": 1},
        {"resize": "box"},
        {"fast_decode": True},
        {"crop": "none"},
        {"shift": 1},
        {"version": 2},
    ],
)
def test_other_options_and_other_sources_make_another(tmp_path, options):
    assert pack_dataset(grays(), cache=tmp_path).path != pack_dataset(grays(**options), cache=tmp_path).path


def test_progress_ends_at_the_total(tmp_path):
    calls = []
    pack_dataset(grays(count=200), cache=tmp_path, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (200, 200)
    assert calls == sorted(calls)


def test_all_bad_images_are_listed_with_their_reasons(tmp_path):
    bad = {3: UnidentifiedImageError("<BytesIO>"), 5: OSError("image file is truncated"), 7: ValueError("too small")}
    bad[8] = Image.DecompressionBombError("a billion pixels")
    with pytest.raises(DataError) as error:
        pack_dataset(grays(bad=bad), cache=tmp_path)
    text = str(error.value)
    assert "4 of 10 images" in text
    assert "grays/3.png: not an image in a format that can be read" in text
    assert "grays/5.png: image file is truncated" in text
    assert "grays/7.png: too small" in text
    assert "grays/8.png: suspiciously large: a billion pixels" in text
    assert "dataset.max_bad_fraction" in text
    assert leftovers(tmp_path) == []


def test_a_long_list_of_bad_images_is_cut(tmp_path):
    bad = {index: OSError(errno.EACCES, "Permission denied") for index in range(50)}
    with pytest.raises(DataError) as error:
        pack_dataset(grays(count=100, bad=bad), cache=tmp_path)
    text = str(error.value)
    assert "grays/19.png: Permission denied" in text
    assert "grays/20.png" not in text
    assert "and 30 more" in text


def test_allowed_bad_images_are_skipped_and_recorded(tmp_path):
    bad = {2: OSError("broken"), 9: OSError("broken")}
    allowing = grays(bad=bad, num_classes=5, max_bad_fraction=0.2)
    for packed in (pack_dataset(allowing, cache=tmp_path), pack_dataset(allowing, cache=tmp_path)):
        assert len(packed) == 8
        assert packed.images[:, 0, 0, 0].tolist() == [0, 1, 3, 4, 5, 6, 7, 8]
        assert packed.labels.tolist() == [0, 1, 3, 4, 0, 1, 2, 3]
        assert packed.skipped == ("grays/2.png: broken", "grays/9.png: broken")


def test_a_stricter_limit_holds_for_a_ready_pack_too(tmp_path):
    bad = {2: OSError("broken")}
    pack_dataset(grays(bad=bad, max_bad_fraction=0.5), cache=tmp_path)
    with pytest.raises(DataError, match=r"grays/2\.png: broken"):
        pack_dataset(grays(bad=bad), cache=tmp_path)


def test_too_many_bad_images_name_the_limit(tmp_path):
    bad = {index: OSError("broken") for index in range(3)}
    with pytest.raises(DataError, match=r"share of 0\.3 \(0\.2 are allowed\)"):
        pack_dataset(grays(bad=bad, max_bad_fraction=0.2), cache=tmp_path)


def test_no_readable_image_is_an_error_whatever_is_allowed(tmp_path):
    bad = {index: OSError("broken") for index in range(10)}
    with pytest.raises(DataError, match="10 of 10"):
        pack_dataset(grays(bad=bad, max_bad_fraction=0.999), cache=tmp_path)


def test_an_empty_dataset_is_an_error(tmp_path):
    with pytest.raises(DataError, match="has no images"):
        pack_dataset(grays(count=0), cache=tmp_path)


def test_a_class_index_without_a_name_is_an_error(tmp_path):
    dataset = grays(num_classes=2)
    dataset.labels = lambda: LabelSpec.classes(["only one"])
    with pytest.raises(DataError, match="class index 1, and names 1 classes"):
        pack_dataset(dataset, cache=tmp_path)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    "damage", ["missing json", "broken json", "truncated", "wrong shape", "wrong key", "no labels"]
)
def test_a_damaged_pack_is_made_anew(tmp_path, damage):
    packed = pack_dataset(grays(num_classes=2), cache=tmp_path)
    expected = packed.images.copy()
    if damage == "missing json":
        (packed.path / "pack.json").unlink()
    elif damage == "broken json":
        (packed.path / "pack.json").write_text("{")
    elif damage == "truncated":
        (packed.path / "images.npy").write_bytes((packed.path / "images.npy").read_bytes()[:300])
    elif damage == "wrong shape":
        np.save(packed.path / "images.npy", np.zeros((3, 4, 4, 3), dtype=np.uint8))
    elif damage == "wrong key":
        contents = json.loads((packed.path / "pack.json").read_text())
        (packed.path / "pack.json").write_text(json.dumps(contents | {"key": "0"}))
    else:
        (packed.path / "labels.npy").unlink()
    opened = []
    again = pack_dataset(grays(num_classes=2, opened=opened), cache=tmp_path)
    assert opened == [1]
    assert again.path == packed.path
    assert np.array_equal(again.images, expected)


def test_an_interrupted_prepare_leaves_nothing(tmp_path):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack_dataset(grays(), cache=tmp_path, progress=interrupt)
    assert [path for path in (tmp_path / "packs").iterdir() if path.is_dir()] == []


def test_what_a_killed_prepare_left_is_cleared_away(tmp_path):
    packed = pack_dataset(grays(), cache=tmp_path)
    half = tmp_path / "packs" / f".{packed.path.name}.abc"
    half.mkdir()
    (half / "images.npy").write_bytes(b"half")
    shutil.rmtree(packed.path)
    assert len(pack_dataset(grays(), cache=tmp_path)) == 10
    assert leftovers(tmp_path) == []


CHILD = """
import sys, time
from pathlib import Path
from ganzoo.builtin.datasets import Synthetic
from ganzoo.data.packed_dataset import pack_dataset

def progress(done, total):
    print("decoding", done, flush=True)
    time.sleep(float(sys.argv[2]))

pack = pack_dataset(Synthetic(Synthetic.Config(image_size=8, count=500)), cache=Path(sys.argv[1]), progress=progress)
print("ready", len(pack), flush=True)
"""


def start_child(cache: Path, pause: float) -> subprocess.Popen[str]:
    """A process that prepares made-up images, with a pause after each chunk."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return Forked("-c", CHILD, cache, str(pause), stdout=subprocess.PIPE, env=environment)


@pytest.mark.slow
def test_two_processes_make_it_once(tmp_path):
    children = [start_child(tmp_path, 0.05) for _ in range(2)]
    outputs = [child.communicate(timeout=60)[0] for child in children]
    assert sorted("decoding" in output for output in outputs) == [False, True]
    assert all(output.endswith("ready 500\n") for output in outputs)


@pytest.mark.slow
def test_a_killed_prepare_is_no_obstacle_and_leaves_nothing_that_counts(tmp_path):
    child = start_child(tmp_path, 60)
    assert child.stdout is not None
    assert child.stdout.readline().startswith("decoding")
    child.kill()
    child.wait()
    child.stdout.close()
    assert len(leftovers(tmp_path)) == 1
    again = Synthetic(SyntheticConfig(image_size=8, count=500))
    assert len(pack_dataset(again, cache=tmp_path)) == 500
    assert leftovers(tmp_path) == []


def test_too_little_room_is_said_before_anything_is_decoded(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(pack_module.shutil, "disk_usage", lambda path: usage._replace(free=1_000_000))
    opened = []
    with pytest.raises(DataError, match=r"packs: .* needs about 16.0 MiB and 976.6 KiB are free.*GANZOO_CACHE"):
        pack_dataset(grays(opened=opened), cache=tmp_path)


def test_a_disk_that_fills_up_is_a_clear_error(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pack_module, "decode_samples", full)
    with pytest.raises(DataError, match=r"cannot be written to .*packs: No space left on device.*GANZOO_CACHE"):
        pack_dataset(grays(), cache=tmp_path)
    assert leftovers(tmp_path) == []


def test_a_cache_that_cannot_be_made_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="GANZOO_CACHE"):
        pack_dataset(grays(), cache=tmp_path / "file")


def test_a_source_that_cannot_be_reached_names_its_file(tmp_path):
    dataset = grays()

    def prepare():
        raise PermissionError(errno.EACCES, "Permission denied", "/private/pictures")

    dataset.prepare = prepare
    with pytest.raises(DataError, match="/private/pictures: Permission denied"):
        pack_dataset(dataset, cache=tmp_path)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (URLError("no route to host"), "<urlopen error no route to host>"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (TimeoutError(), "TimeoutError"),
    ],
)
@pytest.mark.parametrize("method", ["prepare", "fingerprint", "open", "labels"])
@pytest.mark.parametrize("look", ["pack", "examine"])
def test_what_a_source_says_without_a_file_is_told_of_the_dataset(
    tmp_path, error: OSError, told: str, method: str, look: str
):
    """The cache is not to blame: the dataset could not be downloaded, say, or its own disk is full."""
    dataset = grays(root="/data/grays")

    def failing():
        raise error

    setattr(dataset, method, failing)
    if (look, method) == ("examine", "fingerprint"):
        assert examine_dataset(dataset).usable == 10
        return
    with pytest.raises(DataError) as raised:
        pack_dataset(dataset, cache=tmp_path) if look == "pack" else examine_dataset(dataset)
    assert str(raised.value) == f'the dataset "grays" is unavailable: {told} (dataset.root is /data/grays)'


def test_a_pack_is_made_anew_where_the_file_of_a_base_class_has_changed(tmp_path, monkeypatch):
    base = tmp_path / "base_of_grays.py"
    base.write_text("class Base:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    mixin = import_module("base_of_grays").Base

    class Derived(Grays, mixin):
        pass

    class Mixed(mixin, Dataset):
        def fingerprint(self):
            return []

        def open(self):
            return [(Image.new("L", (4, 4)), 0)]

    for dataset in (Mixed(GraysConfig(name="mixed")), Derived(GraysConfig())):  # a mixin, first and last
        first, again = (pack_dataset(dataset, cache=tmp_path).path for _ in range(2))
        base.write_text(base.read_text() + "# edited\n")
        assert first == again != pack_dataset(dataset, cache=tmp_path).path


def test_arrays_of_a_fingerprint_count_with_all_of_their_values(tmp_path):
    values = np.zeros(10_000)
    other, close = values.copy(), values.copy()
    other[5_000], close[0] = 1, 1e-12
    versions = [values, other, close, torch.from_numpy(other).float()]
    packs = [pack_dataset(Grays(GraysConfig(), version=version), cache=tmp_path).path for version in versions]
    assert len(set(packs)) == 4
    again = Grays(GraysConfig(), version=values.copy())
    assert pack_dataset(again, cache=tmp_path).path == packs[0]
    assert not again.opened


def test_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    packed = pack_dataset(grays())
    assert packed.path.is_relative_to(tmp_path)
    monkeypatch.delenv("GANZOO_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "ganzoo"


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_a_pack_takes_the_memory_of_the_pages_that_are_read_and_no_more(tmp_path):
    first = pack_dataset(grays(image_size=64), cache=tmp_path)
    contents = json.loads((first.path / "pack.json").read_text())
    contents["arrays"]["images"]["shape"][0] = 200_000
    (first.path / "pack.json").write_text(json.dumps(contents))
    header = npy_header((200_000, 64, 64, 3))
    with (first.path / "images.npy").open("wb") as file:
        file.write(header)
        file.truncate(len(header) + 200_000 * 64 * 64 * 3)  # a file of 2.5 GB that takes no room
    before, started = resident(), time.perf_counter()
    packed = pack_dataset(grays(image_size=64), cache=tmp_path)
    assert time.perf_counter() - started < 0.2
    assert len(packed) == 200_000
    loader = Loader(packed, batch_size=64, seed=0, device="cpu")
    assert resident() - before < 8e6
    loader.next()
    assert resident() - before < 64e6  # two orders of an epoch, a batch, and the pages around its images


def test_opening_a_large_pack_is_fast(tmp_path):
    first = pack_dataset(grays(), cache=tmp_path)
    contents = json.loads((first.path / "pack.json").read_text())
    contents["arrays"]["images"]["shape"][0] = 200_000
    (first.path / "pack.json").write_text(json.dumps(contents))
    large = np.lib.format.open_memmap(first.path / "images.npy", mode="w+", dtype=np.uint8, shape=(200_000, 4, 4, 3))
    large.flush()
    started = time.perf_counter()
    assert len(pack_dataset(grays(), cache=tmp_path)) == 200_000
    assert time.perf_counter() - started < 0.2


class CodesConfig(TrainerConfig):
    """A third network makes codes of the samples, which a fourth turns back."""

    def info_for(self, role: str, info: DatasetInfo) -> DatasetInfo:
        code = VectorSpec(3)
        of_code = role.startswith("code")
        return DatasetInfo(code, condition=info.samples) if of_code else DatasetInfo(info.samples, condition=code)

    def batch_for(self, role: str, batch: Batch) -> Batch:
        if role == "code_of_images":
            return Batch(batch.real, condition=batch.real)
        codes = batch.real.new_zeros(len(batch.real), 3)
        return Batch(codes, condition=batch.real) if role == "code" else Batch(batch.real, condition=codes)


@pytest.mark.parametrize(
    ("role", "told"),
    [
        ("code", 'the trainer computes what the network "code" sees'),
        ("code_of_images", 'no real samples for the network "code_of_images"'),
        ("back", 'the trainer computes what the network "back" sees'),
    ],
)
def test_what_a_trainer_computes_for_a_network_is_not_in_the_dataset(tmp_path, role: str, told: str):
    packed = pack_dataset(Grays(GraysConfig(channels=1)), cache=tmp_path)
    with pytest.raises(RequestError, match=told):
        seen_by(role, packed, CodesConfig())


def test_a_network_may_see_samples_as_conditions(tmp_path):
    class SwapConfig(CodesConfig):
        def info_for(self, role: str, info: DatasetInfo) -> DatasetInfo:
            return DatasetInfo(info.samples, condition=info.samples)

        def batch_for(self, role: str, batch: Batch) -> Batch:
            return Batch(batch.real, condition=batch.real)

    packed = pack_dataset(Grays(GraysConfig(channels=1)), cache=tmp_path)
    seen = seen_by("back", packed, SwapConfig())
    assert seen.images is seen.conditions is packed.images
    assert seen.labels is None
