"""Measure a record of the speedrun: baseline and contestant in turn on this machine, each run a process of its own.

    python benchmarks/speedrun/record.py benchmarks/speedrun/records/cpu --root data

Runs the baseline with `--baselines` seeds and the contestant with `--runs` seeds, spread evenly between them, judges
all samples, and writes the record: `record.json`, the recipe, logs, statistics and a picture of each side's first seed,
and all of it for the reader into docs/pages/speedrun.md where `--page` asks for it.
A run that is in the `--work` folder is not repeated, so the command can be stopped and given again; it is where it was
of another program or recipe, machine, number of threads, version of torch or Python, or of other data or code. One run
of a single step comes first and is not counted, so that programs lie in memory. Every counted run starts with an empty
cache.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import judge
import numpy as np
import torch
from PIL import Image
from safetensors.numpy import save_file
from verify import BASELINE, CONTESTANT, HERE, misses, recipe_problems, result, sha256, told

from ganzoo.registry import FILES_VARIABLE

RECIPES = {"cpu": HERE / "cpu.toml", "cuda": HERE / "cuda.toml"}
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "pages" / "speedrun.md"
CODE = ("ganzoo", "plugins", "benchmarks/speedrun/contestant.py")
"""What a contestant consists of, beside its recipe."""
NOT_HANDED_ON = ("PYTHONDONTWRITEBYTECODE", FILES_VARIABLE)
"""What would change the clock, and what would add code that the record lacks."""
SIDE = 10


def main() -> None:
    """Measure what is missing and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=Path, help="folder to write")
    parser.add_argument("--root", required=True, help="folder of MNIST as torchvision lays it out")
    parser.add_argument("--track", choices=[*RECIPES], default="cpu")
    parser.add_argument("--recipe", type=Path, help="left out: the track's")
    parser.add_argument("--baselines", type=int, default=3)
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1, help="of either side")
    parser.add_argument("--work", type=Path, help="keeps samples and logs; left out: runs/speedrun/ and the track")
    parser.add_argument("--page", action="store_true", help=f"bring {PAGE.name} up to date")
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        help='measure this run alone, such as "baseline-0", and write no record',
    )
    options = parser.parse_args()
    options.recipe = options.recipe or RECIPES[options.track]
    options.work = options.work or Path("runs", "speedrun", options.track)
    if wrong := [*recipe_problems(options.recipe), *wrong_requests(options)]:
        sys.exit("\n".join(wrong))
    order = options.only or spread(options.baselines, options.runs)
    missing = [name for name in order if not is_measured(options, name)]
    if missing:
        warm_up(options)
    for name in missing:
        measure(options, name)
    if options.only:
        return
    record = write(options)
    print(shown(record), *misses(record["result"]), sep="\n")
    if options.page:
        for who in (BASELINE, CONTESTANT):
            shutil.copy(options.record / f"{who}.png", PAGE.parent / "images" / f"speedrun_{options.track}_{who}.png")
        PAGE.write_text(with_record(PAGE.read_text(encoding="utf-8"), record), encoding="utf-8")


def wrong_requests(options: argparse.Namespace) -> Iterator[str]:
    """Yield what is wrong with the request."""
    if not (Path(options.root) / "MNIST" / "raw").is_dir():
        yield f"--root {options.root}: has no folder MNIST/raw"
    if options.track == "cuda" and not torch.cuda.is_available():
        yield "--track cuda: torch finds no NVIDIA GPU here"
    for name in options.only or ():
        if not re.fullmatch(rf"({BASELINE}|{CONTESTANT})-\d+", name):
            yield f"--only {name}: names no run: give one such as {BASELINE}-0 or {CONTESTANT}-0"


def spread(baselines: int, runs: int) -> list[str]:
    """Return the names of all runs in their order, either side's at equal distances."""
    places = [((seed + 0.5) / baselines, f"{BASELINE}-{seed}") for seed in range(baselines)]
    places += [((seed + 0.5) / runs, f"{CONTESTANT}-{seed}") for seed in range(runs)]
    return [name for _, name in sorted(places)]


def is_measured(options: argparse.Namespace, name: str) -> bool:
    """Return whether the work folder has a run of the program or recipe as it is now, on this machine and data."""
    file: Path = options.work / name / "run.json"
    wanted = {"of": sha256(program(options, name)), "under": conditions(options, name)}
    return file.is_file() and wanted.items() <= json.loads(file.read_text()).items()


def program(options: argparse.Namespace, name: str) -> Path:
    """Return what a run is of: the baseline's file or the contestant's recipe."""
    recipe: Path = options.recipe
    return HERE / "baseline.py" if name.startswith(BASELINE) else recipe


def command(options: argparse.Namespace, name: str, out: Path) -> list[str]:
    """Return the command of a run."""
    who, _, seed = name.partition("-")
    started = [str(program(options, name))] if who == BASELINE else [f"{HERE / 'contestant.py'}", str(options.recipe)]
    arguments = ["--root", options.root, "--out", str(out), "--seed", seed, "--device", options.track]
    return [sys.executable, *started, *arguments]


def environment(options: argparse.Namespace, cache: str) -> dict[str, str]:
    """Return the environment of a run, with a cache of its own."""
    kept = {name: value for name, value in os.environ.items() if name not in NOT_HANDED_ON}
    return {**kept, "OMP_NUM_THREADS": str(options.threads), "GANZOO_CACHE": cache}


def warm_up(options: argparse.Namespace) -> None:
    """Let the contestant take one step, not counted."""
    with tempfile.TemporaryDirectory() as folder:
        asked = [*command(options, f"{CONTESTANT}-0", Path(folder) / "samples.npy"), "--set", "run.steps=1"]
        subprocess.run(asked, env=environment(options, folder), check=True, stdout=subprocess.DEVNULL)


def measure(options: argparse.Namespace, name: str) -> None:
    """Run one side once, judge its samples, and keep what it took.

    Raises:
        SystemExit: it failed.
    """
    folder: Path = options.work / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    samples, load = folder / "samples.npy", os.getloadavg()[0]
    begun_at = datetime.now(UTC).isoformat(timespec="seconds")
    with tempfile.TemporaryDirectory() as cache, (folder / "log.txt").open("w") as log:
        begun = time.perf_counter()
        child = subprocess.Popen(
            command(options, name, samples),
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment(options, cache),
        )
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - begun
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{name} failed, see {folder / 'log.txt'}")
    who, _, seed = name.partition("-")
    found = {"who": who, "seed": int(seed), "wall": round(wall, 3), "cpu": round(usage.ru_utime + usage.ru_stime, 3)}
    found |= {"load": round(load, 2), "score": judge.score(np.load(samples)), "samples": sha256(samples)}
    found |= {"of": sha256(program(options, name)), "begun": begun_at, "under": conditions(options, name)}
    (folder / "run.json").write_text(json.dumps(found))
    print(
        f"{name}: {found['score']:.3f} after {found['wall']:.1f} s, {found['cpu']:.1f} s of processor time", flush=True
    )


def write(options: argparse.Namespace) -> dict[str, Any]:
    """Write the record of all runs, and return it."""
    folder: Path = options.record
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    shutil.copy(options.recipe, folder / "recipe.toml")
    _, *real = judge.load_judge()
    runs: list[dict[str, Any]] = []
    features: dict[str, np.ndarray] = {}
    under: dict[str, Any] = {}
    for who, count in ((BASELINE, options.baselines), (CONTESTANT, options.runs)):
        for seed in range(count):
            name = f"{who}-{seed}"
            work = options.work / name
            (folder / "logs" / f"{name}.txt").write_text(without_paths(options, (work / "log.txt").read_text()))
            samples = np.load(work / "samples.npy")
            mean, covariance = (each.astype(np.float32) for each in judge.judged(samples)[:2])
            features |= {f"{name}.mean": mean, f"{name}.covariance": covariance}
            runs.append(json.loads((work / "run.json").read_text()))
            under |= runs[-1].pop("under")
            runs[-1]["score"] = judge.frechet((mean, covariance), (real[0], real[1]))
            if not seed:
                picture(samples).save(folder / f"{who}.png", optimize=True)
    save_file(features, folder / "statistics.safetensors")
    record = {
        "track": options.track,
        "date": datetime.now(UTC).date().isoformat(),
        "command": without_paths(options, f"python {' '.join(sys.argv)}"),
        **under,
        "frozen": {name: sha256(HERE / name) for name in ("judge.safetensors", "baseline.py")},
        "recipe": sha256(folder / "recipe.toml"),
        "runs": runs,
        "result": result(runs),
    }
    (folder / "record.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return record


def without_paths(options: argparse.Namespace, text: str) -> str:
    """Return a text with names in the place of folders of this machine."""
    for path, name in ((options.work, "WORK"), (Path(options.root), "DATA"), (ROOT, ".")):
        text = text.replace(str(path), name) if path.is_absolute() else text
    return text


def conditions(options: argparse.Namespace, name: str) -> dict[str, Any]:
    """Describe what a run depends on beside its program or recipe: for those of one record it is the same."""
    found = {"machine": machine(options), "data": data(Path(options.root, "MNIST", "raw"))}
    return found if name.startswith(BASELINE) else {**found, "code": code()}


def data(folder: Path) -> dict[str, Any]:
    """Return the number of training images, and the checksum of each of their files."""
    images, labels = (folder / f"train-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1"))
    count = int.from_bytes(images.read_bytes()[4:8], "big")
    return {"images": count, **{file.name: sha256(file) for file in (images, labels)}}


def code() -> str:
    """Return the last commit of ganzoo and its plugins, marked where there are changes that no commit has."""

    def git(*asked: str) -> str:
        return subprocess.run(["git", *asked, "--", *CODE], cwd=ROOT, capture_output=True, text=True).stdout.strip()

    return (git("log", "-1", "--format=%h") or "unknown") + (", changed" if git("status", "--porcelain") else "")


def machine(options: argparse.Namespace) -> dict[str, Any]:
    """Describe the machine and what runs on it."""
    info = Path("/proc/cpuinfo")
    models = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    processor = models[0].partition(": ")[2] if models else platform.processor()
    return {
        "processor": f"{processor}, {torch.backends.cpu.get_cpu_capability()}",
        "cores": os.cpu_count(),
        "threads": options.threads,
        "device": torch.cuda.get_device_name() if options.track == "cuda" else "cpu",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def picture(samples: np.ndarray) -> Image.Image:
    """Return the first hundred samples as the judge sees them, ten by ten."""
    small = (judge.at_28(torch.from_numpy(samples[: SIDE * SIDE]))[:, 0] * 255).round().byte().numpy()
    rows = small.reshape(SIDE, SIDE, judge.SIZE, judge.SIZE).transpose(0, 2, 1, 3)
    return Image.fromarray(rows.reshape(SIDE * judge.SIZE, SIDE * judge.SIZE))


def shown(record: Mapping[str, Any]) -> str:
    """Return a record as the page shows it."""
    computer, track = record["machine"], record["track"]
    # Older records do not say.
    of = f", {record['data']['images']:,} training images, ganzoo at {record['code']}" if "data" in record else ""
    lines = [
        f"{record['date']}, {computer['cores']} cores of {computer['processor']}, {computer['device']}, "
        f"torch {computer['torch']}, threads on either side: {computer['threads']}{of}. "
        f"{told(record['result']).capitalize()}.",
        "",
        "| run | score | wall time, s | processor time, s | load before |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {run['who']}, seed {run['seed']} | {run['score']:.2f} | {run['wall']:.1f} | {run['cpu']:.1f} "
        f"| {run['load']:.1f} |"
        for run in record["runs"]
    ]
    pictures = [
        f"![A hundred samples of the {who}](images/speedrun_{track}_{who}.png)" for who in (BASELINE, CONTESTANT)
    ]
    return "\n".join([*lines, "", "| baseline | contestant |", "|---|---|", f"| {' | '.join(pictures)} |"])


def with_record(page: str, record: Mapping[str, Any]) -> str:
    """Return the page with the record of its track brought up to date; it stands between two comments."""
    begin, end = f"<!-- record {record['track']} -->\n", f"\n<!-- end of record {record['track']} -->"
    return re.sub(f"{begin}.*?{end}", lambda _: begin + shown(record) + end, page, flags=re.DOTALL)


if __name__ == "__main__":
    main()
