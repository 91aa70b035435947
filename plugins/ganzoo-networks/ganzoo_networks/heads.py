"""Auxiliary heads on the discriminator's features, as penalties: AC-GAN's classifier and InfoGAN's Q."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganzoo.plugin import Discriminator, Generator, Penalty, PenaltyStep
from ganzoo_networks.configs import AuxiliaryClassifierConfig, InfoGANGeneratorConfig, MutualInformationConfig


def feature_count(discriminator: Discriminator) -> int:
    """Return the number of values of the last features of one sample."""
    return math.prod(discriminator.feature_shapes()[-1])


class AuxiliaryClassifier(Penalty):
    """AC-GAN (arXiv 1610.09585, eq. 3): a classifier on the last features, −log P(C = c | X) for both networks.

    The discriminator learns to classify real images, and generated ones if `on_generated`; the generator learns to make
    images that are classified correctly.
    """

    Config = AuxiliaryClassifierConfig
    config: AuxiliaryClassifierConfig

    def setup(self, generator: Generator, discriminator: Discriminator) -> None:
        """Create the classifier.

        Raises:
            ValueError: the dataset has no labels.
        """
        if not self.info.class_names:
            raise ValueError("needs a dataset with labels")
        self.head = nn.Linear(feature_count(discriminator), self.info.num_classes)

    def class_logits(self, discriminator: Discriminator, images: Tensor) -> Tensor:
        """Return class logits (N, num_classes) for images (N, C, H, W)."""
        return cast("Tensor", self.head(discriminator.features(images)[-1].flatten(1)))

    def discriminator_term(self, step: PenaltyStep) -> Tensor:
        """Return the cross-entropy of the classes of real images, and of generated ones if `on_generated`."""
        assert step.labels is not None
        term = F.cross_entropy(self.class_logits(step.discriminator, step.real), step.labels)
        if self.config.on_generated:
            term = term + F.cross_entropy(self.class_logits(step.discriminator, step.fake), step.labels)
        return term

    def generator_term(self, step: PenaltyStep) -> Tensor:
        """Return the cross-entropy of the classes of generated images."""
        assert step.labels is not None
        return F.cross_entropy(self.class_logits(step.discriminator, step.fake), step.labels)


class MutualInformation(Penalty):
    """InfoGAN (arXiv 1606.03657, eq. 5): −L_I, the negative log likelihood of the codes under Q for generated images.

    Q is a hidden layer and an output on the discriminator's last features. The negative log likelihood is the
    cross-entropy for a categorical code and, for a continuous one, that of a normal distribution with standard
    deviation 1 and the mean μ that Q predicts: ½(c − μ)² up to a constant. Both networks and Q minimize it.
    """

    Config = MutualInformationConfig
    config: MutualInformationConfig

    def setup(self, generator: Generator, discriminator: Discriminator) -> None:
        """Create Q for the codes of the generator.

        Raises:
            ValueError: the discriminator judges packs.
        """
        if discriminator.info.samples != generator.info.samples:
            raise ValueError(
                "reads the codes of each sample, and the discriminator judges packs: set trainer.packing = 1"
            )
        self.codes = cast("InfoGANGeneratorConfig", generator.config)
        self.head = nn.Sequential(
            nn.Linear(feature_count(discriminator), self.config.hidden),
            nn.LeakyReLU(0.1),
            nn.Linear(self.config.hidden, self.codes.code_dim),
        )

    def discriminator_term(self, step: PenaltyStep) -> Tensor:
        """Return −L_I of generated images, for Q and the layers below it."""
        return self._term(step)

    def generator_term(self, step: PenaltyStep) -> Tensor:
        """Return −L_I of generated images, for the generator."""
        return self._term(step)

    def _term(self, step: PenaltyStep) -> Tensor:
        read = self.head(step.discriminator.features(step.fake)[-1].flatten(1))
        sizes = [*self.codes.categorical, self.codes.continuous]
        *read_categorical, read_continuous = torch.split(read, sizes, 1)
        *categorical, continuous = torch.split(step.latents[:, : self.codes.code_dim], sizes, 1)
        term = self.config.continuous_weight * (continuous - read_continuous).square().sum(1).mean() / 2
        for logits, code in zip(read_categorical, categorical, strict=True):
            term = term + F.cross_entropy(logits, code)
        return term
