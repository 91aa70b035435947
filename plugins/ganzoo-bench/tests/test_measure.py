"""`ganzoo bench`: a measurement of a real run, as a user asks for it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ganzoo_bench import measure as measurement
from ganzoo_bench.measure import load_step, measure
from ganzoo_bench.profile import flop_of_step
from ganzoo_bench.report import to_text

from ganzoo.errors import RequestError
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.training.build import build_run

TUTORIAL = Path(__file__).parents[3] / "benchmarks" / "tutorial_loop.py"


@pytest.fixture
def file(tables: dict[str, Any], recipe_file: Callable[..., Path]) -> Path:
    """A recipe at the tutorial's 64 pixels, with a penalty."""
    tables["dataset"]["image_size"] = 64
    tables["penalties"] = [{"name": "r1"}]
    return recipe_file(tables)


@pytest.mark.slow
def test_the_command_measures_all_that_it_promises(
    file: Path, command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen.__init__

    def noted(self: subprocess.Popen[bytes], *arguments: Any, **options: Any) -> None:
        start(self, *arguments, **options)
        started.append(self)

    monkeypatch.setattr(subprocess.Popen, "__init__", noted)
    monkeypatch.setattr(measurement, "ADAPTING", 0.02)
    monkeypatch.setattr(measurement, "TIMED", 0.02)
    ended = command("bench", file, "--baseline", TUTORIAL, "--rounds", "2", "--steps", "1", "--under-load", "--json")
    found = json.loads(ended.out)
    assert ended.code == 0
    for what in ("rounds", "rounds under load"):
        assert f"\n{what} 1/2\n{what} 2/2\n" in re.sub(r"\n(?!rounds).*", "", ended.err) + "\n", ended.err
    assert set(found["images_per_second"]) == {"baseline", "step", "run"}
    for speed in found["images_per_second"].values():
        assert 0 < speed["median"] <= speed["best"]
    for name in ("step", "run"):
        speeds = found["images_per_second"]
        assert found["ratios"][name]["best"] == pytest.approx(speeds[name]["best"] / speeds["baseline"]["best"])
    assert found["share_of_matrix_product"]["fp32"] == pytest.approx(
        found["images_per_second"]["step"]["best"] * found["flop_per_image"] / found["matrix_product_flops"]["fp32"]
    )
    assert sum(found["parts"].values()) == pytest.approx(1)
    for part in ("generator", "discriminator", "penalty", "optimizer", "data"):
        assert found["parts"][part] > 0, part
    assert found["periodic_costs"]["checkpoint"]["every"] == 3, "as often as the recipe has it"
    assert found["periodic_costs"]["samples"]["seconds"] > 0
    assert found["peak_memory_bytes"] is None or found["peak_memory_bytes"] > 10_000_000
    assert found["under_load"]["beside"] > 0
    assert found["under_load"]["alone"] > 0
    busy = [process for process in started if "while True" in str(process.args)]
    assert len(busy) == 2, "one in each round"
    assert all(process.poll() is not None for process in busy)
    assert not (tmp_path / "runs").exists(), "nothing is left behind"


@pytest.mark.slow
def test_the_text_says_the_same(file: Path) -> None:
    found = measure(file, {"run.epochs": 2}, rounds=2, steps=1)
    text = to_text(found)
    assert f"bare step      {found['images_per_second']['step']['best']:9.1f}" in text
    assert "baseline" not in text.replace("times the baseline", "")
    assert "where the time goes: generator" in text
    assert "busy" not in text
    loaded = to_text(found | {"under_load": {"alone": 1000.0, "beside": 600.0}})
    assert loaded == text + "\n\nbeside a busy process: 600.0 images a second of 1000.0, 60%"


@pytest.mark.slow
def test_nothing_is_tracked_unless_asked(
    tables: dict[str, Any], recipe_file: Callable[..., Path], command: Callable[..., Any]
) -> None:
    tables["tracking"] = {"wandb": {"mode": "offline"}}
    arguments = ("bench", recipe_file(tables), "--rounds", "2", "--steps", "1")
    assert "tracked offline" not in command(*arguments).err
    assert "tracked offline" in command(*arguments, "--set", "tracking.wandb.mode=offline").err


def test_memory_that_runs_out_is_told_in_words(
    file: Path, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ganzoo.builtin.gan_trainer import GANTrainer

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 192.00 MiB.")

    monkeypatch.setattr(GANTrainer, "train_step", full)
    ended = command("bench", file, "--rounds", "2", "--steps", "1")
    assert ended.code == 1
    assert "error: " in ended.err
    assert "trainer.batch_size" in ended.err


def test_an_interrupted_measurement_names_no_run_that_is_gone(
    file: Path, command: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "stop.py").write_text(
        "import signal\nfrom ganzoo.plugin import hookimpl\n\n\n"
        "@hookimpl\ndef step_ended():\n    signal.raise_signal(signal.SIGINT)\n"
    )
    ended = command("bench", file, "--rounds", "2", "--steps", "1", "--plugin", tmp_path / "stop.py")
    assert ended.code == 130
    assert "interrupted at step 1 of 4: the same command measures anew\n" in ended.err
    assert "resume" not in ended.err


def test_operations_are_counted(tables: dict[str, Any], parse: Any, manager: PluginManager) -> None:
    """DCGAN's 16-pixel networks of width 4, by hand: two doublings from 4×4."""
    run = build_run(parse(tables), manager, warn=print)
    images = run.recipe.trainer.batch_size
    edge = 2 * 16 * 8 * 16  # latents of 8 to 4×4 of 16 channels
    generator = edge + 2 * (16 * 16 * 8 * 16) + 2 * (64 * 16 * 8 * 3)
    first = 2 * (64 * 16 * 3 * 4)
    discriminator = first + 2 * (16 * 16 * 4 * 8) + 2 * (16 * 8)
    backward_of_generator = 2 * generator - edge  # no gradient for the latents
    forward = generator + 3 * discriminator
    learning = 2 * (2 * discriminator - first)  # no gradient for the images
    through = discriminator  # frozen while the generator learns
    expected = forward + learning + through + backward_of_generator
    assert flop_of_step(run) / images == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no such Python file"),
        ("import not_there_at_all", "does not load: ModuleNotFoundError: No module named 'not_there_at_all'"),
        ("baseline = 3", r"has no function baseline\(run\)"),
        ("raise SystemExit(3)", r"does not load: SystemExit: 3"),
        ("def baseline(run):\n    run.loder", r"baseline\(run\) fails: AttributeError: .*loder"),
        ("def baseline(run):\n    pass", r"baseline\(run\) returns None: let it return a function"),
        ("def baseline(run):\n    return lambda: 1 / 0", "its step fails: ZeroDivisionError: division by zero"),
        ("def baseline(run):\n    return lambda: None", "its step returns None: let it return its number of images"),
        ("def baseline(run):\n    return lambda: 0", "its step returns 0: "),
    ],
)
def test_a_baseline_that_is_none_is_told(
    tmp_path: Path, tables: dict[str, Any], parse: Any, manager: PluginManager, text: str | None, message: str
) -> None:
    path = tmp_path / "loop.py"
    if text is not None:
        path.write_text(text)
    run = build_run(parse(tables), manager, warn=print)
    with pytest.raises(RequestError, match=message):
        load_step(path, run)()


def test_a_baseline_that_fails_in_a_round_ends_the_measurement(
    tables: dict[str, Any], recipe_file: Callable[..., Path], command: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "loop.py").write_text(
        "def baseline(run):\n    steps = iter([8, 8])\n    return lambda: next(steps)\n", "utf-8"
    )
    ended = command("bench", recipe_file(tables), "--baseline", tmp_path / "loop.py", "--rounds", "3", "--steps", "1")
    assert ended.code == 2
    assert ended.err.splitlines()[-1].endswith("loop.py: its step fails: StopIteration: ")
    assert "Traceback" not in ended.err


def test_nothing_is_scored(
    tables: dict[str, Any], recipe_file: Callable[..., Path], command: Callable[..., Any]
) -> None:
    tables["evaluation"] = {"every": 1, "samples": 8, "metrics": ["diversity"]}
    tables["checkpoint"]["best"] = "diversity"
    ended = command("bench", recipe_file(tables), "--rounds", "2", "--steps", "1")
    assert ended.code == 0
    assert "diversity" not in ended.err + ended.out


def test_the_tutorial_is_for_64_pixels(tables: dict[str, Any], recipe_file: Callable[..., Path]) -> None:
    with pytest.raises(RequestError, match=r"set dataset\.image_size to 64"):
        measure(recipe_file(tables), baseline=TUTORIAL, rounds=2, steps=1)
