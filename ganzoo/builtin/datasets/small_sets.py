"""Datasets that need no files: scikit-learn's handwritten digits, and synthetic discs for tests and benchmarks."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
from PIL import Image, ImageDraw

from ganzoo.builtin.datasets.configs import DigitsConfig, SyntheticConfig
from ganzoo.builtin.datasets.files import LabeledImages
from ganzoo.components.dataset import Dataset, ImageSource


class Digits(Dataset):
    """1,797 digits of 8×8 pixels, gray, in ten classes; 16 levels of gray, spread over 0 to 255."""

    Config = DigitsConfig

    def prepare(self) -> None:
        """Do nothing: the images come with scikit-learn."""

    def fingerprint(self) -> Sequence[object]:
        """Return the version of scikit-learn, which ships the images."""
        return ("scikit-learn", version("scikit-learn"))

    def open(self) -> ImageSource:
        """Return all images, in scikit-learn's order."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
        return LabeledImages(digits.target.tolist(), lambda index: Image.fromarray(pixels[index]))

    def class_names(self) -> tuple[str, ...]:
        """Return the ten digits."""
        return tuple("0123456789")


class Synthetic(Dataset):
    """A disc of random place, size and brightness on a dark ground; its hue tells the class.

    Image i is of class i mod `classes` and depends on (seed, i) alone, so nothing is stored.
    """

    Config = SyntheticConfig
    config: SyntheticConfig

    def prepare(self) -> None:
        """Do nothing: the images are drawn when they are read."""

    def fingerprint(self) -> Sequence[object]:
        """Return nothing: the options determine the images."""
        return ()

    def open(self) -> ImageSource:
        """Return the images, drawn at twice their final size so that the resize smooths the disc's edge."""
        return LabeledImages([index % self.config.classes for index in range(self.config.count)], self._draw)

    def class_names(self) -> tuple[str, ...]:
        """Return a name for each hue."""
        return tuple(f"hue {index}" for index in range(self.config.classes))

    def _draw(self, index: int) -> Image.Image:
        rng = np.random.default_rng((self.config.seed % 2**64, index))
        side = 2 * self.config.image_size
        radius = side * rng.uniform(0.15, 0.3)
        x, y = side * rng.uniform(0.3, 0.7, size=2)
        ground = int(rng.integers(10, 40))
        image = Image.new("RGB", (side, side), (ground, ground, ground))
        color = colorsys.hsv_to_rgb(index % self.config.classes / self.config.classes, 0.9, rng.uniform(0.7, 1.0))
        red, green, blue = (round(255 * value) for value in color)
        ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), fill=(red, green, blue))
        return image
