"""The options of the trainers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from ganzoo.plugin import (
    AdamConfig,
    ComponentConfig,
    DatasetInfo,
    DiscriminatorConfig,
    GANTrainerConfig,
    ImageSpec,
    OptimizerConfig,
    PenaltyConfig,
    Scheduled,
    VectorSpec,
)

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

Beta = Annotated[float, Field(ge=0, lt=1)]


class UnrolledConfig(GANTrainerConfig):
    """The unrolled GAN (arXiv 1611.02163): the generator learns from a discriminator that has reacted to it."""

    unrolled_steps: NonNegativeInt = 5
    """K of the paper: unrolled steps of the discriminator for the generator's update; 0: `adversarial`."""
    unrolled_update: Literal["adam", "gradient"] = "adam"
    """"adam": unroll Adam from the current state of the discriminator's optimizer, as in the paper's experiments;
    "gradient": unroll plain gradient descent, as in its equations."""
    unrolled_lr: PositiveFloat | None = None
    """η of the paper: learning rate of these steps; default: the discriminator's. Gradient descent on DCGAN's
    discriminator, whose weights are small, becomes unstable from about 1e-3 on."""

    @property
    def differentiates_twice(self) -> bool:
        """True where steps are unrolled: the generator's gradient goes through those of the discriminator."""
        return self.unrolled_steps > 0

    def check_parts(self, parts: Mapping[str, ComponentConfig]) -> None:
        """Raise ValueError where the generator's gradient needs three derivatives of batch norm, which torch lacks.

        Instance norm is batch norm to torch.
        """
        super().check_parts(parts)
        named = {f'"{part.name}" ({path})': part for path, part in parts.items()}
        mixing = [
            name
            for name, part in named.items()
            if isinstance(part, DiscriminatorConfig) and (part.mixes_batch or getattr(part, "norm", None) == "instance")
        ]
        twice = [name for name, part in named.items() if isinstance(part, PenaltyConfig) and part.is_gradient_penalty]
        if self.unrolled_steps and mixing and twice:
            raise ValueError(
                f"differentiates {' and '.join(twice)} twice more, which torch's batch and instance norm cannot: take "
                f"a discriminator without them in place of {' and '.join(mixing)}, or leave the penalty out"
            )

    @model_validator(mode="after")
    def _options_suit_unrolling(self) -> Self:
        options = self.discriminator_optimizer
        goes_on = self.unrolled_steps and self.unrolled_update != "gradient"
        if goes_on and (not isinstance(options, AdamConfig) or options.amsgrad):
            raise ValueError(
                'unrolled_update = "adam" goes on from the discriminator\'s Adam: let discriminator_optimizer be '
                '"adam" without amsgrad, or set unrolled_update = "gradient"'
            )
        if self.micro_batch_size is not None:
            raise ValueError("the unrolled steps are taken on a whole minibatch: leave micro_batch_size out")
        if self.unrolled_steps and self.discriminator_update == "separate":
            raise ValueError('unrolled steps are on real and generated images: set discriminator_update = "joint"')
        return self


class PacGANConfig(GANTrainerConfig):
    """PacGAN (arXiv 1712.04086): the discriminator judges several samples together, all real or all generated, and so
    sees where generated ones lack variety."""

    packing: PositiveInt = 2
    """Samples in a pack, m of the paper; they are concatenated by channels, or as longer vectors. 1: `adversarial`."""

    @property
    def samples_per_logit(self) -> int:
        """A pack."""
        return self.packing

    def info_for(self, role: str, info: DatasetInfo) -> DatasetInfo:
        """Return packs of samples, and of their conditions, for discriminators; packs have no label."""
        if self.roles[role] == "generator" or self.packing == 1:
            return info
        condition = None if info.condition is None else packed_spec(info.condition, self.packing)
        return DatasetInfo(packed_spec(info.samples, self.packing), condition=condition)

    def check_parts(self, parts: Mapping[str, ComponentConfig]) -> None:
        """Raise ValueError where a discriminator or a penalty wants the label of a pack, or as `adversarial` does."""
        super().check_parts(parts)
        wrong = [
            f'"{part.name}" ({path})'
            for path, part in parts.items()
            if isinstance(part, DiscriminatorConfig | PenaltyConfig) and "labels" in part.uses
        ]
        if wrong and self.packing > 1:
            raise ValueError(
                f"packs samples of different labels, and {' and '.join(wrong)} wants one label for each: take parts "
                "that are told none, or packing = 1"
            )

    @model_validator(mode="after")
    def _minibatches_are_whole_packs(self) -> Self:
        for name in ("batch_size", "micro_batch_size"):
            if (getattr(self, name) or 0) % self.packing:
                raise ValueError(f"{name} must be a multiple of packing, which is {self.packing}")
        return self


def packed_spec(spec: ImageSpec | VectorSpec, count: int) -> ImageSpec | VectorSpec:
    """Return the shape of `count` samples side by side: more channels, or longer vectors."""
    if isinstance(spec, ImageSpec):
        return ImageSpec(spec.channels * count, spec.height, spec.width)
    return VectorSpec(spec.size * count)


class LionConfig(OptimizerConfig):
    """Lion (arXiv 2302.06675): updates by the sign of a momentum, so that each weight moves by the same amount; needs a
    learning rate three to ten times lower than Adam's.
    """

    lr: Scheduled[PositiveFloat] = 5e-5
    """Learning rate: the amount by which each weight moves."""
    weight_decay: NonNegativeFloat = 0.0
    """Decoupled from the gradient, on every parameter."""
    betas: tuple[Scheduled[Beta], Scheduled[Beta]] = (0.5, 0.99)
    """Weight of the momentum in the update, and decay of the momentum; 0.9 and 0.99 in the paper."""

    def build(self, parameters: Iterable[Tensor]) -> Optimizer:
        """Build it over `parameters`."""
        from ganzoo_trainers.lion import Lion

        return Lion(parameters, **self.model_dump(exclude={"name"}))
