"""Trains the recipes for MNIST until their score no longer falls; tables the last and the averaged weights.

    python benchmarks/mnist_converged.py run --only gan_mnist --seeds 0    trains what is not in the records yet
    python benchmarks/mnist_converged.py table                             writes the table into docs/pages/results.md
    python benchmarks/mnist_converged.py plot                              draws the score over the updates
    python benchmarks/mnist_converged.py picture                           puts samples of the first seed together
    python benchmarks/mnist_converged.py rows                              prints each row's command

A row is a recipe that ships, with another length; nothing else of its training is changed. Where a recipe keeps no
average of the generator, one is kept beside it, which training does not see. The score is `fd_classifier` at 28 pixels.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from ganzoo_analysis.figures import Panel, save_figure
from log_plot import log_plot
from PIL import Image
from results_page import PAGE, device_of, read_records, replaced, spread
from side_by_side import run_side_by_side

import ganzoo
from ganzoo.sampling.image_io import save_picture
from ganzoo.sampling.trained_run import Weights

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).with_suffix(".jsonl")
SEEDS = (0, 1, 2)
SCORE, SAMPLES, SCORED_SIZE, EVALUATIONS = "fd_classifier", 5_000, 28, 20
SHOWN, GAP = 20, 6
"""Samples of each picture, and pixels between two."""
PLOT, PICTURE = (PAGE.parent / "images" / name for name in ("mnist_converged.svg", "mnist_converged.png"))

AVERAGED = ("trainer.ema_decay=0.999",)
"""For recipes that keep no average."""
TRANSLATED = (
    'penalties=[{name = "diff_augment", policies = ["translation"]}]',
    'plugins.requires=["ganzoo-datasets", "ganzoo-dcgan", "ganzoo-objectives"]',
)
"""Against discriminators that learn the images by heart."""
GRAPHS = ("device.cuda_graphs=true",)
"""For steps that can be recorded, on a GPU; the same training, faster."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A recipe, how many updates it makes, and what is added to it; `recipe` where it is not of the row's name."""

    title: str
    steps: int
    added: tuple[str, ...] = ()
    recordable: bool = True
    recipe: str = ""


ROWS = {
    "gan_mnist": Row("the plain GAN", 200_000, AVERAGED),
    "gan_mnist_augmented": Row(
        "the plain GAN with DiffAugment's translation", 200_000, (*AVERAGED, *TRANSLATED), False, "gan_mnist"
    ),
    "gan_in_action_mnist": Row("*GANs in Action*", 40_000, AVERAGED),
    "dcgan_4x4_mnist": Row("DCGAN, 4×4, 64 pixels", 20_000, AVERAGED),
    "dcgan_dense_mnist": Row("DCGAN, dense, 5×5", 20_000, AVERAGED),
    "dcgan_authors_mnist": Row("DCGAN, its authors' conditional network", 20_000, AVERAGED),
    "r3gan_mnist": Row("R3GAN, small", 20_000, recordable=False),
    "stylegan2_mnist": Row("StyleGAN2, small", 20_000, recordable=False),
}


def recipe_of(name: str) -> Path:
    """Return the recipe of a row."""
    return ROOT / "recipes" / f"{ROWS[name].recipe or name}.toml"


def changes(name: str, seed: int, root: Path) -> list[str]:
    """Return what a row's run changes of its recipe."""
    row = ROWS[name]
    return [
        f"run.steps={row.steps}",
        f"run.seed={seed}",
        f"run.root={(root / name / f'seed{seed}').as_posix()}",
        "run.log_every=500",
        "samples.every=1_000_000",
        "checkpoint.every=1_000_000",
        f"evaluation.every={row.steps // EVALUATIONS}",
        f"evaluation.samples={SAMPLES}",
        f"evaluation.image_size={SCORED_SIZE}",
        'evaluation.metrics=["frechet", "class_coverage"]',
        *row.added,
    ]


def train(name: str, seed: int, runs: Path, more: Sequence[str]) -> Record:
    """Train a row from a seed, and return its scores over the updates and those of both kinds of weights at the end."""
    graphs = GRAPHS if torch.cuda.is_available() and ROWS[name].recordable else ()
    trained = ganzoo.run(recipe_of(name), [*changes(name, seed, runs), *graphs, *more])
    kinds: dict[str, Weights] = {"last": "raw", "averaged": "ema"}
    scores = {kind: ganzoo.evaluate(trained, weights=weights).scores for kind, weights in kinds.items()}
    for kind, weights in kinds.items():
        save_figure([Panel(trained.sample(SHOWN, weights=weights), 10)], picture_of(runs, name, kind, seed))
    found = [row for row in trained.metrics if f"score/{SCORE}" in row]
    environment = json.loads((trained.path / "environment.json").read_text(encoding="utf-8"))
    return {
        "row": name,
        "seed": seed,
        "steps": found[-1]["step"],
        "batch_size": trained.recipe.trainer.batch_size,
        "images": environment["images"],
        "seconds": round(found[-1]["seconds"], 1),
        "device": device_of(trained.path),
        "precision": environment["precision"],
        "torch": environment["torch"],
        "averaged_curve": [[row["step"], round(row[f"score/{SCORE}"], 2)] for row in found],
        **{
            f"{kind}_{key}": round(values[key], 3)
            for kind, values in scores.items()
            for key in (SCORE, "classes_covered")
        },
    }


def picture_of(runs: Path, name: str, kind: str, seed: int) -> Path:
    """Return the file of a run's samples with one kind of weights."""
    return runs / f"{name}-{seed}-{kind}.png"


def train_and_note(path: Path, runs: Path, seed: int, name: str, more: Sequence[str]) -> None:
    """Train a row from a seed and append its record, unless there is one."""
    if not any(each["row"] == name and each["seed"] == seed for each in read_records(path)):
        record = train(name, seed, runs, more)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def table(measured: Sequence[Record]) -> str:
    """Return the Markdown of the table: scores at the end, and where the score was lowest on the way."""
    lines = [
        "| recipe | | updates | averaged weights | classes | last weights | classes | lowest on the way | seeds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in ROWS.items():
        found = [each for each in measured if each["row"] == name]
        cells = [f"`{name}`", row.title]
        if found:
            steps = sorted({each["steps"] for each in found})
            of = "" if steps == [row.steps] else f" of {row.steps:,}"
            cells += [" to ".join(f"{each:,}" for each in sorted({steps[0], steps[-1]})) + of]
            for kind in ("averaged", "last"):
                scored = [each for each in found if f"{kind}_{SCORE}" in each]
                cells += [
                    spread([each[f"{kind}_{SCORE}"] for each in scored], 2) if scored else "not measured",
                    ", ".join(f"{each[f'{kind}_classes_covered']:.0f}" for each in scored),
                ]
            lowest = [min(each["averaged_curve"], key=lambda point: point[1]) for each in found]
            cells += [", ".join(f"{score:.2f} at {step:,}" for step, score in lowest), str(len(found))]
        else:
            cells += ["not measured", "", "", "", "", "", ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def with_table(page: str, measured: Sequence[Record]) -> str:
    """Return the page with its table brought up to date; it stands between two comments."""
    return replaced(page, "mnist_converged", table(measured))


def plot(measured: Sequence[Record]) -> str:
    """Return an SVG of the first seed's score with the averaged weights over the updates."""
    curves = {each["row"]: each["averaged_curve"] for each in measured if each["seed"] == SEEDS[0]}
    named = {name.replace("_mnist", ""): curves[name] for name in ROWS if name in curves}
    return log_plot(named, "updates", f"{SCORE}, averaged weights")


def picture(runs: Path) -> Image.Image:
    """Return samples of the first seed, row by row: left with the averaged weights, right with the last."""
    pairs = [[picture_of(runs, name, kind, SEEDS[0]) for kind in ("averaged", "last")] for name in ROWS]
    rows = [[Image.open(path).convert("L") for path in pair] for pair in pairs if all(path.exists() for path in pair)]
    width = max(image.width for row in rows for image in row) + GAP
    drawn = Image.new("L", (2 * width, sum(row[0].height + GAP for row in rows)), 255)
    top = 0
    for row in rows:
        for place, image in enumerate(row):
            drawn.paste(image, (place * width, top))
        top += row[0].height + GAP
    return drawn.quantize(12)  # small enough for a page


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["run", "table", "plot", "picture", "rows"])
    parser.add_argument("--only", nargs="*", default=list(ROWS), choices=list(ROWS), metavar="ROW")
    parser.add_argument("--seeds", nargs="*", default=list(SEEDS), choices=list(SEEDS), type=int, metavar="SEED")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--results", type=Path, default=RESULTS, help="a file of JSON lines")
    parser.add_argument("--runs", type=Path, default=Path("runs", "mnist"), help="folder of the run directories")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a change, such as device's")
    options = parser.parse_args()
    if options.action == "run":
        asked = product([options.results], [options.runs], options.seeds, options.only, [options.set])
        run_side_by_side(train_and_note, asked, options.jobs)
    elif options.action == "table":
        PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), read_records(options.results)), encoding="utf-8")
    elif options.action == "plot":
        PLOT.write_text(plot(read_records(options.results)), encoding="utf-8")
    elif options.action == "picture":
        save_picture(picture(options.runs), PICTURE)
    else:
        for name, row in ROWS.items():
            changed = " ".join(f"--set {shlex.quote(each)}" for each in (f"run.steps={row.steps}", *row.added))
            print(f"{name}: ganzoo run recipes/{recipe_of(name).name} {changed}")


if __name__ == "__main__":
    main()
