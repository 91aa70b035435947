"""An alert: what goes wrong in a run, and what to try."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Alert:
    """Something that goes wrong in a run.

    Attributes:
        kind: a word for it, the same each time, such as "samples_alike".
        text: what was seen, in one sentence without a full stop.
        remedy: what to try, likewise.
    """

    kind: str
    text: str
    remedy: str
