"""What a run costs as it grows: images, their size, width, batch, installed plugins, and runs that are compared.

    python benchmarks/growth.py [--plot docs/pages/images/growth.svg] [--json FILE]

Times are CPU time on one thread, so that a busy machine does not count; the best of three. `growth_steps.py` has the
length of a run.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from log_plot import log_plot

from ganzoo.components.spec import DatasetInfo, ImageSpec
from ganzoo.data.decode import npy_header
from ganzoo.data.loader import Loader
from ganzoo.data.packed_dataset import PackedDataset, _map
from ganzoo.recipe.load import parse_recipe
from ganzoo.recipe.overrides import apply_overrides
from ganzoo.registry.plugin_manager import plugin_manager
from ganzoo.training.build import build_run
from ganzoo.training.run import Run

Row = dict[str, float]
ROUNDS = 3
PLUGIN = """
from ganzoo.plugin import LossConfig, hookimpl

class MadeConfig(LossConfig):
    strength: float = 1.0
    \"\"\"How strong.\"\"\"

@hookimpl
def register_losses(register):
    register("made_{number}", "made_{number}:Made", config=MadeConfig)
"""


def best(work: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    """The least seconds that `work` took."""
    taken = []
    for _ in range(ROUNDS):
        started = clock()
        work()
        taken.append(clock() - started)
    return min(taken)


def images() -> Iterator[Row]:
    """Opening a pack of 64-pixel images, drawing up an epoch, and a batch; in files that take no room."""
    for count in (10**3, 10**4, 10**5, 10**6):
        with tempfile.TemporaryDirectory() as folder:
            path, shape = Path(folder) / "images.npy", (count, 64, 64, 3)
            header = npy_header(shape)
            with path.open("wb") as file:
                file.write(header)
                file.truncate(len(header) + math.prod(shape))
            mapped = partial(_map, path, {"shape": shape, "dtype": "uint8"}, shape[1:])
            opening = best(mapped)
            packed = PackedDataset(mapped(), None, DatasetInfo(ImageSpec(3, 64, 64)), (), path, "")

            def first(packed: PackedDataset = packed) -> None:
                Loader(packed, batch_size=64, seed=0, device="cpu").next()

            loader = Loader(packed, batch_size=64, seed=0, device="cpu")
            loader.next()

            def twenty(loader: Loader = loader) -> None:
                for _ in range(20):
                    loader.next()

            batches = best(twenty) / 20
            yield {
                "images": count,
                "open_ms": opening * 1e3,
                "first_batch_ms": best(first) * 1e3,
                "batch_ms": batches * 1e3,
            }


def one_step(run: Run) -> None:
    """Train a step."""
    run.trainer.train_step(run.loader.next())


def steps(key: str, **options: list[int]) -> Iterator[Row]:
    """A training step of DCGAN on made-up images, with one option after the other."""
    base = {"dataset.image_size": 64, "generator.width": 32, "discriminator.width": 32, "trainer.batch_size": 16}
    (name, values), *others = options.items()
    for value in values:
        chosen = {**base, name.replace("__", "."): value, **{other.replace("__", "."): value for other, _ in others}}
        with tempfile.TemporaryDirectory() as folder:
            tables = {
                "run": {"name": "growth", "steps": 1000, "root": folder},
                "device": {"accelerator": "cpu", "precision": "fp32"},
                "dataset": {"name": "synthetic", "count": 128},
                "generator": {"name": "dcgan"},
                "discriminator": {"name": "dcgan"},
                "loss": {"name": "non_saturating"},
                "trainer": {"name": "adversarial"},
            }
            recipe = parse_recipe(apply_overrides(tables, chosen), plugin_manager())
            run = build_run(recipe, plugin_manager(), warn=print)
            one_step(run)
            seconds = best(partial(one_step, run))
            checkpoint = sum(p.numel() for network in run.trainer.networks().values() for p in network.parameters())
        batch = chosen["trainer.batch_size"]
        yield {key: value, "step_ms": seconds * 1e3, "image_ms": seconds / batch * 1e3, "weights": checkpoint}


def plugins() -> Iterator[Row]:
    """`ganzoo plugins`, and the check of a recipe, with so many plugins of one loss each beside ours."""
    recipe = Path(__file__).parents[1] / "recipes" / "dcgan_digits.toml"
    for count in (0, 10, 50, 100, 200):
        with tempfile.TemporaryDirectory() as folder:
            for number in range(count):
                (Path(folder) / f"made_{number}.py").write_text(PLUGIN.format(number=number), encoding="utf-8")
                info = Path(folder) / f"made_{number}-1.0.dist-info"
                info.mkdir()
                (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: made-{number}\nVersion: 1.0\n", "utf-8")
                (info / "entry_points.txt").write_text(f"[ganzoo]\nmade_{number} = made_{number}\n", "utf-8")
            row: Row = {"plugins": count}
            for name, arguments in (("plugins_s", ["plugins"]), ("check_s", ["recipe", "check", str(recipe)])):
                command([*arguments], folder)  # bytecode
                row[name] = min(command(arguments, folder) for _ in range(ROUNDS))
            yield row


def compared() -> Iterator[Row]:
    """`ganzoo compare` of so many runs of 50 rows of metrics, as a table alone and with the page."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(__file__).parents[1] / "recipes" / "dcgan_digits.toml"
        narrow = ["generator.width=4", "discriminator.width=4", "run.steps=50", "run.log_every=1", "samples.every=10"]
        settings = [*narrow, f"run.root={folder}", "run.name=first", "tracking.wandb.mode=disabled"]
        command(["run", str(recipe), *settings], folder)
        runs: list[str] = []
        for count in (4, 16, 64, 256):
            while len(runs) < count:
                runs.append(shutil.copytree(Path(folder) / "first" / "0001", f"{folder}/copies/{len(runs):04}"))
            page = ["--out", f"{folder}/page.html"]
            yield {
                "runs": count,
                "table_s": min(command(["compare", *runs], folder) for _ in range(ROUNDS)),
                "page_s": min(command(["compare", *runs, *page], folder) for _ in range(ROUNDS)),
            }


def command(arguments: list[str], path: str) -> float:
    """CPU seconds of a command that finds what lies in `path`."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    child = subprocess.Popen(
        [sys.executable, "-m", "ganzoo", *arguments], env={**environment, "PYTHONPATH": path}, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, arguments
    return usage.ru_utime + usage.ru_stime


def table(rows: list[Row]) -> str:
    """Rows in Markdown."""
    lines = ["| " + " | ".join(name.replace("_", " ") for name in rows[0]) + " |", "|" + "---|" * len(rows[0])]
    lines += [
        "| "
        + " | ".join(f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" for value in row.values())
        + " |"
        for row in rows
    ]
    return "\n".join(lines)


def plot(results: dict[str, list[Row]]) -> str:
    """One curve of each table, as an SVG: both axes as ratios to the first row, logarithmic."""
    curves = {
        "images": "batch_ms",
        "image size": "step_ms",
        "width": "step_ms",
        "batch": "step_ms",
        "plugins": "plugins_s",
        "runs": "page_s",
    }
    found = {}
    for name, figure in curves.items():
        rows = [row for row in results[name] if next(iter(row.values()))]
        first = rows[0]
        key = next(iter(first))
        found[name] = [(row[key] / first[key], row[figure] / first[figure]) for row in rows]
    return log_plot(found, "how much more there is", "how much more it costs", "×{:,g}")


def main() -> None:
    """Measure and report."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--plot", type=Path, help="write the plot as SVG")
    options.add_argument("--json", type=Path, help="write the tables as JSON")
    arguments = options.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["GANZOO_CACHE"] = cache
        widths = [8, 16, 32, 64, 128]
        tables: dict[str, Callable[[], Iterator[Row]]] = {
            "images": images,
            "plugins": plugins,
            "runs": compared,
            "image size": lambda: steps("image_size", dataset__image_size=[32, 64, 128, 256]),
            "width": lambda: steps("width", generator__width=widths, discriminator__width=widths),
            "batch": lambda: steps("batch", trainer__batch_size=[4, 16, 64, 128]),
        }
        results = {}
        for name, measure in tables.items():
            results[name] = list(measure())
            print(f"{name}\n\n{table(results[name])}\n", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if arguments.plot:
        arguments.plot.write_text(plot(results), encoding="utf-8")


if __name__ == "__main__":
    main()
