"""`ganzoo list` and `ganzoo plugins`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ganzoo.registry.kinds import LISTS

Command = Callable[..., Any]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("architectures", {("dcgan", "generator"), ("dcgan", "discriminator"), ("dcgan_dense", "generator")}),
        ("losses", {("hinge", "loss"), ("non_saturating", "loss"), ("r1", "penalty")}),
        ("datasets", {("celeba", "dataset"), ("digits", "dataset"), ("image_folder", "dataset")}),
        ("trainers", {("adversarial", "trainer")}),
    ],
)
def test_list(command: Command, kind: str, expected: set[tuple[str, str]]):
    rows = json.loads(command("list", kind, "--json").out)
    assert expected <= {(row["name"], row["kind"]) for row in rows}
    for row in rows:
        assert row.keys() == {"name", "kind", "summary", "plugin"}
        assert row["summary"]
        assert re.fullmatch(r"builtin \(ganzoo-core .+\)|(\w+) \(ganzoo-\1 .+\)", row["plugin"])
    lines = command("list", kind).out.splitlines()
    assert [line.split("\t")[0] for line in lines] == [row["name"] for row in rows]


@pytest.mark.parametrize("kind", LISTS)
def test_no_description_is_cut_at_the_end_of_a_line(command: Command, kind: str):
    for row in json.loads(command("list", kind, "--json").out):
        assert row["summary"][-1] in ".?", row


def test_plugins(command: Command):
    rows = {row["name"]: row for row in json.loads(command("plugins", "--json").out)}
    assert rows["builtin"]["distribution"] == "ganzoo-core"
    assert rows["dcgan"]["status"] == "loaded"
    assert rows["dcgan"]["module"] == "ganzoo_dcgan.plugin"


def test_broken_plugin_is_reported(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    info = tmp_path / "ganzoo_bad-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ganzoo-bad\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[ganzoo]\nbad = no_such_module_anywhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    ended = command("list", "trainers")
    assert ended.code == 0
    assert "adversarial" in ended.out
    assert "warning: the plugin bad (ganzoo-bad 0.1) could not be loaded: ModuleNotFoundError" in ended.err
    (row,) = [row for row in json.loads(command("plugins", "--json").out) if row["name"] == "bad"]
    assert row["status"] == "broken"
    assert "no_such_module_anywhere" in row["error"]
    (line,) = [line for line in command("plugins").out.splitlines() if line.startswith("bad\t")]
    assert "broken\tganzoo-bad\t0.1" in line
