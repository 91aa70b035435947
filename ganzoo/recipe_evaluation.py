"""The tables of a recipe that say how a run is judged as it goes on: `[evaluation]` and `[watchdog]`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError, create_model

from ganzoo.components.component import DatasetConfig, ExtractorConfig, Options
from ganzoo.errors import Problem
from ganzoo.registry import Registries

Metric = Literal[
    "frechet",
    "kernel",
    "inception_score",
    "precision_recall",
    "density_coverage",
    "classes",
    "memorisation",
    "diversity",
]
METRICS: tuple[Metric, ...] = Metric.__args__  # type: ignore[attr-defined]

_OF_THE_NETWORKS = ("name", "image_size", "channels")


class EvaluationOptions(Options):
    """How samples are scored: by `ganzoo evaluate`, and while training where `every` is set."""

    every: PositiveInt | None = None
    """Steps between two evaluations while training, and one at the end; left out: none while training."""
    samples: int = Field(default=10_000, ge=2)
    """Images that are made and scored."""
    extractors: tuple[ExtractorConfig, ...] = ()
    """Networks whose features are compared, one `[[evaluation.extractors]]` table each; left out: `classifier` for a
    dataset with labels, else `inception`."""
    metrics: tuple[Metric, ...] = METRICS
    """What to score: Fréchet and kernel distance (FID and KID where the extractor is Inception), and so on."""
    real: dict[str, Any] = Field(default_factory=dict)
    """Options of the dataset for the real images to compare with, such as `split = "test"`; left out: those that are
    trained on."""
    real_images: PositiveInt | None = Field(default=50_000, ge=2)
    """How many of them at most, always the same."""
    held_out: dict[str, Any] = Field(default_factory=dict)
    """Options of the dataset for images that are not trained on, which tell copies from samples that are merely
    good; left out: each training image against all others."""
    image_size: PositiveInt | None = None
    """Bring samples and real images to this size first, so that runs of different sizes compare; left out: the run's
    own."""
    weights: Literal["auto", "ema", "raw"] = "auto"
    """auto: ema where the trainer keeps one."""
    seed: NonNegativeInt = 0
    """Of the latents, and of all else that is random; training does not see it."""


class WatchdogOptions(Options):
    """Tells of a run that goes wrong, with the remedy to try; changes nothing, unless it is to `stop`."""

    enabled: bool = True
    """Watch at all."""
    stop: bool = False
    """End the run at the first alarm, as failed; the checkpoints stay."""
    patience: PositiveInt = 5
    """Log points in a row at which something must be wrong; grids and evaluations: two in a row."""
    warm_up: float = Field(default=0.05, ge=0, lt=1)
    """Share of the run at its beginning during which nothing is judged; its first 50 steps in any case."""
    discriminator_wins: float = Field(default=0.99, gt=0.5, lt=1)
    """Alarm where it says this of real images, and one minus this of generated ones, or surer."""
    least_gradient: float = Field(default=1e-3, ge=0)
    """Alarm where the generator's gradient is shorter than this share of what it was at half of the log points."""
    least_diversity: float = Field(default=0.1, ge=0, lt=1)
    """Alarm where samples differ from each other by less than this share of how real images do by half of the run, or
    of how they once did."""
    least_coverage: float = Field(default=0.5, ge=0, le=1)
    """Alarm where fewer than this share of the classes are covered by half of the run, or of those that once were
    covered; takes evaluations with a classifier."""


def evaluation_model(registries: Registries, names: Collection[str] | None = None) -> type[EvaluationOptions]:
    """The model of [evaluation] whose extractors are those that are registered, or those of them in `names`."""
    field = EvaluationOptions.model_fields["extractors"]
    registered: Any = tuple[registries.extractors.options_type(names), ...]  # type: ignore[misc]
    return create_model(
        "EvaluationOptions",
        __base__=EvaluationOptions,
        __doc__=EvaluationOptions.__doc__,
        extractors=(registered, field.default),
    )


def other_images(dataset: DatasetConfig, changes: Mapping[str, Any], image_size: int | None = None) -> DatasetConfig:
    """The options of a dataset with some of them changed.

    Raises:
        ValueError: they are not options of this dataset, or not of such values.
    """
    taken = [key for key in changes if key in _OF_THE_NETWORKS]
    if taken:
        raise ValueError(f"{', '.join(taken)} must be as in [dataset]: leave out")
    size = {"image_size": image_size} if image_size else {}
    options = {**dataset.model_dump(mode="json", exclude_none=True), **changes, **size}
    try:
        return type(dataset).model_validate(options)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise ValueError(f"{key}: {first['msg'][:1].lower()}{first['msg'][1:]}") from None


def unfit_images(options: EvaluationOptions, dataset: DatasetConfig) -> list[Problem]:
    """What is wrong with the images that [evaluation] asks for."""
    problems = []
    for table in ("real", "held_out"):
        try:
            other_images(dataset, getattr(options, table), options.image_size)
        except ValueError as error:
            problems.append(Problem(f"evaluation.{table}", str(error)))
    return problems
