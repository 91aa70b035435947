"""The shape of the package: who may import whom, what stays out of the core, what is imported when."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import ganzoo
from ganzoo.registry.plugin_manager import PluginManager

PACKAGE = Path(ganzoo.__file__).parent
ROOT = PACKAGE.parent
PAGE = ROOT / "docs" / "pages" / "architecture.md"
PLUGINS = sorted((ROOT / "plugins").glob("*/ganzoo_*"))
CORE = sorted(PACKAGE.rglob("*.py"))
PLUGIN_MODULES = [file for plugin in PLUGINS for file in sorted(plugin.rglob("*.py"))]
MODULES = [*CORE, *PLUGIN_MODULES]

# Lowest first: a module may import its own layer and those before it, for the type checker too.
LAYERS = (
    {"errors", "text", "untrusted", "terminal"},
    {"components"},
    {"registry"},
    {"recipe"},
    {"runtime"},
    {"storage"},
    {"data"},
    {"training"},
    {"sampling"},
    {"evaluation"},
    {"observers"},
    {"builtin"},
    {"plugin"},
    {"sweeps"},
    {"comparison"},
    {"api"},
    {"cli", "__main__"},
)
TOP_LEVEL_MODULES = 8

# What plugins may import of the core, each with the modules within it; docs/pages/api.md says what for.
PUBLIC_MODULES = (
    "ganzoo.plugin",
    "ganzoo.api",
    "ganzoo.sampling",
    "ganzoo.cli.options",
)


def name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts)


def layer_of(module: str) -> int:
    part = module.split(".")[1]
    for number, layer in enumerate(LAYERS):
        if part in layer:
            return number
    raise AssertionError(f"ganzoo.{part} has no layer yet: give it one in LAYERS")


def imports(file: Path) -> Iterator[str]:
    """Dotted names that a file imports anywhere: inside of functions and for the type checker too."""
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom(level=0, module=str(module)):
                yield module
                yield from (f"{module}.{alias.name}" for alias in node.names)
            case ast.ImportFrom():
                raise AssertionError(f"{file}:{node.lineno}: a relative import")


# A package's __init__ re-exports, most often lazily, and is imported with each of its modules.
INSIDE = {module_of(file): file for file in CORE if file.name != "__init__.py"}
IMPORTS = {module: {other for other in imports(file) if other in INSIDE} - {module} for module, file in INSIDE.items()}


def test_imports_go_downwards():
    wrong = [
        f"{module} imports {other}"
        for module, others in IMPORTS.items()
        for other in others
        if layer_of(other) > layer_of(module)
    ]
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle():
    sorter = TopologicalSorter(IMPORTS)
    try:
        sorter.prepare()
    except CycleError as error:
        raise AssertionError(f"a circle: {' → '.join(error.args[1])}") from None


def test_the_page_shows_these_layers():
    picture = re.search(r"^```text\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert picture is not None
    shown = [{*re.split(r"\s+", line[:34].strip())} for line in picture[1].splitlines()]
    assert shown == [layer - {"__main__", "latent", "explore", "examine"} for layer in LAYERS]


def test_the_page_names_files_that_are_there():
    named = {*re.findall(r"`([a-z_]+/[a-z_]+\.py)`", PAGE.read_text(encoding="utf-8"))}
    assert {path for path in named if not (PACKAGE / path).exists() and not (ROOT / path).exists()} == set()


def test_few_modules_are_top_level():
    assert len(list(PACKAGE.glob("*.py"))) <= TOP_LEVEL_MODULES


def test_core_imports_no_plugin():
    wrong = [f"{name(file)}: {other}" for file in CORE for other in imports(file) if other.startswith("ganzoo_")]
    assert wrong == []


def is_private(text: str) -> bool:
    return text.startswith("_") and not text.endswith("__")


def test_plugins_import_public_modules_alone():
    wrong = []
    for file in PLUGIN_MODULES:
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Import():
                    found = [alias.name for alias in node.names if alias.name.partition(".")[0] == "ganzoo"]
                case ast.ImportFrom(module="ganzoo"):
                    found = [f"ganzoo.{alias.name}" for alias in node.names]
                    found = [each if each in INSIDE else "ganzoo" for each in found]
                case ast.ImportFrom(module=str(module)) if module.startswith("ganzoo."):
                    found = [module]
                case _:
                    continue
            for each in found:
                if each != "ganzoo" and not f"{each}.".startswith(tuple(f"{public}." for public in PUBLIC_MODULES)):
                    wrong.append(f"{file.relative_to(ROOT)}:{node.lineno}: {each}")
    assert wrong == [], "import these from ganzoo.plugin"


def test_plugins_take_no_private_name_from_a_module_of_the_core():
    wrong = []
    for file in PLUGIN_MODULES:
        tree = ast.parse(file.read_text())
        modules = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "ganzoo":
                modules |= {alias.asname or alias.name for alias in node.names}
                wrong += [f"{name(file)}:{node.lineno}: {each.name}" for each in node.names if is_private(each.name)]
        wrong += [
            f"{name(file)}:{node.lineno}: {ast.unparse(node)}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and is_private(node.attr)
            if isinstance(node.value, ast.Name) and node.value.id in modules | {"ganzoo"}
        ]
    assert wrong == []


def class_tree(cls: type) -> ast.AST:
    return ast.parse(textwrap.dedent(inspect.getsource(cls)))


def private_names(cls: type) -> set[str]:
    """Names with one underscore that a class defines, in its body or on `self`."""
    assigned = {
        node.attr
        for node in ast.walk(class_tree(cls))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if isinstance(node.value, ast.Name) and node.value.id == "self"
    }
    return {each for each in {*vars(cls), *assigned} if is_private(each) and not each.startswith("_abc_")}


@pytest.mark.slow
def test_plugins_use_no_private_name_of_a_class_they_derive_from():
    """Neither to call it nor to put another in its place: what a subclass may change has a public name."""
    wrong = []
    for file in PLUGIN_MODULES:
        module = importlib.import_module(module_of(file).partition(".")[2].partition(".")[2])
        for cls in vars(module).values():
            if not isinstance(cls, type) or cls.__module__ != module.__name__:
                continue
            bases = [base for base in cls.__mro__ if base.__module__.partition(".")[0] == "ganzoo"]
            theirs = set().union(*(private_names(base) for base in bases))
            used = {node.attr for node in ast.walk(class_tree(cls)) if isinstance(node, ast.Attribute)}
            wrong += [f"{name(file)}: {cls.__name__}.{each}" for each in sorted((used | {*vars(cls)}) & theirs)]
    assert wrong == []


def test_no_component_is_asked_for_its_name(manager: PluginManager):
    """A branch on a registered name would give that component what a stranger's cannot have."""
    registered = {entry for registry in manager.registries.all() for entry in registry.names()}
    assert {"dcgan", "non_saturating", "synthetic", "adversarial", "r1"} <= registered
    found = []
    for file in MODULES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Compare | ast.MatchValue):
                texts = {n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
                found += [f"{name(file)}:{node.lineno}: {text}" for text in texts & registered]
    assert found == []


def test_every_module_says_what_it_is():
    assert [name(file) for file in MODULES if not ast.get_docstring(ast.parse(file.read_text()))] == []


LIGHT = {
    "ganzoo.builtin",
    "ganzoo.builtin.commands",
    "ganzoo.cli",
    "ganzoo.cli.command_group",
    "ganzoo.cli.main",
    "ganzoo.registry",
    "ganzoo.errors",
    "ganzoo.registry.commands",
    "ganzoo.runtime",
    "ganzoo.runtime.cpu_threads",
    "ganzoo.text",
    "ganzoo.untrusted",
}


GUARD = ("ganzoo.runtime", "ganzoo.runtime.output")


@pytest.mark.parametrize(
    ("arguments", "more"),
    [
        # Both guard stderr, by a module of the standard library alone; --help asks the plugins that have commands.
        (["--help"], {*GUARD, "ganzoo.plugin", "ganzoo.registry.hookspecs", "importlib.metadata", "pluggy"}),
        # typer itself imports these two for the options of a command.
        (["run", "--help"], {*GUARD, "ganzoo.cli.options", "ganzoo.cli.train", "importlib.metadata", "pydantic"}),
    ],
    ids=["help", "run-help"],
)
def test_command_line_itself_imports_next_to_nothing(arguments: list[str], more: set[str]):
    """Every command waits for what the modules of all commands import: they import what they need when they run."""
    script = """
import sys
from ganzoo.cli import main
sys.argv = ["ganzoo", *sys.argv[1:]]
try:
    main.main()
except SystemExit:
    pass
libraries = {"pydantic", "rich", "numpy", "pluggy", "importlib.metadata"} & sys.modules.keys()
print([m for m in sys.modules if m.startswith(("ganzoo.", "ganzoo_"))] + [*libraries])
"""
    ended = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    imported = ast.literal_eval(ended.stdout.splitlines()[-1])
    plugins = {module for module in imported if module.startswith("ganzoo_")}
    with_commands = {f"ganzoo_{name}.plugin" for name in ("analysis", "bench", "export", "testing")}
    assert {module for module in plugins if "." in module} <= with_commands
    extra = set(imported) - plugins - LIGHT - more
    assert not extra, "a module in ganzoo/cli imports these at its top: move that into the command's function"


def test_light_commands_import_neither_torch_nor_wandb(tmp_path: Path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        '[run]\nname = "x"\nsteps = 1\n[dataset]\nname = "synthetic"\n[generator]\nname = "dcgan"\n'
        '[discriminator]\nname = "dcgan"\n[loss]\nname = "hinge"\n[[penalties]]\nname = "r1"\n'
        '[trainer]\nname = "adversarial"\n'
    )
    script = """
import sys
import ganzoo
HEAVY = ("torch", "torchvision", "wandb", "sklearn", "numpy")
assert not [m for m in HEAVY if m in sys.modules], "import ganzoo"
from ganzoo.cli import main as program
program.HOOK_SECONDS = 600  # a command's process is ended so long after it, and this one goes on
commands = ["--help", "--version", "plugins", "plugins --json", "recipe schema",
            "run --help", "sample --help", "resume --help", "import --help",
            f"recipe check {sys.argv[1]}", f"recipe show {sys.argv[1]}",
            *(f"list {kind}" for kind in ("architectures", "losses", "datasets", "trainers", "importers")),
            "list extractors"]
for command in commands:
    sys.argv = ["ganzoo", *command.split()]
    try:
        program.main()
    except SystemExit as stop:
        assert not stop.code, command
    heavy = [m for m in HEAVY if m in sys.modules]
    assert not heavy, f"{command} imports {heavy}"
print("light")
"""
    ended = subprocess.run([sys.executable, "-c", script, str(recipe)], capture_output=True, text=True, check=False)
    assert ended.stdout.endswith("light\n"), ended.stderr[-2000:]
