"""No command writes over what is there, or among it, unless it is told to with --overwrite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from command_line import Ended

import ganzoo

Command = Callable[..., Ended]
CELLS = {"arithmetic": ["--a", "1", "--b", "2", "--c", "3"], "direction": ["--left", "1", "--right", "2"]}
FILES = ["sample", "latent-grid", "interpolate", "arithmetic", "direction", "neighbors"]
ALWAYS_NEW = {"export", "import", "new-plugin"}
"""Commands that make a folder as a whole, which is never put into another one."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tables_in: Callable[[Path], dict]) -> Path:
    return ganzoo.run(tables_in(tmp_path_factory.mktemp("trained")), {"dataset.name": "digits"}).path


def test_every_command_with_an_output_has_the_option():
    from ganzoo.cli.main import app

    group = typer.main.get_command(app)
    context = typer.Context(group)
    commands = {name: group.get_command(context, name) for name in group.list_commands(context)}
    writing = {name for name, one in commands.items() if "out" in {parameter.name for parameter in one.params}}
    replacing = {name for name, one in commands.items() if "overwrite" in {parameter.name for parameter in one.params}}
    assert writing >= {*FILES, "filters", "compare", *ALWAYS_NEW}
    assert replacing == writing - ALWAYS_NEW | {"probe"}


@pytest.mark.parametrize("name", [*FILES, "compare"])
def test_a_file(command: Command, trained: Path, tmp_path: Path, name: str):
    out = tmp_path / ("page.html" if name == "compare" else "photo.png")
    out.write_bytes(b"mine")
    arguments = [name, trained, "--out", out, *CELLS.get(name, [])]
    ended = command(*arguments)
    assert (ended.code, out.read_bytes()) == (2, b"mine")
    assert f"--out {out}: is there already; name another place, or give --overwrite" in ended.err
    assert not ended.out
    assert command(*arguments, "--overwrite").code == 0
    assert out.read_bytes() != b"mine"


def test_a_link_that_leads_nowhere(command: Command, trained: Path, tmp_path: Path):
    (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
    assert command("sample", trained, "--out", tmp_path / "a.png").code == 2


@pytest.mark.parametrize("name", ["sample", "filters", "export"])
def test_a_folder(command: Command, trained: Path, tmp_path: Path, name: str):
    out = tmp_path / "photos"
    out.mkdir()
    (out / "0000.png").write_bytes(b"mine")
    more = ["--no-guided"] if name == "filters" else []
    ended = command(name, trained, "--out", out, *more)
    assert ended.code == 2
    assert f"--out {out}: is a folder with files in it; name " in ended.err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {"0000.png": b"mine"}
    if name in ALWAYS_NEW:
        return
    assert command(name, trained, "--out", out, *more, "--overwrite").code == 0
    assert len(list(out.iterdir())) > 1
    (empty := tmp_path / "empty").mkdir()
    assert command(name, trained, "--out", empty, *more).code == 0


def test_the_results_of_a_probe(command: Command, trained: Path):
    arguments = ["probe", trained, "--train", "100", "--draws", "1"]
    assert command(*arguments).code == 0
    first = (trained / "probe.json").read_text()
    ended = command(*arguments, "--seed", "1")
    assert (ended.code, (trained / "probe.json").read_text()) == (2, first)
    assert "probe.json: is there already" in ended.err
    assert command(*arguments, "--seed", "1", "--overwrite").code == 0
    assert (trained / "probe.json").read_text() != first


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that even root cannot write to")
@pytest.mark.parametrize("name", [*FILES, "compare", "evaluate", "filters", "export"])
def test_a_place_where_nothing_can_be_written_is_refused_before_any_work(command: Command, trained: Path, name: str):
    suffix = {"compare": ".html", "evaluate": ".json", "filters": "", "export": ""}.get(name, ".png")
    out = Path("/proc") / f"nothing{suffix}"
    ended = command(name, trained, "--out", out, *CELLS.get(name, []))
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"error: --out {out}: ")
    assert len(ended.err.splitlines()) == 1


def test_a_folder_in_the_place_of_a_file(command: Command, trained: Path, tmp_path: Path):
    (out := tmp_path / "a.png").mkdir()
    ended = command("sample", trained, "--out", out, "--overwrite")
    assert ended.code == 2
    assert f"--out {out}: is a folder: name a file" in ended.err


def test_a_name_that_is_too_long(command: Command, trained: Path, tmp_path: Path):
    ended = command("sample", trained, "--out", tmp_path / f"{'a' * 300}.png")
    assert ended.code == 2
    assert "File name too long" in ended.err
    assert list(tmp_path.iterdir()) == []
