"""The trainer of pix2pix (arXiv 1611.07004)."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ganzoo.plugin import Batch, FakeBatch, GANTrainer
from ganzoo_translation.configs import Pix2PixConfig
from ganzoo_translation.random_crop import enlarged_and_cropped, random_places


class Pix2Pix(GANTrainer):
    """The discriminator, then the generator, which also minimizes the mean absolute difference from the target.

    With the loss `non_saturating` both networks minimize what the authors' do, the discriminator's mean of both terms
    included. Differs from their code: the rate falls with every step rather than every epoch.
    """

    Config = Pix2PixConfig
    config: Pix2PixConfig

    def compute_step(self, batch: Batch) -> dict[str, Tensor]:
        """Update both on pairs that are enlarged and cropped, if they are to be."""
        return super().compute_step(self.cropped(batch) if self.config.enlarge > 1 else batch)

    def cropped(self, batch: Batch) -> Batch:
        """Return pairs enlarged and cropped, both of a pair at the same random place."""
        assert batch.condition is not None
        places = random_places(self, batch, 2)
        real, condition = (
            enlarged_and_cropped(each, self.config.enlarge, places) for each in (batch.real, batch.condition)
        )
        return replace(batch, real=real, condition=condition)

    def generator_objective(self, batch: Batch, fake: FakeBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss, the penalties' terms and λ times the difference, and the metrics of it."""
        objective, metrics = super().generator_objective(batch, fake)
        distance = (fake.samples - batch.real).abs().mean()
        return objective + self.config.l1_weight * distance, metrics | {"loss/l1": distance.detach()}
