"""Check that the plugins a recipe requires are installed, and that its parts fit each other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from ganzoo.components.options import DatasetConfig
from ganzoo.components.spec import DatasetInfo
from ganzoo.errors import Problem
from ganzoo.recipe.model import EvaluationOptions, Recipe
from ganzoo.registry.kinds import KINDS
from ganzoo.registry.plugin_manager import PluginManager


def missing_plugins(tables: Mapping[str, Any], manager: PluginManager) -> list[Problem]:
    """List the distributions that the recipe requires and that have no working plugin."""
    plugins = tables.get("plugins")
    requires = plugins.get("requires", []) if isinstance(plugins, dict) else []
    if not isinstance(requires, list):
        return []
    problems = []
    for distribution in requires:
        if not isinstance(distribution, str):
            continue
        found = [plugin for plugin in manager.plugins if _canonical(plugin.distribution) == _canonical(distribution)]
        if not found:
            problems.append(
                Problem(
                    "plugins.requires",
                    f'"{distribution}" is not installed; pip installs it from its folder',
                )
            )
        for plugin in found:
            if plugin.status == "disabled":
                problems.append(Problem("plugins.requires", f"the plugin {plugin} is disabled"))
            elif plugin.status == "broken":
                problems.append(Problem("plugins.requires", f"the plugin {plugin} does not load: {plugin.error}"))
    return problems


def _canonical(distribution: str) -> str:
    """Return the normalized name of a distribution (PyPA's name normalization)."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def unfit_parts(recipe: Recipe) -> list[Problem]:
    """List the parts that cannot work on images of the dataset's size, or without labels."""
    info = DatasetInfo(recipe.dataset.sample_spec(), condition=recipe.dataset.condition_spec())
    problems = unfit_images(recipe.evaluation, recipe.dataset)
    for path, config in [part for kind in KINDS for part in kind.configs(recipe).items()]:
        try:
            config.check_info(info)
        except ValueError as error:
            problems.append(Problem(path, f'"{config.name}" {error}'))
        if "labels" in config.uses and recipe.dataset.has_labels is False:
            problems.append(
                Problem(
                    path,
                    f'"{config.name}" needs labels, and the dataset "{recipe.dataset.name}" has none as it is set up',
                )
            )
        if "condition" in config.uses and info.condition is None:
            problems.append(
                Problem(path, f'"{config.name}" needs conditions, and the dataset "{recipe.dataset.name}" has none')
            )
    return problems


def unmet_wishes(recipe: Recipe) -> list[Problem]:
    """List the options that have no effect because of another."""
    if recipe.tracking.wandb.checkpoints == "best" and recipe.checkpoint.best is None:
        needs = 'is "best", which nothing says: name the score to go by in checkpoint.best, or take true'
        return [Problem("tracking.wandb.checkpoints", needs)]
    return []


FIXED_BY_NETWORKS = ("name", "image_size", "channels")


def other_images(dataset: DatasetConfig, changes: Mapping[str, Any], image_size: int | None = None) -> DatasetConfig:
    """Return the options of a dataset with some of them changed.

    Raises:
        ValueError: a changed option is unknown, has a wrong value, or is fixed by the networks.
    """
    taken = [key for key in changes if key in FIXED_BY_NETWORKS]
    if taken:
        raise ValueError(f"{', '.join(taken)} must be as in [dataset]: leave out")
    size = {"image_size": image_size} if image_size else {}
    options = {**dataset.model_dump(mode="json", exclude_none=True), **changes, **size}
    try:
        return type(dataset).model_validate(options)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise ValueError(f"{key}: {first['msg'][:1].lower()}{first['msg'][1:]}") from None


def unfit_images(options: EvaluationOptions, dataset: DatasetConfig) -> list[Problem]:
    """List the problems with the images that [evaluation] names."""
    problems = []
    for table in ("real", "held_out"):
        try:
            other_images(dataset, getattr(options, table), options.image_size)
        except ValueError as error:
            problems.append(Problem(f"evaluation.{table}", str(error)))
    return problems
