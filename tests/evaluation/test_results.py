"""What metrics give, each by itself."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch

from ganzoo.components.metric import Metric, MetricInputs
from ganzoo.components.options import MetricConfig
from ganzoo.errors import PluginError
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


class LevelsConfig(MetricConfig):
    """Options of several kinds."""

    levels: tuple[float, ...] = (0.1, 0.5)
    """Levels."""
    most: int | None = None
    """How many."""
    exact: bool = True
    """Whether."""


class Levels(Chance):
    """A metric with a list among its options and one that is left out, and a finding."""

    Config = LevelsConfig

    def __init__(self, config: LevelsConfig, finding: Any) -> None:
        super().__init__(config)
        self.finding = finding

    def compute(self, inputs: MetricInputs) -> dict[str, float]:
        inputs.details["finding"] = self.finding
        return {"chance": 0.5}


def test_options_of_any_kind_stand_on_the_card_and_details_are_json():
    features = torch.zeros(4, 2)
    unused: Any = None
    inputs = [MetricInputs("features", features, features, training=unused)]
    found = compute([Levels(LevelsConfig(name="levels"), (1, 2))], inputs)
    assert found.settings == {"levels_levels": "[0.1, 0.5]", "levels_exact": True}
    assert found.details == {"finding": [1, 2]}
    with pytest.raises(PluginError, match=r'the metric "levels" puts into `details` .*Tensor.*tolist'):
        compute([Levels(LevelsConfig(name="levels"), features)], inputs)


@pytest.mark.parametrize("given", [None, 0.5, {"chance": None}, {"chance": torch.zeros(2)}, {"chance": 10**400}])
def test_what_a_metric_gives_must_be_numbers_by_name(given: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Chance, "compute", lambda metric, inputs: given)
    unused: Any = None
    inputs = [MetricInputs("features", torch.zeros(4, 2), torch.zeros(4, 2), training=unused)]
    with pytest.raises(PluginError, match=r'the metric "chance" gives .*: return a number by the name of each value'):
        compute([Chance(MetricConfig(name="chance"))], inputs)


def test_a_tensor_of_one_number_is_a_number(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Chance, "compute", lambda metric, inputs: {"chance": torch.ones(1, requires_grad=True)})
    unused: Any = None
    inputs = [MetricInputs("features", torch.zeros(4, 2), torch.zeros(4, 2), training=unused)]
    assert compute([Chance(MetricConfig(name="chance"))], inputs).scores == {"chance": 1.0}
