"""Find plugins by their entry points, and register their components and commands."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import inspect
import os
import re
import sys
import traceback
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pluggy

from ganzoo.errors import PluginError
from ganzoo.registry import DISABLE_VARIABLE, ENTRY_POINT_GROUP, FILES_VARIABLE, hookspecs
from ganzoo.registry.commands import Command, CommandRegistrar
from ganzoo.registry.registry import Registrar, Registries
from ganzoo.text import did_you_mean, unused_name
from ganzoo.untrusted import read_bytes

API_VERSION = 1
"""The version of the contracts and hooks; raised when a plugin that follows them would no longer work.

A plugin's module may set `GANZOO_API = 1`; one that sets a later version is not loaded."""

LOCAL = "local file"
"""What plugin files have in place of a distribution."""


@dataclass(frozen=True)
class PluginInfo:
    """One installed plugin, whether it works or not."""

    name: str
    distribution: str
    version: str
    module: str
    status: Literal["loaded", "disabled", "broken"] = "loaded"
    error: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.distribution} {self.version})"

    @property
    def source(self) -> str:
        """The distribution, or the name of the plugin file."""
        return self.name if self.distribution == LOCAL else self.distribution

    def code_on_disk(self) -> str:
        """Return the hash of the plugin file as it is now, or of all files of its package; empty without it."""
        if self.distribution == LOCAL:
            path = Path(self.module)
            return _version_of(read_bytes(path)) if path.is_file() else ""
        package = sys.modules[self.module.partition(":")[0].partition(".")[0]]
        digest = hashlib.sha256()
        for root in map(Path, getattr(package, "__path__", None) or [str(package.__file__)]):
            listed = sorted(root.rglob("*")) if root.is_dir() else [root]
            for file in listed:
                if file.is_file() and "__pycache__" not in file.parts:
                    content = file.read_bytes()
                    digest.update(f"{file.relative_to(root).as_posix()}\0{len(content)}\0".encode() + content)
        return f"sha256:{digest.hexdigest()[:12]}"


@dataclass(frozen=True)
class LocalFile:
    """A plugin file, which no distribution installs; `source` is its content when it was imported."""

    path: Path
    source: bytes

    @property
    def name(self) -> str:
        """The name of the file, which is also the plugin's."""
        return self.path.name

    def is_as(self, path: Path) -> bool:
        """Return whether it is this file, or a copy of it under its name."""
        try:
            return path.resolve() == self.path or (path.name == self.name and read_bytes(path) == self.source)
        except OSError:  # which importing it tells
            return False


class HookManager(pluggy.PluginManager):
    """Pluggy's manager with ganzoo's hooks, which refuses mistakes that pluggy ignores."""

    def __init__(self) -> None:
        super().__init__("ganzoo")
        self.add_hookspecs(hookspecs)

    def register(self, plugin: Any, name: str | None = None) -> str | None:
        """Register a module or object.

        Raises:
            PluginError: it marks a function that is no hook, or a wrapper, or does not mark a hook.
        """
        check_hooks(plugin)
        return super().register(plugin, name)

    def observers(self) -> list[tuple[str, Any]]:
        """Return the names and modules of the plugins that have a hook for events of a run, in the order of loading."""
        found = []
        for name, plugin in self.list_name_plugin():
            hooks = [caller.name for caller in self.get_hookcallers(plugin) or ()] if plugin else []
            if any(not hook.startswith("register_") and hook != "lint_recipe" for hook in hooks):
                found.append((name, plugin))
        return found


class PluginManager:
    """All installed plugins and what they registered.

    A plugin that fails is left out and listed in `plugins` as broken.

    Args:
        disabled: names of plugins to leave out.
        files: plugin files to import beside those that are installed.

    Raises:
        PluginError: one of `files` cannot be used.
    """

    def __init__(self, disabled: Collection[str] = (), files: Iterable[Path] = ()) -> None:
        self.pluggy = HookManager()
        self.registries = Registries()
        self.commands: dict[str, Command] = {}
        self.plugins: list[PluginInfo] = []
        self.files: list[LocalFile] = []
        self._disabled = disabled
        self._code: dict[PluginInfo, str] = {}
        for entry_point, info in sorted(_installed(), key=_own_first):
            self.plugins.append(self._load(entry_point, info))
        for path in files:
            if not any(file.is_as(path) for file in self.files):
                self._load_file(path)

    def with_files(self, files: Iterable[Path]) -> PluginManager:
        """Import plugin files, and return a manager that has them too; this one does not change.

        Raises:
            PluginError: one of them cannot be used.
        """
        files = [path for path in files if not any(file.is_as(path) for file in self.files)]
        if not files:
            return self
        return PluginManager(self._disabled, [*(file.path for file in self.files), *files])

    @property
    def broken(self) -> list[PluginInfo]:
        """The plugins that could not be used."""
        return [plugin for plugin in self.plugins if plugin.status == "broken"]

    def of_distribution(self, name: str) -> list[PluginInfo]:
        """Return the plugins of a distribution, however its name is written (PyPA's name normalization)."""
        return [plugin for plugin in self.plugins if _canonical(plugin.distribution) == _canonical(name)]

    def lacking(self, distribution: str) -> list[str]:
        """Say what keeps the components of a distribution from being there; nothing where they are."""
        found = self.of_distribution(distribution)
        if not found:
            return [f'"{distribution}" is not installed; pip installs it from its folder']
        told = {"disabled": "is disabled", "broken": "does not load"}
        return [
            f"the plugin {plugin} {told[plugin.status]}" + (f": {plugin.error}" if plugin.status == "broken" else "")
            for plugin in found
            if plugin.status in told
        ]

    def distributions(self) -> dict[str, str]:
        """Return name and version of every distribution, or plugin file, that a loaded plugin came from."""
        return {plugin.source: plugin.version for plugin in self.plugins if plugin.status == "loaded"}

    def code(self, plugin: PluginInfo) -> str:
        """Return the hash of a plugin's files: of a file when it was imported, of a package when it is first asked."""
        if plugin not in self._code:
            self._code[plugin] = plugin.version if plugin.distribution == LOCAL else plugin.code_on_disk()
        return self._code[plugin]

    def _load_file(self, path: Path) -> None:
        """Import a plugin file and register its components; a failure is an error, since the recipe names the file."""
        path = path.resolve()
        if any(file.name == path.name for file in self.files):
            raise PluginError(f"{path}: there is another plugin file of the name {path.name}: rename one of the two")
        try:
            source = read_bytes(path)
        except OSError as error:
            raise PluginError(f"{path}: the plugin file cannot be read: {error.strerror}") from error
        info = PluginInfo(path.name, LOCAL, _version_of(source), str(path))
        try:
            module = _import_source(unused_name(f"ganzoo_local_{path.stem}", sys.modules), path, source)
            self._register(module, str(info), {path.stem: module.__name__})
            if not any(hasattr(function, "ganzoo_impl") for function in vars(module).values()):
                raise PluginError("implements no hook: mark a function such as register_losses with @hookimpl")
        except (Exception, SystemExit) as error:
            raise PluginError(f"the plugin file {path} cannot be used: {_explain(error)}") from error
        self.plugins.append(info)
        self.files.append(LocalFile(path, source))

    def _load(self, entry_point: EntryPoint, info: PluginInfo) -> PluginInfo:
        """Load one plugin, and return its info with its status."""
        if info.name in self._disabled:
            return replace(info, status="disabled")
        for other in self.plugins:
            if other.name == info.name:
                error = (
                    f'the distribution {other.distribution} has a plugin of the name "{info.name}" too: uninstall one'
                )
                return replace(info, status="broken", error=error)
        try:
            self._register(entry_point.load(), str(info))
        except (Exception, SystemExit) as error:  # a script without a main guard exits when it is imported
            cure = ""
            if not isinstance(error, PluginError):
                cure = f"; upgrade or uninstall {info.distribution}, or give --no-plugin {info.name}"
            return replace(info, status="broken", error=_explain(error) + cure)
        return info

    def _register(self, module: Any, plugin: str, imported_as: Mapping[str, str] | None = None) -> None:
        """Register a plugin's hooks, components and commands, or none of them where one fails."""
        imported_as = imported_as or {}
        try:
            _check_api_version(module)
            self.pluggy.register(module, name=plugin)
            others = [other for other in self.pluggy.get_plugins() if other is not module]
            for hook, registries in self.registries.by_hook().items():
                self.pluggy.subset_hook_caller(hook, others)(register=Registrar(registries, plugin, imported_as))
            register = CommandRegistrar(self.commands, plugin, imported_as)
            self.pluggy.subset_hook_caller("register_commands", others)(register=register)
        except BaseException:
            if self.pluggy.get_plugin(plugin) is module:
                self.pluggy.unregister(module)
            for registry in self.registries.all():
                registry.remove(plugin)
            self.commands = {name: each for name, each in self.commands.items() if each.plugin != plugin}
            raise


def _installed() -> Iterator[tuple[EntryPoint, PluginInfo]]:
    """Yield the entry points of all plugins."""
    for entry_point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        # `metadata` reads and parses the file each time.
        metadata = entry_point.dist.metadata if entry_point.dist else {"Name": "unknown", "Version": "unknown"}
        yield entry_point, PluginInfo(entry_point.name, metadata["Name"], metadata["Version"], entry_point.value)


def _own_first(installed: tuple[EntryPoint, PluginInfo]) -> tuple[bool, str, str]:
    """Return a sort key that puts the core's components first, so that errors name a plugin which takes their name."""
    entry_point, info = installed
    return (not entry_point.module.startswith("ganzoo."), info.distribution, info.name)


def _canonical(distribution: str) -> str:
    """Return the normalized name of a distribution (PyPA's name normalization)."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _import_source(name: str, path: Path, source: bytes) -> Any:
    """Import a module from exactly these bytes, so that the copy kept with a run is what it ran."""
    spec = importlib.util.spec_from_loader(name, loader=None, origin=str(path))
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(path)
    sys.modules[name] = module  # pydantic and dataclasses resolve annotations there
    try:
        exec(compile(source, str(path), "exec"), vars(module))  # noqa: S102
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _version_of(source: bytes) -> str:
    """Return the version of a plugin file: the hash of its content."""
    return f"sha256:{hashlib.sha256(source).hexdigest()[:12]}"


def check_hooks(plugin: Any) -> None:
    """Check that functions marked as hooks are hooks, with known arguments, and that each hook is marked.

    Raises:
        PluginError: a function fails a check; of an object, the text names its class and file.
    """
    try:
        _check_hooks(plugin)
    except PluginError as error:
        if isinstance(plugin, ModuleType):
            raise
        module = sys.modules.get(type(plugin).__module__)
        file = f" in {Path(module.__file__).name}" if module and module.__file__ else ""
        raise PluginError(f"the observer {type(plugin).__name__}{file}: {error}") from error


def _check_hooks(plugin: Any) -> None:
    specs = {name: spec for name, spec in vars(hookspecs).items() if hasattr(spec, "ganzoo_spec")}
    is_module = isinstance(plugin, ModuleType)
    attributes = vars(plugin) if is_module else {name: inspect.getattr_static(plugin, name) for name in dir(plugin)}
    for name, function in attributes.items():
        options = getattr(function, "ganzoo_impl", None)
        options = options if isinstance(options, dict) else None  # torch.ops has something of any name
        if options is not None and name not in specs:
            close = did_you_mean(name, specs)
            raise PluginError(f'there is no hook "{name}"{close}; the hooks are: {", ".join(sorted(specs))}')
        own = getattr(function, "__module__", "") == plugin.__name__ if is_module else callable(function)
        if options is None and name in specs and own:
            raise PluginError(
                f"the function {name} has the name of a hook and would not be called: put @hookimpl above it"
            )
        if options is not None and (options.get("wrapper") or options.get("hookwrapper")):
            raise PluginError(
                f"the hook {name} is marked as a wrapper, and ganzoo's hooks take none: put plain @hookimpl above it, "
                "with tryfirst=True or trylast=True to be called before or after the others"
            )
        if options is not None:
            _check_arguments(name, getattr(plugin, name), list(inspect.signature(specs[name]).parameters))


def _check_arguments(hook: str, function: Any, given: list[str]) -> None:
    for name, argument in inspect.signature(function).parameters.items():
        if argument.default is argument.empty and name not in given:
            close = did_you_mean(name, given)
            raise PluginError(f'the hook {hook} is given no "{name}"{close}; it may take: {", ".join(given)}')


def _check_api_version(module: Any) -> None:
    wanted = getattr(module, "GANZOO_API", API_VERSION)
    if not isinstance(wanted, int):
        raise PluginError(f"GANZOO_API is {wanted!r}, but must be a whole number such as {API_VERSION}")
    if wanted > API_VERSION:
        raise PluginError(
            f"is built for version {wanted} of ganzoo's plugin interface, and ganzoo-core "
            f"{importlib.metadata.version('ganzoo-core')} has version {API_VERSION}: upgrade ganzoo-core, "
            f"or install an older release of the plugin"
        )


def _explain(error: BaseException) -> str:
    """Describe an error in one line, with its file and line unless the message has them."""
    if isinstance(error, PluginError):
        return str(error)
    text = " ".join(f"{type(error).__name__}: {error}".split())
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
    if isinstance(error, SyntaxError) or not frames or frames[-1].filename == __file__:
        return text
    return f"{text} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"


@cache
def plugin_manager() -> PluginManager:
    """Return the process's plugins, loaded once; `GANZOO_DISABLE_PLUGINS` (comma-separated names) leaves some out.

    `GANZOO_PLUGIN_FILES` (paths that end in .py, separated as in PATH) adds plugin files.
    """
    disabled = os.environ.get(DISABLE_VARIABLE, "")
    files = os.environ.get(FILES_VARIABLE, "").strip(os.pathsep)
    return PluginManager(
        [name.strip() for name in disabled.split(",") if name.strip()],
        [Path(path) for path in re.split(rf"(?<=\.py){os.pathsep}+", files) if path],  # a path may have one too
    )
