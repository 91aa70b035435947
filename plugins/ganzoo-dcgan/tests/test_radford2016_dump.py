"""The authors' dump: imported networks compute what Theano defines, and no pickle in it is ever opened."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from literal.theano import START, Weights, theano_discriminator, theano_generator
from literal.trap import Trap

from ganzoo import api
from ganzoo.errors import RequestError
from ganzoo.sampling.trained_run import TrainedRun

LATENTS, WIDTH, JUDGED_WIDTH, DOUBLINGS = 6, 2, 3, 3


def drawn_dump(doublings: int = DOUBLINGS, channels: int = 3) -> tuple[Weights, Weights]:
    rng = np.random.default_rng(0)

    def draw(*shape: int, mean: float = 0.0) -> np.ndarray:
        return (mean + 0.3 * rng.standard_normal(shape)).astype(np.float32)

    widths = [WIDTH * 2**power for power in range(doublings - 1, -1, -1)]
    units = widths[0] * START * START
    generator = [draw(LATENTS, units), draw(units, mean=1), draw(units)]
    for before, after in pairwise(widths):
        generator += [draw(before, after, 5, 5), draw(after, mean=1), draw(after)]
    generator.append(draw(WIDTH, channels, 5, 5))

    widths = [JUDGED_WIDTH * 2**power for power in range(doublings)]
    discriminator = [draw(JUDGED_WIDTH, channels, 5, 5)]
    for before, after in pairwise(widths):
        discriminator += [draw(after, before, 5, 5), draw(after, mean=1), draw(after)]
    discriminator.append(draw(widths[-1] * START * START, 1))
    return generator, discriminator


def write_dump(folder: Path, generator: Weights, discriminator: Weights, prefix: str = "200_") -> Path:
    folder.mkdir(exist_ok=True)
    for name, arrays in (("gen", generator), ("discrim", discriminator)):
        (folder / f"{prefix}{name}_params.jl").write_bytes(pickle.dumps(Trap(folder / "ran")))
        for number, array in enumerate(arrays, 1):
            np.save(folder / f"{prefix}{name}_params.jl_{number:02d}.npy", array)
    return folder


@pytest.fixture
def bring(tmp_path: Path) -> Callable[..., TrainedRun]:
    return lambda source, *overrides, **options: api.import_run(source, tmp_path / "run", overrides, **options)


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    return write_dump(tmp_path / "dump", *drawn_dump())


@pytest.mark.parametrize("doublings", [2, 3, 4])
@pytest.mark.parametrize("channels", [1, 3])
def test_authors_networks_compute_what_theano_defines(
    tmp_path: Path, bring: Callable[..., TrainedRun], doublings: int, channels: int
):
    generator, discriminator = drawn_dump(doublings, channels)
    run = bring(write_dump(tmp_path / "dump", generator, discriminator))
    latents = torch.randn(3, LATENTS)
    with torch.no_grad():
        images = run.generator(latents)
        logits = run.discriminator(images)
    assert images.shape == (3, channels, START * 2**doublings, START * 2**doublings)
    double = [[array.astype(np.float64) for array in arrays] for arrays in (generator, discriminator)]
    expected = theano_generator(latents.double().numpy(), double[0])
    np.testing.assert_allclose(images.numpy(), expected, atol=1e-5)
    judged = theano_discriminator(images.double().numpy(), double[1])
    np.testing.assert_allclose(logits.numpy(), judged, atol=1e-4, rtol=1e-4)


def test_kernels_of_the_dump_are_not_symmetric():
    """Else the flip would not show."""
    kernel = drawn_dump()[0][-1]
    assert np.abs(kernel - kernel[:, :, ::-1, ::-1]).max() > 0.1


def test_authors_pickles_stay_shut(dump: Path, bring: Callable[..., TrainedRun]):
    bring(dump)
    assert not (dump / "ran").exists()


def test_dump_of_32_pixels_is_that_of_svhn(dump: Path, bring: Callable[..., TrainedRun]):
    recipe = bring(dump).recipe.to_dict()
    assert recipe["dataset"]["name"] == "svhn"
    assert recipe["generator"]["latents"] == "normal"
    assert recipe["generator"]["width"] == WIDTH
    assert recipe["discriminator"]["width"] == JUDGED_WIDTH
    assert recipe["trainer"]["generator_optimizer"]["lr"] == 5e-4


def test_recipe_of_a_dump_can_be_told_otherwise(dump: Path, bring: Callable[..., TrainedRun]):
    run = bring(dump, "generator.latents=uniform", "dataset.name=cifar10")
    recipe = run.recipe.to_dict()
    assert recipe["generator"]["latents"] == "uniform"
    assert recipe["dataset"]["name"] == "cifar10"
    (note,) = run.directory.read_json("summary.json")["imported"]["notes"]
    assert 'names the dataset "svhn" and normal latents unless --set dataset.name=… and --set generator.lat' in note


def test_dump_of_a_generator_alone(tmp_path: Path, bring: Callable[..., TrainedRun]):
    run = bring(write_dump(tmp_path / "dump", drawn_dump()[0], []))
    assert run.checkpoint.networks() == ["generator"]
    assert run.sample(2).shape == (2, 3, 32, 32)
    with pytest.raises(RequestError, match="holds no discriminator"):
        _ = run.discriminator


def lose(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / f"200_{name}.npy").unlink()


def put(name: str, array: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / f"200_{name}.npy", array, allow_pickle=True)


def cut(folder: Path) -> None:
    path = folder / "200_gen_params.jl_04.npy"
    path.write_bytes(path.read_bytes()[:300])


def archive(folder: Path) -> None:
    with (folder / "200_gen_params.jl_04.npy").open("wb") as file:
        np.savez(file, np.zeros(3, np.float32))


NOTHING = np.zeros((), np.float32)
BROKEN_DUMPS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "one missing": (lose("gen_params.jl_04"), "also has 200_gen_params.jl_04.npy"),
    "first missing": (lose("gen_params.jl_01"), "also has 200_gen_params.jl_01.npy"),
    "last missing": (lose("gen_params.jl_10"), "also has 200_gen_params.jl_10.npy"),
    "one of the discriminator missing": (lose("discrim_params.jl_08"), "also has 200_discrim_params.jl_08.npy"),
    "one too many": (put("gen_params.jl_11", NOTHING), "also has 200_gen_params.jl_12.npy"),
    "another kernel": (put("gen_params.jl_04", np.zeros((8, 4, 3, 3), np.float32)), "must have (8, 4, 5, 5)"),
    "another width": (put("gen_params.jl_05", np.zeros(5, np.float32)), "05.npy: has shape (5,), but must have (4,)"),
    "another latent": (put("gen_params.jl_01", np.zeros((6, 100), np.float32)), "has 100 units"),
    "another discriminator": (put("discrim_params.jl_01", np.zeros((7, 3, 5, 5), np.float32)), "(14, 7, 5, 5)"),
    "no kernel at the end": (put("gen_params.jl_10", np.zeros(3, np.float32)), "must be a kernel"),
    "no dense layer": (put("gen_params.jl_01", np.zeros(3, np.float32)), "must be a dense layer"),
    "a number": (put("gen_params.jl_01", NOTHING), "has shape ()"),
    "four channels": (put("gen_params.jl_10", np.zeros((2, 4, 5, 5), np.float32)), "1 or 3, 5, 5"),
    "another type": (put("gen_params.jl_02", np.zeros(128)), "is of type float64, but must be float32"),
    "other bytes": (put("gen_params.jl_02", np.zeros(128, ">f4")), "is of type >f4, but must be float32"),
    "not numbers": (put("gen_params.jl_02", np.full(128, np.nan, np.float32)), "not finite"),
    "objects": (put("gen_params.jl_02", np.array([None])), "is damaged or no plain NumPy array"),
    "cut short": (cut, "200_gen_params.jl_04.npy: is damaged"),
    "an archive": (archive, "is an archive"),
    "two dumps": (lambda folder: np.save(folder / "100_gen_params.jl_01.npy", NOTHING), "several dumps (100_…, 200_…)"),
}


@pytest.mark.parametrize("case", BROKEN_DUMPS)
def test_broken_dump_is_told(tmp_path: Path, dump: Path, bring: Callable[..., TrainedRun], case: str):
    spoil, told = BROKEN_DUMPS[case]
    spoil(dump)
    with pytest.raises(RequestError) as caught:
        bring(dump)
    assert told in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_object_array_is_not_unpickled(tmp_path: Path, dump: Path, bring: Callable[..., TrainedRun]):
    trap = np.empty(1, object)
    trap[0] = Trap(tmp_path / "ran")
    np.save(dump / "200_gen_params.jl_02.npy", trap, allow_pickle=True)
    with pytest.raises(RequestError, match="is damaged or no plain NumPy array"):
        bring(dump)
    assert not (tmp_path / "ran").exists()
