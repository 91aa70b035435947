"""Base class of metrics, which score samples."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast, get_args

from ganzoo.components.options import MetricConfig
from ganzoo.errors import PluginError
from ganzoo.text import did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

    from ganzoo.components.dataset import StoredImages
    from ganzoo.components.extractor import Extractor

Source = Literal["features", "logits", "class_logits", "pixels", "points"]
"""What a metric is computed on: an extractor's features or logits, its logits over the classes of the dataset; or the
samples themselves, images ("pixels") or vectors ("points")."""

Direction = Literal["lower", "higher", "none"]
"""Which values of a score are better; "none": neither, so that it ranks nothing."""

_SOURCES = ", ".join(get_args(Source))


@dataclass(frozen=True)
class MetricInputs:
    """The real images and the samples that a metric compares, as one source gives them.

    Attributes:
        source: what `real` and `fake` are.
        real: features (N, D), logits (N, K), images (N, C, H, W) in [−1, 1] or vectors (N, D).
        fake: the same of the samples.
        training: the images that are trained on.
        held_out: images of the same kind that are not trained on; None if the recipe names none.
        mirrored: whether training mirrors images at random.
        targets: for samples themselves, the real samples that their conditions belong to; None if these belong to none.
        labels: (N,) or (N, K) that the samples were made with; None for a generator without labels.
        details: a metric may add findings here that are not scores; they are written beside them.
    """

    source: Source
    real: Tensor
    fake: Tensor
    training: StoredImages
    held_out: StoredImages | None = None
    mirrored: bool = False
    targets: Tensor | None = None
    labels: Tensor | None = None
    details: dict[str, Any] = field(default_factory=dict)


class Metric(ABC):
    """Scores samples, most often by comparing them with real images.

    Args:
        config: the options of this metric.
    """

    Config: ClassVar[type[MetricConfig]] = MetricConfig

    needs: ClassVar[frozenset[Source]] = cast("Any", abstractmethod(lambda: None))  # so that a class must have it
    """What it is computed on, once for each source that is available."""
    directions: ClassVar[Mapping[str, Direction]] = cast("Any", abstractmethod(lambda: None))
    """Each value by its name, and whether lower or higher is better. On features or logits, the name of the score ends
    in the extractor's."""

    ideals: ClassVar[Mapping[str, float]] = {}
    """The value that real images would have, for values where neither lower nor higher is better."""

    class_count: ClassVar[str] = ""
    """Name of the value that counts the dataset's classes among the samples, if there is one: the watchdog raises
    `classes_missing` from it."""

    libraries: ClassVar[tuple[str, ...]] = ()
    """Distributions beside torch on whose version the values depend; the protocol card notes it."""

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Check `needs` and `directions` where a class has them: a source that does not exist would never be scored.

        Raises:
            PluginError: one of them has an unknown value.
        """
        super().__init_subclass__(**arguments)
        if "needs" in vars(cls):
            if not isinstance(cls.needs, frozenset | set) or not cls.needs:
                raise PluginError(f"{cls.__name__}.needs is {cls.needs!r}: give a set of one or more of {_SOURCES}")
            for source in sorted(map(str, cls.needs - {*get_args(Source)})):
                close = did_you_mean(source, get_args(Source))
                raise PluginError(f'{cls.__name__}.needs has "{source}"{close}; there are: {_SOURCES}')
        for value, direction in vars(cls).get("directions", {}).items():
            if direction not in get_args(Direction):
                raise PluginError(
                    f'{cls.__name__}.directions has "{direction}" for {value}: take one of '
                    f"{', '.join(get_args(Direction))}"
                )

    def __init__(self, config: MetricConfig) -> None:
        self.config = config

    @abstractmethod
    def compute(self, inputs: MetricInputs) -> Mapping[str, float]:
        """Return the values by name; randomness comes from torch's global generator, which is seeded before."""

    def caveat(self, inputs: MetricInputs) -> str:
        """Return why the values are not reliable here, such as too few samples; empty if they are."""
        return ""

    def settings(self, inputs: MetricInputs) -> Mapping[str, int | float | str]:
        """Return what the values depend on, for the protocol card: by default the options, lists of them as text."""
        options = self.config.model_dump(mode="json", exclude={"name"}, exclude_none=True)
        return {name: json.dumps(value) if isinstance(value, list | dict) else value for name, value in options.items()}


def score_name(value: str, source: Source, label: str, extractor: Extractor | type[Extractor]) -> str:
    """Return the name of the score that a metric's value is, computed on what an extractor of this label gives."""
    if source == "class_logits":
        return value
    return extractor.score_names.get(f"{value}_{label}", f"{value}_{label}")


@dataclass(frozen=True)
class PossibleScore:
    """A score that a metric may give.

    Attributes:
        direction: which values are better.
        counts_classes: whether it is the number of the dataset's classes among the samples.
    """

    direction: Direction
    counts_classes: bool


def possible_scores(
    metrics: Iterable[type[Metric]], own: Source, extractors: Mapping[str, type[Extractor]]
) -> dict[str, PossibleScore]:
    """Return the scores that metrics may give, by their names.

    Args:
        metrics: to be computed.
        own: what samples are themselves, "pixels" or "points".
        extractors: to be computed on, by their labels.
    """
    found: dict[str, PossibleScore] = {}
    for metric in metrics:
        for value, direction in metric.directions.items():
            score = PossibleScore(direction, value == metric.class_count)
            if own in metric.needs:
                found[value] = score
            for source in sorted(metric.needs - {"pixels", "points"}):
                found |= {score_name(value, source, *each): score for each in extractors.items()}
    return found
