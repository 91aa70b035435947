"""Samples of a dataset one by one: those that its options select, transformed, with checked labels."""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from ganzoo.components.dataset import Dataset, SampleSource
from ganzoo.components.spec import DatasetInfo, ImageSpec, LabelSpec
from ganzoo.data.findings import Survey, name_and_class, name_of
from ganzoo.data.transforms import ContractError, extremes, to_stored
from ganzoo.errors import DataError

Array = npt.NDArray[Any]
_MEASURED = 1000


@contextmanager
def reporting_source_errors(dataset: Dataset) -> Iterator[None]:
    """Turn an OSError of the dataset's own, such as of a download, into a DataError that names the file or dataset."""
    try:
        yield
    except OSError as error:
        name, text = name_of(dataset), error.strerror or str(error) or type(error).__name__
        if error.filename is not None:
            raise DataError(f'{error.filename}: {text} (wanted for the dataset "{name}")') from error
        raise DataError(
            f'the dataset "{name}" is unavailable: {text} (dataset.root is {dataset.config.root})'
        ) from error


class SampleReader:
    """Read the samples of a dataset that the options `classes` and `limit` select.

    Args:
        dataset: prepared.
        conditions: read the conditions that `open_conditions` gives instead, which are drawn independently.

    Attributes:
        info: of the selected samples, whose classes are renumbered in the order of the option.
        are_conditions: whether it reads conditions that are drawn independently.
        paired: whether each sample comes with its condition.
        specs: shape of a sample, and of its condition where it comes with one.
        types: of what is stored of each sample; all are like the first that can be read.
        configs: the dataset's options for a sample, and for its condition; with the range that "auto" stands for.
        surveys: of the samples read, and of their conditions where they come with one.

    Raises:
        DataError: the dataset cannot be opened, or has no such classes.
    """

    def __init__(self, dataset: Dataset, *, conditions: bool = False) -> None:
        config = dataset.config
        self.dataset = dataset
        self.are_conditions = conditions
        self._renumbered: dict[int, int] | None = None
        spec = config.condition_spec()
        with reporting_source_errors(dataset):
            if conditions:
                source, labels = dataset.open_conditions(), None
                assert source is not None, "paired"
                assert spec is not None, "the dataset has no conditions"
                self.info = DatasetInfo(spec)
            else:
                source, labels = dataset.open(), dataset.labels()
                self.info = DatasetInfo(config.sample_spec(), labels, spec)
        _check_source(dataset, source, labels)
        self._source: SampleSource = source
        self._chosen: Sequence[int] = range(len(source))
        if config.classes is not None and not conditions:
            self.info = replace(self.info, labels=self._select(labels, config.classes))
        if config.limit is not None and config.limit < len(self._chosen):
            spaced = np.linspace(0, len(self._chosen), config.limit, endpoint=False).astype(int).tolist()
            self._chosen = [self._chosen[place] for place in spaced]
        self.paired = self.info.condition is not None and dataset.open_conditions() is None
        self.specs = [self.info.samples, *([self.info.condition] if self.paired and self.info.condition else [])]
        self.configs = [config] * len(self.specs)
        self._notes: list[str] = []
        self.surveys: list[Survey] = []
        if getattr(config, "value_range", None) == "auto":
            self._measure()
        self.types: tuple[np.dtype[Any], ...] | None = None
        for index in range(len(self)):
            with suppress(Exception):
                *arrays, _ = self.read(index)
                self.types = tuple(array.dtype for array in arrays)
                break
        self.surveys = [Survey() for _ in self.specs]

    def __len__(self) -> int:
        return len(self._chosen)

    @property
    def nbytes(self) -> int:
        """Size of what is stored of all samples in bytes."""
        types = self.types or [np.dtype(np.uint8)] * len(self.specs)
        each = sum(math.prod(spec.shape) * dtype.itemsize for spec, dtype in zip(self.specs, types, strict=True))
        return len(self) * (each + 8 * (self.info.labels is not None))

    def describe(self, index: int) -> str:
        """Return the dataset's name for a selected sample."""
        dataset, place = self.dataset, self._chosen[index]
        return dataset.describe_condition(place) if self.are_conditions else dataset.describe(place)

    def findings(self) -> list[str]:
        """Return what should be told of the dataset after its samples were read, a sentence each."""
        names = ("conditions",) if self.are_conditions else (self.info.noun, "conditions")
        found = [survey.findings(self.dataset, what) for survey, what in zip(self.surveys, names, strict=False)]
        return [*self._notes, *chain.from_iterable(found)]

    def given(self, index: int) -> tuple[Any, ...]:
        """Return a selected sample as the dataset gives it, its label, and its condition where it has one."""
        given: Any = self._source[self._chosen[index]]
        if not isinstance(given, (tuple, list)) or len(given) < 2:
            kind = f"of {len(given)}" if isinstance(given, (tuple, list)) else ""
            raise ContractError(
                f"is a {type(given).__name__} {kind}".rstrip() + f"; the dataset must give {self._takes()}"
            )
        return tuple(given)

    def read(self, index: int) -> tuple[Any, ...]:
        """Return a selected sample as it is stored, its condition where it comes with one, and its label.

        Raises:
            Exception: of any type, as the dataset's decoder has it, where the sample cannot be used.
        """
        return self.transform(*self.given(index))

    def transform(self, given: object, label: object, *conditions: object) -> tuple[Any, ...]:
        """Transform what `given` returned, as `read` does."""
        if len(conditions) != self.paired:
            raise ContractError(f"comes with {len(conditions)} conditions; the dataset must give {self._takes()}")
        all_given = (given, *conditions)
        arrays = []
        for part, config, spec in zip(all_given, self.configs, self.specs, strict=True):
            try:
                arrays.append(to_stored(part, config, spec))
            except ValueError as error:
                if arrays:
                    error.args = (f"its condition: {error}",)
                raise
        types = tuple(array.dtype for array in arrays)
        if self.types is not None and types != self.types:
            first, this = (" and ".join(map(str, each)) for each in (self.types, types))
            raise ValueError(f"is stored as {this}, and samples before it as {first}: give all in one type")
        label = self._label(label)
        for survey, each, array, config in zip(self.surveys, all_given, arrays, self.configs, strict=False):
            survey.add(each, array, config)
        return *arrays, label

    def _takes(self) -> str:
        return "(sample, label, condition)" if self.paired else "(sample, label), also where there are no labels"

    def _measure(self) -> None:
        """Set the range of values to the lowest and the highest of samples all over the dataset."""
        with ThreadPoolExecutor() as pool:
            found = [*pool.map(self._extremes, np.unique(np.linspace(0, len(self) - 1, _MEASURED).astype(int)))]
        for part, spec in enumerate(self.specs):
            seen = [each[part] for each in found if each is not None]
            if isinstance(spec, ImageSpec):  # without a finite value any range serves, and reading tells
                low, high = min((each[0] for each in seen), default=0.0), max((each[1] for each in seen), default=1.0)
                high = high if low < high else low + 1
                self.configs[part] = self.configs[part].model_copy(update={"value_range": (low, high)})
                of = " of the conditions" if part or self.are_conditions else ""
                self._notes += [f'dataset.value_range = "auto" is [{low:g}, {high:g}]{of}'] * bool(seen)

    def _extremes(self, index: int) -> list[tuple[float, float]] | None:
        """Return the lowest and highest value of a sample and its condition; None where it cannot be read."""
        config = self.dataset.config
        try:
            given, _, *conditions = self.given(index)
            return [
                extremes(each, config, spec) if isinstance(spec, ImageSpec) else (0.0, 0.0)
                for each, spec in zip((given, *conditions), self.specs, strict=True)
            ]
        except Exception:  # decoders raise nearly every type; reading it again tells
            return None

    def _label(self, label: Any) -> Any:
        labels = self.info.labels
        if labels is None:
            return None
        if labels.kind == "classes":
            try:
                index = operator.index(label)
            except TypeError:
                raise ContractError(
                    f"has the label {label!r:.60}, a {type(label).__name__}; "
                    f"it must be the index of one of the {labels}"
                ) from None
            index = index if self._renumbered is None else self._renumbered[index]
            if not 0 <= index < len(labels.names):
                raise DataError(
                    f'the dataset "{name_of(self.dataset)}" gives a sample '
                    f"the class index {index}, and names {len(labels.names)} classes: an index must be between 0 and "
                    f"{len(labels.names) - 1}"
                )
            return index
        values = np.asarray(label, dtype=np.float32)
        if values.shape != (len(labels.names),):
            numbers = "one number" if len(labels.names) == 1 else f"{len(labels.names)} numbers"
            raise ContractError(
                f"has the label {label!r:.60}; it must be a list of {numbers}, for {labels} ({labels.first_names})"
            )
        if not np.isfinite(values).all():
            raise ValueError(f"has the label {label!r:.60}, which must be finite")
        if labels.kind == "attributes" and not np.isin(values, (0, 1)).all():
            raise ValueError(f"has the label {label!r:.60}, whose attributes must be 0 or 1")
        return values

    def _select(self, labels: LabelSpec | None, wanted: Sequence[str | int]) -> LabelSpec:
        """Choose the samples of these classes, and renumber these in the order given."""
        if labels is None or labels.kind != "classes":
            has = "has no labels as it is set up" if labels is None else f"has {labels}"
            raise DataError(f"dataset.classes picks classes, and the dataset {has}: leave it out")
        try:
            numbered = all(name.isdecimal() for name in labels.names)  # the folder 1 may be written as a number
            indices = [labels.index(str(each) if numbered else each) for each in wanted]
        except ValueError as error:
            raise DataError(f"dataset.classes: {error}") from None
        if repeated := [index for index, count in Counter(indices).items() if count > 1]:
            raise DataError(f'dataset.classes: names "{labels.names[repeated[0]]}" twice: leave one out')
        self._renumbered = {index: place for place, index in enumerate(indices)}
        wanted_or_unknown = {*indices, None}  # reading a sample without a label tells what is wrong with it
        places = range(len(self._source))
        with ThreadPoolExecutor() as pool:  # tasks of their own only where samples are read for their labels
            found = (map if hasattr(self._source, "targets") else pool.map)(partial(class_of, self._source), places)
            self._chosen = [place for place, index in zip(places, found, strict=True) if index in wanted_or_unknown]
        return replace(labels, names=tuple(labels.names[index] for index in self._renumbered))


def class_of(source: SampleSource, index: int) -> int | None:
    """Return the class of a sample; None where it cannot be read: the error appears when it is read for training."""
    targets = getattr(source, "targets", None)
    try:
        return int(source[index][1] if targets is None else targets[index])  # type: ignore[arg-type]
    except Exception:  # decoders raise nearly every type
        return None


def _check_source(dataset: Dataset, source: object, labels: object) -> None:
    """Raise DataError unless `open` and `labels` give what they must."""
    where = name_and_class(dataset)
    if not (hasattr(source, "__len__") and hasattr(source, "__getitem__")) or isinstance(source, Mapping):
        raise DataError(
            f"{where}: open gives a {type(source).__name__}, and must give samples that have a length and an index, "
            f"such as a list of (sample, label)"
        )
    if not isinstance(labels, LabelSpec | None):
        raise DataError(f"{where}: labels gives a {type(labels).__name__}, and must give a LabelSpec or None")
