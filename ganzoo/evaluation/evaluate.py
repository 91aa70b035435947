"""Score the samples of a trained run, or a folder of images, as the [evaluation] of a recipe says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ganzoo.components.observer import Tracker
from ganzoo.components.options import ImageDatasetConfig, ImageSize
from ganzoo.data.packed_dataset import PackedDataset
from ganzoo.errors import DataError, OutputError, RequestError, first_line
from ganzoo.evaluation.evaluation_log import Evaluated, add_evaluations, json_of
from ganzoo.evaluation.evaluator import Evaluator
from ganzoo.recipe.load import Source, load_recipe, parse_recipe
from ganzoo.recipe.model import Recipe
from ganzoo.recipe.overrides import Overrides, limited_overrides
from ganzoo.registry.plugin_manager import PluginManager, plugin_manager
from ganzoo.runtime.device import choose_compute
from ganzoo.runtime.random_state import kept_random_state
from ganzoo.sampling.trained_run import TrainedRun, Weights, is_of_sampling
from ganzoo.storage.disk import check_writable, write_text
from ganzoo.storage.manifest import is_export
from ganzoo.storage.run_directory import RunDirectory, run_lock
from ganzoo.terminal import warn
from ganzoo.training.build import open_dataset

ONLY = "how scores are taken can be set here, evaluation.…, dataset.…, device.accelerator"


def is_of_real_images(key: str) -> bool:
    """Return whether an override is of how images are compared with the dataset's."""
    return re.match(r"(evaluation|dataset)(\.|$)|device\.accelerator$", key) is not None


def _is_of_scoring(key: str) -> bool:
    made = is_of_sampling(key) or key == "samples.batch_norm"
    return made or is_of_real_images(key) or key.startswith("tracking.")


def evaluate(
    run: TrainedRun,
    samples: int | None = None,
    *,
    seed: int | None = None,
    seeds: int = 1,
    weights: Weights | None = None,
    image_size: ImageSize | None = None,
    extractors: Sequence[str] = (),
    overrides: Overrides = (),
    out: str | Path | None = None,
) -> Evaluated:
    """Score samples against the dataset as the recipe's [evaluation] says, and add the result to `evaluation.json`.

    Where that cannot be written, as in a run directory that may only be read, a warning says so. Else trackers that
    tracked the run get the scores too.

    Args:
        run: the trained run, whose dataset must be available.
        samples: number of samples; this and the following, left out: the recipe's.
        seed: of their latents.
        seeds: number of consecutive seeds to evaluate, for the spread of the scores.
        weights: "ema", "raw", or "auto" for ema where there is one.
        image_size: resize samples and real images to this size first, to compare runs of different sizes.
        extractors: names of the extractors to use, with their default options.
        overrides: changes to how scores are taken, such as `{"dataset.root": "/data"}` where the images have moved: to
            the recipe's dataset, evaluation, tracking, `samples.batch_norm`, `device.accelerator` and the generator's
            sampling.
        out: a JSON file that gets the result in place of the run's `evaluation.json`.

    Raises:
        DataError: the dataset or an extractor's weights are missing; the text says which to put where.
        RecipeError: one of these options is invalid.
        RequestError: an override is of something that the scores do not depend on, or `out` can never be written.
        OutputError: `out` cannot be written.
    """
    if seeds < 1:
        raise RequestError(f"seeds is {seeds}: give 1 or more")
    out = None if out is None else Path(out)
    if out is not None:
        check_writable(out)
    wanted = {"samples": samples, "seed": seed, "weights": weights, "image_size": image_size}
    changes: dict[str, Any] = {f"evaluation.{key}": value for key, value in wanted.items() if value is not None}
    if extractors:
        changes["evaluation.extractors"] = [{"name": name} for name in extractors]
    only = f"{ONLY}, tracking.…, samples.batch_norm and generator.sampling.…"
    pairs = [*limited_overrides(overrides, _is_of_scoring, only), *changes.items()]
    tables, foreign = run.recipe.to_dict(), run.recipe.foreign
    tables["run"].pop("target", None)  # was for the scores of training
    recipe = parse_recipe(tables, run.manager, pairs, source=str(run.path), foreign=foreign)
    options = recipe.evaluation
    run = run.sampled_with([pair for pair in pairs if is_of_sampling(pair[0])])
    if any(key == "device.accelerator" for key, _ in pairs):
        run = replace(run, compute=choose_compute(recipe.device.model_copy(update={"precision": "fp32"})))
    generator = run.generator_with(options.weights)
    evaluator = Evaluator(recipe, run.manager, run.compute.device, run.network, shows_progress=True)
    found = [
        evaluator.evaluate(
            generator, weights=run.weights_name(options.weights), run=str(run.path), step=run.checkpoint.step, seed=each
        )
        for each in range(options.seed, options.seed + seeds)
    ]
    evaluated, new = Evaluated(found), [each for evaluations in found for each in evaluations]
    if out is not None:
        write_text(out, json_of(new))
        return evaluated
    try:
        add_evaluations(run.directory, new)
    except OutputError as error:
        warn(f"the scores are not kept: {error}; to keep them elsewhere, give --out scores.json (in Python out=…)")
    else:
        of_network = "" if run.network == "generator" else f"{run.network}/"
        send_scores(run, recipe, {of_network + name: value for name, value in evaluated.scores.items()})
    return evaluated


def send_scores(run: TrainedRun, recipe: Recipe, scores: Mapping[str, float]) -> None:
    """Hand scores of a run to its trackers that take them; a failure, and that it is being trained, are warned of."""
    for name, config in recipe.tracking.chosen().items():
        if not config.enabled:
            continue
        try:
            tracker = run.manager.registries.trackers[name].load()(config)
            if type(tracker).send_scores is not Tracker.send_scores:
                with run_lock(run.directory):
                    tracker.send_scores(run.directory, recipe, run.checkpoint.step, scores)
        except Exception as error:  # the scores are kept, whatever becomes of somebody's library
            warn(f"tracking.{name}: the scores do not get there: {first_line(error)}")


@kept_random_state()
def evaluate_images(
    folder: str | Path,
    against: Source,
    overrides: Overrides = (),
    *,
    out: str | Path | None = None,
    trust_plugins: bool | None = None,
    manager: PluginManager | None = None,
) -> Evaluated:
    """Score a folder of images, another program's say, against the dataset of a recipe or a run.

    They are cropped and resized as the dataset's are. Nothing is stored, unless `out` is given. Plugin files that a
    recipe names are imported, which executes them.

    Args:
        folder: with image files, also in folders within.
        against: a recipe, its text, tables or file; or a run directory or an export.
        overrides: changes to how scores are taken, such as `{"evaluation.metrics": ["frechet"]}`: to the recipe's
            evaluation, dataset, `device.accelerator` and plugins.
        out: a JSON file that gets the result.
        trust_plugins: whether plugin files that lie in the run directory may be imported; default: as
            `GANZOO_TRUST_PLUGINS` says, which is no by default.
        manager: the plugins to use; default: those installed.

    Raises:
        GanzooError: an image cannot be read, the dataset or an extractor's weights are missing, or an override is of
            something that the scores do not depend on.
    """
    overrides = limited_overrides(
        overrides, lambda key: is_of_real_images(key) or key.startswith("plugins."), f"{ONLY} and plugins.…"
    )
    manager = manager or plugin_manager()
    if isinstance(against, str | Path) and "\n" not in str(against) and Path(against).is_dir():
        directory = RunDirectory(Path(against)) if is_export(Path(against)) else RunDirectory.open(against)
        recipe, manager = directory.load_recipe(manager, overrides, trust=trust_plugins)
    else:
        recipe, manager = load_recipe(against, manager, overrides)
    device = choose_compute(recipe.device.model_copy(update={"precision": "fp32"})).device
    if out is not None:
        check_writable(Path(out))
    dataset = recipe.dataset
    if not isinstance(dataset, ImageDatasetConfig):
        raise RequestError(f"--images {folder}: the dataset {dataset.name} is of vectors, not of images")
    images = _open_folder(Path(folder), dataset, recipe, manager)
    if dataset.value_range is not None:
        warn(
            f"--images {folder}: dataset.value_range is for the dataset's own files; these images must use the whole "
            "range of their 8 or 16 bits, as those of `ganzoo sample` do"
        )
    evaluator = Evaluator(recipe, manager, device, shows_progress=True)
    evaluated = Evaluated([evaluator.evaluate_images(images, str(folder), dataset.resize)])
    if out is not None:
        write_text(Path(out), json_of(evaluated.evaluations[0]))
    return evaluated


def _open_folder(folder: Path, dataset: ImageDatasetConfig, recipe: Recipe, manager: PluginManager) -> PackedDataset:
    """Return the images of a folder, cropped and resized as those of the recipe's dataset.

    Raises:
        DataError: an image cannot be read, or there are too few.
        RequestError: no installed dataset reads a folder.
    """
    registry = manager.registries.datasets
    folders = registry.chosen(lambda options: options.reads_any_folder)
    if not folders:
        cure = "; ".join(manager.lacking(registry.kind.usual))
        raise RequestError(f"--images {folder}: no installed dataset reads any folder of images: {cure}")
    shared = ("channels", "crop", "resize_first", "resize", "background", "depth", "max_pixels", "max_bad_fraction")
    shape = {name: getattr(dataset, name) for name in shared}
    size = recipe.evaluation.image_size or dataset.image_size
    changes = {"root": str(folder), "image_size": size, **shape}
    options = type(folders[0]).model_validate({"name": folders[0].name, **changes})
    try:
        images = open_dataset(recipe.model_copy(update={"dataset": options}), manager)
    except DataError as error:  # which takes the folder for the recipe's
        told = str(error).replace("set dataset.root to", "give --images")
        raise DataError(f"--images {folder}: {told}") from error
    if images.skipped:
        warn(f"--images {folder}: images that cannot be used, left out: {len(images.skipped)}")
    if len(images) < 2:
        raise DataError(f"--images {folder}: has one image, and scores need two or more")
    return images
