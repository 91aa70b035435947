"""Verify a record of the speedrun: that it follows the rules, and that its figures follow from what was kept.

    python benchmarks/speedrun/verify.py benchmarks/speedrun/records/cpu
    python benchmarks/speedrun/verify.py benchmarks/speedrun/records/cpu --samples WORK

The scores are computed again from the statistics of each run's features; wall time, processor time and steps are held
against the logs, seeds and samples against each other, the recipe against the rules; ratios and p values are computed
again. `--samples` takes the folder that `record.py` worked in, and judges the samples themselves
again. Prints what does not hold and ends with 1, or prints the result. What nobody can see from a record, whether it
was measured at all, is seen by repeating it with `record.py`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import judge
import numpy as np
from safetensors.numpy import load_file
from scipy import stats

from ganzoo.recipe.overrides import flatten

HERE = Path(__file__).parent
RATIO, SIGNIFICANCE, FEWEST = 10.0, 0.01, 5
BASELINE, CONTESTANT = "baseline", "contestant"
EXIT_SECONDS = 5.0
"""A process may take so long from its last line in the log to its end."""
EPOCHS, BATCH = 5, 128
"""Of the baseline."""

Run = Mapping[str, Any]


def main() -> None:
    """Print what does not hold, or the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=Path)
    parser.add_argument("--samples", type=Path, metavar="WORK", help="folder with the samples, judged again")
    options = parser.parse_args()
    record = json.loads((options.record / "record.json").read_text(encoding="utf-8"))
    wrong = [*problems(options.record, record, options.samples)]
    for each in wrong:
        print(f"wrong: {each}")
    if wrong:
        sys.exit(1)
    print(f"{options.record}: nothing wrong\n{told(record['result'])}")


def problems(folder: Path, record: Mapping[str, Any], samples: Path | None = None) -> Iterator[str]:
    """Yield what is wrong with a record, in words."""
    runs: Sequence[Run] = record["runs"]
    for name in ("judge.safetensors", "baseline.py"):
        if record["frozen"][name] != sha256(HERE / name):
            yield f"{name} is not the one that the record was measured with"
    if record["recipe"] != sha256(folder / "recipe.toml"):
        yield "recipe.toml is not the one that was measured"
    recipe = tomllib.loads((folder / "recipe.toml").read_text(encoding="utf-8"))
    yield from recipe_problems(recipe)
    if record.get("code", "").endswith(", changed"):
        yield "ganzoo or a plugin had changes that no commit has: commit them and measure again"
    for who, least in ((BASELINE, 1), (CONTESTANT, FEWEST)):
        seeds = [run["seed"] for run in of(runs, who)]
        if seeds != list(range(len(seeds))) or len(seeds) < least:
            yield f"the {who}'s seeds are {seeds}: must be 0, 1, 2 and so on, at least {least} of them, none left out"
    features, frozen = load_file(folder / "statistics.safetensors"), judge.load_judge()
    first: dict[bytes, str] = {}
    images = record["data"]["images"] if "data" in record else None  # older records do not say
    length = None if "target" in recipe["run"] else recipe["run"].get("steps")
    steps = {BASELINE: images and EPOCHS * math.ceil(images / BATCH), CONTESTANT: length}
    for run in runs:
        name = f"{run['who']}-{run['seed']}"
        if run["of"] != (record["frozen"]["baseline.py"] if run["who"] == BASELINE else record["recipe"]):
            yield f"{name}: is of another program or recipe"
        score = judge.frechet((features[f"{name}.mean"], features[f"{name}.covariance"]), frozen[1:])
        if not abs(score - run["score"]) <= 1e-3:  # NaN too
            yield f"{name}: scores {score:.4f} by its statistics, and the record says {run['score']:.4f}"
        same = first.setdefault(features[f"{name}.mean"].tobytes(), name)
        if same != name:
            yield f"{name}: has the same samples as {same}"
        yield from log_problems(last_line(folder / "logs" / f"{name}.txt"), run, steps[run["who"]])
        if samples is not None:
            yield from samples_problems(samples / name / "samples.npy", run)
    found = result(runs)
    for key, value in found.items():
        if not abs(value - record["result"][key]) <= 1e-6 * max(1.0, abs(value)):
            yield f"{key} is {value:.6g} by the runs, and the record says {record['result'][key]:.6g}"
    yield from misses(found)


def recipe_problems(recipe: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a contestant's recipe must not have."""
    name, split = recipe["dataset"]["name"], recipe["dataset"].get("split", "train")
    if (name, split) != ("mnist", "train"):
        yield f"recipe.toml trains on {name}, {split}: must be mnist's training split"
    if recipe.get("plugins", {}).get("files"):
        yield "recipe.toml takes code from files, which the record lacks: put it into a plugin of the repository"
    given = dict(flatten(recipe))
    pretrained = [key for key, value in given.items() if key.endswith("weights") and value != "random"]
    if given.get("discriminator.name") == "projected" and "discriminator.weights" not in given:
        pretrained.append("discriminator.weights")  # by default those of a classifier of ImageNet
    if "init" in recipe or any(not key.startswith(("samples.", "evaluation.")) for key in pretrained):
        yield "recipe.toml starts from weights that were trained before"


def log_problems(log: Mapping[str, Any], run: Run, steps: int | None) -> Iterator[str]:
    """Yield where a run's log tells something else than the record."""
    name = f"{run['who']}-{run['seed']}"
    if log.get("seed") != run["seed"] or not 0 <= run["wall"] - log.get("seconds", math.nan) <= EXIT_SECONDS:
        yield f"{name}: took {run['wall']:.2f} s by the record, and its log says {log}"
    after = run["cpu"] - log.get("cpu", math.nan)
    # A contestant may have processes of its own, whose time its log does not have.
    if not (0 <= after <= EXIT_SECONDS or (run["who"] == CONTESTANT and after > 0)):
        yield f"{name}: took {run['cpu']:.2f} s of processor time by the record, and its log says {log}"
    if steps is not None and log.get("steps") != steps:
        yield f"{name}: must have made {steps} steps, and its log says {log}"


def misses(found: Mapping[str, float]) -> Iterator[str]:
    """Yield what a result lacks for a record."""
    for key in ("wall_ratio", "cpu_ratio"):
        if found[key] < RATIO:
            yield f"{key} is {found[key]:.2f}: must be {RATIO:g} or more"
    for key in ("p_score", "p_wall", "p_cpu"):
        if not found[key] < SIGNIFICANCE:  # NaN too
            yield f"{key} is {found[key]:.3g}: must be below {SIGNIFICANCE:g}"


def result(runs: Sequence[Run]) -> dict[str, float]:
    """Return bar, means, ratios and p values.

    The bar is the best score that the baseline reached, and the times are held against a tenth of its fastest. Each p
    is of Student's one-sample t-test, one-sided: that the contestant's mean is not below.
    """
    ours, theirs = (
        {key: np.array([run[key] for run in of(runs, who)]) for key in ("score", "wall", "cpu")}
        for who in (CONTESTANT, BASELINE)
    )
    limits = {"score": theirs["score"].min(), "wall": theirs["wall"].min() / RATIO, "cpu": theirs["cpu"].min() / RATIO}
    found = {"bar": limits["score"]}
    for key, limit in limits.items():
        found |= {key: ours[key].mean(), f"p_{key}": stats.ttest_1samp(ours[key], limit, alternative="less").pvalue}
    found |= {f"{key}_ratio": theirs[key].min() / ours[key].mean() for key in ("wall", "cpu")}
    return {key: float(value) for key, value in found.items()}


def told(found: Mapping[str, float]) -> str:
    """Return a result in words."""
    return (
        f"score {found['score']:.2f} against the bar of {found['bar']:.2f} (p = {found['p_score']:.2g}); "
        f"{found['wall']:.1f} s, 1/{found['wall_ratio']:.1f} of the baseline's (p = {found['p_wall']:.2g}); "
        f"{found['cpu']:.1f} s of processor time, 1/{found['cpu_ratio']:.1f} (p = {found['p_cpu']:.2g})"
    )


def samples_problems(file: Path, run: Run) -> Iterator[str]:
    """Yield what is wrong with the samples of a run."""
    if not file.is_file():
        yield f"{file}: is not there"
    elif sha256(file) != run["samples"]:
        yield f"{file}: is not what was judged"
    elif abs(judge.score(np.load(file)) - run["score"]) > 1e-2:
        yield f"{file}: scores {judge.score(np.load(file)):.4f}, and the record says {run['score']:.4f}"


def of(runs: Sequence[Run], who: str) -> list[Run]:
    """Return the runs of the baseline or of the contestant."""
    return [run for run in runs if run["who"] == who]


def last_line(log: Path) -> dict[str, Any]:
    """Return the JSON of a log's last line; empty where there is none."""
    lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
    found: dict[str, Any] = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    return found


def sha256(file: Path) -> str:
    """Return the checksum of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
