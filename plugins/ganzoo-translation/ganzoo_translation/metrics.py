"""How far translations are from their targets."""

from __future__ import annotations

from typing import ClassVar

from ganzoo.plugin import Metric, MetricInputs
from ganzoo_translation.configs import L1Config


class L1(Metric):
    """The mean absolute difference of samples from what they should be; no score where conditions have no targets."""

    Config = L1Config
    needs = frozenset({"pixels"})
    directions: ClassVar = {"l1": "lower"}

    def compute(self, inputs: MetricInputs) -> dict[str, float]:
        """Return the difference, if there are targets."""
        if inputs.targets is None:
            return {}
        return {"l1": float((inputs.fake - inputs.targets).abs().mean())}
