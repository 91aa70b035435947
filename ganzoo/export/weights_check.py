"""Whether the weights of an export are those of the networks in its recipe, asked before memory is taken."""

from __future__ import annotations

import torch
from safetensors import SafetensorError, safe_open

from ganzoo.errors import CheckpointError, GanzooError
from ganzoo.export.bundle import ExportedWeights
from ganzoo.recipe.model import Recipe
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.runtime.device import Compute
from ganzoo.runtime.memory import memory_errors
from ganzoo.training.build import build_networks


def check_fit(recipe: Recipe, weights: ExportedWeights, manager: PluginManager) -> None:
    """Compare the shape of every tensor with that of the network, of which no weight is made for it.

    A recipe from elsewhere may ask for networks of any size; what lies in the files cannot be larger than these.

    Raises:
        CheckpointError: they do not fit; the text says which.
    """
    try:
        try:
            expected = _shapes(recipe, weights, manager, "meta")
        except (RuntimeError, NotImplementedError, TypeError):  # a network that looks at its weights when it is made
            with memory_errors():
                expected = _shapes(recipe, weights, manager, "cpu")
    except GanzooError:
        raise
    except Exception as error:  # whatever the network's own code makes of options that cannot be
        raise CheckpointError(f"{weights.path}: the networks of its recipe cannot be made: {error}") from error
    for name, file in weights.file_of.items():
        found = _header(weights, file)
        wrong = [key for key in {**expected[name], **found} if found.get(key) != expected[name].get(key)]
        if wrong:
            raise CheckpointError(
                f"{weights.path / file}: does not fit the recipe beside it: {wrong[0]} has shape "
                f"{found.get(wrong[0], 'none')}, and the network {expected[name].get(wrong[0], 'none')}"
                + (f"; so have {len(wrong) - 1} others" if len(wrong) > 1 else "")
            )


def _shapes(
    recipe: Recipe, weights: ExportedWeights, manager: PluginManager, device: str
) -> dict[str, dict[str, tuple[int, ...]]]:
    """Of each tensor of each network."""
    with torch.device(device):
        compute = Compute(torch.device(device), "fp32", "to see what fits")
        generator, discriminator = build_networks(recipe, manager, weights.info, compute)
    ours, theirs = (
        {key: tuple(value.shape) for key, value in network.state_dict().items()}
        for network in (generator, discriminator)
    )
    return {"generator": ours, "generator_ema": ours, "discriminator": theirs}


def _header(weights: ExportedWeights, file: str) -> dict[str, tuple[int, ...]]:
    """The shapes that a file says it has.

    Raises:
        CheckpointError: it is no such file.
    """
    try:
        with safe_open(weights.path / file, "pt") as tensors:
            return {key: tuple(tensors.get_slice(key).get_shape()) for key in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{weights.path / file}: cannot be read: {error}") from error
