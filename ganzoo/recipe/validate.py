"""Check that the parts of a recipe fit each other, and collect warnings about one that is valid."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from pydantic import ValidationError, create_model

from ganzoo.components.metric import PossibleScore, possible_scores
from ganzoo.components.options import (
    ROLES,
    ComponentConfig,
    DatasetConfig,
    GeneratorConfig,
    ImageSize,
    PenaltyConfig,
    TrainerConfig,
    sides,
)
from ganzoo.components.spec import DatasetInfo, ImageSpec, LabelSpec, VectorSpec
from ganzoo.errors import Problem
from ganzoo.recipe.messages import explain
from ganzoo.recipe.model import EvaluationOptions, Recipe
from ganzoo.registry.kinds import KINDS
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.registry.registry import Registries
from ganzoo.text import LARGEST_INT, did_you_mean

SINGLE_QUOTES = r"write a path as 'D:\new' between single quotes, or as D:/new"


def unusable_values(value: Any, path: str = "") -> Iterator[Problem]:
    """Yield the values in tables that no option takes, whatever its type."""
    match value:
        case Mapping() | list():
            for key, each in value.items() if isinstance(value, Mapping) else enumerate(value):
                yield from unusable_values(each, f"{path}.{key}" if path else str(key))
        case int() if abs(value) > LARGEST_INT:
            yield Problem(path, f"is a number beyond 2⁶³ − 1, the largest of TOML: take one up to {LARGEST_INT}")
        case float() if abs(value) > LARGEST_INT:  # products of larger ones are beyond fp32, 3e38
            yield Problem(path, f"is {value}, beyond ±9.2e18: take a number nearer to 0")
        case str() if control := next((each for each in value if not each.isprintable() and each < "\xa0"), ""):
            yield Problem(path, f"has the control character {control!r}, as an escape gives it: {SINGLE_QUOTES}")


def unmet_conditions(recipe: Recipe, manager: PluginManager) -> list[Problem]:
    """List what is wrong with valid tables together.

    Args:
        recipe: need not be whole: what is missing, or None in a list, is left out.
        manager: the plugins.
    """
    return [*_unfit_parts(recipe, manager), *_unmet_wishes(recipe)]


def _unfit_parts(recipe: Recipe, manager: PluginManager) -> list[Problem]:
    """List the parts that cannot work on samples of the dataset's shape, or without labels or a condition."""
    dataset: DatasetConfig | None = getattr(recipe, "dataset", None)
    if dataset is None:
        return []
    info = DatasetInfo(dataset.sample_spec(), condition=dataset.condition_spec())
    problems = unfit_evaluation(recipe.evaluation, dataset, manager)
    for path, config in _parts(recipe):
        if path not in ROLES and not path.startswith("networks."):
            problems += _unfit(path, config, info, dataset)
    trainer: TrainerConfig | None = getattr(recipe, "trainer", None)
    networks: dict[str, ComponentConfig] = {}
    for role, kind in (trainer.roles if trainer else ROLES).items():
        network = getattr(recipe.networks, role, None) or getattr(recipe, kind, None)
        try:
            of_role = trainer.info_for(role, info) if trainer else info
        except ValueError as error:
            return [*problems, Problem("trainer", f'"{recipe.trainer.name}" {error}')]
        if network is not None:
            unfit = _unfit(role if role in ROLES else f"networks.{role}", network, of_role, dataset)
            networks[role] = network
            missing = recipe.missing_table(role) if trainer else ""
            problems += [replace(each, message=each.message + missing) for each in unfit]
    others_are_right = hasattr(recipe, "loss") and None not in recipe.penalties
    if trainer is not None and networks.keys() == trainer.roles.keys() and others_are_right:
        parts = {path: part for path, part in _parts(recipe) if not path.startswith("networks.")} | networks
        for path, part in parts.items():
            if isinstance(part, TrainerConfig | PenaltyConfig):
                try:
                    part.check_parts(parts)
                except ValueError as error:
                    name = f'"{part.name}" ' if isinstance(part, PenaltyConfig) else ""  # trainers tell theirs
                    problems.append(Problem(path, f"{name}{error}"))
    return problems


def _unfit(path: str, config: ComponentConfig, info: DatasetInfo, dataset: DatasetConfig) -> Iterator[Problem]:
    try:
        config.check_info(info)
    except ValueError as error:
        yield Problem(path, f'"{config.name}" {error}')
    has = {"labels": dataset.has_labels is not False, "condition": info.condition is not None}
    for needed in sorted(each for each in config.uses if not has[each]):
        needs = needed.replace("condition", "a condition")
        lacking = f'the dataset "{dataset.name}" has none as it is set up'
        yield Problem(path, f'"{config.name}" needs {needs}, and {lacking}')
    if isinstance(config, GeneratorConfig) and not config.latent_dim and "condition" not in config.uses:
        yield Problem(
            f"{path}.latent_dim", f'is 0, and "{config.name}" takes no condition: all samples would be the same'
        )


def _unmet_wishes(recipe: Recipe) -> list[Problem]:
    """List the options that another makes impossible or without effect."""
    problems: list[Problem] = []
    if recipe.samples.bands is not None and getattr(recipe, "dataset", None) is not None:
        spec = recipe.dataset.sample_spec()
        if not isinstance(spec, ImageSpec):
            problems.append(Problem("samples.bands", "are of images, and the samples are vectors: leave out"))
        elif max(recipe.samples.bands) >= spec.channels:
            known = f"numbered from 0 to {spec.channels - 1}"
            problems.append(Problem("samples.bands", f"has {max(recipe.samples.bands)}; the channels are {known}"))
    for name, tracker in recipe.tracking.chosen().items():
        problems += [replace(each, path=f"tracking.{name}.{each.path}") for each in tracker.check_recipe(recipe)]
    twice = [f'"{part.name}" ({path})' for path, part in _parts(recipe) if part.differentiates_twice]
    if recipe.device.compile and twice:
        needs = f"is true, but torch.compile has no second derivatives for {', '.join(twice)}: set it to false"
        problems.append(Problem("device.compile", needs))
    return problems


def unfit_target(recipe: Recipe, manager: PluginManager) -> Iterator[Problem]:
    """Yield why `run.target` cannot be reached: no such score is taken while training, or others of it are better.

    Where there is one, this imports the metrics and extractors.
    """
    target = recipe.run.target
    if target is None:
        return
    if recipe.evaluation.every is None:
        yield Problem("run.target", "needs scores while training: set evaluation.every, in steps")
    scores = scores_taken(recipe, manager.registries)
    direction = scores[target.score].direction if target.score in scores else None
    if direction in (None, "none"):
        yield from _unfit_score(target.score, "run.target.score", scores, manager)
    elif (direction == "lower") != (target.below is not None):
        given, wanted = ("above", "below") if direction == "lower" else ("below", "above")
        yield Problem(
            f"run.target.{given}", f'{direction} values of "{target.score}" are better: give {wanted} in its place'
        )


def untaken_score(name: str, path: str, recipe: Recipe, manager: PluginManager) -> Iterator[Problem]:
    """Yield why no score of this name is taken while training; this imports the metrics and extractors."""
    if recipe.evaluation.every is None:
        yield Problem(path, "no scores are taken in training: set evaluation.every")
    elif name not in (scores := scores_taken(recipe, manager.registries)):
        yield from _unfit_score(name, path, scores, manager)


def lint(recipe: Recipe, manager: PluginManager) -> list[Problem]:
    """Return warnings about a valid recipe that may not do what it is meant to: of its best score, then the plugins'.

    Those of the plugin registered last come first; a plugin's lint that fails becomes a warning.
    """
    warnings = [*_unfit_best(recipe, manager)]  # no error: an observer may take a score of its own
    for implementation in reversed(manager.pluggy.hook.lint_recipe.get_hookimpls()):
        try:
            found: Any = implementation.function(*([recipe] if implementation.argnames else []))
            several = [found] if isinstance(found, str | Problem) else found or []
            warnings += [each if isinstance(each, Problem) else Problem("", str(each)) for each in several]
        except Exception as error:
            text = f"the lint of the plugin {implementation.plugin_name} failed: {type(error).__name__}: {error}"
            warnings.append(Problem("", text))
    return warnings


def _unfit_best(recipe: Recipe, manager: PluginManager) -> Iterator[Problem]:
    """Yield why no checkpoint is kept by `checkpoint.best`, unless an observer takes that score.

    Where it names one, and scores are taken, this imports the metrics and extractors.
    """
    name = recipe.checkpoint.best
    if name is not None and recipe.evaluation.every is None:
        yield Problem("checkpoint.best", "needs scores while training: set evaluation.every, in steps")
    elif name is not None:
        yield from _unfit_score(name, "checkpoint.best", scores_taken(recipe, manager.registries), manager)


def _unfit_score(
    name: str, path: str, scores: Mapping[str, PossibleScore], manager: PluginManager
) -> Iterator[Problem]:
    """Yield why nothing can go by a score: it is not among those taken, or none of its values is better."""
    if name not in scores:
        usual = manager.registries.metrics.kind.usual
        known = ", ".join(sorted(scores)) or "; ".join(["none", *manager.lacking(usual)])
        yield Problem(path, f'[evaluation] takes no score "{name}"{did_you_mean(name, scores)}; it takes: {known}')
    elif scores[name].direction == "none":
        yield Problem(path, f'no values of "{name}" are better than others: name another score')


def scores_taken(recipe: Recipe, registries: Registries) -> dict[str, PossibleScore]:
    """Return each score that the recipe's [evaluation] may take, by its name.

    Whether the dataset has classes is known when it is opened, so the extractors for either case count.
    """
    dataset, options = recipe.dataset, recipe.evaluation
    info = DatasetInfo(dataset.sample_spec())
    infos = [info, replace(info, labels=LabelSpec("classes", ("0", "1")))][: 1 if dataset.has_labels is False else 2]
    metrics = options.metrics or registries.metrics.chosen(lambda each: each.by_default)
    extractors = [] if isinstance(info.samples, VectorSpec) else options.extractors
    if not extractors and isinstance(info.samples, ImageSpec):
        extractors = registries.extractors.chosen(lambda each: any(map(each.default_for, infos)))
    return possible_scores(
        [registries.metrics[each.name].load() for each in metrics],
        "points" if isinstance(info.samples, VectorSpec) else "pixels",
        {each.label: registries.extractors[each.name].load() for each in extractors},
    )


def _parts(recipe: Recipe) -> Iterator[tuple[str, ComponentConfig]]:
    for kind in KINDS:
        with suppress(AttributeError):  # a table that is missing
            yield from ((path, config) for path, config in kind.configs(recipe).items() if config is not None)


FIXED_BY_NETWORKS = ("name", "image_size", "channels")


def other_images(
    dataset: DatasetConfig, changes: Mapping[str, Any], image_size: ImageSize | None = None
) -> DatasetConfig:
    """Return the options of a dataset with some of them changed.

    Raises:
        ValidationError: a changed option is unknown or has a wrong value.
    """
    return type(dataset).model_validate_json(json.dumps(_with(dataset, changes, image_size)), strict=True)


def _with(dataset: DatasetConfig, changes: Mapping[str, Any], image_size: ImageSize | None) -> dict[str, Any]:
    size = {"image_size": image_size} if image_size else {}
    return {**dataset.model_dump(mode="json", exclude_none=True, by_alias=True), **changes, **size}


def _unfit_images(
    table: str, options: EvaluationOptions, dataset: DatasetConfig, manager: PluginManager
) -> Iterator[Problem]:
    """Yield what is wrong with a table of [evaluation] whose options go over the dataset's."""
    changes = dict(getattr(options, table))
    for key in [key for key in changes if key in FIXED_BY_NETWORKS]:
        yield Problem(f"evaluation.{table}.{key}", "must be as in [dataset]: leave out")
        del changes[key]
    inner = create_model("Images", **{table: (type(dataset), ...)})  # type: ignore[call-overload]
    model = create_model("Tables", evaluation=(inner, ...))
    tables = {"evaluation": {table: _with(dataset, changes, options.image_size)}}
    try:
        model.model_validate_json(json.dumps(tables), strict=True)
    except ValidationError as error:
        yield from explain(error, tables, model, manager)


def unfit_evaluation(options: EvaluationOptions, dataset: DatasetConfig, manager: PluginManager) -> list[Problem]:
    """List the problems with the images and metrics that [evaluation] names."""
    problems: list[Problem] = []
    spec = dataset.sample_spec()
    if options.image_size is not None:
        if not isinstance(spec, ImageSpec):
            return [Problem("evaluation.image_size", "is for images, and the samples are vectors: leave out")]
        height, width = sides(options.image_size)
        if height * spec.width != width * spec.height:
            wanted = f"[{height}, {max(1, round(height * spec.width / spec.height))}]"
            told = f"must have the proportions of the images, which are {spec}: such as {wanted}"
            return [Problem("evaluation.image_size", told)]
    for table in ("real", "held_out"):
        if getattr(options, table) or options.image_size:
            problems += _unfit_images(table, options, dataset, manager)
    names = [metric.name for metric in options.metrics]
    for index, name in enumerate(names):
        if name in names[:index]:
            problems.append(Problem(f"evaluation.metrics.{index}", f'"{name}" is there before: leave one out'))
    return problems
