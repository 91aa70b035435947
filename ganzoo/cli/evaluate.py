"""`ganzoo evaluate`: what the samples of a run are worth."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ganzoo.cli.options import AsJson, Overrides, RunFolder, WhichNetwork, WhichStep

if TYPE_CHECKING:
    from ganzoo.evaluation.evaluation_log import Evaluated, Evaluation
    from ganzoo.sampling.trained_run import TrainedRun


def evaluate(
    run: RunFolder,
    samples: Annotated[int | None, typer.Option(min=2, help="How many images to make and score.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of their latents.")] = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="Evaluate with so many seeds, from that one on: mean ± deviation.")
    ] = 1,
    step: WhichStep = None,
    network: WhichNetwork = None,
    weights: Annotated[Literal["auto", "ema", "raw"] | None, typer.Option(help="auto: ema where there is one.")] = None,
    extractor: Annotated[
        list[str] | None,
        typer.Option(help="Score by this network's features, see `ganzoo list extractors`; may be given again."),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(min=8, help="Compare at this size, where runs of different sizes are to be compared.")
    ] = None,
    set_: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Score samples against the dataset, as the run's [evaluation] has it; adds to its evaluation.json.

    What is left out is as the recipe has it; --set evaluation.… changes anything of it.
    """
    from ganzoo import api

    trained = api.load_run(run, step=step, network=network)
    evaluated = api.evaluate(
        trained,
        samples,
        seed=seed,
        seeds=seeds,
        weights=weights,
        image_size=image_size,
        extractors=extractor or (),
        overrides=set_ or (),
    )
    if as_json:
        typer.echo(json.dumps(_as_json(evaluated), indent=2))
    else:
        _print(trained, evaluated)


def _as_json(evaluated: Evaluated) -> dict[str, Any]:
    return {
        "scores": evaluated.scores,
        "deviations": evaluated.deviations,
        "evaluations": [each.model_dump(mode="json") for one in evaluated.evaluations for each in one],
    }


def _print(trained: TrainedRun, evaluated: Evaluated) -> None:
    """The scores beside the best of the run that were taken in the same way, then the cards and the time."""
    seeds = len(evaluated.evaluations)
    first = evaluated.evaluations[0]
    over = f", mean ± deviation over {seeds} seeds" if seeds > 1 else ""
    typer.echo(f"scores at step {trained.checkpoint.step}{over}:")
    best = _best(trained, first)
    for name, value in evaluated.scores.items():
        deviation = evaluated.deviations.get(name)
        line = f"  {name}: {_number(value)}" + (f" ± {_number(deviation)}" if deviation is not None else "")
        if name in best:
            line += f" (best of the run: {_number(best[name][0])} at step {best[name][1]})"
        typer.echo(line)
    for part in ("details", "card", "timings"):
        printed: set[tuple[str, str]] = set()  # cards of two extractors agree in most
        for evaluation in first:
            typer.echo(f"{part}, {evaluation.card.extractor.name}:")
            rows = [(name, _number(value)) for name, value in _flat(evaluation.model_dump(mode="json")[part])]
            for name, shown in rows:
                if (name, shown) not in printed:
                    typer.echo(f"  {name}: {shown}")
            printed.update(rows)


def _best(trained: TrainedRun, evaluations: list[Evaluation]) -> dict[str, tuple[float, int]]:
    """The best value of each score that was taken in the same way at several steps, with its step."""
    from ganzoo.evaluation.evaluation_log import read_evaluations
    from ganzoo.evaluation.protocol import differences
    from ganzoo.storage.summary import lower_is_better

    best: dict[str, tuple[float, int]] = {}
    steps: dict[str, set[int]] = {}
    for now in evaluations:
        for other in read_evaluations(trained.directory):
            if differences([now.card, other.card]):
                continue
            for name in now.scores.keys() & other.scores.keys():
                steps.setdefault(name, set()).add(other.step)
                sign = -1 if lower_is_better(name) else 1
                if name not in best or sign * other.scores[name] > sign * best[name][0]:
                    best[name] = other.scores[name], other.step
    return {name: value for name, value in best.items() if len(steps[name]) > 1}


def _flat(table: dict[str, Any], at: str = "") -> list[tuple[str, Any]]:
    """The values of a table and those in it under dotted names; what is empty is left out."""
    rows: list[tuple[str, Any]] = []
    for name, value in table.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{at}{name}.")
        elif value != "":
            rows.append((f"{at}{name}", value))
    return rows


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
