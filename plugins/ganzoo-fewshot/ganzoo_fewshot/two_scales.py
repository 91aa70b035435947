"""The trainer `fastgan`: the generator's own small images reach the discriminator's second scale."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

from torch import Tensor

from ganzoo.plugin import Batch, FakeBatch, GANTrainer, RequestError, TrainingParts
from ganzoo_fewshot.configs import FastGANTrainerConfig
from ganzoo_fewshot.fastgan import FastGANDiscriminator, FastGANGenerator


@dataclass(frozen=True)
class TwoScaleFakes(FakeBatch):
    """Generated samples with the small images (N, C, h, w) that the generator made beside them."""

    small: Tensor | None = None

    def detach(self) -> TwoScaleFakes:
        """Return the same samples without the generator's graph."""
        small = None if self.small is None else self.small.detach()
        return replace(self, samples=self.samples.detach(), small=small)


class FastGANTrainer(GANTrainer):
    """`adversarial`, where the discriminator's small track sees the second output of the generator.

    Both outputs are augmented, each by its own draw. Real images, and those that a penalty makes, are shrunk by the
    discriminator itself. Networks without two scales are trained as by `adversarial`; those with two take no penalty
    that differentiates at generated images, as `r2` does.

    Difference from the authors' code: generated images are augmented anew for the generator's update; the authors
    augment them once in an iteration, and both networks learn from the very same.
    """

    Config = FastGANTrainerConfig

    def __init__(self, config: FastGANTrainerConfig, *, parts: TrainingParts) -> None:
        super().__init__(config, parts=parts)
        generator = parts.generator
        self.two_scales = (
            isinstance(generator, FastGANGenerator)
            and generator.config.small_output
            and isinstance(parts.discriminator, FastGANDiscriminator)
        )
        for name, penalty in parts.penalties.items():
            if self.two_scales and "fake" in penalty.differentiates_at:
                raise RequestError(
                    f'penalties: "{name}" differentiates at generated images, and would leave out the small ones that '
                    "the discriminator sees beside them: leave it out, or set generator.small_output = false"
                )

    def generate(self, batch: Batch, role: str = "generator") -> FakeBatch:
        """Generate as many samples as `batch` has, with their small images."""
        if not self.two_scales:
            return super().generate(batch, role)
        generator = cast("FastGANGenerator", self.parts.networks[role])
        latents = self.latents(batch, role)
        with self.parts.autocast():
            samples, small = generator(latents, small=True)
        return TwoScaleFakes(samples.float(), latents, batch.labels, batch.condition, small.float())

    def logits(self, samples: Tensor, beside: Batch | FakeBatch, role: str = "discriminator") -> Tensor:
        """Return the discriminator's logits (N, …) in fp32, for generated samples with their small images."""
        if not isinstance(beside, TwoScaleFakes) or beside.small is None:
            return super().logits(samples, beside, role)
        small = self.augment(beside.small)
        with self.parts.autocast():
            logits = self.parts.networks[role](samples, small=small)
        return cast("Tensor", logits.float())
