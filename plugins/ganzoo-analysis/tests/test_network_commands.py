"""`ganzoo filters`, `neighbors`, `probe`: what they write and print; wrong requests are one line and code 2."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ganzoo_analysis.boxes import maps_within, read_boxes
from ganzoo_analysis.filters import generator_layers
from PIL import Image
from sklearn.linear_model import LogisticRegression

from ganzoo import api

Command = Callable[..., Any]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tables_in: Callable[[Path], dict]) -> Path:
    return api.run(tables_in(tmp_path_factory.mktemp("trained")), ["run.steps=2"]).path


def test_filters(command: Command, trained: Path, tmp_path: Path):
    out = tmp_path / "new"
    ended = command(
        "filters", trained, "--out", out, "--layer", "0", "--features", "1,3", "--drop", "1:0", "--drop", "1:2"
    )
    names = ["generator_filters.png", "discriminator_filters.png", "dropped.png", "features_layer_0.png"]
    assert (ended.code, ended.out.splitlines()) == (0, [str(out / name) for name in names])
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    assert ended.err.splitlines() == [
        "generator layer 0: 16 maps",
        "generator layer 1: 8 maps",
        "generator layer 2: 3 maps",
    ]
    with Image.open(out / "dropped.png") as picture:
        assert picture.info["ganzoo:dropped"] == "{1: [0, 2]}"


def test_maps_that_fire_within_boxes(command: Command, trained: Path, tmp_path: Path):
    """Against a regression on responses that are read off map by map; the boxes are where one map is strongest."""
    run = api.load_run(trained)
    layer, wanted = generator_layers(run.generator)[1], 5
    maps: list[torch.Tensor] = []
    hook = layer.output.register_forward_hook(lambda _, __, output: maps.append(output))
    run.images(run.latents(100, 3))
    hook.remove()
    responses = torch.cat(maps)[:12].permute(0, 2, 3, 1)
    assert responses.shape == (12, 8, 8, 8)
    lines, within = ["cell,left,top,right,bottom"], torch.zeros(12, 8, 8, dtype=torch.bool)
    for cell, each in enumerate(responses):
        row, column = divmod(int(each[..., wanted].argmax()), 8)
        lines.append(f"{cell}, {2 * column},{2 * row},{2 * column + 1},{2 * row + 2}")  # images are twice as large
        within[cell, row, column] = True
    (tmp_path / "boxes.csv").write_text("\n".join(lines) + "\n")
    inside, outside = responses[within], responses[~within]
    others = outside[torch.from_numpy(np.random.default_rng(3).permutation(len(outside))[:12])]
    fitted = LogisticRegression(max_iter=1000).fit(torch.cat([inside, others]), [1] * 12 + [0] * 12)
    expected = [index for index, weight in enumerate(fitted.coef_[0]) if weight > 0]
    assert wanted in expected
    assert len(expected) < 8
    out, boxes = tmp_path / "new", f"1:{tmp_path / 'boxes.csv'}"
    ended = command("filters", trained, "--out", out, "--no-guided", "--boxes", boxes, "--seed", "3")
    assert f"fire within the boxes: --drop 1:{','.join(map(str, expected))}" in ended.err
    with Image.open(out / "dropped.png") as picture:
        assert picture.info["ganzoo:dropped"] == f"{{1: {expected}}}"
    for mode in ("batch", "standing"):
        assert wanted in maps_within(run, read_boxes(tmp_path / "boxes.csv"), 1, seed=3, batch_norm=mode)


@pytest.mark.parametrize(
    ("layer", "text", "told"),
    [
        ("1", "1,2,3\n", "boxes.csv:1: give cell,left,top,right,bottom, whole numbers such as 3,8,4,16,12"),
        ("1", "cell,left,top,right,bottom\n1,2,3,4,x\n", "boxes.csv:2: give cell,left"),
        ("1", "100,0,0,2,2", "the box 100,0,0,2,2 is on no image: cells are numbered from 0 to 99"),
        ("1", "1,0,0,17,2", "images are 16 pixels wide and 16 high"),
        ("1", "1,4,0,4,2", "the box 1,4,0,4,2 is on no image"),
        ("1", "", "layer 1 has maps of 8×8, and no position of them is in a box"),
        ("1", "1,0,0,16,16", "and every position of them is in a box: draw other boxes, or take a later layer"),
        ("9", "1,0,0,2,2", "layer 9: the network's layers are numbered from 0 to 2"),
        ("x", "1,0,0,2,2", "give LAYER:FILE"),
    ],
)
def test_boxes_that_tell_nothing(command: Command, trained: Path, tmp_path: Path, layer: str, text: str, told: str):
    (tmp_path / "boxes.csv").write_text(text)
    ended = command("filters", trained, "--out", tmp_path / "new", "--boxes", f"{layer}:{tmp_path / 'boxes.csv'}")
    assert ended.code == 2
    assert told in ended.err
    missing = command("filters", trained, "--out", tmp_path / "new", "--boxes", f"1:{tmp_path / 'none.csv'}")
    assert "none.csv: cannot be read" in missing.err


def test_filters_without_the_dataset(command: Command, trained: Path, tmp_path: Path):
    ended = command("filters", trained, "--out", tmp_path, "--no-guided")
    assert ended.code == 0
    assert len(list(tmp_path.iterdir())) == 2


def test_neighbors_counts_the_images_searched(
    command: Command, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("ganzoo_metrics.nearest_neighbors.CHUNK_BYTES", 32 * 4 * 3 * 16 * 16)
    ended = command("neighbors", trained, "--out", tmp_path / "neighbors.png")
    assert ended.err.splitlines()[0] == "searching training images 32/64"
    assert ended.err.splitlines()[-1] == "searching training images 64/64"


def test_neighbors(command: Command, trained: Path, tmp_path: Path):
    out = tmp_path / "neighbors.png"
    ended = command("neighbors", trained, "--count", "2", "--k", "3", "--out", out)
    lines = ended.out.splitlines()
    assert ended.code == 0
    assert [line.partition(":")[0] for line in lines[:2]] == ["sample 0", "sample 1"]
    assert len(lines[0].split()) == 2 + 3
    assert lines[2].startswith("to the nearest training image, median: samples ")
    assert lines[3].startswith("to the nearest other training image, median: training images ")
    assert lines[4] == str(out)
    assert out.is_file()


def test_probe(command: Command, trained: Path):
    (trained / "probe.json").unlink(missing_ok=True)
    options = ["--set", "dataset.num_classes=2", "--train", "20", "--draws", "2"]
    ended = command("probe", trained, *options, "--json")
    assert [line for line in ended.err.splitlines() if "SVMs" in line] == ["fitting SVMs 1/54", "fitting SVMs 54/54"]
    result = json.loads(ended.out)
    assert result["scores"].keys() == {"discriminator", "random_weights", "raw_pixels"}
    assert json.loads((trained / "probe.json").read_text()) == result
    lines = command("probe", trained, *options, "--overwrite").out.splitlines()
    assert command("probe", trained, *options, "--seed", 2**63 - 1, "--overwrite").code == 0
    accuracy = 100 * result["scores"]["random_weights"]["accuracy"]
    assert lines[1].startswith(f"random weights: {accuracy:.2f} ± ")
    assert lines[3] == "protocol:"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["filters", "--out", "a.png"], "a.png: give a folder"),
        (["filters", "--out", "new", "--layer", "7"], "layer 7: the discriminator's layers are numbered from 0 to 1"),
        (["filters", "--out", "new", "--features", "99"], "feature 99 of layer 1: its features are numbered"),
        (["filters", "--out", "new", "--features", "a"], '--features "a": give whole numbers'),
        (["filters", "--out", "new", "--drop", "9:1"], "layer 9: the network's layers are numbered from 0 to 2"),
        (
            ["filters", "--out", "new", "--drop", "0:16"],
            "feature 16 of layer 0: its features are numbered from 0 to 15",
        ),
        (["filters", "--out", "new", "--drop", "3"], '--drop "3": give LAYER:MAPS'),
        (["filters", "--out", "new", "--drop", "1:x"], '--drop "x": give whole numbers'),
        (["neighbors", "--out", "a.gif"], "a.gif: give a file that ends in .png"),
        (["neighbors", "--out", "a.png", "--k", "65"], "65 neighbors: the dataset has 64 images"),
        (["probe", "--train", "5"], "5 labeled images over 10 classes"),
        (["probe"], "1000 labeled images are 100 of each class, and the dataset has 64"),
        (["probe", "--set", "run.seed=3"], "--set run.seed: only options of the dataset"),
        (["probe", "--set", "dataset.image_size=32"], "set dataset.image_size and dataset.channels"),
        (["probe", "--dataset", "image_folder", "--set", "dataset.root=pictures"], "the dataset has no labels"),
    ],
)
def test_wrong_requests(
    command: Command, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
):
    monkeypatch.chdir(tmp_path)
    (trained / "probe.json").unlink(missing_ok=True)
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (16, 16)).save(tmp_path / "pictures" / "one.png")
    ended = command(arguments[0], trained, *arguments[1:])
    lines = [line for line in ended.err.splitlines() if not line.startswith(("reading samples", "generator layer"))]
    assert ended.code == 2
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for plugin in ("ganzoo_benchmarks", "ganzoo_trainers"):
        pytest.importorskip(plugin)
    recipe = Path(__file__).parents[3] / "recipes/unrolled_ring.toml"
    changes = {"run.steps": 1, "run.root": str(tmp_path_factory.mktemp("ring")), "samples.gif": False}
    return api.run(recipe, changes).path


@pytest.mark.parametrize(
    "arguments",
    [
        ["filters", "--out", "new"],
        ["probe"],
        ["neighbors", "--out", "a.png"],
        ["latent-grid", "--out", "a.png"],
        ["interpolate", "--out", "a.png"],
        ["invert", "--images", "pictures", "--out", "new"],
        ["overfitting", "--dataset", "digits"],
    ],
)
def test_a_run_on_vectors_is_named(
    command: Command, ring: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
):
    monkeypatch.chdir(tmp_path)
    ended = command(arguments[0], ring, *arguments[1:])
    assert ended.code == 2
    told = "needs images, and the samples are vectors of 2 numbers: name a run on images"
    assert ended.err.splitlines()[-1] == f"error: {ring}: {told}"
    assert "reading" not in ended.err or arguments[0] == "overfitting"


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("ganzoo_translation")
    recipe = Path(__file__).parents[3] / "recipes" / "pix2pix_digits.toml"
    short = {"run.steps": 1, "run.root": str(tmp_path_factory.mktemp("pairs")), "dataset.limit": 8}
    return api.run(recipe, {**short, "trainer.batch_size": 4}).path


def test_filters_of_a_generator_with_a_condition(command: Command, translator: Path, tmp_path: Path):
    assert command("filters", translator, "--out", tmp_path, "--no-guided").code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"generator_filters.png", "discriminator_filters.png"}


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("latent-grid", []),
        ("interpolate", []),
        ("arithmetic", ["--a", "1", "--b", "2", "--c", "3"]),
        ("direction", ["--left", "1", "--right", "2"]),
    ],
)
def test_no_walks_where_images_are_made_from_others(
    command: Command, translator: Path, tmp_path: Path, name: str, more: list[str]
):
    ended = command(name, translator, "--out", tmp_path / "a.png", *more)
    assert (ended.code, list(tmp_path.iterdir())) == (2, [])
    assert "the generator makes its images from others, and has no latent of an image" in ended.err


def test_neighbors_among_one_image(command: Command, tmp_path: Path, tables_in: Callable[..., dict]):
    one = api.run(tables_in(tmp_path, dataset={"limit": 1}, trainer={"batch_size": 1}), ["run.steps=1"]).path
    ended = command("neighbors", one, "--out", tmp_path / "n.png")
    assert ended.code == 2
    assert "was trained on one image" in ended.err
