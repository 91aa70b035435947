"""R3GAN's training against its description: the order of the data, the objective, the five schedules, the average."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from ganzoo_objectives.diffaugment_ops import augment
from same import assert_same_checkpoint
from tiny_recipe import tiny_recipe
from torch import Tensor, nn
from torch.nn.functional import softplus

import ganzoo
from ganzoo.components.dataset import Batch, FakeBatch
from ganzoo.components.spec import DatasetInfo, ImageSpec
from ganzoo.components.trainer import TrainingParts
from ganzoo.registry.plugin_manager import plugin_manager

STEPS, BATCH = 10, 4
RANGES = {"lr": (2e-3, 5e-4), "gamma": (0.5, 0.05), "beta2": (0.9, 0.99), "half_life": (0, 64), "p": (0.0, 0.8)}
UNTIL = 6
"""Steps in which each value goes along half a cosine wave from the first to the second."""


def cosine(name: str) -> dict[str, Any]:
    first, last = RANGES[name]
    return {"from": first, "to": last, "shape": "cosine", "until": f"{UNTIL} steps"}


def value(name: str, step: int) -> float:
    first, last = RANGES[name]
    return last + (first - last) * (1 + math.cos(math.pi * min(1, step / UNTIL))) / 2


ADAM = {"name": "adam", "lr": cosine("lr"), "betas": [0.0, cosine("beta2")]}
TRAINER = {
    "name": "adversarial",
    "batch_size": BATCH,
    "schedule": "alternate_minibatches",
    "ema_half_life": cosine("half_life"),
    "ema_buffers": "copy",
    "generator_optimizer": ADAM,
    "discriminator_optimizer": ADAM,
}
PENALTIES = [
    {"name": "r1", "weight": cosine("gamma")},
    {"name": "r2", "weight": cosine("gamma")},
    {"name": "diff_augment", "policies": ["translation"], "probability": cosine("p")},
]


def component(kind: str, options: dict[str, Any], info: DatasetInfo) -> Any:
    entry = getattr(plugin_manager().registries, kind)[options["name"]]
    return entry.load()(entry.config.model_validate(options), info=info)


class Literal:
    """A step in plain torch: Adam, penalties and the average as the authors have them, the generator first."""

    def __init__(self, generator: nn.Module, discriminator: nn.Module, augmented: Callable[..., Tensor]) -> None:
        self.generator, self.discriminator, self.augmented = generator, discriminator, augmented
        self.ema = [weight.detach().clone() for weight in generator.parameters()]
        self.moments = [[torch.zeros_like(w) for w in n.parameters()] for n in (generator, discriminator)]

    def adam(self, which: int, loss: Tensor, step: int) -> None:
        network = (self.generator, self.discriminator)[which]
        beta = value("beta2", step)
        weights = list(network.parameters())
        gradients = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            for weight, gradient, moment in zip(weights, gradients, self.moments[which], strict=True):
                moment.mul_(beta).add_((1 - beta) * gradient.square())
                corrected = moment / (1 - beta ** (step + 1))
                weight -= value("lr", step) * gradient / (corrected.sqrt() + 1e-8)

    def learn(self, for_generator: Tensor, for_discriminator: Tensor, rng: torch.Generator, step: int) -> None:
        p = value("p", step)
        fake = self.generator(torch.randn(BATCH, 64, generator=rng).double())
        fake_logits = self.discriminator(self.augmented(fake, rng, p))
        real_logits = self.discriminator(self.augmented(for_generator, rng, p))
        self.adam(0, softplus(-(fake_logits - real_logits)).mean(), step)

        real = for_discriminator.clone().requires_grad_()
        fake = self.generator(torch.randn(BATCH, 64, generator=rng).double()).detach().requires_grad_()
        real_logits = self.discriminator(self.augmented(real, rng, p))
        fake_logits = self.discriminator(self.augmented(fake, rng, p))
        slopes = [
            torch.autograd.grad(logits.sum(), images, create_graph=True)[0].square().sum((1, 2, 3))
            for logits, images in ((real_logits, real), (fake_logits, fake))
        ]
        loss = softplus(-(real_logits - fake_logits)) + value("gamma", step) / 2 * (slopes[0] + slopes[1])
        self.adam(1, loss.mean(), step)

        half_life = value("half_life", step)
        kept = 0.5 ** (2 * BATCH / half_life) if half_life else 0.0
        for average, weight in zip(self.ema, self.generator.parameters(), strict=True):
            average.copy_(kept * average + (1 - kept) * weight.detach())


@pytest.mark.slow
def test_steps_are_the_authors_with_the_generator_first() -> None:
    """Ten steps of all five schedules; both networks and the average agree in fp64. The authors' order is D, G."""
    info = DatasetInfo(ImageSpec(3, 16, 16))
    registries = plugin_manager().registries
    networks = {
        kind: component(f"{kind}s", {"name": "r3gan", "width": 16}, info).double()
        for kind in ("generator", "discriminator")
    }
    policy = component("penalties", PENALTIES[2], info).config

    def augmented(images: Tensor, rng: torch.Generator, p: float) -> Tensor:
        return augment(images, rng, policy, p)

    literal = Literal(*(copy.deepcopy(network) for network in networks.values()), augmented)
    entry = registries.trainers["adversarial"]
    trainer = entry.load()(
        entry.config.model_validate(TRAINER),
        parts=TrainingParts(
            networks=networks,
            loss=component("losses", {"name": "relativistic_pairing"}, info),
            penalties={each["name"]: component("penalties", each, info) for each in PENALTIES},
            rng=torch.Generator().manual_seed(3),
            autocast=nullcontext,
            total_steps=STEPS,
        ),
    )
    trainer.generate = lambda batch: in_double(trainer, batch)
    trainer.logits = lambda samples, beside: networks["discriminator"](samples)
    rng = torch.Generator().manual_seed(3)
    data = torch.Generator().manual_seed(4)
    for step in range(STEPS):
        real = torch.rand(2 * BATCH, 3, 16, 16, generator=data, dtype=torch.float64) * 2 - 1
        trainer.train_step(Batch(real))
        literal.learn(real[:BATCH], real[BATCH:], rng, step)
    for ours, theirs in zip(networks.values(), (literal.generator, literal.discriminator), strict=True):
        for (name, weight), expected in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(weight, expected, atol=1e-6, rtol=1e-5, msg=name)
    for average, expected in zip(trainer.networks()["generator_ema"].parameters(), literal.ema, strict=True):
        torch.testing.assert_close(average, expected, atol=1e-6, rtol=1e-5)


def in_double(trainer: Any, batch: Batch) -> FakeBatch:
    """Generate like the trainer, which gives fp32."""
    generator = trainer.parts.generator
    latents = generator.sample_latents(len(batch), trainer.parts.rng)
    return FakeBatch(generator(latents.double()), latents)


def recipe(folder: Path) -> dict[str, Any]:
    tables = tiny_recipe(
        folder,
        run={"steps": 6},
        generator={"name": "r3gan", "width": 8, "conditional": True},
        discriminator={"name": "r3gan", "width": 8, "conditional": True},
        loss={"name": "relativistic_pairing"},
        penalties=PENALTIES,
        checkpoint={"every": 3},
    )
    return {**tables, "trainer": TRAINER}


@pytest.mark.slow
def test_a_conditional_run_resumes_to_the_bit_in_the_middle_of_its_schedules(tmp_path: Path) -> None:
    whole = ganzoo.run(recipe(tmp_path / "whole"))
    broken = ganzoo.run(recipe(tmp_path / "broken"), ["run.steps=3"])
    resumed = ganzoo.resume(broken.path, ["run.steps=6"])
    last = "checkpoints/step_0000006"
    assert_same_checkpoint(whole.path / last, resumed.path / last)
    assert not resumed.sample(2, labels=[3]).equal(resumed.sample(2, labels=[4]))
