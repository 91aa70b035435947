"""Schedules: their values, their forms in a recipe, and what is told of wrong ones."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from ganzoo.components.options import PenaltyConfig
from ganzoo.components.schedule import Progress, Schedule, Scheduled
from ganzoo.errors import RecipeError
from ganzoo.recipe.load import parse_recipe
from ganzoo.recipe.model import Recipe


def values(steps: int = 8, **options: Any) -> list[float]:
    """The values in a run of `steps` steps of 50 images."""
    schedule = Schedule[float](**{"from": 2.0, "to": 1.0, **options})
    return [schedule.value(Progress(step, steps, 50)) for step in range(steps)]


def test_a_line_from_start_to_until():
    assert values() == [2 - step / 8 for step in range(8)]
    assert values(start=0.25, until=0.5) == [2, 2, 2, 1.5, 1, 1, 1, 1]
    assert values(until="4 steps") == values(until="200 images") == values(until="0.2k images") == values(until=0.5)


class Softened(PenaltyConfig):
    target: Scheduled[float] = Schedule(from_=0.5, to=0.0, shape="cosine")


def test_a_default_may_be_a_schedule():
    given = {"from": 0.5, "to": 0.0, "shape": "cosine", "start": 0.0, "until": 1.0, "warmup": 0.0}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Softened().model_dump()["target"] == given
        assert Softened.model_json_schema()["properties"]["target"]["default"] == given
        assert json.loads(Softened().model_dump_json())["target"] == given
    assert Softened().target == Softened(target=given).target == Schedule[float](**given)


def test_a_cosine_and_a_step():
    expected = [1.5 + 0.5 * math.cos(math.pi * step / 4) for step in range(4)]
    assert values(shape="cosine", until=0.5) == pytest.approx([*expected, 1, 1, 1, 1])
    assert values(shape="step", until="3 steps") == [2, 2, 2, 1, 1, 1, 1, 1]


def test_a_step_has_no_use_for_start():
    assert values(shape="step", until=0.0) == [1] * 8
    assert values(shape="step", start=0.5, until=0.5) == [2, 2, 2, 2, 1, 1, 1, 1]


def test_warm_up_multiplies():
    assert values(to=2.0, warmup="4 steps") == [0.5, 1, 1.5, 2, 2, 2, 2, 2]


def test_a_recipe_keeps_schedules_through_toml(tables: dict, parse: Callable[..., Recipe]):
    fall = {"from": 2e-4, "to": 0.0, "shape": "cosine", "until": "20M images"}
    rise = {"from": 0.9, "to": 0.99, "until": 0.5}
    tables["trainer"]["generator_optimizer"] = {"name": "adam", "lr": fall, "betas": [0.0, rise]}
    recipe = parse(tables)
    options = recipe.to_dict()["trainer"]["generator_optimizer"]
    assert options["lr"] == {**fall, "start": 0.0, "warmup": 0.0}
    assert options["betas"] == [0.0, {**rise, "shape": "linear", "start": 0.0, "warmup": 0.0}]
    assert parse(recipe.to_dict()).to_toml() == recipe.to_toml()


@pytest.mark.parametrize(
    ("lr", "message"),
    [
        (-1, "lr: is -1: input should be greater than 0"),
        ("fast", 'lr: is "fast": input should be a valid number'),
        ({"from": 1e-3}, "lr.to: is missing: this key is required"),
        ({"from": -1e-3, "to": 0}, "lr.from: is -0.001: input should be greater than 0"),
        (
            {"from": 1e-3, "to": 0, "till": 1},
            "lr.till: there is no such key, did you mean until?; known: from",
        ),
        ({"from": 1, "to": 0, "until": "20 apples"}, 'lr.until: is "20 apples": give a share of the run such as 0.5'),
        ({"from": 1, "to": 0, "until": 2}, "lr.until: is 2: give a share of the run from 0 to 1"),
        (
            {"from": 1, "to": 0, "start": 0.75, "until": 0.5},
            "lr: goes from start = 0.75 to until = 0.5, which is not after",
        ),
        (
            {"from": 1, "to": 0, "start": "2k steps", "until": "2000 steps"},
            'lr: goes from start = "2k steps" to until = ',
        ),
        ({"from": 1, "to": 0, "start": "1M images", "until": "1k images", "shape": "step"}, "lr: goes from start = "),
        ({"from": 1, "to": 0, "shape": "cosin"}, 'lr.shape: is "cosin", did you mean cosine?; must be "linear"'),
    ],
)
def test_what_is_wrong_is_told_by_its_path(tables: dict, manager: Any, lr: Any, message: str):
    tables["trainer"]["generator_optimizer"] = {"name": "adam", "lr": lr}
    with pytest.raises(RecipeError) as caught:
        parse_recipe(tables, manager)
    assert f"trainer.generator_optimizer.{message}" in str(caught.value)


def test_an_item_of_a_list_has_its_place(tables: dict, manager: Any):
    tables["trainer"]["generator_optimizer"] = {"name": "adam", "betas": [0.5, {"from": 0.9, "to": 2.0}]}
    with pytest.raises(RecipeError, match=r"trainer\.generator_optimizer\.betas\.1\.to: is 2\.0: input should be less"):
        parse_recipe(tables, manager)
