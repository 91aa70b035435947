"""The table beside published figures: its rows are recipes, and it shows what was noted of runs."""

from __future__ import annotations

import dataclasses
import importlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from filelock import FileLock

import ganzoo
from ganzoo.recipe.load import load_recipe
from ganzoo.registry.plugin_manager import PluginManager

ROOT = Path(__file__).parents[2]
SHORT = ["run.steps=4", "dataset.count=160", "evaluation.every=2", "evaluation.samples=40", "trainer.batch_size=8"]


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("published")


def test_the_page_shows_what_was_noted(published: ModuleType) -> None:
    page = published.PAGE.read_text(encoding="utf-8")
    assert page == published.with_table(page, published.read_records(published.RESULTS)), (
        "run: python benchmarks/published.py table"
    )
    assert published.table(published.read_records(published.RESULTS)) in page


def test_minutes_are_told_apart_by_device(published: ModuleType) -> None:
    """A mean over a GPU and a CPU core is the time of neither."""
    run = {"step": 9, "total_steps": 9, "modes": 8.0, "kl_to_uniform": 0.1}
    seconds = [(60, "NVIDIA H200"), (600, "cpu"), (1200, "cpu")]
    assert published.cells([run | {"seconds": each, "device": device} for each, device in seconds])[3] == (
        "15; 1, NVIDIA H200"
    )


def test_each_row_is_a_recipe_by_its_protocol(published: ModuleType, manager: PluginManager) -> None:
    lengths = {}
    for name, row in published.ROWS.items():
        recipe, _ = load_recipe(ROOT / "recipes" / f"{row.recipe}.toml", manager, row.changes)
        lengths[name] = (recipe.run.steps or recipe.run.epochs, recipe.trainer.batch_size)
    assert lengths["ring-gan"] == lengths["grid-gan"] == (400, 100)
    assert (lengths["ring-pacgan2"], lengths["grid-pacgan4"]) == ((800, 200), (1600, 400))  # 400,000 updates too
    assert {lengths[f"unrolled-k{steps}"] for steps in (0, 1, 5, 10)} == {(25_000, 512)}
    assert lengths["unrolled-pacgan2"] == (25_000, 1024)
    assert (lengths["stacked-dcgan"], lengths["stacked-pacgan2"]) == ((50, 64), (100, 128))


def test_the_length_of_a_row_is_its_protocols(published: ModuleType) -> None:
    recorded = {each["row"]: each["total_steps"] for each in published.read_records(published.RESULTS)}
    assert {name: published.protocol_steps(published.ROWS[name]) for name in recorded} == recorded
    assert (recorded["ring-pacgan2"], recorded["unrolled-k0"], recorded["stacked-dcgan"]) == (400_000, 25_000, 100_000)


def test_records_of_another_program_are_kept(published: ModuleType, tmp_path: Path) -> None:
    """What is noted may take long to find, and what others note in the meantime stays."""
    results = tmp_path / "results.jsonl"

    def found() -> Iterator[dict[str, object]]:
        yield {"row": "ring-gan", "seed": 1, "step": 5}
        published.note(results, [{"row": "ring-gan", "seed": 0, "step": 3}], ["ring-gan"])

    published.note(results, [{"row": "of before", "seed": 0, "step": 1}], ["ring-gan"])
    published.note(results, found(), ["ring-gan"])
    records = published.read_records(results)
    assert [(each["row"], each["seed"]) for each in records] == [("ring-gan", 0), ("ring-gan", 1), ("of before", 0)]
    with FileLock(f"{results}.lock", timeout=0):  # nobody holds it any more
        pass


@pytest.mark.parametrize("line", ["", '{"row": "ring-g'])
def test_a_line_that_is_no_record_is_named(published: ModuleType, tmp_path: Path, line: str) -> None:
    results = tmp_path / "results.jsonl"
    results.write_text(f'{{"row": "ring-gan"}}\n{line}\n')
    with pytest.raises(SystemExit, match=r"results\.jsonl, line 2: is no record \(.*\): remove the line"):
        published.read_records(results)


@pytest.mark.parametrize("program", ["published", "mnist_converged"])
@pytest.mark.parametrize("jobs", ["0", "-1", "two"])
def test_a_number_of_jobs_that_is_none_is_told(
    published: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    program: str,
    jobs: str,
) -> None:
    monkeypatch.setattr("sys.argv", [program, "run", f"--jobs={jobs}"])
    with pytest.raises(SystemExit):
        importlib.import_module(program).main()
    assert f"argument --jobs: {jobs!r}: must be a whole number from 1" in capsys.readouterr().err


@pytest.mark.slow
def test_a_trial_is_no_result_and_does_not_go_on_as_one(published: ModuleType, tmp_path: Path) -> None:
    runs, results = tmp_path / "runs", tmp_path / "published.jsonl"
    published.train_and_note(results, runs, 3, "unrolled-k0", SHORT, 1)
    (record,) = published.read_records(results)
    assert (record["step"], record["total_steps"]) == (4, 25_000)
    for others in ([], [*SHORT, "generator.hidden=[8]"]):
        with pytest.raises(SystemExit, match=r"was begun with other options \(.*\): give the same --set, or another"):
            published.train_and_note(results, runs, 3, "unrolled-k0", others, 1)
    published.train_and_note(results, runs, 3, "unrolled-k0", [*SHORT, "device.tf32=true"], 1)
    assert published.read_records(results) == [record]


def test_a_mistake_in_the_options_of_a_row_is_told_by_its_name(published: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"(?s)unrolled-k0, seed 3: .*trainer.bach_size: there is no such key"):
        published.train_and_note(
            tmp_path / "published.jsonl", tmp_path / "runs", 3, "unrolled-k0", ["trainer.bach_size=8"], 1
        )
    assert not (tmp_path / "published.jsonl").exists()


@pytest.mark.slow
def test_a_run_is_noted_with_its_share(published: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = published.ROWS["unrolled-k0"]
    monkeypatch.setitem(published.ROWS, "unrolled-k0", dataclasses.replace(row, changes=(*row.changes, *SHORT)))
    runs, results = tmp_path / "runs", tmp_path / "published.jsonl"
    published.train_and_note(results, runs, 3, "unrolled-k0", [], 1)
    (record,) = published.read_records(results)
    assert (record["row"], record["seed"], record["step"], record["total_steps"]) == ("unrolled-k0", 3, 4, 4)
    run = published.run_directory(runs, "unrolled-k0", 3)
    rows = ganzoo.load_run(run).metrics
    assert record["modes"] == rows[-1]["score/modes"]
    assert (record["precision"], record["torch"]) == ("fp32", torch.__version__)
    assert list(record)[-4:] == ["high_quality", "modes", "kl_to_uniform", "curve"]
    scores = ("score/high_quality", "score/modes", "score/kl_to_uniform")
    scored = [row for row in rows if "score/modes" in row]
    assert record["curve"] == [[row["step"], *(round(row[key], 4) for key in scores)] for row in scored]
    assert [step for step, *_ in record["curve"]] == [2, 4]
    (run / "summary.json").unlink()  # it trains in another process, or was killed
    shutil.rmtree(run / "checkpoints")
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows if row["step"] <= 2))
    published.note(results, published.records(runs), list(published.ROWS))
    assert published.read_records(results) == [record]  # the longer one
    results.unlink()
    published.note(results, published.records(runs), list(published.ROWS))
    assert "| 1 | 50% | 0 |" in published.table(published.read_records(results))
    published.train_and_note(results, runs, 3, "unrolled-k0", [], 1)  # anew: it has no checkpoint
    (again,) = published.read_records(results)
    assert again | {"seconds": 0} == record | {"seconds": 0}


def test_the_length_of_a_row_in_epochs(published: ModuleType) -> None:
    changes = ("run.epochs=0.1", "dataset.count=160", "trainer.batch_size=7")
    row = dataclasses.replace(published.ROWS["ring-gan"], changes=changes)
    assert published.protocol_steps(row) == 3  # 16 of 160 points, 7 at a time


def test_mean_and_deviation_over_seeds(published: ModuleType) -> None:
    common = {"row": "ring-gan", "step": 400_000, "total_steps": 400_000, "seconds": 3600.0, "device": "cpu"}
    common |= {"kl_to_uniform": 0.1}
    found = [
        common | {"seed": seed, "modes": modes, "high_quality": share}
        for seed, modes, share in [(0, 6, 0.9), (1, 8, 1.0)]
    ]
    rows = published.table([*found, found[0] | {"seed": 2, "step": 100_000}]).splitlines()
    assert rows[2].endswith("| 6.0 modes, 90.0 % | 1 | 25% | 60 |")
    assert rows[3] == "|  |  |  | 7.0 ± 1.4 modes, 95.0 ± 7.1 % | 2 | 100% | 60 |"  # not one mean over both lengths
    row = next(line for line in published.table(found).splitlines() if "6.3 modes" in line)
    assert row.endswith("| 7.0 ± 1.4 modes, 95.0 ± 7.1 % | 2 | 100% | 60 |")
    found = [
        common
        | {"row": "stacked-dcgan", "seed": 0, "step": 1, "total_steps": 50, "modes": 1000, "kl_to_uniform": 0.078}
        | {"device": "NVIDIA H200"}
    ]
    assert "| 1,000.0 modes, KL 0.08 | 1 | 2% | 60, NVIDIA H200 |" in published.table(found)
