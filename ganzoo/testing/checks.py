"""The check for any component, by its kind, and a short training run of a recipe."""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from pydantic import ValidationError

from ganzoo import api
from ganzoo.components.descriptions import descriptions
from ganzoo.errors import PluginError
from ganzoo.registry.kinds import kind_of
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.registry.registry import Entry
from ganzoo.sampling.trained_run import TrainedRun
from ganzoo.testing.fixtures import fail, require, small_options


def check_component(entry: Entry[Any], **options: Any) -> None:
    """Check that a component conforms to the interface of its kind.

    Args:
        entry: the component, as a registry or `components_of` gives it.
        options: for its config, where those of `small_options` do not suit it.

    Raises:
        ConformanceError: it does not; the text says what to change.
    """
    check_config(entry, **options)
    kind = kind_of(entry.options)
    contract = resolve_name(kind.contract)
    require(issubclass(entry.load(), contract), entry, f"its class does not derive from {contract.__name__}")
    if kind.conformance:
        resolve_name(kind.conformance)(entry, **options)


def check_config(entry: Entry[Any], **options: Any) -> None:
    """Check that options are documented, refuse unknown keys, and survive a round trip through a recipe.

    Raises:
        ConformanceError: with what to change.
    """
    try:
        entry.load()
    except PluginError as error:
        fail(entry, str(error))
    config = small_options(entry, options)
    again = type(config).model_validate_json(config.model_dump_json(exclude_none=True), strict=True)
    require(again == config, entry, "its config changes on the way through a recipe: give options types that TOML has")
    undocumented = sorted(entry.options.model_fields.keys() - descriptions(entry.options).keys() - {"name"})
    require(
        not undocumented,
        entry,
        f"the options {', '.join(undocumented)} have no text under them, which the JSON schema and the docs show",
    )
    entry.config.model_json_schema()
    try:
        entry.config(name=entry.name, **{**options, "no_such_option": 1})
    except ValidationError:
        return
    fail(entry, 'its config takes unknown keys: leave `extra` as it is, "forbid"')


def train_briefly(
    recipe: str | Path, folder: Path, *overrides: str, manager: PluginManager | None = None
) -> TrainedRun:
    """Train two steps of a recipe with small minibatches, on the CPU and without W&B.

    Args:
        recipe: its file.
        folder: where the run directory is made.
        overrides: "path.to.key=value", applied last.
        manager: the plugins to use; left out: those installed.
    """
    brief = {
        "run.steps": 2,
        "run.log_every": 1,
        "run.root": str(folder),
        "trainer.batch_size": 8,
        "device.accelerator": "cpu",
        "device.precision": "fp32",
        "samples.count": 4,
        "samples.gif": False,
        "tracking.wandb.mode": "disabled",
    }
    return api.run(recipe, [*brief.items(), *overrides], manager=manager)
