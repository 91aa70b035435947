"""Build a run from a recipe and the registries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, cast

import torch
from torch.nn.parameter import is_lazy

from ganzoo.components.loss import Loss
from ganzoo.components.network import Discriminator, Generator, Network
from ganzoo.components.options import ROLES, ComponentConfig, DatasetConfig
from ganzoo.components.penalty import Penalty
from ganzoo.components.spec import DatasetInfo
from ganzoo.components.trainer import Trainer, TrainingParts
from ganzoo.components.world import World
from ganzoo.data.loader import Loader
from ganzoo.data.packed_dataset import PackedDataset, pack_dataset
from ganzoo.errors import DataError, Problem, RecipeError, RequestError
from ganzoo.recipe.model import Recipe
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.registry.registry import Registry
from ganzoo.runtime.cpu_kernels import order_instance_norm_gradients
from ganzoo.runtime.device import Compute, choose_compute
from ganzoo.runtime.environment import called_plugins, plugin_code
from ganzoo.runtime.memory import memory_errors
from ganzoo.runtime.random_state import seed_everything
from ganzoo.storage.checkpoint import Checkpoint
from ganzoo.storage.run_directory import RunDirectory
from ganzoo.terminal import count_progress
from ganzoo.text import unused_name
from ganzoo.training import initial_weights
from ganzoo.training.checkpointing import check_place, check_room_for_run
from ganzoo.training.cuda_graph import record_steps
from ganzoo.training.events import Events
from ganzoo.training.run import Run


@memory_errors()
def build_run(
    recipe: Recipe,
    manager: PluginManager,
    *,
    directory: RunDirectory | None = None,
    warn: Callable[[str], None],
    world: World | None = None,
    initial: Checkpoint | None = None,
) -> Run:
    """Build a run from a checked recipe.

    Args:
        recipe: already checked.
        manager: the installed plugins.
        directory: the run directory of a resumed run; default: a new one, made last, so that a failure
            leaves no empty folder.
        warn: called with a message for each problem that does not end the run.
        world: the connected processes of the run; default: this process alone.
        initial: the weights that the networks start from; default: they start from scratch.

    Raises:
        GanzooError: a part cannot be built; the text says which, and the cure.
    """
    registries, world = manager.registries, world or World()
    compute = choose_compute(recipe.device, world)
    if directory is None and world.is_main:
        check_place(recipe)
    with world.local_main_first():  # one process of each machine packs the dataset if it is not packed yet
        packed = open_dataset(recipe, manager, shows_progress=world.is_main)
    if world.is_main:
        tell_findings(packed, warn)

    seed_everything(recipe.run.seed)
    networks = build_networks(recipe, manager, packed.info, compute)
    with world.local_main_first():  # one process of each machine downloads
        for network in networks.values():
            network.prepare()
    for role, network in networks.items():
        network.world = world
        with _fitting(_table(role), network.config.name):
            _check_finite(network)
    transfers = initial_weights.take_weights(networks, initial, recipe.init) if initial else {}
    loss: Loss = build_part(registries.losses, recipe.loss, "loss", packed.info)
    with _fitting("loss", recipe.loss.name):
        _check_stateless(loss)
    penalties: dict[str, Penalty] = {}
    for index, config in enumerate(recipe.penalties):
        penalty: Penalty = build_part(registries.penalties, config, f"penalties.{index}", packed.info)
        with _fitting(f"penalties.{index}", config.name):
            penalty.setup(cast("Generator", networks["generator"]), cast("Discriminator", networks["discriminator"]))
            _check_storable(penalty)
            _check_finite(penalty)
        penalties[unused_name(config.name, penalties)] = penalty.to(compute.device)
    if recipe.device.sync_batch_norm:
        world.convert_sync_batchnorm([*networks.values(), *penalties.values()])
    initial_weights.freeze(networks, recipe.init.freeze)
    loader = Loader(
        packed,
        batch_size=recipe.trainer.batch_size * recipe.trainer.batches_per_step,
        minibatches=recipe.trainer.batches_per_step,
        micro_batches=recipe.trainer.micro_batches,
        seed=recipe.run.seed,
        device=compute.device,
        horizontal_flip=recipe.dataset.flips,
        placement=recipe.dataset.placement,
        rank=world.rank,
        world_size=world.world_size,
    )
    parts = TrainingParts(
        networks=networks,
        loss=loss,
        penalties=penalties,
        rng=torch.Generator(compute.device).manual_seed(recipe.run.seed),
        autocast=compute.autocast,
        loss_scaling=compute.precision == "fp16",  # small gradients would underflow
        total_steps=recipe.run.total_steps(len(packed), loader.batch_size),
        world=world,
    )
    trainer: Trainer = registries.trainers[recipe.trainer.name].load()(recipe.trainer, parts=parts)
    _check_weights(recipe, trainer)
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
    if initial and world.is_main:
        initial_weights.report(transfers, initial, recipe.init, directory)
    return Run(
        recipe=recipe,
        directory=directory,
        info=packed.info,
        compute=compute,
        trainer=trainer,
        loader=loader,
        events=Events(manager.pluggy.observers() if world.is_main else (), warn),
        total_steps=parts.total_steps,
        manager=manager,
        plugin_code=MappingProxyType(plugin_code(called_plugins(recipe, manager), manager.code)),
        world=world,
    )


def open_dataset(recipe: Recipe, manager: PluginManager, *, shows_progress: bool = True) -> PackedDataset:
    """Return the packed dataset of a recipe, decoding its images if there is no pack yet.

    Nothing is downloaded to a folder that only a run directory's recipe names.

    Raises:
        DataError: the images are missing or cannot be read.
    """
    make = manager.registries.datasets[recipe.dataset.name].load()
    config, refused = _without_downloads(recipe.dataset) if recipe.foreign else (recipe.dataset, [])
    try:
        with count_progress() as progress:
            return pack_dataset(make(config), progress=progress if shows_progress else None)
    except DataError as error:
        if not refused:
            raise
        raise DataError(
            f"{error} (nothing is downloaded to {' or '.join(refused)}, which a run directory names: if that is your "
            f"folder, `ganzoo data prepare` on its recipe.toml does it)"
        ) from error


def _without_downloads(config: DatasetConfig) -> tuple[DatasetConfig, list[str]]:
    """Return options by which nothing is downloaded to folders that they name, also by datasets in them; and these."""
    inner = {key: _without_downloads(value) for key, value in config if isinstance(value, DatasetConfig)}
    changes: dict[str, Any] = {key: changed for key, (changed, _) in inner.items()}
    own = config.root != type(config).model_fields["root"].get_default() and getattr(config, "download", False)
    refused = [config.root] * own + [root for _, roots in inner.values() for root in roots]
    return config.model_copy(update=changes | ({"download": False} if own else {})), refused


def tell_findings(packed: PackedDataset, warn: Callable[[str], None]) -> None:
    """Tell what was found of a dataset that is seldom meant, and how many of its samples were left out."""
    for finding in packed.findings:
        warn(f"dataset: {finding}")
    if packed.skipped:
        noun = packed.info.noun
        warn(f"dataset: {noun} that cannot be used, left out: {len(packed.skipped)}; environment.json lists them")


def build_networks(recipe: Recipe, manager: PluginManager, info: DatasetInfo, compute: Compute) -> dict[str, Network]:
    """Build the trainer's networks by name, in the channels-last format, which is fastest for convolutions.

    Raises:
        RecipeError: one of them does not fit the dataset.
    """
    networks = {}
    for role in recipe.trainer.roles:
        networks[role] = network = build_network(recipe, manager, role, info)
        network.to(compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if recipe.device.compile:
            network.compile()
        else:
            order_instance_norm_gradients(network)
    return networks


def build_network(recipe: Recipe, manager: PluginManager, role: str, info: DatasetInfo) -> Network:
    """Build the network of a role for a dataset.

    Raises:
        RecipeError: it does not fit the dataset.
    """
    registry: Registry = getattr(manager.registries, f"{recipe.trainer.roles[role]}s")
    config, path = recipe.network(role), _table(role)
    with _fitting("trainer", recipe.trainer.name):
        of_role = recipe.trainer.info_for(role, info)
    missing_table = recipe.missing_table(role)
    network: Network = build_part(registry, config, path, of_role, note=missing_table)
    with _fitting(path, network.config.name, missing_table):
        if missing := of_role.lacks(network.uses):
            lacking = f'the dataset "{recipe.dataset.name}" has none as it is set up'
            raise ValueError(f"needs {' and '.join(missing)}, and {lacking}")
        if not any(parameter.requires_grad for parameter in network.parameters()):
            raise ValueError("has no parameter to train: make its layers in its constructor")
        _check_storable(network)
    return network


def _check_storable(module: torch.nn.Module) -> None:
    """Raise ValueError where the state of a network or penalty could not be restored from a checkpoint."""
    for key, value in module.state_dict().items():
        if not isinstance(value, torch.Tensor):
            raise ValueError(f"has {key} in its state_dict, and checkpoints keep tensors alone: make it a tensor")
        if is_lazy(value):
            raise ValueError(f"has {key} without a shape, as lazy layers have it: give the layer its sizes")
        if any(size > 1 and not stride for size, stride in zip(value.shape, value.stride(), strict=True)):
            raise ValueError(f"has {key}, an expanded view whose values share memory: add .clone() to it")


def _check_finite(module: torch.nn.Module) -> None:
    """Raise ValueError where a value of a network or penalty is not finite before it trains: none is ever saved."""
    for key, value in module.state_dict().items():
        if value.element_size() > 1 and not value.isfinite().all():  # torch cannot tell of floats of one byte
            raise ValueError(f"has {key} with values that are not finite: register it with persistent=False")


def _check_stateless(loss: Loss) -> None:
    """Raise ValueError where a loss holds parameters to train, which no optimizer would and no checkpoint keep."""
    for held in (loss, *vars(loss).values()):
        parameters = held.parameters() if isinstance(held, torch.nn.Module) else [held]
        if any(isinstance(each, torch.nn.Parameter) and each.requires_grad for each in parameters):
            raise ValueError("has parameters to train, and a loss keeps no state: freeze them, or make it a penalty")


def _table(role: str) -> str:
    """Return the path of a network's table in a recipe."""
    return role if role in ROLES else f"networks.{role}"


def build_part(registry: Registry, config: ComponentConfig, path: str, info: DatasetInfo, *, note: str = "") -> Any:
    """Build a component from its options and the dataset's info.

    Raises:
        RecipeError: its options do not fit the dataset; `path` names its table, and `note` ends the text.
    """
    component = registry[config.name].load()
    with _fitting(path, config.name, note):
        config.check_info(info)
        return component(config, info=info)


@contextmanager
def _fitting(path: str, name: str, note: str = "") -> Iterator[None]:
    """Tell a ValueError as a problem of the component `name` in the table `path` of the recipe, and `note` after it."""
    try:
        yield
    except ValueError as error:
        raise RecipeError("recipe", [Problem(path, f'"{name}" {error}{note}')]) from error


def _check_weights(recipe: Recipe, trainer: Trainer) -> None:
    """Refuse samples or scores of averaged weights where the trainer keeps no average."""
    wanted = {"samples.weights": recipe.samples.weights, "evaluation.weights": recipe.evaluation.weights}
    if "generator_ema" not in trainer.networks():
        told = f'is "ema", and the trainer "{recipe.trainer.name}" keeps no average of the weights'
        cure = ": set trainer.ema_decay, such as 0.999, or leave this out"
        if problems := [Problem(path, told + cure) for path, weights in wanted.items() if weights == "ema"]:
            raise RecipeError("recipe", problems)
