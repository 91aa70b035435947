"""The networks against a literal transcription of their description, with the same weights, and the papers' figures."""

from __future__ import annotations

from typing import Any

import literal_stylegan2 as literal
import pytest
import torch
from ganzoo_networks.resample import Resample
from ganzoo_stylegan.authors_pickle import discriminator_config, discriminator_key, generator_config, generator_key
from ganzoo_stylegan.discriminator import StyleGAN2Discriminator
from ganzoo_stylegan.generator import StyleGAN2Generator
from ganzoo_stylegan.layers import EqualizedLinear, modulated_conv2d
from ganzoo_stylegan.pickle_reader import Module
from torch import Tensor
from torch.nn import functional as F

from ganzoo.components.spec import DatasetInfo, ImageSpec


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def close(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    ours, theirs = ours.detach(), theirs.detach()
    assert (ours - theirs).abs().max() <= 1e-5 * max(1.0, float(theirs.abs().max()))


def renamed(state: literal.State, name: Any) -> literal.State:
    return {ours: value for key, value in state.items() if (ours := name(key)) is not None}


def generator_of(state: literal.State, **options: Any) -> StyleGAN2Generator:
    config, info = generator_config(state)
    generator = StyleGAN2Generator(config.model_copy(update=options), info=info)
    generator.load_state_dict(renamed(state, generator_key))
    return generator.eval()


def discriminator_of(state: literal.State, size: int, group: int = 4, labels: int = 0) -> StyleGAN2Discriminator:
    _, info = generator_config(literal.generator_state(size, labels=labels))
    config = discriminator_config(state, info, Module("Discriminator", {}))
    config = config.model_copy(update={"minibatch_stddev": group})
    discriminator = StyleGAN2Discriminator(config, info=info)
    discriminator.load_state_dict(renamed(state, lambda key: discriminator_key(key, size)))
    return discriminator


@pytest.mark.parametrize("form", ["grouped", "scaled"])
@pytest.mark.parametrize("size", [8, 32])
def test_the_generator_is_the_described_one(size: int, form: str) -> None:
    state, z = literal.generator_state(size), rand(3, 5)
    with torch.no_grad():
        close(generator_of(state, modulation=form)(z), literal.generate(state, z))


def test_truncation_and_noise_of_sampling_are_the_described_ones() -> None:
    state, z = literal.generator_state(16), rand(3, 5)
    generator = generator_of(state)
    for psi, noise in ((0.5, "const"), (0.7, "none")):
        sampling = generator.config.sampling.model_copy(update={"truncation": psi, "noise": noise})
        generator.config = generator.config.model_copy(update={"sampling": sampling})
        with torch.no_grad():
            close(generator(z), literal.generate(state, z, psi=psi, noise=noise == "const"))
            assert torch.equal(generator.from_style(generator.to_style(z)), generator(z))


def test_the_conditional_generator_is_the_described_one() -> None:
    state, z, labels = literal.generator_state(16, labels=4), rand(3, 5), torch.tensor([3, 0, 3])
    with torch.no_grad():
        generator = generator_of(state)
        close(generator(z, labels=labels), literal.generate(state, z, F.one_hot(labels, 4).float()))
        styles = generator.to_style(z, labels=labels)
        assert styles.shape == (3, generator.config.style_dim)
        assert torch.equal(generator.from_style(styles, labels=labels), generator(z, labels=labels))


@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize(("count", "group"), [(4, 4), (8, 4), (3, 32)])
def test_the_discriminator_is_the_described_one(count: int, group: int, skips: bool) -> None:
    state, images = literal.discriminator_state(16, skips=skips), rand(count, 3, 16, 16)
    with torch.no_grad():
        close(discriminator_of(state, 16, group)(images), literal.judge(state, images, group=group))


def test_the_conditional_discriminator_is_the_described_one() -> None:
    state, images = literal.discriminator_state(16, labels=4), rand(4, 3, 16, 16)
    labels = torch.tensor([3, 0, 1, 3])
    with torch.no_grad():
        ours = discriminator_of(state, 16, labels=4)(images, labels=labels)
        close(ours, literal.judge(state, images, F.one_hot(labels, 4).float()))


def test_weights_start_normal_and_are_scaled_when_applied() -> None:
    layer = EqualizedLinear(400, 300, rate=0.01)
    assert float(layer.weight.detach().std()) == pytest.approx(100, rel=0.02)
    assert float(layer(rand(500, 400, seed=1)).detach().std()) == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("demodulate", [False, True])
def test_both_forms_of_modulation_have_the_same_values_and_gradients(demodulate: bool, up: bool) -> None:
    found = []
    for form in ("grouped", "scaled"):
        parts = [part.requires_grad_() for part in (rand(3, 4, 8, 8), rand(5, 4, 3, 3, seed=1), rand(3, 4, seed=2))]
        images = modulated_conv2d(*parts, demodulate=demodulate, up=up, form=form)  # type: ignore[arg-type]
        found.append([images, *torch.autograd.grad(images.square().sum(), parts)])
    for grouped, scaled in zip(*found, strict=True):
        close(grouped, scaled)


def test_demodulated_outputs_have_a_variance_of_one() -> None:
    images = modulated_conv2d(
        rand(64, 32, 16, 16), rand(48, 32, 3, 3, seed=1), 5 * rand(64, 32, seed=2), demodulate=True
    )
    assert images[:, :, 1:-1, 1:-1].std() == pytest.approx(1, rel=0.05)


def test_resampling_keeps_a_constant_and_a_wave() -> None:
    resample = Resample()
    ones = torch.ones(1, 2, 16, 16)
    for images in (resample.doubled(ones), resample.halved(ones), resample.blur(ones, 1)):
        assert images[:, :, 3:-3, 3:-3].sub(1).abs().max() < 1e-6
    wave = torch.sin(torch.arange(32) / 32 * 2 * torch.pi).expand(1, 1, 32, 32)
    fine = torch.sin((torch.arange(64) - 0.5) / 64 * 2 * torch.pi).expand(1, 1, 64, 64)
    assert (resample.doubled(wave) - fine)[..., 8:-8, 8:-8].abs().max() < 0.02


@pytest.mark.parametrize(
    ("preset", "generator", "discriminator"), [("paper256", 24_767_458, 24_001_089), ("auto", 23_191_522, 24_001_089)]
)
def test_parameters_are_as_many_as_the_papers(preset: str, generator: int, discriminator: int, make: Any) -> None:
    # R3GAN's table (arXiv 2501.05441) has 24.8 and 24.0 million at 256 pixels.
    with torch.device("meta"):
        made = make("generators", size=256, preset=preset), make("discriminators", size=256, preset=preset)
    assert [sum(p.numel() for p in network.parameters()) for network in made] == [generator, discriminator]


def test_presets_are_the_authors(make: Any) -> None:
    with torch.device("meta"):
        cifar, judge = make("generators", size=32, preset="cifar"), make("discriminators", size=32, preset="cifar")
        large = make("generators", size=1024)
    assert (len(cifar.mapping.layers), cifar.config.mixing_probability) == (2, 0.0)
    assert (judge.blocks[0].skip, judge.deviation.group) == (None, 32)
    assert {layer.weight.shape[0] for layer in cifar.layers} == {512}
    assert [layer.weight.shape[0] for layer in large.layers][-5:] == [128, 64, 64, 32, 32]
    assert large.num_styles == 18


@pytest.mark.parametrize(("preset", "mixing", "group"), [("auto", 0.9, 4), ("cifar", 0.0, 32), ("paper256", 0.9, 8)])
def test_presets_mix_styles_and_group_images_as_the_authors_do(
    preset: str, mixing: float, group: int, make: Any
) -> None:
    with torch.device("meta"):
        generator, judge = (make(kind, size=8, preset=preset) for kind in ("generators", "discriminators"))
        labelled = make("discriminators", size=8, conditional=True)
    assert (generator.config.mixing_probability, generator.config.mean_decay, judge.deviation.group) == (
        mixing,
        0.995,
        group,
    )
    assert len(labelled.mapping.layers) == 8


def test_networks_of_512_pixels_have_twice_the_channels(make: Any) -> None:
    with torch.device("meta"):
        small, large = make("generators", size=256), make("generators", size=512)
    assert (small.layers[-1].weight.shape[0], large.layers[-1].weight.shape[0]) == (64, 64)
    assert large.layers[-3].weight.shape[0] == 128


@pytest.mark.parametrize("size", [4, 24, 2048])
def test_other_sizes_are_refused(size: int, make: Any) -> None:
    with pytest.raises(ValueError, match=r"set dataset\.image_size to one of 8, 16"):
        make("generators", size=size)


def test_images_are_gray_or_of_more_channels(make: Any) -> None:
    info = DatasetInfo(ImageSpec(1, 16, 16))
    generator = make("generators", channels=1, style_dim=8, latent_dim=8, max_channels=4)
    assert generator(rand(2, 8)).shape == (2, *info.image.shape)
