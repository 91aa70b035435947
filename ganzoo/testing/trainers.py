"""Conformance check of trainers: the metrics of a step, and resuming that is exact to the bit."""

from __future__ import annotations

import io
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ganzoo.components.dataset import Batch
from ganzoo.components.loss import Loss
from ganzoo.components.options import LossConfig
from ganzoo.components.trainer import Trainer, TrainingParts
from ganzoo.registry.registry import Entry
from ganzoo.testing.fixtures import (
    BATCH,
    fail,
    generator_of_seed,
    images_for,
    labels_for,
    require,
    small_options,
    tiny_networks,
)


class PlainLoss(Loss):
    """The non-saturating loss, to test trainers with."""

    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """Return the cross-entropy."""
        return softplus(-real_logits).mean() + softplus(fake_logits).mean()

    def generator_loss(self, real_logits: Tensor | None, fake_logits: Tensor) -> Tensor:
        """Return −log D(G(z))."""
        return softplus(-fake_logits).mean()


def check_trainer(entry: Entry[Any], **options: Any) -> None:
    """Check the metrics, that the networks change, and an exact round trip of all state.

    Raises:
        ConformanceError: with what to change.
    """
    config = small_options(entry, {"batch_size": BATCH, **options})
    trainer = _trainer(entry, config)
    start = _weights(trainer)
    require(
        {"generator", "discriminator"} <= trainer.networks().keys(),
        entry,
        'networks must give "generator" and "discriminator": only what it gives is saved',
    )
    for number in range(2):
        metrics = trainer.train_step(_batch(trainer, number)) | trainer.expensive_metrics()
        for name, value in metrics.items():
            require(
                isinstance(value, Tensor) and value.ndim == 0 and not value.requires_grad,
                entry,
                f'the metric "{name}" must be a scalar tensor without gradient: give it with .detach()',
            )
            require(value.isfinite(), entry, f'the metric "{name}" is {value.item()}')
    require(metrics, entry, "train_step gives no metrics: the losses at least")
    now = _weights(trainer)
    for network in ("generator", "discriminator"):
        changed = any(not torch.equal(now[key], start[key]) for key in now if key.startswith(f"{network}."))
        require(changed, entry, f"two steps do not change the {network}: descend its loss")
    resumed = _resumed(entry, config, trainer)
    for each in (trainer, resumed):
        each.train_step(_batch(each, 2))
    ours, theirs = _weights(trainer), _weights(resumed)
    different = [name for name in ours if not torch.equal(ours[name], theirs[name])]
    require(
        not different,
        entry,
        f"goes on differently after a resume ({', '.join(different[:3])}): put all state into state_dict, and draw "
        f"with parts.rng",
    )


def _trainer(entry: Entry[Any], config: Any) -> Trainer:
    generator, discriminator = tiny_networks()
    parts = TrainingParts(
        networks={"generator": generator, "discriminator": discriminator},
        loss=PlainLoss(LossConfig(), info=generator.info),
        rng=generator_of_seed(0),
        autocast=nullcontext,
        total_steps=10,
    )
    trainer: Trainer = entry.load()(config, parts=parts)
    return trainer


def _batch(trainer: Trainer, number: int) -> Batch:
    info = trainer.parts.generator.info
    count = BATCH * trainer.config.batches_per_step
    return Batch(images_for(info, count, seed=10 + number), labels_for(info, count))


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
        fail(entry, f"state_dict holds more than tensors, numbers, text, lists and dictionaries: {error}")
    other = _trainer(entry, config)
    for name, network in trainer.networks().items():
        other.networks()[name].load_state_dict(network.state_dict())
    other.load_state_dict(state)
    other.parts.rng.set_state(trainer.parts.rng.get_state())
    return other
