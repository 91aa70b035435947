"""Base class of losses on logits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from ganzoo.components.options import LossConfig
from ganzoo.components.spec import DatasetInfo


class Loss(ABC):
    """The objectives of the two networks, on logits (N, …) in fp32, never probabilities.

    It keeps nothing from call to call, since no checkpoint has its state: what changes with training belongs in a
    trainer or a penalty.
    """

    Config: ClassVar[type[LossConfig]] = LossConfig

    needs_real_logits: bool = False
    """Whether `generator_loss` also takes the logits of real images, as relativistic losses do."""
    outputs_probabilities: bool = True
    """Whether sigmoid turns the logits into probabilities, as it does under cross-entropy; a critic's scores have no
    such scale."""

    def __init__(self, config: LossConfig, *, info: DatasetInfo) -> None:
        self.config = config
        self.info = info

    @abstractmethod
    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """Return the discriminator's loss, a scalar to minimize: the mean over all logits."""

    @abstractmethod
    def generator_loss(self, real_logits: Tensor | None, fake_logits: Tensor) -> Tensor:
        """Return the generator's loss, a scalar to minimize.

        `real_logits` are given where `needs_real_logits`, and where they depend on the generator, as they do through
        unrolled steps of the discriminator; a loss that is a saddle point's whole objective then has its real term too.
        """
