"""Fit a recipe's tables to the parts that overrides put in the place of others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from ganzoo.recipe.messages import dotted, node_at, toml_location, value_at
from ganzoo.recipe.overrides import TextPair

Location = tuple[str | int, ...]


class Swaps:
    """Mends what overrides leave behind, one validation error after another.

    - Options of the file that a new part lacks, or takes other values of, are dropped.
    - A table that overrides made gets the name of the part that the model has by default.
    - A bare word such as 2024 is text where the option is.

    What the overrides set themselves stays, and is an error where it is wrong.

    Args:
        before: tables without the overrides.
        after: tables with them, which are changed.
        pairs: the overrides.
    """

    def __init__(self, before: Mapping[str, Any], after: dict[str, Any], pairs: Sequence[tuple[str, Any]]) -> None:
        self._before, self._tables = before, after
        self._set = [location_of(key) for key, _ in pairs]
        self._texts = {location_of(pair[0]): pair.text for pair in pairs if isinstance(pair, TextPair)}
        self._dropped: dict[tuple[Location, bool], list[str]] = {}
        named = dict.fromkeys(location[:-1] for location in self._set if location[-1] == "name")
        self._swapped = [place for place in named if self._name(before, place) != self._name(after, place)]

    def mend(self, error: ValidationError, model: type[BaseModel]) -> bool:
        """Mend what can be of the errors that `model` found; return whether the tables have changed."""
        schema: dict[str, Any] = {}
        changed = False
        for detail in error.errors(include_url=False):
            location = tuple(toml_location(detail["loc"], self._tables))
            schema = schema or model.model_json_schema()
            match detail["type"]:
                case "string_type" if location in self._texts:
                    self._put(location, self._texts.pop(location))
                    changed = True
                case "missing" | "union_tag_not_found":
                    changed |= self._name_default(location, schema)
                case kind:
                    changed |= self._drop(location, schema, unknown=kind == "extra_forbidden")
        return changed

    def notes(self) -> Iterator[str]:
        """Describe what was dropped, a line for each new part."""
        for (place, unknown), options in self._dropped.items():
            name, what = self._name(self._tables, place), ", ".join(options)
            why = f"has no {what}" if unknown else f"does not take {what} as the recipe has it"
            yield f'{dotted(place)}: "{name}" {why}: left out'

    def _drop(self, location: Location, schema: Mapping[str, Any], *, unknown: bool) -> bool:
        """Drop the option at or around a place, where it was left behind by a part that is gone."""
        places = [place for place in self._swapped if location[: len(place)] == place != location]
        if not places:
            return False
        place = max(places, key=len)
        inner = location[len(place) :]
        lists = [index for index, step in enumerate(inner) if isinstance(step, int)]
        option = (*place, *inner[: lists[0] if lists else None])
        own = any(option[: len(each)] == each or each[: len(option)] == option for each in self._set)
        name = node_at(place, self._tables, schema).get("properties", {}).get("name", {})
        if own or not {"const", "enum"} & name.keys() or option[-1] == "name":
            return False
        table = value_at(option[:-1], self._tables)
        if not isinstance(table, dict) or option[-1] not in table:
            return False
        del table[option[-1]]
        self._dropped.setdefault((place, unknown), []).append(dotted(option[len(place) :]))
        return True

    def _name_default(self, location: Location, schema: Mapping[str, Any]) -> bool:
        """Name the part of a table that overrides made, where the model has one by default."""
        place = location[:-1] if location[-1:] == ("name",) else location
        table = value_at(place, self._tables)
        if not isinstance(table, dict) or "name" in table or value_at(place, self._before) is not None:
            return False
        around = node_at(place[:-1], self._tables, schema).get("properties", {})
        default = around.get(place[-1], {}).get("default")
        if not isinstance(default, Mapping) or "name" not in default:
            return False
        table["name"] = default["name"]
        return True

    def _name(self, tables: Mapping[str, Any], place: Location) -> Any:
        return value_at((*place, "name"), tables)

    def _put(self, location: Location, value: Any) -> None:
        value_at(location[:-1], self._tables)[location[-1]] = value


def location_of(key: str) -> Location:
    """Return the steps of a dotted key; numbers are places of a list."""
    return tuple(int(step) if step.isdecimal() else step for step in key.split("."))
