"""Measures what to expect of the recipes, and writes it into their headers and the results page.

    python benchmarks/cards.py measure NAME...   trains these recipes and scores them, each with one thread
    python benchmarks/cards.py write             writes the figures into recipes/*.toml and docs/pages/results.md

`cards.json` is the one source of these figures; a test holds that headers and page agree with it. Time is that of the
processor, start-up and the end of the run included, so that it says the same on a machine that is busy; with a GPU it
is that of the clock, and the memory, which would be the processor's, is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from results_page import PAGE, replaced
from row_runs import device_of, environment

from ganzoo.recipe.card import EXPECT, NOT_MEASURED
from ganzoo.runtime.cpu_kernels import capabilities

ROOT = Path(__file__).parents[1]
CARDS = Path(__file__).with_suffix(".json")
SAMPLES, SCORES = 1000, ("fd_classifier", "modes")
"""Samples that are scored, and the score that a card has: the first that is taken, else any."""

Card = dict[str, Any]


def recipes() -> list[Path]:
    """The recipes that ship, by name."""
    return sorted((ROOT / "recipes").glob("*.toml"))


def expectation(card: Card) -> str:
    """The line of a recipe's header, after "# expect: "."""
    if not card.keys() & {"value", "seconds", "memory_bytes"}:
        return f"{NOT_MEASURED}; for {card['machine']}"
    return "; ".join([score_of(card), f"{time_of(card)} on {card['machine']}", memory_of(card)])


def score_of(card: Card) -> str:
    """The score, and where it was taken."""
    if "value" not in card:
        return f"score {NOT_MEASURED}"
    return f"{card['score']} {card['value']:.3g} at step {card['step']:,}"


def time_of(card: Card) -> str:
    """The time in a unit that leaves one or two digits."""
    seconds = card["seconds"]
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds:.0f} s"


def memory_of(card: Card) -> str:
    """The peak of the process's memory."""
    return f"{card['memory_bytes'] / 1e9:.1f} GB" if "memory_bytes" in card else f"memory {NOT_MEASURED}"


def with_line(text: str, line: str) -> str:
    """The text of a recipe with this line above the command of its header."""
    lines = [each for each in text.splitlines() if not each.startswith(EXPECT)]
    place = next(index for index, each in enumerate(lines) if each.startswith("#   ganzoo run "))
    return "\n".join([*lines[:place], EXPECT + line, *lines[place:]]) + "\n"


def table(cards: dict[str, Card]) -> str:
    """The table of the results page: what was measured, and then what was not."""
    rows = ["| recipe | score | time | machine | memory | protocol |", "|---|---|---|---|---|---|"]
    measured = {name: card for name, card in cards.items() if not expectation(card).startswith(NOT_MEASURED)}
    for name, card in sorted(measured.items()):
        protocol = [f"{card['samples']:,} samples"] if "samples" in card else []
        protocol += [card["note"]] if "note" in card else []
        cells = (f"`{name}`", score_of(card), time_of(card), card["machine"], memory_of(card), ", ".join(protocol))
        rows.append("| " + " | ".join(cells) + " |")
    machines: dict[str, list[str]] = {}
    for name in sorted(cards.keys() - measured.keys()):
        machines.setdefault(cards[name]["machine"], []).append(f"`{name}`")
    rest = [f"- {machine}: {', '.join(names)}" for machine, names in machines.items()]
    return "\n".join([*rows, "", "Not measured, with what they are meant for:", "", *rest])


def with_table(text: str, cards: dict[str, Card]) -> str:
    """The text of the results page with the table."""
    return replaced(text, "cards", table(cards))


def write(cards: dict[str, Card]) -> None:
    """Write the figures into every header, and into the page."""
    if missing := [path.stem for path in recipes() if path.stem not in cards]:
        sys.exit(
            f"{CARDS.name} has no {', '.join(missing)}: measure them, or add a row that says what they are for, such "
            f'as {{"machine": "one GPU"}}'
        )
    for path in recipes():
        text = path.read_text(encoding="utf-8")
        path.write_text(with_line(text, expectation(cards[path.stem])), encoding="utf-8")
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), cards), encoding="utf-8")


def measure(name: str, settings: Sequence[str], note: str, keep: Path | None) -> Card:
    """Train a recipe in a process of its own, score its last weights in another, and return the figures."""
    changes = [word for setting in settings for word in ("--set", setting)]
    with tempfile.TemporaryDirectory() as scratch:
        recipe, root = str(ROOT / "recipes" / f"{name}.toml"), f"run.root={(keep or Path(scratch)).absolute()}"
        threads = {"OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}
        command = [sys.executable, "-m", "ganzoo", "run", recipe, "--set", root, *changes]
        begun = time.perf_counter()
        child = subprocess.Popen(command, env=os.environ | threads, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert child.stdout is not None
        run = Path(child.stdout.read().strip())
        _, status, usage = os.wait4(child.pid, 0)  # of this child alone, not of the largest so far
        wall = time.perf_counter() - begun
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"{name}: exit code {child.returncode}")
        scoring = [sys.executable, "-m", "ganzoo", "evaluate", str(run), "--samples", str(SAMPLES), "--json"]
        told = subprocess.run(
            scoring, env=os.environ | threads, stdout=subprocess.PIPE, check=True, text=True, cwd=ROOT
        )
        scores = json.loads(told.stdout)["scores"]
        score = next((name for name in (*SCORES, *scores) if name in scores), None)
        summary = json.loads((run / "summary.json").read_text())
        where = environment(run)
        device = device_of(run)
    on_cpu = device == "cpu"
    amx = where["precision"] == "bf16" and capabilities().get("amx_bf16")
    kind = "AMX" if amx else {"AVX512": "AVX-512"}.get(where["cpu"])
    core = "one CPU core" + (f" with {kind}" if kind else "")
    memory = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        **({"score": score, "value": round(scores[score], 4), "samples": SAMPLES} if score else {}),
        "step": summary["steps"],
        "seconds": round(usage.ru_utime + usage.ru_stime if on_cpu else wall, 1),
        "training_seconds": round(summary["seconds"], 1),
        **({"memory_bytes": memory} if on_cpu else {}),
        "machine": core if on_cpu else f"one {device}",
        "precision": where["precision"],
        "note": ", ".join(part for part in (note, "CPU time" if on_cpu else "wall time") if part),
        "torch": where["torch"],
        **({"settings": list(settings)} if settings else {}),
    }


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("measure", "write"))
    parser.add_argument("names", nargs="*")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="A change, noted with the card."
    )
    parser.add_argument("--note", default="", help='What is special, such as "9,000 of the 60,000 images".')
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="Keep the runs there.")
    options = parser.parse_args()
    if (options.what == "measure") != bool(options.names):
        parser.error("measure takes names of recipes, and write none")
    if unknown := [name for name in options.names if name not in {path.stem for path in recipes()}]:
        parser.error(f"there is no recipes/{unknown[0]}.toml")
    if options.what == "write":
        write(json.loads(CARDS.read_text(encoding="utf-8")))
    for name in options.names:
        card = measure(name, options.set, options.note, options.keep)
        print(f"{name}: {expectation(card)}", flush=True)
        # Read again: another process may have measured other recipes meanwhile.
        ordered = dict(sorted((json.loads(CARDS.read_text(encoding="utf-8")) | {name: card}).items()))
        CARDS.write_text(json.dumps(ordered, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
