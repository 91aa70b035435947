"""One-sided label smoothing: a target below 1 for the discriminator's real images."""

from __future__ import annotations

from torch import Tensor

from ganzoo.plugin import NonSaturating
from ganzoo_objectives.configs import LabelSmoothingConfig


class LabelSmoothing(NonSaturating):
    """The non-saturating loss with a target below 1 for real images (arXiv 1606.03498, §3.4)."""

    Config = LabelSmoothingConfig
    config: LabelSmoothingConfig

    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """Return −t·log D(x) − (1 − t)·log(1 − D(x)) − log(1 − D(G(z))), or half of it."""
        # softplus(l) − softplus(−l) is l, so that (1 − t)·l is all that smoothing adds.
        return super().discriminator_loss(real_logits, fake_logits) + self._share * real_logits.mean()

    @property
    def _share(self) -> float:
        distance = 1 - self.config.real_target
        return distance / 2 if self.config.discriminator_terms == "mean" else distance
