"""The latent space of a small trained run: what is shown is what the latents give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from ganzoo_analysis import latent_space
from ganzoo_analysis.points import points_of
from labeled_values import train_values
from PIL import Image

from ganzoo import api
from ganzoo.errors import RequestError
from ganzoo.sampling.trained_run import TrainedRun


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tables_in: Callable[[Path], dict]) -> TrainedRun:
    return api.run(tables_in(tmp_path_factory.mktemp("trained")), ["run.steps=2"])


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory, tables_in: Callable[[Path], dict]) -> TrainedRun:
    tables = tables_in(tmp_path_factory.mktemp("conditional")) | {
        "generator": {"name": "dcgan_authors_mnist", "width": 4, "dense_width": 16, "latent_dim": 8},
        "discriminator": {"name": "dcgan_authors_mnist", "width": 4, "dense_width": 16},
    }
    return api.run(tables, ["run.steps=2", "dataset.num_classes=3"])


def latents_of(run: TrainedRun, cells: list[int], seed: int = 0) -> torch.Tensor:
    (latents,), _ = points_of(run, [cells], seed)
    return latents


def test_images_of_the_grid_are_the_latents_of_the_seed(trained: TrainedRun, tmp_path: Path):
    grid = latent_space.latent_grid(trained, seed=3)
    chosen = latents_of(trained, [0, 99, 42], seed=3)
    torch.testing.assert_close(trained.images(chosen), grid.images[[0, 99, 42]], rtol=1e-4, atol=1e-5)
    grid.save(tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.size == (10 * (48 + 2) + 2, 10 * (48 + 2 + 14) + 2)  # 16 pixels are drawn as 48
        assert picture.info["ganzoo:seed"] == "3"


@pytest.mark.parametrize("cell", [-1, 100])
def test_no_such_cell(trained: TrainedRun, cell: int):
    with pytest.raises(RequestError, match=f"cell {cell} is not on the grid: cells are numbered from 0 to 99"):
        latents_of(trained, [3, cell])


def test_each_row_begins_where_the_last_one_ends(trained: TrainedRun):
    walks = latent_space.interpolate(trained, rows=3, steps=4, seed=5)
    assert walks.images.shape == (3, 4, 3, 16, 16)
    assert walks.latents.shape == (3, 4, 8)
    torch.testing.assert_close(walks.latents[1:, 0], walks.latents[:-1, -1])
    torch.testing.assert_close(walks.latents[0, 0], trained.latents(4, 5)[0])
    torch.testing.assert_close(trained.images(walks.latents[1]), walks.images[1], rtol=1e-4, atol=1e-5)


def test_walks_between_cells_and_seeds(trained: TrainedRun):
    walks = latent_space.interpolate(trained, start=[3, 5], end=[7, 9], seed=2, steps=3, method="linear")
    ends = latents_of(trained, [3, 5, 7, 9], 2)
    torch.testing.assert_close(walks.latents[:, 1], (ends[:2] + ends[2:]) / 2)
    through = latent_space.interpolate(trained, seeds=[4, 8, 6], steps=2)
    assert len(through.latents) == 2
    torch.testing.assert_close(through.latents[0, 1], trained.latents(1, 8)[0])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"start": [1, 2], "end": [3]}, r"cells \[1, 2\] to cells \[3\]: give as many ends as starts"),
        ({"start": [1]}, "give as many ends as starts"),
        ({"seeds": [1]}, "needs two or more"),
        ({"seeds": [1, 2], "start": [1], "end": [2]}, "not both"),
        ({"steps": 1}, "of 1 steps"),
        ({"label": 0}, "takes no labels"),
    ],
)
def test_impossible_walks(trained: TrainedRun, wrong: dict, message: str):
    with pytest.raises(RequestError, match=message):
        latent_space.interpolate(trained, **wrong)


def test_animation_goes_there_and_back(trained: TrainedRun, tmp_path: Path):
    walks = latent_space.interpolate(trained, rows=2, steps=4)
    walks.save(tmp_path / "walk.gif")
    with Image.open(tmp_path / "walk.gif") as animation:
        assert animation.n_frames == 6
        assert animation.info["loop"] == 0
        assert b"ganzoo:method spherical" in animation.info["comment"]
    with pytest.raises(RequestError, match=r"\.png or \.gif"):
        walks.save(tmp_path / "walk.jpg")


def test_arithmetic(trained: TrainedRun, tmp_path: Path):
    picked = {"a": [1, 2, 3], "b": [4, 5, 6], "c": [7, 8, 9]}
    found = latent_space.arithmetic(trained, **picked, seed=1)
    means = {name: latents_of(trained, cells, 1).mean(0) for name, cells in picked.items()}
    expected = means["a"] - means["b"] + means["c"]
    torch.testing.assert_close(found.latent, expected)
    close = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(found.result[4:5], trained.images(expected[None]), **close)
    torch.testing.assert_close(found.means["b"], trained.images(means["b"][None]), **close)
    torch.testing.assert_close(found.exemplars["c"], latent_space.latent_grid(trained, seed=1).images[7:10], **close)
    assert found.result.shape == (9, 3, 16, 16)
    assert not found.result[0].equal(found.result[4])
    noise = 0.25 * (2 * torch.rand(9, 8, generator=torch.Generator().manual_seed(1)) - 1)
    torch.testing.assert_close(found.result[:4], trained.images(expected + noise[:4]), **close)
    found.save(tmp_path / "arithmetic.png")
    with Image.open(tmp_path / "arithmetic.png") as picture:
        assert picture.info["ganzoo:a"] == "[1, 2, 3]"


@pytest.mark.parametrize("cells", [([1, 2, 3], [4, 5], [6, 7, 8]), ([], [], [])])
def test_concepts_need_as_many_exemplars(trained: TrainedRun, cells: tuple[list[int], ...]):
    with pytest.raises(RequestError, match="as many exemplars, three in the paper: a has"):
        latent_space.arithmetic(trained, *cells)


def test_direction(trained: TrainedRun):
    turned = latent_space.direction(trained, [1, 2], [3, 4, 5], rows=2, steps=3, seed=1)
    left, right = (latents_of(trained, chosen, 1).mean(0) for chosen in ([1, 2], [3, 4, 5]))
    torch.testing.assert_close(turned.latents[:, 1], trained.latents(2, 2))
    torch.testing.assert_close(turned.latents[:, 2] - turned.latents[:, 1], (left - right).expand(2, -1))
    with pytest.raises(RequestError, match="at least one cell"):
        latent_space.direction(trained, [], [1])


def test_the_seed_after_the_largest_is_the_first(trained: TrainedRun):
    walks = latent_space.direction(trained, [1], [2], steps=3, rows=2, seed=2**63 - 1)
    assert walks.latents[:, 1].equal(trained.latents(2, 0))


def test_labels(conditional: TrainedRun):
    ones = latent_space.latent_grid(conditional, label=1)
    latents = conditional.latents(latent_space.CELLS)
    torch.testing.assert_close(ones.images, conditional.images(latents, torch.ones(100, dtype=torch.int64)))
    assert ones.about["label"] == 1
    # Without a label a walk stays in one class, row after row.
    walks = latent_space.interpolate(conditional, rows=2, steps=3)
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    torch.testing.assert_close(walks.images.flatten(0, 1), conditional.images(walks.latents.flatten(0, 1), labels))
    with pytest.raises(RequestError, match="give a label, a class index from 0 to 2"):
        latent_space.arithmetic(conditional, [1], [2], [3])
    with pytest.raises(RequestError, match="or indices from 0 to 2"):
        latent_space.direction(conditional, [1], [2], label=3)
    assert latent_space.arithmetic(conditional, [1], [2], [3], label=2).result.shape == (9, 3, 16, 16)


def test_nothing_of_the_run_changes(trained: TrainedRun):
    before = {name: value.clone() for name, value in trained.generator.state_dict().items()}
    state = torch.get_rng_state()
    latent_space.interpolate(trained, rows=1, batch_norm="batch")
    latent_space.arithmetic(trained, [1], [2], [3])
    assert torch.get_rng_state().equal(state)
    for name, value in trained.generator.state_dict().items():
        assert value.equal(before[name]), name


def test_attributes_and_values_are_a_label_too(tmp_path: Path, tables_in: Callable[[Path], dict]):
    run = train_values(tmp_path, tables_in(tmp_path), "continuous")
    walks = latent_space.interpolate(run, rows=2, steps=3, label="0.5,1")
    values = torch.tensor([[0.5, 1.0]]).expand(6, 2)
    torch.testing.assert_close(walks.images.flatten(0, 1), run.images(walks.latents.flatten(0, 1), values))
    own = run.labels(2)
    assert own is not None
    found = latent_space.interpolate(run, rows=2, steps=3)
    torch.testing.assert_close(
        found.images.flatten(0, 1), run.images(found.latents.flatten(0, 1), own.repeat_interleave(3, 0))
    )
    with pytest.raises(RequestError, match=r"give a label, 2 continuous values with commas .*\(smile, hat\)"):
        latent_space.arithmetic(run, [1], [2], [3])
    assert latent_space.arithmetic(run, [1], [2], [3], label="0,1").result.shape[1:] == (1, 16, 16)
    with pytest.raises(RequestError, match="give 2 numbers for each sample"):
        latent_space.arithmetic(run, [1], [2], [3], label=3)
