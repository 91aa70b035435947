"""The state of a sweep: what may be added to one, what is another, and what damage is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ganzoo.errors import RecipeError, RequestError, RunDirectoryError
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.sweeps.directory import STATE, SweepDirectory
from ganzoo.sweeps.plan import Plan, make_plan

Vary = dict[str, Sequence[Any]]
MakePlan = Callable[..., Plan]


@pytest.fixture
def plan(tables: dict[str, Any], manager: PluginManager) -> MakePlan:
    """A plan over the tiny recipe."""

    def plan(vary: Vary, seeds: int = 1, *overrides: str, **more: Any) -> Plan:
        return make_plan(tables, vary, seeds, overrides, manager, **more)

    return plan


def begin(plan: Plan) -> SweepDirectory:
    sweep = SweepDirectory.prepare(plan.root / plan.name, plan)
    sweep.lay_out()
    return sweep


def told(sweep: SweepDirectory) -> list[str]:
    return [str(member) for member in sweep.runs]


class TestPlan:
    def test_seeds_go_outside_so_that_a_stopped_sweep_can_be_compared(self, plan: MakePlan):
        sweep = begin(plan({"loss.name": ["hinge", "wasserstein"]}, 2))
        assert told(sweep) == ["hinge seed 7", "wasserstein seed 7", "hinge seed 8", "wasserstein seed 8"]
        assert sweep.path.name == "tiny-sweep"

    def test_variants_are_all_combinations(self, plan: MakePlan):
        variants = plan({"loss.name": ["hinge", "wasserstein"], "generator.width": [4, 8]}).variants
        assert [tuple(each.choice.values()) for each in variants] == [
            ("hinge", 4),
            ("hinge", 8),
            ("wasserstein", 4),
            ("wasserstein", 8),
        ]
        assert [each.choice for each in plan({}).variants] == [{}]

    def test_all_combinations_are_checked_and_all_errors_told_together(self, plan: MakePlan):
        with pytest.raises(RecipeError) as caught:
            plan({"loss.name": ["hinge", "hige"], "generator.width": [4, "wide"]}, 1, "run.steps=0")
        told = str(caught.value).splitlines()
        assert told[0] == "recipe: 3 problems"
        assert [line.split(":")[0].strip() for line in told[1:]] == ["run.steps", "generator.width", "loss.name"]
        assert told[1].endswith("greater than 0")  # all four have it
        assert told[2].endswith("(in hinge-wide, hige-wide)")
        assert told[3].endswith("(in hige-width-4, hige-wide)")

    def test_sweeps_without_end_are_refused_at_once(self, plan: MakePlan):
        with pytest.raises(RequestError, match="would be of 100000000 runs, and 10000 are the most"):
            plan({}, 10**8)
        with pytest.raises(RequestError, match="would be of 100000000 runs"):
            plan({f"a{place}": list(range(10)) for place in range(8)})
        with pytest.raises(RequestError, match=r"--seeds 2: from run\.seed = 9223372036854775807 they go beyond"):
            plan({}, 2, f"run.seed={2**63 - 1}")

    def test_a_recipe_that_is_whole_only_with_what_is_varied(self, tables: dict[str, Any], manager: PluginManager):
        del tables["loss"]
        assert len(make_plan(tables, {"loss.name": ["hinge"]}, 1, (), manager).variants) == 1

    @pytest.mark.parametrize(
        ("vary", "more", "message"),
        [
            ({"run.steps": [1, 2]}, {}, "run.steps: is both varied and set"),
            ({}, {"name": "a/b"}, "--name"),
            ({}, {"name": ".."}, "--name"),
        ],
    )
    def test_wrong_requests(self, plan: MakePlan, vary: Vary, more: dict[str, Any], message: str):
        with pytest.raises(RequestError, match=message):
            plan(vary, 1, "run.steps=3", **more)

    def test_warnings_of_lints_come_once(self, plan: MakePlan):
        warnings = plan({"loss.name": ["hinge", "wasserstein"]}, 3).warnings
        assert [warning.partition(":")[0] for warning in warnings] == ["wasserstein"] * len(warnings)
        assert warnings


def changed(sweep: SweepDirectory, key: str, value: object) -> Path:
    """Change a value of the second run in the state of a sweep; return its folder."""
    state = json.loads((sweep.path / STATE).read_text())
    state["runs"][1][key] = value
    (sweep.path / STATE).write_text(json.dumps(state))
    return sweep.path


class TestState:
    def test_is_read_as_it_was_written(self, plan: MakePlan):
        sweep = begin(plan({"loss.name": ["hinge"]}, 2))
        sweep.runs[0].status, sweep.runs[0].run = "complete", "hinge/0001"
        sweep.save()
        assert SweepDirectory.open(sweep.path) == sweep

    def test_values_and_seeds_can_be_added(self, plan: MakePlan):
        sweep = begin(plan({"loss.name": ["hinge"]}, 1))
        sweep.runs[0].status = "complete"
        sweep.save()
        wider = plan({"loss.name": ["wasserstein", "hinge"]}, 2)
        sweep = begin(wider)
        assert told(sweep) == ["hinge seed 7", "wasserstein seed 7", "wasserstein seed 8", "hinge seed 8"]
        assert sweep.runs[0].status == "complete"
        assert sweep.vary == {"loss.name": ["hinge", "wasserstein"]}
        narrower = SweepDirectory.prepare(sweep.path, plan({"loss.name": ["hinge"]}, 1))
        assert len(narrower.runs) == 4
        assert [str(member) for member in narrower.of(plan({"loss.name": ["hinge"]}, 1))] == ["hinge seed 7"]

    def test_the_newest_run_of_a_seed_counts(self, plan: MakePlan):
        sweep = begin(plan({"loss.name": ["hinge"]}, 2))
        for number, seed in (("0002", 7), ("9999", 7), ("10000", 7), ("10001", 8), ("new", 7)):
            (sweep.path / "hinge" / number).mkdir(parents=True)
            (sweep.path / "hinge" / number / "recipe.toml").write_text(f"[run]\nseed = {seed}\n")
        found = [sweep.find_run(member) for member in sweep.runs]
        assert [each and each.path.name for each in found] == ["10000", "10001"]

    def test_a_varied_list_of_tables_may_be_another_in_the_recipe(self, plan: MakePlan, tables: dict[str, Any]):
        tables["penalties"] = [{"name": "r1", "weight": 1.0}]
        begin(plan({"penalties": [[]]}))
        tables["penalties"] = [{"name": "r1", "weight": 2.0}]
        begin(plan({"penalties": [[]]}))
        tables["trainer"]["batch_size"] = 12
        with pytest.raises(RequestError, match=r"trainer\.batch_size was"):
            begin(plan({"penalties": [[]]}))

    def test_another_recipe_is_refused_with_what_differs(self, plan: MakePlan, tables: dict[str, Any]):
        begin(plan({"loss.name": ["hinge"]}))
        begin(plan({"loss.name": ["hinge"]}, 1, "tracking.wandb.project=x"))  # does not matter to the runs
        tables["run"]["seed"], tables["loss"] = 9, {"name": "minimax"}  # neither does what each run has of its own
        begin(plan({"loss.name": ["hinge"]}))
        tables["run"]["seed"] = 7
        with pytest.raises(RequestError, match=r"run\.steps was 6 and is 9\. Give"):
            begin(plan({"loss.name": ["hinge"]}, 1, "run.steps=9"))
        with pytest.raises(RequestError, match=r"varies loss\.name, and not generator\.width"):
            begin(plan({"generator.width": [4]}))
        begin(plan({"generator.width": [4]}, name="other"))

    def test_a_folder_that_is_no_sweep_is_left_alone(self, plan: MakePlan):
        asked = plan({})
        path = asked.root / asked.name
        path.mkdir(parents=True)
        (path / "mine.txt").write_text("precious")
        with pytest.raises(RequestError, match="is there already, and no sweep"):
            begin(asked)
        assert [child.name for child in path.iterdir()] == ["mine.txt"]

    @pytest.mark.parametrize(
        "text",
        [
            *(
                "",
                "{",
                "[]",
                "{}",
                "[" * 10_000,
                '{"runs": 3}',
                '{"name": "a", "source": "b", "recipe": {}, "vary": {}}',
            ),
            '{"name": "a", "source": "b", "recipe": {}, "vary": {}, "plugin_code": {}, "runs": [{}]}',
        ],
    )
    def test_damage_is_told(self, tmp_path: Path, text: str):
        (tmp_path / STATE).write_text(text)
        with pytest.raises(RunDirectoryError, match=r"sweep\.json: is no state of a sweep, or is damaged"):
            SweepDirectory.open(tmp_path)

    def test_a_recipe_whose_name_is_no_text(self, plan: MakePlan):
        sweep = begin(replace(plan({}), source="r\udcff.toml"))
        assert SweepDirectory.open(sweep.path).source == "r\\udcff.toml"

    @pytest.mark.parametrize("key", ["run", "variant"])
    @pytest.mark.parametrize("place", ["../elsewhere", "/etc"])
    def test_runs_outside_of_the_sweep_are_refused(self, plan: MakePlan, key: str, place: str):
        sweep = begin(plan({}, 2))
        with pytest.raises(RunDirectoryError, match=r"sweep\.json: is damaged: runs\.1: .* is no run directory"):
            SweepDirectory.open(changed(sweep, key, place))

    @pytest.mark.parametrize(
        ("key", "value"), [("seed", True), ("status", "well"), ("choice", []), ("error", 3), ("seconds", "many")]
    )
    def test_values_of_other_types_are_told_by_their_place(self, plan: MakePlan, key: str, value: object):
        sweep = begin(plan({}, 2))
        with pytest.raises(RunDirectoryError, match=rf"is no state of a sweep, or is damaged: runs\.1\.{key}: Input"):
            SweepDirectory.open(changed(sweep, key, value))

    def test_entries_that_no_run_has_are_refused(self, plan: MakePlan):
        sweep = begin(plan({}, 2))
        with pytest.raises(RunDirectoryError, match=r"or is damaged: runs\.1\.speed: Unexpected"):
            SweepDirectory.open(changed(sweep, "speed", 3))
