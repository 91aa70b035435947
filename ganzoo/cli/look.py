"""Commands that use what was trained: `ganzoo sample`, `evaluate` and `import`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ganzoo.cli.options import (
    AsJson,
    Overrides,
    Overwrite,
    RunFolder,
    Sampling,
    Scoring,
    WhichNetwork,
    WhichStatistics,
    WhichStep,
    WhichWeights,
    check_file,
    check_folder,
    check_run,
    echo,
    echo_json,
    echo_path,
    seed_option,
)
from ganzoo.errors import RequestError, RunDirectoryError

if TYPE_CHECKING:
    from ganzoo.components.importer import ImportedWeights
    from ganzoo.evaluation.evaluation_log import Evaluated, Evaluation
    from ganzoo.sampling.trained_run import TrainedRun


def sample(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="A .png file for one grid, a .npy file of numbers, or a folder of images.")],
    count: Annotated[
        int | None, typer.Option(min=1, help="How many images, with --input of each; default: 64, with --input 1.")
    ] = None,
    seed: Annotated[int, seed_option("The same seed gives the same images.")] = 0,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            help="Classes for a conditional generator, by name or index: cat,dog or 0,1,2; or the attributes or values "
            "of one sample: 0.5,1. May be given again: they are taken in turn."
        ),
    ] = None,
    input_: Annotated[
        Path | None, typer.Option("--input", help="An image, or a folder of images, for a generator with a condition.")
    ] = None,
    step: WhichStep = None,
    network: WhichNetwork = None,
    weights: WhichWeights = "auto",
    batch_norm: WhichStatistics = None,
    set_: Sampling = None,
    overwrite: Overwrite = False,
) -> None:
    """Make images from a trained run, as one grid or as single images in a folder.

    With --input, each output is named after its input. Vectors, and images with channels that a picture does not show,
    are written as .npy too.

    Example: ganzoo sample runs/dcgan-digits/0001 --count 16 --out sixteen.png
    """
    from ganzoo import api
    from ganzoo.sampling.image_io import grid_beside, save_array, save_picture, save_single_images
    from ganzoo.terminal import say

    trained = api.load_run(run, step=step, network=network).sampled_with(set_ or ())
    names, condition, each = None, None, 1
    if input_ is not None:
        names, condition = api.read_inputs(trained, input_)
        each = count or 1
        if each > 1 and not trained.generator.config.latent_dim:
            raise RequestError(f"--count {each}: the generator draws no latents, so it makes one image of each input")
        trained.check_memory(each * len(names))
        if each > 1:
            names = [f"{name}_{number:0{len(str(each - 1))}d}" for name in names for number in range(each)]
        condition = condition.repeat_interleave(each, 0)
        count = len(condition)
    writable = out.suffix.lower() in {".png", ".npy"}
    to_file = writable or (bool(out.suffix) and not os.path.isdir(out))  # noqa: PTH112 - pathlib's raises of long names
    if to_file and not writable:
        raise RequestError(
            f"--out {out}: give a file that ends in .png or .npy, or a folder; one with a dot must be there"
        )
    beside = _array_beside(out, trained, to_file=to_file)
    if to_file:
        check_file(out, overwrite=overwrite)
    else:
        check_folder(out, overwrite=overwrite)
    if beside is not None and to_file:
        check_file(beside, overwrite=overwrite)
    if labels and trained.info.class_names:
        known = trained.info.class_names  # a name may have a comma
        labels = [one for text in labels for one in ([text] if text in known else text.split(","))]
    images = trained.sample(
        count, seed=seed, weights=weights, labels=labels or None, condition=condition, batch_norm=batch_norm
    )
    about = trained.about(weights=weights, batch_norm=batch_norm, seed=seed)
    if classes := trained.told_classes(labels or None):
        about = {**about, "classes": classes}
        say(f"classes, in turn: {classes}")
    elif labels and trained.info.labels:
        about = {**about, "labels": f"{'; '.join(labels)} ({trained.info.labels.first_names})"}
        say(f"labels, in turn: {about['labels']}")
    bands = trained.recipe.samples.bands
    if out.suffix.lower() == ".npy":
        save_array(images, out)
        echo_path(out)
        return
    if beside is not None:
        save_array(images, beside)
    if not to_file and images.ndim == 4:
        indices = trained.labels(len(images), labels or None) if classes else None
        shown = None if indices is None else [trained.info.class_names[index] for index in indices.tolist()]
        save_single_images(images, out, names, classes=shown, bands=bands, about=about)
    elif condition is not None and condition.ndim == images.ndim == 4:
        outputs = images.view(-1, each, *images.shape[1:]).unbind(1)
        save_picture(grid_beside(condition[::each], *outputs, bands=bands), out, about=about)
    else:
        picture = trained.picture(images)
        if picture is not None:
            save_picture(picture, out if to_file else out / "samples.png", about=about)
        elif to_file and beside is not None:
            out = beside
            echo(f"note: vectors of {trained.info.samples} have no picture: they are in {out}", err=True)
    echo_path(out)


def _array_beside(out: Path, trained: TrainedRun, *, to_file: bool) -> Path | None:
    """Return the file for the numbers of samples that pictures do not show whole; None where they do."""
    from torch import empty

    from ganzoo.sampling.image_io import shown_bands

    shape = trained.info.samples.shape
    if out.suffix.lower() == ".npy":
        return None
    if len(shape) == 3 and shown_bands(empty(1, *shape), trained.recipe.samples.bands).shape[1:] == shape:
        return None
    return out.with_suffix(".npy") if to_file else out / "samples.npy"


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run directory, or with --images also a recipe file.")],
    samples: Annotated[int | None, typer.Option(min=2, help="How many images to make and score.")] = None,
    seed: Annotated[int | None, seed_option("Seed of the latents.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds, starting at --seed: mean ± deviation.")] = 1,
    step: WhichStep = None,
    network: WhichNetwork = None,
    weights: Annotated[Literal["auto", "ema", "raw"] | None, typer.Option(help="auto: ema where there is one.")] = None,
    extractor: Annotated[
        list[str] | None,
        typer.Option(help="Score by this network's features, see `ganzoo list extractors`; may be given again."),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(min=8, help="Resize images to this size first, to compare runs of different sizes.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Score the images of this folder against the dataset instead; only --out stores the result."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A .json file for the result, in place of the run's evaluation.json.")
    ] = None,
    overwrite: Overwrite = False,
    set_: Scoring = None,
    as_json: AsJson = False,
) -> None:
    """Score samples against the dataset, as the run's [evaluation] says; adds to its evaluation.json.

    Options that you leave out are those of the recipe; --set evaluation.… changes any of them.

    Example: ganzoo evaluate runs/dcgan-digits/0001 --seeds 3
    """
    if images is None:
        check_run(run)
    if out is not None:
        check_file(out, ".json", overwrite=overwrite)

    from ganzoo import api
    from ganzoo.recipe.overrides import override_pairs

    if images is not None:
        made = {"samples": samples, "seed": seed, "step": step, "network": network, "weights": weights}
        given = [f"--{name}" for name, value in made.items() if value is not None] + ["--seeds"] * (seeds > 1)
        if given:
            raise RequestError(f"{given[0]} cannot be used with --images: all images of the folder are scored")
        changes = override_pairs(set_ or ())
        if extractor:
            changes.append(("evaluation.extractors", [{"name": name} for name in extractor]))
        if image_size is not None:
            changes.append(("evaluation.image_size", image_size))
        of_folder = api.evaluate_images(images, run, changes, out=out)
        _print_json(of_folder) if as_json else _print(of_folder)
        return
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
        out=out,
    )
    _print_json(evaluated) if as_json else _print(evaluated, trained)


def _print_json(evaluated: Evaluated) -> None:
    evaluations = [each.model_dump(mode="json") for one in evaluated.evaluations for each in one]
    echo_json({"scores": evaluated.scores, "deviations": evaluated.deviations, "evaluations": evaluations})


def _print(evaluated: Evaluated, trained: TrainedRun | None = None) -> None:
    """The scores, beside the best of the run that were taken in the same way, then warnings, the cards and the time."""
    from ganzoo.recipe.overrides import flatten

    seeds = len(evaluated.evaluations)
    first = evaluated.evaluations[0]
    over = f", mean ± deviation over {seeds} seeds" if seeds > 1 else ""
    if trained is None:
        echo(f"scores of {first[0].card.samples.images} images in {first[0].card.run}:")
    else:
        echo(f"scores at step {trained.checkpoint.step}{over}:")
    if not evaluated.scores:
        echo("  none: no metric suits these samples")
    best = {} if trained is None else _best(trained, first)
    for name, value in evaluated.scores.items():
        deviation = evaluated.deviations.get(name)
        line = f"  {name}: {_number(value)}" + (f" ± {_number(deviation)}" if deviation is not None else "")
        if name in best:
            line += f" (best of the run: {_number(best[name]['value'])} at step {best[name]['step']})"
        echo(line)
    for text in evaluated.warnings:
        echo(f"  warning: {text}")
    for part in ("details", "card", "timings"):
        printed: set[tuple[str, str]] = set()  # cards of two extractors agree in most
        for evaluation in first:
            echo(f"{part}, {evaluation.card.extractor.name}:")
            for name, value in flatten(evaluation.model_dump(mode="json")[part]):
                row = (name, _number(value))
                if row not in printed and value not in ("", {}):
                    echo(f"  {name}: {row[1]}")
                printed.add(row)


def _best(trained: TrainedRun, evaluations: list[Evaluation]) -> dict[str, dict[str, float]]:
    """The best value of each score that was taken in the same way at several steps, with its step."""
    from ganzoo.evaluation.evaluation_log import read_evaluations
    from ganzoo.evaluation.protocol import differences
    from ganzoo.storage.summary import SCORE, best_and_last

    try:
        known = read_evaluations(trained.directory)
    except RunDirectoryError:  # told when the new ones were to be added
        return {}
    alike = [other for other in known if any(not differences([now.card, other.card]) for now in evaluations)]
    rows = [{"step": each.step, **{SCORE + name: value for name, value in each.scores.items()}} for each in alike]
    found = best_and_last(rows, trained.directory.score_directions())["best"]
    return {name: best for name, best in found.items() if len({each.step for each in alike if name in each.scores}) > 1}


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def import_(
    source: Annotated[Path, typer.Argument(help="A file or folder of weights.")],
    out: Annotated[Path, typer.Option(help="The run directory to make.", metavar="RUN")],
    importer: Annotated[
        str | None, typer.Option("--as", help="The importer to use; see `ganzoo list importers`.", metavar="NAME")
    ] = None,
    set_: Overrides = None,
) -> None:
    """Import weights trained elsewhere into a run directory; runs no code from them.

    Prints what went where; the last line on stdout is the run directory.

    Example: ganzoo import netG.pth --out runs/imported
    """
    from ganzoo import api

    echo_path(api.import_run(source, out, set_ or (), importer=importer, report=show).path)


def show(weights: ImportedWeights) -> None:
    """Print the table of what went where, then what was assumed."""
    rows = [
        (row.source, "×".join(map(str, row.shape)) or "scalar", row.target, row.change) for row in weights.assignments
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for name, shape, target, change in rows:
        line = f"{name:<{widths[0]}}  {shape:<{widths[1]}}  →  {target:<{widths[2]}}  {change}"
        echo(line.rstrip())
    for note in weights.notes:
        echo(f"note: {note}", err=True)
