"""Writes `pages/options.md` and `pages/components/`, every option of a recipe, from the classes that check one.

python docs/options.py
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from ganzoo.components.descriptions import descriptions
from ganzoo.components.options import DatasetConfig, OptimizerConfig, Options
from ganzoo.recipe.model import Recipe
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.registry.registry import Registry

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "pages" / "options.md"

HEAD = """\
# All options

On this page you look up every table of a recipe with its options; each [component](components/index.md) has a page of
its own. `python docs/options.py` writes this page from the classes that check a recipe; `ganzoo recipe schema` prints
the same as a JSON schema, including the plugins that you have installed. [Recipes](recipes.md) explains how the tables
work together.

"Unset" means that an option has no value unless you give one.
"""

TABLES = "tables"


def page() -> str:
    """The page as it should be."""
    manager = PluginManager()
    ours = distributions()
    plugins = {str(plugin) for plugin in manager.plugins if plugin.distribution in ours}
    parts = [HEAD]
    registries = {registry.kind.table: registry for registry in manager.registries.all()}
    for name, field in Recipe.model_fields.items():
        about = descriptions(Recipe)[name]
        if name in registries and registries[name].kind.keyed:
            for entry in registries[name]:
                if entry.plugin in plugins:
                    parts.append(f"## `[{name}.{entry.name}]`\n\n{first_paragraph(entry.options)}\n")
                    parts.append(table(entry.options, hidden={"name"}))
        elif name in registries:
            title = f"[{name}]" if registries[name].kind.many else name
            parts.append(f"## `[{title}]`\n\n{about}\n")
            parts += components(registries[name], plugins)
        else:
            assert isinstance(field.annotation, type)
            parts += sections(field.annotation, name, about)
    parts.append(
        "## Extractors\n\nOne `[[evaluation.extractors]]` table each; [Evaluate a run](evaluation.md) compares them.\n"
    )
    parts += components(manager.registries.extractors, plugins)
    parts.append("## Metrics\n\nNames in `evaluation.metrics`, or one `[[evaluation.metrics]]` table each.\n")
    parts += components(manager.registries.metrics, plugins)
    parts.append(
        "## Optimizers\n\nThe tables `[trainer.generator_optimizer]` and `[trainer.discriminator_optimizer]`. "
        "`name` selects the optimizer; without such a table it is `adam` with its defaults. Every optimizer has:\n"
    )
    parts.append(table(OptimizerConfig, hidden={"name"}))
    for entry in manager.registries.optimizers:
        if entry.plugin in plugins:
            parts.append(f"### `{entry.name}`\n\n{first_paragraph(entry.options)}\n")
            parts.append(table(entry.options, base=OptimizerConfig, hidden={"name"}))
    return "\n".join(part for part in parts if part)


def distributions() -> set[str]:
    """The core and the plugins of this repository."""
    files = [ROOT / "pyproject.toml", *sorted((ROOT / "plugins").glob("*/pyproject.toml"))]
    return {tomllib.loads(file.read_text(encoding="utf-8"))["project"]["name"] for file in files}


def components(registry: Registry, plugins: set[str]) -> Iterator[str]:
    """What all components of a kind share, and a link to each."""
    yield table(registry.kind.config, hidden={"name"})
    links = [
        f"[`{entry.name}`](components/{registry.kind.name}-{entry.name}.md)"
        for entry in registry
        if entry.plugin in plugins
    ]
    yield f"`name` is one of {', '.join(links)}.\n"


def sections(model: type[Options], name: str, about: str) -> Iterator[str]:
    """A table of the recipe, or where it holds nothing but tables, those."""
    inner = {
        key: field.annotation
        for key, field in model.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Options)
    }
    if len(inner) == len(model.model_fields):
        for key, each in inner.items():
            yield from sections(each, f"{name}.{key}", first_paragraph(each))
    else:
        yield f"## `[{name}]`\n\n{about}\n"
        yield table(model)


def table(
    model: type[Options],
    base: type[Options] | None = None,
    hidden: Collection[str] = (),
    optimizers: str = "#optimizers",
) -> str:
    """Markdown for the options of `model`, without those that `base` has just so.

    Args:
        model: a class of options.
        base: what it derives from.
        hidden: options to leave out.
        optimizers: where the options of optimizers are, as a link.
    """
    rows = [
        f"| `{key}` | {kind} | {default} | {about} |"
        for key, kind, default, about in options(model.model_json_schema(), base, optimizers)
        if key not in hidden
    ]
    return "\n".join(["| option | value | default | meaning |", "|---|---|---|---|", *rows, ""]) if rows else ""


def options(
    schema: Mapping[str, Any], base: type[Options] | None = None, optimizers: str = "#optimizers"
) -> Iterator[tuple[str, str, str, str]]:
    """Each option with its values, its default and what it does; those of tables in it under dotted names."""
    inherited = base.model_json_schema()["properties"] if base else {}
    definitions = {"$defs": schema.get("$defs", {})}
    for key, option in schema["properties"].items():
        about = " ".join(option.get("description", "").split()).replace("|", "\\|").replace("<", "&lt;")
        forms = [each for each in option.get("anyOf", [option]) if each.get("type") != "null"]
        inner = resolve(forms[0] if len(forms) == 1 else option, schema)
        if option == inherited.get(key):
            continue
        if inner.get("title") == OptimizerConfig.__name__:
            yield key, f"table, see [Optimizers]({optimizers})", "`adam`", about
        elif inner.get("title") == DatasetConfig.__name__:
            yield key, "table of a [dataset](index.md#datasets)", f"`{option['default']['name']}`", about
        elif "properties" in inner:
            for name, kind, default, text in options({**inner, **definitions}):
                yield f"{key}.{name}", kind, default if "anyOf" not in option else "unset", text
        else:
            kind = describe(option, schema).replace(TABLES, f"tables, see [{key.capitalize()}](#{key})")
            yield key, kind, shown_default(key, option, schema), about


def resolve(node: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The definition that a reference leads to."""
    return schema["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node


def describe(node: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """What values an option takes, in words."""
    node = resolve(node, schema)
    if forms := node.get("anyOf") or node.get("oneOf"):
        return " or ".join(describe(each, schema) for each in forms if each.get("type") != "null")
    if node.get("title", "").startswith("Schedule["):
        return "schedule"
    if "enum" in node or "const" in node:
        return ", ".join(f"`{json.dumps(value)}`" for value in choices(node))
    match node.get("type"):
        case "object":
            return "table"
        case "boolean":
            return "`true`, `false`"
        case "string":
            return "text"
        case "array" if "prefixItems" in node:
            return "[" + ", ".join(describe(each, schema) for each in node["prefixItems"]) + "]"
        case "array" if resolve(node["items"], schema).get("type") == "object":
            return TABLES
        case "array":
            return f"list of {describe(node['items'], schema)}"
        case "integer" | "number" as kind:
            return " ".join(filter(None, ("whole number" if kind == "integer" else "number", limits(node))))
    raise ValueError(f"no words for {node}")


def limits(node: Mapping[str, Any]) -> str:
    """The bounds of a number."""
    signs = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
    if "minimum" in node:
        signs.pop("exclusiveMinimum")
    return ", ".join(f"{sign} {node[key]:g}" for key, sign in signs.items() if key in node)


def choices(node: Mapping[str, Any]) -> list[Any]:
    """The values that an option is one of."""
    return list(node["enum"]) if "enum" in node else [node["const"]]


def shown_default(key: str, option: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """The default as TOML has it."""
    if "default" not in option:
        return "required" if key in schema.get("required", ()) else "unset"
    value = option["default"]
    return "unset" if value is None else f"`{json.dumps(value, ensure_ascii=False)}`"


def first_paragraph(model: type[Options]) -> str:
    """What a class of options is for."""
    text = (model.__doc__ or "").strip().partition("\n\n")[0]
    return " ".join(text.split())


if __name__ == "__main__":
    import component_pages

    PAGE.write_text(page(), encoding="utf-8")
    component_pages.write()
