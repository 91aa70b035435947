"""Record of the software of a run: versions, platform, git commit and plugins, to repeat it by."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ganzoo.components.options import ComponentConfig, TrackerConfig
from ganzoo.recipe.model import Recipe
from ganzoo.registry.kinds import Kind
from ganzoo.registry.plugin_manager import PluginInfo, PluginManager
from ganzoo.registry.registry import Entry
from ganzoo.untrusted import read_text


def describe_software(plugin_versions: Mapping[str, str]) -> dict[str, Any]:
    """Return the versions of the software that a run or an import uses."""
    import torch  # not above: a sweep and a comparison read records without it

    return {
        "ganzoo": version("ganzoo-core"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "platform": platform.platform(),
        "plugins": dict(plugin_versions),
        "git_commit": _git_commit(),
    }


def called_plugins(recipe: Recipe, manager: PluginManager) -> list[PluginInfo]:
    """Return the plugins that a run of the recipe calls.

    These are those that its components are of, plugin files that it names, and those with hooks for events of a run.
    """
    called = {entry.plugin for _, entry in chosen_entries(recipe, manager)}
    called |= {name for name, _ in manager.pluggy.observers()}
    files = {file.name for file in manager.files}
    return [each for each in manager.plugins if each.status == "loaded" and (str(each) in called or each.name in files)]


def chosen_entries(recipe: Recipe, manager: PluginManager) -> list[tuple[Kind, Entry]]:
    """Return the components that a recipe names, with their kinds."""
    configs = list(_configs(recipe))
    return [
        (registry.kind, entry)
        for registry in manager.registries.all()
        for entry in registry
        if any(config.name == entry.name and isinstance(config, entry.options) for config in configs)
    ]


def plugin_code(plugins: Iterable[PluginInfo], code: Callable[[PluginInfo], str]) -> dict[str, str]:
    """Return the hash of the files of plugins, by their distribution or file; `code` gives that of each."""
    found: dict[str, set[str]] = {}
    for plugin in plugins:
        found.setdefault(plugin.source, set()).add(code(plugin))
    return {source: "+".join(sorted(hashes)) for source, hashes in sorted(found.items())}


def _configs(value: Any) -> Iterator[ComponentConfig]:
    """Yield the options of every component in a recipe but for trackers that are off."""
    if isinstance(value, ComponentConfig) and not (isinstance(value, TrackerConfig) and not value.enabled):
        yield value
    if isinstance(value, BaseModel):
        value = dict(value)
    for inner in value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ():
        yield from _configs(inner)


def _git_commit() -> str | None:
    """Return the commit that is checked out in the working directory; None outside a repository.

    Git itself would run what a repository's own configuration names, as soon as it compares files with the commit.
    """
    here = Path.cwd()
    git = next((folder / ".git" for folder in (here, *here.parents) if os.path.lexists(folder / ".git")), None)
    if git is None:
        return None
    if link := _content(git).removeprefix("gitdir: "):  # of a worktree or a submodule
        git = git.parent / link
    head = _content(git / "HEAD")
    if head.startswith("ref: refs/") and ".." not in head:
        name = head.removeprefix("ref: ")
        shared = git / _content(git / "commondir")
        packed = [line.split(" ") for line in _content(shared / "packed-refs").splitlines()]
        head = _content(shared / name) or next((line[0] for line in packed if line[1:] == [name]), "")
    return head if re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", head) else None


def _content(path: Path) -> str:
    """Return the text of a file of git; empty where there is none that can be read."""
    try:
        return read_text(path, errors="replace").strip()
    except (OSError, ValueError):
        return ""
