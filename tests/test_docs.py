"""The documentation says what is so: its code runs, its tables are complete, its links lead somewhere."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import inspect
import json
import re
import runpy
import shlex
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import tomli_w
import typer
from ganzoo_testing import check_component, components_of
from PIL import Image

import ganzoo
from ganzoo.cli.main import app
from ganzoo.errors import RecipeError
from ganzoo.recipe.load import parse_recipe, read_toml
from ganzoo.recipe.overrides import apply_overrides
from ganzoo.registry import hookspecs
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.sampling.trained_run import TrainedRun
from ganzoo.storage.run_directory import RunDirectory

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
CHANGELOG = ROOT / "CHANGELOG.md"
PAGES_FOLDER = ROOT / "docs" / "pages"
PAGES = sorted(PAGES_FOLDER.glob("**/*.md"))
COMPONENTS = PAGES_FOLDER / "components"
DOCUMENTS = [README, CHANGELOG, *PAGES, *sorted((ROOT / "plugins").glob("*/README.md"))]
PLUGIN_PAGE = ROOT / "docs" / "pages" / "write-a-plugin.md"
HOOKS_PAGE = ROOT / "docs" / "pages" / "hooks.md"
WEIGHTS_PAGE = ROOT / "docs" / "pages" / "start-from-weights.md"
RECIPES_PAGE = ROOT / "docs" / "pages" / "recipes.md"
RUNS_PAGE = ROOT / "docs" / "pages" / "runs.md"
FILE_PAGES = [
    PAGES_FOLDER / f"{name}.md"
    for name in ("conditional-network", "trainer", "several-networks", "metric", "array-datasets")
]
"""Pages whose plugins are files beside a recipe."""


@dataclass(frozen=True)
class Block:
    """A fenced block of code: where it stands, its language, its title and its text."""

    document: Path
    language: str
    title: str
    text: str

    def __str__(self) -> str:
        return f"{self.document.name}:{self.title or self.text.partition(chr(10))[0]}"


def blocks(document: Path) -> list[Block]:
    fence = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
    return [
        Block(document, language, title, text)
        for language, title, text in fence.findall(document.read_text(encoding="utf-8"))
    ]


PUBLIC_MODULES = ("ganzoo", "ganzoo.plugin", "ganzoo.api", "ganzoo.sampling", "ganzoo.cli.options")
"""As the API reference has them."""
ALL_BLOCKS = [block for document in DOCUMENTS for block in blocks(document)]


def titled(document: Path, title: str) -> str:
    (found,) = [block.text for block in blocks(document) if block.title == title]
    return found


def is_private(name: str) -> bool:
    """Whether a dotted name is of the core's, and neither one of its public modules nor in one."""
    module, _, last = name.rpartition(".")
    if name.partition(".")[0] != "ganzoo" or name in PUBLIC_MODULES:
        return False
    if module not in PUBLIC_MODULES and not module.startswith("ganzoo.sampling."):
        return True
    imported = importlib.import_module(module)
    return last not in getattr(imported, "__all__", dir(imported))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=map(name_of, DOCUMENTS))


class TestText:
    @every_document
    def test_local_links_lead_somewhere(self, document: Path) -> None:
        text = re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if not re.match(r"[a-z]+:", target) and not target.startswith("#"):
                assert (document.parent / target.partition("#")[0]).exists(), f"{name_of(document)} links to {target}"

    @every_document
    def test_nobody_is_told_to_install_the_stranger_of_that_name(self, document: Path) -> None:
        for command in re.findall(r"pip install([^\n`&;]*)", document.read_text(encoding="utf-8")):
            assert not re.search(r"\sganzoo(?![-\w./])", command)

    @every_document
    def test_nothing_is_left_open_or_private(self, document: Path) -> None:
        text = document.read_text(encoding="utf-8")
        assert not re.search(r"\b(TODO|FIXME|XXX|TBD|lorem ipsum)\b", text, re.IGNORECASE)
        assert not re.search(r"(?<![\w.:/~-])/(home|root|Users|mnt|tmp)/", text), "a path of one machine"

    def test_the_site_has_every_page_once_in_one_of_five_sections(self) -> None:
        nav = tomllib.loads((ROOT / "docs" / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]
        assert [name for section in nav for name in section] == ["Start", "Use", "Extend", "Evidence", "Project"]
        entries = [page for section in nav for pages in section.values() for page in pages]
        shown = [page if isinstance(page, str) else next(iter(page.values())) for page in entries]
        alone = [page for page in PAGES if page.parent == COMPONENTS and page.stem != "index"]
        assert sorted(shown) == sorted(page.relative_to(PAGES_FOLDER).as_posix() for page in {*PAGES} - {*alone})

    def test_every_page_says_what_you_do_there(self) -> None:
        for page in PAGES:
            if page.parent != COMPONENTS:
                opening = page.read_text(encoding="utf-8").split("\n\n")[1]
                assert opening.startswith("On this page you "), name_of(page)

    def test_every_page_is_reached_from_the_first(self) -> None:
        found, left = set(), [PAGES_FOLDER / "index.md"]
        while left:
            page = left.pop()
            found.add(page)
            links = re.findall(r"\]\(([^):#\s]+\.md)", page.read_text(encoding="utf-8"))
            left += {(page.parent / link).resolve() for link in links} & ({*PAGES} - found)
        assert found == {*PAGES}

    def test_pictures_are_small(self) -> None:
        for picture in (ROOT / "docs").glob("**/*.png"):
            assert picture.stat().st_size <= 100_000, name_of(picture)


class TestInstalling:
    def test_ci_tries_every_pip_command_that_is_written_anywhere(self) -> None:
        tried = runpy.run_path(str(ROOT / ".ci" / "installs.py"))["LINES"]
        written = [*DOCUMENTS, *ROOT.glob("plugins/*/README.md")]
        written += [path for path in (ROOT / "ganzoo").rglob("*") if path.suffix in (".py", ".tmpl")]
        found = {}
        for path in written:
            for line in path.read_text(encoding="utf-8").splitlines():
                for place in re.finditer(r"\bpip install\b", line):
                    command = line[place.start() :].replace('\\"', '"')
                    if not command.startswith(tuple(tried)):
                        found[name_of(path)] = command
        assert found == {}, "add these to LINES in .ci/installs.py"


class TestReadme:
    def test_has_the_command_that_trains_and_the_command_that_tests(self) -> None:
        train, check = re.findall(r"^pip install .*&&.*$", README.read_text(encoding="utf-8"), re.MULTILINE)[:2]
        assert train.endswith("&& ganzoo run recipes/dcgan_digits.toml")
        assert check.endswith('&& pytest -n auto -m "not slow"')

    def test_fits_a_screen_and_a_half(self) -> None:
        assert len(README.read_text(encoding="utf-8").splitlines()) <= 100

    def test_its_plugin_works(self, tmp_path: Path, tables: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        Path("smoothed_loss.py").write_text(titled(README, "smoothed_loss.py"))
        tables |= {"plugins": {"files": ["smoothed_loss.py"]}, "loss": {"name": "smoothed"}}
        assert ganzoo.run(tables, ["run.steps=2"]).metrics[-1]["step"] == 2


def command_names(group: Any, prefix: str = "") -> Iterator[str]:
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if hasattr(command, "list_commands"):
            yield from command_names(command, f"{prefix}{name} ")
        else:
            yield prefix + name


def find_command(words: list[str]) -> tuple[Any, list[str]]:
    """The command that is called, and its arguments."""
    command: Any = typer.main.get_command(app)
    while hasattr(command, "get_command"):
        name, *words = words
        command = command.get_command(None, name)
        assert command is not None, name
    return command, words


def parse_command(arguments: str) -> None:
    """Parse what stands after `ganzoo`; raises where an option or argument is wrong."""
    # Options of every command may stand anywhere.
    command, words = find_command(shlex.split(re.sub(r"--(debug|trust|(no-)?plugin[= ]\S+)", "", arguments)))
    with patch.object(RunDirectory, "open"):  # the runs of examples do not exist
        command.make_context(arguments, words)


class TestCommands:
    def test_every_command_is_listed(self) -> None:
        table = (PAGES_FOLDER / "commands.md").read_text(encoding="utf-8")
        listed = re.findall(r"^\| `ganzoo ([a-z -]+?)(?= [A-Z-]|`)", table, re.MULTILINE)
        assert sorted(listed) == sorted(command_names(typer.main.get_command(app)))

    @pytest.mark.parametrize("block", [block for block in ALL_BLOCKS if block.language == "sh"], ids=str)
    def test_are_spelled_as_the_command_line_has_them(self, block: Block) -> None:
        for line in block.text.splitlines():
            for arguments in re.findall(r"(?:^|&& |do )ganzoo ([^;&>]+)", line):
                parse_command(arguments)

    @pytest.mark.parametrize("name", [*command_names(typer.main.get_command(app))])
    def test_has_each_option_on_a_page_that_shows_it(self, name: str) -> None:
        pages = (page.read_text(encoding="utf-8") for page in PAGES)
        shown = {*re.findall(r"(?<![\w-])--[\w-]+", "".join(page for page in pages if f"ganzoo {name}" in page))}
        options = ({*option.opts, *option.secondary_opts} for option in find_command(name.split())[0].params)
        named = [{each for each in names if each.startswith("--")} for names in options]
        assert [names for names in named if names and not names & shown] == []

    @pytest.mark.parametrize("name", [*command_names(typer.main.get_command(app))])
    def test_has_an_example_that_it_takes(self, name: str) -> None:
        command, _ = find_command(name.split())
        (example,) = re.findall(r"^Example: ganzoo (.+)$", inspect.getdoc(command.callback) or "", re.MULTILINE)
        assert example.partition(" > ")[0].startswith(name)
        parse_command(example.partition(" > ")[0])


GENERATORS_OF_PENALTIES = {
    "auxiliary_classifier": "cgan",
    "mutual_information": "infogan",
    "path_length": "stylegan2",
}


class TestRecipes:
    def test_all_that_ship_are_listed(self) -> None:
        listed = re.findall(r"^\| `(recipes/[^`]+)`", RECIPES_PAGE.read_text(encoding="utf-8"), re.MULTILINE)
        assert sorted(listed) == sorted(name_of(path) for path in (ROOT / "recipes").glob("**/*.toml"))

    @pytest.mark.parametrize("block", [block for block in ALL_BLOCKS if block.language == "toml"], ids=str)
    def test_are_right_whole_or_in_part(self, block: Block, manager: PluginManager) -> None:
        tables = tomllib.loads(block.text)
        if block.document in FILE_PAGES or block.title in ("pyproject.toml", "wrong.toml", "example.toml"):
            return  # other tests look at these
        if block.document.parent == COMPONENTS:  # one whole part, beside others that take anything
            tables = {
                "run": {"name": "page", "steps": 1},
                "dataset": {"name": "derived_pairs", "source": {"name": "synthetic"}, "image_size": 64, "channels": 3},
                **{kind: {"name": "gan"} for kind in ("generator", "discriminator")},
                "loss": {"name": "hinge"},
                "trainer": {"name": "adversarial"},
                **tables,
            }
            needed = GENERATORS_OF_PENALTIES.get(block.document.stem.removeprefix("penalty-"))
            tables |= {"generator": {"name": needed}} if needed else {}
        if "name" not in tables.get("run", {}):
            base = read_toml(ROOT / "recipes" / "dcgan_digits.toml")
            for name, table in tables.items():
                base[name] = {**base.get(name, {}), **table} if isinstance(table, dict) else table
            tables = base
        parse_recipe(tables, manager, source=str(block))

    def test_the_errors_are_those_that_are_shown(
        self, tmp_path: Path, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("wrong.toml").write_text(titled(RECIPES_PAGE, "wrong.toml"), encoding="utf-8")
        ended = command("recipe", "check", "wrong.toml")
        assert ended.code == 2
        pattern = re.escape(titled(RECIPES_PAGE, "wrong.txt")).replace("…", ".*")
        assert re.fullmatch(pattern, ended.err), ended.err


class TestStartFromWeights:
    def test_its_recipe_goes_on_from_the_digits(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        small = {
            "run.steps": 1,
            "device.accelerator": "cpu",
            "tracking.wandb.mode": "disabled",
            "trainer.batch_size": 8,
        }
        small |= {"generator.width": 4, "discriminator.width": 4, "run.root": "runs"}
        digits = ganzoo.run(ROOT / "recipes" / "dcgan_digits.toml", small)
        assert digits.path == Path("runs/dcgan-digits/0001")
        Path("fine_tune.toml").write_text(titled(WEIGHTS_PAGE, "fine_tune.toml"), encoding="utf-8")
        tuned = ganzoo.run("fine_tune.toml", small)
        before, after = (run.checkpoint.network("discriminator") for run in (digits, tuned))
        same = {name.rpartition(".")[0] for name in before if (before[name] == after[name]).all()}
        assert same == {"blocks.0.0", "blocks.1.0", "blocks.1.1"}
        assert len(tuned.training_set()) == 174

    def test_the_error_is_the_one_that_is_shown(self, tables: dict[str, Any]) -> None:
        (shown,) = [block.text for block in blocks(WEIGHTS_PAGE) if block.text.startswith("init.freeze")]
        tables["dataset"]["image_size"] = 32
        with pytest.raises(RecipeError) as error:
            ganzoo.run(tables, {"init.freeze": ["discriminator.blocks.7"]})
        assert [str(problem) for problem in error.value.problems] == [" ".join(shown.split())]


class TestOptions:
    def test_the_page_is_up_to_date(self) -> None:
        options = module_at(ROOT / "docs" / "options.py")
        assert options.PAGE.read_text(encoding="utf-8") == options.page(), "run: python docs/options.py"

    def test_every_component_has_its_page(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(str(ROOT / "docs"))
        written = module_at(ROOT / "docs" / "component_pages.py").pages()
        assert {*COMPONENTS.glob("*")} == written.keys(), (
            "run: python docs/options.py, and git add docs/pages/components"
        )
        for path, text in written.items():
            assert path.read_text(encoding="utf-8") == text, "run: python docs/options.py"

    @pytest.mark.parametrize("kind", ["generator", "discriminator", "loss", "penalty", "trainer"])
    def test_every_component_names_its_paper(self, kind: str) -> None:
        books = {"gan_in_action"}
        without = [
            page.stem
            for page in COMPONENTS.glob(f"{kind}-*.md")
            if "\n| paper | " not in page.read_text(encoding="utf-8") and page.stem.partition("-")[2] not in books
        ]
        assert without == []

    def test_every_dataset_is_in_the_table(self, manager: PluginManager) -> None:
        page = (ROOT / "docs" / "pages" / "datasets.md").read_text(encoding="utf-8")
        rows = "".join(re.findall(r"^\| `.*$", page, re.MULTILINE))
        ours = {entry.name for entry in manager.registries.datasets if entry.plugin.startswith("builtin ")}
        assert ours <= {*re.findall(r"`(\w+)`", rows)}

    def test_every_score_is_in_the_table(self, manager: PluginManager) -> None:
        page = (ROOT / "docs" / "pages" / "evaluation.md").read_text(encoding="utf-8")
        explained = "".join(re.findall(r"^\|([^|]+)\|", page, re.MULTILINE))
        for score in {score for entry in manager.registries.metrics for score in entry.load().directions}:
            assert f"`{score}`" in explained or f"`{score}_<extractor>`" in explained


def module_at(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestResults:
    @pytest.fixture
    def zoo(self, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
        monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
        return importlib.import_module("zoo_digits")

    def test_the_table_is_of_what_was_measured(self, zoo: ModuleType) -> None:
        page = zoo.PAGE.read_text(encoding="utf-8")
        measured = zoo.read_records(zoo.RESULTS)
        assert {(each["row"], each["seed"]) for each in measured} == {
            (row, seed) for row in zoo.ROWS for seed in zoo.SEEDS
        }
        assert page == zoo.with_table(page, measured), "run: python benchmarks/zoo_digits.py table"

    def test_every_component_that_ships_is_in_the_table(self, zoo: ModuleType, manager: PluginManager) -> None:
        shown: set[str] = set()
        for row in zoo.ROWS.values():
            recipe = parse_recipe(apply_overrides(zoo.BASE, row.changes), manager)
            parts = [recipe.generator, recipe.discriminator, recipe.loss, *recipe.penalties, recipe.trainer]
            shown |= {part.name for part in parts}
        trained = ("generator", "discriminator", "loss", "penalty", "trainer")
        pages = [page.stem for kind in trained for page in COMPONENTS.glob(f"{kind}-*.md")]
        few_shot = {"projected", "reconstruction", "uniform_hinge", "fastgan"}  # from 64 pixels on
        not_measured = {"patchgan", "unet", "resnet_translator", "pix2pix", "cyclegan"} | few_shot  # pairs of images
        not_measured |= {"stylegan2", "path_length", "ada"}  # at their best after far more updates
        not_measured |= {"mlp", "dcgan_28"}  # for points, and for images of three digits
        assert {stem.partition("-")[2] for stem in pages} == shown | not_measured


class TestHooks:
    def test_the_page_has_every_hook_with_its_exact_signature_and_sentence(self) -> None:
        documented = {}
        for block in blocks(HOOKS_PAGE):
            if block.language == "python" and not block.title:
                (function,) = ast.parse(block.text).body
                assert isinstance(function, ast.FunctionDef)
                documented[function.name] = ast.unparse(function)
        real = {}
        for function in ast.parse(inspect.getsource(hookspecs)).body:
            if isinstance(function, ast.FunctionDef):
                function.decorator_list = []
                real[function.name] = ast.unparse(function)
        assert list(documented) == list(real)
        assert documented == real


PRIVATE_PAGES = ("architecture", "contributing", "lab-notes")
"""Pages on the package itself, whose modules they name."""


class TestPython:
    @pytest.mark.parametrize("block", [block for block in ALL_BLOCKS if block.language == "python"], ids=str)
    def test_imports_public_names_alone(self, block: Block) -> None:
        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, ast.Import):
                assert [name for each in node.names if is_private(name := each.name)] == []
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{each.name}" for each in node.names]
                assert [name for name in names if is_private(name)] == []

    @every_document
    def test_only_public_names_are_named_to_users(self, document: Path) -> None:
        if document == CHANGELOG or document.parent == COMPONENTS or document.stem in PRIVATE_PAGES:
            return
        text = re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        named = re.findall(r"`(ganzoo(?:\.\w+)+)", text)
        assert [name for name in named if is_private(name)] == []

    @pytest.mark.parametrize("document", [README, ROOT / "docs" / "pages" / "quickstart.md"], ids=name_of)
    def test_the_api_is_used_rightly(
        self, document: Path, tmp_path: Path, tables: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        tables["run"] |= {"name": "dcgan-digits", "root": "runs", "steps": 2}
        tables["dataset"] = {"name": "digits", "image_size": 32}
        Path("recipes").mkdir()
        Path("recipes/dcgan_digits.toml").write_text(tomli_w.dumps(tables))
        variables: dict[str, Any] = {}
        exec(compile(titled(document, "python_api.py"), str(document), "exec"), variables)
        assert variables["images"].shape == (64, 1, 32, 32)

    @pytest.mark.parametrize("block", [block for block in ALL_BLOCKS if block.language == "python"], ids=str)
    def test_is_python(self, block: Block) -> None:
        assert max(map(len, block.text.splitlines())) <= 120
        compile(block.text, str(block), "exec")


@pytest.fixture
def example_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that modules are imported from; what was imported from it is forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if str(folder) in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]


def install(folder: Path, distribution: str, entry_points: dict[str, str]) -> None:
    """Leave what pip would leave of a distribution beside its modules."""
    info = folder / f"{distribution.replace('-', '_')}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {distribution}\nVersion: 0.1.0\n")
    lines = [f"{name} = {module}" for name, module in entry_points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[ganzoo]", *lines, ""]))


class TestWriteAPlugin:
    @pytest.fixture
    def manager(self, example_path: Path) -> PluginManager:
        """The plugins, with the one on the page installed, and its later examples as plugins of their own."""
        for document in (PLUGIN_PAGE, HOOKS_PAGE):
            for block in blocks(document):
                if block.language == "python" and block.title:
                    path = example_path / block.title
                    path.parent.mkdir(exist_ok=True)
                    path.write_text(block.text, encoding="utf-8")
        package = example_path / "ganzoo_example"
        (package / "__init__.py").touch()
        project = tomllib.loads(titled(PLUGIN_PAGE, "pyproject.toml"))["project"]
        install(example_path, project["name"], project["entry-points"]["ganzoo"])
        (package / "more.py").write_text(
            "from ganzoo.plugin import hookimpl\nfrom ganzoo_example.datasets import Gradients\n"
            "from ganzoo_example.wgan_gp import Critic, Slope\n\n\n"
            "@hookimpl\ndef register_datasets(register):\n    register('gradients', Gradients)\n\n\n"
            "@hookimpl\ndef register_losses(register):\n    register('critic', Critic)\n    register('slope', Slope)\n"
        )
        install(example_path, "ganzoo-more", {"more": "ganzoo_example.more", "ending": "ganzoo_example.ending"})
        manager = PluginManager()
        assert not manager.broken, [plugin.error for plugin in manager.broken]
        return manager

    @pytest.fixture
    def recipe(self, tmp_path: Path) -> dict[str, Any]:
        """The page's recipe, for two steps of a few images."""
        tables = tomllib.loads(titled(PLUGIN_PAGE, "example.toml"))
        tables["run"] |= {"steps": 2, "root": str(tmp_path / "runs")}
        tables["generator"]["width"] = tables["discriminator"]["width"] = 4
        tables["trainer"]["batch_size"] = 8
        return {**tables, "device": {"accelerator": "cpu"}, "tracking": {"wandb": {"mode": "disabled"}}}

    def test_is_short(self) -> None:
        def lines(title: str) -> int:
            return len(titled(PLUGIN_PAGE, title).splitlines())

        assert lines("ganzoo_example/losses.py") <= 25
        assert lines("ganzoo_example/wgan_gp.py") <= 25
        assert lines("ganzoo_example/discriminators.py") <= 30
        settings = [line for line in titled(PLUGIN_PAGE, "example.toml").splitlines() if line and line[0] != "#"]
        assert len(settings) <= 15

    def test_its_distribution_asks_for_what_it_imports(self) -> None:
        project = tomllib.loads(titled(PLUGIN_PAGE, "pyproject.toml"))["project"]
        for requirement in project["dependencies"]:
            name, low, high = re.fullmatch(r"([\w-]+)>=([\d.]+),<([\d.]+)", requirement).groups()  # type: ignore[union-attr]
            numbers = [[int(part) for part in text.split(".")[:2]] for text in (low, version(name), high)]
            assert numbers == sorted(numbers), requirement

    def test_its_recipe_trains(self, manager: PluginManager, recipe: dict[str, Any]) -> None:
        whole = tomllib.loads(titled(PLUGIN_PAGE, "example.toml"))
        assert parse_recipe(whole, manager).plugins.requires == ("ganzoo-example",)
        trained = ganzoo.run(recipe, ["loss.real_target=0.8"], manager=manager)
        assert trained.metrics[-1]["step"] == 2
        assert len(trained.discriminator.features(trained.sample(2))) == 3

    def test_its_wgan_gp_is_the_one_that_ships(self, manager: PluginManager, recipe: dict[str, Any]) -> None:
        terms = []
        for loss, penalty in (("critic", "slope"), ("wasserstein", "gradient_penalty")):
            tables = {**recipe, "loss": {"name": loss}, "penalties": [{"name": penalty, "weight": 10.0}]}
            figures = ganzoo.run(tables, ["device.precision=fp32"], manager=manager).metrics[-1]
            terms.append([figures["loss/discriminator"], figures[f"penalty/{penalty}"]])
        assert terms[0] == pytest.approx(terms[1], rel=1e-3)

    def test_its_dataset_can_be_trained_on(self, manager: PluginManager, recipe: dict[str, Any]) -> None:
        recipe["dataset"] = {"name": "gradients", "image_size": 32, "channels": 1, "count": 16}
        trained = ganzoo.run(recipe, manager=manager)
        assert trained.sample(1).shape == (1, 1, 32, 32)

    def test_the_observer_of_the_hooks_page_is_told(
        self, manager: PluginManager, recipe: dict[str, Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        trained = ganzoo.run(recipe, manager=manager)
        assert f"{trained.path} ended at step 2 of 2" in capsys.readouterr().out

    def test_the_command_of_the_hooks_page_counts(
        self,
        manager: PluginManager,
        example_path: Path,
        recipe: dict[str, Any],
        command: Callable[..., Any],
    ) -> None:
        install(example_path, "ganzoo-counting", {"counting": "ganzoo_example.counting"})
        trained = ganzoo.run(recipe, manager=manager)
        expected = sum(parameter.numel() for parameter in trained.generator.parameters())
        assert command("parameters", trained.path).out == f"{expected}\n"

    def test_its_quick_form_registers_the_same(self, manager: PluginManager, example_path: Path) -> None:
        shutil.rmtree(example_path / "ganzoo_example-0.1.0.dist-info")
        (example_path / "ganzoo_example" / "configs.py").write_text(
            "from ganzoo_example.losses import SmoothedConfig\n"
        )
        install(example_path, "ganzoo-quick", {"quick": "ganzoo_example.quick_plugin"})
        quick = PluginManager().registries.losses["smoothed"]
        assert isinstance(quick.target, str)
        assert quick.load() is manager.registries.losses["smoothed"].load()


def titles(language: str) -> list[str]:
    return [block.title for page in FILE_PAGES for block in blocks(page) if block.language == language and block.title]


class TestPluginFiles:
    """The plugins of the pages, each a file."""

    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The files and recipes of all these pages side by side, and the data that they name."""
        monkeypatch.chdir(tmp_path)
        for page in FILE_PAGES:
            for block in blocks(page):
                if block.title:
                    Path(block.title).write_text(block.text, encoding="utf-8")
        rng = np.random.default_rng(0)
        for side in ("outlines", "photos"):
            Path("facades", side).mkdir(parents=True)
            for index in range(8):
                image = Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
                image.save(f"facades/{side}/{index}.png")
        Path("data").mkdir()
        tiles = rng.integers(0, 1 << 16, (16, 32, 32, 13), dtype=np.uint16)
        np.savez("data/tiles.npz", tiles=tiles, labels=rng.integers(0, 2, (16, 3)))
        return tmp_path

    @pytest.mark.parametrize(
        ("page", "file", "most"),
        [
            ("several-networks", "near_target.py", 35),
            ("several-networks", "there_and_back.py", 45),
            ("metric", "sharpness.py", 20),
            ("array-datasets", "circle.py", 40),
        ],
    )
    def test_are_short(self, page: str, file: str, most: int) -> None:
        assert len(titled(PAGES_FOLDER / f"{page}.md", file).splitlines()) <= most

    def test_have_names_of_their_own(self) -> None:
        every = titles("python") + titles("toml")
        assert len(every) == len(set(every))

    @pytest.mark.parametrize("file", titles("python"))
    def test_keep_their_contracts(self, folder: Path, file: str) -> None:
        manager = PluginManager().with_files([folder / file])
        for entry in components_of(file, manager):
            check_component(entry, **({"root": "data"} if file == "tiles.py" else {}))

    @pytest.mark.parametrize("recipe", titles("toml"))
    def test_train(self, folder: Path, recipe: str) -> None:
        trained = self.train(folder / recipe)
        assert trained.metrics[-1]["step"] == 2

    def test_do_what_the_pages_say(self, folder: Path) -> None:
        back = self.train(folder / "there_and_back.toml")
        assert back.checkpoint.networks() == ["back", "discriminator", "generator"]
        assert "loss/cycle" in back.metrics[-1]
        codes = self.train(folder / "bigan.toml")
        assert codes.checkpoint.networks() == ["discriminator", "encoder", "generator"]
        two = self.train(folder / "two_discriminators.toml")
        assert two.checkpoint.networks() == ["discriminator", "generator", "second"]
        assert self.train(folder / "circle.toml").sample(3).shape == (3, 2)
        assert self.train(folder / "tiles.toml").checkpoint.info.image.channels == 13
        sharp = self.train(folder / "metric.toml").path
        assert "sharpness" in json.loads((sharp / "summary.json").read_text())["scores"]["last"]
        (listed,) = re.findall(r"^runs/dcgan-digits/0001/\n(.*?)^```$", RUNS_PAGE.read_text(), re.MULTILINE | re.DOTALL)
        written = {file.name for file in sharp.iterdir() if not file.name.startswith(".")}
        assert written <= {*re.findall(r"^  ([\w.]+)", listed, re.MULTILINE)}

    def train(self, recipe: Path) -> TrainedRun:
        """Train two steps of a recipe with small networks."""
        tables = tomllib.loads(recipe.read_text())
        tables["run"] |= {"steps": 2, "log_every": 1}
        if tables["dataset"]["name"] in ("image_pairs", "tiles"):
            tables["dataset"]["image_size"] = 32
        for table in (tables["generator"], tables["discriminator"], *tables.get("networks", {}).values()):
            table["width"] = 4
        if tables["discriminator"]["name"] == "patchgan":
            tables["discriminator"]["depth"] = 2
        if "evaluation" in tables:
            tables["evaluation"] |= {"every": 2, "samples": 16}
        tables["trainer"]["batch_size"] = 4
        tables |= {"device": {"accelerator": "cpu", "precision": "fp32"}, "tracking": {"wandb": {"mode": "disabled"}}}
        tables["samples"] = {"count": 4, "gif": False}
        return ganzoo.run(tables)


def version(distribution: str) -> str:
    return importlib.metadata.version(distribution)


def test_pictures_name_no_folder_of_a_machine():
    """`ganzoo sample` writes the run as it was named into a picture."""
    for picture in sorted(PAGES_FOLDER.glob("**/*.png")):
        with Image.open(picture) as image:
            run = image.info.get("ganzoo:run", "")
        assert not run.startswith(("/", "~")), f"{picture.name}: {run}: draw it from the folder of the runs"
