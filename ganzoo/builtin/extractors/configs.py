"""The options of the extractors that ship with the core."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, NonNegativeInt, PositiveInt

from ganzoo.components.options import ExtractorConfig
from ganzoo.components.spec import DatasetInfo


class ClassifierConfig(ExtractorConfig):
    """A small classifier trained on the dataset itself: needs labels, and no download."""


class InceptionConfig(ExtractorConfig):
    """Inception-v3 as FID, KID and the inception score are defined by it (arXiv 1706.08500, 1801.01401, 1606.03498)."""

    weights: str | None = None
    """File with its weights; left out: torch's cache, where they are downloaded on first use (91 MB)."""

    def check_info(self, info: DatasetInfo) -> None:
        """Check that the images are gray or RGB."""
        _check_colors(info)

    small_options: ClassVar[dict[str, Any]] = {"weights": "no-such-file"}


class TorchvisionBackboneConfig(ExtractorConfig):
    """Any classifier of torchvision's; the features are what its last dense layer sees."""

    model: str = "resnet50"
    """As torchvision names it, such as "vgg16", whose features precision and recall were defined by."""
    weights: str = "DEFAULT"
    """Name of torchvision's weights, downloaded on first use; or a file, `.pth` or `.safetensors`; or "random"."""
    seed: NonNegativeInt = 0
    """Of random weights."""
    input_size: PositiveInt = Field(default=224, ge=32)
    """Side in pixels that images are brought to."""
    antialias: bool = True
    """Average over the pixels between where that shrinks them."""

    def check_info(self, info: DatasetInfo) -> None:
        """Check that the images are gray or RGB."""
        _check_colors(info)

    small_options: ClassVar[dict[str, Any]] = {"model": "resnet18", "weights": "random", "input_size": 32}


def _check_colors(info: DatasetInfo) -> None:
    if info.image.channels not in (1, 3):
        raise ValueError(f"was trained on gray or RGB images, and these are {info.image}: name another extractor")
