"""What the contracts of the networks give to every implementation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ganzoo.components.network import Discriminator, Generator
from ganzoo.components.options import DiscriminatorConfig, GeneratorConfig
from ganzoo.components.spec import DatasetInfo, ImageSpec

FACTS = DatasetInfo(ImageSpec(1, 2, 2))


class Dense(Generator):
    def forward(self, latents: Tensor) -> Tensor:
        return latents[:, :4].reshape(-1, 1, 2, 2).tanh()


def test_latents_are_standard_normal_and_repeatable():
    generator = Dense(GeneratorConfig(latent_dim=100), info=FACTS)
    latents = generator.sample_latents(2000, torch.Generator().manual_seed(1))
    assert latents.shape == (2000, 100)
    assert latents.mean().abs() < 0.01
    assert latents.std() == pytest.approx(1, abs=0.01)
    assert torch.equal(latents, generator.sample_latents(2000, torch.Generator().manual_seed(1)))


def test_latents_leave_the_global_generator_alone():
    state = torch.get_rng_state()
    Dense(GeneratorConfig(latent_dim=4), info=FACTS).sample_latents(3, torch.Generator())
    assert torch.equal(state, torch.get_rng_state())


def test_contracts_cannot_be_built_half_done():
    class Half(Discriminator):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1).sum(1)

    with pytest.raises(TypeError, match="features"):
        Half(DiscriminatorConfig(), info=FACTS)


def test_networks_use_neither_labels_nor_a_condition_unless_they_say_so():
    assert Dense(GeneratorConfig(), info=FACTS).uses == frozenset()
