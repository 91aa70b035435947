"""What a run came from and what became of it: lineage, forks, tables of samples, the Registry, scores of later."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import wandb
from directions import note_directions
from ganzoo_trackers.wandb.samples import label_text
from observed_gan import TinyGenerator
from PIL import Image
from torch import Tensor
from wandb_reader import Recorded, read
from wandb_server import Server

from ganzoo import api
from ganzoo.plugin import GeneratorConfig, LabelSpec, PluginManager, hookimpl
from ganzoo.sampling.trained_run import TrainedRun

Train = Callable[..., TrainedRun]
LR = "trainer.generator_optimizer.lr=0.01"
EVERY_TEN = {"checkpoint.every": 10, "checkpoint.keep": 10, "tracking.wandb.mode": "offline"}


@pytest.fixture(autouse=True)
def fresh_wandb() -> Iterator[None]:
    """W&B reads the environment once; every test begins with one of its own."""
    wandb.teardown()
    yield
    wandb.teardown()


@pytest.fixture
def train(tables: dict[str, Any], manager: PluginManager) -> Train:
    """Train an offline run with a checkpoint each ten steps, and "path.to.key=value" set."""
    tables["evaluation"] = {"samples": 8, "metrics": ["diversity"]}
    return lambda *overrides: api.run(tables, [*EVERY_TEN.items(), *overrides], manager=manager)


def record_of(path: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((path / "wandb.json").read_text())
    return result


def parts(path: Path) -> list[Recorded]:
    """What W&B has of each part of a run, oldest first."""
    wandb.teardown()
    files = sorted(path.glob("wandb/*/*.wandb"), key=lambda file: file.stat().st_mtime)
    return [read(file) for file in files]


def recorded(path: Path) -> Recorded:
    """What W&B has of the last part of a run."""
    return parts(path)[-1]


def continues(seen: Recorded) -> bool:
    """Whether `wandb sync` adds this part to what is there; older versions of W&B do not note it."""
    return bool(getattr(seen.run, "resume", True))


def cut(run: TrainedRun, step: int) -> None:
    """Remove the checkpoints after a step, as somebody does who wants to go on from it."""
    for folder in (run.path / "checkpoints").glob("step_*"):
        if int(folder.name[5:]) > step:
            shutil.rmtree(folder)


def w_and_b(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if "W&B" in line]


# Lineage


@pytest.mark.slow
def test_runs_on_the_same_data_use_one_artifact(train: Train) -> None:
    first, second, other = train("run.steps=1"), train("run.steps=1", "run.seed=1"), train("dataset.count=40")
    seen, again, another = (recorded(run.path) for run in (first, second, other))
    (dataset,) = seen.used
    assert (dataset.type, dataset.user_created, len(dataset.manifest.contents)) == ("dataset", True, 1)
    assert dataset.name.startswith("synthetic-")
    facts = seen.used_facts()["dataset"]
    assert json.loads(Path(dataset.manifest.contents[0].local_path).read_text()) == facts
    assert (facts["dataset"], facts["shape"], facts["samples"]) == ("synthetic", [3, 8, 8], 32)
    assert facts["checksum"].startswith("crc32:")
    assert (again.used[0].name, again.used[0].digest) == (dataset.name, dataset.digest)
    assert (another.used[0].name == dataset.name, another.used[0].digest == dataset.digest) == (False, False)


def test_a_run_that_starts_from_weights_names_their_run(train: Train) -> None:
    parent = train("run.steps=20")
    child = train("run.steps=1", f"init.from={parent.path}", "init.step=10")
    there, seen = record_of(parent.path), recorded(child.path)
    facts = seen.used_facts()["run"]
    assert (facts["id"], facts["name"], facts["step"]) == (there["id"], "tiny/0001", 10)
    assert seen.config["parent"] == facts
    assert seen.run.notes == f"Started from tiny/0001, weights of step 10 ({there['id']})"
    assert [each.name for each in seen.used][1] == f"run-{there['id']}"


def test_a_run_that_starts_from_untracked_weights_names_none(train: Train) -> None:
    parent = train("run.steps=10", "tracking.wandb.mode=disabled")
    seen = recorded(train("run.steps=1", f"init.from={parent.path}").path)
    assert [each.type for each in seen.used] == ["dataset"]
    assert "parent" not in seen.config
    assert not seen.run.notes


@pytest.mark.slow
def test_a_downloaded_checkpoint_names_its_run(train: Train, tmp_path: Path, manager: PluginManager) -> None:
    parent = train("run.steps=20", "tracking.wandb.checkpoints=true")
    (artifact,) = recorded(parent.path).artifacts
    for entry in artifact.manifest.contents:
        target = tmp_path / "digits" / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(entry.local_path, target)
    child = recorded(train("run.steps=1", f"init.from={tmp_path / 'digits'}").path)
    assert child.config["parent"]["id"] == record_of(parent.path)["id"]
    resumed = api.resume(tmp_path / "digits", ["run.steps=30", LR, "tracking.wandb.mode=offline"], manager=manager)
    assert recorded(resumed.path).config["parent"] == child.config["parent"] | {"step": 20}


# Forks


def test_other_options_from_an_earlier_step_fork(train: Train, manager: PluginManager, capsys: Any) -> None:
    run = train()
    before = record_of(run.path)
    cut(run, 20)
    capsys.readouterr()
    api.resume(run.path, [LR], manager=manager)
    after, (old, new) = record_of(run.path), parts(run.path)
    assert after["id"] != before["id"]
    assert old.column("step")[-1] == 40
    assert [row["step"] for row in new.history if "loss/generator" in row] == [30, 40]
    assert (new.run.run_id, new.run.run_group, new.run.display_name) == (after["id"], "tiny", "tiny/0001 from step 20")
    assert new.config["parent"] == new.used_facts()["run"]
    assert (new.config["parent"]["id"], new.config["parent"]["step"]) == (before["id"], 20)
    assert new.run.notes == f"Forked from tiny/0001 at step 20 ({before['id']})"
    assert "forked from tiny/0001 at step 20" in w_and_b(capsys)[0]

    api.resume(run.path, ["run.steps=50"], manager=manager)
    third = recorded(run.path)
    assert (third.run.run_id, third.run.display_name) == (after["id"], "tiny/0001 from step 20")
    assert third.config["parent"] == new.config["parent"]
    assert not third.run.notes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "changes"),
    [(20, ()), (20, ("run.steps=50", "samples.every=20")), (40, (LR, "run.steps=50"))],
    ids=["nothing is changed", "what no figure depends on is changed", "from the last step"],
)
def test_what_is_no_fork(train: Train, manager: PluginManager, step: int, changes: tuple[str, ...]) -> None:
    run = train()
    before = record_of(run.path)
    cut(run, step)
    api.resume(run.path, changes, manager=manager)
    assert record_of(run.path)["id"] == before["id"]
    assert continues(recorded(run.path))


NETWORKS = """
from ganzoo.plugin import hookimpl
from observed_gan import TinyDiscriminator, TinyGenerator


@hookimpl
def register_architectures(register):
    register("tiny", TinyGenerator)
    register("tiny", TinyDiscriminator)
"""


def test_the_place_of_a_plugin_file_is_no_change(train: Train, tmp_path: Path) -> None:
    """The recipe names it by its path, the run directory by that of its copy."""
    file = tmp_path / "networks.py"
    file.write_text(NETWORKS)
    run = train(("plugins.files", [str(file)]))
    before = record_of(run.path)
    cut(run, 20)
    api.resume(run.path, trust_plugins=True)
    assert record_of(run.path)["id"] == before["id"]
    assert continues(recorded(run.path))


@pytest.mark.slow
def test_a_killed_run_forks_where_options_change(train: Train, manager: PluginManager) -> None:
    run = train()
    before = record_of(run.path)
    cut(run, 20)
    (run.path / "wandb.json").write_text(json.dumps(before | {"step": None}))  # as while it trains
    api.resume(run.path, ["run.steps=50"], manager=manager)
    assert record_of(run.path)["id"] == before["id"]
    cut(run, 20)
    (run.path / "wandb.json").write_text(json.dumps(before | {"step": None}))
    api.resume(run.path, [LR], manager=manager)
    assert record_of(run.path)["id"] != before["id"]


def test_more_steps_are_a_change_where_an_option_is_scheduled_over_them(train: Train, manager: PluginManager) -> None:
    run = train("trainer.generator_optimizer.lr={from=1e-3, to=0.0, start=0.5}")
    before = record_of(run.path)
    cut(run, 20)
    api.resume(run.path, ["run.steps=50"], manager=manager)
    assert record_of(run.path)["id"] != before["id"]


# Samples


class LabeledConfig(GeneratorConfig):
    @property
    def uses(self) -> frozenset[str]:
        return frozenset({"labels"})


class LabeledGenerator(TinyGenerator):
    """Takes labels and makes nothing of them."""

    Config = LabeledConfig

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        return super().forward(latents)


@pytest.fixture
def labeled(manager: PluginManager, tables: dict[str, Any]) -> None:
    manager.registries.generators.register("labeled", LabeledGenerator, LabeledConfig, "tests")
    tables["generator"]["name"] = "labeled"
    tables["dataset"]["num_classes"] = 3


def test_a_table_has_the_samples_with_their_labels(labeled: None, train: Train) -> None:
    run = train()
    seen = recorded(run.path)
    assert [row["step"] for row in seen.history if "samples/table/path" in row] == [40]
    assert "WANDB_DATA_DIR" not in os.environ
    (artifact,) = seen.tables
    files = {entry.path: Path(entry.local_path) for entry in artifact.manifest.contents}
    assert all(file.is_relative_to(run.path.resolve() / record_of(run.path)["path"]) for file in files.values())
    table = json.loads(files["samples/table.table.json"].read_text())
    assert table["columns"] == ["sample", "label", "image"]
    names = run.info.class_names
    assert [row[:2] for row in table["data"]] == [[number, names[number % 3]] for number in range(9)]
    grid = np.asarray(Image.open(run.path / "samples" / "step_0000040.png"))
    for number, row in enumerate(table["data"]):
        y, x = (2 + 10 * place for place in divmod(number, 3))
        with Image.open(files[row[2]["path"]]) as image:
            assert image.format == "PNG"
            assert np.abs(np.asarray(image) - grid[y : y + 8, x : x + 8].astype(int)).max() <= 1


def test_a_table_has_64_rows_at_most_and_none_where_it_is_not_wanted(train: Train) -> None:
    seen = recorded(train("samples.count=70", "run.steps=10").path)
    assert seen.column("samples/table/nrows") == [64]
    assert seen.column("samples/table/ncols") == [2]
    seen = recorded(train("tracking.wandb.table=false", "run.steps=10").path)
    assert (seen.column("samples/table/path"), seen.tables) == ([], [])


@pytest.mark.parametrize(
    ("spec", "label", "told"),
    [
        (LabelSpec("classes", ("cat", "dog")), torch.tensor(1), "dog"),
        (LabelSpec("attributes", ("hat", "smile", "beard")), torch.tensor([1.0, 0.0, 1.0]), "hat, beard"),
        (LabelSpec("continuous", ("age", "yaw")), torch.tensor([0.25, -3.0]), "age 0.25, yaw -3"),
    ],
)
def test_labels_in_words(spec: LabelSpec, label: Tensor, told: str) -> None:
    assert label_text(label, spec) == told


# Scores of later


def test_scores_of_later_reach_an_offline_run(train: Train, capsys: Any) -> None:
    run = train()
    before = record_of(run.path)
    capsys.readouterr()
    scores = api.evaluate(run, seeds=2).scores
    (line,) = w_and_b(capsys)
    assert line.endswith(f"wandb sync {run.path}/wandb/offline-run-*-{before['id']}*")
    seen = recorded(run.path)
    assert (seen.run.run_id, seen.run.display_name) == (before["id"], "tiny/0001")
    assert continues(seen)
    assert [(row["step"], row["_step"]) for row in seen.history] == [(40, 41)]
    assert seen.column("score/diversity") == [scores["diversity"]]
    assert seen.summary["score/diversity"] == dict.fromkeys(("min", "max", "last"), scores["diversity"])
    assert seen.exit_code == 0
    assert seen.config.keys() <= {"_wandb"}
    assert record_of(run.path) == before | {"later": 1}


def test_scores_that_do_not_compare_have_names_of_their_own(train: Train, manager: PluginManager) -> None:
    run = train("run.steps=10")
    api.evaluate(run, 9, seed=4, weights="raw", overrides={"dataset.root": "elsewhere"})
    assert "score.samples_9.weights_raw/diversity" in recorded(run.path).history[0]
    api.evaluate(run, seed=4)
    assert "score/diversity" in recorded(run.path).history[0]


@pytest.mark.slow
def test_a_run_that_goes_on_after_it_was_scored_loses_no_step(train: Train, manager: PluginManager) -> None:
    run = train("run.steps=20", "run.log_every=1")
    api.evaluate(run)
    api.evaluate(run, seed=1)
    api.resume(run.path, ["run.steps=30"], manager=manager)
    _, first, second, last = parts(run.path)
    assert [seen.history[0]["_step"] for seen in (first, second)] == [21, 22]
    rows = [row for row in last.history if "loss/generator" in row]
    assert [row["step"] for row in rows] == [*range(21, 31)]
    assert [row["_step"] for row in rows] == [*range(23, 33)]


@pytest.mark.parametrize("how", ["untracked", "variable", "override", "out"])
def test_what_scores_are_not_sent(train: Train, monkeypatch: Any, tmp_path: Path, how: str) -> None:
    run = train("run.steps=10", f"tracking.wandb.mode={'disabled' if how == 'untracked' else 'auto'}")
    before = sorted(run.path.glob("wandb*/*"))
    assert bool(before) == (how != "untracked")
    if how == "variable":
        monkeypatch.setenv("WANDB_MODE", "disabled")
    changes = {"override": {"tracking.wandb.mode": "disabled"}, "untracked": {"tracking.wandb.mode": "offline"}}
    api.evaluate(run, overrides=changes.get(how, {}), out=tmp_path / "scores.json" if how == "out" else None)
    assert sorted(run.path.glob("wandb*/*")) == before


def test_a_run_in_training_is_left_alone(train: Train, manager: PluginManager, capsys: Any) -> None:
    class Impatient:
        @hookimpl
        def checkpoint_saved(self, run: Any, step: int) -> None:
            if step == 20:
                api.evaluate(api.load_run(run.directory.path, manager=manager))

    manager.pluggy.register(Impatient())
    run = train()
    assert len(parts(run.path)) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "scores" in line]
    assert line.startswith("warning: tracking.wandb: the scores do not get there: ")
    assert "is training in it" in line


def test_a_failure_costs_no_scores(train: Train, capsys: Any) -> None:
    run = train("run.steps=10")
    shutil.rmtree(run.path / "wandb")
    (run.path / "wandb").write_text("a file in place of the folder")
    assert api.evaluate(run).scores["diversity"] > 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert line.startswith("warning: tracking.wandb: the scores do not get there: ")


# A server


@pytest.fixture
def keeping(server: Server) -> Server:
    """A server that keeps artifacts."""
    server.has_artifacts = True
    return server


@pytest.mark.slow
def test_what_a_server_hears(train: Train, keeping: Server, manager: PluginManager) -> None:
    """Artifacts come after the run, forks have a parent, and scores of later come to the run that is there."""
    online = "tracking.wandb.mode=online"
    run = train(online)
    first = record_of(run.path)
    (dataset,) = keeping.used
    assert dataset.startswith("synthetic-")
    api.evaluate(run)
    assert [row["step"] for row in keeping.rows if "score/diversity" in row] == [40]
    assert {each["name"] for each in keeping.runs} == {first["id"]}

    cut(run, 20)
    api.resume(run.path, [LR], manager=manager)
    fork = record_of(run.path)
    config = json.loads(next(each["config"] for each in keeping.runs if each["name"] == fork["id"]))
    assert config["_wandb"]["value"]["branch_point"] == {"run_id": first["id"], "step": 20}
    assert config["parent"]["value"]["url"] == first["url"]
    assert f"run-{first['id']}" in keeping.used


@pytest.mark.slow
def test_a_server_that_forks_no_runs(train: Train, keeping: Server, manager: PluginManager, capsys: Any) -> None:
    run = train("tracking.wandb.mode=online")
    first = record_of(run.path)
    cut(run, 20)
    keeping.forks = False
    capsys.readouterr()
    api.resume(run.path, [LR], manager=manager)
    fork = record_of(run.path)
    assert (fork["mode"], fork["parent"]["id"]) == ("online", first["id"])
    config = json.loads([each["config"] for each in keeping.runs if each["name"] == fork["id"]][-1])
    assert "branch_point" not in config["_wandb"]["value"]
    assert config["parent"]["value"]["step"] == 20
    assert not [line for line in w_and_b(capsys) if "warning" in line]


@pytest.mark.slow
def test_the_checkpoint_of_the_parent_is_what_is_used(train: Train, keeping: Server) -> None:
    online = ("tracking.wandb.mode=online", "tracking.wandb.checkpoints=true", "run.steps=10")
    parent = train(*online)
    train(*online, f"init.from={parent.path}")
    assert f"tiny-{record_of(parent.path)['id']}" in keeping.used
    assert not [name for name in keeping.used if name.startswith("run-")]


class Scored:
    """Scores every checkpoint: the best comes in the middle."""

    @hookimpl
    def step_ended(self, run: Any, step: int) -> None:
        if step % 10 == 0:
            note_directions(run.directory, fid="lower")
            run.fire("metrics_evaluated", step=step, scores={"fid": 10.0 + abs(step - 20)})


BEST = ("tracking.wandb.checkpoints=best", "checkpoint.best=fid")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("registry", "target"),
    [("model", ("wandb-registry-model", "tiny")), ("zoo/digits", ("wandb-registry-zoo", "digits"))],
)
def test_the_best_checkpoint_is_linked(
    train: Train, keeping: Server, manager: PluginManager, registry: str, target: tuple[str, str], capsys: Any
) -> None:
    manager.pluggy.register(Scored())
    train("tracking.wandb.mode=online", f"tracking.wandb.registry={registry}", *BEST)
    (link,) = keeping.links
    assert (link["projectName"], link["artifactPortfolioName"]) == target
    (best,) = [each for each in keeping.artifacts if each["artifactTypeName"] == "model"]
    assert {alias["alias"] for alias in best["aliases"]} == {"step-20", "best", "latest"}
    assert keeping.named(link["artifactID"]) == best["artifactCollectionName"]
    assert not [line for line in w_and_b(capsys) if "warning" in line]


@pytest.mark.parametrize("how", ["offline", "refused"])
def test_a_registry_that_cannot_be_had_costs_one_line(
    train: Train, keeping: Server, manager: PluginManager, capsys: Any, how: str
) -> None:
    manager.pluggy.register(Scored())
    keeping.has_registry = False
    mode = "offline" if how == "offline" else "online"
    run = train(f"tracking.wandb.mode={mode}", "tracking.wandb.registry=model", *BEST)
    assert run.checkpoint.step == 40
    (line,) = [line for line in w_and_b(capsys) if "warning" in line]
    assert 'the checkpoint is not linked to the Registry "model": ' in line
    assert ("tracked offline" in line) == (how == "offline")
    assert f"tiny-{record_of(run.path)['id']}:latest').link('wandb-registry-model/tiny')" in line


def test_a_registry_needs_checkpoints(train: Train) -> None:
    with pytest.raises(api.RecipeError, match=r"tracking\.wandb\.registry: links a checkpoint that is sent"):
        train("tracking.wandb.registry=model")
