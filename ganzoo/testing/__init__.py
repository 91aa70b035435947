"""Conformance checks for plugins: each tests a component against its interface and says what to change.

    @pytest.mark.parametrize("entry", components_of("ganzoo-example"), ids=describe)
    def test_contract(entry):
        check_component(entry)

Nothing here needs pytest: a check that fails raises `ConformanceError`, which is an AssertionError.
"""

from __future__ import annotations

from ganzoo.testing.checks import (
    check_component,
    check_config,
    check_dataset,
    check_extractor,
    check_metric,
    check_observer,
    train_briefly,
)
from ganzoo.testing.fixtures import ConformanceError, components_of, describe, small_info, small_options
from ganzoo.testing.networks import check_discriminator, check_export, check_generator
from ganzoo.testing.training import check_loss, check_optimizer, check_penalty, check_trainer

__all__ = [
    "ConformanceError",
    "check_component",
    "check_config",
    "check_dataset",
    "check_discriminator",
    "check_export",
    "check_extractor",
    "check_generator",
    "check_loss",
    "check_metric",
    "check_observer",
    "check_optimizer",
    "check_penalty",
    "check_trainer",
    "components_of",
    "describe",
    "small_info",
    "small_options",
    "train_briefly",
]
