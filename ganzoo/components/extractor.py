"""Base class of feature extractors, by which samples are compared with real images."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from ganzoo.components.dataset import StoredImages
from ganzoo.components.options import ExtractorConfig
from ganzoo.components.spec import DatasetInfo


class Extractor(nn.Module, ABC):
    """Turns images into features, by which samples are compared with real images.

    The constructor reads nothing. `prepare` is called once, on the CPU, before any other method; then the module is
    moved to its device and stays in evaluation mode.

    Args:
        config: the options of this extractor.
        info: of the images that it will receive.
    """

    Config: ClassVar[type[ExtractorConfig]] = ExtractorConfig

    input: str = ""
    """Size to which images are resized, such as "299×299"; empty: no resize."""
    resize: str = ""
    """Method of the resize, such as "bilinear" or "bilinear as TensorFlow 1 has it"."""
    antialias: bool = False
    """Whether the resize antialiases when it shrinks."""
    names_classes: bool = False
    """Whether the logits are over the classes of the dataset itself."""
    score_names: ClassVar[Mapping[str, str]] = {}
    """Established names of scores with this network, such as "fid" in place of "fd_inception"."""

    libraries: ClassVar[tuple[str, ...]] = ()
    """Distributions beside torch on whose version the features depend; the protocol card notes it."""

    def __init__(self, config: ExtractorConfig, *, info: DatasetInfo) -> None:
        super().__init__()
        self.config = config
        self.info = info

    @property
    def label(self) -> str:
        """Its name within the names of scores, from its options."""
        return self.config.label

    @property
    def source(self) -> str:
        """Origin of its weights, in a few words."""
        return ""

    @abstractmethod
    def prepare(self, real: StoredImages) -> None:
        """Load the weights, download them, or train them on the real images, which may be of another run's size.

        Draw random numbers from a generator of a fixed seed, not from the global ones.

        Raises:
            DataError: the weights are missing; the text says which file to put where.
        """

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Return features (N, D) of images (N, C, H, W) in [−1, 1], on the module's device, each image by itself."""

    def logits(self, features: Tensor) -> Tensor | None:
        """Return logits (N, classes) from features (N, D), for scores that need classes; None without classes."""
        return None

    def notes(self) -> Mapping[str, float | str]:
        """Return details to report beside the scores, such as its accuracy on held-out images."""
        return {}

    def settings(self) -> Mapping[str, int | float | str]:
        """Return the options that features depend on beside the weights, for the protocol card; none by default."""
        return {}

    def digest(self) -> str:
        """Return the hash of the weights, 16 hexadecimal digits; the same on every device."""
        content = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            content.update(name.encode())
            content.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return content.hexdigest()[:16]
