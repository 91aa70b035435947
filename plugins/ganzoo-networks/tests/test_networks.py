"""The networks: sizes, counts, norms, labels, and that a state dict brings each back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ganzoo_networks.attention import SelfAttention
from ganzoo_networks.minibatch import MinibatchStdDev
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

LABELS = torch.tensor([0, 3, 3, 9])
OPTIONS: dict[str, dict[str, Any]] = {"sagan": {"attention_size": 8}}
GENERATORS = ("cgan", "infogan", "projection", "sagan", "sngan_resnet")
DISCRIMINATORS = ("cgan", "projection", "sagan", "sngan", "sngan_resnet")
RESNETS = ("projection", "sngan_resnet")


def inputs_of(network: Any) -> dict[str, torch.Tensor]:
    return network.inputs(LABELS)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [16, 32, 64])
@pytest.mark.parametrize("name", GENERATORS)
def test_generators_make_images(make: Any, name: str, size: int, channels: int) -> None:
    if name in RESNETS and size == 16:
        with pytest.raises(ValueError, match=r"set dataset\.image_size to 32 or 64"):
            make("generators", name, size=size)
        return
    generator = make("generators", name, size=size, channels=channels, width=2, **OPTIONS.get(name, {}))
    latents = generator.sample_latents(4, torch.Generator().manual_seed(1))
    images = generator(latents, **inputs_of(generator))
    assert images.shape == (4, channels, size, size)
    assert -1 <= images.min() < images.max() <= 1
    images.sum().backward()
    assert all(parameter.grad is not None for parameter in generator.parameters())


@pytest.mark.parametrize("size", [16, 32, 64])
@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_discriminators_judge_images(make: Any, name: str, size: int) -> None:
    if name in RESNETS and size == 16:
        with pytest.raises(ValueError, match=r"set dataset\.image_size to 32 or 64"):
            make("discriminators", name, size=size)
        return
    discriminator = make("discriminators", name, size=size, width=2, **OPTIONS.get(name, {}))
    images = torch.rand(4, 3, size, size) * 2 - 1
    logits = discriminator(images, **inputs_of(discriminator))
    assert logits.shape == (4,)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in discriminator.parameters())
    assert all(feature.ndim == 4 and len(feature) == 4 for feature in discriminator.features(images))


@pytest.mark.parametrize(
    ("kind", "name", "size", "count"),
    [
        # 128·4096+4096; three blocks of 2·512 + 2·(256·256·9+256) + 256·256+256; 512 + 256·3·9+3
        ("generators", "sngan_resnet", 32, 528_384 + 3 * (1_024 + 1_180_160 + 65_792) + 512 + 6_915),
        # 3584+147584+512; 295168+16512; twice 295168; 129
        ("discriminators", "sngan_resnet", 32, 151_680 + 311_680 + 2 * 295_168 + 129),
        ("generators", "sngan_resnet", 64, 12_220_675),
        ("discriminators", "sngan_resnet", 64, 10_141_441),
        # ten gains and biases instead of one in each of six norms of 256 channels
        ("generators", "projection", 32, 4_276_739 + 6 * 2 * 256 * 9),
        ("discriminators", "projection", 32, 1_053_825 + 10 * 128),
    ],
)
def test_resnets_have_the_papers_parameters(make: Any, kind: str, name: str, size: int, count: int) -> None:
    with torch.device("meta"):
        network = make(kind, name, size=size)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.mark.parametrize("name", ["projection", "sagan", "sngan", "sngan_resnet"])
def test_each_layer_of_a_discriminator_has_spectral_norm(make: Any, name: str) -> None:
    discriminator = make("discriminators", name, width=2, **OPTIONS.get(name, {}))
    weighted = [m for m in discriminator.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.Embedding)]
    assert weighted
    assert all(is_parametrized(layer, "weight") for layer in weighted)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in discriminator.modules())


@pytest.mark.parametrize(
    ("kind", "name"), [*(("generators", n) for n in GENERATORS), *(("discriminators", n) for n in DISCRIMINATORS)]
)
def test_state_dict_brings_a_network_back(make: Any, kind: str, name: str) -> None:
    options = {"width": 2, **OPTIONS.get(name, {})}
    first, second = make(kind, name, **options).eval(), make(kind, name, **options).eval()
    inputs = torch.randn(4, first.config.latent_dim) if kind == "generators" else torch.rand(4, 3, 32, 32)
    assert not first(inputs, **inputs_of(first)).equal(second(inputs, **inputs_of(second)))
    second.load_state_dict(first.state_dict())
    assert first(inputs, **inputs_of(first)).equal(second(inputs, **inputs_of(second)))


@pytest.mark.parametrize("size", [4, 8, 16])
def test_attention_stands_where_it_is_asked_for(make: Any, size: int) -> None:
    seen = []
    for kind in ("generators", "discriminators"):
        network = make(kind, "sagan", width=4, attention_size=size)
        (attention,) = (module for module in network.modules() if isinstance(module, SelfAttention))
        attention.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[2:]))
        network(torch.rand(2, 3, 32, 32) if kind == "discriminators" else torch.randn(2, 128))
    assert seen == [(size, size)] * 2


def test_attention_where_there_is_no_such_map(make: Any) -> None:
    with pytest.raises(ValueError, match=r"no feature map of 32 pixels: set attention_size to one of 4, 8, 16$"):
        make("generators", "sagan")


def test_minibatch_deviation_is_an_option(make: Any) -> None:
    discriminator = make("discriminators", "sngan", width=4, minibatch_stddev=4).eval()
    assert any(isinstance(module, MinibatchStdDev) for module in discriminator.modules())
    image = torch.rand(1, 3, 32, 32)
    alone, among = discriminator(image), discriminator(torch.cat([image, torch.rand(3, 3, 32, 32)]))[:1]
    assert not alone.allclose(among)


def test_projection_logit_is_the_papers_formula(make: Any) -> None:
    discriminator = make("discriminators", "projection", width=4).eval()
    images = torch.rand(4, 3, 32, 32)
    phi = discriminator.blocks(images).clamp(min=0).sum((2, 3))
    vectors = discriminator.classes.weight
    psi = discriminator.logit
    expected = [phi[n] @ psi.weight[0] + psi.bias[0] + vectors[y] @ phi[n] for n, y in enumerate(LABELS)]
    torch.testing.assert_close(discriminator(images, labels=LABELS), torch.stack(expected))


@pytest.mark.parametrize("name", ["cgan", "projection"])
def test_labels_change_what_is_made_and_judged(make: Any, name: str) -> None:
    generator, discriminator = make("generators", name, width=4).eval(), make("discriminators", name, width=4).eval()
    for module in generator.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight)
    latents = torch.randn(1, generator.config.latent_dim).expand(4, -1)
    images = generator(latents, labels=LABELS)
    assert images[1].allclose(images[2], atol=1e-6)
    assert not images[0].allclose(images[1])
    logits = discriminator(images[:1].expand(4, -1, -1, -1), labels=LABELS)
    assert logits[1].allclose(logits[2])
    assert not logits[0].allclose(logits[1])
    for network in (generator, discriminator):
        with pytest.raises(ValueError, match=f'"{name}" needs labels'):
            network.inputs()


def test_codes_come_first_in_infogans_latents(make: Any) -> None:
    generator = make("generators", "infogan", width=2, categorical=(10, 3), continuous=2, latent_dim=40)
    latents = generator.sample_latents(500, torch.Generator().manual_seed(0))
    assert latents.shape == (500, 40)
    ten, three, continuous, noise = latents.split([10, 3, 2, 25], 1)
    for code in (ten, three):
        assert code.sum(1).eq(1).all()
        assert set(code.unique().tolist()) == {0.0, 1.0}
        assert code.mean(0).sub(1 / code.shape[1]).abs().max() < 0.08
    assert -1 <= continuous.min() < -0.9
    assert 0.9 < continuous.max() <= 1
    assert noise.std().item() == pytest.approx(1, abs=0.05)


def test_codes_must_fit(make: Any) -> None:
    with pytest.raises(ValueError, match="codes take 12 numbers; latent_dim = 8 wants"):
        make("generators", "infogan", latent_dim=8)
