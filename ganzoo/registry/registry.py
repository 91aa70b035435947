"""Register components by name, list them, and load the one that a recipe names."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    PydanticSchemaGenerationError,
    PydanticUndefinedAnnotation,
    Tag,
    create_model,
)
from pydantic_core import PydanticCustomError

from ganzoo.components.options import ComponentConfig
from ganzoo.errors import PluginError, first_line
from ganzoo.registry.commands import import_target, imported
from ganzoo.registry.kinds import KINDS, Kind

NAME_TAG, TABLE_TAG = "(name)", "(table)"
"""What pydantic puts into the place of an error in a component that may be given by its name alone."""


@dataclass(frozen=True)
class Entry:
    """One registered component.

    `target` is its class, or "module:Class" to be imported when it is first built; `options` is its `Config`;
    `parts` are the registries of components that its options may hold, by their configs.
    """

    name: str
    target: type | str
    options: type[Any]
    plugin: str
    parts: Mapping[Any, Registry] = field(default_factory=dict, repr=False)

    @cached_property
    def config(self) -> type[Any]:
        """The `Config` with the field `name` narrowed to this name; made on first use.

        A field of the type of a kind's config, such as `OptimizerConfig`, takes any registered component of the kind
        that holds none of this kind itself.
        """
        base = self.options
        fields: dict[str, Any] = {"name": (Literal[self.name], ...)}
        for key, kind in self.held.items():
            option, registry = base.model_fields[key], self.parts[kind]
            default = ... if option.is_required() else registry.narrow(option.default)
            plain = [entry.name for entry in registry if kind not in entry.held.values()]
            fields[key] = (registry.options_type(plain), default)
        made = create_model(base.__name__, __base__=base, __doc__=base.__doc__, **fields)
        narrowed = cast("type[ComponentConfig]", made)
        narrowed.load_component = self.load
        return narrowed

    @property
    def held(self) -> dict[str, Any]:
        """The options that hold a component, each with the base class of that component's config."""
        annotations = {key: option.annotation for key, option in self.options.model_fields.items()}
        return {key: each for key, each in annotations.items() if isinstance(each, type) and each in self.parts}

    def load(self) -> Any:
        """Return the component's class, imported if it was registered as "module:Class".

        Raises:
            PluginError: it cannot be imported, lacks methods, or its `Config` is not the registered one.
        """
        if isinstance(self.target, type):
            return self.target
        what = f'"{self.name}" of the plugin {self.plugin}'
        component = import_target(self.target, what)
        config = getattr(component, "Config", None)
        if config is not self.options:
            raise PluginError(
                f"{what} is registered with the config {self.options.__name__}, but {self.target} has "
                f"{getattr(config, '__name__', config)}: set `Config` in the class to the config it is registered with"
            )
        check_complete(component, self.name, self.plugin)
        return component


def check_complete(component: type, name: str, plugin: str) -> None:
    """Check that a class has every method of its contract.

    Raises:
        PluginError: it lacks some; the text names them.
    """
    if lacking := sorted(getattr(component, "__abstractmethods__", ())):
        raise PluginError(
            f'"{name}" of the plugin {plugin}: its class {component.__name__} lacks {" and ".join(lacking)}: define '
            f"{'it' if len(lacking) == 1 else 'them'} there"
        )


class Registry:
    """The components of one kind, in the order of their names."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.parts: dict[Any, Registry] = {}
        self._entries: dict[str, Entry] = {}

    def register(self, name: str, target: type | str, config: type[Any], plugin: str) -> None:
        """Register one component.

        Raises:
            PluginError: the name is taken; the text names both plugins.
        """
        if name in self._entries:
            raise PluginError(
                f'the {self.kind.name} name "{name}" is taken by the plugin {self._entries[name].plugin}; '
                f"the plugin {plugin} wants it too: rename it there, or leave one of the two out with --no-plugin"
            )
        self._entries[name] = Entry(name, target, config, plugin, self.parts)

    def remove(self, plugin: str) -> None:
        """Remove everything that a plugin registered."""
        self._entries = {name: entry for name, entry in self._entries.items() if entry.plugin != plugin}

    def names(self) -> list[str]:
        """Return all registered names, sorted."""
        return sorted(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return (self._entries[name] for name in self.names())

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __getitem__(self, name: str) -> Entry:
        return self._entries[name]

    def chosen(self, by: Callable[[Any], bool]) -> list[Any]:
        """Return default options of the components that `by` says yes of, in the order of registration."""
        return [entry.config(name=entry.name) for entry in self._entries.values() if by(entry.options)]

    def narrow(self, config: Any) -> Any:
        """Return options as those of the registered component that they name."""
        return self[config.name].config(**dict(config)) if getattr(config, "name", "") in self else config

    def tables_type(self, base: type[BaseModel]) -> type[BaseModel]:
        """Return a class of options with the table of each component under its name, derived from `base`."""
        fields: dict[str, Any] = {}
        for entry in self:
            options = entry.options
            name: Any = (Literal[entry.name], Field(default=entry.name, exclude=True))  # the table's name says it
            config = create_model(options.__name__, __base__=entry.config, __doc__=options.__doc__, name=name)
            default = config() if getattr(config, "by_default", False) else None
            fields[entry.name] = (config | None, Field(default=default, description=options.__doc__))
        return create_model(f"{self.kind.name.capitalize()}Tables", __base__=base, __doc__=base.__doc__, **fields)

    def options_type(self, names: Collection[str] | None = None) -> Any:
        """Return the type of a recipe's table for this kind: a union of the registered configs, selected by `name`.

        Args:
            names: components to include; left out, or none of them registered: all.
        """
        wanted = [entry for entry in self if names is None or entry.name in names]
        configs = [entry.config for entry in wanted or self]
        if not configs:
            return Annotated[self.kind.config, BeforeValidator(_nothing_registered)]
        table: Any = configs[0] if len(configs) == 1 else Annotated[reduce(or_, configs), Field(discriminator="name")]
        if not self.kind.bare:
            return table
        named = Annotated[table, BeforeValidator(lambda name: {"name": name}, json_schema_input_type=str)]
        return Annotated[  # told apart first: what a validator has changed is no JSON any more, whose lists are tuples
            Annotated[named, Tag(NAME_TAG)] | Annotated[table, Tag(TABLE_TAG)],
            Discriminator(lambda given: NAME_TAG if isinstance(given, str) else TABLE_TAG),
        ]


def _nothing_registered(table: Any) -> Any:
    raise PydanticCustomError("nothing_registered", "nothing of this kind is installed")


class Registries:
    """One registry for each kind of component, under its plural: `registries.generators`."""

    def __init__(self) -> None:
        vars(self).update({kind.plural: Registry(kind) for kind in KINDS})
        for registry in self.all():
            registry.parts.update({other.kind.config: other for other in self.all()})

    if TYPE_CHECKING:

        def __getattr__(self, plural: str) -> Registry: ...

    def all(self) -> list[Registry]:
        """Return every registry."""
        return [*vars(self).values()]

    def by_hook(self) -> dict[str, tuple[Registry, ...]]:
        """Return the registries that each hook fills."""
        hooks = dict.fromkeys(kind.hook for kind in KINDS)
        return {hook: tuple(each for each in self.all() if each.kind.hook == hook) for hook in hooks}


@contextmanager
def telling_types(registries: Registries) -> Iterator[None]:
    """Tell the plugin whose options have a type that pydantic cannot check: only building a recipe's model shows it.

    Raises:
        PluginError: one has.
    """
    try:
        yield
    except PydanticSchemaGenerationError:
        for entry in (entry for registry in registries.all() for entry in registry):
            try:
                entry.config.model_rebuild(force=True)
            except PydanticSchemaGenerationError as error:
                reason = first_line(error).partition(". ")[0]
                what = f'"{entry.name}" of the plugin {entry.plugin}: the options of {entry.options.__name__}'
                raise PluginError(f"{what} have a type that no recipe can hold: {reason}") from error
        raise


@dataclass(frozen=True)
class Registrar:
    """The argument of a registration hook: registers components for the plugin that calls it.

    `imported_as`: the names in `sys.modules` of modules that have another there, as a plugin file has.
    """

    registries: tuple[Registry, ...]
    plugin: str
    imported_as: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, name: str, component: type | str, *, config: type[ComponentConfig] | None = None) -> None:
        """Register a component under `name`.

        Args:
            name: its name in recipes.
            component: its class (of an optimizer, its config); or "module:Class", together with `config`, so that
                torch is not imported until a recipe builds it.
            config: the component's `Config`; needed only beside a "module:Class".

        Raises:
            PluginError: the name is taken or no name, the class lacks methods or is not of a kind that this hook
                registers, or its options name a type that does not exist.
        """
        if not isinstance(name, str) or not re.fullmatch(r"[\w-]+", name):
            raise PluginError(
                f'the plugin {self.plugin} registers {name!r}: make a name of letters, digits, "_" and "-"'
            )
        if not isinstance(component, type | str):
            raise PluginError(
                f'the plugin {self.plugin} registers "{name}" as an object: register its class, '
                f"{type(component).__name__}, of which each run makes its own"
            )
        if config is None:
            config = getattr(component, "Config", component if isinstance(component, type) else None)
        if not (isinstance(config, type) and issubclass(config, ComponentConfig)):
            raise PluginError(
                f'the plugin {self.plugin} registers "{name}" without a config: give {component!r} a nested '
                f"`Config` class, or pass `config=` beside a module path"
            )
        if not config.__pydantic_fields_complete__:  # the types of some options could not be found yet
            try:
                config.model_rebuild()
            except PydanticUndefinedAnnotation as error:
                what = f'"{name}" of the plugin {self.plugin}: the options of {config.__name__}'
                raise PluginError(f"{what} have a type {error.name} that is not there: import or define it") from error
        if isinstance(component, str):
            component = imported(component, self.imported_as)
        else:
            check_complete(component, name, self.plugin)
        for registry in self.registries:
            if issubclass(config, registry.kind.config):
                registry.register(name, component, config, self.plugin)
                return
        kinds = " or ".join(f"{registry.kind.name} ({registry.kind.config.__name__})" for registry in self.registries)
        raise PluginError(
            f'the plugin {self.plugin} registers "{name}" through a hook for a {kinds}, but its config '
            f"{config.__name__} derives from none of these"
        )
