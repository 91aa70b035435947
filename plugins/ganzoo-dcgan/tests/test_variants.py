"""What is particular to a variant beside its layers: sizes, latents, labels, statistics, and its recipe's figures."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from ganzoo_dcgan.conditioning import concat_labels, one_hot
from literal.comparison import DIGITS, build, info
from torch import nn

from ganzoo.components.spec import DatasetInfo, ImageSpec
from ganzoo.registry.plugin_manager import plugin_manager

RECIPES = Path(__file__).parents[3] / "recipes"
NAMES = (
    "dcgan",
    "dcgan_authors",
    "dcgan_authors_imagenet32",
    "dcgan_authors_mnist",
    "dcgan_dense",
    "gan",
    "gan_in_action",
)
NARROW: dict[str, dict[str, Any]] = {name: {"width": 4} for name in NAMES} | {
    "dcgan_authors_mnist": {"width": 4, "dense_width": 16},
    "gan": {"hidden": (16,)},
}
LABELS = torch.tensor([0, 1, 2, 3, 4, 5])


def narrow(name: str, size: int = 32, channels: int = 3) -> tuple[Any, Any]:
    torch.manual_seed(0)
    return build(name, info(channels, size, DIGITS), NARROW[name], NARROW[name])


def inputs_of(network: Any) -> dict[str, torch.Tensor]:
    return network.inputs(LABELS)


def test_each_variant_has_a_generator_and_a_discriminator() -> None:
    registries = plugin_manager().registries
    for registry, alone in ((registries.generators, set()), (registries.discriminators, {"patchgan"})):
        assert {entry.name for entry in registry if entry.plugin == registry["dcgan"].plugin} == {*NAMES, *alone}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_makes_and_judges_images(name: str, channels: int) -> None:
    generator, discriminator = narrow(name, channels=channels)
    images = generator(generator.sample_latents(6, torch.Generator().manual_seed(1)), **inputs_of(generator))
    assert images.shape == (6, channels, 32, 32)
    assert -1 <= images.min() < images.max() <= 1
    logits = discriminator(images, **inputs_of(discriminator))
    assert logits.shape == (6,)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in (*generator.parameters(), *discriminator.parameters()))
    assert all(feature.ndim == 4 and len(feature) == 6 for feature in discriminator.features(images))


@pytest.mark.parametrize(("name", "sees"), [("dcgan_authors", False), ("dcgan", True), ("dcgan_dense", True)])
def test_contrast_of_a_minibatch(name: str, sees: bool) -> None:
    """Without biases and with next to no epsilon in batch norm the authors' discriminator does not see it."""
    _, discriminator = narrow(name)
    for bias in (each for key, each in discriminator.named_parameters() if key.endswith("bias")):
        nn.init.normal_(bias, std=0.1)  # as after some updates
    images = torch.rand(16, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        logits, faint = discriminator(images), discriminator(0.25 * images)
    change = ((logits - faint).norm() / logits.norm()).item()
    assert change > 0.1 if sees else change < 1e-2


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("dcgan", 28, "cannot make 28 pixels: set dataset.image_size to one of 16, 32, 64, 128, 256"),
        ("dcgan_dense", 28, "cannot make 28 pixels: set dataset.image_size to a multiple of 16, such as 16 or 32"),
        ("dcgan_authors", 48, "cannot make 48 pixels: set dataset.image_size to one of 16, 32, 64, 128, 256"),
        ("dcgan_authors_imagenet32", 8, "cannot make 8 pixels: set dataset.image_size to one of 16, 32, 64, 128, 256"),
        ("dcgan_authors_mnist", 30, "cannot make 30 pixels: set dataset.image_size to a multiple of 4, such as 28 or"),
        ("gan_in_action", 3, "cannot make 3 pixels: set dataset.image_size to a multiple of 4, such as 4"),
    ],
)
def test_a_size_that_cannot_be_made_is_one_clear_line(name: str, size: int, message: str) -> None:
    config = plugin_manager().registries.generators[name].config(name=name)
    with pytest.raises(ValueError, match="cannot make") as raised:
        config.check_info(info(3, size))
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("size", "fits"), [(28, False), (48, True)])
def test_the_dense_form_is_advised_only_where_it_fits(size: int, fits: bool) -> None:
    generators = plugin_manager().registries.generators
    with pytest.raises(ValueError, match=f"cannot make {size} pixels") as raised:
        generators["dcgan"].config(name="dcgan").check_info(info(3, size))
    assert ("or take dcgan_dense" in str(raised.value)) == fits
    if fits:
        generators["dcgan_dense"].config(name="dcgan_dense").check_info(info(3, size))


@pytest.mark.parametrize("name", ["dcgan_authors", "dcgan_authors_mnist", "gan_in_action"])
def test_an_image_that_is_not_square_is_refused(name: str) -> None:
    config = plugin_manager().registries.generators[name].config(name=name)
    with pytest.raises(ValueError, match="needs square images, and these are 32×64 pixels"):
        config.check_info(DatasetInfo(ImageSpec(3, 32, 64)))


@pytest.mark.parametrize(("name", "size"), [("dcgan_authors", 16), ("dcgan_authors", 128), ("gan_in_action", 20)])
def test_other_sizes_than_the_source_s(name: str, size: int) -> None:
    generator, discriminator = narrow(name, size)
    images = generator(torch.randn(6, 100))
    assert images.shape == (6, 3, size, size)
    assert discriminator(images).shape == (6,)


@pytest.mark.parametrize("name", ["dcgan_authors", "dcgan_authors_imagenet32", "dcgan_authors_mnist"])
def test_the_authors_latents_are_uniform_unless_asked_otherwise(name: str) -> None:
    generator, _ = narrow(name)
    rng = torch.Generator().manual_seed(2)
    latents = generator.sample_latents(500, rng)
    assert latents.shape == (500, 256 if name == "dcgan_authors_imagenet32" else 100)
    assert -1 <= latents.min() < -0.99
    assert 0.99 < latents.max() <= 1
    assert abs(latents.std().item() - 3**-0.5) < 0.01
    other, _ = build(name, info(3, 32, DIGITS), {**NARROW[name], "latents": "normal"}, NARROW[name])
    assert abs(other.sample_latents(500, rng).std().item() - 1) < 0.02
    assert torch.equal(generator.sample_latents(3, rng.manual_seed(5)), generator.sample_latents(3, rng.manual_seed(5)))


@pytest.mark.parametrize("name", ["dcgan_authors", "dcgan_authors_imagenet32", "dcgan_authors_mnist"])
def test_the_authors_take_statistics_of_the_batch_always(name: str) -> None:
    """Evaluation computes as training does, and an image depends on those made with it."""
    generator, discriminator = narrow(name)
    latents, inputs = generator.sample_latents(6, torch.Generator().manual_seed(3)), inputs_of(generator)
    with torch.no_grad():
        trained = generator(latents, **inputs)
        generator.eval()
        assert torch.equal(generator(latents, **inputs), trained)
        some = generator(latents[:3], **{name: rows[:3] for name, rows in inputs.items()})
    assert not torch.allclose(some, trained[:3])
    for network in (generator, discriminator):
        assert not [key for key in network.state_dict() if "running" in key]


def test_every_layer_of_the_conditional_networks_sees_the_label() -> None:
    """With the label's weights of all layers but one set to 0, the label still matters."""
    generator, discriminator = narrow("dcgan_authors_mnist", size=28, channels=1)
    latents, images = torch.rand(6, 100), torch.rand(6, 1, 28, 28)
    for network, inputs, count in ((generator, latents, 4), (discriminator, images, 4)):
        layers = [child for child in network.modules() if isinstance(getattr(child, "weight", None), nn.Parameter)]
        assert len(layers) == count
        for kept in layers:
            saved = {key: value.clone() for key, value in network.state_dict().items()}
            for layer in layers:
                if layer is not kept:
                    with torch.no_grad():
                        label_inputs = (
                            layer.weight[-10:] if isinstance(layer, nn.ConvTranspose2d) else layer.weight[:, -10:]
                        )
                        label_inputs.zero_()
            with torch.no_grad():
                assert not torch.equal(network(inputs, labels=LABELS), network(inputs, labels=LABELS + 1)), kept
            network.load_state_dict(saved)


def test_a_conditional_network_asks_for_its_labels() -> None:
    generator, discriminator = narrow("dcgan_authors_mnist")
    for network in (generator, discriminator):
        assert network.uses == {"labels"}
        with pytest.raises(ValueError, match='"dcgan_authors_mnist" needs labels'):
            network.inputs()


def test_features_of_the_conditional_discriminator_need_no_labels() -> None:
    """They take every class in equal parts, which no batch of labels changes."""
    _, discriminator = narrow("dcgan_authors_mnist")
    first, second = discriminator.features(torch.rand(6, 3, 32, 32))
    assert (first.shape, second.shape) == ((6, 4, 16, 16), (6, 8, 8, 8))


def test_labels_are_concatenated_to_features_and_to_every_pixel() -> None:
    classes = one_hot(torch.tensor([2, 0]), 3)
    assert classes.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert concat_labels(torch.full((2, 1), 7.0), classes).tolist() == [[7, 0, 0, 1], [7, 1, 0, 0]]
    pixels = concat_labels(torch.full((2, 1, 2, 2), 7.0), classes)
    assert pixels.shape == (2, 4, 2, 2)
    assert (pixels[0] == torch.tensor([7.0, 0, 0, 1])[:, None, None]).all()
    assert concat_labels(torch.ones(2, 1, dtype=torch.bfloat16), classes).dtype == torch.bfloat16


ADAM = {"name": "adam", "lr": 2e-4, "betas": [0.5, 0.999]}
KERAS_ADAM = {"name": "adam", "lr": 1e-3, "betas": [0.9, 0.999], "eps": 1e-7}
ALTERNATE = {"name": "adversarial", "schedule": "alternate_minibatches", "batch_size": 128}
KERAS = {
    "name": "adversarial",
    "batch_size": 128,
    "discriminator_update": "separate",
    "fake_batch": "fresh",
}


@pytest.mark.parametrize(
    ("recipe", "run", "dataset", "terms", "trainer", "adam"),
    [
        (
            "dcgan_4x4_mnist",
            {"seed": 2333, "epochs": 5, "log_every": 10},
            {"name": "mnist", "image_size": 64},
            "mean",
            {"name": "adversarial", "batch_size": 128, "discriminator_steps": 1, "fake_batch": "reuse"},
            ADAM,
        ),
        (
            "dcgan_authors_celeba",
            {"epochs": 25},
            {"name": "celeba", "resize_first": 128, "crop": 64, "image_size": 64},
            "sum",
            ALTERNATE,
            {**ADAM, "weight_decay": 1e-5},
        ),
        (
            "dcgan_authors_svhn",
            {"epochs": 200},
            {"name": "svhn", "image_size": 32},
            "sum",
            {**ALTERNATE, "batch_size": 64},
            {**ADAM, "lr": 5e-4, "weight_decay": 1e-5},
        ),
        (
            "dcgan_authors_mnist",
            {"epochs": 200},
            {"name": "mnist", "image_size": 28},
            "sum",
            ALTERNATE,
            {**ADAM, "weight_decay": 2.5e-5, "lr": {"from": 2e-4, "to": 0.0, "start": 0.5}},
        ),
        (
            "dcgan_authors_imagenet32",
            {"epochs": 30},
            {"name": "image_folder", "image_size": 32},
            "sum",
            ALTERNATE,
            ADAM,
        ),
        (
            "gan_in_action_mnist",
            {"steps": 20_000},
            {"name": "mnist", "image_size": 28},
            "sum",
            {**KERAS, "fake_statistics": "running"},
            KERAS_ADAM,
        ),
        ("gan_mnist", {"steps": 20_000}, {"name": "mnist", "image_size": 28}, "sum", KERAS, KERAS_ADAM),
    ],
)
def test_recipe_trains_as_its_source_does(
    recipe: str, run: dict[str, Any], dataset: dict[str, Any], terms: str, trainer: dict[str, Any], adam: dict[str, Any]
) -> None:
    tables = tomllib.loads((RECIPES / f"{recipe}.toml").read_text(encoding="utf-8"))
    assert run.items() <= tables["run"].items()
    assert dataset.items() <= tables["dataset"].items()
    assert tables["loss"] == {"name": "non_saturating", "discriminator_terms": terms}
    assert trainer.items() <= tables["trainer"].items()
    for network in ("generator", "discriminator"):
        assert tables["trainer"][f"{network}_optimizer"] == adam


def test_the_tutorials_recipe_starts_norms_around_0_and_shows_samples_often() -> None:
    tables = tomllib.loads((RECIPES / "dcgan_4x4_mnist.toml").read_text(encoding="utf-8"))
    for network in ("generator", "discriminator"):
        assert tables[network]["init"] == {"norm_mean": 0.0, "norm_std": 0.02, "bias": "torch"}
    assert tables["samples"]["every"] == 100
