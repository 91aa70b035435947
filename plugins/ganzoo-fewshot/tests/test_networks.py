"""The networks at every size, what is frozen, which networks a penalty and a trainer take, and what is warned of."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from ganzoo_dcgan.batch_norm_calibration import calibrated_batch_norm
from ganzoo_fewshot.layers import GLU, DownBlock, Noise
from ganzoo_fewshot.reconstruction import VGG_LAYERS, quarters
from tiny_recipe import tiny_recipe
from torch import nn
from torch.nn import BatchNorm2d
from torchvision.models import vgg16

import ganzoo
from ganzoo.components.penalty import PenaltyStep
from ganzoo.errors import DataError
from ganzoo.recipe.load import parse_recipe
from ganzoo.recipe.validate import lint
from ganzoo.registry.plugin_manager import plugin_manager
from ganzoo.sampling.generate import batch_norm_mode
from ganzoo.training.build import build_run

RANDOM = {"model": "shufflenet_v2_x0_5", "weights": "random", "input_size": 64, "width": 8}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [64, 128, 256])
def test_sizes(make: Any, size: int, channels: int) -> None:
    generator = make("generators", "fastgan", size=size, channels=channels, width=8, small_output=True)
    images, small = generator(torch.randn(2, 256), small=True)
    assert images.shape == (2, channels, size, size)
    assert small.shape == (2, channels, min(128, size // 2), min(128, size // 2))
    discriminator = make("discriminators", "fastgan", size=size, channels=channels, width=8)
    assert discriminator(images).shape == discriminator(images, small=small).shape == (2, 50)
    sides = [each.shape[-1] for each in discriminator.features(images)]
    assert [side for side in sides if side in (8, 16)] == [16, 8, 16, 8]


@pytest.mark.parametrize("kind", ["generators", "discriminators"])
def test_other_sizes_are_refused(make: Any, kind: str) -> None:
    with pytest.raises(ValueError, match=r"no layers for 32 pixels: set dataset.image_size to 64, 128, 256, 512, 1024"):
        make(kind, "fastgan", size=32)


def test_latents_are_normalized_unless_they_are_not_to_be(make: Any) -> None:
    latents = torch.randn(2, 256)
    for normalize in (True, False):
        generator = make("generators", "fastgan", width=4, normalize_latents=normalize).eval()
        assert generator(latents).allclose(generator(3 * latents), atol=1e-5) == normalize


def test_noise_is_of_training_alone(make: Any) -> None:
    generator = make("generators", "fastgan", width=4)
    for module in generator.modules():
        if type(module).__name__ == "Noise":
            torch.nn.init.ones_(module.weight)
    latents = torch.randn(2, 256)
    assert not generator(latents).allclose(generator(latents), atol=1e-3)
    generator.eval()
    assert generator(latents).equal(generator(latents))


def test_noise_is_learnt_from_nothing_on() -> None:
    maps = torch.randn(2, 3, 4, 4)
    assert Noise()(maps).equal(maps)


def test_the_gradient_of_a_gated_unit_lies_in_memory_as_its_input_does() -> None:
    """Batch norm before it is several times as slow else."""
    maps = torch.randn(2, 6, 4, 5, requires_grad=True)
    expected = torch.autograd.grad(nn.functional.glu(maps, 1).square().sum(), maps)
    for order in (torch.contiguous_format, torch.channels_last):
        found = torch.autograd.grad(GLU()(maps.contiguous(memory_format=order)).square().sum(), maps)
        torch.testing.assert_close(found, expected)
        gradients: list[torch.Tensor] = []
        inner = maps.contiguous(memory_format=order) * 1
        inner.register_hook(gradients.append)
        GLU()(inner).square().sum().backward()
        assert gradients[0].is_contiguous(memory_format=order)


def test_of_the_projected_discriminator_only_the_heads_learn(make: Any) -> None:
    discriminator = make("discriminators", "projected", **RANDOM)
    images = torch.rand(2, 3, 64, 64, requires_grad=True)
    discriminator(images).sum().backward()
    assert images.grad is not None
    assert images.grad.any()
    learns = {name for name, parameter in discriminator.named_parameters() if parameter.grad is not None}
    assert learns
    assert all(name.startswith("heads.") for name in learns)
    assert learns == {name for name, parameter in discriminator.named_parameters() if parameter.requires_grad}
    assert not any(module.training for module in discriminator.train().backbone.modules())


@pytest.mark.parametrize("mode", ["batch", "calibrated"])
def test_statistics_of_batches_leave_the_classifier_as_it_is(make: Any, mode: str) -> None:
    discriminator = make("discriminators", "projected", **RANDOM).eval()
    images = torch.rand(4, 3, 64, 64)
    with torch.no_grad():
        before = discriminator.backbone(images)
        with (
            batch_norm_mode(discriminator, mode) if mode == "batch" else calibrated_batch_norm(discriminator, [images])
        ):
            within = discriminator.backbone(images)
    assert all(map(torch.equal, before, within))
    assert not any(module.training for module in discriminator.modules())


def test_scales_are_mixed_from_the_smallest_on(make: Any) -> None:
    """Each map is added to the next larger one and doubled (the paper's figure 1)."""
    discriminator = make("discriminators", "projected", **RANDOM).eval()
    images = torch.rand(2, 3, 64, 64)
    maps = discriminator.backbone(images)
    own = [mix(each) for mix, each in zip(discriminator.across_channels, maps, strict=True)]
    expected, below = [], torch.zeros(())
    for index in (3, 2, 1, 0):
        doubled = nn.functional.interpolate(own[index] + below, scale_factor=2, mode="bilinear", align_corners=True)
        below = discriminator.across_scales[index](doubled)
        expected.insert(0, below)
    for found, each in zip(discriminator.features(images), expected, strict=True):
        torch.testing.assert_close(found, each)


def test_larger_images_give_more_logits_and_no_deeper_heads(make: Any) -> None:
    """As in the authors' code, which fixes the halvings for maps of 256 pixels."""
    heads, logits = [], []
    for size in (256, 512):
        discriminator = make("discriminators", "projected", **RANDOM | {"input_size": size})
        heads.append([sum(isinstance(layer, BatchNorm2d) for layer in head) for head in discriminator.heads])
        logits.append(discriminator(torch.rand(2, 3, 64, 64)).shape[1])
    assert heads == [[4, 3, 2, 1]] * 2
    assert logits == [4 * 5**2, 4 * 13**2]


@pytest.mark.parametrize(
    ("model", "channels"), [("efficientnet_b0", [24, 40, 112, 320]), ("shufflenet_v2_x0_5", [24, 48, 96, 192])]
)
def test_the_last_map_is_that_of_a_block(make: Any, model: str, channels: list[int]) -> None:
    """And not of the 1×1 convolution after it, which widens it to 1,280 or 1,024 channels for the classes."""
    backbone = make("discriminators", "projected", **RANDOM | {"model": model}).backbone
    assert [each.shape[1] for each in backbone(torch.rand(1, 3, 64, 64))] == channels


@pytest.mark.slow
def test_a_state_dict_names_the_classifier_by_its_checksum(make: Any) -> None:
    discriminator = make("discriminators", "projected", **RANDOM)
    state = discriminator.state_dict()
    assert [name for name in state if name.startswith("backbone")] == ["backbone.weights_sha256"]
    images = torch.rand(2, 3, 64, 64)
    same = make("discriminators", "projected", **RANDOM)
    same.load_state_dict(state)
    assert same.eval()(images).equal(discriminator.eval()(images))
    other = make("discriminators", "projected", **RANDOM, seed=1)
    with pytest.raises(
        RuntimeError, match=r"was trained on other weights of shufflenet_v2_x0_5 than \[discriminator\]"
    ):
        other.load_state_dict(state)
    del state["backbone.weights_sha256"]
    with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict: \"backbone.weights_sha256\""):
        same.load_state_dict(state)


def test_weights_from_a_file(make: Any, tmp_path: Path) -> None:
    from torchvision.models import shufflenet_v2_x0_5

    torch.manual_seed(5)
    file = tmp_path / "mine.pth"
    torch.save(shufflenet_v2_x0_5(weights=None).state_dict(), file)
    discriminator = make("discriminators", "projected", **RANDOM | {"weights": str(file)})
    before = discriminator.backbone.digest()
    discriminator.prepare()
    assert not discriminator.backbone.digest().equal(before)
    stem = dict(discriminator.backbone.network.named_parameters())["conv1.0.weight"]
    assert stem.equal(torch.load(file, weights_only=True)["conv1.0.weight"])
    assert not stem.requires_grad


def test_weights_that_cannot_be_fetched(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    discriminator = make("discriminators", "projected", **RANDOM | {"weights": "DEFAULT"})
    with pytest.raises(DataError) as raised:
        discriminator.prepare()
    line = str(raised.value)
    assert "the weights of shufflenet_v2_x0_5 cannot be downloaded (Network is unreachable): fetch https://" in line
    assert "or name its place with weights of [discriminator]" in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "resnet1"}, 'torchvision has no classifier "resnet1", did you mean resnet18?'),
        ({"model": "vit_b_32"}, '"VisionTransformer" has no feature map of stride 4: take a convolutional'),
        ({"weights": "NONE"}, 'weights = "NONE" is neither a file nor a name of the weights of shufflenet_v2_x0_5'),
    ],
)
def test_classifiers_that_will_not_do(make: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises((DataError, ValueError)) as raised:
        make("discriminators", "projected", **RANDOM | {"input_size": 224} | options).prepare()
    assert message in str(raised.value)


def reconstruction_step(discriminator: Any, images: torch.Tensor, seed: int = 0) -> PenaltyStep:
    rng = torch.Generator().manual_seed(seed)
    logits, latents = torch.zeros(2), torch.zeros(2, 8)
    return PenaltyStep(None, discriminator, images, images, images, images, latents, None, None, logits, logits, rng)  # type: ignore[arg-type]


def test_reconstruction_is_the_sum_of_the_distances(make: Any) -> None:
    discriminator = make("discriminators", "fastgan", width=8).eval()
    penalty = make("penalties", "reconstruction")
    penalty.setup(None, discriminator)
    penalty.eval()
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    term = penalty.discriminator_term(reconstruction_step(discriminator, images))
    maps = discriminator.features(images)
    part = torch.randint(4, (2,), generator=torch.Generator().manual_seed(0))
    expected = sum((decode(maps[int(i)]) - images).abs().mean() for i, decode in penalty.whole.items())
    ((i, decode),) = penalty.quarter.items()
    corner = [
        (slice(None), slice(32 * (p // 2), 32 * (p // 2) + 32), slice(32 * (p % 2), 32 * (p % 2) + 32)) for p in part
    ]
    inner = [(slice(None), slice(8 * (p // 2), 8 * (p // 2) + 8), slice(8 * (p % 2), 8 * (p % 2) + 8)) for p in part]
    quarter = torch.stack([image[at] for image, at in zip(images, corner, strict=True)])
    features = torch.stack([each[at] for each, at in zip(maps[int(i)], inner, strict=True)])
    expected = expected + (decode(features) - quarter).abs().mean()
    torch.testing.assert_close(term, expected)
    term.backward()
    assert all(parameter.grad is not None for parameter in penalty.parameters())
    assert any(parameter.grad is not None for parameter in discriminator.parameters())


@pytest.mark.slow
def test_perceptual_distance_as_lpips_without_its_weights(make: Any) -> None:
    penalty = make("penalties", "reconstruction", distance="perceptual", vgg_weights="random")
    first, second = torch.rand(2, 2, 3, 64, 64) * 2 - 1
    network = penalty.perceptual.backbone.network
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    expected = torch.zeros(())
    for one, other in zip(*(network(((x + 1) / 2 - mean) / deviation).values() for x in (first, second)), strict=True):
        unit = [f / f.norm(dim=1, keepdim=True).clamp_min(1e-10) for f in (one, other)]
        expected = expected + (unit[0] - unit[1]).square().sum(1).mean((1, 2)).mean()
    torch.testing.assert_close(penalty.distance(first, second), expected, atol=1e-4, rtol=1e-3)
    assert penalty.distance(first, first) == 0
    assert list(penalty.state_dict()) == ["perceptual.backbone.weights_sha256"]


def test_the_layers_of_vgg_are_the_last_rectifiers_before_each_pooling() -> None:
    with torch.device("meta"):
        layers = vgg16().features
    last = [f"features.{index}" for index, layer in enumerate(layers[1:]) if isinstance(layer, nn.MaxPool2d)]
    assert list(VGG_LAYERS) == last
    assert all(isinstance(layers[int(name.partition(".")[2])], nn.ReLU) for name in last)


def test_reconstruction_needs_maps_to_decode(make: Any) -> None:
    penalty = make("penalties", "reconstruction")
    with pytest.raises(ValueError, match="from 8×8 features, and the discriminator has 112×112, 56×56, 28×28"):
        penalty.setup(None, make("discriminators", "projected", **RANDOM | {"input_size": 224}))


def recipe(root: Path, **changes: Any) -> dict[str, Any]:
    tables = tiny_recipe(
        root,
        run={"steps": 4},
        dataset={"image_size": 64, "count": 32},
        generator={"name": "fastgan", "width": 4, "latent_dim": 8, "small_output": True},
        discriminator={"name": "fastgan", "width": 4},
        loss={"name": "uniform_hinge"},
        trainer={"name": "fastgan", "batch_size": 4},
        checkpoint={"every": 2},
        penalties=[{"name": "diff_augment", "policies": ["color", "translation"]}, {"name": "reconstruction"}],
    )
    return tables | changes


def warnings_of(tables: dict[str, Any]) -> list[str]:
    return [str(problem) for problem in lint(parse_recipe(tables, plugin_manager()), plugin_manager())]


def test_few_images_without_augmentation_are_warned_of(tmp_path: Path) -> None:
    few = recipe(tmp_path, trainer={"name": "fastgan", "batch_size": 4, "ema_decay": 0.0})
    assert not any("memorizes" in text for text in warnings_of(few))
    few["penalties"] = [{"name": "reconstruction"}]
    assert not any("memorizes" in text for text in warnings_of(few))  # nobody knows how many there are
    few["dataset"] = {**few["dataset"], "limit": 100}
    assert any("memorizes 100 images" in text and "diff_augment" in text for text in warnings_of(few))
    few["penalties"] = [{"name": "adaptive_augment"}]
    assert not any("memorizes" in text for text in warnings_of(few))
    points = recipe(
        tmp_path,
        dataset={"name": "ring", "limit": 100},
        generator={"name": "mlp"},
        discriminator={"name": "mlp"},
        trainer={"name": "adversarial", "batch_size": 4},
        penalties=[],
    )
    assert not any("memorizes" in text for text in warnings_of(points))  # augmentation is of images


def test_what_else_is_warned_of(tmp_path: Path) -> None:
    unseen = recipe(tmp_path, trainer={"name": "adversarial", "batch_size": 4})
    texts = warnings_of(unseen)
    assert any("makes images that nobody sees" in text for text in texts)
    alike = recipe(tmp_path, discriminator={"name": "dcgan", "width": 4})
    assert any("makes images that nobody sees" in text for text in warnings_of(alike))
    alike["generator"] = {"name": "fastgan", "width": 4}
    assert any('does no more than "adversarial" with these networks' in text for text in warnings_of(alike))
    alone = ("nobody", "does no more")
    assert not any(word in text for text in warnings_of(recipe(tmp_path)) for word in alone)


def test_the_small_images_are_augmented_as_well(tmp_path: Path) -> None:
    run = build_run(parse_recipe(recipe(tmp_path), plugin_manager()), plugin_manager(), warn=lambda _: None)
    trainer, batch, seen = run.trainer, run.loader.next(), []
    trainer.parts.discriminator.register_forward_pre_hook(
        lambda _, __, more: seen.append(more["small"]), with_kwargs=True
    )
    fake = trainer.generate(batch)
    trainer.logits(fake.samples, fake)
    assert seen[0].shape == fake.small.shape
    assert not torch.equal(seen[0], fake.small)


@pytest.mark.slow
def test_the_small_image_reaches_the_discriminator(tmp_path: Path) -> None:
    start = ganzoo.run(recipe(tmp_path), ["run.steps=1", "trainer.ema_decay=0.0"])
    after = ganzoo.run(recipe(tmp_path), ["run.steps=2", "trainer.ema_decay=0.0"])
    name = "small_image.parametrizations.weight.original"
    first, second = (run.checkpoint.network("generator")[name] for run in (start, after))
    assert not first.equal(second)


def test_the_discriminators_maps_are_excited_by_those_eight_times_larger(make: Any) -> None:
    """Each by the excited map, where that is one itself; the gains lie between 0 and 1."""
    discriminator = make("discriminators", "fastgan", size=256, width=4).eval()
    given: list[tuple[torch.Tensor, torch.Tensor]] = []
    for excitation in discriminator.excitations:
        excitation.register_forward_pre_hook(lambda _, inputs: given.append(inputs))
    with torch.no_grad():
        maps = discriminator.features(torch.rand(1, 3, 256, 256) * 2 - 1)[len(discriminator.small) :]
    assert [(small.shape[-1], large.shape[-1]) for small, large in given] == [(256, 32), (128, 16), (64, 8)]
    for place, (small, large) in enumerate(given):
        assert small.equal(maps[place])
        assert not maps[place + 3].equal(large)
        assert (maps[place + 3].abs() <= large.abs()).all()


def test_a_block_that_halves_is_the_mean_of_both_ways(make: Any) -> None:
    block = DownBlock(3, 5).eval()
    maps = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(block(maps), (block.main(maps) + block.direct(maps)) / 2)


@pytest.mark.parametrize("size", [64, 128])
def test_the_last_maps_of_sixteen_pixels_are_those_of_which_a_quarter_is_decoded(make: Any, size: int) -> None:
    discriminator = make("discriminators", "fastgan", size=size, width=4)
    penalty = make("penalties", "reconstruction", size=size)
    penalty.setup(None, discriminator)
    shapes = discriminator.feature_shapes()
    sides = [shape[-1] for shape in shapes]
    assert list(penalty.whole) == [str(place) for place, side in enumerate(sides) if side == 8]
    assert list(penalty.quarter) == [str(len(sides) - 2)]  # of the image's own track
    assert sides[-2] == 16
    (decode,) = penalty.quarter.values()
    rebuilt = decode(1000 * torch.randn(2, shapes[-2][0], 8, 8))
    assert rebuilt.shape == (2, 3, size // 2, size // 2)
    assert rebuilt.abs().max() <= 1


def test_any_quarter_is_decoded_and_compared_with_its_part_of_the_image(make: Any) -> None:
    """Numbered in reading order, in images and maps whose quarters are of one shade each."""
    numbered = torch.arange(4.0).reshape(1, 1, 2, 2)

    def shades(count: int, channels: int, side: int) -> torch.Tensor:
        half = side // 2
        return numbered.repeat_interleave(half, 2).repeat_interleave(half, 3).expand(count, channels, -1, -1)

    assert [each.unique().tolist() for each in quarters(shades(4, 2, 6), torch.arange(4))] == [[0], [1], [2], [3]]
    penalty, discriminator = make("penalties", "reconstruction"), make("discriminators", "fastgan", width=4)
    penalty.setup(None, discriminator)
    (number,) = penalty.quarter
    seen: list[torch.Tensor] = []
    for decoder in penalty.whole.values():
        decoder.forward = lambda maps: shades(64, 3, 64)
    penalty.quarter[number].forward = lambda maps: seen.append(maps) or maps[:, :3].repeat(1, 1, 4, 4)
    shapes = discriminator.feature_shapes()
    discriminator.features = lambda images: [shades(64, channels, side) for channels, side, _ in shapes]
    term = penalty.discriminator_term(reconstruction_step(discriminator, shades(64, 3, 64)))
    assert term == 0
    assert seen[0].flatten(1).unique().tolist() == [0, 1, 2, 3]
    assert all(len(each.unique()) == 1 for each in seen[0])


def test_what_is_rebuilt_is_the_real_image_as_the_discriminator_saw_it(make: Any) -> None:
    discriminator = make("discriminators", "fastgan", width=4).eval()
    penalty = make("penalties", "reconstruction", width=4)
    penalty.setup(None, discriminator)
    penalty.eval()
    real, other = torch.rand(2, 2, 3, 64, 64) * 2 - 1
    alike = reconstruction_step(discriminator, real)
    others = {"fake": other, "unaugmented_real": other, "unaugmented_fake": other}
    terms = [
        penalty.discriminator_term(dataclasses.replace(alike, rng=torch.Generator().manual_seed(0), **each))
        for each in ({}, others)
    ]
    torch.testing.assert_close(*terms)
