"""Trains every component that comes with ganzoo on digits, briefly, from three seeds, and tables what came of it.

    python benchmarks/zoo_digits.py run      trains what is not in zoo_digits.jsonl yet; may be stopped at any time
    python benchmarks/zoo_digits.py table    writes the table into docs/pages/results.md
    python benchmarks/zoo_digits.py picture  draws samples of the first seed's runs, for docs/pages/gallery.md
    python benchmarks/zoo_digits.py rows     prints what each row changes

Every run makes the same number of updates of the generator with minibatches of the same size. A row changes of BASE
what its component needs and its paper asks for, and nothing is tuned. A run that fails is a row too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ganzoo_analysis.figures import BACKGROUND, PANEL_GAP, Panel, draw
from PIL import Image
from results_page import PAGE, read_records, replaced, spread
from row_runs import is_complete

import ganzoo
from ganzoo.errors import GanzooError, Interrupted
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.sampling.image_io import save_picture
from ganzoo.sampling.trained_run import Weights

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).with_suffix(".jsonl")
PICTURE = ROOT / "docs" / "pages" / "images" / "zoo_digits.png"
SHOWN, COLUMNS = 8, 2
"""Samples of each row, and rows side by side, in the picture."""
SEEDS = (0, 1, 2)
SAMPLES = 1000
SCORED_SIZE = 16
WEIGHTS: tuple[Weights, Weights] = ("auto", "raw")
"""The averaged weights, which `ganzoo sample` takes, and those of the last update."""
WARM_UP = 20
"""Steps that are left out of the speed."""

ADAM = {"name": "adam", "lr": 5e-4, "betas": [0.5, 0.999]}
BASE: dict[str, Any] = {
    "run": {"name": "zoo-digits", "steps": 300, "log_every": 50},
    "device": {"accelerator": "cpu"},
    "dataset": {"name": "digits", "image_size": SCORED_SIZE},
    "generator": {"name": "dcgan", "width": 16},
    "discriminator": {"name": "dcgan", "width": 16},
    "loss": {"name": "non_saturating"},
    "trainer": {
        "name": "adversarial",
        "batch_size": 64,
        "ema_decay": 0.99,
        "generator_optimizer": ADAM,
        "discriminator_optimizer": ADAM,
    },
    "samples": {"every": 300, "count": 64, "gif": False},
    "checkpoint": {"every": 300},
    "tracking": {"wandb": {"mode": "disabled"}},
}


@dataclass(frozen=True)
class Row:
    """One variant: what it shows, and what it changes of BASE, as `--set` takes it."""

    title: str
    changes: tuple[str, ...] = ()


def both(name: str, *more: str) -> tuple[str, ...]:
    """The generator and the discriminator of this name."""
    return (f"generator.name={name}", f"discriminator.name={name}", *more)


def penalty(*tables: str) -> str:
    """Penalties, each as an inline table of TOML."""
    return f"penalties=[{', '.join(f'{{{table}}}' for table in tables)}]"


RESNET: tuple[str, ...] = ("dataset.image_size=32", "loss.name=hinge", "trainer.generator_optimizer.betas=[0.0,0.9]")
RESNET += ("trainer.discriminator_optimizer.betas=[0.0,0.9]",)
NO_WIDTH = ("generator={name='gan'}", "discriminator={name='gan'}")
NO_NORM = "discriminator.norm=none"
LAYER_NORM = "discriminator.norm=layer"
RMSPROP = tuple(f"trainer.{network}_optimizer={{name='rmsprop',lr=5e-4}}" for network in ("generator", "discriminator"))

R3GAN = (
    "loss.name=relativistic_pairing",
    penalty("name='r1',weight=1.0", "name='r2',weight=1.0"),
    "trainer.generator_optimizer.betas=[0.0,0.99]",
    "trainer.discriminator_optimizer.betas=[0.0,0.99]",
)

ROWS = {
    "dcgan": Row("DCGAN, 4×4"),
    "upsampling": Row("DCGAN, pixels repeated and convolved", ("generator.upsampling=nearest",)),
    "dcgan_dense": Row("DCGAN, dense 5×5", both("dcgan_dense")),
    "dcgan_authors": Row(
        "DCGAN as its authors ran it, of their least width",
        both("dcgan_authors", "generator.width=64", "discriminator.width=64"),
    ),
    "dcgan_authors_imagenet32": Row("their network for ImageNet", both("dcgan_authors_imagenet32")),
    "dcgan_authors_mnist": Row(
        "their conditional network",
        both("dcgan_authors_mnist", "generator.dense_width=256", "discriminator.dense_width=256"),
    ),
    "gan_in_action": Row("*GANs in Action*", both("gan_in_action")),
    "gan": Row("the plain GAN", NO_WIDTH),
    "sngan": Row("SNGAN", ("discriminator.name=sngan", "loss.name=hinge")),
    "minibatch_stddev": Row(
        "SNGAN with minibatch deviation",
        ("discriminator.name=sngan", "loss.name=hinge", "discriminator.minibatch_stddev=4"),
    ),
    "sngan_resnet": Row("SNGAN's ResNet, 32 pixels", both("sngan_resnet", *RESNET)),
    "sagan": Row(
        "SAGAN",
        both(
            "sagan",
            "generator.attention_size=8",
            "discriminator.attention_size=8",
            "loss.name=hinge",
            "trainer.ema_decay=0",
            "trainer.generator_optimizer.betas=[0.0,0.9]",
            "trainer.discriminator_optimizer={name='adam',lr=2e-3,betas=[0.0,0.9]}",
        ),
    ),
    "cgan": Row("conditional GAN", both("cgan")),
    "acgan": Row("AC-GAN", ("generator.name=cgan", penalty("name='auxiliary_classifier'"))),
    "projection": Row("projection, ResNet, 32 pixels", both("projection", *RESNET)),
    "infogan": Row(
        "InfoGAN", ("generator.name=infogan", "generator.latent_dim=20", penalty("name='mutual_information'"))
    ),
    "minimax": Row("the saturating loss", ("loss.name=minimax",)),
    "hinge": Row("the hinge loss", ("loss.name=hinge",)),
    "lsgan": Row("LSGAN", ("loss.name=least_squares",)),
    "wgan_clip": Row(
        "WGAN, clipped",
        (
            "loss.name=wasserstein",
            penalty("name='weight_clipping'"),
            "trainer.discriminator_steps=5",
            *RMSPROP,
        ),
    ),
    "wgan_gp": Row(
        "WGAN-GP",
        (
            "loss.name=wasserstein",
            penalty("name='gradient_penalty'"),
            LAYER_NORM,
            "trainer.discriminator_steps=5",
            "trainer.generator_optimizer.betas=[0.0,0.9]",
            "trainer.discriminator_optimizer.betas=[0.0,0.9]",
        ),
    ),
    "dragan": Row("DRAGAN", (penalty("name='dragan'"), LAYER_NORM)),
    "ragan": Row("RaGAN", ("loss.name=relativistic_average",)),
    "rpgan": Row("RpGAN alone", ("loss.name=relativistic_pairing",)),
    "r3gan": Row("RpGAN with R1 and R2 (R3GAN's objective)", (NO_NORM, *R3GAN)),
    "r3gan_networks": Row(
        "R3GAN, its networks with a block a size, fp32",
        both(
            "r3gan",
            "generator.blocks=1",
            "discriminator.blocks=1",
            "device.precision=fp32",
            "trainer.schedule=alternate_minibatches",
            *R3GAN,
        ),
    ),
    "r1": Row("R1", (penalty("name='r1',weight=1.0"), NO_NORM)),
    "r2": Row("R2", (penalty("name='r2',weight=1.0"), NO_NORM)),
    "label_smoothing": Row("one-sided label smoothing", ("loss.name=label_smoothing",)),
    "feature_matching": Row("feature matching", (penalty("name='feature_matching'"),)),
    "instance_noise": Row("instance noise", (penalty("name='instance_noise',sigma={from=0.1,to=0,until=1.0}"),)),
    "diff_augment": Row("DiffAugment", (penalty("name='diff_augment'"),)),
    "adaptive_augment": Row("adaptive augmentation", (penalty("name='adaptive_augment',ramp_images=20_000"),)),
    "unrolled": Row("unrolled GAN, 5 steps", ("trainer.name=unrolled",)),
    "pacgan": Row("PacGAN, packs of 2", ("trainer.name=pacgan",)),
}


class Stopwatch:
    """Observes the processor time of the steps after `WARM_UP`, which other work on the machine hardly changes."""

    def __init__(self) -> None:
        self.begun = self.ended = 0.0

    @hookimpl
    def step_ended(self, step: int) -> None:
        """Note the time of the first step that counts and of the last."""
        if step == WARM_UP:
            self.begun = time.process_time()
        self.ended = time.process_time()


def measure(name: str, seed: int, runs: Path) -> dict[str, Any]:
    """Train one row from one seed; its scores and speed, or why there are none."""
    manager, stopwatch = PluginManager(), Stopwatch()
    manager.pluggy.register(stopwatch, name="stopwatch")
    changes = (*ROWS[name].changes, f"run.seed={seed}", f"run.name={name}", f"run.root={runs.as_posix()}")
    result: dict[str, Any] = {"row": name, "seed": seed}
    try:
        trained = ganzoo.run(BASE, changes, manager=manager)
        averaged, last = (ganzoo.evaluate(trained, SAMPLES, weights=w, image_size=SCORED_SIZE).scores for w in WEIGHTS)
    except Interrupted as error:
        sys.exit(f"{name}, seed {seed}: {error}: the same command begins it anew")
    except GanzooError as error:
        return {**result, "error": str(error)}
    steps, batch = trained.recipe.run.steps or 0, trained.recipe.trainer.batch_size
    speed = (steps - WARM_UP) * batch / (stopwatch.ended - stopwatch.begun)
    return {
        **result,
        **averaged,
        **{f"last_{key}": last[key] for key in ("classes_covered", "fd_classifier")},
        "images_per_cpu_second": round(speed, 1),
        "precision": trained.compute.precision,
        "threads": torch.get_num_threads(),
    }


def run_all(path: Path, runs: Path, only: list[str]) -> None:
    """Measure what is missing, seed after seed, and append each result as it comes."""
    done = {(result["row"], result["seed"]) for result in read_records(path)}
    for seed in SEEDS:
        for name in only or ROWS:
            if (name, seed) not in done:
                result = measure(name, seed, runs)
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(result) + "\n")


def table(measured: list[dict[str, Any]]) -> str:
    """The Markdown of the results, in the order of the rows."""
    lines = [
        "| row | | classes covered | `fd_classifier` | last weights | `fd_classifier` | `diversity` | images/s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in ROWS.items():
        found = [result for result in measured if result["row"] == name]
        good = [result for result in found if "error" not in result]
        if not good:
            failed = f"failed: {found[0]['error'].splitlines()[0]}" if found else "not measured"
            lines.append(f"| `{name}` | {row.title} | {failed} | | | | | |")
            continue
        cells = [
            covered(found, "classes_covered"),
            spread([result["fd_classifier"] for result in good], 1),
            covered(found, "last_classes_covered"),
            spread([result["last_fd_classifier"] for result in good], 1),
            spread([result["diversity"] for result in good], 2),
            f"{statistics.median(result['images_per_cpu_second'] for result in good):,.0f}",
        ]
        lines.append(f"| `{name}` | {row.title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def covered(found: list[dict[str, Any]], key: str) -> str:
    """How many classes each run covers."""
    return ", ".join("failed" if "error" in result else f"{result[key]:.0f}" for result in found)


def changed() -> Iterator[str]:
    """What each row changes of the base, for those who want to repeat it."""
    for name, row in ROWS.items():
        yield f"{name}: {' '.join(row.changes) or 'nothing'}"


def with_table(page: str, measured: list[dict[str, Any]]) -> str:
    """The page with its table brought up to date; it stands between two comments."""
    return replaced(page, "zoo_digits", table(measured))


def picture(runs: Path) -> Image.Image:
    """The first samples of each row's first run, with the row's name above."""
    strips = []
    for name in ROWS:
        complete = [run for run in sorted((runs / name).glob("[0-9]*")) if is_complete(run)]
        if not complete:
            sys.exit(f"{runs / name}: has no complete run, such as `zoo_digits.py run --only {name}` makes")
        trained = ganzoo.load_run(complete[0])
        strips.append(draw([Panel(trained.sample(SHOWN), SHOWN, name)]))
    width, height = max(strip.width for strip in strips) + PANEL_GAP, max(strip.height for strip in strips) + 2
    rows = -(-len(strips) // COLUMNS)
    drawn = Image.new("RGB", (width * COLUMNS, height * rows), BACKGROUND)
    for number, strip in enumerate(strips):
        drawn.paste(strip, (number // rows * width, number % rows * height))
    return drawn.convert("L").quantize(32)  # gray, and small enough for a page


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("action", choices=["run", "table", "picture", "rows"])
    parser.add_argument("--only", nargs="*", default=[], choices=list(ROWS), metavar="ROW", help="of these rows alone")
    parser.add_argument("--results", type=Path, default=RESULTS, help="a file of JSON lines")
    parser.add_argument("--runs", type=Path, default=Path("runs", "zoo_digits"), help="folder of the run directories")
    arguments = parser.parse_args()
    if arguments.action == "run":
        torch.set_num_threads(1)
        run_all(arguments.results, arguments.runs, arguments.only)
    elif arguments.action == "rows":
        print("\n".join(changed()))
    elif arguments.action == "picture":
        save_picture(picture(arguments.runs), PICTURE)
    else:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(with_table(page, read_records(arguments.results)), encoding="utf-8")


if __name__ == "__main__":
    main()
