"""scikit-learn's handwritten digits, which need no download."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
from PIL import Image

from ganzoo.builtin.datasets.configs import DigitsConfig
from ganzoo.components.dataset import Dataset, SampleSource
from ganzoo.components.spec import LabelSpec


class Digits(Dataset):
    """1,797 digits of 8×8 pixels, gray, in ten classes; 16 levels of gray, spread over 0 to 255."""

    Config = DigitsConfig

    def fingerprint(self) -> Sequence[object]:
        """Return the version of scikit-learn, which ships the images."""
        return ("scikit-learn", version("scikit-learn"))

    def open(self) -> SampleSource:
        """Return all images, in scikit-learn's order."""
        return _Digits()

    def labels(self) -> LabelSpec | None:
        """Return the ten digits."""
        return LabelSpec.classes("0123456789")


class _Digits:
    def __init__(self) -> None:
        from sklearn.datasets import load_digits

        digits = load_digits()
        self._pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
        self.targets = digits.target.tolist()

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(self._pixels[index]), self.targets[index]
