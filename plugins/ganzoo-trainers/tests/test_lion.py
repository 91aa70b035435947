"""Lion against the paper's algorithm, and in runs: its rate falls, and a resumed run is the same to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ganzoo_trainers.configs import LionConfig
from ganzoo_trainers.lion import Lion
from safetensors.torch import load_file
from tiny_recipe import tiny_recipe
from torch import nn

from ganzoo import api
from ganzoo.plugin import RequestError


def test_follows_algorithm_2():
    rng = torch.Generator().manual_seed(0)
    weight, momentum = torch.randn(5, generator=rng, dtype=torch.float64), torch.zeros(5, dtype=torch.float64)
    ours = nn.Parameter(weight.clone())
    optimizer = Lion([ours], lr=0.01, betas=(0.9, 0.99), weight_decay=0.1)
    for _ in range(4):
        gradient = torch.randn(5, generator=rng, dtype=torch.float64)
        ours.grad = gradient.clone()
        optimizer.step()
        update = (0.9 * momentum + 0.1 * gradient).sign()
        weight = weight - 0.01 * (update + 0.1 * weight)
        momentum = 0.99 * momentum + 0.01 * gradient
    torch.testing.assert_close(ours.data, weight)
    torch.testing.assert_close(optimizer.state[ours]["momentum"], momentum)


def test_the_gradients_of_a_scaled_loss_are_unscaled():
    ours = nn.Parameter(torch.ones(2))
    optimizer = LionConfig(lr=0.1, betas=(0.0, 0.5)).build([ours])
    optimizer.grad_scale = torch.tensor(8.0)
    ours.grad = torch.tensor([8.0, -16.0])
    optimizer.step()
    assert optimizer.state[ours]["momentum"].tolist() == [0.5, -1.0]
    torch.testing.assert_close(ours.data, torch.tensor([0.9, 1.1]))


def test_no_step_is_taken_where_an_update_was_not_finite():
    ours = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = LionConfig(lr=0.1, betas=(0.0, 0.5)).build([ours])
    for found_inf, gradient in ((0.0, [1.0, 1.0]), (1.0, [float("nan"), -8.0])):
        optimizer.found_inf = torch.tensor(found_inf)
        ours.grad = torch.tensor(gradient)
        optimizer.step()
    assert optimizer.state[ours]["momentum"].tolist() == [0.5, 0.5]
    torch.testing.assert_close(ours.data, torch.tensor([0.9, -2.1]))


def weights(run: Any) -> dict[str, Any]:
    files = sorted((run.path / "checkpoints" / "step_0000006").glob("*.safetensors"))
    return {f"{file.stem}.{key}": value for file in files for key, value in load_file(file).items()}


@pytest.fixture
def recipe(tmp_path: Path) -> dict[str, Any]:
    lion = {"name": "lion", "lr": {"from": 1e-3, "to": 0.0, "start": 0.5}, "weight_decay": 0.01}
    trainer = {"generator_optimizer": lion, "discriminator_optimizer": lion}
    return tiny_recipe(tmp_path, loss={"name": "hinge"}, trainer=trainer, run={"log_every": 1})


def test_a_resumed_run_is_the_same_to_the_bit(recipe: dict[str, Any]):
    whole = api.run(recipe)
    half = api.run(recipe, {"checkpoint.every": 3})
    for name in ("step_0000006", "step_0000005", "step_0000004"):
        for file in (half.path / "checkpoints" / name).glob("*"):
            file.unlink()
    resumed = api.resume(half.path)
    expected, found = weights(whole), weights(resumed)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    assert [row["lr/generator"] for row in whole.metrics][-1] == pytest.approx(1e-3 / 3)


def test_other_optimizers_of_a_recipe(recipe: dict[str, Any]):
    recipe["trainer"]["generator_optimizer"] = {"name": "lyon"}
    with pytest.raises(RequestError, match='no generator optimizer "lyon", did you mean lion'):
        api.run(recipe)
    recipe["trainer"] |= {"name": "unrolled", "generator_optimizer": {"name": "sgd"}}
    with pytest.raises(RequestError, match='let discriminator_optimizer be "adam" without amsgrad'):
        api.run(recipe)
