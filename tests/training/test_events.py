"""Events: order, observers that fail, what observers may do, and whose events they hear."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from operator import setitem
from pathlib import Path
from typing import Any

import pytest

from ganzoo import api
from ganzoo.components.observer import RunView
from ganzoo.errors import OutputError, PluginError
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.registry.plugin_manager import HookManager, PluginManager
from ganzoo.training.events import Events


class Hearing:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.heard: list[Any] = []

    @hookimpl
    def run_started(self, run: Any) -> None:
        self.heard.append(run)

    @hookimpl
    def step_ended(self, step: int) -> None:
        self.heard.append(step)
        if self.error:
            raise self.error


def fire(*observers: object) -> tuple[Events, list[str]]:
    warnings: list[str] = []
    events = Events((), warnings.append)
    for number, observer in enumerate(observers):
        events.register(observer, f"observer {number}")
    return events, warnings


def test_failing_observer_is_named_once_and_left_out():
    failing, well = Hearing(ValueError("no room")), Hearing()
    events, warnings = fire(well, failing)  # the failing one is called first
    for step in (1, 2, 3):
        events.fire("step_ended", run=None, step=step, metrics=None)
    line = Hearing.step_ended.__code__.co_firstlineno + 4  # where it raises
    assert warnings == [
        f"the observer observer 1 failed in step_ended and is left out from here on: ValueError: no room "
        f"(test_events.py, line {line})"
    ]
    assert failing.heard == [1]
    assert well.heard == [1, 2, 3]
    events.fire("run_started", run="r")
    assert failing.heard == [1]
    assert well.heard[-1] == "r"


class Firing:
    """Fires an event as no hook has it."""

    def __init__(self, event: str) -> None:
        self.event = event

    @hookimpl
    def step_ended(self, run: RunView, step: int) -> None:
        run.fire(self.event, step=step)


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ("alert_raised", "TypeError: the event alert_raised is fired without alert"),
        ("alert_risen", "TypeError: there is no event 'alert_risen'"),
    ],
)
def test_what_is_wrong_with_an_event_is_told_of_the_observer_that_fires_it(
    tables: dict[str, Any], capsys: pytest.CaptureFixture[str], event: str, told: str
):
    run = api.run(tables, ["run.steps=2", "run.log_every=1"], observers=[Firing(event)])
    warned = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert [line.rpartition(" (")[0] for line in warned] == [
        f"warning: the observer Firing failed in step_ended and is left out from here on: {told}"
    ]
    assert [row["step"] for row in run.metrics] == [1, 2]


def test_known_error_ends_the_run():
    events, warnings = fire(Hearing(OutputError("the disk is full")))
    with pytest.raises(OutputError, match="the disk is full"):
        events.fire("step_ended", run=None, step=1, metrics=None)
    assert warnings == []


def test_interruption_is_no_failure_of_an_observer():
    class Interrupting:
        @hookimpl
        def step_ended(self) -> None:
            raise KeyboardInterrupt

    events, warnings = fire(Interrupting())
    with pytest.raises(KeyboardInterrupt):
        events.fire("step_ended", run=None, step=1, metrics=None)
    assert warnings == []


class Numbered:
    """An observer that writes its number into a list at the end of a run."""

    def __init__(self, number: int, order: list[int]) -> None:
        self.number = number
        self.order = order

    @hookimpl
    def run_ended(self) -> None:
        self.order.append(self.number)


class First(Numbered):
    @hookimpl(tryfirst=True)
    def run_ended(self) -> None:
        super().run_ended()


class Last(Numbered):
    @hookimpl(trylast=True)
    def run_ended(self) -> None:
        super().run_ended()


def test_order_is_pluggys_own():
    """As pluggy calls them: `tryfirst`, then the last registered first, then `trylast`."""
    order: list[int] = []
    kinds = (Numbered, First, Last, Numbered, Last, First, Numbered)
    observers = [kind(number, order) for number, kind in enumerate(kinds)]
    events, _ = fire(*observers)
    events.fire("run_ended", run=None)
    assert order == [5, 1, 6, 3, 0, 2, 4]
    order.clear()
    manager = HookManager()
    for observer in observers:
        manager.register(observer)
    manager.hook.run_ended(run=None)
    assert order == [5, 1, 6, 3, 0, 2, 4]


def test_standard_observers_are_called_after_all_others_and_in_their_order():
    order: list[int] = []
    events, _ = fire(Numbered(1, order), Last(9, order), First(0, order))
    events.register_standard([Numbered(number, order) for number in (3, 4, 5)])
    events.register(Numbered(-1, order))
    events.fire("run_ended", run=None)
    assert order == [0, -1, 1, 3, 4, 5, 9]


@pytest.mark.parametrize("option", ["wrapper", "hookwrapper"])
def test_wrapper_is_refused_with_the_cure(option: str, tables: dict[str, Any]):
    class Wrapping:
        @hookimpl(**{option: True})
        def step_ended(self) -> Generator[None]:
            yield

    told = (
        "the hook step_ended is marked as a wrapper.*put plain @hookimpl above it, with tryfirst=True or trylast=True"
    )
    with pytest.raises(PluginError, match=told):
        fire(Wrapping())
    with pytest.raises(PluginError, match=told):
        PluginManager().pluggy.register(Wrapping())
    with pytest.raises(PluginError, match=told):
        api.run(tables, observers=[Wrapping()])
    assert not Path(tables["run"]["root"]).exists()


def test_hook_that_is_misspelled_or_not_marked_is_refused():
    class Misspelled:
        @hookimpl
        def run_endet(self) -> None:
            """No hook."""

    class Unmarked:
        def run_ended(self) -> None:
            """Not marked."""

    with pytest.raises(
        PluginError, match=r'in test_events\.py: there is no hook "run_endet", did you mean run_ended\?'
    ):
        fire(Misspelled())
    with pytest.raises(PluginError, match="the function run_ended has the name of a hook and would not be called"):
        fire(Unmarked())


class Meddling:
    """An observer that changes whatever it is given, and writes down what kept it from that."""

    def __init__(self) -> None:
        self.refused: list[str] = []

    def attempt(self, what: str, change: Callable[[], object]) -> None:
        try:
            change()
        except (AttributeError, TypeError):
            self.refused.append(what)

    @hookimpl
    def step_ended(self, run: Any, metrics: Any) -> None:
        if metrics is not None:
            self.attempt("update", lambda: metrics.update({"loss/generator": 0.0}))
            self.attempt("item", lambda: setitem(metrics, "loss/generator", 0.0))
            self.attempt("step", lambda: setattr(run, "step", 0))
            self.attempt("anything", lambda: setattr(run, "anything", 0))
            self.attempt("clear", lambda: run.plugin_versions.clear())
            self.attempt("networks", lambda: setitem(run.networks, "generator", None))
            self.attempt("trainer", lambda: run.trainer)

    @hookimpl
    def samples_ready(self, images: Any) -> None:
        images.zero_()

    @hookimpl
    def metrics_evaluated(self, scores: Any) -> None:
        self.attempt("scores", lambda: scores.clear())


class Witness:
    """An observer that is called after all others."""

    def __init__(self) -> None:
        self.images: list[Any] = []
        self.summaries: list[dict[str, Any]] = []

    @hookimpl(trylast=True)
    def samples_ready(self, images: Any) -> None:
        self.images.append(images)

    @hookimpl(tryfirst=True)
    def run_ended(self, run: Any) -> None:
        self.summaries.append(json.loads((run.directory.path / "summary.json").read_text()))


def test_observers_cannot_change_a_run_nor_what_others_are_told(tables: dict[str, Any]):
    tables["run"] |= {"steps": 2, "log_every": 1}
    meddling, witness = Meddling(), Witness()
    meddled = api.run(tables, observers=[witness, meddling])
    alone = api.run(tables)
    assert meddling.refused == 2 * ["update", "item", "step", "anything", "clear", "networks", "trainer"]
    for ours, theirs in zip(meddled.metrics, alone.metrics, strict=True):
        assert {**ours, "seconds": 0, "images_per_second": 0} == {**theirs, "seconds": 0, "images_per_second": 0}
    assert witness.images
    assert all(images.abs().sum() > 0 for images in witness.images)
    assert meddled.checkpoint.step == 2


def test_scores_are_read_only():
    meddling = Meddling()
    events, warnings = fire(meddling)
    scores = {"fid": 1.0}
    events.fire("metrics_evaluated", run=None, step=1, scores=scores)
    assert (meddling.refused, scores, warnings) == (["scores"], {"fid": 1.0}, [])


@pytest.mark.parametrize("failing", [None, RuntimeError("boom"), OutputError("the disk is full")])
def test_summary_is_there_when_the_run_has_ended(tables: dict[str, Any], failing: Exception | None):
    class Failing:
        @hookimpl(tryfirst=True)
        def run_failed(self) -> None:
            raise failing or RuntimeError("another")

        @hookimpl(tryfirst=True)
        def step_ended(self, step: int) -> None:
            if failing and step == 2:
                raise KeyboardInterrupt

    witness = Witness()
    with nullcontext() if failing is None else pytest.raises((KeyboardInterrupt, OutputError)):
        api.run(tables, observers=[witness, Failing()])
    (summary,) = witness.summaries
    assert summary["status"] == ("interrupted" if failing else "complete")
    assert summary["steps"] == (2 if failing else tables["run"]["steps"])


def test_summary_that_cannot_be_written_is_told(tables: dict[str, Any], capsys: pytest.CaptureFixture[str]):
    class Blocking:
        @hookimpl
        def run_started(self, run: Any) -> None:
            (run.directory.path / "summary.json").mkdir()

        @hookimpl
        def run_ended(self) -> None:
            heard.append("run_ended")

    heard: list[str] = []
    api.run(tables, observers=[Blocking()])
    assert heard == ["run_ended"]
    assert "warning: the summary of the run is missing: " in capsys.readouterr().err


class Steps:
    """An observer that waits for another run, step by step, so that both are under way together."""

    def __init__(self, barrier: threading.Barrier | None = None) -> None:
        self.barrier = barrier
        self.heard: list[tuple[str, int]] = []

    @hookimpl
    def step_ended(self, run: Any, step: int) -> None:
        if self.barrier:
            self.barrier.wait(60)
        self.heard.append((str(run.directory), step))


def test_two_runs_in_two_threads_do_not_meet(tables: dict[str, Any]):
    manager = PluginManager()
    every, barrier = Steps(), threading.Barrier(2)
    manager.pluggy.register(every)  # as a plugin is, and so it hears of both
    before = manager.pluggy.get_plugins()
    observers = [Steps(barrier), Steps(barrier)]
    tables["run"]["steps"] = 3
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda observer: api.run(tables, observers=[observer], manager=manager), observers))
    assert runs[0].path != runs[1].path
    for run, observer in zip(runs, observers, strict=True):
        assert observer.heard == [(str(run.path), step) for step in (1, 2, 3)]
    assert sorted(every.heard) == sorted(observers[0].heard + observers[1].heard)
    assert manager.pluggy.get_plugins() == before


def test_view_is_all_that_the_contract_names(tables: dict[str, Any]):
    class Reading:
        @hookimpl
        def run_started(self, run: Any) -> None:
            for name in {*RunView.__annotations__, *vars(RunView)}:
                if not name.startswith("_"):
                    read[name] = getattr(run, name)

    read: dict[str, Any] = {}
    trained = api.run(tables, observers=[Reading()])
    assert (read["step"], read["total_steps"], read["resumed_from"], read["error"]) == (
        0,
        trained.recipe.run.steps,
        None,
        None,
    )
    assert (read["world_size"], str(read["device"]), read["precision"]) == (1, "cpu", "fp32")
    assert read["networks"].keys() >= {"generator", "discriminator"}
    assert len(read["dataset"]) == tables["dataset"]["count"]
    assert read["fixed_latents"](2).shape[0] == 2
