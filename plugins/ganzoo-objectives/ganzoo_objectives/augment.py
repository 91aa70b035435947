"""Augmentation of the discriminator's images, for training on few images."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from ganzoo.plugin import DatasetInfo, Penalty, PenaltyStep
from ganzoo_objectives.configs import AdaptiveAugmentConfig, AdaptiveConfig, DiffAugmentConfig
from ganzoo_objectives.diffaugment_ops import augment


class DiffAugment(Penalty):
    """Changes real and generated images alike, for both updates (arXiv 2006.10738).

    The conditions of a discriminator of pairs stay as they are.
    """

    Config = DiffAugmentConfig
    config: DiffAugmentConfig

    def transform_images(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Apply every policy to the images, or each with `probability`."""
        always = self.config.probability == 1  # as much is drawn at any other, which may change from step to step
        return augment(images, rng, self.config, None if always else self.option("probability"))


class AdaptiveProbability(Penalty):
    """Adapts a probability to the discriminator's overfitting (ADA, arXiv 2006.06676, §3).

    The mean sign of D(real) is 1 if the discriminator recognizes all real images, and 0 if it guesses. The probability
    rises while the mean sign is above `target` and falls while it is below. A derived class augments images with it.
    All state is in buffers, and the device is never waited for.
    """

    Config: ClassVar[type[AdaptiveConfig]] = AdaptiveConfig
    config: AdaptiveConfig
    probability: Tensor
    mean_sign: Tensor
    sign_sum: Tensor
    seen: Tensor
    updates: Tensor

    def __init__(self, config: AdaptiveConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        for name in ("probability", "mean_sign", "sign_sum", "seen"):
            self.register_buffer(name, torch.zeros(()))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def discriminator_term(self, step: PenaltyStep) -> None:
        """Record the logits of real images and adjust the probability where due; return no term."""
        assert step.real_logits is not None
        logits = step.world.all_gather(step.real_logits)  # so that all processes have the same probability
        images = step.real[0].numel() // math.prod(self.info.samples.shape)  # several where a logit is of a pack
        self.sign_sum += images * logits.sign().reshape(len(logits), -1).mean(1).sum()  # once each, not for each patch
        self.seen += images * len(logits)
        self.updates += 1
        due = self.updates % self.config.adjust_every == 0
        mean = self.sign_sum / self.seen
        change = (mean - self.config.target).sign() * self.seen / self.config.ramp_images
        adjusted = (self.probability + change).clamp(0, self.config.max_probability)
        self.probability.copy_(torch.where(due, adjusted, self.probability))
        self.mean_sign.copy_(torch.where(due, mean, self.mean_sign))
        self.sign_sum.mul_(~due)
        self.seen.mul_(~due)

    def metrics(self) -> dict[str, Tensor]:
        """Return the probability, and the mean sign that it was last adjusted by."""
        return {"probability": self.probability.clone(), "mean_sign": self.mean_sign.clone()}


class AdaptiveAugment(AdaptiveProbability):
    """Augments with a probability that follows the discriminator's overfitting (ADA, arXiv 2006.06676, §3).

    The feedback is the paper's, with its figures; the policies are DiffAugment's three, not the paper's eighteen
    transformations.
    """

    Config = AdaptiveAugmentConfig
    config: AdaptiveAugmentConfig

    def transform_images(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Apply each policy to each image with the current probability."""
        return augment(images, rng, self.config, self.probability)
