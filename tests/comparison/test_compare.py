"""Comparing runs: how they are grouped, what is computed of them, and what is refused."""

from __future__ import annotations

import itertools
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_ind

from ganzoo import compare
from ganzoo.comparison.comparison import Comparison
from ganzoo.comparison.curves import figures
from ganzoo.comparison.page import page, write_page
from ganzoo.comparison.scores import Score
from ganzoo.comparison.statistics import Spread, best_of, p_value, significant
from ganzoo.errors import GanzooError
from ganzoo.sweeps.directory import Member, SweepDirectory

MakeRun = Callable[..., Path]
Command = Callable[..., Any]


def names(comparison: Comparison) -> list[str]:
    return [variant.name for variant in comparison.variants]


def score_of(comparison: Comparison, name: str) -> Score:
    (found,) = [score for score in comparison.scores if score.name == name]
    return found


def seeds(make_run: MakeRun, values: dict[str, list[float]], score: str = "fd_classifier", **more: Any) -> list[Path]:
    """Runs of several losses, a seed for each value of a score at step 40."""
    return [
        make_run(loss, seed, scores={40: {score: value}}, loss__name=loss, **more)
        for loss, each in values.items()
        for seed, value in enumerate(each)
    ]


def sweep_at(place: Path, members: list[Member]) -> SweepDirectory:
    vary: dict[str, list[Any]] = {"loss.name": ["hinge", "minimax"]}
    return SweepDirectory(
        path=place, name=place.name, source="recipe", vary=vary, runs=members, recipe={}, plugin_code={}
    )


class TestGroups:
    def test_runs_of_one_recipe_are_one_variant_whatever_their_seed_name_and_place(
        self, make_run: MakeRun, tmp_path: Path
    ):
        runs = [
            make_run("a", 1),
            make_run("b", 2),
            make_run("a", 0, root=tmp_path / "other"),
            make_run("c", 0, loss__name="minimax"),
        ]
        comparison = compare(runs)
        assert [[run.seed for run in variant.runs] for variant in comparison.variants] == [[0, 1, 2], [0]]
        assert comparison.differences == {"loss.name": ("hinge", "minimax")}

    def test_tracking_makes_no_other_recipe(self, make_run: MakeRun):
        assert len(compare([make_run("a", 0), make_run("a", 1, tracking__wandb={"mode": "offline"})]).variants) == 1

    def test_a_folder_of_runs_and_a_run_in_it_count_once(self, make_run: MakeRun):
        first = make_run("a", 0)
        make_run("a", 1)
        assert len(compare([first.parent, first, f"{first}/"]).runs) == 2

    def test_options_in_lists_of_tables_differ_by_their_place(self, make_run: MakeRun):
        runs = [make_run("a", trainer__terms=[{"name": "r1", "weight": weight}]) for weight in (1, 10)]
        assert compare(runs).differences == {"trainer.terms.0.weight": (1, 10)}

    def test_names_follow_what_differs_where_runs_have_one_name(self, make_run: MakeRun):
        runs = [make_run("a", loss__name="hinge"), make_run("a", loss__name="minimax", generator__width=8)]
        assert names(compare(runs)) == ["hinge", "minimax-width-8"]

    def test_values_that_read_alike_name_no_variant(self, make_run: MakeRun):
        runs = [make_run("a", trainer__mode=value) for value in ([1], "[1]")]
        assert names(compare(runs)) == ["a", "a (2)"]

    def test_a_sweep_names_its_variants_and_tells_of_runs_that_have_none(self, make_run: MakeRun, tmp_path: Path):
        root = tmp_path / "runs" / "s"
        members = [
            Member("x", {"loss.name": "hinge"}, 0, "complete", "x/0001"),
            Member("x", {"loss.name": "hinge"}, 1, "failed", "x/0002", "killed by SIGKILL"),
            Member("y", {"loss.name": "minimax"}, 0, "waiting"),
        ]
        make_run("x", 0, root=root)
        make_run("x", 1, root=root, status="unfinished")
        sweep_at(root, members).save()
        comparison = compare(root)
        assert names(comparison) == ["x", "y"]
        assert [variant.status for variant in comparison.variants] == ["1 complete, 1 failed", "1 waiting"]
        assert "x/0002: failed at step 40 of 40, and not in any mean: killed by SIGKILL" in comparison.notes

    def test_runs_that_have_not_begun_are_of_their_own_sweep(self, make_run: MakeRun, tmp_path: Path):
        places = [tmp_path / "runs" / name for name in ("s", "t")]
        for place, batch_size, status in zip(places, (8, 16), ("complete", "waiting"), strict=True):
            make_run("y", 0, root=place, loss__name="minimax", trainer__batch_size=batch_size)
            members = [Member("y", {"loss.name": "minimax"}, 0, "complete", "y/0001")]
            if status == "complete":
                make_run("x", 0, root=place, trainer__batch_size=batch_size)
                members.append(Member("x", {"loss.name": "hinge"}, 0, "complete", "x/0001"))
            else:
                members.append(Member("x", {"loss.name": "hinge"}, 0, "waiting"))
            sweep_at(place, members).save()
        statuses = [variant.status for variant in compare(places).variants]
        assert sorted(statuses) == ["1 complete", "1 complete", "1 complete", "1 waiting"]

    def test_runs_of_one_name_in_two_places_keep_their_curves(self, make_run: MakeRun, tmp_path: Path):
        scored = {20: {"fd_classifier": 9.0}, 40: {"fd_classifier": 5.0}}
        other = {20: {"fd_classifier": 8.0}, 40: {"fd_classifier": 4.0}}
        runs = [make_run("a", root=tmp_path / str(index), scores=each) for index, each in enumerate((scored, other))]
        comparison = compare(runs)
        (own,) = score_of(comparison, "fd_classifier").variants
        assert list(own.to_dict()["runs"]) == ["a/0001", "a/0001-2"]
        assert len(own.series) == 2
        drawn = next(figure for figure in figures(comparison) if figure.name == "fd_classifier")
        assert [(point.low, point.high) for point in drawn.curves[0]] == [(8.0, 9.0), (4.0, 5.0)]

    def test_a_figure_that_is_logged_now_and_then_has_a_curve(self, make_run: MakeRun):
        run = make_run("a", rows=12)
        lines = (run / "metrics.jsonl").read_text().splitlines()
        for index in (4, 6):
            lines[index] = json.dumps({**json.loads(lines[index]), "weight_norm/generator": 1.0 + index})
        (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
        assert "weight_norm/generator" in [figure.name for figure in figures(compare(run))]

    @pytest.mark.parametrize(("checksums", "told"), [(("crc32:1", "crc32:1"), False), (("crc32:1", "crc32:2"), True)])
    def test_images_are_told_apart_by_their_checksums(self, make_run: MakeRun, checksums: tuple[str, str], told: bool):
        """Their packs have other keys where the code of the plugin has changed."""
        runs = [
            make_run("a", seed, environment={"pack": f"key{seed}", "data": {"samples": 9, "checksum": checksum}})
            for seed, checksum in enumerate(checksums)
        ]
        note = "the images are not the same: data is 9, crc32:1 / 9, crc32:2"
        assert (note in compare(runs).notes) is told
        assert any("not the same" in each for each in compare(runs).notes) is told

    def test_an_export_counts_by_its_scores_but_not_beside_the_runs_of_its_folder(self, make_run: MakeRun):
        other, export = (make_run("a", 1, scores={40: {"fd_classifier": value}}) for value in (5.0, 7.0))
        for file in ("metrics.jsonl", "summary.json", "environment.json"):
            (export / file).unlink()
        (export / "export.json").write_text('{"step": 40}')
        comparison = compare([other, export])
        assert comparison.variants[0].status == "1 complete, 1 exported"
        assert score_of(comparison, "fd_classifier").variants[0].last == Spread((5.0, 7.0))
        assert [run.steps for run in comparison.runs] == [(40, 40), (40, 40)]
        assert comparison.notes == []
        assert [run.path for run in compare(other.parent).runs] == [other]
        other.rename(other.parent.parent / "away")
        assert compare(export.parent).variants[0].status == "1 exported"

    def test_other_code_of_a_plugin_is_told(self, make_run: MakeRun):
        runs = [
            make_run("a", seed, environment={"plugin_code": {"ganzoo-core": core, "calm.py": own, "same": "1"}})
            for seed, (core, own) in enumerate((("1", "sha256:1"), ("2", "sha256:2")))
        ]
        runs.append(make_run("a", 2, environment={"plugin_code": "damaged"}))
        assert compare(runs).notes == ["the code of a plugin is not the same: calm.py is sha256:1 / sha256:2"]

    @pytest.mark.parametrize("place", ["nowhere", "empty"])
    def test_places_without_runs(self, tmp_path: Path, place: str):
        (tmp_path / "empty").mkdir()
        with pytest.raises(GanzooError, match=place):
            compare(tmp_path / place)


class TestFigures:
    def test_means_and_deviations_are_those_of_the_complete_runs(self, make_run: MakeRun):
        values = [3.0, 5.0, 10.0]
        runs = seeds(make_run, {"hinge": values})
        runs.append(make_run("hinge", 9, scores={40: {"fd_classifier": 1000.0}}, status="failed", error="no more"))
        comparison = compare(runs)
        last = score_of(comparison, "fd_classifier").variants[0].last
        assert last is not None
        assert (last.mean, last.deviation) == (6.0, pytest.approx(statistics.stdev(values)))
        (variant,) = comparison.variants
        assert variant.status == "3 complete, 1 failed"
        assert any(
            "hinge/0004: failed at step 10 of 40, and not in any mean: no more" in note for note in comparison.notes
        )
        told = comparison.to_dict()["variants"][0]
        assert told["seconds"]["mean"] == 61.0
        assert told["images_per_second"] == {"mean": 101.0, "deviation": 1.0, "values": [100.0, 101.0, 102.0]}

    def test_best_and_last_are_both_there(self, make_run: MakeRun):
        scores = {
            10: {"fd_classifier": 9.0, "precision": 0.5},
            20: {"fd_classifier": 4.0, "precision": 0.9},
            40: {"fd_classifier": 6.0, "precision": 0.7},
        }
        comparison = compare(make_run(scores=scores))
        for name, best, last in (("fd_classifier", 4.0, 6.0), ("precision", 0.9, 0.7)):
            (found,) = score_of(comparison, name).variants
            assert (found.best.mean, found.last.mean) == (best, last)

    def test_several_evaluations_of_one_step_are_averaged(self, make_run: MakeRun, make_card: Callable[..., Any]):
        run = make_run()
        entries = [
            {"step": 40, "scores": {"fd_classifier": value}, "card": make_card(seed=seed).model_dump(mode="json")}
            for seed, value in enumerate((2.0, 4.0))
        ]
        (run / "evaluation.json").write_text(json.dumps(entries))
        assert score_of(compare(run), "fd_classifier").variants[0].last == Spread((3.0,))

    def test_variants_that_score_nothing_hide_no_digits_of_others(self, make_run: MakeRun):
        score = score_of(compare(seeds(make_run, {"hinge": [0.0], "minimax": [0.034]})), "fd_classifier")
        assert [score.text(each.last) for each in score.variants] == ["0.0000", "0.0340"]

    def test_one_seed_proves_nothing(self, make_run: MakeRun):
        comparison = compare(seeds(make_run, {"hinge": [1.0], "minimax": [9.0]}))
        score = score_of(comparison, "fd_classifier")
        assert (score.best, score.tied) == (0, [1])
        assert "one seed each: differences may be chance" in comparison.notes

    def test_other_machines_are_told(self, make_run: MakeRun):
        runs = [make_run("a", 0), make_run("a", 1, environment={"device": "cuda:0"})]
        assert "speed compares different machines or settings: device is cpu / cuda:0" in compare(runs).notes

    def test_last_scores_of_different_steps_are_told(self, make_run: MakeRun):
        runs = [make_run("a", 0, scores={30: {"x": 1.0}}), make_run("a", 1, scores={40: {"x": 1.0}})]
        assert score_of(compare(runs), "x").notes == ["last scores are of different steps: 30, 40"]

    @pytest.mark.parametrize("wrong", [math.nan, math.inf])
    def test_a_last_score_that_is_not_finite_is_no_earlier_one(self, make_run: MakeRun, wrong: float):
        runs = seeds(make_run, {"hinge": [5.0, 5.5], "minimax": [6.0, 6.5], "least_squares": [3.0]})
        lost = {20: {"fd_classifier": 1.0}, 40: {"fd_classifier": wrong}}
        runs.append(make_run("least_squares", 1, scores=lost, loss__name="least_squares"))
        comparison = compare(runs)
        score = score_of(comparison, "fd_classifier")
        assert [each.last.values for each in score.variants] == [(5.0, 5.5), (6.0, 6.5), (3.0,)]
        assert [score.mark(index) for index in range(3)] == ["★", "≈", ""]
        told = "the last score of least_squares/0002 is not finite: it is in no mean, and the variant is not ranked"
        assert score.notes == [told]
        assert score.variants[2].best.values == (3.0, 1.0)

    def test_separation_against_an_independent_calculation(self):
        a, b, c = Spread((10.0, 11.0, 12.0)), Spread((13.0, 14.0, 15.5)), Spread((7.0, 9.5, 8.0, 8.1))
        for one, other in ((a, b), (a, c), (b, c)):
            assert p_value(one, other) == pytest.approx(ttest_ind(one.values, other.values, equal_var=False).pvalue)
        assert p_value(a, Spread((5.0,))) == 1
        assert (p_value(Spread((2.0, 2.0)), Spread((3.0, 3.0))), p_value(a, a)) == (0.0, 1.0)
        assert p_value(Spread((2.0, 2.0)), Spread((2.0, 2.0))) == 1.0
        assert best_of([a, b, Spread(())], lower=True) == (0, [])
        assert best_of([a, b, Spread(())], lower=False) == (1, [])
        assert best_of([a, a], lower=True) == (None, [])

    def test_several_tests_are_significant_together_by_holms_steps(self):
        """The least of three below 0.05/3, the next below 0.05/2, the last below 0.05; none beyond one that is not."""
        a, b, c = (0, 1), (0, 2), (1, 2)
        assert significant({a: 0.04, b: 0.012, c: 0.02}) == {a, b, c}
        assert significant({a: 0.04, b: 0.012, c: 0.03}) == {b}
        assert significant({a: 0.04, b: 0.02, c: 0.03}) == set()

    def test_equal_variants_are_seldom_told_apart(self):
        """Four variants of three seeds: any one is told from the best in 5 % of comparisons at most."""
        draws = np.random.default_rng(0).normal(size=(400, 4, 3))
        tied = [len(best_of([Spread(tuple(values)) for values in four], lower=True)[1]) for four in draws]
        assert sum(each < 3 for each in tied) / len(tied) < 0.08
        shifted = draws + np.array([0.0, 9.0, 9.0, 9.0])[:, None]
        tied = [len(best_of([Spread(tuple(values)) for values in four], lower=True)[1]) for four in shifted]
        assert sum(each == 0 for each in tied) / len(tied) > 0.9

    def test_the_best_of_many_equal_variants_is_seldom_told_from_any(self):
        """The data choose the best, so that tests of it against the nine others alone find one in 11 % of draws."""
        draws = np.random.default_rng(0).normal(size=(400, 10, 10))
        tied = [len(best_of([Spread(tuple(values)) for values in ten], lower=True)[1]) for ten in draws]
        assert sum(each < 9 for each in tied) / len(tied) < 0.05

    @pytest.mark.parametrize(
        ("values", "text"),
        [
            ((10.2, 10.8, 9.9), "10.30 ± 0.46"),
            ((12345.0, 12399.0), "12,372 ± 38"),
            ((0.5,), "0.500"),
            ((0.0, 0.0), "0 ± 0"),
            ((1e-9, 2e-9), "1.5e-09 ± 7.07e-10"),
        ],
    )
    def test_figures_have_the_digits_that_their_deviation_deserves(self, values: tuple[float, ...], text: str):
        assert str(Spread(values)) == text


class TestProtocols:
    def test_alike_they_are_ranked(self, make_run: MakeRun):
        score = score_of(
            compare(seeds(make_run, {"hinge": [1.0, 1.1], "minimax": [2.0, 2.1], "x": [1.05, 1.2]})), "fd_classifier"
        )
        assert (score.refused, score.best, score.tied) == ([], 0, [2])

    @pytest.mark.parametrize("name", ["memorization", "copies", "confidence", "diversity", "diversity_classifier"])
    def test_what_only_warns_has_no_best(self, make_run: MakeRun, name: str):
        runs = [
            make_run("a", 0, scores={40: {name: 0.1}}),
            make_run("b", loss__name="minimax", scores={40: {name: 0.9}}),
        ]
        score = score_of(compare(runs), name)
        assert (score.refused, score.best, score.tied) == ([], None, [])
        assert [each.last.mean for each in score.variants] == [0.1, 0.9]

    def test_unlike_they_are_not_and_the_difference_is_named(self, make_run: MakeRun, make_card: Callable[..., Any]):
        runs = [
            *seeds(make_run, {"hinge": [1.0, 1.1]}),
            *seeds(make_run, {"minimax": [2.0, 2.1]}, made_by=lambda step: make_card(step, samples=500, weights="raw")),
        ]
        score = score_of(compare(runs), "fd_classifier")
        assert (bool(score.refused), score.best, score.tied) == (True, None, [])
        assert score.refused == ["samples.images: 2000 / 500", "samples.weights: ema / raw"]
        assert [variants for _, variants in score.protocols] == [["hinge"], ["minimax"]]
        ignoring = score_of(compare(runs, ignoring=["samples.images", "samples.weights"]), "fd_classifier")
        assert (ignoring.refused, ignoring.best) == ([], 0)

    def test_seeds_of_one_variant_have_to_be_alike_too(self, make_run: MakeRun, make_card: Callable[..., Any]):
        runs = [
            make_run("a", 0, scores={40: {"x": 1.0}}),
            make_run("a", 1, scores={40: {"x": 2.0}}, made_by=lambda step: make_card(step, digest="other")),
        ]
        assert score_of(compare(runs), "x").refused == ["extractor.digest: abc123 / other"]

    def test_the_protocol_that_all_share_is_taken(self, make_run: MakeRun, make_card: Callable[..., Any]):
        runs = seeds(make_run, {"hinge": [1.0], "minimax": [2.0]})
        entries = json.loads((runs[0] / "evaluation.json").read_text())
        entries.append(
            {"step": 40, "scores": {"fd_classifier": 0.1}, "card": make_card(samples=9000).model_dump(mode="json")}
        )
        (runs[0] / "evaluation.json").write_text(json.dumps(entries))
        score = score_of(compare(runs), "fd_classifier")
        assert not score.refused
        assert [each.last.mean for each in score.variants] == [1.0, 2.0]
        assert score.notes == ["1 more protocols were used by some runs; shown is the one they share, of 2,000 samples"]

    def test_scores_of_the_generator_come_before_those_of_another_network_of_more_samples(
        self, make_run: MakeRun, make_card: Callable[..., Any]
    ):
        def made_by(step: int) -> Any:
            return make_card(step, samples=9000, network="generator_back") if step == 40 else make_card(step)

        both = [{20: {"fd_classifier": value}, 40: {"fd_classifier": 9 - value}} for value in (1.0, 2.0)]
        runs = [make_run(str(at), scores=each, made_by=made_by, loss__weight=at) for at, each in enumerate(both)]
        score = score_of(compare(runs), "fd_classifier")
        assert [each.last.mean for each in score.variants] == [1.0, 2.0]
        assert score.best == 0

    def test_where_none_is_shared_each_run_shows_its_last(self, make_run: MakeRun, make_card: Callable[..., Any]):
        """Also where it was scored before on more samples."""
        runs = [
            make_run(
                digest,
                scores={20: {"x": 5.0}, 40: {"x": 1.0}},
                made_by=lambda step, digest=digest: make_card(step, samples=9000 - 100 * step, digest=digest),
                loss__name=digest,
            )
            for digest in ("one", "other")
        ]
        score = score_of(compare(runs), "x")
        assert score.refused
        assert [each.last.values for each in score.variants] == [(1.0,), (1.0,)]

    def test_scores_without_a_card_are_shown_and_not_ranked(self, make_run: MakeRun):
        runs = [make_run("a"), make_run("b", loss__name="minimax")]
        for value, run in enumerate(runs):
            with (run / "metrics.jsonl").open("a") as file:
                file.write(json.dumps({"step": 40, "epoch": 4, "score/plugins_own": value}) + "\n")
        score = score_of(compare(runs), "plugins_own")
        assert score.refused
        assert "no protocol card" in score.refused[0]
        assert [each.last.mean for each in score.variants] == [0.0, 1.0]


class TestDamage:
    @pytest.mark.parametrize(
        "file", ["recipe.toml", "summary.json", "metrics.jsonl", "evaluation.json", "environment.json"]
    )
    @pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"[1, {", b'{"step": "x"}', b"[]\n3\nnull\n"])
    def test_no_file_of_a_run_keeps_the_others_from_being_compared(self, make_run: MakeRun, file: str, content: bytes):
        runs = seeds(make_run, {"hinge": [1.0], "minimax": [2.0]})
        (runs[0] / file).write_bytes(content)
        comparison = compare(runs)
        assert len(comparison.runs) == 2
        json.dumps(comparison.to_dict())
        assert "</html>" in write_page(comparison, runs[0] / "page.html").read_text(encoding="utf-8")

    def test_what_is_no_number_is_no_score(self, make_run: MakeRun):
        run = make_run(scores={40: {"x": 1.0}})
        (run / "evaluation.json").write_text((run / "evaluation.json").read_text().replace("1.0", "NaN"))
        (run / "summary.json").write_text('{"status": "complete", "seconds": "long", "images_per_second": [1]}')
        with (run / "metrics.jsonl").open("a") as file:
            file.write(f'{{"step": 41, "loss/generator": {10**400}}}\n')
        comparison = compare(run)
        assert json.loads(json.dumps(comparison.to_dict()))["variants"][0]["seconds"] is None
        assert "</html>" in page(comparison)


class TestCommand:
    def test_table(self, command: Command, make_run: MakeRun):
        runs = seeds(make_run, {"hinge": [1.0, 1.1], "minimax": [2.0, 2.1]})
        ended = command("compare", *runs)
        assert (ended.code, ended.err) == (0, "")
        lines = [" ".join(line.split()) for line in ended.out.splitlines()]
        assert "hinge minimax" in lines
        assert "loss.name hinge minimax" in lines
        assert "runs 2 complete 2 complete" in lines
        assert "fd_classifier ↓ 1.050 ± 0.071 ★ 2.050 ± 0.071" in lines

    def test_refusal_is_told(self, command: Command, make_run: MakeRun, make_card: Callable[..., Any]):
        runs = [
            *seeds(make_run, {"hinge": [1.0]}),
            *seeds(make_run, {"minimax": [2.0]}, made_by=lambda step: make_card(step, samples=500)),
        ]
        ended = command("compare", *runs)
        assert "fd_classifier is not ranked: samples.images: 2000 / 500" in ended.out
        assert "★" not in ended.out
        assert "fd_classifier is not ranked" not in command("compare", *runs, "--ignore", "samples.images").out

    def test_a_place_to_ignore_that_no_card_has(self, command: Command, make_run: MakeRun):
        run = make_run("a", 0, scores={40: {"x": 1.0}})
        ended = command("compare", run, "--ignore", "samples.images", "--ignore", "samples.imges")
        assert (ended.code, ended.out) == (2, "")
        told = "no protocol card has this field, did you mean samples.images?; they have protocol, "
        assert f"--ignore samples.imges: {told}" in ended.err
        assert command("compare", make_run("b", 0), "--ignore", "samples.images").code == 0

    def test_json(self, command: Command, make_run: MakeRun):
        told = json.loads(
            command("compare", *seeds(make_run, {"hinge": [1.0, 2.0], "minimax": [3.0, 4.0]}), "--json").out
        )
        assert told["differences"] == {"loss.name": {"hinge": "hinge", "minimax": "minimax"}}
        (score,) = told["scores"]
        assert (score["name"], score["best"], score["ranked"]) == ("fd_classifier", "hinge", True)
        assert score["variants"]["minimax"]["last"]["values"] == [3.0, 4.0]

    def test_page(self, command: Command, make_run: MakeRun, tmp_path: Path):
        ended = command("compare", make_run(), "--out", tmp_path / "new/page.html", "--title", "A title")
        assert (ended.code, ended.err) == (0, f"the page: {tmp_path / 'new/page.html'}\n")
        assert "<h1>A title</h1>" in (tmp_path / "new/page.html").read_text()

    def test_texts_from_files_move_no_cursor(self, command: Command, make_run: MakeRun):
        run = make_run(status="failed", error="\x1b[2J\x1b]0;owned\x07 \u202egnp.exe")
        out = command("compare", run).out
        assert not {"\x1b", "\x07", "\u202e"} & set(out)

    def test_many_variants_fit_the_terminal(self, command: Command, make_run: MakeRun):
        out = command("compare", *(make_run(f"v{width}", generator__width=width) for width in range(1, 31))).out
        assert max(map(len, out.splitlines()[:80])) <= 160
        assert all(f"v{width}" in out for width in range(1, 31))


@pytest.mark.slow
def test_a_hundred_runs_take_seconds(make_run: MakeRun, tmp_path: Path):
    scores = {step: {"fd_classifier": 100.0 / step, "precision": 0.5} for step in range(1, 41, 2)}
    for width in range(20):
        for seed in range(5):
            make_run("many", seed, scores=scores, rows=500, pictures=seed == 0, generator__width=width)
    begun = time.process_time()
    page = write_page(compare(tmp_path / "runs/many"), tmp_path / "page.html")
    assert time.process_time() - begun < 10
    assert page.stat().st_size < 30_000_000


def test_of_several_shared_protocols_the_one_of_most_samples_is_taken(make_run: MakeRun, make_card: Callable[..., Any]):
    runs = seeds(make_run, {"hinge": [1.0], "minimax": [2.0]})
    for run, few, many in zip(runs, (1.0, 2.0), (7.0, 3.0), strict=True):
        entries = [
            {"step": 40, "scores": {"fd_classifier": value}, "directions": {"fd_classifier": "lower"}, "card": card}
            for value, samples in ((few, 2000), (many, 9000))
            for card in [make_card(samples=samples).model_dump(mode="json")]
        ]
        (run / "evaluation.json").write_text(json.dumps(entries))
    score = score_of(compare(runs), "fd_classifier")
    assert [each.last.mean for each in score.variants] == [7.0, 3.0]
    assert score.best == 1
    assert "of 9,000 samples" in score.notes[0]


def scored(make_card: Callable[..., Any], run: Path, *taken: tuple[float, dict[str, Any]], warning: str = "") -> Path:
    """Give a run scores by protocols of its own; each with a warning if it is of fewer than 600 samples."""
    entries = []
    for value, protocol in taken:
        card = make_card(**protocol).model_dump(mode="json")
        few = {"x": f"{card['samples']['images']} are few"} if card["samples"]["images"] < 600 else {}
        entry = {"step": 40, "scores": {"x": value}, "directions": {"x": "lower"}, "warnings": few, "card": card}
        entries.append(entry)
    (run / "evaluation.json").write_text(json.dumps(entries))
    return run


@pytest.mark.parametrize("others", [{"samples": 1000}, {"samples": 500}, {"samples": 1000, "digest": "other"}])
def test_an_incomplete_run_decides_nothing(make_run: MakeRun, make_card: Callable[..., Any], others: dict[str, Any]):
    both = ({"samples": 1000}, {"samples": 10_000})
    runs = [
        scored(
            make_card, make_run(loss, seed, loss__name=loss), *((index + each, card) for each, card in enumerate(both))
        )
        for index, loss in enumerate(("hinge", "minimax"))
        for seed in (0, 1)
    ]
    cut_off = scored(make_card, make_run("hinge", 2, loss__name="hinge", status="interrupted"), (5.0, others))
    score = score_of(compare([cut_off, *runs]), "x")
    assert [each.last.values for each in score.variants] == [(1.0, 1.0), (2.0, 2.0)]
    assert (score.refused, score.protocols[0][0].samples.images) == ([], 10_000)
    assert not any("are few" in note for note in score.notes)
    alone = score_of(compare([cut_off]), "x")
    assert [*alone.variants[0].series.values()] == [{40: 5.0}]


def test_warnings_are_of_the_scores_that_are_shown(make_run: MakeRun, make_card: Callable[..., Any]):
    run = scored(make_card, make_run("a"), (1.0, {"samples": 300}), (2.0, {"samples": 50}))
    notes = score_of(compare(run), "x").notes
    assert notes[0] == "300 are few"
    assert not any("50 are few" in note for note in notes)


@pytest.mark.parametrize("order", itertools.permutations(["none", "running", "batch"]))
def test_batch_norms_modes_do_not_meet_in_a_run_without_it(
    make_run: MakeRun, make_card: Callable[..., Any], order: tuple[str, ...]
):
    runs = {mode: scored(make_card, make_run(mode, loss__name=mode), (1.0, {"batch_norm": mode})) for mode in order}
    score = score_of(compare([runs[mode] for mode in order]), "x")
    assert score.refused == ["samples.batch_norm: running / batch"] or score.refused == [
        "samples.batch_norm: batch / running"
    ]
    more = [(1.0, {"batch_norm": mode}) for mode in ("running", "batch")]
    scored(make_card, runs["running"], *more)
    score = score_of(compare([runs[mode] for mode in order]), "x")
    assert not score.refused
    assert all(len(each.series) == 1 for each in score.variants)


def test_where_none_is_shared_a_run_shows_the_one_of_most_samples_at_its_last_step(
    make_run: MakeRun, make_card: Callable[..., Any]
):
    runs = [make_run(digest, loss__name=digest) for digest in ("one", "other")]
    for run in runs:
        entries = [
            {"step": 40, "scores": {"x": value}, "card": card}
            for value, samples in ((5.0, 500), (1.0, 9000), (4.0, 100))
            for card in [make_card(samples=samples, digest=run.parent.name).model_dump(mode="json")]
        ]
        (run / "evaluation.json").write_text(json.dumps(entries))
    score = score_of(compare(runs), "x")
    assert score.refused
    assert [each.last.values for each in score.variants] == [(1.0,), (1.0,)]


def test_variants_are_ranked_by_their_last_scores(make_run: MakeRun):
    """And not by the best of those on the way, which the choice of the step favors."""
    scores = {"hinge": {20: 1.0, 40: 6.0}, "minimax": {20: 5.0, 40: 4.0}}
    runs = [
        make_run(loss, scores={step: {"fd_classifier": value} for step, value in each.items()}, loss__name=loss)
        for loss, each in scores.items()
    ]
    score = score_of(compare(runs), "fd_classifier")
    assert [each.best.mean for each in score.variants] == [1.0, 4.0]
    assert score.best == 1


@pytest.mark.parametrize("option", ["samples__count", "evaluation__samples", "checkpoint__every", "run__root"])
def test_how_runs_are_scored_and_kept_makes_no_other_recipe(make_run: MakeRun, option: str):
    values = (4, 8) if option != "run__root" else ("here", "there")
    assert len(compare([make_run("a", seed, **{option: value}) for seed, value in enumerate(values)]).variants) == 1


def test_each_run_counts_once_in_a_point_of_a_curve_however_often_it_was_logged(make_run: MakeRun):
    """Two hundred steps are drawn as a hundred points, of two steps each."""
    runs = [make_run("a", seed) for seed in (0, 1)]
    for run, steps, slope in ((runs[0], range(1, 201), 1.0), (runs[1], range(2, 201, 2), 0.0)):
        rows = [{"step": step, "epoch": 1.0, "seconds": 1.0, "loss/generator": slope * step} for step in steps]
        (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (curve,) = next(figure for figure in figures(compare(runs)) if figure.name == "loss/generator").curves
    third = curve[3]  # steps 6 and 7
    assert (third.step, third.low, third.high, third.mean) == (7.0, 0.0, 6.5, 3.25)


@pytest.mark.parametrize(("direction", "arrow"), [("none", "→ 0.25"), ("lower", "↓"), ("higher", "↑")])
def test_an_ideal_is_shown_where_neither_lower_nor_higher_is_better(make_run: MakeRun, direction: str, arrow: str):
    run = make_run(scores={40: {"x": 1.0}})
    (entry,) = json.loads((run / "evaluation.json").read_text())
    entry |= {"directions": {"x": direction}, "ideals": {"x": 0.25}}
    (run / "evaluation.json").write_text(json.dumps([entry]))
    assert score_of(compare(run), "x").arrow == arrow
