"""Conformance checks of losses, penalties and trainers."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ganzoo.builtin.configs import NonSaturatingConfig
from ganzoo.builtin.losses import NonSaturating
from ganzoo.components.dataset import Batch
from ganzoo.components.loss import Loss
from ganzoo.components.network import Discriminator, Generator
from ganzoo.components.options import ROLES
from ganzoo.components.penalty import Penalty, PenaltyStep
from ganzoo.components.spec import DatasetInfo, ImageSpec, LabelSpec
from ganzoo.components.trainer import Trainer, TrainingParts
from ganzoo.registry.plugin_manager import plugin_manager
from ganzoo.registry.registry import Entry
from ganzoo.testing.fixtures import (
    BATCH,
    CLASSES,
    ConformanceError,
    generator_of_seed,
    images_for,
    labels_for,
    naming,
    require,
    seeded,
    small_info,
    small_options,
    tiny_discriminator,
    tiny_generator,
    tiny_networks,
)

METHODS = ("discriminator_term", "generator_term", "transform_images", "after_discriminator_step")


@naming
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
        _check_scalar("discriminator_loss", value)
        value.backward()  # type: ignore[no-untyped-call]
        require(
            real.grad is not None and fake.grad is not None,
            "discriminator_loss leaves out real_logits or fake_logits: the discriminator learns from both",
        )
        fake.grad = None
        value = loss.generator_loss(real.detach() if loss.needs_real_logits else None, fake)
        _check_scalar("generator_loss", value)
        value.backward()  # type: ignore[no-untyped-call]
        require(fake.grad is not None, "generator_loss does not depend on fake_logits: the generator cannot learn")
    right, wrong = torch.full((BATCH,), 0.5), torch.full((BATCH,), -0.5)
    require(
        loss.discriminator_loss(right, wrong) < loss.discriminator_loss(wrong, right),
        "discriminator_loss rises as the discriminator tells real (high logits) from fake (low ones): turn its sign",
    )
    real_logits = torch.zeros(BATCH) if loss.needs_real_logits else None
    require(
        loss.generator_loss(real_logits, right) < loss.generator_loss(real_logits, wrong),
        "generator_loss rises as generated images get higher logits: turn its sign",
    )


@naming
def check_penalty(entry: Entry[Any], **options: Any) -> None:
    """Check that the terms are finite, repeatable scalars, and that images keep their shape.

    Raises:
        ConformanceError: with what to change.
    """
    config = small_options(entry, options)
    cls = entry.load()
    overridden = [name for name in METHODS if getattr(cls, name) is not getattr(Penalty, name)]
    require(overridden, f"does nothing: override one of {', '.join(METHODS)}")
    penalty, generator, discriminator = _attached(entry, config)

    def step(detach: bool, seed: int = 0) -> PenaltyStep:
        rng = generator_of_seed(seed)
        latents = generator.sample_latents(BATCH, rng)
        labels = labels_for(generator.info)
        real, fake = images_for(generator.info), generator(latents, **generator.inputs(labels))
        real, fake = (penalty.transform_images(each, rng) for each in (real, fake.detach() if detach else fake))
        require(real.shape == (BATCH, *generator.info.image.shape), "transform_images changes their shape")
        require(fake.requires_grad or detach, "transform_images lets no gradient through")
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
        _check_scalar(name, term)
        require(
            torch.allclose(term, getattr(penalty, name)(step(detach))),
            f"{name} gives another value for the same rng: draw with `generator=step.rng`, or runs cannot resume",
        )
        term.backward()
    penalty.after_discriminator_step(discriminator)
    finite = all(parameter.isfinite().all() for parameter in discriminator.parameters())
    require(finite, "after_discriminator_step leaves weights that are not finite")
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
    raise ConformanceError(f"takes neither plain networks nor its plugin's: {reasons[0]}")


def _generators(entry: Entry[Any]) -> Iterator[Generator]:
    yield tiny_networks(32)[0]
    for other in plugin_manager().registries.generators:
        if other.plugin == entry.plugin:
            config = small_options(other)
            yield seeded(partial(other.load(), config, info=small_info(config)))


def _check_scalar(name: str, value: Tensor) -> None:
    require(
        isinstance(value, Tensor) and value.ndim == 0, f"{name} must give a scalar tensor: take the mean over the batch"
    )
    require(value.isfinite(), f"{name} is {value.item()} for ordinary values: use softplus rather than log")
    require(value.requires_grad, f"{name} has no gradient: do not detach it")


@naming
def check_trainer(entry: Entry[Any], **options: Any) -> None:
    """Check the metrics, that the networks change, and an exact round trip of all state.

    Raises:
        ConformanceError: with what to change.
    """
    config = small_options(entry, {"batch_size": BATCH, **options})
    require(
        ROLES.items() <= config.roles.items(),
        'roles must name a "generator" and a "discriminator", the first of their kinds: add to `super().roles`',
    )
    trainer = _trainer(entry, config)
    start = _weights(trainer)
    missing = config.roles.keys() - trainer.networks().keys()
    require(not missing, f"networks must give {', '.join(map(repr, sorted(missing)))}: only what it gives is saved")
    for number in range(2):
        metrics = trainer.train_step(_batch(trainer, number)) | trainer.expensive_metrics()
        for name, value in metrics.items():
            require(
                isinstance(value, Tensor) and value.ndim == 0 and not value.requires_grad,
                f'the metric "{name}" must be a scalar tensor without gradient: give it with .detach()',
            )
            require(value.isfinite(), f'the metric "{name}" is {value.item()}')
    require(metrics, "train_step gives no metrics: the losses at least")
    now = _weights(trainer)
    for network in config.roles:
        changed = any(not torch.equal(now[key], start[key]) for key in now if key.startswith(f"{network}."))
        require(changed, f"two steps do not change the {network}: descend its loss")
    resumed = _resumed(entry, config, trainer)
    for each in (trainer, resumed):
        each.train_step(_batch(each, 2))
    ours, theirs = _weights(trainer), _weights(resumed)
    different = [name for name in ours if not torch.equal(ours[name], theirs[name])]
    require(
        not different,
        f"goes on differently after a resume ({', '.join(different[:3])}): put all state into state_dict, and draw "
        f"with parts.rng",
    )


def _trainer(entry: Entry[Any], config: Any) -> Trainer:
    image = ImageSpec(3, 16, 16)
    info = DatasetInfo(image, LabelSpec.classes(CLASSES), image if "condition" in config.uses else None)
    tiny = {"generator": tiny_generator, "discriminator": tiny_discriminator}
    parts = TrainingParts(
        networks={role: tiny[kind](config.info_for(role, info)) for role, kind in config.roles.items()},
        loss=NonSaturating(NonSaturatingConfig(), info=info),
        rng=generator_of_seed(0),
        autocast=nullcontext,
        total_steps=10,
    )
    trainer: Trainer = entry.load()(config, parts=parts)
    return trainer


def _batch(trainer: Trainer, number: int) -> Batch:
    info = trainer.parts.generator.info
    count = BATCH * trainer.config.batches_per_step
    condition = None if info.condition is None else images_for(info, count, seed=20 + number)
    return Batch(images_for(info, count, seed=10 + number), labels_for(info, count), condition)


def _weights(trainer: Trainer) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value.clone()
        for name, network in trainer.networks().items()
        for key, value in network.state_dict().items()
    }


def _resumed(entry: Entry[Any], config: Any, trainer: Trainer) -> Trainer:
    """Return a new trainer with the checkpointed state of another."""
    buffer = io.BytesIO()
    try:
        torch.save(trainer.state_dict(), buffer)
        buffer.seek(0)
        state = torch.load(buffer, weights_only=True)
    except Exception as error:
        raise ConformanceError(
            f"state_dict holds more than tensors, numbers, text, lists and dictionaries: {error}"
        ) from error
    other = _trainer(entry, config)
    for name, network in trainer.networks().items():
        other.networks()[name].load_state_dict(network.state_dict())
    other.load_state_dict(state)
    other.parts.rng.set_state(trainer.parts.rng.get_state())
    return other
