"""The options of the metrics and extractors."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, NonNegativeInt, PositiveInt

from ganzoo.plugin import DatasetInfo, ExtractorConfig, MetricConfig

COLORS = (1, 3)
"""Channels of images that networks trained on photographs take."""


class StandardConfig(MetricConfig):
    """Options of a metric that is computed if a recipe names none."""

    by_default: ClassVar[bool] = True


class FrechetConfig(StandardConfig):
    """The Fréchet distance of Gaussians fitted to the features (arXiv 1706.08500): FID with Inception."""


class KernelConfig(StandardConfig):
    """The squared maximum mean discrepancy of features, with a cubic kernel (arXiv 1801.01401): KID with Inception."""

    subsets: PositiveInt = 100
    """Number of random subsets, over which the mean is taken."""
    subset_size: int = Field(default=1000, ge=2)
    """Images in each subset; fewer if there are not enough."""


class InceptionScoreConfig(StandardConfig):
    """The exponential of the mutual information between sample and predicted class (arXiv 1606.03498)."""

    splits: PositiveInt = 10
    """Parts of the samples, over which the mean is taken."""


class PrecisionRecallConfig(StandardConfig):
    """The share of samples in the manifold of real images, and of real images in that of samples (arXiv 1904.06991)."""

    neighbors: PositiveInt = 3
    """An image's manifold reaches to its n-th neighbor."""
    images: int = Field(default=10_000, ge=2)
    """Largest number of real images, and of samples."""


class DensityCoverageConfig(StandardConfig):
    """Density, how many real neighborhoods contain a sample, and coverage, the share of real neighborhoods with a
    sample (arXiv 2002.09797)."""

    neighbors: PositiveInt = 5
    """An image's neighborhood reaches to its n-th neighbor."""
    images: int = Field(default=10_000, ge=2)
    """Largest number of real images, and of samples."""


class DiversityConfig(StandardConfig):
    """The mean distance of two samples over that of two real images, by pixels and by features."""


class ClassCoverageConfig(StandardConfig):
    """The classes that a classifier of the dataset finds among the samples."""


class ClassAccuracyConfig(StandardConfig):
    """The share of samples that a classifier of the dataset sees as the class that they were made for."""


class MemorizationConfig(StandardConfig):
    """How much nearer samples are to training images than unseen images are (after arXiv 2004.05675)."""


class ClassifierConfig(ExtractorConfig):
    """A small classifier trained on the dataset itself: needs classes, and no download."""

    @classmethod
    def default_for(cls, info: DatasetInfo) -> bool:
        """Return whether the images have classes."""
        return bool(info.class_names)


class InceptionConfig(ExtractorConfig):
    """Inception-v3 as FID, KID and the inception score are defined by it (arXiv 1706.08500, 1801.01401, 1606.03498)."""

    weights: str | None = None
    """File with its weights; default: torch's cache, where they are downloaded on first use (91 MB)."""

    @classmethod
    def default_for(cls, info: DatasetInfo) -> bool:
        """Return whether the images have no classes, and are gray or RGB."""
        return not info.class_names and info.image.channels in COLORS

    def check_info(self, info: DatasetInfo) -> None:
        """Check that the images are gray or RGB."""
        _check_colors(info)

    small_options: ClassVar[dict[str, Any]] = {"weights": "no-such-file"}


class TorchvisionBackboneConfig(ExtractorConfig):
    """Any torchvision classifier; the features are the input of its last dense layer."""

    model: str = "resnet50"
    """Model by its name in torchvision, such as "vgg16", with whose features precision and recall were defined."""
    weights: str = "DEFAULT"
    """Name of torchvision's weights, downloaded on first use; or a file, `.pth` or `.safetensors`; or "random"."""
    seed: NonNegativeInt = 0
    """Seed of random weights."""
    input_size: PositiveInt = Field(default=224, ge=32)
    """Side in pixels to which images are resized."""
    antialias: bool = True
    """Antialias the resize when it shrinks images."""

    @property
    def label(self) -> str:
        """Name of the model, marked where its weights are random."""
        return self.model + ("_random" if self.weights == "random" else "")

    def check_info(self, info: DatasetInfo) -> None:
        """Check that the images are gray or RGB."""
        _check_colors(info)

    small_options: ClassVar[dict[str, Any]] = {"model": "resnet18", "weights": "random", "input_size": 32}


def _check_colors(info: DatasetInfo) -> None:
    if info.image.channels not in COLORS:
        raise ValueError(f"was trained on gray or RGB images, and these are {info.image}: name another extractor")
