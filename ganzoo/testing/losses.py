"""Conformance checks of losses and penalties."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ganzoo.components.loss import Loss
from ganzoo.components.network import Discriminator, Generator
from ganzoo.components.penalty import Penalty, PenaltyStep
from ganzoo.registry.plugin_manager import plugin_manager
from ganzoo.registry.registry import Entry
from ganzoo.testing.fixtures import (
    BATCH,
    ConformanceError,
    describe,
    generator_of_seed,
    images_for,
    labels_for,
    require,
    seeded,
    small_info,
    small_options,
    tiny_discriminator,
    tiny_networks,
)

METHODS = ("discriminator_term", "generator_term", "transform_images", "after_discriminator_step")


def check_loss(entry: Entry[Any], **options: Any) -> None:
    """Check that the losses are finite scalars with gradients, and fall where the networks improve.

    Raises:
        ConformanceError: with what to change.
    """
    config = small_options(entry, options)
    loss: Loss = entry.load()(config, info=tiny_networks()[0].info)
    for scale in (1.0, 50.0):
        noise = torch.randn(2, BATCH, generator=generator_of_seed(0)) * scale
        real, fake = noise[0].clone().requires_grad_(), noise[1].clone().requires_grad_()
        value = loss.discriminator_loss(real, fake)
        _check_scalar(entry, "discriminator_loss", value)
        value.backward()  # type: ignore[no-untyped-call]
        require(
            real.grad is not None and fake.grad is not None,
            entry,
            "discriminator_loss leaves out real_logits or fake_logits: the discriminator learns from both",
        )
        fake.grad = None
        value = loss.generator_loss(real.detach() if loss.needs_real_logits else None, fake)
        _check_scalar(entry, "generator_loss", value)
        value.backward()  # type: ignore[no-untyped-call]
        require(
            fake.grad is not None,
            entry,
            "generator_loss does not depend on fake_logits: the generator cannot learn",
        )
    right, wrong = torch.full((BATCH,), 0.5), torch.full((BATCH,), -0.5)
    require(
        loss.discriminator_loss(right, wrong) < loss.discriminator_loss(wrong, right),
        entry,
        "discriminator_loss rises as the discriminator tells real (high logits) from fake (low ones): turn its sign",
    )
    real_logits = torch.zeros(BATCH) if loss.needs_real_logits else None
    require(
        loss.generator_loss(real_logits, right) < loss.generator_loss(real_logits, wrong),
        entry,
        "generator_loss rises as generated images get higher logits: turn its sign",
    )


def check_penalty(entry: Entry[Any], **options: Any) -> None:
    """Check that the terms are finite, repeatable scalars, and that images keep their shape.

    Raises:
        ConformanceError: with what to change.
    """
    config = small_options(entry, options)
    cls = entry.load()
    overridden = [name for name in METHODS if getattr(cls, name) is not getattr(Penalty, name)]
    require(overridden, entry, f"does nothing: override one of {', '.join(METHODS)}")
    penalty, generator, discriminator = _attached(entry, config)

    def step(detach: bool, seed: int = 0) -> PenaltyStep:
        rng = generator_of_seed(seed)
        latents = generator.sample_latents(BATCH, rng)
        labels = labels_for(generator.info)
        real, fake = images_for(generator.info), generator(latents, **generator.inputs(labels))
        real, fake = (penalty.transform_images(each, rng) for each in (real, fake.detach() if detach else fake))
        require(real.shape == (BATCH, *generator.info.image.shape), entry, "transform_images changes their shape")
        require(fake.requires_grad or detach, entry, "transform_images lets no gradient through")
        return PenaltyStep(
            generator=generator,
            discriminator=discriminator,
            real=real,
            fake=fake,
            latents=latents,
            labels=labels,
            condition=None,
            real_logits=discriminator(real),
            fake_logits=discriminator(fake),
            rng=rng,
        )

    for name, detach in (("discriminator_term", True), ("generator_term", False)):
        term = getattr(penalty, name)(step(detach))
        if term is None:
            continue
        _check_scalar(entry, name, term)
        require(
            torch.allclose(term, getattr(penalty, name)(step(detach))),
            entry,
            f"{name} gives another value for the same rng: draw with `generator=step.rng`, or runs cannot resume",
        )
        term.backward()
    penalty.after_discriminator_step(discriminator)
    finite = all(parameter.isfinite().all() for parameter in discriminator.parameters())
    require(finite, entry, "after_discriminator_step leaves weights that are not finite")
    again, _, _ = _attached(entry, config)
    again.load_state_dict(penalty.state_dict())


def _attached(entry: Entry[Any], config: Any) -> tuple[Penalty, Generator, Discriminator]:
    """Return the penalty with networks that it accepts: plain ones, or with a generator of its own plugin."""
    reasons = []
    for generator in _generators(entry):
        discriminator = tiny_discriminator(generator.info)
        try:
            penalty: Penalty = seeded(partial(entry.load(), config, info=generator.info))
            penalty.setup(generator, discriminator)
        except ValueError as error:
            reasons.append(str(error))
        else:
            return penalty, generator, discriminator
    raise ConformanceError(f"{describe(entry)}: takes neither plain networks nor its plugin's: {reasons[0]}")


def _generators(entry: Entry[Any]) -> Iterator[Generator]:
    yield tiny_networks(32)[0]
    for other in plugin_manager().registries.generators:
        if other.plugin == entry.plugin:
            config = small_options(other)
            yield seeded(partial(other.load(), config, info=small_info(config)))


def _check_scalar(entry: Entry[Any], name: str, value: Tensor) -> None:
    require(
        isinstance(value, Tensor) and value.ndim == 0,
        entry,
        f"{name} must give a scalar tensor: take the mean over the batch",
    )
    require(value.isfinite(), entry, f"{name} is {value.item()} for ordinary values: use softplus rather than log")
    require(value.requires_grad, entry, f"{name} has no gradient: do not detach it")
