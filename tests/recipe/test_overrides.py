"""Changes to a recipe from outside its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ganzoo.errors import RequestError
from ganzoo.recipe.overrides import apply_overrides, plain


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("a.n=64", 64),
        ("a.n=2e-4", 2e-4),
        ("a.n=40_000", 40_000),
        ("a.n=true", True),
        ("a.n=[0.5, 0.999]", [0.5, 0.999]),
        ("a.n={name = 'sgd'}", {"name": "sgd"}),
        ('a.n="64"', "64"),
        ("a.n=adam", "adam"),
        ("a.n=a folder/x=y", "a folder/x=y"),
        ("a.n=", ""),
        (" a.n = 3 ", 3),
        ("a.n=1979-05-27T07:32:00", "1979-05-27T07:32:00"),
    ],
)
def test_override_takes_toml_values_and_bare_words(override: str, expected: Any):
    assert apply_overrides({"a": {"n": 0, "m": 1}}, [override]) == {"a": {"n": expected, "m": 1}}


def test_overrides_are_values_or_texts():
    expected = {"a": {"text": "64", "folder": "x", "list": [1, 2]}}
    values = {"a.text": "64", "a.folder": Path("x"), "a.list": (1, 2)}
    texts = ['a.text="64"', "a.folder=x", "a.list=[1, 2]"]
    assert apply_overrides({}, values) == apply_overrides({}, values.items()) == apply_overrides({}, texts) == expected
    assert apply_overrides({}, ["a.text=1", ("a", {"text": "64", "folder": "x"}), "a.list=[1, 2]"]) == expected


def test_a_value_is_copied():
    table = {"n": 1}
    assert apply_overrides({}, {"a": table, "a.n": 2}) == {"a": {"n": 2}}
    assert table == {"n": 1}


def test_override_makes_tables_that_are_not_there():
    assert apply_overrides({}, ["a.b.c=1", "a.b.d=2"]) == {"a": {"b": {"c": 1, "d": 2}}}


def test_override_reaches_into_lists():
    tables = {"penalties": [{"name": "r1"}, {"name": "r2"}], "betas": [0.5, 0.9]}
    changed = apply_overrides(tables, ["penalties.1.weight=3", "betas.0=0"])
    assert changed == {"penalties": [{"name": "r1"}, {"name": "r2", "weight": 3}], "betas": [0, 0.9]}
    assert tables["betas"] == [0.5, 0.9]


def test_override_makes_and_lengthens_lists():
    made = apply_overrides({"b": [1]}, ["a.0.name=r1", "a.0.weight=3", "a.1.name=r2", "b.1=2", "c.0=x"])
    assert made == {"a": [{"name": "r1", "weight": 3}, {"name": "r2"}], "b": [1, 2], "c": ["x"]}


def test_later_override_wins():
    assert apply_overrides({}, ["a=1", "a=2"]) == {"a": 2}


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("steps", "write KEY=VALUE"),
        ("=3", "write KEY=VALUE"),
        ("a..b=3", "write KEY=VALUE"),
        ("run.steps.x=3", "run.steps is a value, not a table"),
        ("penalties.2.weight=3", "penalties is a list of 1"),
        ("new.1.weight=3", "the recipe has no list new: set the whole list, new=[…]"),
        ("penalties.last.weight=3", "penalties is a list of 1"),
        ("penalties.²=3", "penalties is a list of 1"),
    ],
)
def test_wrong_override_is_told(override: str, told: str):
    with pytest.raises(RequestError, match=f"^--set {override}: ") as caught:
        apply_overrides({"run": {"steps": 5}, "penalties": [{"name": "r1"}]}, [override])
    assert told in str(caught.value)


def test_bytes_that_are_no_text_are_told():
    """As a shell hands on the name of a folder from a system of Latin-1."""
    with pytest.raises(RequestError, match=r"--set run\.root=sch\\udcf6n: is no text in UTF-8: rename"):
        apply_overrides({}, ["run.root=sch\udcf6n"])


def test_numbers_of_numpy_and_torch_are_numbers():
    given = {"a": np.int64(16), "b": np.float32(0.5), "c": np.bool_(True), "d": torch.tensor(3), "e": [np.int64(1)]}
    assert plain(given) == {"a": 16, "b": 0.5, "c": True, "d": 3, "e": [1]}


def test_setting_one_length_drops_the_other():
    assert apply_overrides({"run": {"epochs": 5}}, ["run.steps=3"]) == {"run": {"steps": 3}}
    assert apply_overrides({"run": {"steps": 3}}, ["run.epochs=5"]) == {"run": {"epochs": 5}}
    both = apply_overrides({"run": {}}, ["run.steps=3", "run.epochs=5"])
    assert both == {"run": {"steps": 3, "epochs": 5}}


def test_none_leaves_an_option_out():
    """As in the recipe.toml of the run, which is to repeat it."""
    tables = {
        "run": {"epochs": 5, "name": None},
        "samples": {"every": 5},
        "penalties": [{"name": "r1", "weight": None}],
    }
    given = {"samples.every": None, "run.steps": None, "tracking.wandb": None}
    expected = {"run": {"epochs": 5}, "samples": {}, "penalties": [{"name": "r1"}], "tracking": {}}
    assert apply_overrides(tables, given) == expected
