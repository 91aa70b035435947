"""The one place where a recipe and the registries become a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

import torch

from ganzoo.components.dataset import Dataset
from ganzoo.components.network import Discriminator, Generator
from ganzoo.components.options import ComponentConfig, PenaltyConfig
from ganzoo.components.penalty import Penalty
from ganzoo.components.spec import DatasetInfo
from ganzoo.components.trainer import Trainer, TrainingParts
from ganzoo.components.world import World
from ganzoo.data.loader import Loader, steps_for_epochs
from ganzoo.data.packed_dataset import PackedDataset, pack_dataset
from ganzoo.errors import Problem, RecipeError, RequestError
from ganzoo.recipe.model import Recipe
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.registry.registry import Registry
from ganzoo.runtime.device import Compute, choose_compute
from ganzoo.runtime.memory import memory_errors
from ganzoo.runtime.random_state import seed_everything
from ganzoo.storage.run_directory import RunDirectory
from ganzoo.training.cuda_graph import record_steps
from ganzoo.training.disk_check import check_place, check_room_for_run
from ganzoo.training.events import Events
from ganzoo.training.run import Run

Progress = Callable[[int, int], None]
C = TypeVar("C", bound=ComponentConfig)


@memory_errors()
def build_run(
    recipe: Recipe,
    manager: PluginManager,
    *,
    directory: RunDirectory | None = None,
    warn: Callable[[str], None],
    progress: Progress | None = None,
    world: World | None = None,
) -> Run:
    """Make everything that a run consists of.

    Args:
        recipe: checked already.
        manager: the installed plugins.
        directory: where an earlier part of this run wrote; left out: a new one, made last, so that a
            request which cannot be served leaves no empty folder.
        warn: told of what goes wrong without ending the run.
        progress: told (done, total) while the dataset is decoded.
        world: that train it together, connected; left out: this one alone.

    Raises:
        GanzooError: some part cannot be had; the text says which, and the cure.
    """
    registries, world = manager.registries, world or World()
    compute = choose_compute(recipe.device, world)
    compute.configure()
    if directory is None and world.is_main:
        check_place(recipe)
    with world.local_main_first():  # where there is no pack yet, it makes one, and shows how far it is
        packed = open_dataset(recipe, manager, progress)

    seed_everything(recipe.run.seed)
    generator, discriminator = build_networks(recipe, manager, packed.info, compute)
    loss = build_part(registries.losses, recipe.loss, "loss", packed.info)
    penalties = {
        name: build_penalty(manager, index, config, packed.info, generator, discriminator).to(compute.device)
        for index, (name, config) in enumerate(_numbered(recipe.penalties))
    }
    if recipe.device.sync_batch_norm:
        world.convert_sync_batchnorm([generator, discriminator, *penalties.values()])
    loader = Loader(
        packed,
        batch_size=recipe.trainer.batch_size * recipe.trainer.batches_per_step,
        minibatches=recipe.trainer.batches_per_step,
        seed=recipe.run.seed,
        device=compute.device,
        horizontal_flip=recipe.dataset.horizontal_flip,
        placement=recipe.dataset.placement,
        rank=world.rank,
        world_size=world.world_size,
    )
    parts = TrainingParts(
        generator=generator,
        discriminator=discriminator,
        loss=loss,
        penalties=penalties,
        rng=torch.Generator(compute.device).manual_seed(recipe.run.seed),
        autocast=compute.autocast,
        loss_scaling=compute.loss_scaling,
        total_steps=total_steps(recipe, loader),
        world=world,
    )
    trainer: Trainer = registries.trainers[recipe.trainer.name].load()(recipe.trainer, parts=parts)
    if recipe.device.cuda_graphs:
        record_steps(trainer, compute)
    if directory is None and world.is_main:
        check_room_for_run(recipe, trainer, packed.info, parts.total_steps)
        directory = RunDirectory.create(recipe, manager.files)
    directory = world.broadcast_object(directory)
    assert directory is not None
    if not directory.path.is_dir():
        raise RequestError(
            f"run.root: process {world.rank} does not see {directory}, which the first process made: "
            "set run.root to a folder that all machines share"
        )
    return Run(
        recipe=recipe,
        directory=directory,
        info=packed.info,
        compute=compute,
        trainer=trainer,
        loader=loader,
        events=Events(manager.pluggy.list_name_plugin() if world.is_main else (), warn),
        total_steps=parts.total_steps,
        plugin_versions=MappingProxyType(manager.distributions()),
        world=world,
    )


def open_dataset(recipe: Recipe, manager: PluginManager, progress: Progress | None = None) -> PackedDataset:
    """The images of a recipe, decoded now if they are not yet.

    Raises:
        DataError: they are not there, or cannot be read.
    """
    dataset: Dataset = manager.registries.datasets[recipe.dataset.name].load()(recipe.dataset)
    return pack_dataset(dataset, progress=progress)


def build_networks(
    recipe: Recipe, manager: PluginManager, info: DatasetInfo, compute: Compute
) -> tuple[Generator, Discriminator]:
    """Both networks on their device, channels last in memory, which convolutions are fastest in.

    Raises:
        RecipeError: one of them cannot make or judge such images.
    """
    registries = manager.registries
    generator: Generator = build_part(registries.generators, recipe.generator, "generator", info)
    discriminator: Discriminator = build_part(registries.discriminators, recipe.discriminator, "discriminator", info)
    for name, network in (("generator", generator), ("discriminator", discriminator)):
        if network.conditional and not info.class_names:
            raise RecipeError(
                "recipe",
                [
                    Problem(
                        name,
                        f'needs labels, and the dataset "{recipe.dataset.name}" has none as it is set up',
                    )
                ],
            )
        network.to(compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if recipe.device.compile:
            network.compile()
    return generator, discriminator


def build_part(registry: Registry[C], config: C, path: str, info: DatasetInfo) -> Any:
    """A component made from its options and the facts.

    Raises:
        RecipeError: its options do not fit the facts; `path` names its table.
    """
    component = registry[config.name].load()
    try:
        config.check_info(info)
        return component(config, info=info)
    except ValueError as error:
        raise RecipeError("recipe", [Problem(path, f'"{config.name}" {error}')]) from error


def build_penalty(
    manager: PluginManager,
    index: int,
    config: PenaltyConfig,
    info: DatasetInfo,
    generator: Generator,
    discriminator: Discriminator,
) -> Penalty:
    """A penalty that knows its networks.

    Raises:
        RecipeError: it cannot go with these images or networks; the text names the table, [[penalties]] `index`.
    """
    path = f"penalties.{index}"
    penalty: Penalty = build_part(manager.registries.penalties, config, path, info)
    try:
        penalty.setup(generator, discriminator)
    except ValueError as error:
        raise RecipeError("recipe", [Problem(path, f'"{config.name}" {error}')]) from error
    return penalty


def total_steps(recipe: Recipe, loader: Loader) -> int:
    """The length of a run in steps, its last epoch begun included."""
    if recipe.run.steps is not None:
        return recipe.run.steps
    assert recipe.run.epochs is not None
    return steps_for_epochs(recipe.run.epochs, len(loader.packed), loader.batch_size)


def _numbered(configs: Sequence[PenaltyConfig]) -> list[tuple[str, PenaltyConfig]]:
    """Each penalty under its name, with a number where the name comes again."""
    numbered: dict[str, PenaltyConfig] = {}
    for config in configs:
        name, number = config.name, 1
        while name in numbered:
            number += 1
            name = f"{config.name}-{number}"
        numbered[name] = config
    return list(numbered.items())
