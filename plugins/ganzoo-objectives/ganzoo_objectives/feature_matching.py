"""Feature matching: the generator matches the mean features of real images in the discriminator."""

from __future__ import annotations

import torch
from torch import Tensor

from ganzoo.plugin import Discriminator, Generator, Penalty, PenaltyStep
from ganzoo_objectives.configs import FeatureMatchingConfig


class FeatureMatching(Penalty):
    """(E f(x) − E f(G(z)))² (arXiv 1606.03498, §3.1), f being one layer of the discriminator.

    A conditional discriminator sees images with their labels and conditions where its features depend on these.

    The mean over the entries of f and not their sum, so that one `weight` suits layers of any size. In the paper this
    replaces the generator's loss; here it is added to it.
    """

    Config = FeatureMatchingConfig
    config: FeatureMatchingConfig

    def setup(self, generator: Generator, discriminator: Discriminator) -> None:
        """Raise ValueError unless the discriminator has the layer."""
        count = len(discriminator.feature_shapes())
        if not -count <= self.config.layer < count:
            raise ValueError(f"has layer = {self.config.layer}; this discriminator has the layers 0 to {count - 1}")

    def generator_term(self, step: PenaltyStep) -> Tensor:
        """Return the squared distance of the two batch means, before `weight`, for the generator alone."""
        with torch.no_grad():
            real = self._mean_features(step, step.real)
        return (self._mean_features(step, step.fake) - real).square().mean()

    def _mean_features(self, step: PenaltyStep, images: Tensor) -> Tensor:
        features = step.features(images)[self.config.layer]
        return step.world.all_reduce_mean(features.float().mean(0))
