"""Fit a recipe's tables to the parts that overrides put in the place of others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from ganzoo.errors import Problem
from ganzoo.recipe.messages import default_at, dotted, given_at, model_at, part_names, toml_location
from ganzoo.recipe.model import Recipe
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
        changed = False
        errors = error.errors(include_url=False)
        places = [tuple(toml_location(detail, self._tables)) for detail in errors]  # before the tables change
        for detail, location in zip(errors, places, strict=True):
            match detail["type"]:
                case "string_type" if location in self._texts:
                    given_at(location[:-1], self._tables)[location[-1]] = self._texts.pop(location)
                    changed = True
                case "missing" | "union_tag_not_found":
                    changed |= self._name_default(location, model) or self._drop(location, model, unknown=False)
                case kind:
                    changed |= self._drop(location, model, unknown=kind == "extra_forbidden")
                    changed |= location in self._swapped and self._drop_one(location, model)
        return changed

    def mend_images(self, recipe: Recipe) -> bool:
        """Drop options that [evaluation] has of a dataset that is gone; return whether the tables have changed."""
        if ("dataset",) not in self._swapped:
            return False
        changed, known = False, type(recipe.dataset).model_fields
        for table in ("real", "held_out"):
            for key, value in getattr(recipe.evaluation, table).items():
                options = {**recipe.dataset.model_dump(mode="json", exclude_none=True), key: value}
                if key not in known or not _valid(type(recipe.dataset), options):
                    changed |= self._remove(("evaluation", table, key), ("dataset",), unknown=key not in known)
        return changed

    def mend_unmet(self, problems: Iterable[Problem]) -> bool:
        """Drop options with problems that a new part has only where it is; return whether the tables have changed."""
        changed = False
        for location in (location_of(problem.path) for problem in problems):
            for place in self._swapped:
                if location[: len(place)] == place != location:
                    changed |= self._remove(location, place, unknown=False)
        return changed

    def notes(self) -> Iterator[str]:
        """Describe what was dropped, a line for each new part."""
        for (place, unknown), options in self._dropped.items():
            name, what = self._name(self._tables, place), ", ".join(options)
            why = f"has no {what}" if unknown else f"does not take {what} as the recipe has it"
            yield f'{dotted(place)}: "{name}" {why}: left out'

    def _drop(self, location: Location, model: type[BaseModel], *, unknown: bool) -> bool:
        """Drop the option at or around a place, where it was left behind by a part that is gone."""
        places = [place for place in self._swapped if location[: len(place)] == place != location]
        if not places:
            return False
        place = max(places, key=len)
        option = place
        for step in location[len(place) :]:
            option = (*option, step)
            if not isinstance(given_at(option, self._tables), dict):
                break  # deeper are places in lists, and the types that pydantic tried
        if option[-1] == "name" or not part_names(model_at(place, self._tables, model)):
            return False
        return self._remove(option, place, unknown=unknown)

    def _drop_one(self, place: Location, model: type[BaseModel]) -> bool:
        """Drop the option without which the part at `place` takes the others, where they do not go together."""
        options, table = model_at(place, self._tables, model), given_at(place, self._tables)
        if options is None or not isinstance(table, dict):
            return False
        for name in table:
            rest = {key: value for key, value in table.items() if key != name}
            if name != "name" and _valid(options, rest) and self._remove((*place, name), place, unknown=False):
                return True
        return False

    def _remove(self, option: Location, place: Location, *, unknown: bool) -> bool:
        """Remove what the part at `place` does not take, unless the overrides set it."""
        own = any(option[: len(each)] == each or each[: len(option)] == option for each in self._set)
        table = given_at(option[:-1], self._tables)
        if own or not isinstance(table, dict) or option[-1] not in table:
            return False
        del table[option[-1]]
        inside = option[len(place) :] if option[: len(place)] == place else option
        self._dropped.setdefault((place, unknown), []).append(dotted(inside))
        return True

    def _name_default(self, location: Location, model: type[BaseModel]) -> bool:
        """Name the part of a table that overrides made, where the model has one by default."""
        place = location[:-1] if location[-1:] == ("name",) else location
        table = given_at(place, self._tables)
        if not isinstance(table, dict) or "name" in table or given_at(place, self._before) is not None:
            return False
        default = getattr(default_at(place, self._tables, model), "name", None)
        if default is not None:
            table["name"] = default
        return default is not None

    def _name(self, tables: Mapping[str, Any], place: Location) -> Any:
        return given_at((*place, "name"), tables)


def _valid(options: type[BaseModel], values: Mapping[str, Any]) -> bool:
    try:
        options.model_validate_json(json.dumps(values), strict=True)
    except ValidationError:
        return False
    return True


def location_of(key: str) -> Location:
    """Return the steps of a dotted key; numbers are places of a list."""
    return tuple(int(step) if step.isdecimal() else step for step in key.split("."))
