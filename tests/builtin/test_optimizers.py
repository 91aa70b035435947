"""Every optimizer by its name in a recipe: that it is torch's, with these options, and that it steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from ganzoo.recipe.model import Recipe

Parse = Callable[..., Recipe]

BUILT = {
    "adam": (torch.optim.Adam, {"lr": 2e-4, "betas": (0.5, 0.999), "eps": 1e-8, "weight_decay": 0.0, "amsgrad": False}),
    "adamw": (torch.optim.AdamW, {"lr": 2e-4, "betas": (0.5, 0.999), "eps": 1e-8, "weight_decay": 0.0}),
    "nadam": (torch.optim.NAdam, {"lr": 2e-4, "betas": (0.5, 0.999), "eps": 1e-8, "weight_decay": 0.0}),
    "radam": (torch.optim.RAdam, {"lr": 2e-4, "betas": (0.5, 0.999), "eps": 1e-8, "weight_decay": 0.0}),
    "adamax": (torch.optim.Adamax, {"lr": 2e-4, "betas": (0.5, 0.999), "eps": 1e-8, "weight_decay": 0.0}),
    "sgd": (torch.optim.SGD, {"lr": 2e-4, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0}),
    "rmsprop": (torch.optim.RMSprop, {"lr": 2e-4, "alpha": 0.99, "momentum": 0.0, "centered": False}),
}


@pytest.mark.parametrize("name", [*BUILT, "lion"])
def test_the_largest_numbers_that_a_recipe_takes_diverge(parse: Parse, tables: dict, name: str):
    """The rate and the decay are multiplied, and torch takes no number beyond those of float32."""
    largest = 9.2e18
    optimizer = options(parse, tables, name=name, lr=largest, weight_decay=largest).build([nn.Parameter(torch.ones(2))])
    (parameter,) = optimizer.param_groups[0]["params"]
    for _ in range(2):
        parameter.grad = torch.ones(2)
        optimizer.step()
    assert (~parameter.isfinite() | (parameter.abs() > 1e6)).all()


def options(parse: Parse, tables: dict, **table: Any) -> Any:
    tables["trainer"]["generator_optimizer"] = table
    trainer: Any = parse(tables).trainer
    return trainer.generator_optimizer


def test_these_are_all(parse: Parse, tables: dict):
    from ganzoo.errors import RecipeError

    with pytest.raises(RecipeError) as caught:
        options(parse, tables, name="?")
    assert caught.value.problems[0].message.partition("installed: ")[2] == ", ".join(sorted([*BUILT, "lion"]))


@pytest.mark.parametrize("name", BUILT)
def test_optimizer_is_torchs_and_steps(parse: Parse, tables: dict, name: str):
    cls, defaults = BUILT[name]
    weight = nn.Parameter(torch.ones(4, 3))
    optimizer = options(parse, tables, name=name).build([weight])
    assert type(optimizer) is cls
    group = optimizer.param_groups[0]
    assert {key: group[key] for key in defaults} == defaults
    assert float(group["lr"]) == 2e-4
    for _ in range(3):
        optimizer.zero_grad()
        weight.square().sum().backward()
        optimizer.step()
    assert (weight < 1).all()
    assert weight.isfinite().all()


@pytest.mark.parametrize("name", BUILT)
def test_options_reach_torch(parse: Parse, tables: dict, name: str):
    optimizer = options(parse, tables, name=name, lr=0.5, weight_decay=0.25).build([nn.Parameter(torch.ones(1))])
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["weight_decay"]) == (0.5, 0.25)


def test_nesterov_needs_a_momentum(parse: Parse, tables: dict):
    from ganzoo.errors import RecipeError

    with pytest.raises(RecipeError, match="nesterov needs a momentum: set momentum"):
        options(parse, tables, name="sgd", nesterov=True)
    options(parse, tables, name="sgd", nesterov=True, momentum=0.9).build([nn.Parameter(torch.ones(1))])


def test_weight_decay_of_adam_is_coupled_and_of_adamw_is_not(parse: Parse, tables: dict):
    """With a gradient of 0, Adam's decay is normalized to a step of lr; AdamW's is lr · decay · weight."""
    moved = {}
    for name in ("adam", "adamw"):
        weight = nn.Parameter(torch.full((1,), 4.0))
        optimizer = options(parse, tables, name=name, lr=0.01, weight_decay=0.1).build([weight])
        weight.grad = torch.zeros(1)
        optimizer.step()
        moved[name] = 4.0 - weight.item()
    assert moved["adam"] == pytest.approx(0.01, rel=1e-4)
    assert moved["adamw"] == pytest.approx(0.01 * 0.1 * 4.0, rel=1e-4)


def test_fused_form_computes_what_the_plain_one_does(parse: Parse, tables: dict):
    rng = torch.Generator().manual_seed(0)
    start, gradients = torch.randn(5, generator=rng), torch.randn(4, 5, generator=rng)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    fused = options(parse, tables, name="adam", lr=0.01).build([ours])
    assert fused.param_groups[0]["fused"] is True
    plain = torch.optim.Adam([theirs], lr=0.01, betas=(0.5, 0.999), foreach=False, fused=False)
    for gradient in gradients:
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        fused.step()
        plain.step()
    torch.testing.assert_close(ours, theirs)
