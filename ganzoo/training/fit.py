"""Check weights from elsewhere, exported or imported, against the networks of the recipe that comes with them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ganzoo.components.spec import DatasetInfo
from ganzoo.errors import CheckpointError, GanzooError
from ganzoo.recipe.model import Recipe
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.runtime.device import Compute
from ganzoo.runtime.memory import memory_errors
from ganzoo.storage.exported import ExportedWeights
from ganzoo.storage.manifest import EXPORT
from ganzoo.training.build import build_networks

Tensors = Mapping[str, Tensor]


def check_export(recipe: Recipe, weights: ExportedWeights, manager: PluginManager) -> None:
    """Check every tensor of an export against the networks of its recipe.

    Raises:
        CheckpointError: they do not fit, or the networks cannot be built; the text says which.
    """
    try:
        expected = expected_tensors(recipe, manager, weights.info)
    except GanzooError:
        raise
    except Exception as error:  # the network's own code may raise anything for invalid options
        raise CheckpointError(f"{weights.path}: the networks of its recipe cannot be made: {error}") from error
    for name, kind in recipe.trainer.roles.items():
        if kind == "generator":
            expected[f"{name}_ema"] = expected[name]
    for name, file in weights.file_of.items():
        if name not in expected:
            manifest = weights.path / EXPORT
            raise CheckpointError(f"{manifest}: names weights that cannot be: the recipe has no network {name!r}")
        wrong = [f"{key}: {why}" for key, why in misfits(weights.network(name), expected[name]).items()]
        if wrong:
            more = f"; and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            raise CheckpointError(f"{weights.path / file}: does not fit the recipe beside it: {wrong[0]}{more}")


def expected_tensors(recipe: Recipe, manager: PluginManager, info: DatasetInfo) -> dict[str, Tensors]:
    """Return tensors with the shapes and types of each network's, without values where networks can be built so.

    A recipe from elsewhere may ask for networks of any size, while the tensors in a file are no larger than it.
    """

    def built(device: str) -> dict[str, Tensors]:
        with torch.device(device):
            compute = Compute(torch.device(device), "fp32", "to see what fits")
            networks = build_networks(recipe, manager, info, compute)
        return {name: network.state_dict() for name, network in networks.items()}

    try:
        return built("meta")
    except (RuntimeError, NotImplementedError, TypeError):  # a network that reads its weights while it is built
        with memory_errors():
            return built("cpu")


def misfits(tensors: Tensors, expected: Tensors) -> dict[str, str]:
    """Return why tensors cannot be those of a network, by name; empty where they can."""
    found = {key: _misfit(tensors.get(key), expected.get(key)) for key in {**expected, **tensors}}
    return {key: why for key, why in found.items() if why}


def _misfit(tensor: Tensor | None, expected: Tensor | None) -> str:
    if tensor is None or expected is None:
        return "nothing in the source goes there" if tensor is None else "the network has no such tensor"
    if tensor.shape != expected.shape:
        return f"has shape {tuple(tensor.shape)}, but must have {tuple(expected.shape)}"
    if tensor.dtype != expected.dtype:
        return f"is of type {tensor.dtype}, but must be {expected.dtype}: convert it and save it again"
    return ""
