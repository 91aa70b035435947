"""What the penalties of a run differentiate at."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from ganzoo.components.dataset import Batch, FakeBatch
from ganzoo.training.penalties import tracked


def test_a_gradient_at_generated_samples_keeps_that_of_the_generator():
    """As it must for steps of the discriminator that the generator's update goes through."""
    weight = torch.tensor(2.0, requires_grad=True)
    batch, fake = Batch(torch.ones(3, 2)), FakeBatch(weight * torch.ones(3, 2), torch.zeros(3, 1))
    penalties: Any = {"r2": SimpleNamespace(differentiates_at=("fake",))}
    (_, made), (_, alone) = tracked(batch, fake, penalties), tracked(batch, fake.detach(), penalties)
    assert alone.samples.requires_grad
    (gradient,) = torch.autograd.grad(made.samples.sum(), weight)
    assert gradient.item() == 6
