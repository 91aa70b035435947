"""Time to a target: medians with runs that never reach it, what is ranked, and what the page shows."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import CensoredData, logrank

from ganzoo import compare
from ganzoo.comparison import targets
from ganzoo.comparison.curves import figures
from ganzoo.comparison.page import page
from ganzoo.comparison.table import figures_table
from ganzoo.comparison.targets import TargetTimes, logrank_p_value

MakeRun = Callable[..., Path]
Command = Callable[..., Any]
TARGET = {"score": "fd_classifier", "below": 6.0}
ABOVE, BELOW = 9.0, 5.0


@pytest.fixture
def aimed(make_run: MakeRun) -> MakeRun:
    """Runs of a loss that reach the target after so many seconds each, or never (None)."""

    def make(loss: str, times: list[float | None], **more: Any) -> list[Path]:
        made = []
        for seed, seconds in enumerate(times):
            values = {10: ABOVE, 20: ABOVE, 30: ABOVE if seconds is None else BELOW}
            status = "complete" if seconds is None else "reached"
            scores = {step: {"fd_classifier": value} for step, value in values.items()}
            options = {"status": status, "run__target": TARGET, "loss__name": loss, "scores": scores, **more}
            run = make_run(loss, seed, **options)
            rows = [
                {"step": step, "epoch": 1.0, "seconds": step * (seconds or 40.0) / 30, "score/fd_classifier": value}
                for step, value in values.items()
            ]
            (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            made.append(run)
        return made

    return make


@pytest.mark.parametrize(
    ("reached", "unreached", "text"),
    [
        ([312.0], [], "312 s"),
        ([298.0, 312.0, 340.0], [], "312 s (298–340)"),
        ([10.0, 20.0, 30.0, 40.0], [], "25 s (10–40)"),
        ([298.0, 312.0], [400.0], "312 s (298–312), not reached in 1 of 3"),
        ([298.0, 310.0], [312.0, 320.0, 330.0], "> 312 s (298–310), not reached in 3 of 5"),
        ([], [312.0], "> 312 s, not reached"),
        ([], [312.0, 350.0], "> 331 s, not reached in 2 of 2"),
        ([298.0], [310.0, math.inf], "> 310 s, not reached in 2 of 3, 1 diverged"),
        ([298.0], [math.inf, math.inf], "never, not reached in 2 of 3, 2 diverged"),
        ([], [math.inf], "never, not reached, 1 diverged"),
        ([], [], "—"),
    ],
)
def test_the_median_with_runs_that_never_reach_it(reached: list[float], unreached: list[float], text: str):
    assert str(TargetTimes(tuple(reached), tuple(unreached))) == text


def test_of_variants_that_mostly_never_reach_it_the_one_that_does_so_more_often_is_ahead(aimed: MakeRun):
    runs = [*aimed("hinge", [20.0, None, None]), *aimed("minimax", [20.0, 25.0, None, None, None])]
    ranking = compare(runs).target
    assert ranking is not None
    assert [math.isinf(each.median) for each in ranking.times] == [True, True]
    assert (ranking.best, ranking.order) == (1, [1, 0])


@pytest.mark.parametrize("waited", [99.0, 101.0])
def test_of_those_that_reach_it_equally_seldom_the_earlier_is_ahead(waited: float):
    late, early = TargetTimes((95.0, 99.0), (waited,) * 3), TargetTimes((10.0, 12.0), (100.0,) * 3)
    assert sorted([late, early], key=lambda each: each.order) == [early, late]
    never = [TargetTimes((), (waited,)), TargetTimes((), (200.0,)), TargetTimes((), (math.inf,)), TargetTimes()]
    assert sorted([never[place] for place in (3, 1, 2, 0)], key=lambda each: each.order) == never


def test_variants_are_ranked_by_their_medians(aimed: MakeRun, command: Command):
    runs = [
        *aimed("slow", [30, 32, 35, 33, 31]),
        *aimed("fast", [10, 12, 11, 13, 9]),
        *aimed("never", [None, None, None, None, 31]),
    ]
    comparison = compare(runs)
    ranking = comparison.target
    assert ranking is not None
    names = [variant.name for variant in comparison.variants]
    assert [names[index] for index in ranking.order] == ["fast", "slow", "never"]
    assert names[ranking.best or 0] == "fast"
    assert ranking.tied == []  # five against five that do not overlap: p = 2 / 252, below a third of 5 %
    assert [variant.status for variant in comparison.variants] == ["5 reached", "5 reached", "4 complete, 1 reached"]
    told = comparison.to_dict()["target"]
    assert told["variants"]["never"] == {
        "median": None,
        "reached": [31.0],
        "not_reached": [60.0, 61.0, 62.0, 63.0],
        "diverged": 0,
    }
    assert (told["score"], told["below"], told["best"], told["not_told_from_best"]) == (
        "fd_classifier",
        6.0,
        "fast",
        [],
    )
    printed = command("compare", *runs).out
    assert "1. fast: 11 s (9–13) ★\n  2. slow: 32 s (30–35)\n  3. never: > 61 s, not reached in 4 of 5" in printed
    assert "not of evaluation, samples and checkpoints" in printed
    assert "fd_classifier &lt; 6" in comparison._repr_html_()


def test_what_a_log_rank_test_does_not_tell_apart_is_marked(aimed: MakeRun):
    ranking = compare([*aimed("a", [10, 20, 30]), *aimed("b", [15, 25, 28]), *aimed("c", [None])]).target
    assert ranking is not None
    assert [ranking.mark(index) for index in range(3)] == ["★", "≈", "≈"]
    assert compare(aimed("d", [None, None])).target.order == [0]  # type: ignore[union-attr]
    report = figures_table(compare([*aimed("g", [10, 20, 30]), *aimed("h", [15, 25, 28])]))
    assert "| until fd\\_classifier &lt; 6 | 20 s (10–30) ★ | 25 s (15–28) ≈ |" in report
    assert "\n- fd\\_classifier &lt; 6: median seconds of training" in report
    assert "★ the shortest, ≈ not told from it by log-rank tests at 5 % together" in report
    same = compare([*aimed("e", [10]), *aimed("f", [10])]).target
    assert same is not None
    assert [same.mark(index) for index in range(2)] == ["★", "≈"]


@pytest.mark.parametrize(("seeds", "p"), [(1, 1.0), (2, 2 / 6), (3, 2 / 20), (4, 2 / 70), (5, 2 / 252)])
def test_two_variants_that_do_not_overlap_are_as_unlikely_as_the_ways_to_deal_them(seeds: int, p: float):
    fast, slow = (TargetTimes(tuple(first + 1.0 * seed for seed in range(seeds))) for first in (10, 100))
    diverged = TargetTimes((), (math.inf,) * seeds)
    assert logrank_p_value(fast, slow) == logrank_p_value(slow, fast) == pytest.approx(p)
    assert logrank_p_value(fast, diverged) == pytest.approx(p)


def test_three_seeds_cannot_tell_variants_apart(aimed: MakeRun):
    ranking = compare([*aimed("fast", [10, 11, 12]), *aimed("slow", [30, 32, 35])]).target
    assert ranking is not None
    assert [ranking.mark(index) for index in range(2)] == ["★", "≈"]


def test_the_test_of_many_runs_is_that_of_scipy():
    rng = np.random.default_rng(0)
    one, other = (
        TargetTimes(tuple(rng.exponential(scale, 20)), tuple(rng.exponential(scale, 5))) for scale in (1.0, 1.6)
    )
    samples = [CensoredData(uncensored=each.reached, right=each.unreached) for each in (one, other)]
    assert logrank_p_value(one, other) == pytest.approx(logrank(*samples).pvalue, rel=0.1)


def test_variants_that_are_the_same_are_seldom_told_apart():
    draws = np.random.default_rng(0).exponential(size=(400, 2, 4))
    found = [logrank_p_value(*(TargetTimes(tuple(each)) for each in two)) for two in draws]
    assert sum(p < 0.05 for p in found) / len(found) < 0.05


def test_failed_runs_count_as_longer_and_those_that_are_not_over_do_not(aimed: MakeRun):
    runs = [*aimed("a", [10, None], status="failed", error="diverged"), *aimed("a", [None], status="interrupted")]
    ranking = compare(runs).target
    assert ranking is not None
    assert ranking.times == [TargetTimes((10.0,), (61.0,))]
    assert math.isinf(ranking.times[0].median)


def test_runs_that_fail_before_their_first_evaluation_count_too(aimed: MakeRun, make_run: MakeRun):
    failed = {"status": "failed", "error": "OutOfMemoryError: no more", "loss__name": "a", "run__target": TARGET}
    early, late, bare = (make_run("a", seed, **failed) for seed in (1, 2, 3))
    for run in (late, bare):  # killed: no summary says how long they trained
        (run / "summary.json").write_text('{"status": "failed"}')
    (bare / "metrics.jsonl").unlink()
    unaimed = make_run("b", status="failed")
    comparison = compare([*aimed("a", [10]), early, late, bare, unaimed])
    assert comparison.target is not None
    assert comparison.target.times == [TargetTimes((10.0,), (61.0, 4.0, 0.0)), TargetTimes()]


def test_runs_of_a_sweep_that_fail_before_they_have_a_folder_count_too(aimed: MakeRun, tmp_path: Path):
    (run,) = aimed("hinge", [10])
    sweep = tmp_path / "sweep"
    (sweep / "hinge").mkdir(parents=True)
    run.rename(sweep / "hinge/0001")
    choice = {"variant": "hinge", "choice": {"loss.name": "hinge"}}
    runs = [
        {**choice, "seed": 0, "status": "complete"},
        {**choice, "seed": 1, "status": "failed", "error": "no images"},
    ]
    about = {"name": "s", "source": "r.toml", "vary": {"loss.name": ["hinge"]}, "recipe": {}, "plugin_code": {}}
    (sweep / "sweep.json").write_text(json.dumps({**about, "runs": runs}))
    comparison = compare([sweep])
    assert comparison.target is not None
    assert comparison.target.times == [TargetTimes((10.0,), (0.0,))]


def test_runs_that_diverged_early_never_reach_it(aimed: MakeRun):
    """Were they censored when they ended, the test would not see them."""
    good = aimed("good", [100, 110, 120, 130, 140])
    bad = aimed("bad", [None] * 5, status="failed", error="DivergedError: step 3: the generator's loss is not finite")
    comparison = compare([*good, *bad])
    ranking = comparison.target
    assert ranking is not None
    told = dict(zip((variant.name for variant in comparison.variants), map(ranking.cell, (0, 1)), strict=True))
    assert told == {"good": "120 s (100–140) ★", "bad": "never, not reached in 5 of 5, 5 diverged"}
    assert comparison.to_dict()["target"]["variants"]["bad"] == {
        "median": None,
        "reached": [],
        "not_reached": [],
        "diverged": 5,
    }
    assert "diverged, diverged" in page(comparison)


def test_a_run_without_the_target_counts_by_its_scores(aimed: MakeRun):
    comparison = compare([*aimed("a", [20]), *aimed("b", [10], status="complete", run__target={})])
    assert comparison.target is not None
    assert [times.reached for times in comparison.target.times] == [(20.0,), (10.0,)]


def test_what_is_not_ranked(aimed: MakeRun, make_run: MakeRun, make_card: Callable[..., Any]):
    other = aimed("b", [10], run__target={**TARGET, "below": 5.5})
    comparison = compare([*aimed("a", [20]), *other])
    assert comparison.target is None
    assert any("different targets: fd_classifier < 6, fd_classifier < 5.5" in note for note in comparison.notes)
    cards = aimed("c", [10], made_by=lambda step: make_card(step, samples=1000))
    ranking = compare([*aimed("d", [20]), *cards]).target
    assert ranking is not None
    assert (ranking.best, ranking.refused) == (None, ["samples.images: 2000 / 1000"])
    assert compare(make_run("e")).target is None
    damaged = make_run("f", run__target={"score": 3, "below": "x"})
    assert compare(damaged).target is None


def test_the_page_has_the_ranking_and_the_score_over_seconds(aimed: MakeRun):
    comparison = compare([*aimed("fast<b>", [10, 20]), *aimed("never", [None, None])])
    drawn = {(figure.name, figure.over): figure.curves for figure in figures(comparison)}
    assert list(drawn)[:2] == [("fd_classifier", "seconds of training"), ("fd_classifier", "step")]
    over_seconds = drawn["fd_classifier", "seconds of training"]
    assert [[round(point.step, 3) for point in curve] for curve in over_seconds] == [
        [5.0, 10.0, 15.0],  # on average of both seeds
        [13.333, 26.667, 40.0],
    ]
    assert [point.mean for point in over_seconds[0]] == [ABOVE, ABOVE, BELOW]
    html = page(comparison)
    assert '<h2 id="target">Time to fd_classifier &lt; 6</h2>' in html
    assert "&gt; 60.5 s, not reached in 2 of 2" in html
    assert "fast&lt;b&gt;" in html
    assert "2 of 2</td>" in html
    assert "over seconds of training" in html


def test_it_is_the_share_of_the_runs_that_puts_a_variant_ahead_and_not_their_number(aimed: MakeRun):
    ranking = compare([*aimed("hinge", [20.0, None, None]), *aimed("minimax", [20.0, 25.0, *[None] * 5])]).target
    assert ranking is not None
    assert [len(each.reached) for each in ranking.times] == [1, 2]
    assert (ranking.best, ranking.order) == (0, [0, 1])


def test_the_normal_distribution_of_many_runs_has_the_variance_of_all_ways_to_deal_them(
    monkeypatch: pytest.MonkeyPatch,
):
    """Observed less expected events of each run, by hand: over all 70 deals of eight runs, two of them censored."""
    one, other = TargetTimes((1.0, 3.0, 4.0), (5.0,)), TargetTimes((3.0, 6.0, 7.0), (2.0,))
    runs = [(t, True) for t in one.reached] + [(5.0, False)] + [(t, True) for t in other.reached] + [(2.0, False)]
    hazard = {
        event: sum(t == event and reached for t, reached in runs) / sum(t >= event for t, _ in runs)
        for event in {t for t, reached in runs if reached}
    }
    scores = [reached - sum(share for event, share in hazard.items() if event <= t) for t, reached in runs]
    deals = [sum(chosen) for chosen in itertools.combinations(scores, 4)]
    apart = abs(sum(scores[:4]))
    exact = sum(abs(deal) >= apart - 1e-9 for deal in deals) / len(deals)
    assert logrank_p_value(one, other) == pytest.approx(exact)
    monkeypatch.setattr(targets, "MOST_DEALS", 0)
    assert logrank_p_value(one, other) == pytest.approx(math.erfc(apart / math.sqrt(2 * np.var(deals))))
