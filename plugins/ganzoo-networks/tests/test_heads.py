"""Heads as penalties: their gradients, their values, and what they refuse; and training with labels to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_recipe import tiny_recipe
from torch.nn import functional as F

import ganzoo
from ganzoo.components.penalty import PenaltyStep
from ganzoo.errors import RecipeError
from ganzoo.plugin import plugin_manager
from ganzoo.recipe.load import load_recipe

LABELS = torch.tensor([0, 3, 3, 9])


def set_up(make: Any, name: str, generator: str, **options: Any) -> tuple[Any, Any, Any]:
    networks = make("generators", generator, size=16, width=4), make("discriminators", "dcgan", size=16, width=4)
    penalty = make("penalties", name, size=16, **options)
    penalty.setup(*networks)
    return *networks, penalty


def step_of(generator: Any, discriminator: Any, *, detached: bool) -> PenaltyStep:
    rng = torch.Generator().manual_seed(0)
    latents = generator.sample_latents(4, rng)
    fake = generator(latents, **generator.inputs(LABELS))
    fake = fake.detach() if detached else fake
    logits = discriminator(fake)
    real = torch.rand(4, 3, 16, 16)
    return PenaltyStep(generator, discriminator, real, fake, real, fake, latents, LABELS, None, None, logits, rng)


def has_gradient(module: Any) -> bool:
    return any(parameter.grad is not None and parameter.grad.any() for parameter in module.parameters())


@pytest.mark.parametrize(("name", "maker"), [("auxiliary_classifier", "cgan"), ("mutual_information", "infogan")])
def test_each_network_learns_from_its_term_alone(make: Any, name: str, maker: str) -> None:
    generator, discriminator, penalty = set_up(make, name, maker)
    penalty.discriminator_term(step_of(generator, discriminator, detached=True)).backward()
    assert has_gradient(discriminator)
    assert has_gradient(penalty)
    assert not has_gradient(generator)
    penalty.generator_term(step_of(generator, discriminator, detached=False)).backward()
    assert has_gradient(generator)


@pytest.mark.parametrize("on_generated", [True, False])
def test_auxiliary_classifier_is_cross_entropy_of_real_and_generated(make: Any, on_generated: bool) -> None:
    generator, discriminator, penalty = set_up(make, "auxiliary_classifier", "cgan", on_generated=on_generated)
    discriminator.eval()
    step = step_of(generator, discriminator, detached=True)
    assert penalty.head.in_features == 8 * 4 * 4
    losses = []
    for images in (step.real, step.fake):
        logits = penalty.head(discriminator.features(images)[-1].flatten(1))
        losses.append(-logits.log_softmax(1)[torch.arange(4), LABELS].mean())
    expected = sum(losses) if on_generated else losses[0]
    torch.testing.assert_close(penalty.discriminator_term(step), expected)
    torch.testing.assert_close(penalty.generator_term(step), losses[1])


def test_mutual_information_reads_the_codes(make: Any) -> None:
    generator, discriminator, penalty = set_up(make, "mutual_information", "infogan")
    discriminator.eval()
    step = step_of(generator, discriminator, detached=True)
    read = penalty.head(discriminator.features(step.fake)[-1].flatten(1))
    categorical = F.cross_entropy(read[:, :10], step.latents[:, :10].argmax(1))
    continuous = ((step.latents[:, 10:12] - read[:, 10:]) ** 2).sum(1).mean() / 2
    torch.testing.assert_close(penalty.generator_term(step), categorical + 0.1 * continuous)
    assert penalty.head[1].negative_slope == 0.1  # the paper's appendix C


def test_attaching_leaves_the_discriminator_as_it_was(make: Any) -> None:
    discriminator = make("discriminators", "sngan", size=16, width=4)
    before = {key: value.clone() for key, value in discriminator.state_dict().items()}
    penalty = make("penalties", "auxiliary_classifier", size=16)
    penalty.setup(make("generators", "cgan", size=16, width=4), discriminator)
    assert all(module.training for module in discriminator.modules())
    assert all(value.equal(before[key]) for key, value in discriminator.state_dict().items())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("auxiliary_classifier", 'needs a generator that is told the label, such as "cgan"'),
        ("mutual_information", 'needs a generator with codes in its latents: "infogan"'),
    ],
)
def test_a_generator_that_does_not_fit_is_a_mistake_in_the_recipe(tmp_path: Path, name: str, message: str) -> None:
    tables = recipe(tmp_path) | {"generator": {"name": "dcgan", "width": 4}, "penalties": [{"name": name}]}
    with pytest.raises(RecipeError) as raised:
        load_recipe(tables, plugin_manager())
    assert f'penalties.0: "{name}" {message}' in str(raised.value)


def recipe(folder: Path) -> dict[str, Any]:
    return tiny_recipe(
        folder,
        run={"steps": 4},
        generator={"name": "cgan", "width": 4, "latent_dim": 8},
        discriminator={"name": "sngan", "width": 4},
        loss={"name": "hinge"},
        penalties=[{"name": "auxiliary_classifier"}],
        checkpoint={"every": 2},
    )


def test_a_conditional_run_resumes_to_the_bit_with_its_head(tmp_path: Path) -> None:
    whole = ganzoo.run(recipe(tmp_path / "whole"))
    broken = ganzoo.run(recipe(tmp_path / "broken"), ["run.steps=2"])
    resumed = ganzoo.resume(broken.path, ["run.steps=4"])
    for network in ("generator", "discriminator", "penalty_auxiliary_classifier"):
        file = f"checkpoints/step_0000004/{network}.safetensors"
        assert (whole.path / file).read_bytes() == (resumed.path / file).read_bytes()
    assert resumed.sample(4, labels=[3]).equal(whole.sample(4, labels=[3]))
    assert not resumed.sample(4, labels=[3]).equal(whole.sample(4, labels=[4]))
