from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import observed_gan
import pytest
import wandb
from ganzoo_trackers.wandb import session
from ganzoo_trackers.wandb.session import in_short, key_is_known
from ganzoo_trackers.wandb.tracker import WandbTracker
from PIL import Image
from pydantic import ValidationError
from wandb_reader import Recorded, forget_service, has_begun, kill_service, read
from wandb_server import KEY

import ganzoo.api
from ganzoo.components.observer import RunView
from ganzoo.errors import Interrupted, TrainingError
from ganzoo.observers.standard import MetricsLog, standard_observers
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.training.loop import train
from ganzoo.training.run import ReadOnlyRun, Run

OFFLINE = "tracking.wandb.mode=offline"
AUTO = "tracking.wandb.mode=auto"
ONLINE = "tracking.wandb.mode=online"

Observe = Callable[..., Run]


@pytest.fixture(autouse=True)
def fresh_wandb() -> Iterator[None]:
    """W&B reads the environment once; every test begins with one of its own."""
    wandb.teardown()
    yield
    forget_service()


@pytest.fixture
def observe(build, manager) -> Observe:
    """Train with all observers and those given."""

    def observe(*overrides: str, extra: tuple[object, ...] = ()) -> Run:
        run: Run = build(*overrides)
        run.events.register_standard([*extra, *standard_observers(run)])
        train(run)
        return run

    return observe


def record_of(run: Run) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((run.directory.path / "wandb.json").read_text())
    return result


def recorded(run: Run) -> Recorded:
    wandb.teardown()  # W&B's own process writes the file to its end as it goes, at the latest when the program ends
    record = record_of(run)
    result: Recorded = read(run.directory.path / record["path"] / f"run-{record['id']}.wandb")
    return result


def wandb_lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [line for line in captured.err.splitlines() if "W&B" in line or "wandb" in line.lower()]


def files_with(text: str, folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


class Scores:
    @hookimpl
    def step_ended(self, run: RunView, step: int) -> None:
        for at, fid in ((10, 90.0), (20, 50.0), (25, 70.0)):
            if step == at:
                run.fire("metrics_evaluated", step=step, scores={"fid": fid})


def test_an_offline_run_holds_all_there_is_to_see(observe, capsys) -> None:
    run = observe(OFFLINE, 'tracking.wandb.tags=["mine", "tiny"]', extra=(Scores(),))
    seen, record = recorded(run), record_of(run)

    assert record == {
        "id": seen.run.run_id,
        "name": "tiny/0001",
        "artifact": f"tiny-{seen.run.run_id}",
        "parent": None,
        "settings": record["settings"],
        "step": 40,
        "mode": "offline",
        "project": "ganzoo",
        "entity": None,
        "path": record["path"],
        "url": None,
    }
    assert seen.run.project == "ganzoo"
    assert seen.run.display_name == "tiny/0001"
    assert seen.run.run_group == "tiny"
    assert seen.run.job_type == "train"
    assert list(seen.run.tags) == ["tiny", "non_saturating", "synthetic", "adversarial", "seed:2333", "mine"]

    recipe = run.recipe.to_dict()
    assert {table: seen.config[table] for table in recipe} == recipe
    assert seen.config["facts"]["device"] == "cpu"
    assert seen.config["facts"]["image"] == [3, 8, 8]
    assert seen.config["facts"]["images"] == 32

    rows = run.directory.read_metrics()
    for row in rows:
        sent = next(sent for sent in seen.history if sent["step"] == row["step"])
        own = {"seconds", "epoch"} if "score/fid" in row else {"seconds"}
        assert {key: sent[key] for key in row.keys() - own} == {key: row[key] for key in row.keys() - own}
    assert all(row["step"] == row["_step"] for row in seen.history)
    assert seen.column("score/fid") == [90.0, 50.0, 70.0]
    axes = {metric.name or metric.glob_name: metric for metric in seen.metrics}
    assert axes["step"].options.hidden
    assert {metric.step_metric for metric in seen.metrics if metric.name != "step"} == {"step"}
    assert seen.summary["score/fid"] == {"min": 50.0, "max": 90.0, "last": 70.0}
    for name in ("loss/generator", "gradient_norm/discriminator", "probability/real"):
        values = [row[name] for row in rows if name in row]
        assert seen.summary[name] == {"min": min(values), "max": max(values), "last": values[-1]}
    assert seen.summary["lr/generator"] == rows[-1]["lr/generator"]
    assert seen.artifacts == []

    grids = seen.column("samples/grid/path")
    assert len(grids) == 4
    files = run.directory.path / record["path"] / "files"
    with Image.open(files / grids[-1]) as picture, Image.open(run.directory.samples / "step_0000040.png") as original:
        assert picture.size == original.size
    with Image.open(files / seen.column("samples/evolution/path")[0]) as animation:
        assert animation.n_frames == 4
    assert (files / "recipe.toml").read_text() == (run.directory.path / "recipe.toml").read_text()
    assert "recipe.toml" in seen.files
    assert seen.summary["status"] == "complete"
    assert seen.exit_code == 0
    assert not seen.preempting

    assert wandb_lines(capsys) == [
        f"W&B: the run is tracked offline; upload it with: wandb sync {run.directory.path / record['path']}"
    ]


def test_group_and_job_type_of_the_recipe(observe) -> None:
    run = observe(OFFLINE, "tracking.wandb.group=sweep-1", "tracking.wandb.job_type=baseline", "run.steps=1")
    seen = recorded(run)
    assert (seen.run.run_group, seen.run.job_type) == ("sweep-1", "baseline")


def test_its_id_is_kept_before_wandb_hears_of_it(observe, monkeypatch) -> None:
    begin, kept = wandb.init, []

    def init(*arguments: Any, **options: Any) -> Any:
        path = Path(options["dir"]) / "wandb.json"
        kept.append((json.loads(path.read_text())["id"], options["id"]))
        return begin(*arguments, **options)

    monkeypatch.setattr(wandb, "init", init)
    run = observe(OFFLINE, "run.steps=1")
    assert kept == [(record_of(run)["id"],) * 2]


@pytest.mark.slow
def test_a_resumed_run_keeps_its_id(observe, manager, capsys) -> None:
    run = observe(OFFLINE, "run.steps=20")
    first = record_of(run)
    capsys.readouterr()
    ganzoo.api.resume(run.directory.path, ["run.steps=40"], manager=manager)
    second = record_of(run)
    assert second["id"] == first["id"]
    assert second["path"] != first["path"]
    assert recorded(run).column("step") == [30, 40]
    pattern = f"{run.directory.path}/wandb/offline-run-*-{first['id']}*"
    assert wandb_lines(capsys) == [f"W&B: the run is tracked offline; upload it with: wandb sync {pattern}"]
    assert len(list(Path().glob(pattern))) == 2


@pytest.mark.parametrize(
    ("error", "exit_code", "preempting"), [(TrainingError("nan"), 1, False), (Interrupted(15), 255, True)]
)
def test_the_exit_code_tells_how_the_run_ended(build, error: Exception, exit_code: int, preempting: bool) -> None:
    run, tracker = build(OFFLINE), WandbTracker()
    tracker.run_started(ReadOnlyRun(run))
    run.error = error
    tracker.run_ended(ReadOnlyRun(run))
    seen = recorded(run)
    assert (seen.exit_code, seen.preempting) == (exit_code, preempting)


def test_the_time_to_the_target_is_in_the_summary(build) -> None:
    run, tracker = build(OFFLINE), WandbTracker()
    tracker.run_started(ReadOnlyRun(run))
    run.clock.seconds = 12.5
    run.end_at_target()
    tracker.run_ended(ReadOnlyRun(run))
    seen = recorded(run)
    assert (seen.summary["time_to_target"], seen.summary["status"], seen.exit_code) == (12.5, "reached", 0)


def test_scores_that_come_late_are_kept(build) -> None:
    run, tracker = build(OFFLINE), WandbTracker()
    tracker.run_started(ReadOnlyRun(run))
    tracker.step_ended(10, {"loss/generator": 1.0})
    tracker.step_ended(20, {"loss/generator": 2.0})
    tracker.metrics_evaluated(10, {"fid": 50.0, "broken": float("nan")})
    tracker.run_ended(ReadOnlyRun(run))
    row = next(row for row in recorded(run).history if "score/fid" in row)
    assert (row["step"], row["loss/generator"], row["score/fid"]) == (20, 2.0, 50.0)
    assert "score/broken" not in row


def test_a_score_with_an_asterisk_costs_no_row(observe, capsys) -> None:
    class Starred:
        @hookimpl
        def step_ended(self, run: RunView, step: int) -> None:
            if step in (10, 20):
                run.fire("metrics_evaluated", step=step, scores={"top*5": 1.0 * step, "fid": 2.0, "all*": 3.0})

    seen = recorded(observe(OFFLINE, extra=(Starred(),)))
    rows = [row for row in seen.history if "score/fid" in row]
    assert [(row["step"], row["score/top*5"], row["score/all*"]) for row in rows] == [(10, 10.0, 3.0), (20, 20.0, 3.0)]
    assert seen.summary["score/top*5"] == {"min": 10.0, "max": 20.0, "last": 20.0}
    assert not any("something is missing" in line for line in wandb_lines(capsys))


def test_auto_without_a_key_is_offline_and_asks_nobody(observe, monkeypatch, capsys) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a prompt"))
    run = observe(AUTO, "run.steps=1")
    assert record_of(run)["mode"] == "offline"
    (line,) = wandb_lines(capsys)
    assert line.startswith("W&B: the run is tracked offline; upload it with: wandb sync ")


def test_online_without_a_key_says_what_to_do(observe, capsys) -> None:
    run = observe(ONLINE, "run.steps=1")
    assert record_of(run)["mode"] == "offline"
    (line,) = wandb_lines(capsys)
    assert line.startswith("warning: W&B: the run is tracked offline: no API key is known here, `wandb login`")


def test_the_variable_decides_for_auto_only(observe, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    run = observe(AUTO, "run.steps=1")
    assert not (run.directory.path / "wandb").exists()
    assert not (run.directory.path / "wandb.json").exists()
    assert record_of(observe(OFFLINE, "run.steps=1"))["mode"] == "offline"
    monkeypatch.setenv("WANDB_MODE", "dryrun")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert record_of(observe(AUTO, "run.steps=1"))["mode"] == "offline"


def test_where_a_key_is_looked_for(tmp_path, monkeypatch) -> None:
    assert not key_is_known()
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine example.org login user password {KEY}\n")
    assert not key_is_known()
    netrc.write_text(f"machine api.wandb.ai login user password {KEY}\n")
    assert key_is_known()
    netrc.write_text("not a netrc file")
    assert not key_is_known()
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert key_is_known()


def test_a_key_that_is_none_is_not_the_end(observe, monkeypatch, capsys) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "tooshort")
    run = observe(AUTO, "run.steps=1")
    assert record_of(run)["mode"] == "offline"
    (line,) = wandb_lines(capsys)
    assert line.startswith("warning: W&B: the run is tracked offline: WANDB_API_KEY invalid")


@pytest.mark.parametrize("name", ["mode", "init_timeout"])
def test_a_wrong_setting_is_told_with_its_variable_and_without_its_value(name: str, monkeypatch):
    wrong = "LIKE-A-KEY"
    with pytest.raises(ValidationError) as error:
        wandb.Settings(**{name: wrong})
    told = in_short(error.value)
    assert told.startswith(f"its setting {name} is wrong: Input should be ")
    assert wrong not in told
    assert "variable" not in told
    monkeypatch.setenv(f"WANDB_{name.upper()}", wrong)
    assert in_short(error.value) == f"{told}: correct or unset the variable WANDB_{name.upper()}"


def test_files_that_cannot_be_written_turn_tracking_off(build, manager, capsys) -> None:
    run = build(OFFLINE)
    (run.directory.path / "wandb").write_text("a file in place of the folder")
    run.events.register_standard([MetricsLog(), WandbTracker()])
    train(run)
    assert run.step == 40
    (line,) = wandb_lines(capsys)
    assert line.startswith("warning: W&B: tracking is off: ")
    assert str(run.directory.metrics) in line


def test_a_failing_service_costs_one_line_and_no_step(build, manager, capsys) -> None:
    class Murder:
        @hookimpl
        def step_ended(self, step: int) -> None:
            if step == 15:
                tracker._starting.join()
                tracker._tracked.log = explode  # type: ignore[union-attr, method-assign]

    def explode(*args: object, **kwargs: object) -> None:
        raise ConnectionResetError("Connection lost")

    run, tracker = build(OFFLINE), WandbTracker()
    run.events.register_standard([MetricsLog(), tracker, Murder()])
    train(run)
    assert [row["step"] for row in run.directory.read_metrics()] == [10, 20, 30, 40]
    lines = [line for line in wandb_lines(capsys) if line.startswith("warning")]
    assert lines == ["warning: W&B: something is missing there, the run goes on: Connection lost"]


def test_a_run_reaches_a_server_and_its_key_stays_where_it_was(observe, server, monkeypatch, tmp_path, capsys) -> None:
    server.has_artifacts = True
    run = observe(AUTO, extra=(Scores(),))
    record = record_of(run)
    assert record["mode"] == "online"
    assert record["entity"] == "somebody"
    assert server.runs[0]["name"] == record["id"]
    assert server.runs[0]["displayName"] == "tiny/0001"
    config = json.loads(server.runs[0]["config"])
    assert config["generator"]["value"] == run.recipe.to_dict()["generator"]
    assert [row["step"] for row in server.rows if "loss/generator" in row] == [10, 20, 30, 40]
    assert wandb_lines(capsys) == [f"W&B: {server.url}/somebody/ganzoo/runs/{record['id']}"]
    assert files_with(KEY, tmp_path) == []


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_the_server_refuses(observe, server, capsys, status: int) -> None:
    server.status = status
    run = observe(AUTO, "run.steps=1")
    record = record_of(run)
    assert record["mode"] == "offline"
    (line,) = wandb_lines(capsys)
    assert line.startswith("warning: W&B: the run is tracked offline: ")
    assert [path.name for path in (run.directory.path / "wandb").iterdir()] == [Path(record["path"]).name]


@pytest.mark.slow
def test_a_server_that_goes_away_costs_no_step(observe, server, monkeypatch, capsys) -> None:
    class Gone:
        @hookimpl
        def run_started(self, run: RunView) -> None:
            self.run = run

        @hookimpl
        def step_ended(self, step: int) -> None:
            while step == 15 and not has_begun(self.run.directory.path):  # until W&B has begun
                time.sleep(0.02)
            server.gone = step >= 15

    monkeypatch.setattr(session, "FINISH_SECONDS", 2.0)
    started = time.monotonic()
    run = observe(AUTO, extra=(Gone(),))
    assert time.monotonic() - started < 20
    assert len(run.directory.read_metrics()) == 4
    online, last = wandb_lines(capsys)
    files = run.directory.path.resolve() / record_of(run)["path"]
    assert online.startswith("W&B: http://")
    assert last == f"warning: W&B: the server does not take the last rows; upload them with: wandb sync {files}"
    file, losses = (
        files / f"run-{record_of(run)['id']}.wandb",
        [row["loss/generator"] for row in run.directory.read_metrics()],
    )
    while read(file).column("loss/generator") != losses:
        assert time.monotonic() - started < 30
        time.sleep(0.1)
    kill_service()


@pytest.mark.slow
def test_a_server_that_is_not_there(observe, monkeypatch, capsys) -> None:
    monkeypatch.setattr(session, "START_SECONDS", 1.0)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    run = observe(AUTO)
    assert record_of(run)["mode"] == "offline"
    assert recorded(run).column("loss/generator") == [row["loss/generator"] for row in run.directory.read_metrics()]
    (line,) = wandb_lines(capsys)
    assert line.startswith("warning: W&B: the run is tracked offline: ")


PROGRAM = """
import importlib.util, sys, time
import ganzoo.api
from ganzoo.components.observer import RunView
from ganzoo_trackers.wandb.tracker import WandbTracker
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.registry.plugin_manager import PluginManager

spec = importlib.util.spec_from_file_location("conftest", sys.argv[1])
conftest = importlib.util.module_from_spec(spec)
spec.loader.exec_module(conftest)
manager = conftest.tiny_manager()

start = WandbTracker.run_started
def timed(self, run):
    before = time.monotonic()
    start(self, run)
    print("start", time.monotonic() - before)
WandbTracker.run_started = hookimpl(timed)
run = ganzoo.api.run(conftest.tiny_recipe() | {"tracking": {"wandb": {"mode": "auto"}}}, manager=manager)
print("run", run.path)
print("ended", time.time())
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["closed", "silent"])
def test_how_long_an_absent_server_delays_a_run_and_its_exit(tmp_path, kind: str) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if kind == "silent":
            listener.listen()
        port = listener.getsockname()[1]
        environment = {**os.environ, "WANDB_BASE_URL": f"http://127.0.0.1:{port}", "WANDB_API_KEY": KEY}
        del environment["WANDB_ERROR_REPORTING"]
        result = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(PROGRAM), observed_gan.__file__],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
        )
        left = time.time()
    told = dict(line.split(" ", 1) for line in result.stdout.splitlines())
    assert float(told["start"]) < 1
    assert left - float(told["ended"]) < 10
    assert len((tmp_path / told["run"] / "metrics.jsonl").read_text().splitlines()) == 4
    assert len([line for line in result.stderr.splitlines() if "W&B" in line]) == 1
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_an_interrupt_from_the_terminal_leaves_a_whole_file(tmp_path) -> None:
    """Ctrl-C goes to every process of the terminal's group, W&B's own included."""
    program = PROGRAM.replace(
        "conftest.tiny_recipe()", 'conftest.tiny_recipe() | {"run": {"name": "tiny", "steps": 10**6}}'
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, observed_gan.__file__],
        env={**os.environ, "WANDB_MODE": "offline"},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        cwd=tmp_path,
        start_new_session=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("step "):
            break
    while not has_begun(tmp_path / "runs/tiny/0001"):
        time.sleep(0.1)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert "interrupted at step" in err
    (path,) = (tmp_path / "runs/tiny/0001/wandb").glob("offline-run-*/*.wandb")
    seen = read(path)
    rows = [json.loads(line) for line in (tmp_path / "runs/tiny/0001/metrics.jsonl").read_text().splitlines()]
    assert seen.column("loss/generator") == [row["loss/generator"] for row in rows]
    assert (seen.exit_code, seen.preempting) == (255, True)
