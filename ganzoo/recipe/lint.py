"""Collect warnings about a valid recipe that may not do what it is meant to: the plugins', and of its scores."""

from __future__ import annotations

from typing import Any

from ganzoo.errors import Problem
from ganzoo.recipe.model import Recipe
from ganzoo.recipe.validate import unfit_best
from ganzoo.registry.plugin_manager import PluginManager


def lint(recipe: Recipe, manager: PluginManager) -> list[Problem]:
    """Return the warnings, those of the plugin registered last first; a plugin's lint that fails becomes a warning."""
    warnings = [*unfit_best(recipe, manager)]  # no error: an observer may take a score of its own
    for implementation in reversed(manager.pluggy.hook.lint_recipe.get_hookimpls()):
        try:
            found: Any = implementation.function(*([recipe] if implementation.argnames else []))
            warnings += [each if isinstance(each, Problem) else Problem("", str(each)) for each in found or []]
        except Exception as error:
            text = f"the lint of the plugin {implementation.plugin_name} failed: {type(error).__name__}: {error}"
            warnings.append(Problem("", text))
    return warnings
