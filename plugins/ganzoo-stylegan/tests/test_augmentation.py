"""ADA's pipeline: nothing at p = 0, each operation with the effect that it names, gradients, and the feedback."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from ganzoo_stylegan import augment_ops as ops
from ganzoo_testing.fixtures import tiny_networks
from torch import Tensor
from torch.nn import functional as F

from ganzoo.components.penalty import PenaltyStep
from ganzoo.components.spec import DatasetInfo, ImageSpec
from ganzoo.registry.plugin_manager import plugin_manager

LOW_PASS = torch.tensor(ops.LOW_PASS)


def ada(channels: int = 3, size: int = 32, **options: Any) -> Any:
    info = DatasetInfo(ImageSpec(channels, size, size))
    entry = plugin_manager().registries.penalties["ada"]
    config = entry.config(name="ada", **options)
    config.check_info(info)
    return entry.load()(config, info=info)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth(count: int = 2, channels: int = 3, size: int = 32) -> Tensor:
    coarse = torch.rand(count, channels, 5, 5, generator=rng(1)) * 2 - 1
    return F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True)


def column(value: float, count: int = 2) -> Tensor:
    return torch.full((count, 1), value)


def resampled(images: Tensor, matrix: Tensor) -> Tensor:
    return ops.resample(images, matrix, LOW_PASS.to(images.dtype))


def recolored(images: Tensor, **drawn: Any) -> Tensor:
    """Images with one change of color: all other choices are neutral."""
    matrix = ops.colors(ops.identity(4, len(images), images.device), OnlyOne(len(images), **drawn))
    return ops.recolor(images, matrix)


class OnlyOne(ops.Choices):
    """Draws given numbers for the n-th transformation, which alone is applied."""

    def __init__(self, count: int, *, at: int, value: float) -> None:
        super().__init__(count, torch.ones(()), rng())
        self._at, self._value, self._applied = at, value, 0

    def uniform(self, columns: int = 1) -> Tensor:
        return torch.full((self.count, columns), self._value)

    normal = uniform

    def apply(self, values: Tensor, neutral: float, probability: Tensor | None = None) -> Tensor:
        self._applied += 1
        return values if self._applied - 1 == self._at else torch.full_like(values, neutral)


def test_the_filter_is_orthogonal() -> None:
    taps = torch.tensor(ops.LOW_PASS, dtype=torch.float64)
    assert float(taps.sum()) == pytest.approx(math.sqrt(2), abs=1e-9)
    for shift in range(6):
        product = float((taps[2 * shift :] * taps[: len(taps) - 2 * shift]).sum())
        assert product == pytest.approx(float(shift == 0), abs=1e-9)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("pipeline", ["b", "bg", "bgc"])
def test_with_probability_0_images_stay_as_they_are(pipeline: str, channels: int) -> None:
    images = torch.rand(4, channels, 32, 32, generator=rng(1)) * 2 - 1
    assert torch.equal(ada(channels, pipeline=pipeline).transform_images(images, rng()), images)


@pytest.mark.parametrize("pipeline", ["b", "bg", "bgc"])
def test_with_probability_1_all_images_change_and_as_much_is_drawn(pipeline: str) -> None:
    penalty, images, before, after = ada(pipeline=pipeline), smooth(16), rng(), rng()
    penalty.transform_images(images, before)
    penalty.probability.fill_(1)
    changed = penalty.transform_images(images, after)
    assert torch.equal(before.get_state(), after.get_state())
    assert changed.shape == images.shape
    assert changed.isfinite().all()
    assert (changed - images).abs().amax((1, 2, 3)).gt(0.01).float().mean() > 0.9


def test_the_filters_alone_change_nothing() -> None:
    images = torch.rand(2, 3, 32, 32, generator=rng(1))
    almost = ops.translation(column(0.0), column(1e-7))
    assert (resampled(images, almost) - images).abs().max() < 1e-4


def test_blitting_moves_pixels_exactly() -> None:
    images = torch.rand(2, 3, 16, 16, generator=rng(1))
    assert torch.equal(ops.move(images, ops.scaling(column(-1.0), column(1.0))), images.flip(3))
    assert torch.equal(ops.move(images, ops.rotation(column(math.pi / 2))), images.rot90(1, (2, 3)))
    assert torch.equal(ops.move(images, ops.rotation(column(math.pi))), images.rot90(2, (2, 3)))
    shifted = ops.move(images, ops.translation(column(3.0), column(-2.0)))
    assert torch.equal(shifted[:, :, :-2, 3:], images[:, :, 2:, :-3])
    assert torch.equal(shifted[:, :, :-2, :3], images[:, :, 2:, 1:4].flip(3))  # mirrored at the edge


def test_images_that_are_not_square_keep_their_shape() -> None:
    images = torch.rand(2, 3, 16, 24, generator=rng(1))
    assert torch.equal(ops.move(images, ops.scaling(column(-1.0), column(1.0))), images.flip(3))
    assert resampled(images, ops.rotation(column(0.3))).shape == images.shape


@pytest.mark.parametrize(("add", "at"), [(ops.moved, 2), (ops.warped, 4)])
def test_a_shift_is_a_share_of_its_own_side(add: Any, at: int) -> None:
    """An eighth of 64 pixels to the right, and of 16 down."""
    matrix = add(ops.identity(3, 2, torch.device("cpu")), OnlyOne(2, at=at, value=1.0), (16, 64))
    assert torch.equal(matrix, ops.translation(column(8.0), column(2.0)))


def test_a_stretch_keeps_the_area() -> None:
    matrix = ops.warped(ops.identity(3, 2, torch.device("cpu")), OnlyOne(2, at=2, value=1.0), (32, 32))
    torch.testing.assert_close(matrix, ops.scaling(column(2**-ops.SCALE_STD), column(2**ops.SCALE_STD)))


def test_one_of_the_two_rotations_comes_with_the_probability() -> None:
    asked: list[float] = []

    class Noting(ops.Choices):
        def apply(self, values: Tensor, neutral: float, probability: Tensor | None = None) -> Tensor:
            asked.append(float(self.probability if probability is None else probability))
            return super().apply(values, neutral, probability)

    ops.warped(ops.identity(3, 2, torch.device("cpu")), Noting(2, torch.tensor(0.36), rng()), (32, 32))
    assert asked == pytest.approx([0.36, 0.2, 0.36, 0.2, 0.36])  # (1 − 0.2)² = 1 − 0.36


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_the_general_geometry_turns_about_the_center(turns: int) -> None:
    images = smooth()
    turned = resampled(images, ops.rotation(column(turns * math.pi / 2 + 1e-4)))
    assert (turned - images.rot90(turns, (2, 3))).abs().mean() < 0.01


def test_a_scale_of_2_shows_the_middle_doubled() -> None:
    images = smooth()
    larger = resampled(images, ops.scaling(column(0.5), column(0.5)))
    middle = F.interpolate(images[:, :, 8:-8, 8:-8], scale_factor=2.0, mode="bilinear")
    assert (larger - middle)[:, :, 2:-2, 2:-2].abs().mean() < 0.01


def test_a_scale_of_a_half_shows_the_whole_with_mirror_images_around() -> None:
    images = smooth()
    smaller = resampled(images, ops.scaling(column(2.0), column(2.0)))
    whole = F.avg_pool2d(images, 2)
    assert (smaller[:, :, 8:-8, 8:-8] - whole)[:, :, 1:-1, 1:-1].abs().mean() < 0.02
    beside = (smaller[:, :, 9:-9, 8:11] + smaller[:, :, 9:-9, 9:12]) / 2  # the edge's center is at column 7.75
    assert (smaller[:, :, 9:-9, 5:8] - beside.flip(3)).abs().mean() < 0.02


def test_a_shift_of_half_a_pixel_averages_neighbors() -> None:
    images = smooth()
    shifted = resampled(images, ops.translation(column(0.5), column(0.0)))
    expected = (images[:, :, :, 4:-5] + images[:, :, :, 5:-4]) / 2
    assert (shifted[:, :, :, 5:-4] - expected).abs().max() < 0.02


def looked_up(images: Tensor, matrix: Tensor) -> Tensor:
    """Images by bilinear lookup of the source, mirrored at edges."""
    height, width = images.shape[2:]
    down, right = torch.meshgrid(
        torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2, indexing="ij"
    )
    places = torch.einsum("nij,hwj->nhwi", matrix[:, :2], torch.stack([right, down, torch.ones_like(down)], -1))
    grid = places / torch.tensor([(width - 1) / 2, (height - 1) / 2])
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=True)


def test_what_is_shifted_out_comes_back_when_the_image_is_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shift by an eighth, then a turn by 30° and half the size: the source is sampled once."""
    shift = ops.translation(column(4.0), column(0.0))
    smaller = ops.scaling(column(2.0), column(2.0)) @ ops.rotation(column(math.pi / 6))
    monkeypatch.setattr(ops, "moved", lambda *_: shift)
    monkeypatch.setattr(ops, "warped", lambda *_: smaller)
    images = smooth()
    found = ada(pipeline="bg").transform_images(images, rng())
    assert (found - looked_up(images, shift @ smaller)).abs().mean() < 0.01


def test_all_of_the_geometry_is_one_lookup() -> None:
    """At p = 0.5, of 64 images with their own draws; moved by pixels alone, they are the source's to the bit."""
    images, penalty = smooth(64, size=64), ada(size=64, pipeline="bg")
    penalty.probability.fill_(0.5)
    found = penalty.transform_images(images, rng())
    choose, still = ops.Choices(64, penalty.probability, rng()), ops.identity(3, 64, images.device)
    blitted = ops.moved(still, choose, (64, 64))
    general = ops.warped(still, choose, (64, 64))
    wrong = (found - looked_up(images, blitted @ general)).abs().mean(1).gt(0.1).flatten(1).float().mean(1)
    assert wrong.gt(0.01).sum() == 0
    blits = (general == still).all(2).all(1)
    assert blits.any()
    assert torch.equal(found[blits], ops.move(images, blitted)[blits])


@pytest.mark.parametrize("channels", [1, 3])
def test_brightness_adds_and_contrast_multiplies(channels: int) -> None:
    images = smooth(channels=channels)
    assert torch.allclose(recolored(images, at=0, value=0.5), images + 0.5 * ops.BRIGHTNESS_STD, atol=1e-6)
    assert torch.allclose(recolored(images, at=1, value=2.0), images * 2**1.0, atol=1e-6)


def test_the_mirrored_luma_turns_gray_and_keeps_the_difference_of_colors() -> None:
    images = smooth()
    flipped = recolored(images, at=2, value=0.5)
    assert torch.allclose(flipped.mean(1), -images.mean(1), atol=1e-6)
    assert torch.allclose(flipped[:, 0] - flipped[:, 1], images[:, 0] - images[:, 1], atol=1e-6)


def test_a_third_of_a_turn_of_hue_rotates_the_channels_and_a_whole_turn_none() -> None:
    images = smooth()
    third = recolored(images, at=3, value=0.5 + 1 / 3)  # (2u − 1)π = 2π/3
    assert torch.allclose(third, images[:, [2, 0, 1]], atol=1e-6)
    assert torch.allclose(recolored(images, at=3, value=0.5), images, atol=1e-6)


def test_saturation_multiplies_what_is_not_gray() -> None:
    images = smooth()
    gray = images.mean(1, keepdim=True)
    assert torch.allclose(recolored(images, at=4, value=1.0), gray + 2 * (images - gray), atol=1e-6)


@pytest.mark.slow
def test_the_gradient_is_right_and_can_be_differentiated_again() -> None:
    images = torch.rand(2, 1, 9, 9, dtype=torch.float64, generator=rng(1)).requires_grad_()
    matrix = ops.rotation(torch.tensor([[0.4], [2.0]], dtype=torch.float64))
    assert torch.autograd.gradcheck(lambda given: resampled(given, matrix), images)
    assert torch.autograd.gradgradcheck(lambda given: resampled(given, matrix).square(), images)


def test_images_that_cannot_be_transformed_are_refused() -> None:
    with pytest.raises(ValueError, match='take "bg"'):
        ada(channels=2)
    with pytest.raises(ValueError, match="8 pixels or more"):
        ada(size=4)
    assert ada(channels=2, pipeline="bg").transform_images(torch.rand(2, 2, 16, 16), rng()).shape == (2, 2, 16, 16)


@pytest.mark.parametrize(("logit", "sign"), [(1.0, 1), (-1.0, -1)])
def test_every_4_steps_the_probability_moves_by_the_images_seen(logit: float, sign: int) -> None:
    generator, discriminator = tiny_networks(32)
    images = torch.zeros(8, 3, 32, 32)
    step = PenaltyStep(
        generator=generator,
        discriminator=discriminator,
        real=images,
        fake=images,
        unaugmented_real=images,
        unaugmented_fake=images,
        latents=torch.zeros(8, 8),
        labels=None,
        condition=None,
        real_logits=torch.full((8,), logit),
        fake_logits=torch.zeros(8),
        rng=rng(),
    )
    penalty = ada()
    penalty.probability.fill_(0.5)
    for _ in range(3):
        penalty.discriminator_term(step)
    assert penalty.probability == 0.5
    penalty.discriminator_term(step)
    assert float(penalty.probability) == pytest.approx(0.5 + sign * 32 / 500_000)
