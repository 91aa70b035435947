"""Penalties on weights, gradients and features, and noise, on networks that are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganzoo.components.penalty import PenaltyStep
from ganzoo.components.schedule import Progress
from ganzoo.components.world import World
from ganzoo.registry.plugin_manager import PluginManager

Make = Callable[..., Any]
Step = Callable[..., PenaltyStep]


def test_clipping_keeps_every_parameter_within_the_limit(make: Make, step: Step) -> None:
    discriminator = step().discriminator
    discriminator.extra = nn.Linear(4, 4)
    inside = discriminator.extra.weight.detach().clamp(-0.1, 0.1).clone()
    make("weight_clipping", limit=0.1).after_discriminator_step(discriminator)
    assert all(parameter.abs().max() <= 0.1 for parameter in discriminator.parameters())
    torch.testing.assert_close(discriminator.extra.weight.detach(), inside, rtol=0, atol=0)
    assert discriminator.b.item() == pytest.approx(0.1)
    assert discriminator.b.requires_grad


def test_dragan_looks_at_points_near_real_images(make: Make, step: Step) -> None:
    """‖∇D(x̂)‖ is b·‖x̂‖, with x̂ from the same random numbers."""
    now = step(detach=True)
    term = make("dragan", radius=0.25, target=2.0).discriminator_term(now)
    rng = torch.Generator().manual_seed(3)
    noise = torch.rand(6, 3, 8, 8, generator=rng)
    share = torch.rand(6, generator=rng).reshape(6, 1, 1, 1)
    near = now.real + share * 0.25 * now.real.std() * noise
    norms = near.flatten(1).norm(dim=1)
    torch.testing.assert_close(term, (1.5 * norms - 2).square().mean())
    term.backward()
    torch.testing.assert_close(now.discriminator.b.grad, (2 * (1.5 * norms - 2) * norms).mean())
    assert now.generator.a.grad is None


def test_dragan_starts_from_real_images_before_their_augmentation(make: Make, step: Step) -> None:
    """Where images are darkened by a half, D(x̂ / 2) has a quarter of the slope of D(x̂), at the same points."""
    now = step(detach=True)
    dark = replace(now, real=now.real / 2, augment=lambda images: images / 2)
    penalty = make("dragan", target=0.0)
    torch.testing.assert_close(penalty.discriminator_term(dark), penalty.discriminator_term(step(detach=True)) / 16)


class Sharing(World):
    """The first of two processes; of the other, these are the values of its calls, in their order."""

    world_size = 2

    def __init__(self, *others: Tensor) -> None:
        self.others = list(others)

    def all_reduce_mean(self, value: Tensor) -> Tensor:
        return (value + self.others.pop(0)) / 2


def test_dragans_noise_has_the_deviation_of_the_images_of_all_processes(make: Make, step: Step) -> None:
    ours, theirs = step(detach=True), step(detach=True).real / 4 + 0.5
    pixels = torch.cat([ours.real, theirs])
    world = Sharing(theirs.mean(), (theirs - pixels.mean()).square().mean())
    noise = make("dragan", radius=0.25, target=2.0)
    alone = make("dragan", radius=0.25 * (pixels.std() / ours.real.std()).item(), target=2.0)
    term = noise.discriminator_term(replace(ours, world=world))
    torch.testing.assert_close(term, alone.discriminator_term(step(detach=True)))


def test_dragan_has_the_papers_figures(make: Make) -> None:
    config = make("dragan").config
    assert (config.weight, config.target, config.radius) == (10.0, 1.0, 0.5)


@pytest.mark.parametrize(("layer", "scale"), [(0, 1.0), (-1, 1.5), (1, 1.5)])
def test_feature_matching_compares_the_mean_features(make: Make, step: Step, layer: int, scale: float) -> None:
    now = step()
    now.discriminator.requires_grad_(False)
    term = make("feature_matching", layer=layer).generator_term(now)
    gap = now.generator(now.latents).mean(0) - now.real.mean(0)
    torch.testing.assert_close(term, (scale * gap).square().mean())
    term.backward()
    latents = now.latents.reshape(-1, 3, 8, 8).mean(0)
    torch.testing.assert_close(now.generator.a.grad, (2 * scale**2 * gap * latents).mean().detach())
    assert make("feature_matching").discriminator_term(now) is None


def test_feature_matching_compares_the_means_over_all_processes(make: Make, step: Step) -> None:
    now = step()
    real, fake = torch.full((3, 8, 8), 0.5), torch.full((3, 8, 8), -0.5)
    term = make("feature_matching", layer=0).generator_term(replace(now, world=Sharing(real, fake)))
    gap = (now.fake.mean(0) + fake - now.real.mean(0) - real) / 2
    torch.testing.assert_close(term, gap.square().mean())


def test_feature_matching_takes_images_as_the_discriminator_saw_them(make: Make, step: Step) -> None:
    now = step()
    augmented = replace(now, unaugmented_real=now.real + 1, unaugmented_fake=now.fake - 1)
    penalty = make("feature_matching")
    torch.testing.assert_close(penalty.generator_term(augmented), penalty.generator_term(now))


def test_feature_matching_refuses_a_layer_that_is_not_there(make: Make, step: Step) -> None:
    now = step()
    make("feature_matching", layer=-2).setup(now.generator, now.discriminator)
    for layer in (2, -3):
        with pytest.raises(ValueError, match="has the layers 0 to 1"):
            make("feature_matching", layer=layer).setup(now.generator, now.discriminator)
    assert now.discriminator.training


def test_instance_noise_fades(make: Make) -> None:
    noise = make("instance_noise", sigma={"from": 0.4, "to": 0.1, "until": "3 steps"})
    images = torch.zeros(64, 3, 8, 8)
    rng = torch.Generator().manual_seed(0)
    for step, sigma in enumerate((0.4, 0.3, 0.2, 0.1, 0.1)):
        noise.begin_step(Progress(step, 10, 64))
        assert noise.metrics()["sigma"].item() == pytest.approx(sigma)
        seen = noise.transform_images(images, rng)
        assert seen.std().item() == pytest.approx(sigma, rel=0.03)
        assert seen.mean().item() == pytest.approx(0, abs=0.02)
    assert noise.state_dict() == {}, "a resumed run sets it by the step"


def test_instance_noise_is_gone_at_sigma_zero_and_differentiable_before(make: Make) -> None:
    images = torch.rand(4, 3, 8, 8, requires_grad=True)
    assert torch.equal(make("instance_noise", sigma=0.0).transform_images(images, torch.Generator()), images)
    make("instance_noise").transform_images(images, torch.Generator()).sum().backward()
    torch.testing.assert_close(images.grad, torch.ones_like(images))


@pytest.mark.parametrize("name", ["weight_clipping", "instance_noise", "diff_augment", "adaptive_augment"])
@pytest.mark.parametrize("options", [{"weight": 2.0}, {"weight": 0.0}, {"interval": 4}, {"own_update": True}])
def test_what_adds_no_term_has_no_weight(manager: PluginManager, name: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be left out"):
        manager.registries.penalties[name].config(name=name, **options)


def test_dragan_pulls_gradients_up_to_its_target_too(make: Make, step: Step) -> None:
    """As in the paper, and unlike a one-sided penalty: a critic without any slope costs target²."""
    now = step(detach=True)
    torch.nn.init.zeros_(now.discriminator.b)
    term = make("dragan", target=2.0).discriminator_term(now)
    torch.testing.assert_close(term, torch.tensor(4.0), rtol=1e-4, atol=0)


def test_other_penalties_have_the_papers_figures(make: Make) -> None:
    assert make("weight_clipping").config.limit == 0.01
    assert make("feature_matching").config.layer == -1
    assert make("label_smoothing").config.real_target == 0.9
    noise = make("instance_noise")
    for step, sigma in ((0, 0.1), (5_000, 0.05), (10_000, 0.0), (20_000, 0.0)):
        noise.begin_step(Progress(step, 20_000, 64))
        assert noise.metrics()["sigma"].item() == pytest.approx(sigma)
