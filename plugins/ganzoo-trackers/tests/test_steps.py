"""TensorBoard, Trackio and MLflow: what each wrote is read back by its own library, of a resumed run too."""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ganzoo_trackers.configs import MLflowConfig, TrackioConfig

from ganzoo import api
from ganzoo.plugin import Alert, RunView, hookimpl
from ganzoo.sampling.trained_run import TrainedRun

CURVE = "loss/generator"


@dataclass
class Seen:
    """What a library gives back of a run."""

    scalars: dict[str, list[tuple[int, float]]]
    grids: list[int]
    film: int
    """Number of films."""
    recipe: str
    alerts: str
    ended: str = ""
    about: dict[str, Any] = field(default_factory=dict)


def read_tensorboard(run: TrainedRun) -> Seen:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.path / "tensorboard"), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    tags = events.Tags()
    films = events.Images("samples/evolution")
    assert all(film.encoded_image_string.startswith(b"GIF8") for film in films)
    return Seen(
        {name: [(event.step, event.value) for event in events.Scalars(name)] for name in tags["scalars"]},
        [event.step for event in events.Images("samples/grid")],
        len(films),
        events.Tensors("recipe/text_summary")[-1].tensor_proto.string_val[0].decode(),
        events.Tensors("alert/text_summary")[-1].tensor_proto.string_val[0].decode(),
    )


def read_trackio(run: TrainedRun) -> Seen:
    from trackio import SQLiteStorage

    record = json.loads((run.path / "trackio.json").read_text())
    rows = SQLiteStorage.get_logs(record["project"], record["name"])
    numbers = [(name, row["step"], value) for row in rows for name, value in row.items() if isinstance(value, float)]
    (about,) = [each for each in SQLiteStorage.get_run_records("ganzoo") if each["name"] == record["name"]]
    config = SQLiteStorage.get_run_config("ganzoo", record["name"])
    return Seen(
        {name: [(step, value) for other, step, value in numbers if other == name] for name, _, _ in numbers},
        [row["step"] for row in rows if "samples/grid" in row],
        sum("samples/evolution" in row for row in rows),
        json.dumps(config),
        str(SQLiteStorage.get_alerts("ganzoo", run_name=record["name"])),
        about={"group": config["_Group"], **about},
    )


def read_mlflow(run: TrainedRun) -> Seen:
    from mlflow import MlflowClient

    client, number = MlflowClient(), json.loads((run.path / "mlflow.json").read_text())["run_id"]
    there = client.get_run(number)
    histories = {name: client.get_metric_history(number, name) for name in there.data.metrics}
    pictures = [file.path for file in client.list_artifacts(number, "images") if file.path.endswith(".png")]
    assert client.list_artifacts(number, "")
    return Seen(
        {
            name: [(each.step, each.value) for each in sorted(of, key=lambda m: m.step)]
            for name, of in histories.items()
        },
        sorted(int(path.replace("%", "+").split("+")[2]) for path in pictures),
        len(client.list_artifacts(number, "samples")),
        json.dumps(there.data.params),
        str(there.data.tags),
        there.info.status,
        {"name": there.info.run_name},
    )


READERS = {"tensorboard": read_tensorboard, "trackio": read_trackio, "mlflow": read_mlflow}


class Alarm:
    """Scores a step, and raises an alert at another."""

    @hookimpl
    def step_ended(self, run: RunView, step: int) -> None:
        if step == 2:
            run.fire("metrics_evaluated", step=step, scores={"fd_classifier": 12.5})
            run.fire("alert_raised", step=step, alert=Alert("samples_alike", "all look the same", "more data"))


@pytest.fixture(autouse=True, scope="session")
def _own_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep Trackio out of the user's folder; it reads the variable when it is imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACKIO_DIR", str(tmp_path_factory.mktemp("trackio")))
        yield


@pytest.fixture
def recipe(tables: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """A recipe that is tracked by this one alone, below `tmp_path`; skips where its library is not installed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def with_tracker(name: str) -> dict[str, Any]:
        pytest.importorskip(name)
        if name == "mlflow":
            pytest.importorskip("sqlalchemy")
        tables["samples"] |= {"every": 2, "gif": True}
        tables["evaluation"] = {"samples": 8, "metrics": ["diversity"]}
        tables["tracking"][name] = {}
        return tables

    return with_tracker


@pytest.mark.parametrize("name", ["tensorboard", "trackio", pytest.param("mlflow", marks=pytest.mark.slow)])
def test_reading_back(name: str, recipe: Callable[[str], dict[str, Any]], capsys: pytest.CaptureFixture[str]):
    first = api.run(recipe(name), observers=[Alarm()])
    seen = READERS[name](first)
    rows = [row for row in first.metrics if CURVE in row]
    assert [step for step, _ in seen.scalars[CURVE]] == [2, 4, 6]
    assert [value for _, value in seen.scalars[CURVE]] == pytest.approx([row[CURVE] for row in rows])
    assert seen.scalars["score/fd_classifier"] == [(2, 12.5)]
    assert seen.scalars.keys() >= {key for row in rows for key in row} - {"step", "seconds"}
    assert (seen.grids, seen.film) == ([2, 4, 6], 1)
    assert "non_saturating" in seen.recipe
    assert "all look the same. Try more data." in seen.alerts
    assert seen.ended in ("", "FINISHED")
    assert capsys.readouterr().out == ""

    # As if killed after step 5: the last checkpoint is of step 3, and what follows is repeated.
    last = first.checkpoint.path
    last.rename(last.with_name("away"))
    whole = api.resume(first.path, ["run.steps=10"])
    seen = READERS[name](whole)
    assert [step for step, _ in seen.scalars[CURVE]] == [2, 4, 6, 8, 10]
    rows = [row for row in whole.metrics if CURVE in row]
    assert [value for _, value in seen.scalars[CURVE]] == pytest.approx([row[CURVE] for row in rows])
    assert seen.grids == [2, 4, 6, 8, 10]
    assert capsys.readouterr().out == ""

    # Scores of later are added to it.
    score = api.evaluate(whole).scores["diversity"]
    api.evaluate(whole, 9)
    scored = READERS[name](whole)
    assert scored.scalars["score/diversity"] == [(10, pytest.approx(score))]
    assert [step for step, _ in scored.scalars["score.samples_9/diversity"]] == [10]
    assert scored.scalars[CURVE] == seen.scalars[CURVE]
    assert (scored.ended, scored.about) == (seen.ended, seen.about)
    assert scored.recipe.partition('"_Created"')[0] == seen.recipe.partition('"_Created"')[0]  # Trackio's own date
    assert capsys.readouterr().err.count("the scores do not get there") == 0


@pytest.mark.parametrize("name", ["tensorboard", "trackio", pytest.param("mlflow", marks=pytest.mark.slow)])
def test_a_run_that_goes_on_with_other_options_shows_its_own_figures(
    name: str, recipe: Callable[[str], dict[str, Any]]
):
    first = api.run(recipe(name), observers=[Alarm()])
    before = READERS[name](first) if name != "tensorboard" else None
    file = first.path / f"{name}.json"
    record = file.read_bytes() if before else b""
    last = first.checkpoint.path
    last.rename(last.with_name("away"))  # of step 6; the last one left is of step 3
    fork = api.resume(first.path, {"trainer.generator_optimizer.lr": 0.5})
    seen = READERS[name](fork)
    rows = [row for row in fork.metrics if "lr/generator" in row]
    assert [row["lr/generator"] for row in rows] == [2e-4, 0.5, 0.5]
    if before is None:  # where the new figures replace those of the same steps
        assert [value for _, value in seen.scalars["lr/generator"]] == pytest.approx([2e-4, 0.5, 0.5])
        return
    assert seen.scalars["lr/generator"] == [(4, 0.5), (6, 0.5)]
    assert seen.grids == [4, 6]
    assert seen.about["name"].endswith("-from-step-3" if name == "trackio" else " from step 3")
    parent = json.loads(record)["name" if name == "trackio" else "run_id"]
    assert parent in seen.recipe
    assert json.loads(file.read_bytes()) != json.loads(record)
    fork_record = file.read_bytes()
    file.write_bytes(record)
    assert READERS[name](first) == before  # the other one stays as it was
    file.write_bytes(fork_record)

    # From its last step on it is the same run, even with other options.
    again = READERS[name](api.resume(first.path, ["run.steps=8", "trainer.generator_optimizer.lr=0.25"]))
    assert again.scalars["lr/generator"] == [(4, 0.5), (6, 0.5), (8, 0.25)]
    assert again.about["name"] == seen.about["name"]


class Odd:
    """Logs figures whose names MLflow refuses."""

    @hookimpl
    def step_ended(self, run: RunView, step: int) -> None:
        if step % 2 == 0:
            run.log({"width//größe (%)": float(step), "depth": 1.0, "w" * 300: 2.0})


@pytest.mark.slow
def test_mlflow_takes_figures_of_any_name(recipe: Callable[[str], dict[str, Any]], capfd: pytest.CaptureFixture[str]):
    tables = recipe("mlflow")
    tables["tracking"]["mlflow"] = {"tags": {"a <b>": "c"}}  # an option too, and so a parameter
    first = api.run(tables, observers=[Odd()])
    last = first.checkpoint.path
    last.rename(last.with_name("away"))  # what follows step 3 is repeated
    seen = read_mlflow(api.resume(first.path, observers=[Odd()]))
    assert seen.scalars["width/größe ___"] == [(2, 2.0), (4, 4.0), (6, 6.0)]
    assert [step for step, _ in seen.scalars["w" * 250]] == [2, 4, 6]
    assert seen.scalars["depth"] == [(2, 1.0), (4, 1.0), (6, 1.0)]
    assert [step for step, _ in seen.scalars[CURVE]] == [2, 4, 6]
    assert '"tracking.mlflow.tags.a _b_": "c"' in seen.recipe
    assert "ERROR" not in capfd.readouterr().err


class Damage:
    """Overwrites MLflow's file in the middle of a run."""

    @hookimpl
    def step_ended(self, step: int) -> None:
        if step == 2:
            Path("mlflow.db").write_bytes(b"damaged" * 5000)


@pytest.mark.slow
def test_mlflow_that_fails_later_ends_the_tracking_with_a_warning(
    recipe: Callable[[str], dict[str, Any]], capfd: pytest.CaptureFixture[str]
):
    tables = recipe("mlflow")
    tables["samples"]["every"] = 100
    run = api.run(tables, observers=[Damage()])
    err = capfd.readouterr().err
    assert run.checkpoint.step == 6
    assert err.count("warning: the observer MLflowTracker failed in") == 1
    assert "file is not a database" in err
    assert "ERROR" not in err


@pytest.mark.slow
def test_trackio_leaves_stdout_and_the_current_run_to_the_program(recipe: Callable[[str], dict[str, Any]]):
    script = (
        "import json, sys, trackio; from ganzoo import api; mine = trackio.init('mine', embed=False);"
        "api.run(json.loads(sys.argv[1])); assert trackio.context_vars.current_run.get() is mine; trackio.finish();"
        "print('result')"
    )
    program = [sys.executable, "-c", script, json.dumps(recipe("trackio"))]
    ended = subprocess.run(program, capture_output=True, text=True, check=True)
    assert ended.stdout.count("Run finished") == 1  # of the program's own run, before its result
    assert ended.stdout.endswith("result\n")


@pytest.mark.slow
@pytest.mark.parametrize("uri", [None, "sqlite:///mine.db"])
def test_mlflow_is_found_again_from_another_folder(
    recipe: Callable[[str], dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str | None
):
    tables = recipe("mlflow")
    tables["tracking"]["mlflow"] = {} if uri is None else {"uri": uri}
    first = api.run(tables)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    whole = api.resume(first.path, ["run.steps=8"])
    score = api.evaluate(whole).scores["diversity"]
    assert list(Path().iterdir()) == []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri or "sqlite:///mlflow.db")
    seen = read_mlflow(whole)
    assert [step for step, _ in seen.scalars[CURVE]] == [2, 4, 6, 8]
    assert seen.scalars["score/diversity"] == [(8, pytest.approx(score))]


def test_runs_that_begin_together_lay_out_mlflows_file_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    from ganzoo_trackers.mlflow import connect, experiment

    def begin() -> None:
        start.wait()
        experiment(connect(f"sqlite:///{tmp_path / 'new.db'}"), "ganzoo")

    fork = multiprocessing.get_context("fork")
    start = fork.Barrier(3)
    runs = [fork.Process(target=begin) for _ in range(3)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [run.exitcode for run in runs] == [0, 0, 0]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["tensorboard", "trackio", pytest.param("mlflow", marks=pytest.mark.slow)])
def test_scores_of_a_run_that_was_not_tracked_go_nowhere(name: str, recipe: Callable[[str], dict[str, Any]]):
    tables = recipe(name)
    del tables["tracking"][name]
    run = api.run(tables, ["run.steps=1"])
    before = sorted(run.path.glob(f"{name}*"))
    assert api.evaluate(run, overrides={f"tracking.{name}": {}}).scores
    assert sorted(run.path.glob(f"{name}*")) == before == []


@pytest.mark.parametrize("name", ["tensorboard", "trackio", pytest.param("mlflow", marks=pytest.mark.slow)])
def test_the_time_to_the_target(name: str, recipe: Callable[[str], dict[str, Any]]):
    tables = recipe(name)
    tables["run"]["target"] = {"score": "fd_classifier", "below": 20.0}
    tables["evaluation"] = {"every": 100, "samples": 16, "metrics": ["frechet"]}
    run = api.run(tables, observers=[Alarm()])  # scores 12.5 at step 2
    (row,) = [row for row in run.metrics if "score/fd_classifier" in row]
    seen = READERS[name](run)
    assert seen.scalars["time_to_target"] == [(2, pytest.approx(row["seconds"]))]
    assert seen.ended in ("", "FINISHED")


@pytest.mark.parametrize("name", READERS)
def test_without_its_library_one_line_says_what_to_install(
    name: str, tables: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    find = importlib.util.find_spec
    monkeypatch.setattr("ganzoo_trackers.steps.find_spec", lambda asked: None if asked == name else find(asked))
    tables["tracking"][name] = {}
    with pytest.raises(api.RequestError) as caught:
        api.run(tables)
    assert str(caught.value) == (f"tracking.{name}: needs {name}: pip install {name}, or leave out [tracking.{name}]")


def test_runs_of_a_sweep():
    assert TrackioConfig().sweep_options("losses", "hinge") == {"group": "losses"}
    tagged = MLflowConfig(tags={"mine": "1"}).sweep_options("losses", "hinge", ["loss.name=hinge"])
    assert tagged == {"tags": {"mine": "1", "sweep": "losses", "variant": "hinge"}}
