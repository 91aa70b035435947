"""The protocol card, which records how a score was computed, and the differences that make scores incomparable."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ganzoo.errors import RequestError
from ganzoo.text import did_you_mean, printable

PROTOCOL = 1
"""Raised whenever the same images would get other scores than before."""

ANY = "none"
"""Batch norm of a generator that has none: it goes with every mode."""

_NOTED: Any = {"compared": False}


class CardPart(BaseModel):
    """Frozen fields of a card; those declared with `compared: False` may differ between comparable scores."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class ExtractorCard(CardPart):
    """The feature extractor and its preprocessing."""

    name: str
    """Its name in the recipe; "pixels" or "points" where images or vectors themselves are compared."""
    digest: str = ""
    """Hash of its weights."""
    features: int = 0
    """Numbers for one image."""
    input: str = ""
    """Size that it brings images to, such as "299×299"; empty: it takes them as they are."""
    resize: str = ""
    """How it does."""
    antialias: bool = False
    """Whether that resize averages over the pixels between where it shrinks."""
    settings: dict[str, int | float | str] = Field(default_factory=dict)
    """Options that the features depend on beside its weights."""
    weights: str = Field(default="", json_schema_extra=_NOTED)
    """Where the weights came from."""


class RealCard(CardPart):
    """The real images."""

    dataset: str
    """Name of the dataset."""
    images: int
    """How many were used."""
    available: int
    """How many there were to choose from."""
    shape: str
    """Their shape as the extractor was given them."""
    pixels: str
    """Checksum of the pixels of all that there were: the same images, however they are stored."""
    packed: str = Field(default="", json_schema_extra=_NOTED)
    """Key of the pack that held them."""
    options: dict[str, Any] = Field(default_factory=dict, json_schema_extra=_NOTED)
    """Options of the dataset that differ from those trained on, such as the split."""


class SamplesCard(CardPart):
    """The generated images."""

    images: int
    """How many."""
    network: str = "generator"
    """Name of the generator, of those that a run may have."""
    weights: str
    """"ema" or "raw"; "files" where a folder of images was scored."""
    batch_norm: str
    """Statistics that batch norm took: "running", "batch", "standing"; "none" without batch norm."""
    precision: str
    """What generator and extractor computed in."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the generator's sampling that are not at their defaults, such as a truncation."""
    conditions: str = ""
    """Checksum of the conditions that they were made of; empty: those of the training set, or none."""
    seed: int = Field(json_schema_extra=_NOTED)
    """Of the latents; scores of different seeds differ by chance."""
    labels: str = Field(default="", json_schema_extra=_NOTED)
    """What a conditional generator was given."""
    made_at: str = Field(default="", json_schema_extra=_NOTED)
    """Shape that the generator makes."""
    resize: str = ""
    """How images of another size are brought to that of the real ones."""
    antialias: bool = True
    """Whether that resize averages over the pixels between where it shrinks."""


class Card(CardPart):
    """Protocol of the scores of one extractor."""

    protocol: int = PROTOCOL
    """Version of the way in which ganzoo takes scores."""
    extractor: ExtractorCard
    """The network whose features are compared."""
    real: RealCard
    """The real images."""
    samples: SamplesCard
    """The generated images."""
    settings: dict[str, int | float | str] = Field(default_factory=dict)
    """Numbers that the scores depend on, such as "kernel_subsets", of each metric that was computed."""
    run: str = Field(json_schema_extra=_NOTED)
    """The run directory."""
    step: int = Field(json_schema_extra=_NOTED)
    """The step whose weights made the samples."""
    device: str = Field(default="", json_schema_extra=_NOTED)
    """What was computed on."""
    versions: dict[str, str] = Field(default_factory=dict, json_schema_extra=_NOTED)
    """Versions of the libraries."""


@dataclass(frozen=True)
class Difference:
    """A field in which cards differ: its path, such as "extractor.digest", and its value on each card, in order."""

    field: str
    values: tuple[Any, ...]

    def __str__(self) -> str:
        shown = dict.fromkeys(map(str, self.values))
        return f"{self.field}: {' / '.join(value or 'none' for value in shown)}"


def differences(cards: Sequence[Card], ignoring: Collection[str] = ()) -> list[Difference]:
    """Return the fields in which cards differ and scores depend on; empty: their scores can be ranked.

    Fields that may differ are left out: run, step, seed of the latents, location of files, versions and device.
    A generator without batch norm matches every batch norm mode, and settings matter where both cards have them.

    Args:
        cards: any number of them.
        ignoring: paths of fields to leave out, such as "samples.weights".
    """
    info = [dict(facts(card)) for card in cards]
    places = list(dict.fromkeys(place for each in info for place in each if place not in ignoring))
    found = []
    for place in places:
        # A metric that one of them was not asked for makes no difference to the scores of the others.
        values = tuple(each.get(place) for each in info if place in each or not place.startswith("settings."))
        if place == "samples.batch_norm" and len({value for value in values if value != ANY}) <= 1:
            continue
        if any(value != values[0] for value in values):
            found.append(Difference(place, values))
    return found


def check_places(places: Collection[str], cards: Iterable[Card]) -> None:
    """Check that cards have the fields at these paths, or might have them.

    Raises:
        RequestError: there is no such field.
    """
    held = dict.fromkeys(place for card in cards for place, _ in facts(card))
    known = [*dict.fromkeys([*_places(Card), *held])]
    if wrong := [place for place in places if place not in known]:
        raise RequestError(
            f"--ignore {wrong[0]}: no protocol card has this field{did_you_mean(wrong[0], known)}; "
            f"they have {', '.join(printable(place) for place in held or known)}"
        )


def noted(card: Card) -> dict[str, Any]:
    """Return the fields of a card that are not compared, by path."""
    compared = {place for place, _ in facts(card)}
    return {place: value for place, value in facts(card, everything=True) if place not in compared}


def _places(part: type[CardPart], at: str = "") -> Iterator[str]:
    """Yield the dotted path of each field that every card has."""
    for name, field in part.model_fields.items():
        of = field.annotation
        if isinstance(of, type) and issubclass(of, CardPart):
            yield from _places(of, f"{at}{name}.")
        elif of in (str, int, bool):
            yield f"{at}{name}"


def facts(part: CardPart, at: str = "", *, everything: bool = False) -> Iterator[tuple[str, Any]]:
    """Yield each compared field of a card, or each field, with its dotted path."""
    for name, field in type(part).model_fields.items():
        if field.json_schema_extra == _NOTED and not everything:
            continue
        value = getattr(part, name)
        if isinstance(value, CardPart):
            yield from facts(value, f"{at}{name}.", everything=everything)
        elif isinstance(value, dict):
            yield from ((f"{at}{name}.{key}", inner) for key, inner in value.items())
        else:
            yield f"{at}{name}", value
