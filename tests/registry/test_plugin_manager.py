"""Plugins that work, that fail in every way, and that are left out; each a distribution on the path."""

from __future__ import annotations

import os
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
import tomli_w
from forked import Forked

from ganzoo.errors import RecipeError
from ganzoo.recipe.load import parse_recipe
from ganzoo.registry import DISABLE_VARIABLE
from ganzoo.registry.plugin_manager import PluginInfo, PluginManager, plugin_manager
from ganzoo.training.events import Events

Install = Callable[..., None]

GOOD = """
from ganzoo.components.options import LossConfig
from ganzoo.components.loss import Loss
from ganzoo.registry.hookspecs import hookimpl

class {cls}(Loss):
    "A loss."
    class Config(LossConfig):
        "Its options."
    def discriminator_loss(self, real_logits, fake_logits): return fake_logits.mean()
    def generator_loss(self, real_logits, fake_logits): return -fake_logits.mean()

@hookimpl
def register_losses(register):
    register("{name}", {cls})
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a distribution on the path: `install("ganzoo-x", "1.0", x="x_module", x_module="source")`."""
    monkeypatch.syspath_prepend(tmp_path)

    def put(distribution: str, version: str, entry_points: dict[str, str], **modules: str) -> None:
        info = tmp_path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        lines = [f"{name} = {module}" for name, module in entry_points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[ganzoo]", *lines, ""]))
        for module, source in modules.items():
            (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))

    return put


def found(manager: PluginManager, name: str) -> PluginInfo:
    (plugin,) = [plugin for plugin in manager.plugins if plugin.name == name]
    return plugin


def good(name: str) -> str:
    return GOOD.format(name=name, cls=name.title())


def test_stranger_plugin_comes_in_by_its_entry_point(install: Install):
    install("ganzoo-alpha", "1.2", {"alpha": "gz_alpha_in"}, gz_alpha_in=good("alpha"))
    manager = PluginManager()
    assert found(manager, "alpha") == PluginInfo("alpha", "ganzoo-alpha", "1.2", "gz_alpha_in", "loaded")
    assert manager.registries.losses["alpha"].plugin == "alpha (ganzoo-alpha 1.2)"
    assert manager.distributions()["ganzoo-alpha"] == "1.2"
    assert {"ganzoo-core", "ganzoo-dcgan"} <= manager.distributions().keys()
    assert manager.broken == []


FAULTS = {
    "fails_to_import": (
        "import no_such_module_at_all",
        "ModuleNotFoundError: No module named 'no_such_module_at_all' (gz_fails_to_import.py, line 1); "
        "upgrade or uninstall ganzoo-aaa, or give --no-plugin aaa",
    ),
    "raises": ("\nraise RuntimeError('boom')", "RuntimeError: boom (gz_raises.py, line 2)"),
    "exits": ("raise SystemExit(3)", "SystemExit: 3"),
    "does_not_parse": ("def (:", "SyntaxError"),
    "misspells_a_hook": (
        "from ganzoo.registry.hookspecs import hookimpl\n@hookimpl\ndef register_loses(register): pass",
        'there is no hook "register_loses", did you mean register_losses?; the hooks are: alert_raised, ',
    ),
    "takes_a_wrong_argument": (
        "from ganzoo.registry.hookspecs import hookimpl\n@hookimpl\ndef step_ended(run, stepp): pass",
        'the hook step_ended is given no "stepp", did you mean step?; it may take: run, step, metrics',
    ),
    "takes_the_wrong_registrar": (
        good("half").replace("(register)", "(registrar)"),
        'the hook register_losses is given no "registrar", did you mean register?; it may take: register',
    ),
    "forgets_to_mark_a_hook": (
        good("half").replace("@hookimpl", ""),
        "the function register_losses has the name of a hook and would not be called: put @hookimpl above it",
    ),
    "wraps_an_event": (
        "from ganzoo.registry.hookspecs import hookimpl\n@hookimpl(wrapper=True)\ndef step_ended(step): yield",
        "the hook step_ended is marked as a wrapper, and ganzoo's hooks take none: put plain @hookimpl above it, with",
    ),
    "wraps_lints": (
        "from ganzoo.registry.hookspecs import hookimpl\n@hookimpl(hookwrapper=True)\ndef lint_recipe(recipe): yield",
        "the hook lint_recipe is marked as a wrapper",
    ),
    "takes_a_name_of_the_core": (
        good("half") + '    register("hinge", Half)\n',
        '"hinge" is taken by the plugin builtin',
    ),
    "takes_a_name_twice": (good("half") + '    register("half", Half)\n', '"half" is taken by the plugin'),
    "registers_a_number": (
        good("half") + "    register(3, Half)\n",
        "(ganzoo-aaa 0.3) registers 3: make a name of letters",
    ),
    "registers_a_path": (
        good("half") + "    register('my half.b', Half)\n",
        "registers 'my half.b': make a name of letters",
    ),
    "has_an_option_of_an_unknown_type": (
        good("half").replace(
            "@hookimpl",
            "class Options(Half.Config):\n    how: 'Nowhere' = 3\nHalf.Config = Options\n@hookimpl",
        ),
        '"half" of the plugin aaa (ganzoo-aaa 0.3): the options of Options have a type Nowhere that is not there',
    ),
    "fails_in_registering": (good("half") + "    raise ValueError('no')\n", "ValueError: no"),
    "fails_in_a_second_hook": (
        good("half") + "@hookimpl\ndef register_trainers(register):\n    raise ValueError('no')\n",
        "ValueError: no",
    ),
    "is_built_for_a_later_ganzoo": (
        "GANZOO_API = 2\n" + good("half"),
        "is built for version 2 of ganzoo's plugin interface, and ganzoo-core",
    ),
    "says_no_number": ("GANZOO_API = '1'\n" + good("half"), "GANZOO_API is '1', but must be a whole number"),
    "registers_another_kind": (
        good("half").replace("def register_losses", "def register_trainers"),
        "through a hook for a trainer (TrainerConfig)",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_plugin_is_named_and_left_out(install: Install, fault: str):
    source, told = FAULTS[fault]
    install("ganzoo-aaa", "0.3", {"aaa": f"gz_{fault}"}, **{f"gz_{fault}": source})
    install("ganzoo-zzz", "1.0", {"zzz": f"gz_good_{fault}"}, **{f"gz_good_{fault}": good("zeta")})
    manager = PluginManager()
    (culprit,) = manager.broken
    assert str(culprit) == "aaa (ganzoo-aaa 0.3)"
    assert told in culprit.error
    assert "\n" not in culprit.error
    assert found(manager, "zzz").status == "loaded"
    assert "zeta" in manager.registries.losses
    assert "ganzoo-aaa" not in manager.distributions()
    # Nothing of it is left: neither components nor hooks.
    assert not any(entry.plugin == str(culprit) for registry in manager.registries.all() for entry in registry)
    assert "hinge" in manager.registries.losses
    for hook in ("register_losses", "register_trainers", "step_ended"):
        names = [impl.plugin_name for impl in getattr(manager.pluggy.hook, hook).get_hookimpls()]
        assert str(culprit) not in names


def test_two_distributions_with_one_plugin_name(install: Install):
    install("ganzoo-one", "1.0", {"twin": "gz_twin_one"}, gz_twin_one=good("one"))
    install("ganzoo-two", "2.0", {"twin": "gz_twin_two"}, gz_twin_two=good("two"))
    manager = PluginManager()
    first, second = (plugin for plugin in manager.plugins if plugin.name == "twin")
    assert (first.status, second.status) == ("loaded", "broken")
    assert "ganzoo-one" in second.error
    assert str(second) == "twin (ganzoo-two 2.0)"
    assert "one" in manager.registries.losses
    assert "two" not in manager.registries.losses


def test_two_plugins_of_one_module(install: Install):
    """The second is a mistake of its own and does not harm the first."""
    source = good("shared") + "@hookimpl\ndef run_ended(run): run.append('heard')\n"
    install("ganzoo-shared", "1.0", {"a": "gz_shared", "b": "gz_shared"}, gz_shared=source)
    manager = PluginManager()
    assert [found(manager, name).status for name in ("a", "b")] == ["loaded", "broken"]
    assert "shared" in manager.registries.losses
    heard: list[str] = []
    Events(manager.pluggy.list_name_plugin(), pytest.fail).fire("run_ended", run=heard)
    assert heard == ["heard"]


def test_name_taken_from_another_stranger(install: Install):
    install("ganzoo-one", "1.0", {"one": "gz_same_one"}, gz_same_one=good("same"))
    install("ganzoo-two", "2.0", {"two": "gz_same_two"}, gz_same_two=good("same"))
    (culprit,) = PluginManager().broken
    assert culprit.name == "two"
    assert "one (ganzoo-one 1.0)" in culprit.error
    assert "two (ganzoo-two 2.0)" in culprit.error
    manager = PluginManager(disabled=["one"])
    assert manager.broken == []
    assert manager.registries.losses["same"].plugin == "two (ganzoo-two 2.0)"


def test_core_is_loaded_before_strangers(install: Install):
    install("aaa", "1.0", {"aaa": "gz_first"}, gz_first=good("hinge"))
    manager = PluginManager()
    assert [plugin.name for plugin in manager.broken] == ["aaa"]
    assert manager.registries.losses["hinge"].plugin.startswith("builtin (ganzoo-core ")


def test_disabled_plugin_is_not_even_imported(install: Install):
    install("ganzoo-bad", "1.0", {"bad": "gz_bad_disabled"}, gz_bad_disabled="raise RuntimeError")
    manager = PluginManager(disabled=["bad", "dcgan"])
    assert found(manager, "bad").status == "disabled"
    assert found(manager, "dcgan").status == "disabled"
    assert manager.broken == []
    assert "dcgan" not in manager.registries.generators


def test_environment_disables_plugins(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(DISABLE_VARIABLE, " dcgan, other ,")
    plugin_manager.cache_clear()
    try:
        assert found(plugin_manager(), "dcgan").status == "disabled"
    finally:
        plugin_manager.cache_clear()


def test_recipe_that_requires_a_broken_plugin(install: Install, tables: dict):
    install("ganzoo-bad", "1.0", {"bad": "gz_bad_required"}, gz_bad_required="raise RuntimeError('boom')")
    tables["plugins"] = {"requires": ["ganzoo-bad"]}
    with pytest.raises(RecipeError) as caught:
        parse_recipe(tables, PluginManager())
    assert "plugins.requires: the plugin bad (ganzoo-bad 1.0) does not load: RuntimeError: boom" in str(caught.value)
    with pytest.raises(RecipeError, match=r"the plugin bad \(ganzoo-bad 1.0\) is disabled"):
        parse_recipe(tables, PluginManager(["bad"]))


def test_unknown_name_points_at_the_broken_plugin(install: Install, tables: dict):
    install("ganzoo-bad", "1.0", {"bad": "gz_bad_name"}, gz_bad_name="raise RuntimeError('boom')")
    tables["loss"] = {"name": "bad_loss"}
    with pytest.raises(RecipeError, match=r"the plugin bad \(ganzoo-bad 1.0\) could not be loaded"):
        parse_recipe(tables, PluginManager())


@pytest.mark.slow
def test_commands_that_do_not_need_a_broken_plugin_go_on(install: Install, tmp_path: Path, tables: dict):
    """In processes of their own, as a user has them: the culprit is named, and the cure, and nothing else suffers."""
    install("ganzoo-late", "3.1", {"late": "gz_late"}, gz_late="GANZOO_API = 2\n" + good("half"))
    (tmp_path / "recipe.toml").write_text(tomli_w.dumps(tables))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))}
    out = err = ""
    for command in ("plugins", "list losses", f"recipe check {tmp_path / 'recipe.toml'}"):
        ended = Forked("-m", "ganzoo", *command.split(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
        said = ended.communicate(timeout=120)
        assert ended.returncode == 0, (command, said)
        out, err = out + said[0], err + said[1]
    assert "nothing wrong" in out
    assert "hinge" in out
    assert "late (ganzoo-late 3.1) could not be loaded: is built for version 2" in err
    assert "upgrade ganzoo-core" in err


def test_recipe_without_any_plugin(tables: dict):
    """Tables of a kind that nothing is registered for are told like any unknown name."""
    others = [plugin.name for plugin in PluginManager().plugins if plugin.distribution != "ganzoo-core"]
    with pytest.raises(RecipeError) as caught:
        parse_recipe(tables, PluginManager(disabled=others))
    paths = {problem.path.partition(".")[0] for problem in caught.value.problems}
    assert paths == {"generator", "discriminator", "tracking"}
    assert 'there is no generator "dcgan"; installed: none' in str(caught.value)
