"""Recipes from strangers: to check one imports nothing that it names, and opens no file that it names."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from ganzoo.errors import RequestError
from ganzoo.recipe.load import load_recipe
from ganzoo.recipe.validate import lint
from ganzoo.registry.plugin_manager import PluginManager

Tables = dict[str, Any]

NAMES = ("evil", "evil:Evil", "evil.Evil", "evil.py", "os:system", "plugins/evil.py", "__import__('evil')", "${HOME}")
COMMANDS = (("recipe", "check"), ("recipe", "show"))

_watched: list[tuple[str, str]] | None = None


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched is not None and event in (
        "open",
        "import",
        "os.listdir",
        "os.scandir",
        "subprocess.Popen",
        "os.system",
    ):
        _watched.append((event, str(arguments[0])))


@pytest.fixture(scope="module", autouse=True)
def _hook() -> None:
    sys.addaudithook(_audit)  # there is no taking it out again; outside of `watching` it does nothing


@contextmanager
def watching() -> Iterator[list[tuple[str, str]]]:
    """What is opened, imported and started meanwhile."""
    global _watched
    _watched = []
    try:
        yield _watched
    finally:
        _watched = None


@pytest.fixture
def stranger(tmp_path: Path, tables: Tables, monkeypatch: pytest.MonkeyPatch) -> Tables:
    """A recipe with every table, and beside it a module that can be imported and leaves a trace when it is."""
    trace = f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\n"
    for path in ("evil.py", "plugins/evil.py", "outside/evil.py"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(trace)
    (tmp_path / "outside/picture.png").write_bytes(b"\x89PNG")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    tables["run"]["root"] = str(tmp_path / "outside")
    tables["plugins"] = {"requires": ["ganzoo-dcgan"]}
    tables["dataset"] = {"name": "image_folder", "root": str(tmp_path / "outside"), "image_size": 16}
    tables["penalties"] = [{"name": "r1"}]
    tables["trainer"]["generator_optimizer"] = {"name": "adam"}
    tables["checkpoint"]["best"] = "fd_classifier"
    tables["tracking"]["wandb"] |= {"project": "p", "entity": "e", "group": "g", "tags": ["t"]}
    return tables


def texts(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every text in a recipe."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from texts(inner, (*path, key))
    elif isinstance(value, str):
        yield path


def put(tables: Tables, path: tuple[Any, ...], value: Any) -> Tables:
    changed = deepcopy(tables)
    place: Any = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return changed


def assert_harmless(folder: Path, act: Callable[[], Any]) -> Any:
    """Do it; nothing that lies in `folder` is imported, opened or started meanwhile, the recipe apart."""
    with watching() as seen:
        result = act()
    assert not (folder / "ran").exists()
    assert "evil" not in sys.modules
    places = [what for event, what in seen if event != "import" and str(folder) in what]
    # The list of the folder is Python's, which looks on its path for distributions.
    assert [place for place in places if not place.endswith("recipe.toml") and place != str(folder)] == []
    assert [what for event, what in seen if event in ("subprocess.Popen", "os.system") or "evil" in what] == []
    return result


def test_the_module_can_be_imported(stranger: Tables, tmp_path: Path):
    """Else the other tests would show nothing."""
    with watching() as seen:
        importlib.import_module("evil")
    del sys.modules["evil"]
    assert (tmp_path / "ran").is_dir()
    assert ("open", str(tmp_path / "evil.py")) in seen


@pytest.mark.slow
def test_every_text_in_it_may_name_a_module(stranger: Tables, tmp_path: Path, recipe_file: Any, manager: PluginManager):
    """What the two commands do, without the time that they take to load the plugins."""

    def opened(tables: Tables) -> bool:
        file = recipe_file(tables)
        try:
            recipe, others = assert_harmless(tmp_path, lambda: load_recipe(file, manager, trust=False))
        except RequestError:
            return False
        assert_harmless(tmp_path, lambda: lint(recipe, others))
        return True

    assert opened(stranger)
    places = list(texts(stranger))
    names = [place for place in places if place[-1] == "name" and place[0] != "run"]
    assert (len(places), len(names)) == (19, 7)
    for number, place in enumerate(places):
        opened(put(stranger, place, NAMES[number % len(NAMES)]))
    assert not any(opened(put(stranger, place, name)) for place in names for name in NAMES[:3])


@pytest.mark.slow
@pytest.mark.parametrize(
    "plugins",
    [
        {"files": ["evil.py"]},
        {"files": ["plugins/evil.py", "outside/evil.py"]},
        {"files": ["../outside/evil.py"]},
        {"requires": ["evil"]},
        {"requires": ["evil @ file:///tmp/evil"], "files": ["evil.py"]},
    ],
    ids=["a file", "two files", "a file above", "a distribution", "both"],
)
def test_plugins_that_it_names(
    stranger: Tables, tmp_path: Path, recipe_file: Any, command: Any, plugins: dict[str, Any]
):
    """With a name that only they could have registered."""
    stranger["plugins"] = plugins
    stranger["generator"] = {"name": "evil", "width": 3}
    file = recipe_file(stranger)
    for words in COMMANDS:
        ended = assert_harmless(tmp_path, lambda words=words: command(*words, file))
        assert "Traceback" not in ended.err
        assert (ended.code, ended.out) in (
            (0, f"{file}: nothing wrong in what could be checked without its plugin files\n"),
            (2, ""),
        )


def test_the_environment_is_not_spelled_out(
    stranger: Tables, recipe_file: Any, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
):
    """A recipe cannot have a variable's value put where it is printed, tracked or kept."""
    monkeypatch.setenv("MY_TOKEN", "s3cr3t-value")
    stranger["tracking"]["wandb"]["tags"] = ["$MY_TOKEN", "${MY_TOKEN}", "%(MY_TOKEN)s", "{MY_TOKEN}"]
    stranger["tracking"]["wandb"]["project"] = "${MY_TOKEN}"
    ended = command("recipe", "show", recipe_file(stranger))
    assert ended.code == 0
    assert "${MY_TOKEN}" in ended.out
    assert "s3cr3t" not in ended.out + ended.err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a = " + "[" * 50_000, "nested too deeply"),
        ("a = " + "{b=" * 50_000, "nested too deeply"),
        ("a = " + "9" * 9_000, "more digits than Python takes"),
        ("a = '''\0'''", "is not valid TOML"),
        ("\udc80 = 1", "is not valid TOML"),
        ("a" * 10_000_000, "is not valid TOML"),
    ],
    ids=["brackets", "braces", "digits", "zero byte", "no UTF-8", "ten megabytes"],
)
def test_files_that_are_hard_to_read(tmp_path: Path, command: Callable[..., Any], text: str, told: str):
    path = tmp_path / "recipe.toml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    for words in COMMANDS:
        ended = command(*words, path)
        assert ended.code == 2
        assert ended.err.startswith(f"error: {path}: ")
        assert told in ended.err
        assert len(ended.err) < 1000


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="has no such device")
@pytest.mark.parametrize("kind", ["device", "folder", "link to itself"])
def test_recipes_that_are_no_files(tmp_path: Path, command: Callable[..., Any], kind: str):
    path = tmp_path / "recipe.toml"
    match kind:
        case "device":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()
        case _:
            path.symlink_to(path)
    ended = command("recipe", "check", path)
    assert ended.code == 2
    assert ended.err.startswith(f"error: {path}: ")
    assert len(ended.err.splitlines()) == 1
