"""MNIST, Fashion-MNIST, CIFAR-10 and SVHN, as torchvision unpacks and reads them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torchvision import datasets

from ganzoo.plugin import DataError, LabelSpec, SampleSource, first_line
from ganzoo_datasets.configs import CIFAR10Config, FashionMNISTConfig, MNISTConfig, SVHNConfig, TorchvisionConfig
from ganzoo_datasets.downloads import RemoteFile, fetch
from ganzoo_datasets.files import FileDataset, file_info


class TorchvisionDataset(FileDataset):
    """Base of these datasets: files in `root`, downloaded once where `download` allows."""

    config: TorchvisionConfig

    title: str
    """Display name of the dataset."""
    classes: tuple[str, ...] = tuple("0123456789")
    """Names of the classes; in SVHN, whose files call it 10, the digit 0 is class 0."""

    @abstractmethod
    def files(self) -> list[Path]:
        """Return the unpacked files that torchvision reads."""

    @abstractmethod
    def archives(self) -> list[RemoteFile]:
        """Return what is downloaded, to where torchvision unpacks it."""

    @abstractmethod
    def load(self, *, download: bool) -> Any:
        """Return the torchvision dataset."""

    def prepare(self) -> None:
        """Download the files that are missing.

        Raises:
            DataError: they cannot be downloaded, or must not be.
        """
        missing = [path for path in self.files() if not path.is_file()]
        if not missing:
            return
        names = ", ".join(path.name for path in missing)
        url, *others = [archive.urls[0] for archive in self.archives()]
        source = f"{url.rpartition('/')[0]}/" if others else url
        by_hand = f"{missing[0].parent} (without .gz or .tar.gz: unpacked), from {source}"
        if not self.config.download:
            raise DataError(
                f"{self.title} is not in {self.root} and dataset.download is false: set it to true, "
                f"or put {names} into {by_hand}"
            )
        try:
            for archive in self.archives():
                fetch(archive)
            self.load(download=True)  # finds the archives, checks their sums again and unpacks them
        except Exception as error:  # of many types: network, disk, archives
            raise DataError(
                f"{self.title} cannot be downloaded to {self.root} ({_reason(error)}). Try again with a "
                f"network, set dataset.root to where you have it, or put {names} into {by_hand}"
            ) from error

    def fingerprint(self) -> Sequence[object]:
        """Return names, sizes, times and some contents of the files."""
        return file_info(self.files())

    def labels(self) -> LabelSpec | None:
        """Return the ten classes."""
        return LabelSpec.classes(self.classes)

    def open(self) -> SampleSource:
        """Return all images of the split.

        Raises:
            DataError: the files are damaged.
        """
        try:
            source: SampleSource = self.load(download=False)
        except Exception as error:  # a failed checksum or any error of parsing, depending on the dataset
            places = ", ".join(str(path) for path in self.files())
            raise DataError(
                f"{self.title} is damaged or only partly there ({_reason(error)}): remove {places} "
                f"and let dataset.download = true fetch it again"
            ) from error
        return source


class MNIST(TorchvisionDataset):
    """Handwritten digits, 28×28, gray."""

    Config = MNISTConfig
    config: MNISTConfig
    title = "MNIST"
    torchvision_class: type[datasets.MNIST] = datasets.MNIST

    def files(self) -> list[Path]:
        """Return the four IDX files."""
        raw = self.root / self.torchvision_class.__name__ / "raw"
        return [raw / name.removesuffix(".gz") for name, _ in self.torchvision_class.resources]

    def archives(self) -> list[RemoteFile]:
        """Return the four files, compressed."""
        raw, mirrors = self.files()[0].parent, self.torchvision_class.mirrors
        return [
            RemoteFile(raw / name, md5, tuple(f"{mirror.rstrip('/')}/{name}" for mirror in mirrors))
            for name, md5 in self.torchvision_class.resources
        ]

    def load(self, *, download: bool) -> Any:
        """Return the torchvision dataset."""
        images = self.torchvision_class(str(self.root), train=self.config.split == "train", download=download)
        if len(images.targets) != len(images.data):
            raise ValueError(f"{len(images.data)} images and {len(images.targets)} labels")
        return images


class FashionMNIST(MNIST):
    """Articles of clothing, 28×28, gray."""

    Config = FashionMNISTConfig
    config: FashionMNISTConfig
    title = "Fashion-MNIST"
    classes = tuple(datasets.FashionMNIST.classes)
    torchvision_class = datasets.FashionMNIST


class CIFAR10(TorchvisionDataset):
    """Photos of ten kinds of things, 32×32, RGB."""

    Config = CIFAR10Config
    config: CIFAR10Config
    title = "CIFAR-10"
    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

    def files(self) -> list[Path]:
        """Return the six batches and their description."""
        kind = datasets.CIFAR10
        names = [*(name for name, _ in kind.train_list + kind.test_list), kind.meta["filename"]]
        return [self.root / kind.base_folder / name for name in names]

    def archives(self) -> list[RemoteFile]:
        """Return the archive."""
        kind = datasets.CIFAR10
        return [RemoteFile(self.root / kind.filename, kind.tgz_md5, (kind.url,))]

    def load(self, *, download: bool) -> Any:
        """Return the torchvision dataset, which unpickles only files with the checksums it knows."""
        return datasets.CIFAR10(str(self.root), train=self.config.split == "train", download=download)


class SVHN(TorchvisionDataset):
    """Digits from photos of house numbers, 32×32, RGB."""

    Config = SVHNConfig
    config: SVHNConfig
    title = "SVHN"

    def files(self) -> list[Path]:
        """Return the file of the split."""
        return [self.root / datasets.SVHN.split_list[self.config.split][1]]

    def archives(self) -> list[RemoteFile]:
        """Return the file, which is not compressed."""
        url, name, md5 = datasets.SVHN.split_list[self.config.split]
        return [RemoteFile(self.root / name, md5, (url,))]

    def load(self, *, download: bool) -> Any:
        """Return the torchvision dataset."""
        images = datasets.SVHN(str(self.root), split=self.config.split, download=download)
        images.targets = images.labels  # as torchvision's other datasets have them
        return images


def _reason(error: Exception) -> str:
    if isinstance(error, AssertionError):
        return "a file is not in the format that it should be in"
    return first_line(error)
