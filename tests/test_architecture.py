"""The shape of the package: who may import whom, what stays out of the core, what is imported when."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import ganzoo
from ganzoo.plugin_manager import PluginManager

PACKAGE = Path(ganzoo.__file__).parent
ROOT = PACKAGE.parent
PLUGINS = sorted((ROOT / "plugins").glob("*/ganzoo_*"))
CORE = sorted(PACKAGE.rglob("*.py"))
MODULES = [*CORE, *(file for plugin in PLUGINS for file in sorted(plugin.rglob("*.py")))]

# Lowest first: a module may import its own layer and those before it.
LAYERS = (
    {"errors", "images", "reading", "variables"},
    {"components"},
    {"hookspecs", "registry", "recipe", "recipe_checks", "recipe_errors", "recipe_evaluation", "overrides"}
    | {"plugin_manager", "lints", "local_plugins"},
    {"data", "engine"},
    {"observers", "builtin", "evaluation"},
    {
        "api",
        "comparison",
        "datasets",
        "export",
        "trained_run",
        "latent",
        "explore",
        "examine",
        "scaffold",
        "sweeps",
        "testing",
    },
    {"bench"},
    {"cli", "__main__"},
)

LONG_FILES: dict[str, str] = {}


def name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def layer_of(part: str) -> int:
    for number, layer in enumerate(LAYERS):
        if part in layer:
            return number
    raise AssertionError(f"ganzoo.{part} has no layer yet: give it one in LAYERS")


def imports(file: Path) -> Iterator[str]:
    """Dotted names that a file imports anywhere, but for the type checker alone."""

    def walk(node: ast.AST) -> Iterator[str]:
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                for child in node.orelse:
                    yield from walk(child)
                return
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom(level=0, module=str(module)):
                yield module
                yield from (f"{module}.{alias.name}" for alias in node.names)
            case ast.ImportFrom():
                raise AssertionError(f"{file}:{node.lineno}: a relative import")
        for child in ast.iter_child_nodes(node):
            yield from walk(child)

    yield from walk(ast.parse(file.read_text()))


def test_imports_go_downwards():
    known = {p.stem for p in PACKAGE.iterdir()}
    wrong = []
    for file in CORE:
        part = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if part == "__init__":  # re-exports the api, lazily
            continue
        imported = {name.split(".")[1] for name in imports(file) if name.startswith("ganzoo.")} & known
        wrong += [f"{name(file)} imports {other}" for other in imported if layer_of(other) > layer_of(part)]
    assert wrong == []


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


def test_files_are_short_or_say_why():
    lines = {name(file): len(file.read_text().splitlines()) for file in MODULES}
    assert {file: count for file, count in lines.items() if count > 300 and file not in LONG_FILES} == {}


def test_list_of_long_files_is_current():
    assert [file for file in LONG_FILES if len((ROOT / file).read_text().splitlines()) <= 300] == []


def test_command_line_itself_imports_next_to_nothing():
    """Every command waits for what the modules of all commands import: they import what they need when they run."""
    script = """
import sys
from ganzoo.cli import main
sys.argv = ["ganzoo", "--help"]
try:
    main.main()
except SystemExit:
    pass
ours = {m for m in sys.modules if m.startswith("ganzoo.") and not m.startswith("ganzoo.cli")}
libraries = {"pydantic", "rich", "numpy", "pluggy", "importlib.metadata"} & sys.modules.keys()
print(sorted(ours | libraries))
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    imported = set(ast.literal_eval(ended.stdout.splitlines()[-1]))
    extra = imported - {"ganzoo.errors", "ganzoo.scaffold", "ganzoo.variables"}
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
