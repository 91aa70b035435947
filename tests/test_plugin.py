"""The interface of plugin authors: one import, complete, documented, and without torch until a component needs it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import import_module
from inspect import isfunction
from pathlib import Path
from typing import get_origin

import pytest

import ganzoo
from ganzoo import api, plugin

SOURCE = ast.parse(Path(plugin.__file__).read_text(encoding="utf-8"))
PAGE = Path(__file__).parents[1] / "docs" / "pages" / "api.md"


def test_every_name_is_there() -> None:
    for name in plugin.__all__:
        assert getattr(plugin, name) is getattr(import_module(plugin._modules()[name]), name)
    assert dir(plugin) == plugin.__all__ == sorted(plugin.__all__)


def test_another_name_is_told() -> None:
    with pytest.raises(AttributeError, match=r"'ganzoo\.plugin' has no attribute 'Losses'"):
        plugin.Losses  # noqa: B018


def test_type_checkers_take_every_name_for_public() -> None:
    (block,) = [node for node in SOURCE.body if isinstance(node, ast.If)]
    checked = {alias.asname for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert checked == {*plugin.__all__}


def test_registering_imports_neither_torch_nor_numpy() -> None:
    light = [name for name in plugin.__all__ if name.endswith(("Config", "Options", "Error", "View", "Spec", "Info"))]
    assert {"LossConfig", "GANTrainerConfig", "AdamConfig", "DatasetInfo", "RunView"} <= {*light}
    names = ", ".join(["hookimpl", "Registrar", "Problem", "Alert", "square_size", *light])
    script = f"""
import sys
import ganzoo.plugin
from ganzoo.plugin import {names}
print(sorted({{"torch", "torchvision", "numpy", "wandb", "sklearn"}} & sys.modules.keys()))
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


def test_the_reference_has_exactly_these_names() -> None:
    shown = re.findall(r"^::: ganzoo\.plugin\.(\w+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(shown) == sorted(plugin.__all__)


def test_the_reference_has_every_function_of_the_package() -> None:
    shown = {*re.findall(r"^::: ganzoo\.(?:api\.)?(\w+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)}
    of_api = {name for name, value in vars(api).items() if isfunction(value) and value.__module__ == api.__name__}
    functions = {name for name in {*ganzoo.__all__, *of_api} if not name.startswith("_")}
    assert shown == functions - {"TrainedRun"}  # which is among the names of ganzoo.plugin


def test_every_name_has_a_docstring() -> None:
    values = {name: getattr(plugin, name) for name in plugin.__all__}
    # An alias of types has its docstring in the source alone, where the reference finds it.
    assert [name for name, value in values.items() if get_origin(value) is None and not value.__doc__] == []
