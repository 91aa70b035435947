"""The watchdog: runs that really collapse, told in every place with a remedy; healthy ones left in peace."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import wandb
from wandb_reader import read

from ganzoo import api
from ganzoo.errors import DivergedError
from ganzoo.observers.watchdog import REMEDIES, StoppedByWatchdog, Watchdog
from ganzoo.plugin import Metric, MetricInputs, Registrar, hookimpl
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.sampling.trained_run import TrainedRun
from ganzoo.training.run import ReadOnlyRun

Tables = dict[str, Any]
COLLAPSING = ["trainer.generator_optimizer.lr=1.0", "trainer.discriminator_optimizer.lr=0.05"]


@pytest.fixture
def dcgan(tables: Tables) -> Tables:
    """A small DCGAN that is looked at after every step."""
    network = {"name": "dcgan", "width": 4}
    return tables | {
        "run": {"name": "watched", "seed": 7, "steps": 100, "log_every": 1},
        "dataset": {"name": "synthetic", "image_size": 16, "count": 64},
        "generator": {**network, "latent_dim": 8},
        "discriminator": network,
        "trainer": {
            "name": "adversarial",
            "batch_size": 8,
            "generator_optimizer": {"name": "adam"},
            "discriminator_optimizer": {"name": "adam"},
        },
        "samples": {"every": 10, "count": 16, "gif": False},
    }


def alerts(path: Path) -> dict[str, dict[str, Any]]:
    """Those of the summary, by their kind."""
    found = json.loads((path / "summary.json").read_text())["alerts"]
    assert len({each["kind"] for each in found}) == len(found)
    return {each["kind"]: each for each in found}


@pytest.mark.slow
def test_a_run_that_collapses_is_told_everywhere(dcgan: Tables, capsys: pytest.CaptureFixture[str]):
    dcgan["tracking"] = {"wandb": {"mode": "offline"}}
    wandb.teardown()
    run = api.run(dcgan, COLLAPSING)
    wandb.teardown()
    found = alerts(run.path)
    assert found.keys() == {"gradient_vanishes", "discriminator_wins", "samples_alike"}
    assert all(each["remedy"] == REMEDIES[kind] for kind, each in found.items())
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert {row["alert"]["kind"]: row["step"] for row in rows if "alert" in row} == {
        kind: each["step"] for kind, each in found.items()
    }
    assert all("alert" not in row for row in run.metrics)  # which are numbers
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("alert: step ")]
    assert len(lines) == 3
    assert all(f"; try {REMEDIES[kind]}" in "\n".join(lines) for kind in found)
    record = json.loads((run.path / "wandb.json").read_text())
    sent = read(run.path / record["path"] / f"run-{record['id']}.wandb").alerts
    assert {each.title for each in sent} == {kind.replace("_", " ") for kind in found}
    assert all("Try " in each.text and each.level == "WARN" for each in sent)


@pytest.mark.slow
def test_it_ends_the_run_where_it_is_to(dcgan: Tables):
    dcgan["checkpoint"] = {"every": 2}
    with pytest.raises(StoppedByWatchdog, match=r"step \d+: stopped by the watchdog .*; try .*") as raised:
        api.run(dcgan, [*COLLAPSING, "watchdog.stop=true"])
    assert raised.value.exit_code == 1
    (path,) = Path("runs/watched").iterdir()
    summary = json.loads((path / "summary.json").read_text())
    assert summary["status"] == "failed"
    assert summary["steps"] == summary["alerts"][0]["step"] < 100
    assert api.load_run(path).sample(1).shape == (1, 3, 16, 16)


@pytest.mark.parametrize("steps", [100, 1000])
def test_a_run_that_is_ending_is_not_stopped(build: Callable[..., Any], heard: Heard, steps: int):
    run, watchdog = build(f"run.steps={steps}", "watchdog.patience=1", "watchdog.stop=true"), Watchdog()
    run.step = 100
    with nullcontext() if steps == 100 else pytest.raises(StoppedByWatchdog):
        watchdog.step_ended(ReadOnlyRun(run), 100, WON)
    assert heard.alerts == [(100, "discriminator_wins")]


@pytest.mark.slow
def test_it_changes_nothing(dcgan: Tables):
    def weights(run: TrainedRun) -> dict[str, torch.Tensor]:
        return run.checkpoint.network("generator") | run.checkpoint.network("discriminator")

    watched, alone = (weights(api.run(dcgan, [*COLLAPSING, f"watchdog.enabled={on}"])) for on in ("true", "false"))
    assert all(torch.equal(watched[key], alone[key]) for key in watched)


def test_numbers_that_are_none(dcgan: Tables, capsys: pytest.CaptureFixture[str]):
    class Poison:
        @hookimpl
        def step_ended(self, run: Any, step: int) -> None:
            if step == 3:
                next(run.networks["generator"].parameters()).data.fill_(float("nan"))

    manager = PluginManager()
    manager.pluggy.register(Poison())
    with pytest.raises(DivergedError):
        api.run(dcgan, manager=manager)
    (path,) = Path("runs/watched").iterdir()
    alert = alerts(path)["not_finite"]
    assert alert["text"].endswith("not finite any more")
    assert "step" not in alert["text"]  # it is told beside it
    assert f"try {REMEDIES['not_finite']}" in capsys.readouterr().err


class Heard:
    """An observer that hears alerts."""

    def __init__(self) -> None:
        self.alerts: list[tuple[int, str]] = []

    @hookimpl
    def alert_raised(self, step: int, alert: Any) -> None:
        self.alerts.append((step, alert.kind))


@pytest.fixture
def heard(manager: PluginManager) -> Heard:
    observer = Heard()
    manager.pluggy.register(observer)
    return observer


FINE = {"probability/real": 0.8, "probability/fake": 0.2, "gradient_norm/generator": 1.0}
WON = FINE | {"probability/real": 0.999, "probability/fake": 0.001}


def test_a_thing_is_told_once_until_it_was_good_again(build: Callable[..., Any], heard: Heard):
    run, watchdog = build("run.steps=1000", "watchdog.patience=3"), Watchdog()
    for step in range(100, 240, 10):
        watchdog.step_ended(ReadOnlyRun(run), step, FINE if step in (120, 180) else WON)
        watchdog.step_ended(ReadOnlyRun(run), step + 1, None)
    assert heard.alerts == [(150, "discriminator_wins"), (210, "discriminator_wins")]


def test_nothing_is_judged_while_it_warms_up(build: Callable[..., Any], heard: Heard):
    run, watchdog = build("run.steps=1000", "watchdog.patience=1", "watchdog.warm_up=0.1"), Watchdog()
    watchdog.step_ended(ReadOnlyRun(run), 99, WON)
    assert heard.alerts == []
    watchdog.step_ended(ReadOnlyRun(run), 100, WON)
    assert heard.alerts == [(100, "discriminator_wins")]


def test_the_first_steps_raise_no_alert(build: Callable[..., Any], heard: Heard):
    run, watchdog = build("run.steps=1000", "watchdog.patience=1", "watchdog.warm_up=0"), Watchdog()
    for step in (1, 49, 50):
        watchdog.step_ended(ReadOnlyRun(run), step, WON)
    assert heard.alerts == [(50, "discriminator_wins")]


@pytest.mark.parametrize("unsure", [{"probability/real": 0.9}, {"probability/fake": 0.1}], ids=["real", "generated"])
def test_a_discriminator_that_is_sure_of_one_kind_alone_has_not_won(
    build: Callable[..., Any], heard: Heard, unsure: dict[str, float]
):
    run, watchdog = build("run.steps=1000", "watchdog.patience=1"), Watchdog()
    watchdog.step_ended(ReadOnlyRun(run), 100, WON | unsure)
    assert heard.alerts == []


def test_a_critic_that_is_far_apart_has_not_won(build: Callable[..., Any], heard: Heard):
    run, watchdog = build("run.steps=1000", "loss.name=wasserstein"), Watchdog()
    for step in range(100, 200):
        watchdog.step_ended(ReadOnlyRun(run), step, {"logits/real": 20.0, "logits/fake": -20.0})
    assert heard.alerts == []


def test_a_gradient_is_compared_with_what_it_was(build: Callable[..., Any], heard: Heard):
    run, watchdog = build("run.steps=1000", "watchdog.patience=2"), Watchdog()
    for step, norm in enumerate((1e-6, 1e-6, 2e-6, 1e-12, 1e-12), 100):  # small as it is in some runs, then gone
        watchdog.step_ended(ReadOnlyRun(run), step, FINE | {"gradient_norm/generator": norm})
    assert heard.alerts == [(104, "gradient_vanishes")]


def test_gradients_that_have_vanished_are_not_the_usual_ones(build: Callable[..., Any], heard: Heard):
    run, watchdog = build("run.steps=1000", "watchdog.patience=6"), Watchdog()
    for step, norm in enumerate((1.0, 3.0, *[1e-9] * 6), 100):
        watchdog.step_ended(ReadOnlyRun(run), step, FINE | {"gradient_norm/generator": norm})
    assert heard.alerts == [(107, "gradient_vanishes")]


def test_a_resumed_run_knows_what_was_usual(build: Callable[..., Any], heard: Heard):
    """Two vanished gradients before the resume and one after it; the classes that were there are missed after it."""
    run = build("run.steps=1000", "watchdog.patience=3")
    for step, norm in ((100, 1.0), (110, 1.0), (120, 1e-9), (130, 1e-9), (140, 1e-9)):  # the last one is repeated
        won = {} if step > 120 else {"probability/real": 1.0, "probability/fake": 0.0}  # until the alert that it raised
        run.directory.append_metrics({"step": step, "seconds": 1.0, "gradient_norm/generator": norm, **won})
    run.directory.append_metrics({"step": 130, "seconds": 1.0, "score/kinds": 8.0})
    run.resumed_from = 130
    watchdog = Watchdog(["kinds"])
    watchdog.run_started(ReadOnlyRun(run))
    assert heard.alerts == []
    watchdog.step_ended(ReadOnlyRun(run), 140, FINE | {"gradient_norm/generator": 1e-9})
    assert heard.alerts == [(140, "gradient_vanishes")]
    for step in (150, 160):
        watchdog.metrics_evaluated(ReadOnlyRun(run), step, {"kinds": 3})
    assert heard.alerts[1:] == [(160, "classes_missing")]


def test_samples_that_become_alike(build: Callable[..., Any], heard: Heard):
    run, watchdog = build("run.steps=1000"), Watchdog()
    varied = torch.rand(9, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    same = varied[:1].expand(9, -1, -1, -1)
    for step, images in ((60, same), (100, same), (150, varied), (200, same), (250, same), (300, varied)):
        watchdog.samples_ready(ReadOnlyRun(run), step, images)
    assert heard.alerts == [(250, "samples_alike")]  # at the beginning they are alike in every run
    for step in (600, 700):
        watchdog.samples_ready(ReadOnlyRun(run), step, same * 0.5)
    assert heard.alerts[1:] == [(700, "samples_alike")]
    for step, images in ((750, varied), (800, varied * torch.nan), (850, varied * torch.nan)):
        watchdog.samples_ready(ReadOnlyRun(run), step, images)
    assert heard.alerts[2:] == [(850, "samples_alike")]


def test_classes_that_go_or_never_come(build: Callable[..., Any], heard: Heard):
    run, watchdog = build("run.steps=1000"), Watchdog(["kinds"])
    for step, covered in ((100, 1), (200, 2), (300, 8), (350, 3), (400, 3), (450, 5), (500, 4), (600, 4)):
        watchdog.metrics_evaluated(ReadOnlyRun(run), step, {"kinds": covered, "fd_classifier": 1.0})
    assert heard.alerts == [(400, "classes_missing"), (600, "classes_missing")]
    watchdog.metrics_evaluated(ReadOnlyRun(run), 700, {"fd_classifier": float("nan")})
    assert heard.alerts[2:] == [(700, "not_finite")]


class Kinds(Metric):
    """A stranger's count of classes, which sees one alone."""

    needs = frozenset({"pixels"})
    directions: ClassVar = {"kinds": "higher"}
    class_count = "kinds"

    def compute(self, inputs: MetricInputs) -> dict[str, float]:
        return {"kinds": 1.0}


class KindsPlugin:
    @hookimpl
    def register_metrics(self, register: Registrar) -> None:
        register("kinds", Kinds)


def test_classes_that_the_metric_of_a_plugin_misses(dcgan: Tables):
    manager = PluginManager()
    manager._register(KindsPlugin(), "mine (mine 1.0)")
    dcgan["dataset"]["num_classes"] = 4
    dcgan["evaluation"] = {"every": 20, "samples": 8, "metrics": ["kinds"]}
    run = api.run(dcgan, manager=manager)
    assert alerts(run.path)["classes_missing"]["text"] == "only 1 of 4 classes are among the samples"


@pytest.mark.slow
def test_a_healthy_run_is_left_in_peace(tables: Tables):
    """A small DCGAN that learns digits, from its first step to its last."""
    tables |= {
        "run": {"name": "healthy", "steps": 400, "log_every": 10},
        "dataset": {"name": "digits", "image_size": 16},
        "generator": {"name": "dcgan", "width": 16, "latent_dim": 32},
        "discriminator": {"name": "dcgan", "width": 16},
        "trainer": {"name": "adversarial", "batch_size": 32},
        "samples": {"count": 32, "gif": False},
        "evaluation": {"every": 100, "samples": 200, "metrics": ["class_coverage"]},
    }
    run = api.run(tables)
    assert alerts(run.path) == {}
    assert max(row.get("score/classes_covered", 0) for row in run.metrics) >= 8
