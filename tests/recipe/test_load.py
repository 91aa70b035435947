"""Plugin files of recipes and runs: imported when a run is asked for, and otherwise only with leave."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from ganzoo import api
from ganzoo.errors import PluginError, RequestError
from ganzoo.recipe.load import load_recipe, parse_recipe
from ganzoo.registry.plugin_manager import PluginManager

Command = Callable[..., Any]

SOURCE = """
from pathlib import Path
from ganzoo.components.options import LossConfig
from ganzoo.components.loss import Loss
from ganzoo.registry.hookspecs import hookimpl

Path(r"{witness}").touch()

class Mine(Loss):
    class Config(LossConfig):
        "Its options."
    def discriminator_loss(self, real_logits, fake_logits): return (fake_logits - real_logits).mean()
    def generator_loss(self, real_logits, fake_logits): return -fake_logits.mean()

@hookimpl
def register_losses(register):
    register("mine", Mine)
"""


METRIC = """
from ganzoo.plugin import Metric, hookimpl

class Off(Metric):
    needs = frozenset({{"{source}"}})
    directions = {{"off": "{direction}"}}
    def compute(self, inputs): return {{"off": 1.0}}

@hookimpl
def register_metrics(register):
    register("off", Off)
"""

ODD_TYPE = """
from ganzoo.plugin import Loss, LossConfig, hookimpl

class Thing:
    pass

class MineConfig(LossConfig):
    thing: Thing | None = None

class Mine(Loss):
    Config = MineConfig
    def discriminator_loss(self, real_logits, fake_logits): return fake_logits.mean()
    def generator_loss(self, real_logits, fake_logits): return -fake_logits.mean()

@hookimpl
def register_losses(register):
    register("mine", Mine)
"""

PLACES = """
from ganzoo.plugin import Loss, LossConfig, hookimpl

def count(top: int = 3) -> None:
    print("counted", top)

class Mine(Loss):
    def discriminator_loss(self, real_logits, fake_logits): return (fake_logits - real_logits).mean()
    def generator_loss(self, real_logits, fake_logits): return -fake_logits.mean()

@hookimpl
def register_commands(register):
    register("count", "my_places:count", help="Count.")

@hookimpl
def register_losses(register):
    register("mine", "my_places:Mine", config=LossConfig)
"""


@pytest.fixture
def witness(tmp_path: Path) -> Path:
    """There once the plugin file has been executed."""
    return tmp_path / "executed"


@pytest.fixture
def recipe(tmp_path: Path, tables: dict[str, Any], witness: Path) -> Path:
    folder = tmp_path / "stranger"
    folder.mkdir()
    (folder / "my_loss.py").write_text(SOURCE.format(witness=witness))
    tables["plugins"] = {"files": ["my_loss.py"]}
    tables["loss"] = {"name": "mine"}
    tables["run"]["steps"] = 4
    (folder / "recipe.toml").write_text(tomli_w.dumps(tables))
    return folder / "recipe.toml"


def test_check_imports_nothing_by_itself(command: Command, recipe: Path, witness: Path):
    ended = command("recipe", "check", recipe)
    assert ended.code == 0, ended.err
    assert not witness.exists()
    assert "not checked: loss.name" in ended.err
    assert f"it may come from {recipe.parent / 'my_loss.py'}, which is imported only with --trust" in ended.err
    assert command("recipe", "show", recipe).code == 2
    assert not witness.exists()
    assert command("recipe", "check", recipe, "--trust").out == f"{recipe}: nothing wrong\n"
    assert witness.exists()


def test_what_can_be_checked_is(command: Command, recipe: Path, witness: Path):
    ended = command("recipe", "check", recipe, "--set", "generator.widht=3")
    assert ended.code == 2
    assert "generator.widht" in ended.err
    assert not witness.exists()


def test_run_keeps_the_file_and_is_opened_only_with_trust(
    command: Command, recipe: Path, witness: Path, tmp_path: Path
):
    trained = api.run(recipe)
    assert "mine" not in PluginManager().registries.losses
    resolved = tomllib.loads((trained.path / "recipe.toml").read_text())
    assert resolved["plugins"]["files"] == ["plugins/my_loss.py"]
    assert (trained.path / "plugins" / "my_loss.py").read_bytes() == (recipe.parent / "my_loss.py").read_bytes()
    assert "sha256:" in (trained.path / "environment.json").read_text()
    witness.unlink()
    moved = trained.path.rename(tmp_path / "moved")
    (recipe.parent / "my_loss.py").unlink()
    with pytest.raises(RequestError, match=r"has plugin files of its own: plugins/my_loss\.py"):
        api.load_run(moved)
    assert command("sample", moved, "--out", tmp_path / "no.png").code == 2
    assert command("resume", moved, "--set", "run.steps=6").code == 2
    assert not witness.exists()
    assert api.load_run(moved, trust_plugins=True).sample(2).shape == (2, 3, 16, 16)
    assert witness.exists()
    assert api.resume(moved, ["run.steps=6"], trust_plugins=True).metrics[-1]["step"] == 6


def test_files_outside_the_run_are_refused(recipe: Path, tmp_path: Path):
    trained = api.run(recipe)
    path = trained.path / "recipe.toml"
    path.write_text(path.read_text().replace("plugins/my_loss.py", "../../../stranger/my_loss.py"))
    with pytest.raises(RequestError, match="lies outside the run's own folder plugins"):
        api.load_run(trained.path, trust_plugins=True)


def test_option_imports_a_file_for_any_command(command: Command, recipe: Path):
    ended = command("list", "losses", "--plugin", recipe.parent / "my_loss.py")
    assert "mine\tloss\t" in ended.out


def test_places_in_a_file_are_named_by_it(command: Command, tmp_path: Path):
    path = tmp_path / "my_places.py"
    path.write_text(PLACES)
    assert command("--plugin", path, "count", "--top", "5").out == "counted 5\n"
    assert PluginManager(files=[path]).registries.losses["mine"].load().__name__ == "Mine"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import no_such_module_at_all", "ModuleNotFoundError"),
        ("x = 1", "implements no hook"),
        ("def (:", "SyntaxError"),
        (SOURCE.replace("generator_loss", "loss_of_it").format(witness=os.devnull), "Mine lacks generator_loss:"),
        (METRIC.format(source="point", direction="lower"), r'Off\.needs has "point", did you mean points\?; there are'),
        (METRIC.replace("needs = ", "want = ").format(source="points", direction="lower"), "Off lacks needs:"),
        (METRIC.format(source="points", direction="down"), r'Off\.directions has "down" for off: take one of lower,'),
    ],
)
def test_faulty_file_is_an_error(tmp_path: Path, source: str, told: str):
    path = tmp_path / "bad.py"
    path.write_text(source)
    with pytest.raises(PluginError, match=rf"bad\.py cannot be used: .*{told}"):
        PluginManager(files=[path])


@pytest.mark.parametrize("loss", ["mine", "hinge"])
def test_options_of_a_type_that_pydantic_cannot_check_name_their_plugin(tables: dict, tmp_path: Path, loss: str):
    path = tmp_path / "odd.py"
    path.write_text(ODD_TYPE)
    tables |= {"loss": {"name": loss}, "run": {**tables["run"], "stepz": 1}}  # a wrong key, told by all that is there
    told = r'"mine" of the plugin odd\.py .*: the options of MineConfig have a type that no recipe can hold: Unable to'
    with pytest.raises(PluginError, match=told):
        parse_recipe(tables, PluginManager(files=[path]))


HEAD = '[run]\nname = "x"\nsteps = 3\n[dataset]\nname = "digits"\n'


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (HEAD.encode("utf-16"), "it is UTF-16 text, and TOML is UTF-8"),
        (HEAD.encode("utf-16-le"), "it is UTF-16 text, and TOML is UTF-8"),
        (
            (HEAD + "root = 'données'").encode("latin-1"),
            "line 6 has the byte 0xe9 of another encoding, such as Latin-1, and TOML is UTF-8: save it as UTF-8",
        ),
        ((HEAD + r'root = "D:\data"').encode(), r"or as D:/new"),
        ((HEAD + r'root = "C:\Users"').encode(), r"or as D:/new"),
        ((HEAD + r'root = "D:\new"').encode(), r"dataset.root: has the control character '\n'"),
        ((HEAD + "[x]\n" + ".".join("a" * 3000) + " = 1").encode(), "it is nested too deeply"),
        ((HEAD + "count = " + "9" * 5000).encode(), "it has a number of more digits than Python takes"),
        (HEAD.replace("3", "9" * 400).encode(), "run.steps: is 9999"),
        (HEAD.replace("3", f"3\nseed = {2**64}").encode(), "run.seed: is a number beyond 2⁶³ − 1"),
    ],
)
def test_odd_files_are_errors_in_words(tmp_path: Path, manager: PluginManager, content: bytes, told: str):
    path = tmp_path / "odd.toml"
    path.write_bytes(content)
    with pytest.raises(RequestError) as caught:
        load_recipe(path, manager)
    assert told in str(caught.value)


def test_the_cure_for_backslashes_is_told_where_there_are_some(tmp_path: Path, manager: PluginManager):
    path = tmp_path / "odd.toml"
    path.write_text(HEAD + 'root = "data" "more"')
    with pytest.raises(RequestError) as caught:
        load_recipe(path, manager)
    assert "is not valid TOML" in str(caught.value)
    assert "between double quotes" not in str(caught.value)


def test_a_byte_order_mark_is_no_part_of_a_recipe(tables: dict[str, Any], tmp_path: Path, manager: PluginManager):
    (tmp_path / "bom.toml").write_text(tomli_w.dumps(tables), encoding="utf-8-sig")
    assert load_recipe(tmp_path / "bom.toml", manager)[0].run.name == "tiny"


def test_missing_file_is_an_error(recipe: Path):
    (recipe.parent / "my_loss.py").unlink()
    with pytest.raises(PluginError, match=r"my_loss\.py: the plugin file cannot be read"):
        api.run(recipe)
