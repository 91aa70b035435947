"""Trains the recipes for MNIST until their score no longer falls; tables the last and the averaged weights.

    python benchmarks/mnist_converged.py run --only gan_mnist --seeds 0    trains, or goes on where it was stopped
    python benchmarks/mnist_converged.py note                              notes how far all runs are, even killed ones
    python benchmarks/mnist_converged.py table                             writes the table into docs/pages/results.md
    python benchmarks/mnist_converged.py plot                              draws the score over the updates
    python benchmarks/mnist_converged.py picture                           puts samples of the first seed together
    python benchmarks/mnist_converged.py rows                              prints each row's command

A row is a recipe that ships, with another length; nothing else of its training is changed. Where a recipe keeps no
average of the generator, one is kept beside it, which training does not see. The score is `fd_classifier` at 28 pixels.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch
from ganzoo_analysis.figures import Panel, save_figure
from log_plot import log_plot
from PIL import Image
from results_page import PAGE, Record, note, read_records, replaced, spread
from row_runs import device_of, environment, rows_with, run_directory, train
from side_by_side import number_of_jobs, run_side_by_side

import ganzoo
from ganzoo.sampling.image_io import save_picture
from ganzoo.sampling.trained_run import Weights
from ganzoo.storage.checkpoint import checkpoint_folders, checkpoint_step
from ganzoo.storage.run_directory import RunDirectory

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
    'penalties=[{name = "diff_augment", policies = ["translation"], translation = 0.11}]',
    'plugins.requires=["ganzoo-datasets", "ganzoo-dcgan", "ganzoo-objectives"]',
)
"""Against discriminators that memorize the images; by up to 3 of 28 pixels."""
GRAPHS = ("device.cuda_graphs=true",)
"""For steps that can be recorded, on a GPU; the same training, faster."""


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
        "the plain GAN with DiffAugment's translation, up to 3 pixels",
        200_000,
        (*AVERAGED, *TRANSLATED),
        False,
        "gan_mnist",
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


def changes(name: str) -> list[str]:
    """Return what a row's run changes of its recipe."""
    row = ROWS[name]
    return [
        f"run.steps={row.steps}",
        "run.log_every=500",
        "samples.every=1_000_000",
        f"checkpoint.every={row.steps // EVALUATIONS}",
        f"evaluation.every={row.steps // EVALUATIONS}",
        f"evaluation.samples={SAMPLES}",
        f"evaluation.image_size={SCORED_SIZE}",
        'evaluation.metrics=["frechet", "class_coverage"]',
        *row.added,
    ]


def records(runs: Path, name: str, seed: int) -> list[Record]:
    """Return a run's scores over the updates, with those of both kinds of weights at the last; empty: it has none.

    Both kinds are left out, and their pictures not drawn, where a run that was killed has no checkpoint there.
    """
    run = run_directory(runs, name, seed)
    scored = rows_with(run, SCORE) if run else []
    if run is None or not scored:
        return []
    where, step = environment(run), scored[-1]["step"]
    ends: Record = {}
    if any(checkpoint_step(folder) == step for folder in checkpoint_folders(run / "checkpoints")):
        trained = ganzoo.load_run(run, step=step)
        kinds: dict[str, Weights] = {"last": "raw", "averaged": "ema"}
        for kind, weights in kinds.items():
            scores = ganzoo.evaluate(trained, weights=weights).scores
            ends |= {f"{kind}_{key}": round(scores[key], 3) for key in (SCORE, "classes_covered")}
            save_figure([Panel(trained.sample(SHOWN, weights=weights), 10)], picture_of(runs, name, kind, seed))
    return [
        {
            "row": name,
            "seed": seed,
            "step": step,
            "batch_size": RunDirectory(run).read_recipe()["trainer"]["batch_size"],
            "images": where["images"],
            "seconds": round(scored[-1]["seconds"], 1),
            "device": device_of(run),
            "precision": where["precision"],
            "torch": where["torch"],
            "averaged_curve": [[row["step"], round(row[f"score/{SCORE}"], 2)] for row in scored],
            **ends,
        }
    ]


def picture_of(runs: Path, name: str, kind: str, seed: int) -> Path:
    """Return the file of a run's samples with one kind of weights."""
    return runs / f"{name}-{seed}-{kind}.png"


def train_and_note(results: Path, runs: Path, seed: int, name: str, more: Sequence[str]) -> None:
    """Train a row from a seed to its end and take it into the records, unless they have it."""
    if is_recorded(results, name, seed):
        print(f"{name}, seed {seed}: {results} has it to its end: give another --results to train it again", flush=True)
    else:
        graphs = GRAPHS if torch.cuda.is_available() and ROWS[name].recordable else ()
        train(runs, name, seed, recipe_of(name), [*changes(name), *graphs, *more])
        note(results, records(runs, name, seed), list(ROWS))


def is_recorded(results: Path, name: str, seed: int) -> bool:
    """Check whether the records have a row's run from a seed to its end."""
    run = {"row": name, "seed": seed, "step": ROWS[name].steps}
    return any(run.items() <= each.items() for each in read_records(results))


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
            steps = sorted({each["step"] for each in found})
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
    if not named:
        sys.exit(f"there are no records of seed {SEEDS[0]}: give --results a file that has some")
    return log_plot(named, "updates", f"{SCORE}, averaged weights")


def picture(runs: Path) -> Image.Image:
    """Return samples of the first seed, row by row: left with the averaged weights, right with the last."""
    pairs = [[picture_of(runs, name, kind, SEEDS[0]) for kind in ("averaged", "last")] for name in ROWS]
    rows = [[Image.open(path).convert("L") for path in pair] for pair in pairs if all(path.exists() for path in pair)]
    if not rows:
        sys.exit(f"{runs}: has no pictures of seed {SEEDS[0]}, which `run` draws: give --runs the folder of the runs")
    width = max(image.width for row in rows for image in row) + GAP
    drawn = Image.new("L", (2 * width, sum(row[0].height + GAP for row in rows)), 255)
    top = 0
    for row in rows:
        for place, image in enumerate(row):
            drawn.paste(image, (place * width, top))
        top += row[0].height + GAP
    return drawn.quantize(10, Image.Quantize.MAXCOVERAGE)  # small enough for a page


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["run", "note", "table", "plot", "picture", "rows"])
    parser.add_argument("--only", nargs="*", default=list(ROWS), choices=list(ROWS), metavar="ROW")
    parser.add_argument("--seeds", nargs="*", default=list(SEEDS), choices=list(SEEDS), type=int, metavar="SEED")
    parser.add_argument("--jobs", type=number_of_jobs, default=1, help="runs at a time")
    parser.add_argument("--results", type=Path, default=RESULTS, help="a file of JSON lines")
    parser.add_argument("--runs", type=Path, default=Path("runs", "mnist"), help="folder of the run directories")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a change, such as device's")
    options = parser.parse_args()
    if options.action == "run":
        asked = product([options.results], [options.runs], options.seeds, options.only, [options.set])
        run_side_by_side(train_and_note, asked, options.jobs)
    elif options.action == "note":
        for name, seed in product(options.only, options.seeds):
            if not is_recorded(options.results, name, seed):
                note(options.results, records(options.runs, name, seed), list(ROWS))
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
