"""Options whose value changes over a run, without torch."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, Self, TypeVar, Union

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    SerializationInfo,
    Tag,
    WrapValidator,
    model_validator,
)

T = TypeVar("T")
NUMBER_TAG, SCHEDULE_TAG = "(number)", "(schedule)"
"""Where pydantic's errors name the form of an option that is a number or a schedule."""
UNITS = {"": 1, "k": 1e3, "M": 1e6}


@dataclass(frozen=True)
class Progress:
    """The progress of a run: `step` of `total_steps` have been taken, each with `images_per_step` real samples."""

    step: int
    total_steps: int
    images_per_step: int

    @property
    def images_seen(self) -> int:
        """Real samples so far, over all processes."""
        return self.step * self.images_per_step

    def steps(self, moment: float | str) -> float:
        """Return a moment of the run in steps: a share of it, or a text such as "20M images" or "10k steps"."""
        count, what = _counted(moment)
        return count * self.total_steps if not what else count / self.images_per_step if what == "images" else count


def _counted(moment: float | str) -> tuple[float, str]:
    """Return the number in a moment and its unit: "images", "steps", or "" for a share of the run."""
    if not isinstance(moment, str):
        return moment, ""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kM]?) (images|steps)", moment)
    if found is None:
        raise ValueError(f'is "{moment}": give a share of the run such as 0.5, "20M images" or "10k steps"')
    return float(found[1]) * UNITS[found[2]], found[3]


def _check_moment(moment: Any) -> Any:
    if isinstance(moment, str):
        _counted(moment)
    elif isinstance(moment, bool) or not isinstance(moment, int | float) or not 0 <= moment <= 1:
        raise ValueError(f'is {moment}: give a share of the run from 0 to 1, "20M images" or "10k steps"')
    return moment


Moment = Annotated[Any, AfterValidator(_check_moment), Field(json_schema_extra={"type": ["number", "string"]})]


def _zero(schema: dict[str, Any]) -> None:
    if schema.get("exclusiveMinimum") == 0:
        schema["minimum"] = schema.pop("exclusiveMinimum")


ZERO = WrapValidator(lambda value, check: 0.0 if value == 0 and not isinstance(value, bool) else check(value))
"""Lets a number that must be positive, such as a learning rate, start from 0 or end there."""


class Schedule(BaseModel, Generic[T]):
    """A number that goes from one value to another over a run: `{ from = 2e-4, to = 5e-5, shape = "cosine" }`."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        defer_build=True,
        allow_inf_nan=False,
        serialize_by_alias=True,
        validate_by_name=True,
    )

    from_: Annotated[T, ZERO] = Field(alias="from", description="Value up to `start`.", json_schema_extra=_zero)
    to: Annotated[T, ZERO] = Field(description="Value from `until` on.", json_schema_extra=_zero)
    shape: Literal["linear", "cosine", "step"] = Field(
        default="linear", description="A straight line, half a cosine wave, or one step at `until`."
    )
    start: Moment = Field(
        default=0.0, description='When it leaves the first value: a share of the run, "20M images" or "10k steps".'
    )
    until: Moment = Field(default=1.0, description="When it reaches the second value.")
    warmup: Moment = Field(
        default=0.0, description="Until then the value is also multiplied by a factor that rises from 0 to 1."
    )

    @model_validator(mode="after")
    def _until_after_start(self) -> Self:
        (start, unit), (until, other) = _counted(self.start), _counted(self.until)
        if unit == other and self._ends_before(start, until):
            told = f"start = {json.dumps(self.start)} to until = {json.dumps(self.until)}"
            raise ValueError(
                f'goes from {told}, which is not after it: swap them, or take shape = "step" without start'
            )
        return self

    def _ends_before(self, start: float, until: float) -> bool:
        return until < start or (until == start and self.shape != "step")

    def jumps(self, at: Progress) -> bool:
        """Return whether, in a run of this length, `until` does not come after `start`, so that the value jumps."""
        start, until = at.steps(self.start), at.steps(self.until)
        return until < at.total_steps and self._ends_before(start, until)

    def value(self, at: Progress) -> float:
        """Return the value at a step of a run."""
        first, last = float(self.from_), float(self.to)  # type: ignore[arg-type]
        start, until, warmup = at.steps(self.start), at.steps(self.until), at.steps(self.warmup)
        if at.step >= until:
            value = last
        elif at.step <= start or self.shape == "step":
            value = first
        else:
            left = (until - at.step) / (until - start)
            if self.shape == "cosine":
                left = (1 - math.cos(math.pi * left)) / 2
            value = last + (first - last) * left
        return value * min(1.0, (at.step + 1) / warmup) if warmup else value


def _serialized(schedule: Schedule[Any], info: SerializationInfo) -> dict[str, Any]:
    return schedule.model_dump(mode=info.mode, exclude_none=info.exclude_none, exclude_defaults=info.exclude_defaults)


SERIALIZED = PlainSerializer(_serialized)
"""Serializes a schedule by its own class; pydantic would warn of a default that is a plain `Schedule`.

`SerializeAsAny` would do, but for pydantic 2.12, which does not build the plain class for it."""

if TYPE_CHECKING:
    Scheduled = Union[T, Schedule[T]]  # noqa: UP007
else:

    class Scheduled:
        """An option that is a number or a schedule of such numbers: `lr: Scheduled[PositiveFloat] = 2e-4`.

        Its default may be a schedule too: `target: Scheduled[float] = Schedule(from_=0.5, to=0.0)`.

        For penalties, which read it by `self.option(name)`, trainers, which read it by
        `value_at(self.config.name, self.progress)`, and optimizers, in whose groups it is set. No other component knows
        the step.
        """

        def __class_getitem__(cls, number: Any) -> Any:
            """Return the annotation for pydantic, which then names one form in its errors and not both."""
            return Annotated[
                Annotated[number, Tag(NUMBER_TAG)] | Annotated[Schedule[number], SERIALIZED, Tag(SCHEDULE_TAG)],
                Discriminator(lambda value: SCHEDULE_TAG if isinstance(value, dict | Schedule) else NUMBER_TAG),
            ]


def has_schedule(value: Any) -> bool:
    """Return whether a value is a schedule, or a sequence that holds one."""
    return isinstance(value, Schedule) or (isinstance(value, tuple) and any(map(has_schedule, value)))


def schedules(value: Any, path: str = "") -> Iterator[tuple[str, Schedule[Any]]]:
    """Yield the schedules in options or a sequence, at any depth, by their dotted paths."""
    if isinstance(value, Schedule):
        yield path, value
    elif isinstance(value, BaseModel | tuple):
        for key, each in enumerate(value) if isinstance(value, tuple) else value:
            yield from schedules(each, f"{path}.{key}" if path else str(key))


def value_at(value: Any, at: Progress) -> Any:
    """Return the value of an option at a step: schedules are evaluated, also in a sequence; all else is unchanged."""
    if isinstance(value, tuple):
        return tuple(value_at(each, at) for each in value)
    return value.value(at) if isinstance(value, Schedule) else value


def scheduled(options: BaseModel) -> dict[str, Any]:
    """Return the options of a table that are schedules or hold one, by their names."""
    return {name: value for name, value in options if has_schedule(value)}
