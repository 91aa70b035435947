"""Augmentation: what it does to images, how gradients pass, and how ADA's feedback sets its strength."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from ganzoo_objectives.configs import AugmentConfig
from ganzoo_objectives.diffaugment_ops import augment, color, cutout, translation
from torch import Tensor

from ganzoo.components.penalty import PenaltyStep
from ganzoo.components.spec import DatasetInfo, VectorSpec
from ganzoo.components.world import World

Make = Callable[..., Any]
Step = Callable[..., PenaltyStep]

POLICIES = {
    "color": lambda images, rng: color(images, rng),
    "translation": lambda images, rng: translation(images, rng, 0.25),
    "cutout": lambda images, rng: cutout(images, rng, 0.5),
    "all": lambda images, rng: augment(images, rng, AugmentConfig()),
}
every_policy = pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)


def rng(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_images(count: int = 32) -> Tensor:
    return torch.rand(count, 3, 8, 8, generator=rng(1)) * 2 - 1


@every_policy
def test_a_seed_says_everything(policy: Callable[..., Tensor]) -> None:
    images = some_images()
    assert torch.equal(policy(images, rng()), policy(images, rng()))
    assert not torch.equal(policy(images, rng()), policy(images, rng(6)))
    assert not torch.equal(policy(images, rng()), images)
    assert torch.equal(images, some_images()), "the images themselves stay"


@every_policy
def test_gradients_pass(policy: Callable[..., Tensor]) -> None:
    """All policies are linear in the image, give or take a constant: the gradient is their difference quotient."""
    images = some_images(4).double().requires_grad_()
    weights = torch.rand(4, 3, 8, 8, generator=rng(2), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((policy(images, rng()) * weights).sum(), images)
    direction = torch.rand(4, 3, 8, 8, generator=rng(3), dtype=torch.float64)
    moved = ((policy(images + direction, rng()) - policy(images, rng())) * weights).sum()
    torch.testing.assert_close((gradient * direction).sum(), moved)
    assert torch.autograd.gradgradcheck(lambda x: policy(x, rng()).square().sum(), images[:1])


def test_shifts_by_whole_pixels_up_to_the_ratio() -> None:
    image = torch.arange(1.0, 65).reshape(1, 1, 8, 8)
    padded = torch.zeros(12, 12)
    padded[2:10, 2:10] = image[0, 0]
    windows = {(y, x): padded[y : y + 8, x : x + 8] for y in range(5) for x in range(5)}
    moved = translation(image.expand(600, 1, 8, 8), rng(), 0.25)
    found = [next(shift for shift, window in windows.items() if torch.equal(each[0], window)) for each in moved]
    assert set(found) == set(windows), "each of the 25 shifts comes, and no other"


def test_shift_of_nothing_is_nothing() -> None:
    images = some_images()
    assert torch.equal(translation(images, rng(), 0.05), images), "a twentieth of 8 pixels is less than half of one"


@pytest.mark.parametrize(("size", "reach"), [(28, 4), (32, 4), (36, 5), (100, 13)])
def test_translation_rounds_as_the_authors_code_does(size: int, reach: int):
    row = torch.arange(1.0, size + 1).expand(2000, 1, 1, size)
    moved = translation(row, rng(), 0.125)
    shifts = {int(each[0, 0, size // 2] - row[0, 0, 0, size // 2]) for each in moved if each.any()}
    assert (min(shifts), max(shifts)) == (-reach, reach)


def test_cuts_out_one_rectangle_around_a_point_in_the_image() -> None:
    holes = cutout(torch.ones(400, 3, 8, 8), rng(), 0.5) == 0
    assert torch.equal(holes[:, 0], holes[:, 1])
    sizes = set()
    for hole in holes[:, 0]:
        rows, columns = hole.any(1), hole.any(0)
        assert torch.equal(hole, rows[:, None] & columns[None, :])
        sizes.add((int(rows.sum()), int(columns.sum())))
    assert sizes == {(height, width) for height in (2, 3, 4) for width in (2, 3, 4)}, "cut where it leaves the image"
    assert cutout(torch.ones(9, 1, 8, 8), rng(), 1.0).mean() < 0.6


def test_cuts_off_as_much_at_one_edge_as_at_the_other() -> None:
    holes = cutout(torch.ones(400, 1, 8, 8), rng(), 0.5)[:, 0] == 0
    rows = {tuple(hole.any(1).nonzero().flatten().tolist()) for hole in holes}
    assert rows == {tuple(range(max(0, center - 2), min(8, center + 2))) for center in range(9)}


def test_colors_change_about_the_gray_of_a_pixel_and_the_mean_of_an_image() -> None:
    """As the authors' code has it: brightness, saturation, contrast, each with one number for an image."""
    images, numbers = some_images(), rng()
    brightness, saturation, contrast = (torch.rand(32, 1, 1, 1, generator=numbers) for _ in range(3))
    expected = images + (brightness - 0.5)
    gray = expected.mean(1, keepdim=True)
    expected = (expected - gray) * (saturation * 2) + gray
    mean = expected.mean((1, 2, 3), keepdim=True)
    expected = (expected - mean) * (contrast + 0.5) + mean
    torch.testing.assert_close(color(images, rng()), expected)


def test_colors_stay_in_their_bounds() -> None:
    """Brightness ±½ on each value, then distances from the gray twice as large at most, then half as large again."""
    flat = torch.full((500, 3, 8, 8), 0.2)
    brighter = color(flat, rng())[:, 0, 0, 0]
    assert brighter.min() >= -0.3
    assert brighter.max() <= 0.7
    assert brighter.max() - brighter.min() > 0.9
    changed = color(some_images(500), rng())
    assert changed.abs().max() <= 1.5 + 2 * 1.5 * 2
    gray = torch.rand(500, 1, 8, 8, generator=rng(2)).expand(500, 3, 8, 8)
    still_gray = color(gray, rng())
    torch.testing.assert_close(still_gray[:, 0], still_gray[:, 2])
    ratio = still_gray[:, 0].flatten(1).std(1) / gray[:, 0].flatten(1).std(1)
    assert 0.5 <= ratio.min() < 0.52
    assert 1.48 < ratio.max() <= 1.5001


def test_policies_come_as_asked_and_real_and_fake_alike(make: Make) -> None:
    images = some_images()
    only = make("diff_augment", policies=["cutout"], cutout=0.25)
    torch.testing.assert_close(only.transform_images(images, rng()), cutout(images, rng(), 0.25))
    with pytest.raises(ValueError, match="policies"):
        make("diff_augment", policies=[])


def test_probability_is_that_of_each_image() -> None:
    images = torch.ones(2000, 1, 8, 8)
    config = AugmentConfig(policies=("cutout",))
    assert torch.equal(augment(images, rng(), config, torch.tensor(0.0)), images)
    for probability in (0.3, 1.0):
        changed = (augment(images, rng(), config, torch.tensor(probability)) == 0).flatten(1).any(1)
        assert changed.float().mean().item() == pytest.approx(probability, abs=0.03)


def test_as_much_is_drawn_at_any_probability() -> None:
    states = []
    for probability in (0.0, 0.7):
        numbers = rng()
        augment(some_images(), numbers, AugmentConfig(), torch.tensor(probability))
        states.append(numbers.get_state())
    assert torch.equal(*states)


def feed(penalty: Any, step: PenaltyStep, *logits: list[float]) -> list[float]:
    """The probability after each update with these logits of real images."""
    probabilities = []
    for each in logits:
        assert penalty.discriminator_term(replace(step, real_logits=torch.tensor(each))) is None
        probabilities.append(round(penalty.metrics()["probability"].item(), 4))
    return probabilities


def test_feedback_follows_the_mean_sign(make: Make, step: Step) -> None:
    """Four images an update, two updates an adjustment: 8 images of 80 are a tenth."""
    penalty = make("adaptive_augment", ramp_images=80, adjust_every=2, target=0.5, max_probability=0.25)
    sure, unsure = [3.0, 1.0, 2.0, 0.5], [3.0, -1.0, 2.0, -0.5]
    assert feed(penalty, step(), sure, sure, sure, sure) == [0.0, 0.1, 0.1, 0.2]
    assert penalty.metrics()["mean_sign"].item() == 1.0
    assert feed(penalty, step(), sure, sure) == [0.2, 0.25], "no further"
    assert feed(penalty, step(), sure, unsure) == [0.25, 0.25], "(1 + 0)/2 is the target"
    assert feed(penalty, step(), unsure, unsure, unsure, unsure, unsure, unsure) == [0.25, 0.15, 0.15, 0.05, 0.05, 0.0]


def test_feedback_moves_only_what_is_seen(make: Make, step: Step) -> None:
    penalty = make("adaptive_augment", ramp_images=10, adjust_every=1, target=0.0)
    images = some_images()
    assert torch.equal(penalty.transform_images(images, rng()), images)
    feed(penalty, step(), [1.0] * 6)
    assert not torch.equal(penalty.transform_images(images, rng()), images)


def test_feedback_goes_on_from_its_state(make: Make, step: Step) -> None:
    one, other = (make("adaptive_augment", ramp_images=100, adjust_every=3) for _ in range(2))
    feed(one, step(), [1.0] * 4, [1.0] * 4, [1.0] * 4, [1.0] * 4)
    other.load_state_dict(one.state_dict())
    assert feed(other, step(), [1.0, -1.0], [1.0, 1.0]) == feed(one, step(), [1.0, -1.0], [1.0, 1.0]) == [0.12, 0.2]


def test_feedback_has_the_papers_figures(make: Make) -> None:
    config = make("adaptive_augment").config
    assert (config.target, config.ramp_images, config.adjust_every) == (0.6, 500_000, 4)


def test_feedback_counts_images_not_patches(make: Make, step: Step) -> None:
    """Two images of four patches: a mean sign of (½ + 1)/2, and 2 images of 20."""
    penalty = make("adaptive_augment", ramp_images=20, adjust_every=1)
    patches = torch.tensor([[[1.0, -1.0], [2.0, 3.0]], [[1.0, 1.0], [2.0, 3.0]]])[:, None]
    assert penalty.discriminator_term(replace(step(), real_logits=patches)) is None
    assert penalty.metrics()["mean_sign"].item() == 0.75
    assert penalty.metrics()["probability"].item() == pytest.approx(0.1)


def test_feedback_is_by_the_images_of_all_processes(make: Make, step: Step) -> None:
    """Four images here and four there that the discriminator takes for generated: a mean sign of 0, 8 images of 80."""

    class Two(World):
        def all_gather(self, rows: Tensor) -> Tensor:
            return torch.cat([rows, -rows])

    penalty = make("adaptive_augment", ramp_images=80, adjust_every=1, target=-0.5)
    assert feed(penalty, replace(step(), world=Two()), [1.0, 2.0, 3.0, 4.0]) == [0.1]
    assert penalty.metrics()["mean_sign"].item() == 0


def test_augmentation_is_for_images(make: Make) -> None:
    with pytest.raises(ValueError, match="needs images, and the samples are vectors of 2 numbers"):
        make("diff_augment").config.check_info(DatasetInfo(VectorSpec(2)))
