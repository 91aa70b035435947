"""The W&B sweep: agents get the grid that a local sweep runs, and what they call is a command of ganzoo."""

from __future__ import annotations

import itertools
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ganzoo_trackers.configs import WandbConfig
from ganzoo_trackers.wandb import sweep as wandb_sweep
from typer.main import get_command

from ganzoo.cli.main import app
from ganzoo.errors import GanzooError, RequestError
from ganzoo.recipe.overrides import apply_overrides
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.sweeps.plan import Plan, agent_sweep, make_plan

pytestmark = pytest.mark.usefixtures("no_wandb_account")

VARY = {
    "loss.name": ["hinge", "non_saturating"],
    "trainer.ema_decay": [0, 0.99],
    "device.tf32": [True, False],
    "penalties": [[], [{"name": "r1", "weight": 1.0}]],
    "run.log_every": [1],
}

OPTIONS = WandbConfig(name="wandb", project="p", entity="e")


@pytest.fixture
def plan(recipe_file: Callable[[dict], Path], tables: dict[str, Any], manager: PluginManager) -> Plan:
    tables["tracking"]["wandb"] = {"mode": "disabled", "project": "p", "entity": "e"}
    return make_plan(recipe_file(tables), VARY, 2, ["run.steps=3"], manager)


def agent_arguments(config: dict[str, Any], values: tuple[Any, ...]) -> list[str]:
    """What wandb's agent would call for one choice, by the function that it uses itself."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args  # seconds, for every process that lists tests

    args = {key: {"value": value} for key, value in zip(config["parameters"], values, strict=True)}
    given = {**create_sweep_command_args({"args": args}), "env": ["/usr/bin/env"]}
    return [word for part in config["command"] for word in (given[part[2:-1]] if part[0] == "$" else [part])]


def test_agents_run_what_a_local_sweep_runs(plan: Plan, tables: dict[str, Any]):
    config = json.loads(json.dumps(wandb_sweep.describe(agent_sweep(plan, ["run.steps=3"], OPTIONS))))
    assert config["method"] == "grid"
    assert config["name"] == plan.name
    grid = list(itertools.product(*(parameter["values"] for parameter in config["parameters"].values())))
    assert len(grid) == 16 * 2
    ours, theirs = [], []
    for variant, seed in itertools.product(plan.variants, plan.seeds):
        ours.append(apply_overrides(plan.tables, {**variant.choice, "run.seed": seed}))
    for values in grid:
        env, command, verb, *words = agent_arguments(config, values)
        assert (env, command, verb) == ("/usr/bin/env", "ganzoo", "run")
        parsed = get_command(app).get_command(None, "run").make_context("run", words).params  # type: ignore[attr-defined]
        assert parsed["recipe"] == Path(plan.source)
        changed = apply_overrides(tables, [*parsed["set_"], *parsed["changes"]])
        assert changed["tracking"]["wandb"].pop("group") == plan.name
        theirs.append(changed)
    assert sorted(map(repr, theirs)) == sorted(map(repr, ours))


def test_run_takes_what_an_agent_appends(
    command: Callable[..., Any], recipe_file: Callable[[dict], Path], tables: dict[str, Any]
):
    ended = command("run", recipe_file(tables), "loss.name=hinge", "run.steps=1", "--set", "run.name=other")
    assert ended.code == 0
    run = Path(ended.out.strip())
    assert run.parent.name == "other"
    assert 'name = "hinge"' in (run / "recipe.toml").read_text()
    assert command("run", recipe_file(tables), "nonsense").code == 2


def test_without_a_key_nothing_is_sent(
    command: Callable[..., Any], recipe_file: Callable[[dict], Path], tables: dict[str, Any]
):
    ended = command("sweep", recipe_file(tables), "--vary", "loss.name=hinge", "--wandb")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "error: --wandb: no API key of W&B is known here; `wandb login` keeps one\n"


@pytest.mark.slow
def test_a_process_of_wandb_that_has_ended_is_told(
    recipe_file: Callable[[dict], Path], tables: dict[str, Any], forked: Callable[..., Any]
):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    recipe = recipe_file(tables | {"tracking": {"wandb": {"mode": "offline"}}})
    left = {**os.environ, "WANDB_SERVICE": f"3-1-tcp-localhost-{port}", "OMP_NUM_THREADS": "1"}
    for what in ("sweep", recipe, "--vary", "loss.name=hinge", "--wandb"), ("run", recipe):
        child = forked(*what, env=left)
        _, err = child.communicate(timeout=60)
        assert "Traceback" not in err
        assert "the variable WANDB_SERVICE leads to a process of W&B that is not there: unset it" in err
        assert child.returncode == (1 if what[0] == "sweep" else 0)


def test_registering(plan: Plan, monkeypatch: pytest.MonkeyPatch):
    sent: list[Any] = []

    def accept(config: dict[str, Any], **more: Any) -> str:
        print("Create sweep with ID: abc")
        sent.append((config, more))
        return "abc"

    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr("wandb.sweep", accept)
    asked = agent_sweep(plan, (), OPTIONS)
    assert wandb_sweep.register(asked, OPTIONS) == "e/p/abc"
    assert sent == [(wandb_sweep.describe(asked), {"entity": "e", "project": "p"})]

    def refuse(config: dict[str, Any], **more: Any) -> str:
        raise ValueError("permission denied\n  at …")

    monkeypatch.setattr("wandb.sweep", refuse)
    with pytest.raises(GanzooError, match=r"does not register the sweep: permission denied$") as caught:
        wandb_sweep.register(asked, OPTIONS)
    assert not isinstance(caught.value, RequestError)


LR = "trainer.generator_optimizer.lr"


def test_bayes_over_a_range(
    command: Callable[..., Any],
    recipe_file: Callable[[dict], Path],
    tables: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
):
    sent: list[dict[str, Any]] = []
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr("wandb.sweep", lambda config, **_: sent.append(config) or "abc")
    tables["tracking"]["wandb"] |= {"entity": "e", "project": "p"}
    grid = ("--vary", f"{LR}=1e-5..1e-3", "--vary", "loss.name=hinge,minimax", "--vary", "generator.width=4..16")
    sweep = ("sweep", recipe_file(tables), "--wandb", *grid)
    for given, told in {
        ("--method", "bayes"): "--method bayes: name what to optimize",
        ("--method", "bayes", "--metric", "score/fd_classifier"): "set evaluation.every",
        ("--method", "bayes", "--metric", "score/fd_clasifier", "--set", "evaluation.every=3"): (
            'error: --metric score/fd_clasifier: [evaluation] takes no score "fd_clasifier", did you mean fd_classifier'
        ),
        ("--method", "bayes", "--metric", "time_to_target"): "--metric time_to_target: the recipe has no target",
        ("--method", "random", "--metric", "loss/generator"): "--metric loss/generator: is for --method bayes",
        ("--method", "random", "--goal", "maximize"): "--goal maximize: is for --method bayes",
        ("--method", "random", "--jobs", "2"): "--jobs: is for runs that this command trains itself",
        ("--method", "random", "--gpus", "0"): "--gpus: is for runs that this command trains itself",
        (): f"--vary {LR}: a range is for agents: list values, or give --method random and a tracker's flag",
    }.items():
        ended = command(*sweep, *given)
        assert ended.code == 2
        assert told in ended.err
    bayes = ("--method", "bayes", "--metric", "score/fd_classifier", "--runs", "20", "--set", "evaluation.every=3")
    ended = command(*sweep, *bayes)
    assert (ended.code, ended.out) == (0, "e/p/abc\n"), ended.err
    (config,) = sent
    assert (config["method"], config["run_cap"]) == ("bayes", 20)
    assert config["metric"] == {"name": "objective", "goal": "minimize"}
    assert config["parameters"] == {
        LR: {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-3},
        "loss.name": {"values": ["hinge", "minimax"]},
        "generator.width": {"distribution": "int_uniform", "min": 4, "max": 16},
        "run.seed": {"values": [7]},
    }
    words = agent_arguments(config, ("hinge", 7, 3e-4, 8))[3:]
    parsed = get_command(app).get_command(None, "run").make_context("run", words).params  # type: ignore[attr-defined]
    changed = apply_overrides(tables, [*parsed["set_"], *parsed["changes"]])
    assert changed["tracking"]["wandb"]["objective"] == "score/fd_classifier"
    assert changed["trainer"]["generator_optimizer"]["lr"] == 3e-4
    ended = command("sweep", recipe_file(tables), *grid)
    assert ended.code == 2
    assert f"error: --vary {LR}: a range is for agents: list values, or give --method random" in ended.err
    for option in (("--method", "random"), ("--goal", "maximize"), ("--goal", "minimize")):
        ended = command("sweep", recipe_file(tables), "--vary", "loss.name=hinge", *option)
        assert (ended.code, ended.err.splitlines()[-1]) == (
            2,
            "error: --method, --metric, --goal and --runs are for agents: give a tracker's flag too, such as --wandb",
        )
