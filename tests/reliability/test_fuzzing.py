"""Recipes, `--set` and manifests at random: what is right works, what is wrong is an error, and nothing a traceback."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pytest
import tomli_w
from annotated_types import Ge, Gt, Le, Lt
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ganzoo import api
from ganzoo.errors import CheckpointError, DataError, GanzooError, RecipeError, RequestError
from ganzoo.recipe.load import load_recipe, parse_recipe
from ganzoo.recipe.model import Recipe
from ganzoo.recipe.overrides import apply_overrides
from ganzoo.registry.plugin_manager import PluginManager, plugin_manager
from ganzoo.registry.registry import Registry
from ganzoo.storage.checkpoint import open_checkpoint
from ganzoo.training.build import build_run

Tables = dict[str, Any]
SIZES = (12, 16, 16, 28, 32, 32, 32)  # most networks make 16 or 32 pixels
SKIPPED = object()


def tries(count: int) -> Any:
    """So many examples, the same every time and kept nowhere; however slow the machine is."""
    return settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def registered(registry: Registry) -> list[tuple[str, type[BaseModel]]]:
    return [(entry.name, entry.config) for entry in registry]


@st.composite
def table(draw: Any, choices: list[tuple[str, type[BaseModel]]]) -> Tables:
    """The table of one of these components, with some of its options set to what their types allow."""
    name, config = draw(st.sampled_from(choices))
    return {**draw(options(config)), "name": name}


@st.composite
def options(draw: Any, model: type[BaseModel]) -> Tables:
    result = {}
    for name, field in model.model_fields.items():
        if name != "name" and (field.is_required() or draw(st.integers(0, 5)) == 0):
            value = draw(values(field.annotation, bounds(field)))
            if value is not SKIPPED:
                result[name] = value
    return result


def bounds(field: FieldInfo) -> tuple[float, float]:
    """The least and the greatest number that an option takes, and that is worth trying in a test."""
    low, high = -2.0, 64.0
    for fact in field.metadata:
        match fact:
            case Gt(gt=least):
                low = max(low, float(least) + 1e-6)
            case Ge(ge=least):
                low = max(low, float(least))
            case Lt(lt=most):
                high = min(high, float(most) - 1e-6)
            case Le(le=most):
                high = min(high, float(most))
    return low, max(low, high)


def values(kind: Any, limits: tuple[float, float]) -> st.SearchStrategy[Any]:
    """What TOML may hold for an option of this type."""
    origin, inner = get_origin(kind), get_args(kind)
    low, high = limits
    if origin is Literal:
        return st.sampled_from(inner)
    if origin in (Union, UnionType):
        return st.one_of([st.just(SKIPPED) if part is type(None) else values(part, limits) for part in inner])
    if origin is tuple and len(inner) == 2 and inner[1] is Ellipsis:
        return st.lists(values(inner[0], (1, 8)), max_size=3)
    if origin is tuple:
        return st.tuples(*(values(part, (0, 0.999)) for part in inner)).map(list)
    if hasattr(kind, "__metadata__"):
        return values(kind.__origin__, bounds(FieldInfo.from_annotation(kind)))
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        name = kind.model_fields.get("name")  # an optimizer's
        return options(kind).map(lambda table: {**table, "name": get_args(name.annotation)[0]} if name else table)
    if kind is bool:
        return st.booleans()
    if kind is int:
        return st.integers(math.ceil(low), max(math.ceil(low), math.floor(high)))
    if kind is float:
        return st.floats(low, high, allow_nan=False)
    return st.just(SKIPPED)


BOUND = {"micro_batch_size", "ema_half_life", "ema_ramp", "own_update", "bands"}
"""Options that are right only with values of others, so that nearly all drawn ones would be refused."""


def without(options: Tables) -> Tables:
    return {name: value for name, value in options.items() if name not in BOUND}


@st.composite
def recipes(draw: Any, folder: Path) -> Tables:
    """A whole recipe: any two networks, loss, penalties and trainer, on small made-up images."""
    parts = plugin_manager().registries
    penalties = [without(each) for each in draw(st.lists(table(registered(parts.penalties)), max_size=2))]
    return {
        "run": {"name": "fuzz", "seed": draw(st.integers(0, 2**63 - 1)), "steps": 1, "root": str(folder)},
        "device": {"accelerator": "cpu", "precision": draw(st.sampled_from(["fp32", "bf16", "auto"]))},
        "dataset": {
            "name": "synthetic",
            "count": 16,
            "image_size": draw(st.sampled_from(SIZES)),
            "channels": draw(st.sampled_from([1, 3])),
        },
        "generator": draw(table(registered(parts.generators))),
        "discriminator": draw(table(registered(parts.discriminators))),
        "loss": draw(table(registered(parts.losses))),
        **({"penalties": penalties} if penalties else {}),
        "trainer": {**without(draw(table(registered(parts.trainers)))), "batch_size": draw(st.integers(1, 16))},
        "samples": without(draw(options(Recipe.model_fields["samples"].annotation))),  # type: ignore[arg-type]
        "checkpoint": draw(options(Recipe.model_fields["checkpoint"].annotation)),  # type: ignore[arg-type]
        "tracking": {"wandb": {"mode": "disabled"}},
    }


@pytest.mark.slow
def test_recipes_that_are_right_build(tmp_path: Path, manager: PluginManager):
    """What the check lets through is built, or refused in words; what is resolved means the same again."""
    tried = {"built": 0, "refused": 0}

    @tries(80)  # of which one in ten is right: many networks make images of some sizes, or need conditions
    @given(recipes(tmp_path))
    def attempt(tables: Tables) -> None:
        try:
            recipe = parse_recipe(tables, manager)
            assert parse_recipe(recipe.to_dict(), manager).to_dict() == recipe.to_dict()
            build_run(recipe, manager, warn=pytest.fail)
            tried["built"] += 1
        except (RecipeError, DataError) as error:  # of data: fewer images than a step takes
            assert_told(error)
            tried["refused"] += 1

    attempt()
    assert tried["built"] > 5, tried


def assert_told(error: GanzooError, start: str = "") -> None:
    """An error in words."""
    text = str(error)
    assert text.startswith(start)
    assert text
    assert "Traceback" not in text
    assert "pydantic" not in text
    if isinstance(error, RecipeError):
        assert error.problems
        assert all(problem.message for problem in error.problems)


SCALARS = st.one_of(
    st.none().map(lambda _: []),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.dates(),
    st.datetimes(),
    st.sampled_from(["", "auto", "dcgan", "../x", "\0", "a.b", "-1", "9" * 30, 0, -1, 1e308, math.inf, math.nan]),
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in nested tables and lists."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield (*path, key)
            yield from places(inner, (*path, key))


@st.composite
def mutated(draw: Any, tables: Tables) -> Tables:
    """A recipe in which a few places were taken out, renamed, or given anything at all."""
    tables = deepcopy(tables)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(places(tables)) or [("run",)]))
        holder: Any = tables
        for key in path[:-1]:
            holder = holder[key]
        match draw(st.sampled_from(["put", "put", "put", "remove", "rename", "add"])):
            case "remove":
                holder.pop(path[-1], None) if isinstance(holder, dict) else holder.pop(path[-1])
            case "rename" if isinstance(holder, dict):
                holder[draw(st.text(max_size=8))] = holder.pop(path[-1], 1)
            case "add" if isinstance(holder, dict):
                holder[draw(st.text(max_size=8))] = draw(ANYTHING)
            case _:
                holder[path[-1]] = draw(ANYTHING)
    return tables


WHOLE: Tables = {
    "run": {"name": "x", "steps": 3, "seed": 1, "root": "runs"},
    "plugins": {"requires": ["ganzoo-dcgan"], "files": []},
    "device": {"accelerator": "cpu", "precision": "fp32", "compile": False},
    "dataset": {"name": "synthetic", "image_size": 16, "count": 16},
    "generator": {"name": "dcgan", "width": 4, "latent_dim": 8},
    "discriminator": {"name": "dcgan", "width": 4},
    "loss": {"name": "hinge"},
    "penalties": [{"name": "r1", "weight": 2.0}, {"name": "gradient_penalty", "interval": 2}],
    "trainer": {
        "name": "adversarial",
        "batch_size": 8,
        "generator_optimizer": {"name": "adam", "lr": 0.1, "betas": [0.5, 0.9]},
        "discriminator_optimizer": {"name": "sgd"},
    },
    "samples": {"every": 2, "count": 4, "gif": False},
    "checkpoint": {"every": 2, "keep": 2},
    "tracking": {"wandb": {"mode": "disabled", "tags": ["a"]}},
}


@pytest.mark.slow
def test_recipes_that_are_changed_at_random(tmp_path: Path, manager: PluginManager):
    """From the file, as a user would have it read."""
    file = tmp_path / "recipe.toml"
    tried = {"right": 0, "wrong": 0}

    @tries(40)
    @example({**WHOLE, "run": {"name": [], "steps": 3, "other": 1}})
    @given(mutated(WHOLE))
    def attempt(tables: Tables) -> None:
        try:
            file.write_bytes(tomli_w.dumps(tables).encode(errors="surrogatepass"))
        except (TypeError, ValueError):
            return  # TOML has no way to say this
        try:
            load_recipe(file, manager)
            tried["right"] += 1
        except RequestError as error:
            assert_told(error, f"{file}: ")
            tried["wrong"] += 1

    attempt()
    assert min(tried.values()) > 0, tried
    assert sum(tried.values()) > 25, tried


@pytest.mark.slow
def test_files_of_any_bytes(tmp_path: Path, manager: PluginManager):
    file = tmp_path / "recipe.toml"

    @tries(60)
    @given(st.one_of(st.binary(max_size=60), st.text("[]{}=.\"'#\n ,-+:x0", max_size=60).map(str.encode)))
    def attempt(content: bytes) -> None:
        file.write_bytes(content)
        with pytest.raises(RequestError) as caught:
            load_recipe(file, manager)
        assert_told(caught.value)

    attempt()


KEYS = [".".join(map(str, path)) for path in places(WHOLE)]
SETTINGS = st.one_of(
    st.text(max_size=30),
    st.builds("{}={}".format, st.sampled_from(KEYS), st.one_of(st.text(max_size=12), SCALARS)),
    st.builds("{}={}".format, st.text("abcrun.0123 =", max_size=12), st.text("[]{}=.\"'#\n 0123abc,-", max_size=12)),
    st.builds("{}.{}={}".format, st.sampled_from(KEYS), st.text(max_size=5), st.integers()),
)


@pytest.mark.slow
def test_settings_at_random(manager: PluginManager):
    tried = {"right": 0, "wrong": 0}

    @tries(60)
    @example(["run.name=2020-01-01"])
    @example(["run.steps=5", "run=3"])
    @example(["run.steps=5", "run=[1]"])
    @example(["trainer.batch_size=" + "9" * 5000])
    @example(["penalties." + "9" * 5000 + "=1"])
    @example(["penalties.²=1"])
    @example(["penalties=" + "[" * 5000])
    @example([".".join(["a"] * 5000) + "=1"])
    @example(["run.name=\udcff"])
    @example(["\udcff=1"])
    @example(["run.seed=inf"])
    @example(["trainer.generator_optimizer.lr=nan"])
    @given(st.lists(SETTINGS, min_size=1, max_size=3))
    def attempt(overrides: list[str]) -> None:
        try:
            recipe = parse_recipe(apply_overrides(WHOLE, overrides), manager)
            tried["right"] += 1
        except RequestError as error:
            assert_told(error)
            str(error).encode(errors="backslashreplace")
            tried["wrong"] += 1
        else:
            assert parse_recipe(recipe.to_dict(), manager).to_dict() == recipe.to_dict()

    attempt()
    assert tried["wrong"] > 40, tried
    assert tried["right"] > 0, tried


@pytest.mark.slow
def test_a_setting_that_is_right_is_taken():
    """Whatever a text is, as TOML or bare, it arrives as it was meant."""

    @tries(100)
    @given(st.sampled_from(["run.name", "tracking.wandb.project"]), st.text(max_size=20))
    def attempt(key: str, text: str) -> None:
        quoted = tomli_w.dumps({"value": text}).partition(" = ")[2].strip("\n")
        value: Any = apply_overrides(WHOLE, [f"{key}={quoted}"])
        for part in key.split("."):
            value = value[part]
        assert value == text

    attempt()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tables_in: Callable[[Path], Tables]) -> Path:
    return api.run(tables_in(tmp_path_factory.mktemp("manifests"))).path


def sealed(manifest: Any) -> str:
    """The text of a manifest whose own sum is right, as anybody can make it."""
    if isinstance(manifest, dict):
        manifest.pop("manifest_sha256", None)
        text = json.dumps(manifest, sort_keys=True)
        manifest["manifest_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    return json.dumps(manifest, indent=2)


@pytest.mark.slow
def test_manifests_at_random(trained: Path, tmp_path: Path):
    """Sealed anew, so that nothing but their content can give them away; the checkpoint before is taken then."""
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    newest = run / "checkpoints/step_0000006"
    original = json.loads((newest / "manifest.json").read_text())
    tried = {"right": 0, "wrong": 0}

    @tries(100)
    @given(st.one_of(mutated(original), ANYTHING), st.booleans())
    def attempt(manifest: Any, seal: bool) -> None:
        try:
            text = sealed(deepcopy(manifest)) if seal else json.dumps(manifest, indent=2)
        except (TypeError, ValueError):
            return  # JSON has no dates
        (newest / "manifest.json").write_text(text, errors="surrogatepass")
        try:
            checkpoint = open_checkpoint(newest)
        except CheckpointError as error:
            assert_told(error)
            told = f"{error}; the checkpoint of step 3 is taken instead"
            warnings: list[str] = []
            assert (api.latest_checkpoint(newest.parent, warnings.append).step, warnings) == (3, [told])
            tried["wrong"] += 1
        else:
            assert checkpoint.step == 6
            assert checkpoint.files <= {path.name for path in newest.iterdir()}
            tried["right"] += 1
            try:
                api.load_run(run).sample(1)
            except GanzooError as error:
                assert_told(error)

    attempt()
    assert tried["wrong"] > 40, tried


def test_manifests_of_any_bytes(trained: Path, tmp_path: Path):
    folder = tmp_path / "step_0000006"
    shutil.copytree(trained / "checkpoints/step_0000006", folder)
    original = (folder / "manifest.json").read_bytes()

    @tries(100)
    @given(st.one_of(st.binary(max_size=80), st.text('[]{}:,"0 e-', max_size=80).map(str.encode)), st.integers(0, 200))
    def attempt(content: bytes, at: int) -> None:
        (folder / "manifest.json").write_bytes(original[:at] + content)
        with pytest.raises(CheckpointError):
            open_checkpoint(folder)

    attempt()
