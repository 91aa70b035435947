"""torchvision's datasets: read from files in their real formats, and what a failing download says."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from dataset_files import write_cifar10, write_mnist, write_svhn
from ganzoo_datasets.configs import CIFAR10Config, FashionMNISTConfig, MNISTConfig, SVHNConfig
from ganzoo_datasets.torchvision_sets import CIFAR10, MNIST, SVHN, FashionMNIST
from torchvision import datasets as torchvision_datasets

from ganzoo.data.packed_dataset import PackedDataset, pack_dataset
from ganzoo.errors import DataError


def prepare(dataset, tmp_path: Path) -> PackedDataset:
    return pack_dataset(dataset, cache=tmp_path / "cache")


@pytest.fixture
def no_network(monkeypatch):
    """Every way to the net raises what urllib raises without one."""

    def unreachable(*args, **kwargs):
        raise URLError("[Errno -3] Temporary failure in name resolution")

    for name in ("_urlretrieve", "_get_redirect_url"):
        monkeypatch.setattr(f"torchvision.datasets.utils.{name}", unreachable)
    monkeypatch.setattr("ganzoo_datasets.downloads.urlopen", unreachable)
    monkeypatch.setattr("ganzoo_datasets.downloads.FIRST_WAIT", 0)


@pytest.mark.parametrize(
    ("dataset", "config", "name"), [(MNIST, MNISTConfig, "MNIST"), (FashionMNIST, FashionMNISTConfig, "FashionMNIST")]
)
@pytest.mark.parametrize(("split", "part"), [("train", "train"), ("test", "t10k")])
def test_the_mnists_are_read_as_they_are(tmp_path, no_network, dataset, config, name, split, part):
    images, labels = write_mnist(tmp_path, name)[part]
    packed = prepare(dataset(config(root=str(tmp_path), split=split)), tmp_path)
    assert np.array_equal(packed.images[..., 0], images)
    assert packed.labels.tolist() == labels.tolist()
    assert packed.info.image.shape == (1, 28, 28)
    assert len(packed.info.class_names) == 10


def test_other_digits_in_files_of_equal_sizes_and_times_are_read(tmp_path):
    """As of another dataset in MNIST's layout."""
    for folder in ("first", "second"):
        images, _ = write_mnist(tmp_path / folder)["train"]
        for file in (tmp_path / folder).rglob("*-ubyte"):
            os.utime(file, ns=(5, 5))
        packed = prepare(MNIST(MNISTConfig(root=str(tmp_path / folder), download=False)), tmp_path)
        assert np.array_equal(packed.images[..., 0], images)


def test_class_names():
    assert MNIST(MNISTConfig()).labels().names == tuple("0123456789")
    assert FashionMNIST(FashionMNISTConfig()).labels().names[9] == "Ankle boot"
    assert CIFAR10(CIFAR10Config()).labels().names[3] == "cat"
    assert SVHN(SVHNConfig()).labels().names == tuple("0123456789")


def test_a_truncated_file_says_what_to_remove(tmp_path):
    write_mnist(tmp_path)
    damaged = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    damaged.write_bytes(damaged.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"MNIST is damaged or only partly there .*remove .*train-images-idx3-ubyte"):
        prepare(MNIST(MNISTConfig(root=str(tmp_path))), tmp_path)


def test_another_split_is_another_pack(tmp_path):
    write_mnist(tmp_path)
    packed_datasets = [
        prepare(MNIST(MNISTConfig(root=str(tmp_path), split=split)), tmp_path) for split in ("train", "test")
    ]
    assert [len(packed) for packed in packed_datasets] == [12, 5]


def test_archives_fetched_by_hand_are_unpacked_without_a_network(tmp_path, no_network, monkeypatch):
    write_mnist(tmp_path)
    raw = tmp_path / "MNIST" / "raw"
    for path in list(raw.iterdir()):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    resources = [
        (name, None) for name, _ in torchvision_datasets.MNIST.resources
    ]  # no sums, as these are not the real ones
    monkeypatch.setattr(torchvision_datasets.MNIST, "resources", resources)
    assert len(prepare(MNIST(MNISTConfig(root=str(tmp_path))), tmp_path)) == 12


@pytest.mark.parametrize("split", ["train", "test"])
def test_cifar10_in_its_own_format(tmp_path, monkeypatch, split):
    # The real files' checksums are all that these cannot have.
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda path, md5=None: Path(path).is_file())
    images = write_cifar10(tmp_path)
    packed = prepare(CIFAR10(CIFAR10Config(root=str(tmp_path), split=split)), tmp_path)
    expected = images[:5].reshape(-1, 3, 32, 32) if split == "train" else images[5]
    assert np.array_equal(packed.images, expected.transpose(0, 2, 3, 1))
    assert packed.labels[:4].tolist() == [0, 1, 2, 9]


def test_cifar10_with_foreign_pickles_is_refused(tmp_path):
    write_cifar10(tmp_path)
    with pytest.raises(DataError, match="CIFAR-10 is damaged"):
        prepare(CIFAR10(CIFAR10Config(root=str(tmp_path))), tmp_path)


@pytest.mark.parametrize("split", ["train", "test", "extra"])
def test_svhn_in_its_own_format(tmp_path, monkeypatch, split):
    monkeypatch.setattr("torchvision.datasets.svhn.check_integrity", lambda path, md5=None: Path(path).is_file())
    images = write_svhn(tmp_path, split)
    packed = prepare(SVHN(SVHNConfig(root=str(tmp_path), split=split)), tmp_path)
    assert np.array_equal(packed.images, images.transpose(3, 0, 1, 2))
    assert packed.labels.tolist() == [1, 2, 9, 0, 1]


DATASETS = [
    (MNIST, MNISTConfig, "MNIST", "train-images-idx3-ubyte"),
    (FashionMNIST, FashionMNISTConfig, "Fashion-MNIST", "train-images-idx3-ubyte"),
    (CIFAR10, CIFAR10Config, "CIFAR-10", "data_batch_1"),
    (SVHN, SVHNConfig, "SVHN", "train_32x32.mat"),
]


@pytest.mark.parametrize(("dataset", "config", "title", "file"), DATASETS)
def test_no_network_says_what_to_fetch_and_where_to_put_it(tmp_path, no_network, dataset, config, title, file):
    with pytest.raises(DataError) as error:
        prepare(dataset(config(root=str(tmp_path / "data"))), tmp_path)
    text = str(error.value)
    assert text.startswith(f"{title} cannot be downloaded to {tmp_path / 'data'}")
    assert file in text
    assert "http" in text
    assert "dataset.root" in text


@pytest.mark.parametrize(("dataset", "config", "title", "file"), DATASETS)
def test_without_leave_to_download_nothing_is_tried(tmp_path, no_network, dataset, config, title, file):
    with pytest.raises(DataError, match=rf"{title} is not in .* and dataset\.download is false") as error:
        prepare(dataset(config(root=str(tmp_path / "data"), download=False)), tmp_path)
    assert file in str(error.value)
    assert not (tmp_path / "data").exists()
