"""Losses against the papers' formulas, written in probabilities and in fp64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

Make = Callable[..., Any]

REAL = torch.tensor([1.3, -0.4, 2.2, 0.1], dtype=torch.float64)
FAKE = torch.tensor([-0.9, 0.6, -1.7, 0.3], dtype=torch.float64)


def log_sigmoid(logit: Tensor) -> Tensor:
    return torch.log(1 / (1 + torch.exp(-logit)))


def test_relativistic_average_is_the_papers_cross_entropy(make: Make) -> None:
    """Half of −E log D̃(x) − E log(1 − D̃(G(z))), where D̃ is relative to the other kind's mean logit."""
    loss = make("relativistic_average")
    real_above, fake_above = REAL - FAKE.mean(), FAKE - REAL.mean()
    expected = -log_sigmoid(real_above).mean() - torch.log(1 - torch.sigmoid(fake_above)).mean()
    torch.testing.assert_close(loss.discriminator_loss(REAL, FAKE), expected / 2)
    expected = -log_sigmoid(fake_above).mean() - torch.log(1 - torch.sigmoid(real_above)).mean()
    torch.testing.assert_close(loss.generator_loss(REAL, FAKE), expected / 2)


def test_relativistic_average_of_squares_and_hinges(make: Make) -> None:
    above, below = REAL - FAKE.mean(), FAKE - REAL.mean()
    squares = make("relativistic_average", form="least_squares").discriminator_loss(REAL, FAKE)
    torch.testing.assert_close(squares, ((above - 1) ** 2).mean() / 2 + ((below + 1) ** 2).mean() / 2)
    hinges = make("relativistic_average", form="hinge").discriminator_loss(REAL, FAKE)
    torch.testing.assert_close(hinges, (1 - above).clamp(min=0).mean() / 2 + (1 + below).clamp(min=0).mean() / 2)


def test_relativistic_pairing_compares_pair_by_pair(make: Make) -> None:
    loss = make("relativistic_pairing")
    expected = sum(torch.log(1 + torch.exp(f - r)) for r, f in zip(REAL, FAKE, strict=True)) / 4
    torch.testing.assert_close(loss.discriminator_loss(REAL, FAKE), expected)
    torch.testing.assert_close(loss.generator_loss(REAL, FAKE), loss.discriminator_loss(FAKE, REAL))
    squares = make("relativistic_pairing", form="least_squares").generator_loss(REAL, FAKE)
    torch.testing.assert_close(squares, (FAKE - REAL - 1).square().mean())


@pytest.mark.parametrize("name", ["relativistic_average", "relativistic_pairing"])
@pytest.mark.parametrize("form", ["logistic", "least_squares", "hinge"])
def test_relativistic_losses_know_differences_alone(make: Make, name: str, form: str) -> None:
    """Raising all logits changes nothing; raising those of generated images helps the generator."""
    loss = make(name, form=form)
    assert loss.needs_real_logits
    real, fake = REAL / 4, FAKE / 4  # closer than the squares want them
    torch.testing.assert_close(loss.generator_loss(REAL + 5, FAKE + 5), loss.generator_loss(REAL, FAKE))
    assert loss.generator_loss(real, fake + 0.1) < loss.generator_loss(real, fake)
    assert loss.discriminator_loss(real + 0.1, fake) < loss.discriminator_loss(real, fake)


@pytest.mark.parametrize("name", ["relativistic_average", "relativistic_pairing", "label_smoothing"])
def test_large_logits_stay_finite(make: Make, name: str) -> None:
    loss = make(name)
    for real, fake in ((1e4, -1e4), (-1e4, 1e4)):
        real_logits, fake_logits = (torch.full((4,), value, requires_grad=True) for value in (real, fake))
        total = loss.discriminator_loss(real_logits, fake_logits) + loss.generator_loss(real_logits, fake_logits)
        total.backward()
        assert total.isfinite()
        assert fake_logits.grad is not None
        assert fake_logits.grad.isfinite().all()


@pytest.mark.parametrize(("terms", "share"), [("mean", 0.5), ("sum", 1.0)])
def test_label_smoothing_is_cross_entropy_with_a_soft_target(make: Make, terms: str, share: float) -> None:
    loss = make("label_smoothing", real_target=0.8, discriminator_terms=terms)
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    expected = bce(REAL, torch.full_like(REAL, 0.8)) + bce(FAKE, torch.zeros_like(FAKE))
    torch.testing.assert_close(loss.discriminator_loss(REAL, FAKE), expected * share)
    torch.testing.assert_close(loss.generator_loss(None, FAKE), bce(FAKE, torch.ones_like(FAKE)))


def test_label_smoothing_is_least_where_the_discriminator_is_as_sure_as_its_target(make: Make) -> None:
    logits = torch.tensor([0.9]).logit().requires_grad_()
    make("label_smoothing").discriminator_loss(logits, torch.zeros(1)).backward()
    assert logits.grad is not None
    assert logits.grad.abs().item() < 1e-6


@pytest.mark.parametrize("name", ["relativistic_average", "relativistic_pairing", "label_smoothing"])
def test_losses_of_maps_are_means_over_all_patches(make: Make, name: str) -> None:
    loss = make(name)
    real, fake = REAL.reshape(2, 1, 1, 2), FAKE.reshape(2, 1, 1, 2)
    torch.testing.assert_close(loss.discriminator_loss(real, fake), loss.discriminator_loss(REAL, FAKE))
    torch.testing.assert_close(loss.generator_loss(real, fake), loss.generator_loss(REAL, FAKE))
