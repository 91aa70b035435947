"""Verify a record of the speedrun: that it follows the rules, and that its figures follow from what was kept.

    python benchmarks/speedrun/verify.py benchmarks/speedrun/records/cpu
    python benchmarks/speedrun/verify.py benchmarks/speedrun/records/cpu --samples WORK

The scores are computed again from the statistics of each run's features; wall time, processor time and steps are held
against the logs, seeds and samples against each other, the recipe against the rules; ratios and p values are computed
again. Of the recipe the defaults count too, so that its plugins have to be installed. `--samples` takes the folder that
`record.py` worked in, and judges the samples themselves again. Prints what does not hold and ends with 1, or prints the
result. What nobody can see from a record, whether it was measured at all, is seen by repeating it with `record.py`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import judge
import numpy as np
from pydantic import BaseModel, NonNegativeInt, PositiveInt, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file
from scipy import stats

from ganzoo.errors import RequestError
from ganzoo.recipe.load import load_recipe, read_toml
from ganzoo.recipe.model import Recipe
from ganzoo.recipe.overrides import flatten, plugins_in
from ganzoo.registry.plugin_manager import plugin_manager
from ganzoo.runtime.environment import chosen_entries

HERE = Path(__file__).parent
RATIO, SIGNIFICANCE, FEWEST = 10.0, 0.01, 5
BASELINE, CONTESTANT = "baseline", "contestant"
EXIT_SECONDS = 5.0
"""A process may take so long from its last line in the log to its end."""
EPOCHS, BATCH = 5, 128
"""Of the baseline."""

OWN_WEIGHTS = ("init.weights", "samples.weights", "evaluation.weights")
"""Options that choose among the weights of a run itself."""

Run = Mapping[str, Any]


class RunShape(BaseModel):
    """What a run of a record has, at least."""

    who: Literal["baseline", "contestant"]
    seed: NonNegativeInt
    wall: float
    cpu: float
    score: float
    samples: str
    of: str


class DataShape(BaseModel):
    """What a record says of the data, at least."""

    images: PositiveInt


class RecordShape(BaseModel):
    """What a record has, at least; older ones say nothing of data and code."""

    frozen: dict[str, str]
    recipe: str
    runs: list[RunShape]
    result: dict[str, float]
    data: DataShape | None = None
    code: str = ""


def main() -> None:
    """Print what does not hold, or the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=Path)
    parser.add_argument("--samples", type=Path, metavar="WORK", help="folder with the samples, judged again")
    options = parser.parse_args()
    file = options.record / "record.json"
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        sys.exit(f"wrong: {file} cannot be read: {error}")
    wrong = False
    for each in problems(options.record, record, options.samples):
        print(f"wrong: {each}")
        wrong = True
    if wrong:
        sys.exit(1)
    print(f"{options.record}: nothing wrong\n{told(record['result'])}")


def problems(folder: Path, record: Mapping[str, Any], samples: Path | None = None) -> Iterator[str]:
    """Yield what is wrong with a record, in words."""
    try:
        RecordShape.model_validate(record, strict=True)
    except ValidationError as error:
        for each in error.errors(include_url=False):
            yield f"record.json, {'.'.join(map(str, each['loc']))}: {each['msg']}"
        return  # all that follows reads it
    runs: Sequence[Run] = record["runs"]
    for name in ("judge.safetensors", "baseline.py"):
        if record["frozen"].get(name) != sha256(HERE / name):
            yield f"{name} is not the one that the record was measured with"
    file = folder / "recipe.toml"
    if file.is_file() and record["recipe"] != sha256(file):
        yield "recipe.toml is not the one that was measured"
    yield from recipe_problems(file)
    if record.get("code", "").endswith(", changed"):
        yield "ganzoo or a plugin had changes that no commit has: commit them and measure again"
    for who, least in ((BASELINE, 1), (CONTESTANT, FEWEST)):
        seeds = [run["seed"] for run in of(runs, who)]
        if seeds != list(range(len(seeds))) or len(seeds) < least:
            yield f"the {who}'s seeds are {seeds}: must be 0, 1, 2 and so on, at least {least} of them, none left out"
    images = record["data"]["images"] if record.get("data") else None  # older records do not say
    steps = {BASELINE: images and EPOCHS * math.ceil(images / BATCH), CONTESTANT: length_of(file)}
    for run in runs:
        name = f"{run['who']}-{run['seed']}"
        if run["of"] != (record["frozen"].get("baseline.py") if run["who"] == BASELINE else record["recipe"]):
            yield f"{name}: is of another program or recipe"
        yield from log_problems(last_line(folder / "logs" / f"{name}.txt"), run, steps[run["who"]])
        if samples is not None:
            yield from samples_problems(samples / name / "samples.npy", run)
    yield from score_problems(folder / "statistics.safetensors", runs)
    if not all(of(runs, who) for who in (BASELINE, CONTESTANT)):
        return  # which was told
    found = result(runs)
    for key, value in found.items():
        recorded = record["result"].get(key, math.nan)
        if not abs(value - recorded) <= 1e-6 * max(1.0, abs(value)):
            yield f"{key} is {value:.6g} by the runs, and the record says {recorded:.6g}"
    yield from misses(found)


def recipe_problems(file: Path) -> Iterator[str]:
    """Yield what a contestant's recipe must not have."""
    try:
        tables = read_toml(file)
        for name in {*plugins_in(tables, "requires")} - own_distributions():
            yield f"recipe.toml takes code from the plugin {name}, which is not in the repository: add it there"
        if plugins_in(tables, "files"):
            yield "recipe.toml takes code from files, which the record lacks: put it into a plugin of the repository"
        recipe, manager = load_recipe(file, plugin_manager(), trust=False)
    except RequestError as error:
        yield f"recipe.toml cannot be used: {error}"
        return
    distributions = {str(plugin): plugin.distribution for plugin in manager.plugins}
    for _, entry in chosen_entries(recipe, manager):
        if distributions[entry.plugin] not in own_distributions():
            yield f'recipe.toml takes "{entry.name}" of {entry.plugin}, which is not in the repository: add it there'
    yield from data_problems(recipe)
    yield from weights_problems(recipe)


def data_problems(recipe: Recipe) -> Iterator[str]:
    """Yield which other data than the training split a recipe takes, for training or for scores on the way.

    Scores that are taken while training may end it.
    """
    name, split = recipe.dataset.name, getattr(recipe.dataset, "split", None)
    if (name, split) != ("mnist", "train"):
        yield f"recipe.toml trains on {name}, {split}: must be mnist's training split"
    for key in ("real", "held_out") if recipe.evaluation.every else ():
        if getattr(recipe.evaluation, key):
            yield f"recipe.toml compares with other images while training, by evaluation.{key}: leave it out"


def weights_problems(recipe: Recipe) -> Iterator[str]:
    """Yield where a recipe takes weights that were trained before: by an option `…weights`, `from` or `run`.

    What is not scored while training can take them, since it has no part in it.
    """
    for key, value in flatten(recipe.model_dump(mode="json", by_alias=True)):
        place = key.rpartition(".")[2]
        if place.endswith("weights"):
            taken, cure = value is None or (isinstance(value, str) and value != "random"), 'set it to "random"'
        else:  # a schedule has numbers under `from`
            taken, cure = place in ("from", "run") and isinstance(value, str), "leave it out"
        unused = key in OWN_WEIGHTS or (key.startswith("evaluation.") and not recipe.evaluation.every)
        if taken and not unused:
            yield f"recipe.toml takes weights that were trained before, by {key} ({value or 'its default'}): {cure}"


def own_distributions() -> set[str]:
    """Return the names of ganzoo's core and of the plugins that the repository holds."""
    return {"ganzoo-core", *(file.parent.name for file in (HERE.parents[1] / "plugins").glob("*/pyproject.toml"))}


def length_of(file: Path) -> int | None:
    """Return the number of steps that runs of a recipe make; None where its tables do not say."""
    try:
        run = read_toml(file).get("run")
    except RequestError:
        return None  # which is told
    return run.get("steps") if isinstance(run, Mapping) and "target" not in run else None


def score_problems(file: Path, runs: Sequence[Run]) -> Iterator[str]:
    """Yield where the statistics of the samples' features tell another score than the record."""
    try:
        frozen = judge.load_judge()[1:]
        features = load_file(file)
    except (OSError, ValueError, SafetensorError) as error:
        yield f"the scores cannot be computed again: {error}"
        return
    first: dict[bytes, str] = {}
    for run in runs:
        name = f"{run['who']}-{run['seed']}"
        found = tuple(features.get(f"{name}.{kind}", np.empty(0)) for kind in ("mean", "covariance"))
        if [each.shape for each in found] != [each.shape for each in frozen]:
            yield f"{name}: {file.name} lacks mean and covariance of its samples"
            continue
        finite = all(np.isfinite(each).all() for each in found)
        score = judge.frechet((found[0], found[1]), frozen) if finite else math.nan
        if not abs(score - run["score"]) <= 1e-3:  # NaN too
            yield f"{name}: scores {score:.4f} by its statistics, and the record says {run['score']:.4f}"
        same = first.setdefault(found[0].tobytes(), name)
        if same != name:
            yield f"{name}: has the same samples as {same}"


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
        if not found[key] >= RATIO:  # NaN too
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
    else:
        try:
            score = judge.score(np.load(file))
        except (ValueError, EOFError) as error:
            yield f"{file}: cannot be judged: {error}"
            return
        if not abs(score - run["score"]) <= 1e-2:  # NaN too
            yield f"{file}: scores {score:.4f}, and the record says {run['score']:.4f}"


def of(runs: Sequence[Run], who: str) -> list[Run]:
    """Return the runs of the baseline or of the contestant."""
    return [run for run in runs if run["who"] == who]


def last_line(log: Path) -> dict[str, float]:
    """Return the JSON of a log's last line; empty where there is none, or where it is cut."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    try:
        return TypeAdapter(dict[str, int | float]).validate_json(lines[-1] if lines else "", strict=True)
    except ValidationError:
        return {}


def sha256(file: Path) -> str:
    """Return the checksum of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
