"""Penalties against closed forms, on discriminators whose gradient is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from ganzoo.builtin.penalties import R1, R2, GradientPenalty
from ganzoo.components.network import Discriminator, Generator
from ganzoo.components.options import DiscriminatorConfig, GeneratorConfig
from ganzoo.components.penalty import Penalty, PenaltyStep
from ganzoo.components.spec import DatasetInfo, ImageSpec

FACTS = DatasetInfo(ImageSpec(3, 4, 4))


class Linear(Discriminator):
    """D(x) = ⟨w, x⟩ + 1, whose gradient is w at every x."""

    def __init__(self) -> None:
        super().__init__(DiscriminatorConfig(), info=FACTS)
        self.weight = torch.nn.Parameter(torch.arange(48.0).reshape(3, 4, 4) / 48)

    def forward(self, images: Tensor) -> Tensor:
        return (images * self.weight).flatten(1).sum(1) + 1

    def features(self, images: Tensor) -> list[Tensor]:
        return []


class Quadratic(Linear):
    """D(x) = a/2 · ‖x‖², whose gradient is a·x."""

    def __init__(self) -> None:
        super().__init__()
        self.a = torch.nn.Parameter(torch.tensor(1.5))

    def forward(self, images: Tensor) -> Tensor:
        return self.a / 2 * images.square().flatten(1).sum(1)


class Copy(Generator):
    def forward(self, latents: Tensor) -> Tensor:
        return latents


def step_of(discriminator: Discriminator, real: Tensor, fake: Tensor) -> PenaltyStep:
    return PenaltyStep(
        generator=Copy(GeneratorConfig(latent_dim=48), info=FACTS),
        discriminator=discriminator,
        real=real,
        fake=fake,
        unaugmented_real=real,
        unaugmented_fake=fake,
        latents=fake,
        labels=None,
        condition=None,
        real_logits=None,
        fake_logits=discriminator(fake),
        rng=torch.Generator().manual_seed(3),
    )


@pytest.fixture
def real() -> Tensor:
    return torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def fake() -> Tensor:
    return torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(2))


def make(cls: type[Penalty], **options: Any) -> Penalty:
    return cls(cls.Config(**options), info=FACTS)


@pytest.mark.parametrize("target", [1.0, 0.0, 2.5])
def test_gradient_penalty_of_a_linear_discriminator(real: Tensor, fake: Tensor, target: float):
    discriminator = Linear()
    norm = discriminator.weight.detach().norm()
    term = make(GradientPenalty, target=target).discriminator_term(step_of(discriminator, real, fake))
    assert term is not None
    torch.testing.assert_close(term, (norm - target) ** 2)
    term.backward()
    expected = 2 * (norm - target) * discriminator.weight.detach() / norm
    torch.testing.assert_close(discriminator.weight.grad, expected)


def test_gradient_penalty_is_taken_between_real_and_fake(real: Tensor, fake: Tensor):
    discriminator = Quadratic()
    term = make(GradientPenalty).discriminator_term(step_of(discriminator, real, fake))
    mix = torch.rand(6, 1, 1, 1, generator=torch.Generator().manual_seed(3))
    between = mix * real + (1 - mix) * fake
    norms = 1.5 * between.flatten(1).norm(dim=1)
    torch.testing.assert_close(term, (norms - 1).square().mean())


def test_gradient_penalty_of_a_flat_discriminator_has_a_gradient(real: Tensor, fake: Tensor):
    """The norm has none at 0, and autograd would say NaN."""
    discriminator = Linear()
    torch.nn.init.zeros_(discriminator.weight)
    term = make(GradientPenalty).discriminator_term(step_of(discriminator, real, fake))
    assert term is not None
    torch.testing.assert_close(term, torch.tensor(1.0), rtol=0, atol=1e-5)
    term.backward()
    assert discriminator.weight.grad is not None
    assert discriminator.weight.grad.isfinite().all()


@pytest.mark.parametrize(("cls", "where"), [(R1, "real"), (R2, "fake")])
def test_r1_and_r2_of_a_quadratic_discriminator(cls: type[Penalty], where: str, real: Tensor, fake: Tensor):
    """½ E‖a·x‖² = a²/2 · E‖x‖², with the derivative a · E‖x‖² in a."""
    discriminator = Quadratic()
    images = {"real": real, "fake": fake}[where]
    squares = images.flatten(1).square().sum(1).mean()
    term = make(cls).discriminator_term(step_of(discriminator, real, fake))
    assert term is not None
    torch.testing.assert_close(term, 1.5**2 / 2 * squares)
    term.backward()
    torch.testing.assert_close(discriminator.a.grad, 1.5 * squares)


def test_r1_of_a_linear_discriminator_is_the_same_everywhere(real: Tensor, fake: Tensor):
    discriminator = Linear()
    expected = discriminator.weight.detach().square().sum() / 2
    for cls in (R1, R2):
        torch.testing.assert_close(make(cls).discriminator_term(step_of(discriminator, real, fake)), expected)


@pytest.mark.parametrize("cls", [GradientPenalty, R1, R2])
def test_penalties_leave_the_images_and_the_generator_alone(cls: type[Penalty], real: Tensor, fake: Tensor):
    before = real.clone(), fake.clone()
    penalty = make(cls)
    step = step_of(Quadratic(), real, fake.requires_grad_(True))
    penalty.discriminator_term(step)
    assert penalty.generator_term(step) is None
    assert torch.equal(real, before[0])
    assert torch.equal(fake, before[1])
    assert not real.requires_grad
    assert fake.grad is None


def test_weights_default_to_those_of_the_papers():
    assert [make(cls).config.weight for cls in (GradientPenalty, R1, R2)] == [10.0, 10.0, 10.0]


class Patches(Linear):
    """Two logits for each sample: ⟨w, x⟩ and −½⟨w, x⟩, whose sum has the gradient w/2."""

    def forward(self, images: Tensor) -> Tensor:
        value = (images * self.weight).flatten(1).sum(1)
        return torch.stack([value, -value / 2], 1).reshape(-1, 1, 1, 2)


@pytest.mark.parametrize("cls", [R1, R2, GradientPenalty])
def test_the_gradient_is_of_a_samples_logits_together(cls: type[Penalty], real: Tensor, fake: Tensor):
    discriminator = Patches()
    norm = discriminator.weight.detach().norm() / 2
    expected = (norm - 1) ** 2 if cls is GradientPenalty else norm**2 / 2
    torch.testing.assert_close(make(cls).discriminator_term(step_of(discriminator, real, fake)), expected)


@pytest.mark.parametrize("cls", [R1, R2, GradientPenalty])
def test_vectors_have_gradients_too(cls: type[Penalty]):
    class OfVectors(Linear):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))

    term = make(cls).discriminator_term(step_of(OfVectors(), torch.rand(6, 2), torch.rand(6, 2)))
    torch.testing.assert_close(term, torch.tensor(16.0 if cls is GradientPenalty else 12.5))


@pytest.mark.parametrize("at", ["unaugmented", "augmented"])
def test_the_gradient_penalty_is_taken_between_samples_as_they_are(real: Tensor, fake: Tensor, at: str):
    """Under an augmentation 3x of D(x) = a/2 ‖x‖² the gradient at x is 9·a·x, and at 3x it is 3·a·x."""
    step = step_of(Quadratic(), real, fake)
    step = replace(step, real=3 * real, fake=3 * fake, augment=lambda samples: 3 * samples)
    term = make(GradientPenalty, at=at).discriminator_term(step)
    mix = torch.rand(6, 1, 1, 1, generator=torch.Generator().manual_seed(3))
    norms = (9 if at == "unaugmented" else 3) * 1.5 * (mix * real + (1 - mix) * fake).flatten(1).norm(dim=1)
    torch.testing.assert_close(term, (norms - 1).square().mean())
