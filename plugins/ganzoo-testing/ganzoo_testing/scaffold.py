"""Write a new plugin: a whole distribution from the templates, with every name checked first."""

from __future__ import annotations

import keyword
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from ganzoo.plugin import RequestError

if TYPE_CHECKING:
    from ganzoo.plugin import PluginManager


@dataclass(frozen=True)
class Outline:
    """Contents of a kind of plugin.

    Attributes:
        summary: one sentence.
        parts: its modules beside `plugin.py`.
        used: the kinds of its components, which have its name.
        table: what its recipe has beside the parts that every recipe has.
        others: distributions of this repository whose components its recipe has.
    """

    summary: str
    parts: tuple[str, ...] = ()
    used: tuple[str, ...] = ()
    table: str = ""
    others: tuple[str, ...] = ("ganzoo-dcgan",)


SCORED = "[evaluation]\nevery = 100\nsamples = 1000\nmetrics = "
OUTLINES = {
    "full": Outline(
        "A GAN for ganzoo: two networks and a loss.", ("networks", "loss"), ("generator", "discriminator", "loss")
    ),
    "architecture": Outline("Networks for ganzoo.", ("networks",), ("generator", "discriminator")),
    "loss": Outline("A loss for ganzoo.", ("loss",), ("loss",)),
    "penalty": Outline("A penalty for ganzoo.", ("penalty",), ("penalty",), '[[penalties]]\nname = "$name"'),
    "dataset": Outline("A dataset for ganzoo.", ("dataset",), ("dataset",)),
    "trainer": Outline("A trainer for ganzoo.", ("trainer",), ("trainer",)),
    "optimizer": Outline(
        "An optimizer for ganzoo.", ("optimizer",), ("optimizer",), '[trainer.generator_optimizer]\nname = "$name"'
    ),
    "metric": Outline("A score of samples for ganzoo.", ("metric",), ("metric",), f'{SCORED}["$name"]'),
    "extractor": Outline(
        "An extractor of features for ganzoo.",
        ("extractor",),
        ("extractor",),
        f'{SCORED}["frechet"]\n\n[[evaluation.extractors]]\nname = "$name"',
        ("ganzoo-dcgan", "ganzoo-metrics"),
    ),
    "importer": Outline("An importer of weights for ganzoo.", ("importer",), ("importer",)),
    "observer": Outline("An observer of ganzoo's runs.", (), ("observer",), "[observers.$name]"),
    "tracker": Outline("A tracker of ganzoo's runs.", (), ("tracker",), "[tracking.$name]"),
    "command": Outline("A command of ganzoo.", ("command",)),
}
DEFAULTS = {
    "dataset": "digits",
    "generator": "dcgan",
    "discriminator": "dcgan",
    "loss": "non_saturating",
    "trainer": "adversarial",
}


def new_plugin(distribution: str, kind: str, folder: Path, manager: PluginManager) -> tuple[list[Path], Path]:
    """Write a distribution that installs, passes its own tests and trains as it is; return its files and its recipe.

    Args:
        distribution: its name, such as "ganzoo-example": the package is `ganzoo_example`, the plugin `example`.
        kind: what it provides, one of `OUTLINES`.
        folder: to be created.
        manager: the installed plugins, whose names are taken.

    Raises:
        RequestError: the name cannot be used or is taken, or the folder exists or cannot be written.
    """
    outline = OUTLINES[kind]
    package = re.sub(r"[-_.]+", "_", distribution).lower()
    name = package.removeprefix("ganzoo_")
    _check_name(distribution, package, name)
    _check_free(distribution, package, name, outline, manager)
    words = {
        **DEFAULTS,
        **dict.fromkeys(outline.used, name),
        "distribution": distribution,
        "package": package,
        "name": name,
        "command": name.replace("_", "-"),
        "Class": "".join(word.capitalize() for word in name.split("_")),
        "summary": outline.summary,
        "dependencies": ", ".join(f'"{each}{_bounds()}"' for each in ("ganzoo-core", *outline.others)),
        "testing": f'"ganzoo-testing{_bounds()}"',
        "requires": ", ".join(f'"{each}"' for each in (distribution, *outline.others)),
    }
    words["try"] = f"ganzoo {words['command']} runs/{distribution}/0001\n" if kind == "command" else ""
    words["table"] = f"\n{Template(outline.table).substitute(words)}\n" if outline.table else ""
    recipe = Path("recipes", f"{name}.toml")
    templates = {
        Path("pyproject.toml"): "common/pyproject.toml",
        Path("README.md"): "common/README.md",
        Path(".gitignore"): "common/gitignore",
        Path(".github", "workflows", "test.yml"): "common/test.yml",
        recipe: "common/recipe.toml",
        Path(package, "__init__.py"): "common/__init__.py",
        Path(package, "plugin.py"): f"plugins/{kind}.py",
        **{Path(package, f"{part}.py"): f"parts/{part}.py" for part in outline.parts},
        Path("tests", f"test_{name}.py"): "common/test_plugin.py",
    }
    texts = {path: _template(template).substitute(words) for path, template in templates.items()}
    with suppress(FileNotFoundError):  # most kinds have a test of their own beside the contract and the recipe
        texts[Path("tests", f"test_{name}.py")] += _template(f"tests/{kind}.py").substitute(words)
    try:
        folder.mkdir(parents=True)
        for path, text in texts.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    except FileExistsError:
        raise RequestError(f"{folder}: is there already; name a folder that is not, with --out") from None
    except OSError as error:
        raise RequestError(f"{folder}: cannot be written: {error.strerror}") from error
    return [folder / path for path in texts], recipe


def _template(name: str) -> Template:
    from importlib.resources import files

    return Template(files("ganzoo_testing").joinpath("templates", f"{name}.tmpl").read_text(encoding="utf-8"))


def _bounds() -> str:
    """Return the range of releases whose plugin API the new plugin is written for."""
    from importlib.metadata import version

    major, minor = version("ganzoo-core").split(".")[:2]
    return f">={major}.{minor},<{major}.{int(minor) + 1}"


def _check_name(distribution: str, package: str, name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", distribution):
        raise RequestError(
            f'"{distribution}" is no name for a distribution: take letters, digits and hyphens, such as ganzoo-example'
        )
    for word in (package, name):
        if not word.isidentifier() or keyword.iskeyword(word):
            raise RequestError(
                f'"{distribution}" would be imported as "{word}", which is no name in Python: '
                f"begin it with a letter, such as ganzoo-example"
            )


def _check_free(distribution: str, package: str, name: str, outline: Outline, manager: PluginManager) -> None:
    import importlib.metadata
    import importlib.util

    cure = "take another name"
    with suppress(importlib.metadata.PackageNotFoundError):
        found = importlib.metadata.distribution(distribution)
        raise RequestError(f'the distribution "{found.name}" {found.version} is installed already: {cure}')
    if importlib.util.find_spec(package) is not None:
        raise RequestError(f'there is a package "{package}" already, which Python would import instead: {cure}')
    for plugin in manager.plugins:
        if plugin.name == name:
            raise RequestError(f'the plugin name "{name}" is taken by {plugin}: {cure}')
    if "command" in outline.parts and (taken := manager.commands.get(name.replace("_", "-"))):
        raise RequestError(f'the command name "{name.replace("_", "-")}" is taken by the plugin {taken.plugin}: {cure}')
    for registry in manager.registries.all():
        if registry.kind.name in outline.used and name in registry:
            raise RequestError(f'the {registry.kind.name} name "{name}" is taken by {registry[name].plugin}: {cure}')
