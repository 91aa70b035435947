"""The trainer of pix2pix (arXiv 1611.07004)."""

from __future__ import annotations

from torch import Tensor

from ganzoo.plugin import Batch, FakeBatch, GANTrainer
from ganzoo_translation.configs import Pix2PixConfig


class Pix2Pix(GANTrainer):
    """The discriminator, then the generator, which also minimizes the mean absolute difference from the target.

    With the loss `non_saturating` both networks minimize what the authors' do, the discriminator's mean of both terms
    included. Differs from their code: the rate falls with every step rather than every epoch, and images are mirrored
    (`horizontal_flip`) but not enlarged to 286 pixels and cropped at random.
    """

    Config = Pix2PixConfig
    config: Pix2PixConfig

    def generator_objective(self, batch: Batch, fake: FakeBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss, the penalties' terms and λ times the difference, and the metrics of it."""
        objective, metrics = super().generator_objective(batch, fake)
        distance = (fake.samples - batch.real).abs().mean()
        return objective + self.config.l1_weight * distance, metrics | {"loss/l1": distance.detach()}
