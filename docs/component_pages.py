"""Writes `pages/components/`, a page for each component that comes with ganzoo, from its class and its options.

`python docs/options.py` writes these pages too.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from options import ROOT, distributions, first_paragraph, table

from ganzoo.components.spec import DatasetInfo, ImageSpec, LabelSpec
from ganzoo.recipe.load import load_recipe
from ganzoo.recipe.model import Recipe
from ganzoo.registry.kinds import Kind
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.registry.registry import Entry, Registry

FOLDER = ROOT / "docs" / "pages" / "components"
SIZES = (8, 16, 28, 32, 48, 64, 96, 128, 256, 512, 1024)
"""In pixels, that a network is asked about; one that takes all of them takes any."""
ABOUT = {
    "generator": "make images from latents.",
    "discriminator": "judge images; any of them goes with any generator.",
    "loss": "are what both networks minimize.",
    "penalty": "add terms to the loss of either network, any number of them, with any loss.",
    "dataset": "bring the images. [Datasets](../datasets.md) says where ganzoo looks for each.",
    "trainer": "own the update schedule and the optimizers.",
    "observer": "receive the events of a run whose recipe has their table. [Hooks](../hooks.md#events) says how.",
    "tracker": "send the output of a run elsewhere. [Tracking](../tracking.md) describes each.",
    "metric": "score samples. [Evaluate a run](../evaluation.md) says what each score means.",
    "extractor": "give the features that samples are scored by. [Evaluate a run](../evaluation.md) says how.",
}
"""What the components of each kind that a recipe names do."""

INDEX = """\
# Components

On this page you find every component that a recipe can name with the plugins that come with ganzoo. Each has a page,
which `python docs/options.py` writes from its class and options. `ganzoo list architectures` and the like also list the
plugins that you have installed yourself.
"""


def pages() -> dict[Path, str]:
    """Every page by its path, as it should be."""
    manager = PluginManager()
    ours = {str(plugin) for plugin in manager.plugins if plugin.distribution in distributions()}
    shipped = {path.name: load_recipe(path, manager)[0] for path in sorted((ROOT / "recipes").glob("*.toml"))}
    index, written = [INDEX], {}
    for registry in (registry for registry in manager.registries.all() if registry.kind.table):
        title = registry.kind.plural.capitalize()
        index.append(
            f"## {title}\n\n{title} {ABOUT[registry.kind.name]}\n\n| name | what it is | plugin |\n|---|---|---|"
        )
        for entry in registry:
            if entry.plugin in ours:
                file = f"{registry.kind.name}-{entry.name}.md"
                index.append(
                    f"| [`{entry.name}`]({file}) | {linked(first_paragraph(entry.options))} | {distribution(entry)} |"
                )
                written[FOLDER / file] = page(registry, entry, shipped)
        index.append("")
    written[FOLDER / "index.md"] = "\n".join(index)
    return written


def page(registry: Registry, entry: Entry, shipped: Mapping[str, Recipe]) -> str:
    """The page of one component."""
    component = entry.load()
    parts = [f"# {registry.kind.name.capitalize()} `{entry.name}`", linked(first_paragraph(entry.options))]
    parts += [linked(paragraph) for paragraph in further_paragraphs(entry.options, component)]
    parts.append("\n".join(["| | |", "|---|---|", *info(registry, entry, component, shipped)]))
    parts.append(f"```toml\n{in_a_recipe(registry, entry)}\n```")
    own = table(entry.options, base=registry.kind.config, hidden={"name"}, optimizers="../options.md#optimizers")
    parts.append("## Options\n\n" + (own or "It has none of its own.\n").rstrip())
    shared = table(registry.kind.config, hidden={"name", *changed(registry, entry)})
    if shared:
        parts.append(f"Every {registry.kind.name} also has:\n\n{shared.rstrip()}")
    return "\n\n".join(parts) + "\n"


def info(registry: Registry, entry: Entry, component: type, shipped: Mapping[str, Recipe]) -> Iterator[str]:
    """The rows of the table at the top."""
    papers = papers_of(entry.options.__doc__, component.__doc__, inspect.getmodule(component).__doc__)
    if papers:
        yield f"| paper | {', '.join(linked(f'arXiv {paper}') for paper in papers)} |"
    yield f"| class | `{component.__module__}.{component.__name__}` |"
    yield f"| comes with | {distribution(entry)} |"
    if registry.kind.name in ("generator", "discriminator"):
        yield f"| images | {sizes(entry)} |"
    if "labels" in options_of(entry).uses:
        yield "| labels | needed: the dataset must have classes |"
    using = [f"`recipes/{file}`" for file, recipe in shipped.items() if names(entry, registry.kind, recipe)]
    if using and len(using) <= 6:
        yield f"| recipes | {', '.join(using)} |"
    elif using:
        yield f"| recipes | {len(using)} of the shipped recipes, such as {', '.join(using[:3])} |"


def names(entry: Entry, kind: Kind, recipe: Recipe) -> bool:
    """Whether a recipe names the component."""
    return entry.name in {config.name for config in kind.configs(recipe).values()}


def options_of(entry: Entry) -> Any:
    """The options at their defaults; a text that has none is left open."""
    required = [name for name, field in entry.options.model_fields.items() if field.is_required() and name != "name"]
    return entry.options(name=entry.name, **dict.fromkeys(required, "…"))


def sizes(entry: Entry) -> str:
    """Which images a network can make or judge, as its options say."""
    able = [size for size in SIZES if serves(entry, size)]
    if len(able) == len(SIZES):
        return "any size"
    return f"{', '.join(map(str, able))} pixels (of the sizes tried: {', '.join(map(str, SIZES))})"


def serves(entry: Entry, size: int) -> bool:
    """Whether the network takes square images of so many pixels, with some of its options."""
    config = options_of(entry)
    attention = [4 * 2**power for power in range(6)] if "attention_size" in entry.options.model_fields else [None]
    for attended in attention:
        tried = config if attended is None else config.model_copy(update={"attention_size": attended})
        try:
            tried.check_info(DatasetInfo(ImageSpec(3, size, size), LabelSpec.classes("ab")))
        except ValueError:
            continue
        return True
    return False


def in_a_recipe(registry: Registry, entry: Entry) -> str:
    """The component's table with the options that it adds, at their defaults; without tables in it."""
    values = options_of(entry).model_dump(mode="json", exclude_none=True)
    shared = registry.kind.config.model_fields.keys() - changed(registry, entry)
    chosen = {"name": entry.name} | {key: value for key, value in values.items() if key not in shared}
    head = f"[[{registry.kind.table}]]" if registry.kind.many else f"[{registry.kind.table}]"
    if registry.kind.keyed:
        head = f"[{registry.kind.table}.{chosen.pop('name')}]"
    lines = [
        f"{key} = {json.dumps(value, ensure_ascii=False)}"
        for key, value in chosen.items()
        if not isinstance(value, dict)
    ]
    return "\n".join([head, *lines])


def changed(registry: Registry, entry: Entry) -> set[str]:
    """The options of every component of the kind that this one has with another default or text."""
    ours, theirs = (each.model_json_schema()["properties"] for each in (entry.options, registry.kind.config))
    return {key for key in theirs if ours[key] != theirs[key]}


def further_paragraphs(*documented: type) -> Iterator[str]:
    """The docstrings after the first paragraph of the first, without their lists of arguments."""
    seen = set()
    for number, each in enumerate(documented):
        text = re.split(r"\n\n?(?:Args|Raises|Attributes):\n", inspect.cleandoc(each.__doc__ or ""))[0]
        paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
        for paragraph in paragraphs[0 if number else 1 :]:
            if paragraph and paragraph not in seen and paragraph != first_paragraph(documented[0]):
                seen.add(paragraph)
                yield paragraph


def papers_of(*texts: str | None) -> list[str]:
    """The papers that the first of the texts which cites any cites, by their arXiv number."""
    for text in texts:
        papers = list(dict.fromkeys(re.findall(r"arXiv (\d{4}\.\d{4,5})", text or "")))
        if papers:
            return papers
    return []


def linked(text: str) -> str:
    """The text with its papers as links, safe in a table."""
    text = re.sub(r"arXiv (\d{4}\.\d{4,5})", r"[arXiv \1](https://arxiv.org/abs/\1)", text)
    parts = text.replace("|", "\\|").split("`")
    # Every second part is code, in which Markdown shows an entity as it is written.
    return "`".join(part if index % 2 else part.replace("<", "&lt;") for index, part in enumerate(parts))


def distribution(entry: Entry) -> str:
    """The distribution that an entry's plugin comes from."""
    return "`" + entry.plugin.partition(" (")[2].split()[0] + "`"


def write() -> None:
    """Write all pages, and remove those of components that are gone."""
    written = pages()
    FOLDER.mkdir(exist_ok=True)
    for path, text in written.items():
        path.write_text(text, encoding="utf-8")
    for path in set(FOLDER.glob("*.md")) - written.keys():
        path.unlink()
