"""Trains benchmarks of mode collapse by their papers' protocols; tables the figures beside the published ones.

    python benchmarks/published.py run --only ring-gan --seeds 0 1     trains, or goes on where it was stopped
    python benchmarks/published.py note                                notes how far all runs are, even killed ones
    python benchmarks/published.py table                               writes the table into docs/pages/results.md
    python benchmarks/published.py rows                                prints each row's command

A row is a recipe that ships with some changes. Its length is that of the protocol; a run that was stopped before that,
or that `--set` made shorter, counts with the share that it has, and the table says so. Scores are the last that a run
took in training; `curve` has each step with its scores, in the order of the record's.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby, product
from pathlib import Path

import torch
from results_page import PAGE, Record, note, read_records, replaced, spread
from row_runs import device_of, environment, rows_with, run_directory, train
from side_by_side import number_of_jobs, run_side_by_side

from ganzoo.recipe.load import load_recipe
from ganzoo.registry.plugin_manager import plugin_manager

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).with_suffix(".jsonl")
SEEDS = tuple(range(10))


@dataclass(frozen=True)
class Row:
    """One method under one protocol: the recipe, its changes, and what papers say."""

    protocol: str
    method: str
    recipe: str
    published: str
    changes: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """What a reader types."""
        changes = "".join(f' --set "{change}"' for change in self.changes)
        return f"ganzoo run recipes/{self.recipe}.toml{changes}"


def rpgan(weight: float) -> tuple[str, ...]:
    """R3GAN's objective; its paper gives no weights for points."""
    penalties = ", ".join(f"{{name='{name}', weight={weight}}}" for name in ("r1", "r2"))
    return ("loss.name=relativistic_pairing", f"penalties=[{penalties}]")


def pacgan(packing: int, packs: int, epochs: int | None = None) -> tuple[str, ...]:
    """Packs of so many samples; the authors' minibatches and epochs count packs, ganzoo's count samples."""
    of_samples = () if epochs is None else (f"run.epochs={packing * epochs}",)
    return ("trainer.name=pacgan", f"trainer.packing={packing}", f"trainer.batch_size={packing * packs}", *of_samples)


RING, GRID = "ring of 8 Gaussians, PacGAN's protocol", "grid of 25 Gaussians, PacGAN's protocol"
UNROLLED = "ring of 8 Gaussians, Unrolled GAN's protocol"
STACKED = "stacked MNIST, 1,000 modes, VEEGAN's protocol"
ON_GRID = ("dataset.name=grid", "dataset.count=100000")

UNROLLED_PICTURES = {
    0: "pictures: one mode after the other",
    1: "pictures",
    5: "pictures: all modes",
    10: "pictures: all modes",
}
"""What the paper shows of its unrolled steps, without figures."""

ROWS = {
    "ring-gan": Row(RING, "GAN", "pacgan_ring", "6.3 modes, 98.2 % (PacGAN's paper); 1 mode (VEEGAN's)"),
    "ring-pacgan2": Row(RING, "PacGAN2", "pacgan_ring", "7.9 modes, 95.6 %", pacgan(2, 100, 400)),
    "ring-unrolled": Row(
        RING, "Unrolled GAN, K = 5", "pacgan_ring", "7.6 modes (VEEGAN's paper)", ("trainer.name=unrolled",)
    ),
    "ring-rpgan": Row(RING, "RpGAN + R1 + R2", "pacgan_ring", "none", rpgan(0.1)),
    "grid-gan": Row(GRID, "GAN", "pacgan_ring", "17.3 modes (PacGAN's paper); 3.3 (VEEGAN's)", ON_GRID),
    "grid-pacgan4": Row(GRID, "PacGAN4", "pacgan_ring", "24.8 modes", (*ON_GRID, *pacgan(4, 100, 400))),
    "grid-rpgan": Row(GRID, "RpGAN + R1 + R2", "pacgan_ring", "none", (*ON_GRID, *rpgan(0.1))),
    **{
        f"unrolled-k{steps}": Row(
            UNROLLED, f"K = {steps}", "unrolled_ring_protocol", pictures, (f"trainer.unrolled_steps={steps}",)
        )
        for steps, pictures in UNROLLED_PICTURES.items()
    },
    "unrolled-pacgan2": Row(UNROLLED, "PacGAN2", "unrolled_ring_protocol", "none", pacgan(2, 512)),
    "unrolled-rpgan": Row(
        UNROLLED, "RpGAN + R1 + R2", "unrolled_ring_protocol", "none", ("trainer.unrolled_steps=0", *rpgan(0.1))
    ),
    "stacked-dcgan": Row(
        STACKED, "DCGAN", "stacked_mnist", "99 modes, KL 3.40 (VEEGAN's paper); 78.9 ± 6.5, 4.50 (PacGAN's)"
    ),
    "stacked-pacgan2": Row(STACKED, "PacDCGAN2", "stacked_mnist", "1,000 modes, KL 0.06", pacgan(2, 64, 50)),
    "stacked-rpgan": Row(
        STACKED,
        "RpGAN + R1 + R2",
        "stacked_mnist",
        "1,000 modes, KL 0.078 (R3GAN's ablation, another protocol)",
        rpgan(1.0),
    ),
}


@cache
def protocol_steps(row: Row) -> int:
    """Return the length of a row by its protocol."""
    recipe, _ = load_recipe(ROOT / "recipes" / f"{row.recipe}.toml", plugin_manager(), row.changes)
    return recipe.run.total_steps(getattr(recipe.dataset, "count", 0), recipe.trainer.batch_size)


def records(runs: Path) -> Iterator[Record]:
    """What each run that was begun has scored last, and on the way."""
    for name, seed in product(ROWS, SEEDS):
        begun = run_directory(runs, name, seed)
        scored = rows_with(begun, "modes") if begun else []
        if begun and scored:
            keys = [key for key in scored[-1] if key.startswith("score/")]
            where = environment(begun)
            yield {
                "row": name,
                "seed": seed,
                "step": scored[-1]["step"],
                "total_steps": protocol_steps(ROWS[name]),
                "seconds": round(scored[-1]["seconds"], 1),
                "device": device_of(begun),
                "precision": where["precision"],
                "torch": where["torch"],
                **{key.removeprefix("score/"): scored[-1][key] for key in keys},
                "curve": [[row["step"], *(round(row[key], 4) for key in keys)] for row in scored],
            }


def cells(found: list[Record]) -> list[str]:
    """The figures of runs of one length: scores, seeds, share of the protocol's length, minutes a seed."""
    if not found:
        return ["not measured", "", "", ""]
    scores = f"{spread([each['modes'] for each in found], 1)} modes"
    if "high_quality" in found[0]:
        scores += f", {spread([100 * each['high_quality'] for each in found], 1)} %"
    else:
        scores += f", KL {spread([each['kl_to_uniform'] for each in found], 2)}"
    minutes: dict[str, list[float]] = {}
    for each in found:
        minutes.setdefault("" if each["device"] == "cpu" else f", {each['device']}", []).append(each["seconds"] / 60)
    of_devices = "; ".join(f"{statistics.mean(of_one):.0f}{device}" for device, of_one in sorted(minutes.items()))
    return [scores, str(len(found)), share(found[0]), of_devices]


def share(record: Record) -> str:
    """How much of the protocol's training a run completed."""
    return f"{record['step'] / record['total_steps']:.0%}"


def table(measured: list[Record]) -> str:
    """The Markdown of the table, protocol by protocol; runs of a row that went further have a line of their own."""
    lines = ["| protocol | method | published | ganzoo | seeds | of its length | minutes a seed |", "|---" * 7 + "|"]
    before = ""
    for name, row in ROWS.items():
        found = sorted((each for each in measured if each["row"] == name), key=lambda each: each["step"])
        texts = ["" if row.protocol == before else row.protocol, row.method, row.published]
        before = row.protocol
        for of_length in [list(runs) for _, runs in groupby(found, key=share)] or [[]]:
            lines.append("| " + " | ".join([*texts, *cells(of_length)]) + " |")
            texts = ["", "", ""]
    return "\n".join(lines)


def with_table(page: str, measured: list[Record]) -> str:
    """The page with the table brought up to date."""
    return replaced(page, "published", table(measured))


def train_and_note(results: Path, runs: Path, seed: int, name: str, more: Sequence[str], threads: int) -> None:
    """Train a row from a seed to its end and take it into the records."""
    torch.set_num_threads(threads)
    train(runs, name, seed, ROOT / "recipes" / f"{ROWS[name].recipe}.toml", [*ROWS[name].changes, *more])
    note(results, records(runs), list(ROWS))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["run", "note", "table", "rows"])
    parser.add_argument("--only", nargs="*", default=list(ROWS), choices=list(ROWS), metavar="ROW")
    parser.add_argument("--seeds", nargs="*", default=list(SEEDS), choices=list(SEEDS), type=int, metavar="SEED")
    parser.add_argument("--results", type=Path, default=RESULTS, help="a file of JSON lines")
    parser.add_argument("--runs", type=Path, default=Path("runs", "published"), help="folder of the run directories")
    parser.add_argument("--threads", type=int, default=1, help="of each run")
    parser.add_argument("--jobs", type=number_of_jobs, default=1, help="runs at a time")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a change, such as device's")
    options = parser.parse_args()
    if options.action == "run":
        asked = product(
            [options.results], [options.runs], options.seeds, options.only, [options.set], [options.threads]
        )
        run_side_by_side(train_and_note, asked, options.jobs)
    elif options.action == "note":
        note(options.results, records(options.runs), list(ROWS))
    elif options.action == "rows":
        print("\n".join(f"{name}: {row.command}" for name, row in ROWS.items()))
    else:
        PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), read_records(options.results)), encoding="utf-8")


if __name__ == "__main__":
    main()
