"""Turn pydantic's errors about a recipe into problems that name the TOML path and the cure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from ganzoo.components.options import ROLES
from ganzoo.components.schedule import NUMBER_TAG, SCHEDULE_TAG, Schedule
from ganzoo.errors import Problem
from ganzoo.recipe.overrides import plugins_in
from ganzoo.registry.kinds import KINDS
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.registry.registry import NAME_TAG, TABLE_TAG
from ganzoo.text import did_you_mean

Location = Sequence[str | int]
StepKind = Literal["key", "part", "form"]


def explain(
    error: ValidationError, tables: Mapping[str, Any], model: type[BaseModel], manager: PluginManager
) -> list[Problem]:
    """Return one problem for each error, with the paths and values of the recipe."""
    problems, files = [], _not_imported(tables, manager)
    told = list(_told(error.errors(include_url=False), tables))
    for detail in told:
        within = (each for each in told if each is not detail and each["loc"][: len(detail["loc"])] == detail["loc"])
        if detail["type"] == "too_short" and any(within):
            continue  # it counts the right ones alone
        if detail["type"] == "default_factory_not_called":
            continue  # a default that follows from another option, which is wrong
        location = toml_location(detail, tables)
        key = str(location[-1]) if location else ""
        unchecked = False
        match detail["type"]:
            case "extra_forbidden" if location[:-1] == ["networks"]:
                message = _unknown_network(key, list(keys_at(location[:-1], tables, model)), tables["trainer"]["name"])
            case "extra_forbidden":
                known = keys_at(location[:-1], tables, model)
                whose = _whose(location, tables, model)
                close = "" if whose else did_you_mean(key, known)
                for kind in KINDS:
                    if kind.keyed and kind.usual and location[:-1] == [kind.table]:
                        whose += "".join(f"; {text}" for text in manager.lacking(kind.usual))
                message = f"there is no such key{close}; known: {', '.join(known) or 'none'}{whose}"
            case "missing" if key == "name" and (names := _names_at(location[:-1], tables, model)):
                location = location[:-1]
                message = f"names no {_kind(location)}: give it a name, one of {', '.join(names)}"
            case "missing":
                what = "value" if isinstance(location[-1], int) else "table" if len(location) == 1 else "key"
                message = f"is missing: this {what} is required"
            case "union_tag_not_found" | "union_tag_invalid" if detail["ctx"]["discriminator"] != "'name'":
                selectors = map(_selector, _classes_at(location, tables, model))
                wanted = [f"{key} = {_shown(value)}" for key, values in selectors for value in values]
                message = f"must have {' or '.join(wanted)}" if wanted else detail["msg"]
            case "union_tag_not_found":
                names = _names_at(location, tables, model)
                message = f"names no {_kind(location)}: give it a name, one of {', '.join(names)}"
            case "union_tag_invalid" | "nothing_registered":
                message, unchecked = _unknown_name(location, tables, model, manager), bool(files)
                location = location if isinstance(given_at(location, tables), str) else [*location, "name"]
            case "literal_error" if key == "name":
                message, unchecked = _unknown_name(location[:-1], tables, model, manager), bool(files)
            case "literal_error":
                expected = _literals(detail)
                options = expected.replace('"', "").replace(" or ", ", ").split(", ")
                message = (
                    f"is {_shown(detail['input'])}{did_you_mean(str(detail['input']), options)}; must be {expected}"
                )
            case "model_attributes_type" | "model_type" | "dict_type":
                form = _table_form(location, tables, model)
                message = f"is {_shown(detail['input'])}, but must be a table: {form}"
            case "list_type" | "tuple_type":
                bare = {kind.table for kind in KINDS if kind.bare}
                classes = [each for each in _classes_at(location, tables, model) if not issubclass(each, Schedule)]
                of_tables = classes and dotted(location) not in bare
                what = f"of tables: [[{dotted(location)}]]" if of_tables else "in square brackets"
                if str(detail["input"]).startswith("["):
                    what += ", with quotes around each text; in a shell, put single ones around it all"
                message = f"is {_shown(detail['input'])}, but must be a list {what}"
            case "value_error":
                message = str(detail["ctx"]["error"])
            case _:
                message = f"is {_shown(detail['input'])}: {detail['msg'][:1].lower()}{detail['msg'][1:]}"
        problems.append(Problem(dotted(location), message, unchecked))
    return problems


def _table_form(location: Location, tables: Mapping[str, Any], model: type[BaseModel]) -> str:
    """Return how a file writes the table at a path."""
    if not isinstance(location[-1], int):
        inline = any(isinstance(step, int) for step in location)
        return f"{location[-1]} = {{ … }}" if inline else f"[{dotted(location)}]"
    given, names = given_at(location, tables), _names_at(location, tables, model)
    name = f'name = "{given if given in names else names[0]}"' if names else "…"
    return f"[[{dotted(location[:-1])}]], or {{ {name} }} in the list"


def _unknown_network(role: str, known: Sequence[str], trainer: str) -> str:
    """Return the message for a table [networks.ROLE] of a network that the trainer does not have."""
    if role in ROLES:
        return f"is in the wrong place: this network has the table [{role}]"
    roles = [*ROLES, *known]
    return f'the trainer "{trainer}" has no such network{did_you_mean(role, roles)}; it trains: {", ".join(roles)}'


def _told(errors: Iterable[ErrorDetails], tables: Mapping[str, Any], beyond: int = -1) -> Iterator[ErrorDetails]:
    """Yield errors, and for an option of several forms those of the form that is meant, or one of all forms.

    Meant is the form with the fewest errors within it, or one whose only fault is the value. Forms whose steps come up
    to `beyond` in the place of an error are chosen already.
    """
    groups: dict[Any, list[ErrorDetails]] = {}
    for number, detail in enumerate(errors):
        forms = (depth for depth, (_, what) in enumerate(_steps(detail, tables)) if what == "form" and depth > beyond)
        depth = next(forms, None)
        groups.setdefault(number if depth is None else detail["loc"][:depth], []).append(detail)
    for place, group in groups.items():
        if isinstance(place, int):
            yield from group
            continue
        depth = len(place)
        within = [each for each in group if any(what == "key" for _, what in [*_steps(each, tables)][depth:])]
        fitting = [each for each in group if not each["type"].endswith(("_type", "literal_error"))]
        if meant := within or fitting:
            wrong = [each["loc"][depth] for each in meant]  # a wrong constant, which may select a form, counts twice
            wrong += [form for form, each in zip(wrong, meant, strict=True) if each["type"] == "literal_error"]
            form = min(wrong, key=wrong.count)
            yield from _told([each for each in meant if each["loc"][depth] == form], tables, depth)
        else:
            forms_in_words = list(dict.fromkeys(map(_form_in_words, group)))
            wanted = " or ".join(filter(None, [", ".join(forms_in_words[:-1]), forms_in_words[-1]]))
            yield {**group[0], "type": "union", "loc": place, "msg": f"Input should be {wanted}"}


def _form_in_words(detail: ErrorDetails) -> str:
    match detail["type"]:
        case "model_attributes_type" | "model_type" | "dict_type":
            return "a table"
        case "list_type" | "tuple_type":
            return "a list in square brackets"
        case "literal_error":
            return _literals(detail)
    return detail["msg"].removeprefix("Input should be ")


def _literals(detail: ErrorDetails) -> str:
    expected: str = detail["ctx"]["expected"]
    return expected.replace("'", '"').replace("True", "true").replace("False", "false")


def _steps(detail: ErrorDetails, tables: Mapping[str, Any]) -> Iterator[tuple[str | int, StepKind]]:
    """Yield each step in the place of an error: a key of the file, or what pydantic inserts.

    It inserts the name of a part, and the type of a form, such as "constrained-int", where an option has several.
    """
    value: Any = tables
    for depth, step in enumerate(detail["loc"], 1):
        table = value if isinstance(value, Mapping) else {}
        missing = isinstance(value, Mapping) and detail["type"] == "missing" and depth == len(detail["loc"])
        if step in (NUMBER_TAG, SCHEDULE_TAG, NAME_TAG, TABLE_TAG):
            yield step, "part"
        elif step not in table and step in (table.get("name"), value):
            value = {} if step == value else value  # a name in the place of a table
            yield step, "part"
        elif isinstance(step, str) and step not in table and not missing:
            yield step, "form"
        else:
            value = given_at([step], value)
            yield step, "key"


def toml_location(detail: ErrorDetails, tables: Mapping[str, Any]) -> list[str | int]:
    """Return the place of an error as written in the file, without what pydantic inserts."""
    return [step for step, what in _steps(detail, tables) if what == "key"]


def given_at(location: Location, tables: Any) -> Any:
    """Return what is at a path of the recipe; None where nothing is."""
    for step in location:
        try:
            tables = tables[step]
        except (KeyError, IndexError, TypeError):
            return None
    return tables


def field_at(location: Location, tables: Any, model: type[BaseModel]) -> FieldInfo | None:
    """Return the option at a path of the recipe; within a list, the option that is the list."""
    if not location:
        return None
    *around, step = location
    return field_at(around, tables, model) if isinstance(step, int) else keys_at(around, tables, model).get(step)


def keys_at(location: Location, tables: Any, model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the options of the table at a path by their keys; none where its name selects no part."""
    options = model_at(location, tables, model)
    return _keys(options) if options else {}


def model_at(location: Location, tables: Any, model: type[BaseModel]) -> type[BaseModel] | None:
    """Return the class of the table at a path: of several that which it selects, or of the default if left out."""
    if not location:
        return model
    classes = _classes_at(location, tables, model)
    if len(classes) > 1 and given_at(location, tables) is None:
        return type(default) if isinstance(default := default_at(location, tables, model), BaseModel) else None
    if len(classes) == 1:
        return classes[0]
    chosen = ((each, *_selector(each)) for each in classes)
    return next((each for each, key, values in chosen if given_at([*location, key], tables) in values), None)


def default_at(location: Location, tables: Any, model: type[BaseModel]) -> Any:
    """Return what the option at a path is if the recipe leaves it out."""
    if isinstance(location[-1], int):
        return given_at(location[-1:], default_at(location[:-1], tables, model))
    field = field_at(location, tables, model)
    if field is None or field.default_factory_takes_validated_data:  # of the other options, which may be wrong
        return None
    return field.get_default(call_default_factory=True)


def part_names(options: type[BaseModel] | None) -> tuple[Any, ...]:
    """Return the names that select options out of several; none for a table that is no part."""
    return get_args(options.model_fields["name"].annotation) if options and "name" in options.model_fields else ()


def _selector(options: type[BaseModel]) -> tuple[str, tuple[Any, ...]]:
    """Return the key that selects options out of several, as `name` does a part, with its values for these."""
    literals = ((key, field.annotation) for key, field in _keys(options).items())
    return next(((key, get_args(of)) for key, of in literals if get_origin(of) is Literal), ("", ()))


def _names_at(location: Location, tables: Any, model: type[BaseModel]) -> list[str]:
    """Return the names that a table at a path may have."""
    return [name for options in _classes_at(location, tables, model) for name in part_names(options)]


def _keys(options: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in options.model_fields.items()}


def _classes_at(location: Location, tables: Any, model: type[BaseModel]) -> list[type[BaseModel]]:
    """Return the classes that a table at a path may be of: of a part, one for each name."""
    field = field_at(location, tables, model)
    return list(dict.fromkeys(_classes(field.annotation))) if field else []


def _classes(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the classes of options in a type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _classes(inner)


def _whose(location: Location, tables: Mapping[str, Any], model: type[BaseModel]) -> str:
    """Say which other parts in this place have an option, or else where the recipe has it; empty where neither."""
    key, value = str(location[-1]), given_at(location, tables)
    parts = [part for part in _classes_at(location[:-1], tables, model) if key in _keys(part)]
    owners = [name for part in parts for name in part_names(part)]
    if owners:
        return f"; it is an option of {', '.join(owners[:5])}{', …' if len(owners) > 5 else ''}"
    wanted = (key, *(map(str, value) if isinstance(value, Mapping) else ()))
    found = {option: list(_places(option, tables, model)) for option in wanted}
    return "".join(f"; {option} lives at {' and '.join(places)}" for option, places in found.items() if places)


def _places(option: str, tables: Any, model: type[BaseModel], place: Location = ()) -> Iterator[str]:
    """Yield the dotted keys at which the parts of a recipe have an option of this name."""
    value = given_at(place, tables)
    if value is None:
        value = default_at(place, tables, model)
    chosen = model_at(place, tables, model)
    unknown = _classes_at(place, tables, model) if isinstance(value, Mapping) else []  # its name is of none of them
    classes = [chosen] if chosen else unknown
    keys = dict.fromkeys(key for each in classes if not issubclass(each, Schedule) for key in _keys(each))
    for key in range(len(value)) if isinstance(value, list | tuple) else keys:
        if key == option:
            yield dotted((*place, key))
        yield from _places(option, tables, model, (*place, key))


def _kind(location: Location) -> str:
    """Return the kind of the component at a path, as messages call it."""
    of_lists = {kind.table.rpartition(".")[2]: kind.name for kind in KINDS if kind.many}
    listed = [of_lists[str(step)] for step in location if str(step) in of_lists]
    return listed[0] if listed else str(location[-1]).replace("_", " ")


def _unknown_name(location: Location, tables: Mapping[str, Any], model: type[BaseModel], manager: PluginManager) -> str:
    """Return the message for a table, or a name in its place, whose component is not registered."""
    given, names = given_at(location, tables), _names_at(location, tables, model)
    name = given if isinstance(given, str) else given_at(["name"], given)
    name = "" if name is None else str(name)
    installed = ", ".join(sorted(names)) or "none"
    what = _kind(location)
    message = f'there is no {what} "{name}"{did_you_mean(name, names)}; installed: {installed}'
    required = plugins_in(tables, "requires")
    if files := _not_imported(tables, manager):
        message += f"; it may come from {', '.join(files)}, which is imported only with --trust"
    if required:
        message += f"; the recipe expects it from {', '.join(required)}"
    for distribution in (kind.usual for kind in KINDS if kind.name == what and kind.usual):
        message += "".join(f"; {text}" for text in manager.lacking(distribution))
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
