"""Observers that fail: who is left out, who is not, and what is said."""

from __future__ import annotations

from typing import Any

import pytest

from ganzoo.errors import OutputError
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.registry.plugin_manager import PluginManager
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
    manager = PluginManager().pluggy
    for number, observer in enumerate(observers):
        manager.register(observer, name=f"observer {number}")
    warnings: list[str] = []
    return Events(manager, warnings.append), warnings


def test_failing_observer_is_named_once_and_left_out():
    failing, well = Hearing(ValueError("no room")), Hearing()
    events, warnings = fire(failing, well)
    for step in (1, 2, 3):
        events.fire("step_ended", run=None, step=step, metrics=None)
    assert warnings == [
        "the observer observer 0 failed in step_ended and is left out from here on: ValueError: no room"
    ]
    assert failing.heard == [1]
    assert well.heard == [1, 2, 3]
    events.fire("run_started", run="r")
    assert failing.heard == [1]
    assert well.heard[-1] == "r"


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


def test_observers_hear_in_the_order_of_their_registration():
    order: list[int] = []

    class Numbered:
        def __init__(self, number: int) -> None:
            self.number = number

        @hookimpl
        def run_ended(self) -> None:
            order.append(self.number)

    events, _ = fire(*(Numbered(number) for number in range(4)))
    events.fire("run_ended", run=None)
    assert order == [0, 1, 2, 3]
