"""Finds plugins by their entry points, remembers where each came from, and fills the registries."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import pluggy

from ganzoo import hookspecs
from ganzoo.errors import PluginError
from ganzoo.recipe_errors import did_you_mean
from ganzoo.registry import Registrar, Registries, Registry

ENTRY_POINT_GROUP = "ganzoo"
DISABLE_VARIABLE = "GANZOO_DISABLE_PLUGINS"


@dataclass(frozen=True)
class PluginInfo:
    """One plugin that is installed, whether it works or not."""

    name: str
    distribution: str
    version: str
    module: str
    status: Literal["loaded", "disabled", "broken"]
    error: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.distribution} {self.version})"


class PluginManager:
    """All installed plugins and what they registered.

    A plugin that fails is kept out and reported in `plugins`; the others work on.

    Args:
        disabled: names of plugins to leave out.
    """

    def __init__(self, disabled: Collection[str] = ()) -> None:
        self.pluggy = pluggy.PluginManager("ganzoo")
        self.pluggy.add_hookspecs(hookspecs)
        self.registries = Registries()
        self.plugins: list[PluginInfo] = []
        seen: dict[str, PluginInfo] = {}
        entry_points = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
        for entry_point in sorted(entry_points, key=_own_first):
            info = self._load(entry_point, disabled, seen)
            seen.setdefault(info.name, info)
            self.plugins.append(info)

    @property
    def broken(self) -> list[PluginInfo]:
        """The plugins that could not be used."""
        return [plugin for plugin in self.plugins if plugin.status == "broken"]

    def distributions(self) -> dict[str, str]:
        """Name and version of every distribution that a loaded plugin came from."""
        return {plugin.distribution: plugin.version for plugin in self.plugins if plugin.status == "loaded"}

    def _load(
        self,
        entry_point: importlib.metadata.EntryPoint,
        disabled: Collection[str],
        seen: dict[str, PluginInfo],
    ) -> PluginInfo:
        def info(status: Literal["loaded", "disabled", "broken"], error: str = "") -> PluginInfo:
            dist = entry_point.dist
            distribution, version = (dist.name, dist.version) if dist else ("unknown", "unknown")
            return PluginInfo(entry_point.name, distribution, version, entry_point.value, status, error)

        if entry_point.name in disabled:
            return info("disabled")
        if entry_point.name in seen:
            other = seen[entry_point.name].distribution
            return info(
                "broken",
                f'the distribution {other} has a plugin of the name "{entry_point.name}" too: uninstall one',
            )
        try:
            self._register(entry_point.load(), str(info("loaded")))
        except (Exception, SystemExit) as error:  # a script without a main guard leaves when it is imported
            return info("broken", _explain(error))
        return info("loaded")

    def _register(self, module: Any, plugin: str) -> None:
        """Register a plugin's hooks and the components it has, or, where any of it fails, nothing of it."""
        registries = self.registries
        hooks: dict[str, tuple[Registry[Any], ...]] = {
            "register_architectures": (registries.generators, registries.discriminators),
            "register_losses": (registries.losses, registries.penalties),
            "register_datasets": (registries.datasets,),
            "register_trainers": (registries.trainers,),
            "register_importers": (registries.importers,),
        }
        try:
            self._check_hook_names(module)
            self.pluggy.register(module, name=plugin)
            others = [other for other in self.pluggy.get_plugins() if other is not module]
            for hook, targets in hooks.items():
                self.pluggy.subset_hook_caller(hook, others)(register=Registrar(targets, plugin))
        except BaseException:
            if self.pluggy.get_plugin(plugin) is module:
                self.pluggy.unregister(module)
            for registry in registries.all():
                registry.remove(plugin)
            raise

    def _check_hook_names(self, module: Any) -> None:
        known = {name for name, spec in vars(hookspecs).items() if hasattr(spec, "ganzoo_spec")}
        for name, function in vars(module).items():
            if hasattr(function, "ganzoo_impl") and name not in known:
                close = did_you_mean(name, known)
                raise PluginError(f'there is no hook "{name}"{close}; the hooks are: {", ".join(sorted(known))}')


def _own_first(entry_point: importlib.metadata.EntryPoint) -> tuple[bool, str, str]:
    """The core's own components come first, so that a plugin which takes one of their names is the one at fault."""
    distribution = entry_point.dist.name if entry_point.dist else ""
    return (not entry_point.module.startswith("ganzoo."), distribution, entry_point.name)


def _explain(error: BaseException) -> str:
    return str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"


@cache
def plugin_manager() -> PluginManager:
    """The process's plugins, loaded once; `GANZOO_DISABLE_PLUGINS` (names, comma between) leaves some out."""
    disabled = os.environ.get(DISABLE_VARIABLE, "")
    return PluginManager([name.strip() for name in disabled.split(",") if name.strip()])
