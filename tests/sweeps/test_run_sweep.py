"""Sweeps with real processes: stopped, killed, gone on with, widened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

import ganzoo
from ganzoo.errors import GanzooError, RequestError, RunDirectoryError
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.storage.run_directory import HOLDER, RunDirectory, run_lock
from ganzoo.sweeps import child_processes as processes
from ganzoo.sweeps import run_sweep
from ganzoo.sweeps.child_processes import Job
from ganzoo.sweeps.directory import Member, SweepDirectory
from ganzoo.sweeps.display import SweepDisplay, progress
from ganzoo.sweeps.plan import make_plan

Tables = dict[str, Any]
Start = Callable[..., subprocess.Popen[str]]
LR = "trainer.generator_optimizer"
STEPS = 200


@pytest.fixture
def words(recipe_file: Callable[[Tables], Path], tables: Tables) -> list[str]:
    """The command of a sweep of two losses."""
    tables["run"] |= {"steps": STEPS, "log_every": 1}
    tables["samples"]["every"] = 1000
    return ["sweep", str(recipe_file(tables)), "--vary", "loss.name=hinge,wasserstein"]


def state(path: Path) -> dict[str, tuple[str, str]]:
    """Status and run directory of each run."""
    rows = json.loads((path / "sweep.json").read_text())["runs"]
    return {f"{row['variant']} {row['seed']}": (row["status"], row["run"]) for row in rows}


def wait_for(path: Path, child: subprocess.Popen[str], lines: int = 1) -> None:
    deadline = time.monotonic() + 240
    while not path.is_file() or len(path.read_bytes().splitlines()) < lines:
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_interrupted_gone_on_with_and_widened(forked: Start, words: list[str], tables: Tables):
    sweep = Path(tables["run"]["root"]) / "tiny-sweep"
    child = forked(*words)
    wait_for(sweep / "hinge/0001/metrics.jsonl", child, 5)
    training = json.loads((sweep / "hinge/0001" / HOLDER).read_text())["pid"]
    os.kill(training, signal.SIGSTOP)  # it is not to end meanwhile
    second = forked(*words)  # another process cannot run the same sweep
    out, err = second.communicate(timeout=240)
    assert second.returncode == 2, err
    assert f"process {child.pid} is training in it" in err
    child.send_signal(signal.SIGINT)
    os.kill(training, signal.SIGCONT)
    out, err = child.communicate(timeout=120)
    assert (child.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert err.endswith("stopped by SIGINT with 0 of 2 runs complete; the same command goes on\n")
    assert state(sweep) == {"hinge 7": ("interrupted", "hinge/0001"), "wasserstein 7": ("waiting", "")}
    stopped = json.loads((sweep / "hinge/0001/summary.json").read_text())
    assert stopped["status"] == "interrupted"
    assert 5 <= stopped["steps"] < STEPS

    child = forked(*words)
    out, err = child.communicate(timeout=240)
    assert (child.returncode, out) == (0, f"{sweep}\n"), err
    assert "hinge seed 7: goes on" in err
    assert "wasserstein seed 7: starts" in err
    assert state(sweep) == {
        "hinge 7": ("complete", "hinge/0001"),
        "wasserstein 7": ("complete", "wasserstein/0001"),
    }
    assert [row["step"] for row in RunDirectory(sweep / "hinge/0001").read_metrics()] == list(range(1, STEPS + 1))
    recipe = RunDirectory(sweep / "wasserstein/0001").read_recipe()
    wandb = recipe["tracking"]["wandb"]
    assert (wandb["group"], wandb["job_type"]) == ("tiny-sweep", "wasserstein")
    assert wandb["tags"] == ["sweep:tiny-sweep", "loss.name=wasserstein"]

    before = {path: path.stat().st_mtime_ns for path in sweep.glob("*/0001/summary.json")}
    child = forked(*words, "--seeds", "2")
    out, err = child.communicate(timeout=240)
    assert child.returncode == 0, err
    assert "4 runs, 2 variants; 2 are complete" in err
    assert {path: path.stat().st_mtime_ns for path in sweep.glob("*/0001/summary.json")} == before
    assert state(sweep)["hinge 8"] == ("complete", "hinge/0002")


@pytest.mark.slow
def test_a_run_that_is_killed_and_one_that_fails_do_not_end_the_sweep(forked: Start, words: list[str], tables: Tables):
    sweep = Path(tables["run"]["root"]) / "tiny-sweep"
    failing = '{name="sgd", lr=9e18}'
    words = [*words[:2], "--vary", f'{LR}={{name="adam"}},{failing}', "--seeds", "2", "--jobs", "2"]
    child = forked(*words)
    wait_for(sweep / "adam/0001/metrics.jsonl", child, 5)
    os.kill(json.loads((sweep / "adam/0001" / HOLDER).read_text())["pid"], signal.SIGKILL)
    out, err = child.communicate(timeout=240)
    assert (child.returncode, out) == (1, f"{sweep}\n")
    assert "1 of 4 runs are complete" in err
    assert "adam seed 7: killed by SIGKILL, as systems do when memory runs out" in err
    assert "sgd-lr-9e18 seed 8: step " in err
    assert {name: status for name, (status, _) in state(sweep).items()} == {
        "adam 7": "failed",
        "sgd-lr-9e18 7": "failed",
        "adam 8": "complete",
        "sgd-lr-9e18 8": "failed",
    }
    log = (sweep / "logs/adam-7.log").read_text()
    assert f"step 1/{STEPS}" in log

    again = forked(*words)
    assert "1 of 4 runs are complete" in again.communicate(timeout=240)[1]
    assert (sweep / "logs/adam-7.log").read_text() == log  # failed runs are left alone

    retried = forked(*words, "--retry-failed")
    assert "2 of 4 runs are complete" in retried.communicate(timeout=240)[1]
    assert state(sweep)["adam 7"] == ("complete", "adam/0001")
    steps = [row["step"] for row in RunDirectory(sweep / "adam/0001").read_metrics()]
    assert steps == list(range(1, STEPS + 1))  # gone on with, in the same directory


@pytest.mark.slow
def test_from_python_with_a_plugin_file_of_its_own(tables: Tables, tmp_path: Path):
    (tmp_path / "calm.py").write_text(
        "from ganzoo.builtin.losses import Hinge\nfrom ganzoo.registry.hookspecs import hookimpl\n\n\n"
        "class Calm(Hinge):\n    'The hinge loss by another name.'\n\n\n"
        "@hookimpl\ndef register_losses(register):\n    register('calm', Calm)\n"
    )
    tables["plugins"] = {"files": [str(tmp_path / "calm.py")]}
    swept = ganzoo.sweep(tables, {"loss.name": ["calm"], "generator.width": [4]}, ["run.steps=2"], name="mine")
    assert swept.path == Path(tables["run"]["root"]) / "mine"
    assert [(str(run), run.status, run.run) for run in swept.runs] == [
        ("calm-width-4 seed 7", "complete", "calm-width-4/0001")
    ]
    assert ganzoo.load_run(swept.path / swept.runs[0].run, trust_plugins=True).checkpoint.step == 2


class Ended:
    """A process that has ended."""

    def __init__(self, code: int) -> None:
        self.returncode = code

    def poll(self) -> int:
        return self.returncode

    def wait(self) -> int:
        return self.returncode


class Faked:
    """Children that leave what a run would leave, at once."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.endings: dict[str, tuple[int, str | None, str]] = {}

    def __call__(self, sweep: SweepDirectory, member: Member, environment: dict[str, str], *_: object) -> Job:
        code, status, said = self.endings.get(str(member), (0, "complete", ""))
        self.started.append(f"{member} {environment}" if environment else str(member))
        run = sweep.find_run(member)
        path = run.path if run else sweep.path / member.variant / f"{member.seed:04d}"
        path.mkdir(parents=True, exist_ok=True)
        (path / "recipe.toml").write_text(f"[run]\nseed = {member.seed}\nsteps = 2\n")
        (path / "summary.json").write_text(json.dumps({"status": status}) if status else "")
        sweep.log(member).write_text(said)
        return Job(member, Ended(code), sweep.log(member), time.monotonic(), environment, run)  # type: ignore[arg-type]


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> Faked:
    faked = Faked()
    monkeypatch.setattr(run_sweep, "start", faked)
    monkeypatch.setattr(run_sweep, "POLL_SECONDS", 0.0)
    return faked


class TestDecisions:
    def test_what_runs_again_and_what_does_not(self, faked: Faked, tables: Tables):
        vary = {"loss.name": ["hinge", "wasserstein", "minimax", "non_saturating"]}
        faked.endings = {
            "wasserstein seed 7": (1, "failed", "step 1\nerror: step 1: not finite\n  lower the rate\n"),
            "minimax seed 7": (143, "interrupted", ""),
            "non_saturating seed 7": (-9, None, "step 1"),
        }
        swept = ganzoo.sweep(tables, vary)
        assert [(member.status, member.error) for member in swept.runs] == [
            ("complete", ""),
            ("failed", "step 1: not finite\n  lower the rate"),
            ("interrupted", ""),
            ("failed", "killed by SIGKILL, as systems do when memory runs out"),
        ]
        assert [str(member) for member in swept.unfinished] == ["minimax seed 7"]
        faked.started, faked.endings = [], {}
        ganzoo.sweep(tables, vary)
        assert faked.started == ["minimax seed 7"]
        swept = ganzoo.sweep(tables, vary, retry_failed=True)
        assert faked.started[1:] == ["wasserstein seed 7", "non_saturating seed 7"]
        assert not swept.failed
        faked.started = []
        ganzoo.sweep(tables, vary, retry_failed=True)
        assert faked.started == []

    def test_a_sweep_that_was_killed_finds_its_runs(self, faked: Faked, tables: Tables):
        """Its state may be behind what its runs have done since."""
        swept = ganzoo.sweep(tables, {"loss.name": ["hinge", "minimax"]})
        sweep = SweepDirectory.open(swept.path)
        for member in sweep.runs:
            member.status, member.run, member.seconds = "running", "", 100.0
        sweep.save()
        (swept.path / "minimax/0007/summary.json").unlink()
        faked.started = []
        swept = ganzoo.sweep(tables, {"loss.name": ["hinge", "minimax"]})
        assert faked.started == ["minimax seed 7"]
        assert [member.run for member in swept.runs] == ["hinge/0007", "minimax/0007"]
        assert [int(member.seconds) for member in swept.runs] == [100, 100]  # of all attempts

    def test_a_run_that_another_process_trains_is_left_alone(self, faked: Faked, tables: Tables):
        swept = ganzoo.sweep(tables, {})
        run = RunDirectory.open(swept.path / swept.runs[0].run)
        with run_lock(run):
            swept = ganzoo.sweep(tables, {}, seeds=2)
        assert [member.status for member in swept.runs] == ["running", "complete"]
        assert [str(member) for member in swept.unfinished] == ["tiny seed 7"]

    @pytest.mark.skipif(sys.platform == "win32", reason="no lock passes to a child process")
    def test_a_run_that_a_killed_sweep_began_is_not_begun_again(
        self, faked: Faked, tables: Tables, manager: PluginManager, monkeypatch: pytest.MonkeyPatch
    ):
        """Its process may take a while until it has its run directory."""
        path, plan = Path(tables["run"]["root"]) / "tiny-sweep", make_plan(tables, {}, 2, (), manager)
        sweep = SweepDirectory.prepare(path, plan)
        sweep.lay_out()
        begin = partial(subprocess.Popen, ["sleep", "60"])
        monkeypatch.setattr(processes.subprocess, "Popen", lambda words, **options: begin(**options))
        job = processes.start(sweep, sweep.runs[0], {}, False, {})
        swept = ganzoo.sweep(tables, {}, seeds=2)
        assert faked.started == ["tiny seed 8"]
        assert [str(member) for member in swept.unfinished] == ["tiny seed 7"]
        assert swept.unfinished[0].status == "running"
        job.process.kill()
        job.process.wait()
        assert [member.status for member in ganzoo.sweep(tables, {}, seeds=2).runs] == ["complete", "complete"]

    @pytest.mark.parametrize(
        ("sent", "passed_on"),
        [
            ([(signal.SIGINT, signal.SIGINT)], [signal.SIGINT, signal.SIGKILL]),
            ([(signal.SIGTERM,), (signal.SIGINT,)], [signal.SIGTERM, signal.SIGKILL]),
            ([(signal.SIGTERM,), (signal.SIGTERM,)], [signal.SIGTERM]),
            ([(signal.SIGHUP,), (signal.SIGHUP,)], [signal.SIGTERM]),
        ],
        ids=["int-int", "term-int", "term-term", "hup-hup"],
    )
    def test_further_signals(
        self, tables: Tables, monkeypatch: pytest.MonkeyPatch, sent: list[tuple[int, ...]], passed_on: list[int]
    ):
        """A second Ctrl-C ends the runs; `timeout` and a terminal that closes send one signal twice."""
        got: list[int] = []

        class Training(Ended):
            polls = 0

            def poll(self) -> int | None:  # type: ignore[override]
                self.polls += 1
                for number in sent.pop(0) if sent else ():
                    signal.raise_signal(number)
                return self.returncode if self.polls > 5 else None

            def send_signal(self, number: int) -> None:
                got.append(number)

            def kill(self) -> None:
                self.send_signal(signal.SIGKILL)

        def begin(sweep: SweepDirectory, member: Member, environment: dict[str, str], *_: object) -> Job:
            return Job(member, Training(143), sweep.log(member), 0.0, environment)  # type: ignore[arg-type]

        monkeypatch.setattr(run_sweep, "start", begin)
        monkeypatch.setattr(run_sweep, "POLL_SECONDS", 0.0)
        before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup ignores
        try:
            with pytest.raises(GanzooError, match=f"stopped by {signal.Signals(sent[0][0]).name}"):
                ganzoo.sweep(tables, {})
        finally:
            signal.signal(signal.SIGHUP, before)
        assert got == passed_on

    @pytest.fixture
    def six_gpus(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr("torch.cuda.device_count", lambda: 6)

    @pytest.mark.usefixtures("six_gpus")
    def test_jobs_share_the_machine(self, faked: Faked, tables: Tables, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
        ganzoo.sweep(tables, {}, seeds=4, jobs=2, gpus=["3", "5"])
        shared = "'OMP_NUM_THREADS': '4', 'CUDA_VISIBLE_DEVICES':"
        assert faked.started == [
            f"tiny seed {seed} {{{shared} '{gpu}'}}" for seed, gpu in ((7, 3), (8, 5), (9, 3), (10, 5))
        ]

    @pytest.mark.usefixtures("six_gpus")
    def test_each_gpu_has_a_job(self, faked: Faked, tables: Tables):
        ganzoo.sweep(tables, {}, seeds=3, gpus=["3", "5"])
        assert [entry.partition("VISIBLE_DEVICES': ")[2] for entry in faked.started] == ["'3'}", "'5'}", "'3'}"]

    @pytest.mark.usefixtures("six_gpus")
    def test_one_run_is_told_as_one(self, faked: Faked, tables: Tables, capsys: pytest.CaptureFixture[str]):
        ganzoo.sweep(tables, {}, gpus=["3"])
        assert "tiny-sweep: 1 run, 1 variant\n" in capsys.readouterr().err
        assert len(faked.started) == 1

    @pytest.mark.usefixtures("six_gpus")
    def test_no_gpu_is_left_idle_silently(self, faked: Faked, tables: Tables):
        with pytest.raises(RequestError, match="--jobs 1: would leave some of --gpus 3,5 idle: leave it out"):
            ganzoo.sweep(tables, {}, seeds=3, jobs=1, gpus=["3", "5"])
        assert faked.started == []

    def test_a_killed_run_that_had_reached_its_end_is_complete(self, tmp_path: Path):
        run = RunDirectory(tmp_path)
        (tmp_path / "recipe.toml").write_text("[run]\nepochs = 2\n")
        run.append_metrics({"step": 10, "epoch": 2.05})
        assert processes.ended(run) is None
        (run.checkpoints / "step_0000010").mkdir(parents=True)
        assert processes.ended(run) == "complete"

    @pytest.mark.parametrize(
        ("count", "named", "gpu", "told"),
        [
            (0, None, "7", "torch finds no GPU here"),
            (0, "7", "7", "torch finds no GPU here"),
            (2, None, "foo", "is not there; this machine has: 0, 1"),
            (2, None, "2", "is not there; this machine has: 0, 1"),
            (2, "4,5", "0", "is not there; this machine has: 4, 5"),
            (2, "4,5", "5", ""),
            (2, None, "GPU-8932f937", ""),
        ],
    )
    def test_gpus_that_are_not_there(
        self, faked: Faked, tables: Tables, monkeypatch: pytest.MonkeyPatch,
        count: int, named: str | None, gpu: str, told: str,
    ):  # fmt: skip
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if named:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
        monkeypatch.setattr("torch.cuda.device_count", lambda: count)
        with pytest.raises(RequestError, match=f"--gpus {gpu}: {told}") if told else nullcontext():
            ganzoo.sweep(tables, {}, gpus=[gpu])
        assert bool(faked.started) != bool(told)

    @pytest.mark.parametrize(("name", "number"), [("jobs", 0), ("seeds", 0)])
    def test_wrong_numbers(self, tables: Tables, name: str, number: int):
        with pytest.raises(RequestError, match=f"--{name} 0: must be 1 or more"):
            ganzoo.sweep(tables, {}, **{name: number})

    def test_a_place_that_cannot_be_used(self, tables: Tables):
        root = Path(tables["run"]["root"])
        root.write_text("in the way")
        with pytest.raises(RequestError, match="no sweep can be made in"):
            ganzoo.sweep(tables, {})

    def test_damaged_state(self, faked: Faked, tables: Tables):
        swept = ganzoo.sweep(tables, {})
        (swept.path / "sweep.json").write_text("{")
        with pytest.raises(RunDirectoryError, match="damaged"):
            ganzoo.sweep(tables, {})


class TestTracking:
    def test_a_resumed_run_is_tracked_as_the_repeated_sweep_says(
        self, command: Callable[..., Any], tables: Tables, monkeypatch: pytest.MonkeyPatch
    ):
        def train(words: list[str], **_: object) -> Ended:
            ended = command(*words[words.index("ganzoo") + 1 :])
            assert ended.code == 0, ended.err
            return Ended(ended.code)

        piped = SimpleNamespace(Popen=train, DEVNULL=subprocess.DEVNULL, STDOUT=subprocess.STDOUT)
        monkeypatch.setattr(processes, "subprocess", piped)
        vary, steps = {"loss.name": ["hinge"]}, {"run.steps": 4, "checkpoint.every": 2}
        first = {"mode": "disabled", "project": "first", "entity": "me"}
        swept = ganzoo.sweep(tables | {"tracking": {"wandb": first, "csv": {}}}, vary, steps)
        run = RunDirectory.open(swept.path / swept.runs[0].run)
        assert run.read_recipe()["tracking"]["wandb"].items() >= first.items()
        (run.path / "summary.json").unlink()  # as if killed after step 2
        (run.checkpoints / "step_0000004").rename(run.path / "away")
        second = {"mode": "disabled", "project": "second", "tags": ["mine"]}
        swept = ganzoo.sweep(tables | {"tracking": {"wandb": second}}, vary, steps)
        assert [member.status for member in swept.runs] == ["complete"]
        tracking = run.read_recipe()["tracking"]
        wandb = tracking["wandb"]
        assert (wandb["project"], wandb["group"], wandb["job_type"]) == ("second", "tiny-sweep", "hinge")
        assert wandb["tags"] == ["mine", "sweep:tiny-sweep", "loss.name=hinge"]
        assert "entity" not in wandb  # what is no longer set is back at its default
        assert "csv" not in tracking


class TestCommand:
    def test_last_line_is_the_sweep_and_failures_are_told(
        self, faked: Faked, command: Callable[..., Any], recipe_file: Callable[[Tables], Path], tables: Tables
    ):
        words = ["sweep", recipe_file(tables), "--vary", "loss.name=hinge,minimax", "--set", "run.steps=3"]
        faked.endings = {"minimax seed 7": (1, "failed", "error: no more")}
        ended = command(*words)
        sweep = Path(tables["run"]["root"]) / "tiny-sweep"
        assert (ended.code, ended.out) == (1, f"{sweep}\n")
        assert f"error: {sweep}: 1 of 2 runs are complete\n  minimax seed 7: no more\n" in ended.err
        faked.endings = {}
        ended = command(*words, "--retry-failed")
        assert (ended.code, ended.out) == (0, f"{sweep}\n")
        assert ended.err.endswith(f"compare them:  ganzoo compare {sweep}\n")

    def test_wrong_recipes_start_nothing(
        self, faked: Faked, command: Callable[..., Any], recipe_file: Callable[[Tables], Path], tables: Tables
    ):
        ended = command("sweep", recipe_file(tables), "--vary", "loss.name=hinge,hige")
        assert ended.code == 2
        assert 'loss.name: there is no loss "hige"' in ended.err
        assert faked.started == []
        assert not Path(tables["run"]["root"]).exists()


class TestDisplay:
    @pytest.mark.parametrize("terminal", [True, False])
    def test_shows_all_and_each(
        self, tmp_path: Path, tables: Tables, manager: PluginManager, monkeypatch: pytest.MonkeyPatch, terminal: bool
    ):
        plan = make_plan(tables, {"loss.name": ["hinge", "minimax"]}, 1, (), manager)
        sweep = SweepDirectory.prepare(tmp_path / "s", plan)
        sweep.lay_out()
        run = tmp_path / "s/hinge/0001"
        run.mkdir(parents=True)
        (run / "recipe.toml").write_text("[run]\nseed = 7\nsteps = 100\n")
        RunDirectory(run).append_metrics({"step": 40, "loss/generator": 1.25, "images_per_second": 9})
        assert progress(RunDirectory(run))[0] == 0.4
        with (tmp_path / "shown.txt").open("w+") as shown:
            where = Console(file=shown, force_terminal=terminal, width=100, _environ={"TERM": "xterm"})
            monkeypatch.setattr("ganzoo.terminal.console", lambda: where)
            time_now = 0.0
            monkeypatch.setattr("ganzoo.sweeps.display.monotonic", lambda: time_now)
            with SweepDisplay(sweep, sweep.runs) as display:
                job = Job(sweep.runs[0], Ended(0), tmp_path / "log", 0.0, {})  # type: ignore[arg-type]
                sweep.runs[0].status = "running"
                display.started(job)
                time_now = 61.0
                display.look([job])
                time.sleep(0.6 if terminal else 0)  # bars are drawn four times a second
                sweep.runs[0].status, sweep.runs[0].run = "complete", "hinge/0001"
                display.ended(job)
                display.look([])
            shown.seek(0)
            text = shown.read()
        assert "2 runs, 2 variants" in text
        assert "step 40/100  loss G 1.25  9 images/s" in text
        assert "[1/2] hinge seed 7: complete, 0:01:01" in text
        assert ("about 0:01:01 left" in text) is terminal
