"""The classifier of triples of digits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
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
        """Train on the channels that show nine tenths of the digits, and measure the accuracy on the others.

        A digit is in many triples: one held out is in none of those that are trained on.

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
        digits = different_digits(real)
        if not digits.any():
            raise UnfitDataError(
                'the extractor "stacked_digits" learns from some digits and holds others back, and all are the same: '
                "set dataset.count to 2 or more"
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
        order = torch.randperm(int(digits.max()) + 1, generator=rng)
        held_out = torch.zeros(len(order), dtype=torch.bool)
        held_out[order[: max(1, int(len(order) * HELD_OUT))]] = True
        places, unseen = (~held_out)[digits].nonzero(), first_places(digits, held_out)
        optimizer = torch.optim.Adam(self.parameters(), lr=2e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.config.steps)
        self.train()
        for _ in range(self.config.steps):
            images, wanted = channels_at(real, places[torch.randint(len(places), (BATCH,), generator=rng)])
            optimizer.zero_grad()
            F.cross_entropy(self.digits(self.layers(images)), wanted).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        self.eval()
        with torch.no_grad():
            parts = (channels_at(real, part) for part in torch.split(unseen, BATCH))
            right = torch.cat([self.digits(self.layers(images)).argmax(1) == wanted for images, wanted in parts])
        self.accuracy = float(right.double().mean()) ** 3

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
        """Return the accuracy on triples of held-out digits, the cube of that on single ones."""
        return {"accuracy": self.accuracy}


def different_digits(real: StoredImages) -> Tensor:
    """Return a number for each channel (N, 3) from 0 on, the same where the same digit is seen."""
    numbers: dict[bytes, int] = {}
    channels = (np.moveaxis(image, -1, 0) for image in real.images)
    return torch.tensor([[numbers.setdefault(each.tobytes(), len(numbers)) for each in three] for three in channels])


def first_places(digits: Tensor, wanted: Tensor) -> Tensor:
    """Return the image and the channel (M, 2) in which each wanted digit is seen first, for `wanted` (digits,)."""
    first = torch.from_numpy(np.unique(digits.flatten().numpy(), return_index=True)[1])[wanted]
    return torch.stack([first // 3, first % 3], 1)


def channels_at(real: StoredImages, places: Tensor) -> tuple[Tensor, Tensor]:
    """Return digits (N, 1, H, W) in [−1, 1] and their classes (N,), at these images and channels (N, 2)."""
    assert real.labels is not None
    chosen, channels = places.unbind(1)
    images = real_images(real, chosen)[torch.arange(len(chosen)), channels, None]
    triples = torch.from_numpy(real.labels[chosen.numpy()])
    return images, triples.div(torch.tensor([100, 10, 1])[channels], rounding_mode="floor") % 10
