"""What is checked of a recipe beyond its tables: that the plugins it requires are there, and that its parts fit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ganzoo.errors import Problem
from ganzoo.images import Facts
from ganzoo.plugin_manager import PluginManager
from ganzoo.recipe_evaluation import unfit_images

if TYPE_CHECKING:
    from ganzoo.recipe import Recipe


def missing_plugins(tables: Mapping[str, Any], manager: PluginManager) -> list[Problem]:
    """The distributions that the recipe requires and that bring no working plugin."""
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
    """The one spelling of a distribution's name (PyPA's name normalisation)."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def unfit_parts(recipe: Recipe) -> list[Problem]:
    """Parts that cannot work on images of the size that the dataset will have, or without labels."""
    facts = Facts(recipe.dataset.image_spec())
    parts = {
        "generator": recipe.generator,
        "discriminator": recipe.discriminator,
        "loss": recipe.loss,
        **{f"penalties.{index}": penalty for index, penalty in enumerate(recipe.penalties)},
        **{f"evaluation.extractors.{index}": each for index, each in enumerate(recipe.evaluation.extractors)},
    }
    problems = unfit_images(recipe.evaluation, recipe.dataset)
    for path, config in parts.items():
        try:
            config.check_facts(facts)
        except ValueError as error:
            problems.append(Problem(path, f'"{config.name}" {error}'))
        if config.needs_labels and recipe.dataset.has_labels is False:
            problems.append(
                Problem(
                    path,
                    f'"{config.name}" needs labels, and the dataset "{recipe.dataset.name}" has none as it is set up',
                )
            )
    return problems


def unmet_wishes(recipe: Recipe) -> list[Problem]:
    """Options that can come to nothing because of another."""
    if recipe.tracking.wandb.checkpoints == "best" and recipe.checkpoint.best is None:
        needs = 'is "best", which nothing says: name the score to go by in checkpoint.best, or take true'
        return [Problem("tracking.wandb.checkpoints", needs)]
    return []
