"""The shape of the package: who may import whom, what stays out of the core, what is imported when."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import ganzoo
from ganzoo.registry.plugin_manager import PluginManager

PACKAGE = Path(ganzoo.__file__).parent
ROOT = PACKAGE.parent
PLUGINS = sorted((ROOT / "plugins").glob("*/ganzoo_*"))
CORE = sorted(PACKAGE.rglob("*.py"))
MODULES = [*CORE, *(file for plugin in PLUGINS for file in sorted(plugin.rglob("*.py")))]

# Lowest first: a module may import its own room and those before it, for the type checker too.
ROOMS = (
    {"errors", "env", "text", "terminal"},
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
    {"export", "sweeps"},
    {"comparison"},
    {"api"},
    {"bench", "testing"},
    {"cli", "__main__"},
)
LOOSE_MODULES = 8


def name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts)


def room_of(module: str) -> int:
    part = module.split(".")[1]
    for number, room in enumerate(ROOMS):
        if part in room:
            return number
    raise AssertionError(f"ganzoo.{part} has no room yet: give it one in ROOMS")


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
INSIDE = {module_of(file): file for file in CORE if file.name != "__init__.py" and "templates" not in file.parts}
IMPORTS = {module: {other for other in imports(file) if other in INSIDE} - {module} for module, file in INSIDE.items()}


def test_imports_go_downwards():
    wrong = [
        f"{module} imports {other}"
        for module, others in IMPORTS.items()
        for other in others
        if room_of(other) > room_of(module)
    ]
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle():
    sorter = TopologicalSorter(IMPORTS)
    try:
        sorter.prepare()
    except CycleError as error:
        raise AssertionError(f"a circle: {' → '.join(error.args[1])}") from None


def test_few_modules_lie_loose():
    assert len(list(PACKAGE.glob("*.py"))) <= LOOSE_MODULES


def test_core_imports_no_plugin():
    wrong = [f"{name(file)}: {other}" for file in CORE for other in imports(file) if other.startswith("ganzoo_")]
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
    "ganzoo.env",
    "ganzoo.errors",
    "ganzoo.registry",
    "ganzoo.registry.commands",
    "ganzoo.text",
}


@pytest.mark.parametrize(
    ("arguments", "more"),
    [
        # --help asks the plugins that have commands, and imports none of those.
        (["--help"], {"ganzoo.registry.hookspecs", "importlib.metadata", "pluggy"}),
        # typer itself imports these two for the options of a command.
        (["run", "--help"], {"ganzoo.cli.options", "ganzoo.cli.run", "importlib.metadata", "pydantic"}),
    ],
    ids=" ".join,
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
    assert {module for module in plugins if "." in module} <= {"ganzoo_analysis.plugin"}
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
from ganzoo.cli.main import main
commands = ["--help", "--version", "plugins", "plugins --json", "recipe schema",
            "run --help", "sample --help", "resume --help", "import --help",
            f"recipe check {sys.argv[1]}", f"recipe show {sys.argv[1]}",
            *(f"list {kind}" for kind in ("architectures", "losses", "datasets", "trainers", "importers")),
            "list extractors"]
for command in commands:
    sys.argv = ["ganzoo", *command.split()]
    try:
        main()
    except SystemExit as stop:
        assert not stop.code, command
    heavy = [m for m in HEAVY if m in sys.modules]
    assert not heavy, f"{command} imports {heavy}"
print("light")
"""
    ended = subprocess.run([sys.executable, "-c", script, str(recipe)], capture_output=True, text=True, check=False)
    assert ended.stdout.endswith("light\n"), ended.stderr[-2000:]
