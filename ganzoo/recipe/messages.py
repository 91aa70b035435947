"""Turn pydantic's errors about a recipe into problems that name the TOML path and the cure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from ganzoo.components.options import ROLES
from ganzoo.components.schedule import NUMBER_TAG, SCHEDULE_TAG
from ganzoo.errors import Problem
from ganzoo.recipe.overrides import plugins_in
from ganzoo.recipe.validate import lacking
from ganzoo.registry.kinds import KINDS
from ganzoo.text import did_you_mean

if TYPE_CHECKING:
    from ganzoo.registry.plugin_manager import PluginManager

Location = Sequence[str | int]


def explain(
    error: ValidationError, tables: Mapping[str, Any], model: type[BaseModel], manager: PluginManager
) -> list[Problem]:
    """Return one problem for each error, with the paths and values of the recipe."""
    schema = model.model_json_schema()
    problems = []
    for detail in error.errors(include_url=False):
        location = toml_location(detail["loc"], tables)
        parent = value_at(location[:-1], tables)
        context = detail.get("ctx", {})
        key = str(location[-1]) if location else ""
        unknown_name = False
        match detail["type"]:
            case "extra_forbidden" if location[:-1] == ["networks"]:
                message = _unknown_network(key, _known_keys(location[:-1], tables, schema), tables["trainer"]["name"])
            case "extra_forbidden":
                known = _known_keys(location[:-1], tables, schema)
                whose = _whose(location, tables, schema)
                message = f"there is no such key{did_you_mean(key, known)}; known: {', '.join(known)}{whose}"
            case "missing" if key == "name" and (only := _node_at(location, tables, schema).get("const")):
                location = location[:-1]
                message = f"names no {_kind(location)}: give it a name, one of {only}"
            case "missing":
                what = "value" if isinstance(location[-1], int) else "table" if len(location) == 1 else "key"
                message = f"is missing: this {what} is required"
            case "union_tag_not_found":
                parts = _parts_at(location, tables, schema)
                message = f"names no {_kind(location)}: give it a name, one of {', '.join(parts)}"
            case "union_tag_invalid":
                unknown_name = True
                message = _unknown_name(location, context["tag"], context["expected_tags"], tables, manager)
                location = location if isinstance(value_at(location, tables), str) else [*location, "name"]
            case "nothing_registered":
                unknown_name = True
                given = detail["input"]
                name = str(given.get("name", "")) if isinstance(given, Mapping) else str(given)
                message = _unknown_name(location, name, "", tables, manager)
                location = [*location, "name"] if isinstance(given, Mapping) else location
            case "literal_error" if key == "name" and isinstance(parent, Mapping):
                unknown_name = True
                message = _unknown_name(location[:-1], str(detail["input"]), context["expected"], tables, manager)
            case "literal_error":
                expected = context["expected"].replace("'", '"').replace("True", "true").replace("False", "false")
                options = expected.replace('"', "").replace(" or ", ", ").split(", ")
                message = (
                    f"is {_shown(detail['input'])}{did_you_mean(str(detail['input']), options)}; must be {expected}"
                )
            case "model_attributes_type" | "model_type" | "dict_type":
                message = f"is {_shown(detail['input'])}, but must be a table: [{dotted(location)}]"
            case "list_type" | "tuple_type":
                tables_in_it = {"$ref", "discriminator"} & _node_at(location, tables, schema).get("items", {}).keys()
                what = f"of tables: [[{dotted(location)}]]" if tables_in_it else "in square brackets"
                message = f"is {_shown(detail['input'])}, but must be a list {what}"
            case "value_error":
                message = str(context["error"])
            case _:
                message = f"is {_shown(detail['input'])}: {detail['msg'][:1].lower()}{detail['msg'][1:]}"
        problems.append(
            Problem(dotted(location), message, unchecked=unknown_name and bool(_not_imported(tables, manager)))
        )
    return problems


def _unknown_network(role: str, known: Sequence[str], trainer: str) -> str:
    """Return the message for a table [networks.ROLE] of a network that the trainer does not have."""
    if role in ROLES:
        return f"is in the wrong place: this network has the table [{role}]"
    roles = [*ROLES, *known]
    return f'the trainer "{trainer}" has no such network{did_you_mean(role, roles)}; it trains: {", ".join(roles)}'


def toml_location(location: Location, tables: Mapping[str, Any]) -> list[str | int]:
    """Return the path as written in the file, without the names of components and forms that pydantic inserts."""
    result: list[str | int] = []
    value: Any = tables
    for step in location:
        if step in (NUMBER_TAG, SCHEDULE_TAG):
            continue
        if isinstance(value, Mapping) and step not in value and value.get("name") == step:
            continue
        if isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            value = value.get(step) if isinstance(value, Mapping) else None
        result.append(step)
    return result


def value_at(location: Location, tables: Any) -> Any:
    """Return what is at a path of the recipe; None where nothing is."""
    for step in location:
        try:
            tables = tables[step]
        except (KeyError, IndexError, TypeError):
            return None
    return tables


def _resolve(schema: Mapping[str, Any], node: Any) -> Any:
    while isinstance(node, Mapping) and "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    return node


def _node_at(location: Location, tables: Any, schema: Mapping[str, Any]) -> Any:
    """Return the node of the JSON schema that describes a path of the recipe."""
    node: Any = schema
    value = tables
    for step in location:
        node = _choose(_resolve(schema, node), value, schema)
        node = node.get("items") if isinstance(step, int) else node.get("properties", {}).get(step)
        value = value_at([step], value)
        if node is None:
            return {}
    return _choose(_resolve(schema, node), value, schema)


def _choose(node: Any, value: Any, schema: Mapping[str, Any]) -> Any:
    """Return the variant of a schema that a component's name selects, or that is a table where the value is one."""
    if "oneOf" in node and "discriminator" not in node and isinstance(value, Mapping):
        return next(each for each in (_resolve(schema, each) for each in node["oneOf"]) if "properties" in each)
    variants = [each for each in node.get("anyOf", ()) if each.keys() & {"discriminator", "$ref"}]
    node = _resolve(schema, variants[0]) if variants else node  # a name or a table, or a table that may be left out
    mapping = node.get("discriminator", {}).get("mapping", {})
    name = value.get("name") if isinstance(value, Mapping) else None
    return _resolve(schema, {"$ref": mapping[name]}) if isinstance(name, str) and name in mapping else node


def _known_keys(location: Location, tables: Any, schema: Mapping[str, Any]) -> list[str]:
    return list(_node_at(location, tables, schema).get("properties", {}))


def _whose(location: Location, tables: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """Say which other parts in this place have an option, or else where the recipe has it; empty where neither."""
    key, value = str(location[-1]), value_at(location, tables)
    parts = _parts_at(location[:-1], tables, schema)
    owners = [name for name, part in parts.items() if key in _resolve(schema, part).get("properties", {})]
    if owners:
        return f"; it is an option of {', '.join(owners[:5])}{', …' if len(owners) > 5 else ''}"
    wanted = (key, *(map(str, value) if isinstance(value, Mapping) else ()))
    found = {option: list(_places(option, tables, schema, schema)) for option in wanted}
    return "".join(f"; {option} lives at {' and '.join(places)}" for option, places in found.items() if places)


def _parts_at(location: Location, tables: Any, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schemas of all parts that a table may name, by name."""
    if not location:
        return {}
    around, step = _node_at(location[:-1], tables, schema), location[-1]
    node = _resolve(schema, around.get("items") if isinstance(step, int) else around.get("properties", {}).get(step))
    mapping = (node or {}).get("discriminator", {}).get("mapping", {})
    return {name: {"$ref": reference} for name, reference in mapping.items()}


def _places(option: str, value: Any, node: Any, schema: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """Yield the dotted keys at which the parts of a recipe have an option of this name."""
    node = _choose(_resolve(schema, node), value, schema)
    if isinstance(value, list):
        for index, each in enumerate(value):
            yield from _places(option, each, node.get("items", {}), schema, f"{place}{index}.")
    for key, inner in node.get("properties", {}).items():
        if key == option:
            yield place + key
        given = value.get(key) if isinstance(value, Mapping) else None
        yield from _places(option, inner.get("default") if given is None else given, inner, schema, f"{place}{key}.")


def _kind(location: Location) -> str:
    """Return the kind of the component at a path, as messages call it."""
    of_lists = {kind.table.rpartition(".")[2]: kind.name for kind in KINDS if kind.many}
    listed = [of_lists[str(step)] for step in location if str(step) in of_lists]
    return listed[0] if listed else str(location[-1]).replace("_", " ")


def _unknown_name(
    location: Location, name: str, expected: str, tables: Mapping[str, Any], manager: PluginManager
) -> str:
    """Return the message for a component name that is not registered."""
    names = [tag.strip().strip("'\"") for tag in expected.replace(" or ", ", ").split(", ") if tag]
    installed = ", ".join(sorted(names)) or "none"
    what = _kind(location)
    message = f'there is no {what} "{name}"{did_you_mean(name, names)}; installed: {installed}'
    required = plugins_in(tables, "requires")
    if files := _not_imported(tables, manager):
        message += f"; it may come from {', '.join(files)}, which is imported only with --trust"
    if required:
        message += f"; the recipe expects it from {', '.join(required)}"
    for distribution in (kind.usual for kind in KINDS if kind.name == what and kind.usual):
        message += "".join(f"; {text}" for text in lacking(distribution, manager))
    for plugin in manager.broken:
        message += f"; the plugin {plugin} could not be loaded, see `ganzoo plugins`"
    return message


def _not_imported(tables: Mapping[str, Any], manager: PluginManager) -> list[str]:
    """List the plugin files that the recipe names and `manager` has not imported."""
    imported = {file.name for file in manager.files}
    return [file for file in plugins_in(tables, "files") if PurePath(file).name not in imported]


def _shown(value: Any) -> str:
    match value:
        case bool():
            text = str(value).lower()
        case str():
            text = f'"{value}"'
        case Mapping():
            text = "a table"
        case _:
            text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def dotted(location: Location) -> str:
    """Write a path as overrides do."""
    return ".".join(str(step) for step in location)
