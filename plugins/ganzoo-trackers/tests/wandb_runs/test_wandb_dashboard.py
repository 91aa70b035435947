"""What a dashboard shows: panels that line up between variants, summaries over resumed parts, checkpoints."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import wandb
from directions import note_directions
from ganzoo_trackers.wandb import session
from ganzoo_trackers.wandb.checkpoints import link
from wandb_reader import Recorded, read
from wandb_server import KEY, Server

from ganzoo import api
from ganzoo.errors import RecipeError
from ganzoo.recipe.load import parse_recipe
from ganzoo.recipe.overrides import apply_overrides
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.sampling.trained_run import TrainedRun

Train = Callable[..., TrainedRun]


@pytest.fixture(autouse=True)
def fresh_wandb() -> Iterator[None]:
    wandb.teardown()
    yield
    wandb.teardown()


class Scores:
    """Scores every tenth step: the best comes in the middle."""

    @hookimpl
    def step_ended(self, run: Any, step: int) -> None:
        if step % 10 == 0:
            note_directions(run.directory, fid="lower")
            run.fire("metrics_evaluated", step=step, scores={"fid": 10.0 + abs(step - 20)})


@pytest.fixture
def train(tables: dict[str, Any], manager: PluginManager) -> Train:
    """Train a tracked run that is scored, with "path.to.key=value" set."""
    manager.pluggy.register(Scores())

    def train(*overrides: str) -> TrainedRun:
        return api.run(tables, ["tracking.wandb.mode=offline", "checkpoint.every=10", *overrides], manager=manager)

    return train


def recorded(run: TrainedRun) -> Recorded:
    wandb.teardown()
    record = json.loads((run.path / "wandb.json").read_text())
    result: Recorded = read(run.path / record["path"] / f"run-{record['id']}.wandb")
    return result


def figures(seen: Recorded) -> set[str]:
    """Names of what is drawn, of pictures without what W&B notes of their files."""
    return {"/".join(key.split("/")[:2]) for row in seen.history for key in row if not key.startswith("_")}


@pytest.mark.slow
def test_panels_of_variants_line_up(train, tables, manager) -> None:
    plain = recorded(train())
    tables["loss"] = {"name": "wasserstein"}
    tables["penalties"] = [{"name": "gradient_penalty", "weight": 10.0}]
    tables["trainer"] = {"name": "adversarial", "batch_size": 8, "discriminator_steps": 2, "ema_decay": 0.9}
    critic = recorded(train())
    tables["penalties"] = []
    tables["trainer"] = {"name": "unrolled", "batch_size": 8, "unrolled_steps": 2}
    unrolled = recorded(train())

    assert figures(plain) == {
        "step",
        "epoch",
        "images_per_second",
        "loss/generator",
        "loss/discriminator",
        "probability/real",
        "probability/fake",
        "gradient_norm/generator",
        "gradient_norm/discriminator",
        "lr/generator",
        "lr/discriminator",
        "score/fid",
        "samples/grid",
        "samples/table",
        "samples/evolution",
    }
    shared = {name for name in figures(plain) if not name.startswith("probability/")}  # which a critic does not give
    assert figures(unrolled) == shared | {"logits/real", "logits/fake"}
    assert figures(critic) == figures(unrolled) | {"penalty/gradient_penalty"}
    for other in (critic, unrolled):
        assert other.column("step") == plain.column("step")
        assert other.run.run_group == plain.run.run_group == "tiny"
        assert other.run.job_type == plain.run.job_type == "train"
        own, plains = (
            {metric.name or metric.glob_name: metric.SerializeToString() for metric in each.metrics}
            for each in (other, plain)
        )
        assert own.items() >= {name: axis for name, axis in plains.items() if name in shared or "*" in name}.items()
        assert other.summary.keys() >= plain.summary.keys() - (figures(plain) - shared)
        assert all(norm > 0 for norm in other.column("gradient_norm/generator"))
    assert set(critic.run.tags) - set(plain.run.tags) == {"wasserstein", "gradient_penalty"}
    assert set(unrolled.run.tags) - set(plain.run.tags) == {"wasserstein", "unrolled"}


@pytest.mark.slow
def test_summary_of_a_resumed_run_is_that_of_all_its_parts(train, manager) -> None:
    part = train("run.steps=20")
    whole = api.resume(part.path, ["run.steps=40"], manager=manager)
    seen = recorded(whole)
    assert min(seen.column("step")) == 30
    assert seen.summary["score/fid"] == {"min": 10.0, "max": 30.0, "last": 30.0}
    losses = [row["loss/generator"] for row in whole.metrics if "loss/generator" in row]
    assert len(losses) == 4
    assert seen.summary["loss/generator"] == {"min": min(losses), "max": max(losses), "last": losses[-1]}
    assert seen.files.count("recipe.toml") == 1
    files = whole.path / json.loads((whole.path / "wandb.json").read_text())["path"] / "files"
    assert "steps = 40" in (files / "recipe.toml").read_text()


def contents(artifact: Any, folder: Path) -> Path:
    """What downloading an artifact gives."""
    for entry in artifact.manifest.contents:
        target = folder / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(Path(entry.local_path).read_bytes())
    return folder


def aliases(seen: Recorded) -> list[set[str]]:
    return [set(artifact.aliases) for artifact in seen.artifacts]


def test_checkpoints_are_sent_as_run_directories(train, manager, tmp_path, capsys) -> None:
    run = train("tracking.wandb.checkpoints=true", "checkpoint.best=fid")
    seen = recorded(run)
    assert aliases(seen) == [{"step-20", "best", "latest"}, {"step-40", "latest"}]
    best, last = seen.artifacts
    assert best.name == last.name == f"tiny-{seen.run.run_id}"
    assert best.type == "model"
    about = json.loads(best.metadata)
    assert (about["step"], about["scores"], about["generator"], about["seed"]) == (20, {"fid": 10.0}, "tiny", 2333)

    copy = api.load_run(contents(last, tmp_path / "last"), manager=manager)
    assert torch.equal(copy.sample(5), run.sample(5))
    assert copy.checkpoint.resumable
    assert api.load_run(contents(best, tmp_path / "best"), manager=manager).checkpoint.step == 20
    resumed = api.resume(tmp_path / "last", ["run.steps=41", "tracking.wandb.mode=disabled"], manager=manager)
    assert resumed.checkpoint.step == 41
    assert "wandb: " not in capsys.readouterr().err  # nothing but our own words


def test_every_checkpoint_outlives_those_that_follow(train, manager, tmp_path) -> None:
    run = train("tracking.wandb.checkpoints=all")
    seen = recorded(run)
    assert [path.name for path in sorted((run.path / "checkpoints").iterdir())] == ["step_0000030", "step_0000040"]
    assert aliases(seen) == [{f"step-{step}", "latest"} for step in (10, 20, 30, 40)]
    first = api.load_run(contents(seen.artifacts[0], tmp_path / "first"), manager=manager)
    assert first.checkpoint.step == 10


def test_what_a_sweep_optimizes_is_sent_by_its_own_name(train) -> None:
    seen = recorded(train("tracking.wandb.objective=score/fid"))
    assert seen.column("objective") == seen.column("score/fid") == [20.0, 10.0, 20.0, 30.0]
    assert seen.summary["objective"] == 30.0


class Reaches:
    """Scores step 20 alone."""

    @hookimpl
    def step_ended(self, run: Any, step: int) -> None:
        if step == 20:
            run.fire("metrics_evaluated", step=step, scores={"fd_classifier": 1.0})


def test_a_sweep_optimizes_the_time_to_the_target(tables, manager) -> None:
    tables["run"]["target"] = {"score": "fd_classifier", "below": 2.0}
    tables["evaluation"] = {"every": 100, "samples": 16, "metrics": ["frechet"]}
    changes = {"tracking.wandb.mode": "offline", "tracking.wandb.objective": "time_to_target"}
    run = api.run(tables, changes, observers=[Reaches()], manager=manager)
    seen = recorded(run)
    (row,) = [row for row in run.metrics if "score/fd_classifier" in row]
    assert seen.summary["objective"] == seen.summary["time_to_target"] == pytest.approx(row["seconds"])


def test_best_alone(train) -> None:
    assert aliases(recorded(train("tracking.wandb.checkpoints=best", "checkpoint.best=fid"))) == [
        {"step-20", "best", "latest"}
    ]


def test_best_needs_a_score(tables, manager) -> None:
    with pytest.raises(RecipeError, match=r"tracking.wandb.checkpoints: is \"best\".* checkpoint.best"):
        parse_recipe(apply_overrides(tables, {"tracking.wandb.checkpoints": "best"}), manager)
    with pytest.raises(RecipeError, match='is "some"; must be false, true, "best" or "all"'):
        parse_recipe(apply_overrides(tables, {"tracking.wandb.checkpoints": "some"}), manager)


def test_tracking_with_checkpoints_leaves_training_alone(train, tables, manager) -> None:
    tracked = train("tracking.wandb.checkpoints=all")
    alone = api.run(tables, ["checkpoint.every=10", "tracking.wandb.mode=disabled"], manager=manager)
    for network in ("generator", "discriminator"):
        ours, theirs = tracked.checkpoint.network(network), alone.checkpoint.network(network)
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    for ours, theirs in zip(tracked.metrics, alone.metrics, strict=True):
        assert {**ours, "seconds": 0, "images_per_second": 0} == {**theirs, "seconds": 0, "images_per_second": 0}


def test_links_where_there_are_none(tmp_path, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    (tmp_path / "a").write_text("content")
    monkeypatch.setattr("os.link", refuse)
    link(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "content"


@pytest.mark.slow
def test_a_server_that_takes_no_artifacts_costs_little(train, monkeypatch, capsys) -> None:
    """The one of the tests answers a request for an artifact with nothing, as a server without them would."""
    monkeypatch.setattr(session, "FINISH_SECONDS", 2.0)
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        begun = time.monotonic()
        run = train("tracking.wandb.mode=online", "tracking.wandb.checkpoints=all")
        assert time.monotonic() - begun < 20
        server.shutdown()
    assert len(run.metrics) == 8
    assert len([row for row in server.rows if "loss/generator" in row]) == 4
