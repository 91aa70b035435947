"""Scores of too few samples say so: in what is stored, on the terminal, in a comparison and a model card."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ganzoo_metrics.memorization import memorization
from ganzoo_metrics.metrics import Frechet, InceptionScore
from PIL import Image

import ganzoo
from ganzoo import api
from ganzoo.comparison.scores import Score, VariantScore
from ganzoo.comparison.statistics import Spread
from ganzoo.components.metric import MetricInputs
from ganzoo.errors import DataError, DeviceError, RequestError
from ganzoo.evaluation.evaluation_log import read_evaluations
from ganzoo.sampling.image_io import save_single_images
from ganzoo.sampling.trained_run import TrainedRun
from ganzoo.storage.run_directory import RunDirectory

Command = Callable[..., Any]
FRECHET = ["evaluation.metrics=['frechet']"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tables_in: Callable[[Path], dict]) -> TrainedRun:
    return api.run(tables_in(tmp_path_factory.mktemp("trained")), ["run.steps=2", "dataset.count=200"])


def of_features(samples: int, real: int, features: int = 128) -> MetricInputs:
    return MetricInputs("features", torch.zeros(real, features), torch.zeros(samples, features), training=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("samples", "real", "told"),
    [
        (128, 128, ""),
        (127, 5000, "127 samples, fewer than 128"),
        (5000, 100, "100 real images, fewer than 128"),
        (2, 3, "2 samples and 3 real images, fewer than 128"),
    ],
)
def test_a_frechet_distance_needs_as_many_images_as_features(samples: int, real: int, told: str):
    caveat = Frechet(Frechet.Config(name="frechet")).caveat(of_features(samples, real))
    assert caveat.partition(":")[0] == told


def test_an_inception_score_cannot_exceed_the_number_of_samples():
    metric = InceptionScore(InceptionScore.Config(name="inception_score"))
    assert metric.caveat(of_features(999, 5, features=1000)).startswith("999 samples, fewer than 1,000")
    assert metric.caveat(of_features(1000, 5, features=1000)) == ""


def test_two_images_are_no_proof(trained: TrainedRun):
    training = trained.training_set()
    far = torch.ones(2, 3, 16, 16)
    assert memorization(far, training).verdict == "no copies seen, but 2 samples are too few to tell"
    assert memorization(far.repeat(30, 1, 1, 1), training).verdict == "no sign of copies"
    unseen = trained.open_dataset(overrides={"dataset.count": 19, "dataset.seed": 5})[0]
    verdict = memorization(far.repeat(50, 1, 1, 1), training, unseen).verdict
    assert verdict == "19 unseen images are too few to tell copies from chance"


def test_one_real_image_is_told(tables_in: Callable[..., dict], tmp_path: Path):
    tables = tables_in(tmp_path, dataset={"limit": 1}, trainer={"batch_size": 1}, run={"steps": 1})
    with pytest.raises(DataError, match='the dataset "synthetic" has one image, and scores need two or more'):
        ganzoo.evaluate(ganzoo.run(tables), 4)


def test_samples_are_counted_while_they_are_scored(command: Command, trained: TrainedRun, tmp_path: Path):
    ended = command("evaluate", trained.path, "--samples", "70", "--set", "evaluation.metrics=['diversity']",
                    "--out", tmp_path / "scores.json")  # fmt: skip
    assert [line for line in ended.err.splitlines() if "scoring" in line] == [
        "scoring samples 64/70",
        "scoring samples 70/70",
    ]


@pytest.mark.slow
def test_warnings_are_stored_and_shown(command: Command, trained: TrainedRun, tmp_path: Path):
    ended = command("evaluate", trained.path, "--samples", "20", "--extractor", "classifier")
    lines = [line for line in ended.out.splitlines() if line.startswith("  warning: ")]
    why = "there are as many features, so the value is too large; compare it only with scores of as many samples"
    assert f"  warning: fd_classifier: 20 samples, fewer than 128: {why}" in lines
    assert any(line.startswith("  warning: memorization, copies: 20 samples, fewer than 100") for line in lines)
    features, pixels = read_evaluations(RunDirectory(trained.path))
    assert features.warnings["fd_classifier"] == f"20 samples, fewer than 128: {why}"
    assert "precision_classifier" in features.warnings
    assert set(pixels.warnings) == {"memorization", "copies", "diversity"}
    assert command("compare", trained.path, "--out", tmp_path / "page.html").out.count("20 samples, fewer than") >= 2
    assert f"20 samples, fewer than 128: {why}" in (tmp_path / "page.html").read_text()
    command("export", trained.path, "--out", tmp_path / "export")
    assert f"Warning: 20 samples, fewer than 128: {why}." in (tmp_path / "export" / "README.md").read_text()


@pytest.mark.slow
def test_enough_samples_carry_no_warning(trained: TrainedRun):
    found = api.evaluate(trained, samples=160, overrides=FRECHET)
    assert found.warnings == []


def test_a_comparison_has_the_values_of_the_page(command: Command, trained: TrainedRun):
    api.evaluate(trained, samples=20, overrides=["evaluation.metrics=['memorization', 'diversity']"])
    scores = {each["name"]: each for each in json.loads(command("compare", trained.path, "--json").out)["scores"]}
    assert [scores[name]["ideal"] for name in ("memorization", "copies", "diversity")] == [0.5, 0.01, 1.0]
    assert scores["memorization"]["best"] is None
    assert "memorization → 0.5" in command("compare", trained.path).out


@pytest.mark.parametrize(
    ("means", "shown"),
    [
        ([30.1, 0.0123], ["30.1", "0.012"]),
        ([1.234, 0.0021, 0.00034], ["1.23", "0.0021", "0.00034"]),
        ([0.0, 0.00213], ["0.00000", "0.00213"]),
        ([250.4, 31.22], ["250", "31"]),
        ([-0.00012, 3.0], ["-0.00012", "3.00"]),
    ],
)
def test_small_distances_keep_digits(means: list[float], shown: list[str]):
    spreads = [Spread((mean,)) for mean in means]
    score = Score("kd", "lower", [VariantScore(each, each, {}) for each in spreads], [], [])
    assert [score.text(each) for each in spreads] == shown


@pytest.mark.slow
def test_a_folder_is_scored_as_a_run_is(command: Command, trained: TrainedRun, recipe_file: Callable, tmp_path: Path):
    folder = tmp_path / "images"
    folder.mkdir()
    save_single_images(trained.sample(150), folder)
    found = ganzoo.evaluate_images(folder, trained.path, FRECHET)
    own = api.evaluate(trained, samples=150, overrides=FRECHET)
    assert found.scores["fd_classifier"] == pytest.approx(own.scores["fd_classifier"], rel=0.02)  # rounded to 8 bits
    before = (trained.path / "evaluation.json").read_bytes()
    of_recipe = command("evaluate", recipe_file(trained.recipe.to_dict()), "--images", folder, "--json",
                        *(word for each in FRECHET for word in ("--set", each)))  # fmt: skip
    assert json.loads(of_recipe.out)["scores"] == pytest.approx(found.scores)
    ended = command("evaluate", trained.path, "--images", folder, "--extractor", "classifier", "--image-size", "8")
    assert (ended.code, ended.out.splitlines()[0]) == (0, f"scores of 150 images in {folder}:")
    assert {"  samples.weights: files", "  real.shape: 3×8×8"} <= set(ended.out.splitlines())
    assert (trained.path / "evaluation.json").read_bytes() == before
    copies = ganzoo.evaluate_images(save_real(trained, tmp_path / "real"), trained.path, FRECHET)
    assert copies.scores["fd_classifier"] < 0.1 * found.scores["fd_classifier"]


def save_real(trained: TrainedRun, folder: Path) -> Path:
    from ganzoo.plugin import real_images

    training = trained.training_set()
    folder.mkdir()
    save_single_images(real_images(training, torch.arange(len(training))), folder)
    return folder


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            ["--images", "{tmp}/none"],
            "--images {tmp}/none: {tmp}/none does not exist: give --images the folder with your images",
        ),
        (["--images", "{tmp}/one/a.png"], "one/a.png is not a folder: give --images the folder with your images"),
        (["--images", "{tmp}/empty"], "(there are no files); give --images the folder with your images"),
        (["--images", "{tmp}/bad"], "--images {tmp}/bad: 2 of 2 images of the dataset"),
        (["--images", "{tmp}/one"], "has one image, and scores need two or more"),
        (["--images", "{tmp}/one", "--seed", "3"], "--seed cannot be used with --images: all images"),
        (["--images", "{tmp}/one", "--seeds", "3"], "--seeds cannot be used with --images: all images"),
        (["--images", "{tmp}/one", "--set", "dataset.count=0"], "dataset.count"),
    ],
)
def test_wrong_folders(command: Command, trained: TrainedRun, tmp_path: Path, options: list[str], told: str):
    for name in ("one", "empty", "bad"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (16, 16)).save(tmp_path / "one" / "a.png")
    for name in ("a.png", "b.png"):
        (tmp_path / "bad" / name).write_bytes(b"no image")
    ended = command("evaluate", trained.path, *(option.format(tmp=tmp_path) for option in options))
    assert ended.code == 2
    assert told.format(tmp=tmp_path) in ended.err
    assert "Traceback" not in ended.err
    assert "dataset.root" not in ended.err


def test_the_dataset_that_is_not_there_is_named_by_its_option(command: Command, trained: TrainedRun):
    real = ["--set", "dataset.name=image_folder", "--set", "dataset.root=gone"]
    assert "gone does not exist: set dataset.root to" in command("evaluate", trained.path, *real).err


@pytest.mark.parametrize("table", ["real", "held_out"])
def test_other_real_images_that_are_not_there_are_named_by_their_option(
    command: Command, trained: TrainedRun, tmp_path: Path, table: str
):
    save_real(trained, tmp_path / "real")
    real = ["--set", "dataset.name=image_folder", "--set", f"dataset.root={tmp_path / 'real'}"]
    ended = command("evaluate", trained.path, *real, "--set", f"evaluation.{table}.root=gone")
    assert ended.code == 2
    message = f"error: the images of evaluation.{table}: gone does not exist: set evaluation.{table}.root to the folder"
    assert message in ended.err


@pytest.mark.parametrize("images", [False, True])
@pytest.mark.parametrize(
    "change",
    ["run.steps=7", "run.name=x", "generator.name=gan", "generator.width=64", "loss.name=hinge", "device.compile=true"],
)
def test_what_has_no_effect_on_scores_cannot_be_set(
    command: Command, trained: TrainedRun, tmp_path: Path, change: str, images: bool
):
    more = ["--images", save_real(trained, tmp_path / "real")] if images else []
    ended = command("evaluate", trained.path, "--set", change, "--set", "watchdog.stop=true", *more)
    assert (ended.code, ended.out) == (2, "")
    key = change.partition("=")[0]
    assert f"error: --set {key}, watchdog.stop: only how scores are taken can be set here, evaluation.…, " in ended.err
    assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize("change", ["tracking.wandb.mode=disabled", "samples.batch_norm=batch"])
def test_what_has_an_effect_on_a_run_alone(command: Command, trained: TrainedRun, tmp_path: Path, change: str):
    real = save_real(trained, tmp_path / "real")
    assert (
        f"--set {change.partition('=')[0]}: only"
        in command("evaluate", trained.path, "--images", real, "--set", change).err
    )


def test_what_has_an_effect_on_scores(trained: TrainedRun, tmp_path: Path):
    changes = {"evaluation.metrics": ["diversity"], "samples.batch_norm": "batch", "device.accelerator": "cpu"}
    found = ganzoo.evaluate(trained, 8, overrides={**changes, "dataset.count": 50}, out=tmp_path / "scores.json")
    card = found.evaluations[0][0].card
    assert (card.samples.batch_norm, card.device, card.real.available) == ("batch", "cpu", 50)
    missing = "mps" if torch.cuda.is_available() else "cuda"
    with pytest.raises(DeviceError, match=f'device.accelerator: "{missing}" is not there'):
        ganzoo.evaluate(trained, 8, overrides={**changes, "device.accelerator": missing})


def test_bad_images_of_a_folder_are_left_out_where_the_recipe_leaves_them_out(
    command: Command, trained: TrainedRun, tmp_path: Path
):
    real = save_real(trained, tmp_path / "real")
    (real / "bad.png").write_bytes(b"no image")
    arguments = ["evaluate", trained.path, "--images", real, "--set", "evaluation.metrics=['diversity']"]
    assert "set dataset.max_bad_fraction above their share" in command(*arguments).err
    ended = command(*arguments, "--set", "dataset.max_bad_fraction=0.1")
    assert ended.out.startswith("scores of 200 images")
    assert f"warning: --images {real}: images that cannot be used, left out: 1" in ended.err


def test_a_range_of_the_datasets_values_is_not_that_of_other_images(
    command: Command, trained: TrainedRun, tmp_path: Path
):
    """Generated images have all their bits where the dataset's files have, say, 12 of 16."""
    real = save_real(trained, tmp_path / "real")
    arguments = ["evaluate", trained.path, "--images", real, "--set", "evaluation.metrics=['diversity']"]
    plain, with_range = command(*arguments), command(*arguments, "--set", "dataset.value_range=[0, 128]")
    assert "value_range" not in plain.err
    assert f"warning: --images {real}: dataset.value_range is for the dataset's own files" in with_range.err
    assert with_range.out.startswith("scores of 200 images")


def test_images_of_a_folder_are_converted_as_those_of_the_dataset(tables: dict[str, Any], tmp_path: Path):
    folder = tmp_path / "sprites"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(20):
        Image.fromarray(rng.integers(0, 256, (16, 16, 4), dtype=np.uint8)).save(folder / f"{index:02d}.png")
    tables["dataset"] = {"name": "image_folder", "root": str(folder), "image_size": 16, "background": "black"}
    network = {"name": "torchvision", "model": "resnet18", "weights": "random", "input_size": 32}
    tables["evaluation"] = {"metrics": ["frechet"], "extractors": [network]}
    found = ganzoo.evaluate_images(folder, tables, out=str(tmp_path / "scores.json"))
    assert list(found.scores.values()) == pytest.approx([0], abs=0.01)
    assert (tmp_path / "scores.json").is_file()


def test_no_seeds_and_paths_as_text(trained: TrainedRun, tmp_path: Path):
    with pytest.raises(RequestError, match="seeds is 0: give 1 or more"):
        ganzoo.evaluate(trained, 8, seeds=0)
    ganzoo.evaluate(trained, 8, overrides={"evaluation.metrics": ["diversity"]}, out=str(tmp_path / "scores.json"))
    assert (tmp_path / "scores.json").is_file()


def test_the_scores_of_a_folder_are_written(command: Command, trained: TrainedRun, tmp_path: Path):
    folder, out = save_real(trained, tmp_path / "real"), tmp_path / "new" / "scores.json"
    arguments = [
        "evaluate",
        trained.path,
        "--images",
        folder,
        "--set",
        "evaluation.metrics=['diversity']",
        "--out",
        out,
    ]
    ended = command(*arguments, "--json")
    assert ended.code == 0
    assert json.loads(out.read_text()) == json.loads(ended.out)["evaluations"]
    assert "is there already" in command(*arguments).err
    assert command(*arguments, "--overwrite").code == 0


def test_scores_that_cannot_be_written_are_not_taken(trained: TrainedRun, tmp_path: Path, capsys: Any):
    out = tmp_path / "none" / "scores.json"
    for score in (ganzoo.evaluate, partial(ganzoo.evaluate_images, save_real(trained, tmp_path / "real"))):
        with pytest.raises(RequestError, match=f"--out {out}: cannot be written: No such file or directory"):
            score(trained.recipe if isinstance(score, partial) else trained, out=out)
    assert "scoring" not in capsys.readouterr().err
