"""What a seed gives at place i depends on the seed and i alone, not on how many are made beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

import ganzoo
import ganzoo.plugin
from ganzoo.components.network import Generator
from ganzoo.components.options import GeneratorConfig
from ganzoo.components.spec import DatasetInfo, ImageSpec
from ganzoo.errors import RequestError
from ganzoo.sampling.trained_run import TrainedRun

COUNTS = [1, 2, 3, 10, 17, 63, 64, 65, 100, 130]
CONDITIONAL = {
    "dataset": {"name": "digits", "image_size": 16},
    "generator": {"name": "cgan", "latent_dim": 7},
    "discriminator": {"name": "cgan"},
}


class Codes(Generator):
    """Latents of an odd length, drawn in two parts, as a plugin may draw them."""

    Config = GeneratorConfig

    def sample_latents(self, count: int, rng: torch.Generator) -> Tensor:
        classes = torch.randint(10, (count, 1), generator=rng).float()
        return torch.cat([classes, torch.randn(count, self.config.latent_dim - 1, generator=rng)], 1)

    def forward(self, latents: Tensor) -> Tensor:
        return latents


@pytest.mark.parametrize("latent_dim", [2, 7, 8, 100])
@pytest.mark.parametrize("kind", [Codes, "normal"])
def test_a_latent_is_a_function_of_the_seed_and_its_place(kind: type[Generator] | str, latent_dim: int):
    class Normal(Codes):
        sample_latents = Generator.sample_latents

    info = DatasetInfo(ImageSpec(1, 16, 16))
    generator = (Normal if kind == "normal" else Codes)(GeneratorConfig(name="x", latent_dim=latent_dim), info=info)
    whole = generator.latents_of_seed(200, 7)
    for count in COUNTS:
        assert torch.equal(generator.latents_of_seed(count, 7), whole[:count])
    assert torch.equal(whole[:64], generator.sample_latents(64, torch.Generator().manual_seed(7)))
    assert len(whole.unique(dim=0)) == 200
    assert generator.latents_of_seed(0, 7).shape == (0, latent_dim)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tables_in: Callable[[Path], dict]) -> TrainedRun:
    tables = tables_in(tmp_path_factory.mktemp("trained"))
    return ganzoo.run(tables, {"generator.latent_dim": 7})


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["running", "batch", "standing"])
def test_an_image_does_not_depend_on_the_count(trained: TrainedRun, mode: str):
    whole = trained.sample(130, seed=7, batch_norm=mode)
    for count in COUNTS:
        images = trained.sample(count, seed=7, batch_norm=mode)
        assert len(images) == count
        torch.testing.assert_close(images, whole[:count])


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["batch", "standing"])
def test_nor_does_one_of_a_conditional_generator(
    tables_in: Callable, tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("ganzoo.sampling.generate.STANDING_BATCHES", 8)
    trained = ganzoo.run(tables_in(tmp_path, **CONDITIONAL))
    for labels in (None, [3], [1, 2, 8]):
        whole = trained.sample(130, seed=7, labels=labels, batch_norm=mode)
        for count in (1, 2, 11, 64, 65):
            torch.testing.assert_close(trained.sample(count, seed=7, labels=labels, batch_norm=mode), whole[:count])


@pytest.mark.parametrize("mode", ["batch", "standing"])
def test_nor_does_one_that_is_made_from_a_condition(tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ganzoo.sampling.generate.STANDING_BATCHES", 2)
    recipe = Path(__file__).parents[2] / "recipes" / "pix2pix_digits.toml"
    small = {"dataset.image_size": 16, "dataset.limit": 80, "generator.width": 4, "discriminator.depth": 1}
    trained = ganzoo.run(recipe, {**small, "run.steps": 1, "run.root": str(tmp_path)})
    whole = trained.sample(80, seed=7, batch_norm=mode)
    for count in (2, 10, 64):
        torch.testing.assert_close(trained.sample(count, seed=7, batch_norm=mode), whole[:count])


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"count": 0}, "count is 0: give 1 or more"),
        ({"count": -1}, "count is -1: give 1 or more"),
        ({"count": 10**16}, f"{10**16} samples take .* GiB, more memory than there is: make them in parts"),
        ({"weights": "Raw"}, 'weights is "Raw": give one of auto, ema, raw'),
        ({"batch_norm": "none"}, 'batch_norm is "none": give one of auto, running, batch, standing'),
        ({"seed": 2**70}, "seeds are from 0 to 9223372036854775807"),
    ],
)
def test_arguments_that_make_no_sense(trained: TrainedRun, wrong: dict, told: str):
    with pytest.raises(RequestError, match=told):
        trained.sample(**wrong)


@pytest.mark.parametrize("mode", ["running", "batch"])
def test_nor_does_one_in_the_grid_of_a_run(tables: dict, mode: str):
    tables["generator"]["latent_dim"] = 7
    tables["samples"]["batch_norm"] = mode
    seen = {}
    for count in (3, 10, 64):

        class Keep:
            @ganzoo.plugin.hookimpl
            def samples_ready(self, images: Tensor) -> None:
                seen[len(images)] = images

        ganzoo.run(tables, {"samples.count": count, "run.steps": 1}, observers=[Keep()])
    torch.testing.assert_close(seen[3], seen[64][:3])
    torch.testing.assert_close(seen[10], seen[64][:10])


def test_single_images_of_the_command(trained: TrainedRun, tmp_path: Path, command: Callable):
    for count in (1, 3, 10, 64):
        command("sample", trained.path, "--out", tmp_path / str(count), "--count", count, "--seed", 7)
    for count in (1, 3, 10):
        name = f"{count - 1:04d}.png"
        with Image.open(tmp_path / str(count) / name) as image, Image.open(tmp_path / "64" / name) as expected:
            assert image.tobytes() == expected.tobytes()
