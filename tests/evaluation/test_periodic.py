"""Scores taken while training: when, where they are told, and that the training is none other for it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from safetensors.torch import load_file

from ganzoo import api
from ganzoo.cli.look import _print_json
from ganzoo.components.metric import Metric, MetricInputs
from ganzoo.errors import PluginError
from ganzoo.evaluation import evaluator
from ganzoo.evaluation.evaluation_log import read_evaluations
from ganzoo.evaluation.protocol import differences
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.registry.registry import Registrar
from ganzoo.storage.run_directory import RunDirectory

Tables = dict[str, Any]
SCORES = {
    *(f"{name}_classifier" for name in ("fd", "kd", "is", "precision", "recall", "density", "coverage", "diversity")),
    *("classes_covered", "balance", "confidence", "memorization", "copies", "diversity"),
}


@pytest.fixture
def scored(tables: Tables) -> Tables:
    """The tiny recipe, with 40 samples scored at steps 2, 4 and 6."""
    return {**tables, "evaluation": {"every": 2, "samples": 40}}


def networks(path: Path) -> dict[str, Any]:
    """All tensors of the last checkpoint."""
    files = sorted((path / "checkpoints" / "step_0000006").glob("*.safetensors"))
    return {f"{file.stem}.{key}": value for file in files for key, value in load_file(file).items()}


@pytest.mark.slow
def test_scores_are_told_everywhere(scored: Tables, capsys: pytest.CaptureFixture[str]):
    run = api.run(scored)
    rows = [row for row in run.metrics if "score/fd_classifier" in row]
    assert [row["step"] for row in rows] == [2, 4, 6]
    assert {key.removeprefix("score/") for key in rows[0] if key.startswith("score/")} == SCORES
    evaluations = read_evaluations(run.directory)
    assert [(each.step, each.card.extractor.name) for each in evaluations] == [
        (step, name) for step in (2, 4, 6) for name in ("classifier", "pixels")
    ]
    assert evaluations[0].scores["fd_classifier"] == rows[0]["score/fd_classifier"]
    assert not differences([evaluations[0].card, evaluations[4].card])
    summary = json.loads((run.path / "summary.json").read_text())["scores"]
    assert summary["last"]["fd_classifier"]["step"] == 6
    assert summary["best"]["fd_classifier"]["value"] == min(row["score/fd_classifier"] for row in rows)
    assert "step 4  fd_classifier" in capsys.readouterr().err
    # The command scores the same weights in the same way, and its scores take the place of those of the last step.
    again = api.evaluate(run, samples=40)
    assert again.scores == pytest.approx({name: rows[-1][f"score/{name}"] for name in SCORES}, rel=1e-5, abs=1e-6)
    assert len(read_evaluations(run.directory)) == len(evaluations)


@pytest.mark.slow
def test_training_is_the_same_to_the_bit(tables: Tables):
    tables["trainer"]["ema_decay"] = 0.9
    tables["evaluation"] = {"samples": 16, "extractors": [{"name": "classifier"}]}
    without = api.run(tables)
    tables["evaluation"]["every"] = 1
    often = api.run(tables)
    assert len(read_evaluations(often.directory)) == 2 * 6
    expected, found = networks(without.path), networks(often.path)
    assert expected.keys() == found.keys()
    assert all(expected[key].equal(found[key]) for key in expected)
    figures = [
        [{k: v for k, v in row.items() if k.startswith(("loss/", "prob"))} for row in run.metrics]
        for run in (without, often)
    ]
    assert figures[0] == [row for row in figures[1] if row]


def test_the_best_checkpoint_is_kept_by_a_score(scored: Tables):
    scored["checkpoint"] = {"every": 100, "best": "fd_classifier"}
    run = api.run(scored)
    best = json.loads((run.path / "summary.json").read_text())["scores"]["best"]["fd_classifier"]["step"]
    steps = {int(path.name.removeprefix("step_")) for path in (run.path / "checkpoints").glob("step_*")}
    assert steps >= {best, 6}


def test_a_resumed_run_has_each_evaluation_once(scored: Tables):
    scored["checkpoint"] = {"every": 4}
    whole = api.run(scored)
    scored["run"]["steps"] = 5
    run = api.run(scored)
    api.resume(run.path, ["run.steps=6"])  # from step 5, whose evaluation at the end is one of a run of 5
    evaluations = read_evaluations(RunDirectory(run.path))
    assert [each.step for each in evaluations][::2] == [2, 4, 5, 6]
    last = read_evaluations(whole.directory)[-2]
    assert evaluations[-2].scores == last.scores


@pytest.mark.slow
def test_several_extractors_each_with_its_card(tables: Tables):
    tables["evaluation"] = {
        "samples": 32,
        "metrics": ["frechet", "diversity"],
        "extractors": [
            {"name": "torchvision", "model": "resnet18", "weights": "random", "input_size": 32},
            {"name": "classifier"},
        ],
        "image_size": 32,
        "real_images": 50,
    }
    run = api.run(tables)
    found = api.evaluate(run, seeds=2)
    assert found.scores.keys() == {
        *("fd_resnet18_random", "diversity_resnet18_random", "fd_classifier", "diversity_classifier", "diversity"),
    }
    assert found.deviations.keys() == found.scores.keys()
    first, second = ({e.card.extractor.name: e for e in one} for one in found.evaluations)
    assert not differences([first["classifier"].card, second["classifier"].card])
    places = {each.field for each in differences([first["classifier"].card, first["resnet18_random"].card])}
    assert places == {f"extractor.{key}" for key in ("name", "digest", "features", "input", "resize", "antialias")}
    card = first["resnet18_random"].card
    assert (card.real.images, card.real.available, card.real.shape) == (50, 64, "3×32×32")
    assert (card.samples.made_at, card.samples.images) == ("3×16×16", 32)
    mean = (first["classifier"].scores["fd_classifier"] + second["classifier"].scores["fd_classifier"]) / 2
    assert found.scores["fd_classifier"] == pytest.approx(mean)


def test_real_and_held_out_images_of_their_own(tables: Tables):
    run = api.run(tables, ["run.steps=2"])
    plain = api.evaluate(run, samples=16)
    other = api.evaluate(run, samples=16, overrides={"evaluation.real.seed": 5, "evaluation.held_out.seed": 6})
    (by_classifier, by_pixels), (other_classifier, other_pixels) = plain.evaluations[0], other.evaluations[0]
    assert by_classifier.card.extractor == other_classifier.card.extractor  # it learns from the training images
    assert [each.field for each in differences([by_classifier.card, other_classifier.card])] == ["real.pixels"]
    assert other_classifier.card.real.options == {"seed": 5}
    assert other_classifier.scores["fd_classifier"] != pytest.approx(by_classifier.scores["fd_classifier"], rel=1e-3)
    assert [each.field for each in differences([by_pixels.card, other_pixels.card])] == ["settings.memorization_unseen"]


@pytest.mark.parametrize(
    ("evaluation", "message"),
    [
        ({"real": {"splitt": "test"}}, "evaluation.real.splitt: there is no such key; known: name, root, "),
        ({"held_out": {"image_size": 8}}, "evaluation.held_out.image_size: must be as in [dataset]: leave out"),
        ({"extractors": [{"name": "inceptionn"}]}, 'there is no extractor "inceptionn", did you mean inception?'),
        ({"metrics": ["frechett"]}, 'evaluation.metrics.0: there is no metric "frechett", did you mean frechet?'),
        ({"metrics": ["kernel", {"name": "kernel"}]}, 'evaluation.metrics.1: "kernel" is there before'),
        ({"metrics": [{"name": "kernel", "subset": 3}]}, "evaluation.metrics.0.subset: there is no such key"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_built(
    parse: Callable[..., Any], tables: Tables, evaluation: Tables, message: str
):
    with pytest.raises(api.RequestError) as raised:
        parse({**tables, "evaluation": evaluation})
    assert message in str(raised.value)


class Width(Metric):
    """The spread of the samples, and their number."""

    needs = frozenset({"features", "pixels"})
    directions: ClassVar = {"width": "higher", "count": "none"}

    def compute(self, inputs: MetricInputs) -> dict[str, float]:
        inputs.details["shape"] = list(inputs.real.shape[1:])
        return {"width": float(inputs.fake.std()), "count": len(inputs.fake)}


class Labels(Metric):
    """Notes the labels that metrics get with samples."""

    needs = frozenset({"features", "pixels"})
    directions: ClassVar = {}

    def compute(self, inputs: MetricInputs) -> dict[str, float]:
        inputs.details["labels"] = None if inputs.labels is None else inputs.labels.tolist()
        return {}


class Typo(Metric):
    """A value without a direction."""

    needs = frozenset({"pixels"})
    directions: ClassVar = {"width": "higher"}

    def compute(self, inputs: MetricInputs) -> dict[str, float]:
        return {"widht": 1.0}


class Undefined(Metric):
    """Values that are no numbers."""

    needs = frozenset({"pixels"})
    directions: ClassVar = {"ratio": "lower", "width": "higher"}

    def compute(self, inputs: MetricInputs) -> dict[str, float]:
        inputs.details["ratios"] = [math.inf, 1.0]
        return {"ratio": math.nan, "width": -math.inf}


class Metrics:
    @hookimpl
    def register_metrics(self, register: Registrar) -> None:
        register("width", Width)
        register("typo", Typo)
        register("labels", Labels)
        register("undefined", Undefined)


@pytest.fixture
def with_metrics() -> PluginManager:
    manager = PluginManager()
    manager._register(Metrics(), "mine (mine 1.0)")
    return manager


def test_a_metric_of_a_plugin_chooses_the_best_checkpoint(tables: Tables, with_metrics: PluginManager):
    tables["checkpoint"] = {"every": 100, "best": "width"}
    tables["evaluation"] = {"every": 2, "samples": 8, "metrics": ["width", {"name": "kernel", "subsets": 3}]}
    run = api.run(tables, manager=with_metrics)
    of_features, of_pixels = read_evaluations(run.directory)[-2:]
    assert of_features.directions == {
        "width_classifier": "higher",
        "count_classifier": "none",
        "kd_classifier": "lower",
    }
    assert of_pixels.scores.keys() == {"width", "count"}
    assert of_pixels.details["shape"] == [3, 16, 16]
    assert of_features.card.settings == {"kernel_subsets": 3, "kernel_subset_size": 1000}
    found = json.loads((run.path / "summary.json").read_text())["scores"]
    widths = {row["step"]: row["score/width"] for row in run.metrics if "score/width" in row}
    assert found["best"]["width"]["value"] == max(widths.values())
    assert ("count" in found["best"], found["last"]["count"]["value"]) == (False, 8)
    assert (run.path / "checkpoints" / f"step_{found['best']['width']['step']:07d}").is_dir()
    other = api.evaluate(run, samples=8, overrides={"evaluation.metrics": ["width"]})
    assert not differences([of_pixels.card, other.evaluations[0][-1].card])  # that other metrics were asked for


@pytest.mark.parametrize("network", ["cgan", "dcgan"])
def test_a_metric_gets_the_labels_that_samples_are_made_of(
    tables: Tables, with_metrics: PluginManager, network: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(evaluator, "SAMPLES_KEPT", 10)
    tables |= {"generator": {"name": network}, "discriminator": {"name": network}}
    run = api.run(tables, ["run.steps=2"], manager=with_metrics)
    found = api.evaluate(run, samples=16, overrides={"evaluation.metrics": ["labels", "frechet"]})
    of_features, of_pixels = found.evaluations[0]
    expected = [index % run.info.num_classes for index in range(16)]
    assert of_features.details["labels"] == (expected if network == "cgan" else None)
    assert of_pixels.details["labels"] == (expected[:10] if network == "cgan" else None)


def test_a_value_without_a_direction_is_told(tables: Tables, with_metrics: PluginManager):
    run = api.run(tables, ["run.steps=2"], manager=with_metrics)
    with pytest.raises(PluginError, match='the metric "typo" gives "widht", which its `directions` does not have'):
        api.evaluate(run, samples=8, overrides={"evaluation.metrics": ["typo"]})


def test_scores_that_are_not_finite_are_null_where_json_is_written(
    tables: Tables, with_metrics: PluginManager, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    def strict(text: str) -> Any:
        return json.loads(text, parse_constant=pytest.fail)

    tables["evaluation"] = {"every": 1, "samples": 8, "metrics": ["undefined"]}
    run = api.run(tables, ["run.steps=1"], manager=with_metrics)
    (logged,) = strict((run.path / "evaluation.json").read_text())
    assert (logged["scores"], logged["details"]) == ({"ratio": None, "width": None}, {"ratios": [None, 1.0]})
    (again,) = read_evaluations(run.directory)
    assert [math.isnan(again.scores[name]) for name in ("ratio", "width")] == [True, True]
    found = api.evaluate(run, samples=8, seeds=2, out=tmp_path / "scores.json")
    assert strict((tmp_path / "scores.json").read_text())[0]["scores"] == {"ratio": None, "width": None}
    capsys.readouterr()
    _print_json(found)
    printed = strict(capsys.readouterr().out)
    assert printed["scores"] == printed["deviations"] == {"ratio": None, "width": None}


def test_two_metrics_with_one_score_are_refused_before_the_first_step(tables: Tables, with_metrics: PluginManager):
    tables["evaluation"] = {"every": 4, "samples": 8, "metrics": ["width", "typo"]}
    with pytest.raises(api.RequestError, match=r'evaluation\.metrics: "width" and "typo" both give a score "width"'):
        api.run(tables, manager=with_metrics)


def test_two_extractors_of_one_name(tables: Tables):
    tables["evaluation"] = {"samples": 8, "extractors": [{"name": "classifier"}, {"name": "classifier"}]}
    run = api.run(tables, ["run.steps=2"])
    with pytest.raises(api.RequestError, match='two of them call their scores "classifier"'):
        api.evaluate(run)


def test_without_labels_the_extractor_is_inception(tables: Tables, tmp_path: Path):
    from PIL import Image

    (tmp_path / "pictures").mkdir()
    for name in range(8):
        Image.new("RGB", (16, 16), (name * 20, 0, 0)).save(tmp_path / "pictures" / f"{name}.png")
    tables["dataset"] = {"name": "image_folder", "root": str(tmp_path / "pictures"), "image_size": 16}
    run = api.run(tables, ["run.steps=2"])
    found = api.evaluate(run, samples=8, overrides=['evaluation.metrics=["memorization", "diversity"]'])  # without any
    assert found.scores.keys() == {"memorization", "copies", "diversity"}
    with pytest.raises(api.RequestError, match="the Inception weights of FID cannot be read there: No such file"):
        api.evaluate(
            run, samples=8, overrides=[f'evaluation.extractors=[{{name="inception", weights="{tmp_path}/none"}}]']
        )


def test_the_command_prints_scores_cards_and_json(command: Callable[..., Any], tables: Tables):
    run = api.run(tables, ["run.steps=2", "checkpoint.every=1"])
    ended = command("evaluate", run.path, "--samples", "16", "--seeds", "2", "--extractor", "classifier")
    lines = ended.out.splitlines()
    assert ended.code == 0
    assert lines[0] == "scores at step 2, mean ± deviation over 2 seeds:"
    assert lines[1].startswith("  fd_classifier: ")
    assert " ± " in lines[1]
    assert {"details, classifier:", "card, classifier:", "card, pixels:", "timings, classifier:"} <= set(lines)
    assert "  samples.images: 16" in lines
    result = json.loads(command("evaluate", run.path, "--samples", "16", "--seed", "1", "--json").out)
    assert result["deviations"] == {}
    assert [each["card"]["samples"]["seed"] for each in result["evaluations"]] == [1, 1]
    earlier = command("evaluate", run.path, "--samples", "16", "--step", "1")
    assert (earlier.code, earlier.out.splitlines()[0]) == (0, "scores at step 1:")
    assert {each.step for each in read_evaluations(run.directory)} == {1, 2}
    ended = command("evaluate", run.path, "--extractor", "clasifier")
    assert (ended.code, 'no extractor "clasifier", did you mean classifier?' in ended.err) == (2, True)
