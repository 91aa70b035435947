"""`--vary`: how it is read, and what its combinations are called."""

from __future__ import annotations

from typing import Any

import pytest

from ganzoo.errors import RequestError
from ganzoo.recipe.overrides import toml_text, toml_value
from ganzoo.sweeps.plan import check_vary, names, parse_vary


def test_values_are_parted_at_commas_outside_of_brackets_and_quotes():
    grid = parse_vary(
        [
            "loss.name=hinge, wasserstein",
            "trainer.generator_optimizer={name='adam', betas=[0.5, 0.9]},{name='sgd', lr=1}",
            "trainer.betas=[0, 1],[0.5, 0.9]",
            'dataset.root="a,b","c=d"',
        ]
    )
    assert grid == {
        "loss.name": ["hinge", "wasserstein"],
        "trainer.generator_optimizer": [{"name": "adam", "betas": [0.5, 0.9]}, {"name": "sgd", "lr": 1}],
        "trainer.betas": [[0, 1], [0.5, 0.9]],
        "dataset.root": ["a,b", "c=d"],
    }


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["loss.name"], "write KEY=VALUE,VALUE"),
        (["=a"], "write KEY=VALUE,VALUE"),
        (["loss..name=a"], "write KEY=VALUE,VALUE"),
        (["loss.name="], "empty value"),
        (["loss.name=a,,b"], "empty value"),
        (["loss.name=a,b,a"], "has the value a twice"),
        (["a.b=1", "a.b=2"], "varied twice"),
        (["run.seed=1,2"], "seeds are asked for with --seeds"),
        (["run.name=a,b"], "names its runs itself"),
    ],
)
def test_wrong_grids(texts: list[str], message: str):
    with pytest.raises(RequestError, match=message):
        check_vary(parse_vary(texts))


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        ({"loss.name": "hinge", "generator.name": "dcgan_dense"}, "hinge-dcgan_dense"),
        ({"trainer.generator_optimizer.lr": 2e-4}, "lr-0.0002"),
        ({"device.compile": True, "device.precision": "bf16"}, "compile-true-bf16"),
        ({"trainer.generator_optimizer": {"name": "adam", "lr": 1e-4}}, "adam-lr-0.0001"),
        ({"penalties": []}, "no-penalties"),
        ({"penalties": [{"name": "r1", "weight": 10}]}, "r1-weight-10"),
        ({"t.lr": {"from": 2e-4, "to": 1e-5}}, "lr-from-0.0002-to-1e-05"),
        ({"dataset.root": "../..//etc; rm -rf"}, "etc-rm-rf"),
        ({"dataset.root": "日本"}, "base"),
        ({"init.from": "dcgan.safetensors"}, "dcgan-safetensors"),  # a folder called as a file is refused
        ({"init.from": "base.toml", "trainer.momentum": 0.5}, "base-toml-momentum-0.5"),
        ({}, "base"),
    ],
)
def test_names_are_for_people_and_fit_for_folders(choice: dict[str, Any], name: str):
    assert list(names([choice], "base")) == [name]


def test_names_differ_where_choices_do_and_stay_where_they_were_given():
    choices = [{"a.root": "x/y"}, {"a.root": "x-y"}, {"a.root": "X-Y"}]
    assert list(names(choices, "base")) == ["x-y", "x-y-2", "X-Y-3"]
    assert list(names(choices[1:], "base", {"x-y": choices[1], "logs": None})) == ["x-y", "X-Y-2"]
    assert list(names([{"a.root": "logs"}], "base", {"logs": None})) == ["logs-2"]
    assert list(names([{}], "digits.log")) == ["digits-log"]
    long = names([{"a.b": "v" * 300}, {"a.b": "v" * 301}], "base")
    assert all(len(name) < 100 for name in long)
    assert len(long) == 2


@pytest.mark.parametrize(
    "value",
    [
        *("hinge", "1", "true", "a, b", 'say "hi"', " spaced ", "", "\n", "\x7f", "1 😀", 2e-4, 1e-9, 1, True),
        *([0.5, 0.999], ["a", "b"], {"name": "adam", "lr": 1e-4}, {"a": {"b": [True]}}),
    ],
)
def test_values_from_python_come_back_as_they_were(value: object):
    assert toml_value(toml_text(value)) == value
