from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from ganzoo.errors import Interrupted, TrainingError
from ganzoo.observers.console import ConsoleObserver, describe
from ganzoo.terminal import console, count_progress, warn
from ganzoo.text import count, duration, number
from ganzoo.training.loop import train
from ganzoo.training.run import ReadOnlyRun

METRICS = {
    "loss/discriminator": 0.5234,
    "loss/generator": 1.9,
    "probability/real": 0.71,
    "probability/fake": 0.22,
    "images_per_second": 310.4,
}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("ganzoo.observers.console.monotonic", clock)
    return clock


@pytest.fixture
def where(monkeypatch: pytest.MonkeyPatch) -> Console:
    """The console that is written to, none of a terminal."""
    where = Console(file=io.StringIO(), highlight=False)
    monkeypatch.setattr("ganzoo.terminal.console", lambda: where)
    return where


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Console:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=120, highlight=False, _environ={"TERM": "xterm"})
    monkeypatch.setattr("ganzoo.terminal.console", lambda: terminal)
    return terminal


def lines(where: Console) -> list[str]:
    assert isinstance(where.file, io.StringIO)
    return where.file.getvalue().splitlines()


def test_plain_lines_of_a_real_run(build, manager, capsys, where: Console) -> None:
    run = build()
    run.events.register_standard([ConsoleObserver()])
    train(run)
    start, first, *_, last, end = lines(where)
    assert start == (
        f"{run.directory}: cpu in fp32 (cpu as asked; fp32 as asked); 32 samples of 3×8×8; G 966, D 193 parameters"
    )
    pattern = r"step {}/40  loss D \S+ G \S+  D\(x\) \S+  D\(G\(z\)\) \S+  \S+ images/s  left 0:00:0\d"
    assert re.fullmatch(pattern.format(10), first)
    assert re.fullmatch(pattern.format(40), last)
    assert re.fullmatch(r"complete: 40 steps in 0:00:0\d", end)
    assert capsys.readouterr().out == ""


def test_about_one_line_a_second_and_always_the_first_and_the_last(build, where: Console, clock: Clock) -> None:
    run, observer = build(), ConsoleObserver()
    observer.run_started(ReadOnlyRun(run))
    for step in range(1, 41):
        run.step = step
        clock.now += 0.3
        observer.step_ended(ReadOnlyRun(run), step, METRICS if step % 2 == 0 else None)
    observer.run_ended(ReadOnlyRun(run))
    shown = [int(match[1]) for line in lines(where) if (match := re.match(r"step (\d+)/", line))]
    assert shown == [2, 6, 10, 14, 18, 22, 26, 30, 34, 38, 40]
    assert lines(where)[1] == ("step 2/40  loss D 0.523 G 1.9  D(x) 0.71  D(G(z)) 0.22  310 images/s  left 0:00:11")


def test_an_interrupted_run_shows_its_last_figures_and_the_way_on(build, where: Console, clock: Clock) -> None:
    run, observer = build(), ConsoleObserver()
    observer.run_started(ReadOnlyRun(run))
    for run.step in (1, 2):
        observer.step_ended(ReadOnlyRun(run), run.step, METRICS)
    run.error = Interrupted(2)
    observer.run_ended(ReadOnlyRun(run))
    assert lines(where)[-2].startswith("step 2/40  loss")
    assert lines(where)[-1] == f"interrupted at step 2 of 40: ganzoo resume {run.directory}"


def test_a_failed_and_resumed_run(build, where: Console, clock: Clock) -> None:
    run, observer = build(), ConsoleObserver()
    run.step = run.resumed_from = 20
    observer.run_started(ReadOnlyRun(run))
    run.error = TrainingError("step 21: not finite")
    observer.run_ended(ReadOnlyRun(run))
    assert lines(where)[1:] == ["goes on from step 20 of 40", "failed at step 20 of 40, after 0:00:00"]


def test_metrics_of_another_trainer() -> None:
    assert describe({}) == ""
    assert describe({"lr/generator": 1e-4}) == ""
    assert describe({"logits/real": 3.25, "logits/fake": -1.5}) == "D(x) 3.25  D(G(z)) -1.5"
    assert describe({"loss/critic": -12.345, "loss/generator": 1e-5}) == "loss critic -12.3 G 1e-05"


def test_scores_are_shown(where: Console) -> None:
    ConsoleObserver().metrics_evaluated(500, {"fid": 41.26, "recall": 0.5})
    assert lines(where) == ["step 500  fid 41.3  recall 0.5"]


def test_an_evaluation_without_scores_is_told(where: Console) -> None:
    ConsoleObserver().metrics_evaluated(500, {})
    assert lines(where) == ["step 500  no scores: no metric suits these samples"]


def test_a_terminal_has_a_bar_that_leaves_nothing_behind_but_the_last_figures(
    build, manager, terminal: Console
) -> None:
    run = build()
    run.events.register_standard([ConsoleObserver()])
    train(run)
    assert isinstance(terminal.file, io.StringIO)
    text = terminal.file.getvalue()
    assert "━" in text
    assert "\x1b[?25l" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor is back
    assert re.search(r"step 40/40  loss D .* images/s", text)
    assert "complete: 40 steps" in text


def test_warnings_are_one_line_on_stderr_however_long(capsys) -> None:
    warn("[red]not markup[/red] " + "long " * 60)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("warning: [red]not markup[/red] long")
    assert captured.err.count("\n") == 1
    assert console() is console()


def test_packing_says_nothing_when_the_pack_is_ready(where: Console) -> None:
    with count_progress():
        pass
    with count_progress() as report:
        report(100, 100)
    assert lines(where) == []


@pytest.mark.parametrize(("quiet", "expected"), [(60.0, []), (0.0, ["making images 64/200", "making images 200/200"])])
def test_what_is_mostly_fast_says_something_only_where_it_is_slow(
    where: Console, monkeypatch: pytest.MonkeyPatch, quiet: float, expected: list[str]
) -> None:
    monkeypatch.setattr("ganzoo.terminal.QUIET_SECONDS", quiet)
    with count_progress(what="making images", only_if_slow=True) as report:
        for done in (64, 128, 200):
            report(done, 200)
    assert lines(where) == expected


def test_packing_shows_a_few_lines(where: Console) -> None:
    with count_progress() as report:
        for done in range(1, 101):
            report(done, 100)
    assert lines(where) == ["reading samples 1/100", "reading samples 100/100"]


def test_packing_shows_a_bar_on_a_terminal(terminal: Console) -> None:
    with count_progress() as report:
        report(1, 3)
        report(2, 3)
    assert isinstance(terminal.file, io.StringIO)
    assert "2/3" in terminal.file.getvalue()
    assert terminal.file.getvalue().rindex("\x1b[?25h") > terminal.file.getvalue().rindex("\x1b[?25l")


def test_numbers() -> None:
    assert [number(v) for v in (0.0, 0.12345, -1.5, 99.94, 100.4, 12345.6)] == [
        "0",
        "0.123",
        "-1.5",
        "99.9",
        "100",
        "12346",
    ]
    assert [count(v) for v in (12, 3579, 999_700, 3576704)] == ["12", "3.58k", "1M", "3.58M"]
    assert duration(7529.6) == "2:05:30"
