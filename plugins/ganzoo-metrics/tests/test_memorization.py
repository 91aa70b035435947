"""Copies of training images are told from new images of the same kind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ganzoo_metrics.configs import MemorizationConfig
from ganzoo_metrics.memorization import memorization
from ganzoo_metrics.metrics import Memorization
from torch import Tensor

from ganzoo.builtin.configs import SyntheticConfig
from ganzoo.builtin.datasets import Synthetic
from ganzoo.data.packed_dataset import PackedDataset, pack_dataset, real_images
from ganzoo.plugin import MetricInputs


def discs(seed: int, count: int = 300) -> PackedDataset:
    return pack_dataset(Synthetic(SyntheticConfig(name="synthetic", image_size=16, count=count, seed=seed)))


def images(packed: PackedDataset, count: int | None = None) -> Tensor:
    return real_images(packed, torch.arange(count or len(packed)))


@pytest.fixture(scope="module")
def training() -> PackedDataset:
    return discs(0)


@pytest.mark.parametrize("held_out", [True, False])
def test_new_images_of_the_same_kind_are_no_copies(training: PackedDataset, held_out: bool):
    found = memorization(images(discs(1)), training, discs(2) if held_out else None)
    assert found.nearer == pytest.approx(0.5, abs=0.06)
    assert found.copies < 0.04
    assert found.verdict == "no sign of copies"


@pytest.mark.parametrize("held_out", [True, False])
def test_new_images_are_no_copies_where_training_mirrors(held_out: bool):
    """Of noise, whose mirror image is as likely."""
    numbers, packed = np.random.default_rng(0), discs(0)
    training, unseen, samples = (
        replace(packed, images=numbers.integers(0, 256, packed.images.shape, np.uint8)) for _ in range(3)
    )
    found = memorization(images(samples), training, unseen if held_out else None, mirrored=True)
    assert found.nearer == pytest.approx(0.5, abs=0.06)


def test_of_unseen_images_themselves_just_one_in_a_hundred_counts_as_a_copy(training: PackedDataset):
    found = memorization(images(discs(2)), training, discs(2))
    assert (found.nearer, found.copies) == (pytest.approx(0.5), pytest.approx(0.01))


@pytest.mark.parametrize("held_out", [True, False])
def test_a_generator_that_memorizes_is_told(training: PackedDataset, held_out: bool):
    noise = 0.01 * torch.randn(100, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    found = memorization(images(training, 100) + noise, training, discs(2) if held_out else None)
    assert found.nearer > 0.99
    assert found.copies == 1
    assert found.verdict == "memorized: most samples are copies of training images"
    assert found.samples_median < found.unseen_median


@pytest.mark.parametrize("held_out", [True, False])
def test_images_that_are_in_the_training_set_are_not_unseen(training: PackedDataset, held_out: bool):
    """As duplicates of a dataset are: no copy is nearer than these, so that none would be told."""
    twice = replace(training, images=np.concatenate([training.images, training.images[:9]]))
    unseen = discs(2)
    mixed = replace(unseen, images=np.concatenate([unseen.images, training.images[:9]]))
    noise = 0.01 * torch.randn(100, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    found = memorization(images(training, 100) + noise, twice, mixed if held_out else None)
    assert found.duplicates == (9 if held_out else 18)
    assert found.copies == 1
    assert found.verdict == "memorized: most samples are copies of training images"


def test_without_any_unseen_image_there_is_no_verdict(training: PackedDataset):
    found = memorization(images(training, 100), training, training)
    assert found.duplicates == 300
    assert found.verdict.startswith("0 unseen images are too few to tell")


def test_a_few_copies_are_told_by_their_share(training: PackedDataset):
    found = memorization(torch.cat([images(training, 20), images(discs(1, 80))]), training)
    assert found.copies == pytest.approx(0.2, abs=0.05)  # and the 1% that are as near by chance
    assert found.verdict == f"copies: {found.copies:.0%} of the samples are nearer to a training image than unseen ones"


def test_a_mirrored_copy_is_a_copy_where_training_mirrors(training: PackedDataset):
    mirrored = images(training, 100).flip(-1)
    assert memorization(mirrored, training).copies < 0.1
    assert memorization(mirrored, training, mirrored=True).copies == 1


def test_noise_is_no_copy(training: PackedDataset):
    found = memorization(torch.rand(50, 3, 16, 16) * 2 - 1, training)
    assert (found.nearer, found.copies) == (0, 0)


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_metric_compares_with_the_held_out_images_and_mirrors_as_training_does(
    training: PackedDataset, mirrored: bool
):
    samples = images(training, 100).flip(-1)
    inputs = MetricInputs("pixels", samples, samples, training, discs(2), mirrored)
    found = Memorization(MemorizationConfig(name="memorization")).compute(inputs)
    expected = memorization(samples, training, discs(2), mirrored=mirrored)
    assert found == {"memorization": expected.nearer, "copies": expected.copies}
    assert found["copies"] == 1 if mirrored else found["copies"] < 0.1
    assert inputs.details["memorization"]["unseen_median"] == expected.unseen_median
    assert memorization(samples, training, mirrored=mirrored).unseen_median != expected.unseen_median


@pytest.mark.parametrize(("copies", "told"), [(4, "no sign"), (8, "copies: 8%"), (60, "memorized")])
def test_from_five_and_from_fifty_in_a_hundred_on_copies_are_told(training: PackedDataset, copies: int, told: str):
    far = 3 * torch.ones(100 - copies, 3, 16, 16)  # unlike any image
    found = memorization(torch.cat([images(training, copies), far]), training, discs(2))
    assert found.copies == pytest.approx(copies / 100)
    assert found.verdict.startswith(told)
