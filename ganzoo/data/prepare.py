"""Preparation and examination of a recipe's dataset ahead of training."""

from __future__ import annotations

from ganzoo.components.dataset import Dataset
from ganzoo.components.options import ImageDatasetConfig
from ganzoo.data import doctor
from ganzoo.data.packed_dataset import PackedDataset, pack_dataset
from ganzoo.recipe.load import Source, load_recipe, trusted
from ganzoo.recipe.model import Recipe
from ganzoo.recipe.overrides import Overrides
from ganzoo.registry.plugin_manager import PluginManager, plugin_manager
from ganzoo.terminal import packing_progress


def prepare(recipe: Source, overrides: Overrides = (), *, manager: PluginManager | None = None) -> PackedDataset:
    """Pack the dataset of a recipe, or check every byte of the packed dataset that exists.

    Args:
        recipe: a TOML file, its tables as a dictionary, or a checked recipe.
        overrides: `{"dataset.image_size": 64}` and the like; or texts as `--set` takes them.
        manager: the plugins to use; left out: those installed.

    Raises:
        GanzooError: the recipe is wrong, or the data missing or unreadable.
    """
    _, dataset = _dataset(recipe, overrides, manager)
    with packing_progress() as progress:
        return pack_dataset(dataset, progress=progress, check=True)


def examine(recipe: Source, overrides: Overrides = (), *, manager: PluginManager | None = None) -> doctor.Examination:
    """Check every image of the recipe's dataset, without stopping at bad ones.

    Args:
        recipe: a TOML file, its tables as a dictionary, or a checked recipe.
        overrides: `{"dataset.image_size": 64}` and the like; or texts as `--set` takes them.
        manager: the plugins to use; left out: those installed.

    Raises:
        GanzooError: the recipe is wrong, or the data as a whole missing.
    """
    checked, dataset = _dataset(recipe, overrides, manager)
    if isinstance(dataset.config, ImageDatasetConfig):
        dataset.config = dataset.config.model_copy(update={"fast_decode": False})  # sizes as they are stored
    with packing_progress(what="checking images") as progress:
        found = doctor.examine(dataset, progress)
    needed = checked.trainer.batch_size * checked.trainer.batches_per_step
    if found.usable < needed:
        found.notes.append(
            f"{found.usable} usable images are fewer than the {needed} that a step takes: "
            f"set trainer.batch_size to {found.usable // checked.trainer.batches_per_step} or less"
        )
    return found


def _dataset(recipe: Source, overrides: Overrides, manager: PluginManager | None) -> tuple[Recipe, Dataset]:
    checked, manager = load_recipe(recipe, manager or plugin_manager(), overrides, trust=trusted())
    dataset: Dataset = manager.registries.datasets[checked.dataset.name].load()(checked.dataset)
    return checked, dataset
