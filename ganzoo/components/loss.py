"""The contracts of what is minimized: losses on logits, and penalties that go with any loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from ganzoo.components.options import LossConfig
from ganzoo.components.spec import DatasetInfo


class Loss(ABC):
    """What the two networks minimize, always given logits (N,) in fp32, never probabilities."""

    Config: ClassVar[type[LossConfig]] = LossConfig

    needs_real_logits: bool = False
    """Whether `generator_loss` wants the logits of real images too, as relativistic losses do."""
    outputs_probabilities: bool = True
    """Whether logits far from 0 mean that the discriminator is sure; a Wasserstein critic's only differ."""

    def __init__(self, config: LossConfig, *, info: DatasetInfo) -> None:
        self.config = config
        self.info = info

    @abstractmethod
    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """A scalar that falls as the discriminator tells real from fake."""

    @abstractmethod
    def generator_loss(self, real_logits: Tensor | None, fake_logits: Tensor) -> Tensor:
        """A scalar that falls as the generator deceives; `real_logits` only where `needs_real_logits`."""
