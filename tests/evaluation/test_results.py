"""What metrics give, each by itself."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from ganzoo.components.metric import Metric, MetricInputs
from ganzoo.components.options import MetricConfig
from ganzoo.evaluation.results import compute


class Chance(Metric):
    """A random number from the global generator, as subsets of images are drawn."""

    needs = frozenset({"features"})
    directions: ClassVar = {"chance": "none"}

    def compute(self, inputs: MetricInputs) -> dict[str, float]:
        return {"chance": float(torch.rand(()))}


class Other(Chance):
    """The same, of more numbers."""

    directions: ClassVar = {"other": "none"}

    def compute(self, inputs: MetricInputs) -> dict[str, float]:
        return {"other": float(torch.rand(7).sum())}


def test_no_score_depends_on_the_metrics_before_it_or_on_what_was_drawn():
    features = torch.zeros(4, 2)
    unused: Any = None
    inputs = [MetricInputs("features", features, features, training=unused)]
    chance, other = Chance(MetricConfig(name="chance")), Other(MetricConfig(name="other"))
    alone = compute([chance], inputs).scores
    assert compute([other, chance], inputs).scores["chance"] == alone["chance"]
    torch.manual_seed(5)
    assert compute([chance], inputs).scores == alone
