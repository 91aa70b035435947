"""A trained run's discriminator as the extractor that other runs are scored by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ganzoo_dcgan.batch_norm_calibration import calibrated_batch_norm, training_batches
from ganzoo_dcgan.extractor_config import DiscriminatorFeaturesConfig
from ganzoo_dcgan.extractors import DiscriminatorFeatures
from ganzoo_testing import check_component
from tiny_recipe import tiny_recipe

from ganzoo import api
from ganzoo.data.packed_dataset import PackedDataset, real_images
from ganzoo.errors import DataError
from ganzoo.sampling.trained_run import TrainedRun
from ganzoo.training.build import open_dataset


def trained(folder: Path, name: str, size: int = 16) -> TrainedRun:
    return api.run(
        tiny_recipe(
            folder,
            run={"name": name, "steps": 2},
            dataset={"image_size": size},
            generator={"name": name, "width": 4, "latent_dim": 8},
            discriminator={"name": name, "width": 4},
        )
    )


@pytest.fixture(scope="module", params=["dcgan", "dcgan_authors"])  # the latter's norms keep no statistics
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    return trained(tmp_path_factory.mktemp("runs"), request.param)


def extractor(run: TrainedRun, packed: PackedDataset, **options: Any) -> DiscriminatorFeatures:
    config = DiscriminatorFeaturesConfig(name="dcgan_discriminator", run=str(run.path), **options)
    made = DiscriminatorFeatures(config, info=packed.info)
    made.prepare(packed)
    return made


def test_keeps_the_contract_of_extractors(run: TrainedRun) -> None:
    check_component(run.manager.registries.extractors["dcgan_discriminator"], run=str(run.path))


def test_a_grid_of_four_gives_the_features_of_the_probe(run: TrainedRun) -> None:
    linear_probe = pytest.importorskip("ganzoo_analysis.linear_probe")
    packed = open_dataset(run.recipe, run.manager)
    images = real_images(packed, torch.arange(5))
    with calibrated_batch_norm(run.discriminator, training_batches(packed)):
        expected = linear_probe.pooled_features(run.discriminator, images)
    torch.testing.assert_close(extractor(run, packed, grid=4).features(images), expected)
    assert extractor(run, packed).features(images).shape == (
        5,
        sum(maps.shape[1] for maps in run.discriminator.features(images)),
    )


def test_scores_say_whose_discriminator_it_was(run: TrainedRun) -> None:
    overrides = [f'evaluation.extractors=[{{name="dcgan_discriminator", run="{run.path}"}}]']
    found = api.evaluate(run, samples=16, overrides=overrides)
    assert found.scores["fd_dcgan_discriminator"] > 0
    assert "fid" not in found.scores
    card = found.evaluations[0][0].card.extractor
    assert (card.name, card.weights) == ("dcgan_discriminator", f"{run.path}, step 2")
    finer = [f'evaluation.extractors=[{{name="dcgan_discriminator", run="{run.path}", grid=2}}]']
    other = api.evaluate(run, overrides=finer).evaluations[0][0].card.extractor
    assert (card.settings, other.settings) == ({"grid": 1}, {"grid": 2})
    assert other.features > card.features
    assert card.digest == extractor(run, open_dataset(run.recipe, run.manager)).digest()


def test_a_run_that_is_not_there_or_of_other_images(run: TrainedRun, tmp_path: Path) -> None:
    packed = open_dataset(run.recipe, run.manager)
    config = DiscriminatorFeaturesConfig(name="dcgan_discriminator", run=str(tmp_path / "none"))
    with pytest.raises(DataError, match=r"run: .*none: there is no such run directory"):
        DiscriminatorFeatures(config, info=packed.info).prepare(packed)
    larger = trained(tmp_path, "dcgan", size=32)
    other = open_dataset(larger.recipe, larger.manager)
    with pytest.raises(DataError, match=r"judges 3×16×16, and the images are 3×32×32: set evaluation.image_size"):
        extractor(run, other)
