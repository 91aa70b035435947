"""Protocol cards: what forbids to compare two scores, what may differ, and how they lie in evaluation.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ganzoo.errors import RunDirectoryError
from ganzoo.evaluation.evaluation_log import Evaluated, Evaluation, add_evaluations, read_evaluations
from ganzoo.evaluation.protocol import Card, Difference, differences, noted
from ganzoo.storage.run_directory import RunDirectory

CARD: dict[str, Any] = {
    "extractor": {"name": "inception", "digest": "6726825d", "features": 2048, "input": "299×299", "resize": "TF"},
    "real": {"dataset": "cifar10", "images": 50_000, "available": 50_000, "shape": "3×32×32", "pixels": "crc32:1"},
    "samples": {"images": 10_000, "weights": "ema", "batch_norm": "running", "precision": "fp32", "seed": 0},
    "settings": {"neighbors": 3, "subsets": 100},
    "run": "runs/a/0001",
    "step": 1000,
}


def card(**changes: Any) -> Card:
    """The card above with values at dotted places, dots written as two underscores, changed."""
    tables: dict[str, Any] = json.loads(json.dumps(CARD))
    for place, value in changes.items():
        *parents, last = place.split("__")
        table = tables
        for parent in parents:
            table = table[parent]
        table[last] = value
    return Card.model_validate(tables)


def test_cards_of_other_runs_steps_and_seeds_compare():
    changes = {"run": "runs/b/0003", "step": 9, "device": "cuda", "samples__seed": 4, "samples__made_at": "3×64×64"}
    other = card(**changes, versions={"torch": "3"}, real__packed="abc", extractor__weights="a path")
    assert differences([card(), other]) == []
    assert noted(other) == {
        "run": "runs/b/0003",
        "step": 9,
        "device": "cuda",
        "versions.torch": "3",
        "samples.seed": 4,
        "samples.made_at": "3×64×64",
        "samples.labels": "",
        "real.packed": "abc",
        "extractor.weights": "a path",
    }


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("protocol", 2),
        ("extractor__name", "classifier"),
        ("extractor__digest", "ffff"),
        ("extractor__input", "224×224"),
        ("extractor__resize", "bilinear"),
        ("extractor__antialias", True),
        ("real__dataset", "svhn"),
        ("real__images", 10_000),
        ("real__pixels", "crc32:2"),
        ("real__shape", "3×64×64"),
        ("samples__images", 5000),
        ("samples__weights", "raw"),
        ("samples__batch_norm", "batch"),
        ("samples__precision", "bf16"),
        ("samples__antialias", False),
        ("settings__neighbors", 5),
        ("settings__subsets", 10),
    ],
)
def test_whatever_moves_a_score_forbids_to_compare(place: str, value: Any):
    cards = [card(), card(**{place: value}), card(run="c")]
    (found,) = differences(cards)
    assert found.field == place.replace("__", ".")
    assert found.values[1] == value
    assert found.values[0] == found.values[2]
    assert differences(cards, ignoring=[found.field]) == []


def test_a_generator_without_batch_norm_goes_with_every_mode():
    without, running, batch = (card(samples__batch_norm=mode) for mode in ("none", "running", "batch"))
    assert differences([without, running]) == differences([batch, without]) == []
    assert [str(each) for each in differences([without, running, batch])] == [
        "samples.batch_norm: none / running / batch"
    ]


def test_a_difference_reads_as_a_line():
    assert str(Difference("samples.weights", ("ema", "raw", "ema"))) == "samples.weights: ema / raw"


def test_evaluations_are_kept_beside_each_other(tmp_path: Path):
    run = RunDirectory(tmp_path)
    assert read_evaluations(run) == []
    late, early = (Evaluation(step=step, scores={"fid": fid}, card=card(step=step)) for step, fid in ((9, 1.5), (3, 7)))
    add_evaluations(run, [late])
    add_evaluations(run, [early])
    assert read_evaluations(run) == [early, late]
    again = late.model_copy(update={"scores": {"fid": 1.25}, "card": card(step=9, run="moved", device="cuda")})
    seed = Evaluation(step=9, scores={"fid": 1.75}, card=card(step=9, samples__seed=1))
    add_evaluations(run, [again, seed])
    assert [each.scores["fid"] for each in read_evaluations(run)] == [7, 1.25, 1.75]
    (first, *_) = json.loads((tmp_path / "evaluation.json").read_text())
    assert (first["step"], first["scores"], first["card"]["samples"]["weights"]) == (3, {"fid": 7.0}, "ema")


def test_scores_of_other_metrics_are_added_to_those_under_the_same_card(tmp_path: Path):
    run = RunDirectory(tmp_path)

    def evaluated(device: str, warned: tuple[str, ...] = (), **scores: float) -> Evaluation:
        return Evaluation(
            step=9,
            scores=scores,
            directions=dict.fromkeys(scores, "lower"),
            ideals=dict.fromkeys(scores, 0.5),
            warnings=dict.fromkeys(warned, "too few samples"),
            card=card(step=9, device=device),
            details={"samples": len(scores), device: 1},
            timings=dict.fromkeys(scores, 1.0),
        )

    add_evaluations(run, [evaluated("cpu", warned=("fid", "kid"), fid=1.5, kid=2.0)])
    add_evaluations(run, [evaluated("cuda", fid=1.25, coverage=0.5)])
    (both,) = read_evaluations(run)
    assert both.scores == {"fid": 1.25, "kid": 2.0, "coverage": 0.5}
    assert both.directions.keys() == both.ideals.keys() == both.timings.keys() == both.scores.keys()
    assert both.warnings == {"kid": "too few samples"}  # that of the earlier fid went with it
    assert both.details == {"samples": 2, "cpu": 1, "cuda": 1}
    assert both.card.device == "cuda"


@pytest.mark.parametrize("content", ["{", '{"scores": {}, "protocol": {}}', "[1]", '[{"step": 1}]'])
def test_a_damaged_file_is_told(tmp_path: Path, content: str):
    (tmp_path / "evaluation.json").write_text(content)
    with pytest.raises(RunDirectoryError, match=r"evaluation\.json: .*remove it and evaluate the run again"):
        read_evaluations(RunDirectory(tmp_path))


def test_a_metric_that_only_one_was_asked_for_makes_no_difference():
    assert differences([card(), card(settings={"neighbors": 3})]) == []
    assert [each.field for each in differences([card(settings={"subsets": 5}), card()])] == ["settings.subsets"]


def test_scores_of_several_seeds_are_their_mean_and_sample_deviation():
    """Of the scores that each seed has, over all extractors."""
    seeds = [{"fid": 2.0, "kid": 1.0}, {"fid": 4.0, "kid": 1.0}, {"fid": 9.0, "kid": 4.0, "is": 3.0}]
    found = Evaluated(
        [
            [Evaluation(step=1, scores={name: value}, card=card(samples__seed=seed)) for name, value in scores.items()]
            for seed, scores in enumerate(seeds)
        ]
    )
    assert found.scores == {"fid": 5.0, "kid": 2.0}
    assert found.deviations == pytest.approx({"fid": 13**0.5, "kid": 3**0.5})
    assert Evaluated(found.evaluations[:1]).deviations == {}
