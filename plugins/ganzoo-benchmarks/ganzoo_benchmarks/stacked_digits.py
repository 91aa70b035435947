"""The classifier of triples of digits."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganzoo.plugin import Extractor, StoredImages, UnfitDataError, real_images
from ganzoo_benchmarks.configs import StackedDigitsConfig

BATCH = 128
HELD_OUT = 0.1
SMALLEST = 4
"""Side of the smallest images, in pixels: two poolings leave one."""
SEED = 0
FEATURES = 128


class StackedDigits(Extractor):
    """Classifies each channel as a digit; the logit of a triple is the sum of its digits' log probabilities."""

    Config = StackedDigitsConfig
    config: StackedDigitsConfig
    names_classes = True

    def prepare(self, real: StoredImages) -> None:
        """Train on the channels of nine tenths of the images, and measure the accuracy on triples of the others.

        Raises:
            UnfitDataError: the images are no triples of digits.
        """
        if real.info.num_classes != 1000 or real.info.image.channels != 3 or real.labels is None:
            raise UnfitDataError('the extractor "stacked_digits" needs images of three channels in 1,000 classes')
        if min(real.info.image.height, real.info.image.width) < SMALLEST:
            raise UnfitDataError(
                f'the extractor "stacked_digits" halves images twice, and these are {real.info.image}: set '
                f"dataset.image_size to {SMALLEST} or more"
            )
        if len(real.labels) < 2:
            raise UnfitDataError(
                'the extractor "stacked_digits" learns from some images and holds others back, and there is one: set '
                "dataset.count to 2 or more"
            )
        rng = torch.Generator().manual_seed(SEED)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            self.layers = nn.Sequential(
                *(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
                *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)),
                *(nn.Conv2d(64, FEATURES, 3, padding=1), nn.BatchNorm2d(FEATURES), nn.ReLU()),
                *(nn.AdaptiveMaxPool2d(1), nn.Flatten()),
            )
            self.digits = nn.Linear(FEATURES, 10)
        labels = torch.from_numpy(real.labels)
        order = torch.randperm(len(labels), generator=rng)
        held_out = max(1, min(int(len(order) * HELD_OUT), 10_000))
        optimizer = torch.optim.Adam(self.parameters(), lr=2e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.config.steps)
        self.train()
        for _ in range(self.config.steps):
            chosen = order[held_out:][torch.randint(len(order) - held_out, (BATCH,), generator=rng)]
            channels = torch.randint(3, (len(chosen),), generator=rng)
            images = real_images(real, chosen)[torch.arange(len(chosen)), channels, None]
            wanted = labels[chosen].div(torch.tensor([100, 10, 1])[channels], rounding_mode="floor") % 10
            optimizer.zero_grad()
            F.cross_entropy(self.digits(self.layers(images)), wanted).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        self.eval()
        with torch.no_grad():
            parts = torch.split(order[:held_out], BATCH)
            answers = torch.cat([self.logits(self.features(real_images(real, part))).argmax(1) for part in parts])
        self.accuracy = float((answers == labels[order[:held_out]]).double().mean())

    def features(self, images: Tensor) -> Tensor:
        """Return the features of all three channels (N, 384)."""
        features: Tensor = self.layers(images.flatten(0, 1)[:, None])
        return features.reshape(len(images), -1)

    def logits(self, features: Tensor) -> Tensor:
        """Return the log probabilities (N, 1000) of the triples."""
        digits: Tensor = self.digits(features.reshape(len(features), 3, -1))
        first, second, third = digits.log_softmax(2).unbind(1)
        return (first[:, :, None, None] + second[:, None, :, None] + third[:, None, None, :]).flatten(1)

    def notes(self) -> Mapping[str, float | str]:
        """Return the accuracy on held-out triples of real digits."""
        return {"accuracy": self.accuracy}
