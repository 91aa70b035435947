"""Check that the plugins a recipe requires are installed, and that its parts fit each other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from ganzoo.components.options import ROLES, ComponentConfig, DatasetConfig, GeneratorConfig
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
    """List the parts that cannot work on samples of the dataset's shape, or without labels or a condition."""
    dataset = recipe.dataset
    info = DatasetInfo(dataset.sample_spec(), condition=dataset.condition_spec())
    problems = unfit_images(recipe.evaluation, dataset)
    for path, config in [part for kind in KINDS if kind.name not in ROLES for part in kind.configs(recipe).items()]:
        problems += _unfit(path, config, info, recipe)
    for role in recipe.trainer.roles:
        try:
            of_role = recipe.trainer.info_for(role, info)
        except ValueError as error:
            return [*problems, Problem("trainer", f'"{recipe.trainer.name}" {error}')]
        problems += _unfit(role if role in ROLES else f"networks.{role}", recipe.network(role), of_role, recipe)
    return problems


def _unfit(path: str, config: ComponentConfig, info: DatasetInfo, recipe: Recipe) -> Iterator[Problem]:
    try:
        config.check_info(info)
    except ValueError as error:
        yield Problem(path, f'"{config.name}" {error}')
    dataset = recipe.dataset
    has = {"labels": dataset.has_labels is not False, "condition": info.condition is not None}
    for needed in sorted(each for each in config.uses if not has[each]):
        needs = needed.replace("condition", "a condition")
        lacking = f'the dataset "{dataset.name}" has none as it is set up'
        yield Problem(path, f'"{config.name}" needs {needs}, and {lacking}')
    if isinstance(config, GeneratorConfig) and not config.latent_dim and "condition" not in config.uses:
        yield Problem(
            f"{path}.latent_dim", f'is 0, and "{config.name}" takes no condition: all samples would be the same'
        )


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
