"""The contract of an extractor: a network whose features say how alike two sets of images are."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from ganzoo.components.options import ExtractorConfig
from ganzoo.components.spec import DatasetInfo

if TYPE_CHECKING:
    from ganzoo.components.dataset import StoredImages


class Extractor(nn.Module, ABC):
    """Turns images into features, by which samples are compared with real images.

    Building one reads nothing. `prepare` is called once, on the CPU, before anything else; then the module is moved
    to its device and stays in evaluation.

    Args:
        config: the options of this extractor.
        info: the images it will see.
    """

    Config: ClassVar[type[ExtractorConfig]] = ExtractorConfig

    input: str = ""
    """Size that images are brought to, such as "299×299"; empty: they are taken as they are."""
    resize: str = ""
    """How they are: "bilinear", "bilinear as TensorFlow 1 has it"."""
    antialias: bool = False
    """Whether that resize averages over the pixels between where it shrinks."""
    names_classes: bool = False
    """Whether the logits are over the classes of the dataset itself."""
    score_names: ClassVar[Mapping[str, str]] = {}
    """Names that the literature keeps for scores of this very network, such as "fid" in the place of "fd_inception"."""

    def __init__(self, config: ExtractorConfig, *, info: DatasetInfo) -> None:
        super().__init__()
        self.config = config
        self.info = info

    @property
    def label(self) -> str:
        """How the names of scores call it."""
        return self.config.name

    @property
    def source(self) -> str:
        """Where its weights came from, in a few words."""
        return ""

    @abstractmethod
    def prepare(self, real: StoredImages) -> None:
        """Load the weights, fetch them, or train them on the real images, which may be those of another run's size.

        The random numbers of the process are the caller's: draw from a generator of a fixed seed.

        Raises:
            DataError: they cannot be had; the text says which file to put where.
        """

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Features (N, D) for images (N, C, H, W) in [−1, 1], on the module's device, each image by itself."""

    def logits(self, features: Tensor) -> Tensor | None:
        """Logits (N, classes) from features (N, D), for the scores that ask for classes; None: it knows none."""
        return None

    def notes(self) -> Mapping[str, float | str]:
        """What a user may want to know of it beside the scores, such as its accuracy on held-out images."""
        return {}

    def digest(self) -> str:
        """Hash of the weights, 16 hexadecimal digits; the same on every device."""
        content = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            content.update(name.encode())
            content.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return content.hexdigest()[:16]
