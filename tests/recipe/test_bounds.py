"""Every option that is a number has a bound, so that a slip is an error of the recipe and not of a tensor."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ganzoo.recipe.model import Recipe
from ganzoo.registry.kinds import KINDS
from ganzoo.registry.plugin_manager import PluginManager

PAIRS = {"value_range"}
"""Options whose numbers are of any size, and compared with each other instead."""


def bounded(metadata: list[Any]) -> bool:
    facts = [fact for each in metadata for fact in (each.metadata if isinstance(each, FieldInfo) else [each])]
    return any(getattr(fact, bound, None) is not None for fact in facts for bound in ("ge", "gt", "le", "lt"))


def numbers(kind: Any, metadata: list[Any]) -> Iterator[tuple[bool, type[BaseModel] | None]]:
    """Whether each number in a type is bounded, and the options within."""
    if typing.get_origin(kind) is Annotated:
        inner, *more = typing.get_args(kind)
        yield from numbers(inner, [*metadata, *more])
    elif kind in (int, float):
        yield bounded(metadata), None
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        yield True, kind
    else:
        alternatives = typing.get_origin(kind) in (UnionType, typing.Union)
        for part in typing.get_args(kind):
            if not isinstance(part, str | int | bytes):
                yield from numbers(part, metadata if alternatives else [])


def unbounded(options: type[BaseModel], seen: set[str]) -> Iterator[str]:
    for name, field in options.model_fields.items():
        for has_bound, within in numbers(field.annotation, list(field.metadata)):
            if not has_bound and name not in PAIRS:
                yield f"{options.__name__}.{name}"
            if within is not None and repr(within) not in seen:
                seen.add(repr(within))
                yield from unbounded(within, seen)


def test_every_number_has_a_bound(manager: PluginManager):
    configs = [entry.config for kind in KINDS for entry in getattr(manager.registries, kind.plural)]
    seen: set[str] = set()
    assert len(configs) > 50
    assert sorted({name for each in (Recipe, *configs) for name in unbounded(each, seen)}) == []
