"""Conformance checks for plugins: each tests a component against its interface and says what to change.

    @pytest.mark.parametrize("entry", components_of("ganzoo-example"), ids=describe)
    def test_contract(entry):
        check_component(entry)

Nothing here needs pytest: a check that fails raises `ConformanceError`, which is an AssertionError.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganzoo_testing.checks import check_dataset, check_extractor, check_metric, check_observer
    from ganzoo_testing.conformance import (
        check_command,
        check_component,
        check_config,
        components_of,
        describe,
        train_briefly,
    )
    from ganzoo_testing.fixtures import ConformanceError, small_info, small_options
    from ganzoo_testing.networks import check_discriminator, check_export, check_generator
    from ganzoo_testing.training import check_loss, check_optimizer, check_penalty, check_trainer

__all__ = [
    "ConformanceError",
    "check_command",
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


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    modules = {"check_export": "networks", "small_info": "fixtures"}  # which import torch
    return getattr(import_module(f"ganzoo_testing.{modules.get(name, 'conformance')}"), name)
