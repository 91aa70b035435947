"""Losses against their formulas, written down independently on probabilities and in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, binary_cross_entropy_with_logits

from ganzoo.builtin.losses import Hinge, LeastSquares, Minimax, NonSaturating, Wasserstein
from ganzoo.components.loss import Loss
from ganzoo.components.spec import DatasetInfo, ImageSpec
from ganzoo.registry.plugin_manager import PluginManager

FACTS = DatasetInfo(ImageSpec(3, 16, 16))
REAL = torch.tensor([2.0, -1.0, 0.5, 0.0], dtype=torch.float64)
FAKE = torch.tensor([-3.0, 1.5, 0.25, 0.0], dtype=torch.float64)


def make(cls: type[Loss], **options: Any) -> Loss:
    return cls(cls.Config(**options), info=FACTS)


def test_non_saturating_is_binary_cross_entropy_of_probabilities():
    real, fake = REAL.sigmoid(), FAKE.sigmoid()
    ones, zeros = torch.ones_like(real), torch.zeros_like(fake)
    both = binary_cross_entropy(real, ones) + binary_cross_entropy(fake, zeros)
    loss = make(NonSaturating)
    torch.testing.assert_close(loss.discriminator_loss(REAL, FAKE), both / 2)
    torch.testing.assert_close(loss.generator_loss(None, FAKE), binary_cross_entropy(fake, ones))
    torch.testing.assert_close(make(NonSaturating, discriminator_terms="sum").discriminator_loss(REAL, FAKE), both)


def test_minimax_is_the_value_function():
    value = REAL.sigmoid().log().mean() + (1 - FAKE.sigmoid()).log().mean()
    loss = make(Minimax, discriminator_terms="sum")
    torch.testing.assert_close(loss.discriminator_loss(REAL, FAKE), -value)
    torch.testing.assert_close(loss.generator_loss(None, FAKE), (1 - FAKE.sigmoid()).log().mean())


def test_generator_of_minimax_and_non_saturating_pull_the_same_way():
    """Both gradients are negative everywhere; minimax' vanishes where the discriminator wins, D(G(z)) → 0."""
    logits = torch.tensor([-20.0, 0.0, 20.0], dtype=torch.float64, requires_grad=True)
    (minimax,) = torch.autograd.grad(make(Minimax).generator_loss(None, logits) * 3, logits)
    (non_saturating,) = torch.autograd.grad(make(NonSaturating).generator_loss(None, logits) * 3, logits)
    torch.testing.assert_close(minimax, -logits.detach().sigmoid())
    torch.testing.assert_close(non_saturating, logits.detach().sigmoid() - 1)
    assert minimax[0] > -1e-8
    assert non_saturating[0] < -0.99


@pytest.mark.parametrize("cls", [NonSaturating, Minimax])
@pytest.mark.parametrize("size", [100.0, 1e4, 1e30])
def test_confident_logits_stay_finite(cls: type[Loss], size: float):
    """A sigmoid rounds these to 0 or 1, whose logarithm is −∞ or loses its gradient."""
    loss = make(cls, discriminator_terms="sum")
    real = torch.tensor([-size], requires_grad=True)
    fake = torch.tensor([size], requires_grad=True)
    value = loss.discriminator_loss(real, fake)
    assert value.item() == pytest.approx(2 * size)
    gradients = torch.autograd.grad(value, [real, fake])
    assert [gradient.item() for gradient in gradients] == [-1.0, 1.0]
    assert loss.discriminator_loss(-real, -fake).item() < 1e-40
    assert math.isfinite(loss.generator_loss(None, -fake).item())


def test_non_saturating_agrees_with_torch_on_logits():
    logits = torch.linspace(-50, 50, 101)
    ones = torch.ones_like(logits)
    expected = binary_cross_entropy_with_logits(logits, ones)
    torch.testing.assert_close(make(NonSaturating).generator_loss(None, logits), expected)


def test_undecided_discriminator_costs_log_2():
    zero = torch.zeros(5)
    assert make(NonSaturating).discriminator_loss(zero, zero).item() == pytest.approx(math.log(2))
    assert make(NonSaturating).generator_loss(None, zero).item() == pytest.approx(math.log(2))
    assert make(Minimax).generator_loss(None, zero).item() == pytest.approx(-math.log(2))


def by_hand(values: list[float]) -> Tensor:
    return torch.tensor(sum(values) / len(values), dtype=torch.float64)


def test_least_squares():
    loss = make(LeastSquares)
    real, fake = by_hand([1.0, 4.0, 0.25, 1.0]), by_hand([9.0, 2.25, 0.0625, 0.0])
    torch.testing.assert_close(loss.discriminator_loss(REAL, FAKE), (real + fake) / 2)
    torch.testing.assert_close(loss.generator_loss(None, FAKE), by_hand([16.0, 0.25, 0.5625, 1.0]) / 2)


def test_least_squares_with_the_pearson_targets():
    loss = make(LeastSquares, real_target=1.0, fake_target=-1.0, generator_target=0.0)
    assert loss.discriminator_loss(torch.ones(3), -torch.ones(3)).item() == 0.0
    assert loss.generator_loss(None, torch.full((3,), 2.0)).item() == 2.0


def test_hinge():
    loss = make(Hinge)
    expected = by_hand([0.0, 2.0, 0.5, 1.0]) + by_hand([0.0, 2.5, 1.25, 1.0])
    torch.testing.assert_close(loss.discriminator_loss(REAL, FAKE), expected)
    torch.testing.assert_close(loss.generator_loss(None, FAKE), by_hand([3.0, -1.5, -0.25, 0.0]))


def test_wasserstein():
    loss = make(Wasserstein)
    torch.testing.assert_close(
        loss.discriminator_loss(REAL, FAKE), by_hand([-3.0, 1.5, 0.25, 0.0]) - by_hand([2.0, -1.0, 0.5, 0.0])
    )
    torch.testing.assert_close(loss.generator_loss(None, FAKE), by_hand([3.0, -1.5, -0.25, 0.0]))


@pytest.mark.parametrize("loss", [Minimax, Wasserstein])
def test_a_saddle_points_objective_is_whole_where_real_logits_are_given(loss: type[Loss]):
    """The generator then descends what the discriminator ascends, the real images' term included."""
    made = make(loss, discriminator_terms="sum") if loss is Minimax else make(loss)
    torch.testing.assert_close(made.generator_loss(REAL, FAKE), -made.discriminator_loss(REAL, FAKE))


def test_every_loss_pulls_each_network_its_way(manager: PluginManager):
    """The discriminator's loss falls with real logits up and fake ones down, the generator's with fake ones up."""
    for entry in manager.registries.losses:
        loss: Loss = entry.load()(entry.config(name=entry.name), info=FACTS)
        real, fake = torch.full((4,), -0.3, requires_grad=True), torch.full((4,), 0.3, requires_grad=True)
        value = loss.discriminator_loss(real, fake)
        assert value.shape == ()
        on_real, on_fake = torch.autograd.grad(value, [real, fake])
        assert (on_real < 0).all(), entry.name
        assert (on_fake > 0).all(), entry.name
        fake = torch.full((4,), 0.3, requires_grad=True)
        value = loss.generator_loss(real.detach() if loss.needs_real_logits else None, fake)
        (pull,) = torch.autograd.grad(value, fake)
        assert (pull < 0).all(), entry.name


def test_sigmoid_gives_probabilities_where_a_loss_says_so(manager: PluginManager):
    """Where three of four images are real, the best logit is that of 3/4 under these losses and under no others.

    Under pairing it is that up to a constant, so both are also tried one higher.
    """
    for entry in manager.registries.losses:
        options = {"real_target": 1.0} if entry.name == "label_smoothing" else {}
        loss: Loss = entry.load()(entry.config(name=entry.name, **options), info=FACTS)
        slopes = []
        for shift in (0.0, 1.0):
            likely, unlikely = (torch.tensor(sign * math.log(3) + shift, requires_grad=True) for sign in (1, -1))
            real = torch.stack([likely] * 3 + [unlikely]).repeat_interleave(4)
            fake = torch.stack([likely] + [unlikely] * 3).repeat(4)
            slopes.append(torch.autograd.grad(loss.discriminator_loss(real, fake), [likely, unlikely]))
        best = [max(abs(slope.item()) for slope in both) < 1e-6 for both in slopes]
        assert (best == [True, False]) == loss.outputs_probabilities, entry.name
