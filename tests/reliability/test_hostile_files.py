"""Files and texts that somebody else made: nothing waits for them, nothing leads elsewhere, nothing takes the terminal.

Each file of a run in turn is a pipe, a file with a hole, a link out or a folder, and every command is called on it.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import signal
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from command_line import Ended

import ganzoo
from ganzoo import untrusted
from ganzoo.text import markdown, printable, printable_lines

Command = Callable[..., Ended]
Tables = dict[str, Any]
SECONDS = 30
ROOT = Path(ganzoo.__file__).parent.parent
ESCAPES = "\x1b]0;taken\x07\x1b[2J\u202etxt\u2066\x9b31m\r\x08"
"""A window's title, a cleared screen, text from right to left, a C1 code, a carriage return."""


class Hanging(BaseException):
    """A command waits; no `except OSError` takes it for an error of a file."""


@contextmanager
def in_time(seconds: float = SECONDS) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hanging

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tables_in: Callable[[Path], Tables]) -> Path:
    tables = tables_in(tmp_path_factory.mktemp("files"))
    tables["samples"] |= {"every": 3, "gif": True}
    tables["evaluation"] = {"every": 3, "samples": 8, "metrics": ["diversity"]}
    return ganzoo.run(tables).path


FILES = [
    *("recipe.toml", "metrics.jsonl", "summary.json", "environment.json", "evaluation.json", ".lock"),
    *("samples/step_0000003.png", "samples/step_0000006.png", "samples/evolution.gif"),
    *(f"checkpoints/step_0000006/{name}" for name in ("manifest.json", "state.pt", "generator.safetensors")),
    *("wandb.json", "init.json", ".process.json", ".evaluation.lock", "evaluation.damaged.json"),  # not made here
]


def test_the_files_are_those_of_a_run(trained: Path):
    files = {str(path.relative_to(trained)) for path in trained.rglob("*") if path.is_file()}
    known = {
        re.sub("discriminator|generator_ema", "generator", name.replace("_0000003/", "_0000006/")) for name in files
    }
    assert known <= set(FILES)


def pipe(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def hole(path: Path, outside: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)  # takes no room on the disk


def link(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "secret")


def folder(path: Path, outside: Path) -> None:
    path.mkdir()


KINDS = (pipe, hole, link, folder)


def tree(place: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(place)): (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(place.rglob("*"))
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("name", FILES)
def test_each_file_of_a_run(command: Command, trained: Path, tmp_path: Path, name: str, kind: Callable[..., None]):
    outside, runs = tmp_path / "outside", tmp_path / "runs"
    outside.mkdir()
    (outside / "secret").write_text('{"step": 1, "secret": 5}')
    for number, arguments in enumerate(
        (
            ["sample", "RUN", "--count", "2", "--out", tmp_path / "grid.png", "--overwrite"],
            ["compare", "RUN", "--out", tmp_path / "page.html", "--overwrite"],
            ["compare", runs, "--out", tmp_path / "page.html", "--overwrite"],
            ["export", "RUN", "--out", tmp_path / "exported"],
            ["evaluate", "RUN"],
            ["resume", "RUN", "--set", "run.steps=7"],
            ["recipe", "check", "RUN/recipe.toml"],
        )
    ):
        shutil.rmtree(runs, ignore_errors=True)
        run = shutil.copytree(trained, runs / f"000{number}")
        file = run / name
        file.unlink(missing_ok=True)
        kind(file, outside)
        before = tree(outside)
        with in_time():
            ended = command(*(str(each).replace("RUN", str(run)) for each in arguments))
        assert ended.code in (0, 1, 2)
        assert "Traceback" not in ended.err
        assert tree(outside) == before
        errors = [line for line in ended.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == (ended.code != 0), ended.err
        if ended.code:
            assert str(runs) in errors[0]
        if kind is link and name != "recipe.toml" and arguments[0] != "recipe":
            assert "leads out" in ended.err + ended.out


@pytest.mark.parametrize("kind", [pipe, hole, folder], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "FILE"],
        ["recipe", "show", "FILE"],
        ["data", "doctor", "FILE"],
        ["data", "prepare", "FILE"],
        ["sweep", "FILE"],
        ["bench", "FILE"],
        ["run", "RECIPE", "--plugin", "FILE"],
        ["run", "RECIPE", "--set", 'plugins.files=["FILE"]'],
        ["import", "FILE", "--out", "new"],
        ["compare", "FILE"],
        ["sample", "FILE", "--out", "new"],
        ["test-plugin", "FILE"],
    ],
    ids=lambda arguments: "-".join(arguments[:2]),
)
def test_each_file_that_is_given(
    command: Command,
    recipe_file: Callable[[Tables], Path],
    tables: Tables,
    tmp_path: Path,
    arguments: list[str],
    kind: Any,
):
    recipe, file = recipe_file(tables), tmp_path / "file.py"
    kind(file, tmp_path)
    with in_time():
        ended = command(*(each.replace("FILE", str(file)).replace("RECIPE", str(recipe)) for each in arguments))
    assert ended.code == 2
    assert "Traceback" not in ended.err
    assert "file.py" in ended.err


def test_a_pipe_is_never_opened(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    for read in (
        untrusted.open_file,
        untrusted.read_bytes,
        untrusted.read_text,
        lambda path: list(untrusted.read_lines(path)),
    ):
        with in_time(5), pytest.raises(OSError, match="it is a pipe, not a file"):
            read(tmp_path / "pipe")
    with pytest.raises(OSError, match="it is a device, not a file"):
        untrusted.open_file(Path(os.devnull))


def test_sizes_are_bounded(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"12345")
    assert untrusted.read_bytes(tmp_path / "file", 5) == b"12345"
    with pytest.raises(OSError, match="it has 5 bytes, more than the 4 bytes read"):
        untrusted.read_bytes(tmp_path / "file", 4)
    (tmp_path / "lines").write_bytes(b"a\n" + b"b" * (untrusted.LINE + 1) + b"\nc")
    assert [len(line) for line in untrusted.read_lines(tmp_path / "lines")] == [2, untrusted.LINE, 2, 1]


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="this system has no /proc")
def test_a_file_that_tells_no_size_takes_the_memory_of_what_it_has():
    status = Path("/proc/self/status")
    assert status.stat().st_size == 0
    tracemalloc.start()
    content = untrusted.read_bytes(status)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert content.startswith(b"Name:")
    assert peak < 4 * untrusted.PIECE < untrusted.TEXT


# Links


def test_runs_of_a_folder_that_lead_out_are_left_out(command: Command, trained: Path, tmp_path: Path):
    """Neither a picture behind a link in a run, nor a run behind a link, is embedded in the page."""
    private = shutil.copytree(trained, tmp_path / "private")
    recipe = (private / "recipe.toml").read_text()
    (private / "recipe.toml").write_text(recipe.replace("seed = 7", "seed = 424242"))
    runs = tmp_path / "runs"
    shutil.copytree(trained, runs / "0001")
    linked = shutil.copytree(trained, runs / "0002")
    (linked / "samples/step_0000009.png").symlink_to(private / "samples/step_0000006.png")
    (runs / "0003").symlink_to(private)
    ended = command("compare", runs, "--out", tmp_path / "page.html")
    assert ended.code == 0
    assert "step_0000009.png: is a link that leads out" in ended.out
    assert f"{runs / '0003'}: is a link that leads out" in ended.out
    page = (tmp_path / "page.html").read_text()
    assert page.count("<img") == 2  # the grid and the animation of the first
    assert "424242" not in page
    shutil.rmtree(runs / "0001")
    ended = command("compare", linked)
    assert ended.code == 2


@pytest.mark.parametrize(
    "place", ["logs", "logs/tiny-7.log", "tiny", "sweep.json", "base.toml", ".lock", "tiny/0001/metrics.jsonl"]
)
def test_a_sweep_is_not_continued_through_a_link(
    command: Command, recipe_file: Callable[[Tables], Path], tables: Tables, tmp_path: Path, trained: Path, place: str
):
    """Its logs, its state and its runs would be written elsewhere."""
    sweep, outside = tmp_path / "runs/tiny-sweep", tmp_path / "outside"
    (sweep / "logs").mkdir(parents=True)
    shutil.copytree(trained, sweep / "tiny/0001")
    (sweep / "logs/tiny-7.log").touch()
    member = {"variant": "tiny", "choice": {}, "seed": 7, "status": "interrupted", "run": "", "error": "", "seconds": 0}
    state = {"name": "tiny-sweep", "source": "x", "vary": {}, "runs": [member], "recipe": {}}
    for name in ("sweep.json", "base.toml", ".lock"):
        (sweep / name).write_text(json.dumps(state))
    outside.mkdir()
    shutil.move(sweep / place, outside / "target")
    (sweep / place).symlink_to(outside / "target")
    before = tree(outside)
    for arguments in (["sweep", recipe_file(tables)], ["compare", sweep]):
        with in_time():
            ended = command(*arguments)
        assert ended.code == 2
        assert "is a link that leads out of" in ended.err
        assert tree(outside) == before


@pytest.mark.parametrize(
    "row",
    [{"seed": "../../../outside/x"}, {"variant": "../outside"}, {"variant": "a/b"}, {"run": "/etc"}, {"seed": True}],
)
def test_a_sweep_that_names_places_elsewhere(tmp_path: Path, command: Command, row: Tables):
    member = {"variant": "tiny", "choice": {}, "seed": 7, "status": "waiting"} | row
    state = {"name": "x", "source": "x", "vary": {}, "runs": [member], "recipe": {}}
    (tmp_path / "sweep.json").write_text(json.dumps(state))
    ended = command("compare", tmp_path)
    assert (ended.code, "is no state of a sweep, or is damaged" in ended.err) == (2, True)


@pytest.mark.parametrize("place", ["dataset", "dataset.source"])
def test_a_strangers_run_downloads_nothing_to_the_folder_it_names(
    command: Command, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
):
    asked: list[str] = []

    def fetch(file: Any) -> None:
        asked.append(str(file.path.parent))
        raise RuntimeError("no network")

    monkeypatch.setattr("ganzoo_datasets.torchvision_sets.fetch", fetch)
    monkeypatch.chdir(tmp_path)
    run, home = shutil.copytree(trained, tmp_path / "run"), tmp_path / "home"
    recipe = (run / "recipe.toml").read_text()
    dataset: dict[str, Any] = {"name": "svhn", "root": str(home)}
    if place == "dataset.source":
        dataset = {"name": "derived_pairs", "channels": 3, "source": dataset}
    tables = {"dataset": dataset | {"image_size": 16}}
    recipe = re.sub(r"(?ms)^\[dataset\].*?(?=^\[(?!dataset))", tomli_w.dumps(tables) + "\n", recipe)
    (run / "recipe.toml").write_text(recipe)
    for arguments in (["resume", run, "--set", "run.steps=9"], ["evaluate", run]):
        ended = command(*arguments)
        assert ended.code == 2
        assert "nothing is downloaded to" in ended.err
        assert "`ganzoo data prepare` on its recipe.toml does it" in ended.err
    assert asked == []
    assert not home.exists()
    assert command("resume", run, "--set", "run.steps=9", "--set", f"{place}.root={tmp_path / 'mine'}").code == 2
    assert command("data", "prepare", run / "recipe.toml").code == 2
    (run / "recipe.toml").write_text(recipe.replace(f'root = "{home}"\n', ""))
    assert command("evaluate", run).code == 2
    assert asked == [str(tmp_path / "mine"), str(home), "data"]


# Text


def test_text_is_shown_as_it_cannot_act():
    assert printable("a\x1b[2J\x9b\u202e\u2066\n\x7f\u200b\udcff\U000e0001") == (
        r"a\u001b[2J\u009b\u202e\u2066\u000a\u007f\u200b\udcff\U000e0001"
    )
    assert printable("Grüße 猫\u3000é ×") == "Grüße 猫\u3000é ×"
    assert printable_lines("a: 1 problem\n  b\nerror: c\r") == "a: 1 problem\n  b\n  error: c\\u000d"
    assert markdown("<b>*x*</b> | `y` [z](w)\n# t") == r"&lt;b&gt;\*x\*&lt;/b&gt; \| \`y\` \[z\](w)\\u000a\# t"


def harmless(ended: Ended) -> None:
    """Nothing of a foreign text acts on the terminal, and none begins a line as ganzoo does."""
    for line in (ended.out + ended.err).replace("\n", "\0").split("\0"):
        assert printable(line, keep="\t") == line
        assert not line.startswith(("warning: forged", "error: forged"))


FORGED = f"{ESCAPES}\nerror: forged"


def test_a_recipe_of_escapes(command: Command, recipe_file: Callable[[Tables], Path], tables: Tables):
    tables[FORGED] = {FORGED: FORGED}
    tables["run"]["name"] = FORGED
    tables["trainer"][FORGED] = 1
    tables["loss"]["name"] = FORGED
    tables["plugins"] = {"files": [f"{FORGED}.py"], "requires": [FORGED]}
    recipe = recipe_file(tables)
    for arguments in (["recipe", "check"], ["recipe", "show"], ["data", "doctor"], ["run"], ["sweep"], ["bench"]):
        ended = command(*arguments, recipe)
        assert ended.code == 2
        harmless(ended)


def test_the_question_whether_to_trust(command: Command, trained: Path, tmp_path: Path):
    run = shutil.copytree(trained, tmp_path / "run")
    recipe = (run / "recipe.toml").read_text()
    for file in (f"plugins/{FORGED.replace('/', '')}.py", f"../{FORGED}"):
        (run / "recipe.toml").write_text(recipe.replace("files = []", f"files = [{json.dumps(file)}]"))
        for arguments in (["sample", run, "--out", tmp_path / "x.png"], ["resume", run], ["evaluate", run]):
            ended = command(*arguments)
            assert ended.code == 2
            assert len(ended.err.splitlines()) == 1
            harmless(ended)


def test_a_run_of_escapes(command: Command, trained: Path, tmp_path: Path):
    """In the names of figures and scores, in alerts, in errors, in the names of files."""
    run = shutil.copytree(trained, tmp_path / f"run{ESCAPES.replace('/', '')}")
    with (run / "metrics.jsonl").open("a") as file:
        rows = [{"step": 6, FORGED: 1.5, f"score/{FORGED}": 2.0}]
        rows.append({"step": 6, "alert": {"kind": FORGED, "text": FORGED, "remedy": FORGED}})
        file.write("".join(json.dumps(row) + "\n" for row in rows))
    evaluations = json.loads((run / "evaluation.json").read_text())
    for each in evaluations:
        each["scores"] |= {FORGED: 3.0, "<img src=x onerror=alert(1)>": 1.0, "a|b": 2.0, "`c`": 3.0}
        each["details"] |= {FORGED: FORGED}
        each["card"]["real"]["dataset"] = f"{FORGED}<script>alert(1)</script>"
    (run / "evaluation.json").write_text(json.dumps(evaluations))
    (run / "summary.json").write_text(json.dumps({"status": "failed", "error": FORGED, "scores": {FORGED: FORGED}}))
    (run / "environment.json").write_text(json.dumps({"gpu": FORGED, "torch": FORGED, "plugins": {FORGED: FORGED}}))
    (run / f"samples/step_0000004.png{FORGED.replace('/', '')}").write_bytes(b"x")
    (run / f"checkpoints/{FORGED.replace('/', '')}").mkdir()
    page = tmp_path / "page.html"
    harmless(command("compare", run, "--out", page))
    harmless(command("compare", run, trained))
    harmless(command("evaluate", run, "--json"))
    assert "<script" not in page.read_text()
    assert "<img src=x" not in page.read_text()
    assert printable(page.read_text(), keep="\n") == page.read_text()
    harmless(command("sample", run, "--out", tmp_path / "x.png"))
    ended = command("export", run, "--out", tmp_path / "out")
    harmless(ended)
    assert ended.code == 0
    card = (tmp_path / "out/README.md").read_text()
    assert printable(card, keep="\n") == card
    _, _, text = card.removeprefix("---\n").partition("\n---\n")
    assert r"&lt;img src=x onerror=alert(1)&gt;" in text
    fenced = re.sub(r"(?ms)^```.*?^```$", "", text)
    assert "<img" not in fenced
    assert "<script" not in fenced
    assert r"a\|b" in fenced
    ended = command("resume", run, "--set", "run.steps=7")
    harmless(Ended(ended.code, "", ended.err))
    assert ended.out == f"{run}\n"  # as it is: a program reads it


def test_a_plugin_of_escapes(command: Command, tmp_path: Path, recipe_file: Callable[[Tables], Path], tables: Tables):
    """The names and the errors of plugin files."""
    plugin = tmp_path / f"p{FORGED.replace('/', '')}.py"
    plugin.write_text(f"raise ValueError({FORGED!r})")
    for arguments in (
        ["plugins", "--plugin", plugin],
        ["test-plugin", plugin],
        ["run", recipe_file(tables), "--plugin", plugin],
    ):
        ended = command(*arguments)
        assert ended.code == 2
        harmless(ended)


# The door that all take

READS = {
    "open", "read_text", "read_bytes", "load_file", "safe_open", "fromfile", "memmap", "genfromtxt", "loadtxt",
}  # fmt: skip
"""Methods and functions that open a file by its path; `Dataset.open`, `RunDirectory.open` and such are none."""
OWN_DOOR = {
    "ganzoo/untrusted.py": "the door itself",
    "ganzoo/storage/checkpoint.py:safe_open": "safetensors maps it, once its checksum was taken through the door",
    "ganzoo/registry/plugin_manager.py:read_bytes": "the code of an installed package",
    "ganzoo/storage/safe_load.py:load_file": "safetensors maps it, once it was opened through the door",
    "ganzoo/data/packed_dataset.py:memmap": "of a file that the door opened",
    "plugins/ganzoo-datasets/ganzoo_datasets/downloads.py:open": "is written",
    "plugins/ganzoo-datasets/ganzoo_datasets/lsun.py:open": "LMDB's own, after its length was read through the door",
    "ganzoo/data/image_files.py:open": "PIL's, of bytes that the door read",
    "ganzoo/sampling/image_io.py:open": "PIL's, of a file that the door opened; a file that is written",
    "plugins/ganzoo-datasets/ganzoo_datasets/files.py:load": "NumPy's, of bytes that the door read",
    "ganzoo/storage/safe_load.py:load": "torch's, of a file that the door opened",
    "plugins/ganzoo-testing/ganzoo_testing/training.py:load": "torch's, of a buffer",
    "ganzoo/storage/disk.py:open": "flushes what was written",
    "ganzoo/data/decode.py:open": "is written",
    "ganzoo/storage/run_directory.py:open": "the metrics, which are appended to, in a folder that was checked",
    "ganzoo/sweeps/child_processes.py:open": "a log, which is appended to, in a folder that was checked",
    "ganzoo/cli/main.py:open": "/dev/null",
    "ganzoo/runtime/memory.py:read_text": "the system's /proc",
    "plugins/ganzoo-bench/ganzoo_bench/profile.py:read_text": "the system's /proc",
    "ganzoo/comparison/page.py:read_text": "a template in the package",
    "plugins/ganzoo-export/ganzoo_export/model_card.py:read_text": "a template in the package",
    "plugins/ganzoo-testing/ganzoo_testing/scaffold.py:read_text": "a template in the package",
    "plugins/ganzoo-stylegan/ganzoo_stylegan/authors_pickle.py:open": "a source that was opened through the door",
    "plugins/ganzoo-stylegan/ganzoo_stylegan/authors_pickle.py:read_bytes": "a source that was opened through the door",
    "plugins/ganzoo-analysis/ganzoo_analysis/points.py:safe_open": "safetensors maps it, once it is known to be a file",
    "plugins/ganzoo-dcgan/ganzoo_dcgan/tutorial_state.py:open": "a source that was opened through the door",
    "plugins/ganzoo-dcgan/ganzoo_dcgan/radford2016_dump.py:load": "a source that was opened through the door",
    "plugins/ganzoo-analysis/ganzoo_analysis/csv_tracker.py:open": "is written, in a folder that was checked",
}
PRINTS = {
    "ganzoo/__main__.py": "a word of its own, before the printers are imported",
    "ganzoo/terminal.py": "the printer itself",
    "ganzoo/cli/options.py": "the printer of commands",
    "ganzoo/cli/main.py": "errors, which it passes through `printable_lines`",
    "ganzoo/cli/command_group.py": "broken plugins, which it passes through `printable_lines`",
    "ganzoo/cli/compare.py": "makes a console for the tables of a comparison",
    "ganzoo/cli/plugins.py": "a table of cells that it passes through `printable`",
    "ganzoo/comparison/table.py": "tables of a comparison, whose texts are `printable` since they were read",
    "ganzoo/training/initial_weights.py": "a table of cells that it passes through `printable`",
}
DATASETS_AND_FOLDERS = ("RunDirectory", "SweepDirectory", "dataset", "other", "self.dataset", "cls")
"""What has an `open` of its own; so have the datasets in `self.inner`."""
MODULES = [*(ROOT / "ganzoo").rglob("*.py"), *(ROOT / "plugins").glob("*/ganzoo_*/**/*.py")]


def calls(file: Path) -> Iterator[tuple[str, str, ast.Call]]:
    """The calls in a file: what is called, and on what."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            on, _, name = ast.unparse(node.func).rpartition(".")
            yield name, on, node


def test_every_file_is_opened_through_one_door():
    found = set()
    for file in MODULES:
        place = file.relative_to(ROOT).as_posix()
        for name, on, node in calls(file):
            if name == "open" and (on in DATASETS_AND_FOLDERS or on.startswith("self.inner[")):
                continue
            if name == "load" and on not in ("torch", "np", "numpy", "json", "pickle", "tomllib", "joblib"):
                continue
            through = {"read_text", "read_bytes", "open_file"}
            if name in {*READS, "load"} and not (name in through and on == "" and node.args):
                found.add(place if place in OWN_DOOR else f"{place}:{name}")
    assert sorted(found - OWN_DOOR.keys()) == [], "open these with ganzoo.untrusted, or say here why not"
    assert sorted(OWN_DOOR.keys() - found) == [], "is no longer needed"


def test_every_text_is_printed_by_one_printer():
    found = set()
    for file in MODULES:
        place = file.relative_to(ROOT).as_posix()
        for name, on, _ in calls(file):
            prints = (
                (name == "echo" and on in ("typer", "click")) or name == "print" or name == "secho" or name == "Console"
            )
            if prints or (name == "write" and on.startswith("sys.std")):
                found.add(place)
    assert sorted(found - PRINTS.keys()) == [], "print with ganzoo.terminal or echo of ganzoo.cli.options"
    assert sorted(PRINTS.keys() - found) == [], "is no longer needed"
