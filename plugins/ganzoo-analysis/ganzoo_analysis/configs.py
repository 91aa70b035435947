"""Options of the observer and the tracker."""

from __future__ import annotations

from pydantic import PositiveInt

from ganzoo.plugin import ObserverConfig, TrackerConfig


class WeightNormsConfig(ObserverConfig):
    """Logs the norm of each network's weights, which grows under an unbounded loss."""

    every: PositiveInt = 100
    """Steps between two logged values."""


class CSVConfig(TrackerConfig):
    """Writes `metrics.csv` into the run directory when the run ends: a row for each logged step, for a spreadsheet."""
