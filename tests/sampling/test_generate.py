"""Sampling: what batch norm computes with, and that the generator is left as it was."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ganzoo.components.network import Generator
from ganzoo.components.options import GeneratorConfig
from ganzoo.components.spec import DatasetInfo, ImageSpec
from ganzoo.sampling import generate as generate_module
from ganzoo.sampling.generate import batch_norm_mode, batch_norm_used, generate, generate_batches

FACTS = DatasetInfo(ImageSpec(1, 1, 1))


class Normed(Generator):
    """One batch norm, whose output is the image."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__(GeneratorConfig(latent_dim=1), info=FACTS)
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.norm = norm
        self.forwards = 0

    def forward(self, latents: Tensor) -> Tensor:
        self.forwards += 1
        return self.scale * self.norm(latents[:, :, None, None])


@pytest.fixture
def generator() -> Normed:
    """Its running statistics say mean 2, variance 4."""
    norm = nn.BatchNorm2d(1, eps=1e-12, affine=False)
    norm.running_mean.fill_(2.0)
    norm.running_var.fill_(4.0)
    norm.num_batches_tracked.fill_(17)
    return Normed(norm)


LATENTS = torch.tensor([[1.0], [3.0], [5.0], [7.0]])


def test_running_statistics(generator: Normed):
    images = generate(generator, LATENTS, batch_norm="running")
    assert images.flatten().tolist() == [-0.5, 0.5, 1.5, 2.5]


def test_running_statistics_do_not_depend_on_the_batch(generator: Normed):
    whole = generate(generator, LATENTS, batch_norm="running")
    assert torch.equal(whole, generate(generator, LATENTS, batch_norm="running", batch_size=3))


def test_batch_statistics(generator: Normed):
    images = generate(generator, LATENTS, batch_norm="batch", batch_size=4)
    assert images.flatten().tolist() == pytest.approx([-3 / 5**0.5, -1 / 5**0.5, 1 / 5**0.5, 3 / 5**0.5])


def test_batch_statistics_are_those_of_each_batch(generator: Normed):
    images = generate(generator, LATENTS, batch_norm="batch", batch_size=2)
    assert images.flatten().tolist() == pytest.approx([-1, 1, -1, 1])


def test_batch_that_is_not_full_is_filled_up(generator: Normed):
    """An image does not depend on how many are asked for: 64 others of the prior make its statistics."""
    one, four = (generate(generator, LATENTS[:count], batch_norm="batch") for count in (1, 4))
    assert one.shape == (1, 1, 1, 1)
    assert four.shape == (4, 1, 1, 1)
    assert one.item() == pytest.approx(1, abs=0.3)
    assert torch.equal(one, generate(generator, LATENTS[:1], batch_norm="batch"))


def test_standing_statistics_are_gathered_anew(generator: Normed):
    """They are those of the prior, standard normal, whatever the running ones say."""
    images = generate(generator, LATENTS, batch_norm="standing")
    assert images.flatten().tolist() == pytest.approx([1, 3, 5, 7], abs=0.2)
    assert torch.equal(images, generate(generator, LATENTS, batch_norm="standing"))


@pytest.mark.parametrize("mode", ["auto", "running", "batch", "standing"])
def test_all_products_are_true_fp32(generator: Normed, mode: str, monkeypatch: pytest.MonkeyPatch):
    """Those behind standing statistics too, or a GPU may take TF32 for them; and the caller's are its own."""
    opened, within = [], []

    @contextmanager
    def marked(device: torch.device) -> Iterator[None]:
        opened.append(device)
        yield
        opened.pop()

    monkeypatch.setattr(generate_module, "fp32_products", marked)
    generator.register_forward_pre_hook(lambda *_: within.append(bool(opened)))
    for _ in generate_batches(generator, LATENTS, batch_norm=mode, batch_size=2):
        assert not opened
    assert within == [True] * (2 + 64 * (mode == "standing"))


def test_standing_statistics_of_a_generator_without_batch_norm():
    """There are none to gather, which a generator with a condition could not even do without it."""
    generator = Normed(nn.Identity())
    with batch_norm_mode(generator, "standing"):
        assert generator.forwards == 0
        assert not generator.training


@pytest.mark.parametrize("mode", ["auto", "running", "batch", "standing"])
@pytest.mark.parametrize("training", [True, False])
def test_everything_is_left_as_it_was(generator: Normed, mode: str, training: bool):
    generator.train(training)
    generator.norm.train(not training)
    state = {key: value.clone() for key, value in generator.state_dict().items()}
    randomness = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    generate(generator, LATENTS, batch_norm=mode, batch_size=2)
    assert generator.training is training
    assert generator.norm.training is not training
    assert generator.norm.momentum == 0.1
    assert list(generator.state_dict()) == list(state)
    assert all(torch.equal(value, state[key]) for key, value in generator.state_dict().items())
    assert torch.equal(torch.get_rng_state(), randomness[0])
    assert (np.random.get_state()[1] == randomness[1]).all()
    assert random.getstate() == randomness[2]
    # It learns on as before.
    generator.train()(LATENTS).sum().backward()
    assert generator.norm.num_batches_tracked == 18
    assert generator.norm.running_mean.item() == pytest.approx(0.9 * 2 + 0.1 * 4)


def test_generator_is_left_as_it_was_by_an_error(generator: Normed):
    generator.train()
    with pytest.raises(RuntimeError):
        generate(generator, torch.ones(2, 7), batch_norm="batch")
    assert generator.norm.training
    assert generator.norm.momentum == 0.1


def test_statistics_used_are_named(generator: Normed):
    assert batch_norm_used(generator, "auto") == "running"
    assert batch_norm_used(generator, "standing") == "standing"
    assert batch_norm_used(Normed(nn.BatchNorm2d(1, track_running_stats=False)), "running") == "batch"
    assert batch_norm_used(Normed(nn.Identity()), "batch") == "none"


def test_images_are_ordinary_tensors(generator: Normed):
    """A caller may train on them or change them."""
    images = generate(generator, LATENTS)
    assert not images.is_inference()
    weight = torch.ones(1, requires_grad=True)
    (images * weight).sum().backward()
    images.add_(1)


def test_images_are_fp32_on_the_cpu_in_the_order_of_their_latents(generator: Normed):
    latents = torch.arange(150.0).reshape(150, 1)
    images = generate(generator, latents)
    assert images.dtype == torch.float32
    assert images.is_contiguous()
    assert images.flatten().tolist() == [(z - 2) / 2 for z in range(150)]


def test_labels_go_with_their_latents():
    class Conditional(Normed):
        uses = frozenset({"labels"})

        def forward(self, latents: Tensor, *, labels: Tensor) -> Tensor:
            return (latents.flatten() * 10 + labels).reshape(-1, 1, 1, 1) * self.scale

    images = generate(Conditional(nn.Identity()), LATENTS, torch.tensor([0, 1, 2, 3]), batch_size=3)
    assert images.flatten().tolist() == [10, 31, 52, 73]
