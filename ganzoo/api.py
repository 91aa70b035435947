"""Run ganzoo from Python: the commands of the command line as functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy  # noqa: F401 (before torch, which swallows a Ctrl-C while it imports it, and goes on with a part of it)
import torch
from torch import Tensor

from ganzoo.components.importer import ImportedWeights
from ganzoo.components.spec import ImageSpec
from ganzoo.components.world import World
from ganzoo.data.image_files import read_image, readable_suffixes
from ganzoo.data.packed_dataset import as_floats
from ganzoo.data.transforms import allowed_pixels, to_stored
from ganzoo.errors import (
    CheckpointError,
    Interrupted,
    Problem,
    RecipeError,
    RequestError,
    RunDirectoryError,
    first_line,
)
from ganzoo.evaluation.evaluate import evaluate, evaluate_images
from ganzoo.evaluation.evaluation_log import cut_evaluations_after
from ganzoo.observers.standard import standard_observers
from ganzoo.recipe.load import Note, Source, load_recipe, naming_source
from ganzoo.recipe.model import DeviceOptions, Recipe
from ganzoo.recipe.overrides import Overrides
from ganzoo.recipe.validate import lint
from ganzoo.registry.plugin_manager import PluginManager, check_hooks, plugin_manager
from ganzoo.runtime.device import choose_compute, torch_defaults
from ganzoo.runtime.distributed import world_from_env
from ganzoo.runtime.output import surviving_output
from ganzoo.runtime.random_state import kept_random_state
from ganzoo.sampling.trained_run import TrainedRun
from ganzoo.storage.checkpoint import Checkpoint, checkpoint_folders, checkpoint_of, latest_checkpoint
from ganzoo.storage.disk import expand_user
from ganzoo.storage.exported import ExportedWeights, open_export
from ganzoo.storage.manifest import EXPORT, is_export
from ganzoo.storage.run_directory import RunDirectory, run_lock
from ganzoo.storage.summary import SUMMARY, first_reaching
from ganzoo.terminal import warn
from ganzoo.text import shell_word
from ganzoo.training import loop
from ganzoo.training.build import build_run
from ganzoo.training.changed_environment import check_changes, write_environment
from ganzoo.training.checkpointing import restore
from ganzoo.training.fit import check_export
from ganzoo.training.import_weights import import_weights
from ganzoo.training.initial_weights import REPORT
from ganzoo.training.plugin_notes import plugin_notes
from ganzoo.training.run import Run, describe_environment

__all__ = [
    "TrainedRun",
    "build",
    "evaluate",
    "evaluate_images",
    "import_run",
    "load_export",
    "load_run",
    "read_images",
    "read_inputs",
    "resume",
    "run",
    "train",
]


@torch_defaults()
@surviving_output()
@kept_random_state()
def run(
    recipe: Source, overrides: Overrides = (), *, observers: Iterable[object] = (), manager: PluginManager | None = None
) -> TrainedRun:
    """Train a GAN from beginning to end.

    Plugin files that the recipe names are imported, which executes them. Runs in several threads of a process draw from
    the same random numbers, so they cannot be repeated to the bit.

    Args:
        recipe: a TOML file, TOML text, its tables as a dictionary, or a checked recipe.
        overrides: `{"trainer.batch_size": 64}` and the like; or texts as `--set` takes them.
        observers: objects with methods that implement event hooks, called for this run only.
        manager: the plugins to use; default: those installed.

    Raises:
        GanzooError: the recipe is wrong, or the run failed; the text says how to fix it.
    """
    world, observers = world_from_env(), _checked(observers)
    checked, manager = load_recipe(recipe, manager or plugin_manager(), overrides, note=_note(world))
    for problem in lint(checked, manager) if world.is_main else ():
        warn(str(problem))
    with world.connected(choose_compute(checked.device, world).device):
        with plugin_notes(checked, manager), naming_source(recipe):
            built = build_run(checked, manager, warn=warn, world=world, initial=_initial_weights(checked, world))
        return train(built, observers)


@torch_defaults()
def build(recipe: Source, overrides: Overrides = (), *, manager: PluginManager | None = None) -> Run:
    """Build all parts of a run without training it, for steps of your own: `run.trainer.train_step(run.loader.next())`.

    Makes its run directory, and seeds the global random numbers as training does.

    Args:
        recipe: a TOML file, TOML text, its tables as a dictionary, or a checked recipe.
        overrides: `{"trainer.batch_size": 64}` and the like; or texts as `--set` takes them.
        manager: the plugins to use; default: those installed.

    Raises:
        GanzooError: the recipe is wrong, or a part cannot be built.
    """
    checked, manager = load_recipe(recipe, manager or plugin_manager(), overrides)
    with plugin_notes(checked, manager), naming_source(recipe):
        return build_run(checked, manager, warn=warn, initial=_initial_weights(checked, World()))


@torch_defaults()
@surviving_output()
def train(built: Run, observers: Iterable[object] = ()) -> TrainedRun:
    """Train a built run from its current step to its end, with the observers of every run and those of its recipe.

    Args:
        built: by `build`.
        observers: objects with methods that implement event hooks, called for this run only.

    Raises:
        GanzooError: another process trains in its run directory, or the run failed.
    """
    observers = _checked(observers)
    with run_lock(built.directory) if built.world.is_main else nullcontext():
        return _train(built, observers)


@torch_defaults()
@surviving_output()
@kept_random_state()
def resume(
    path: str | Path,
    overrides: Overrides = (),
    *,
    trust_plugins: bool | None = None,
    accept_changes: bool = False,
    observers: Iterable[object] = (),
    manager: PluginManager | None = None,
) -> TrainedRun:
    """Resume a run from its last complete checkpoint, in the same run directory; from its start if it has none.

    Args:
        path: the run directory.
        overrides: changes to its recipe, such as `{"run.steps": 50000}`.
        trust_plugins: whether plugin files in the run directory may be imported, which executes them; default: as
            `GANZOO_TRUST_PLUGINS` says, or no if it is unset.
        accept_changes: continue even if its data or the code of its plugins has changed since.
        observers: objects with methods that implement event hooks, called for this part of the run only.
        manager: the plugins to use; default: those installed.

    Raises:
        GanzooError: another process trains in it, each of its checkpoints is damaged, its data or plugins have
            changed, the run is complete, has reached its target or was imported, or it failed.
    """
    if is_export(Path(path)):
        raise RequestError(f"{path}: is an export, without the state of the optimizers, which nothing can go on from")
    world, directory, observers = world_from_env(), RunDirectory.open(path), _checked(observers)
    with run_lock(directory) if world.is_main else nullcontext():
        recipe, manager = directory.load_recipe(
            manager or plugin_manager(), overrides, trust=trust_plugins, note=_note(world)
        )
        with world.connected(choose_compute(recipe.device, world).device):
            return _train(_resumed(directory, recipe, manager, world, accept_changes), observers)


def _resumed(
    directory: RunDirectory, recipe: Recipe, manager: PluginManager, world: World, accept_changes: bool
) -> Run:
    """Build a run as its last checkpoint left it, and drop from its files what it repeats."""
    checkpoint = None
    if world.is_main and not _before_first_checkpoint(directory, recipe):
        checkpoint = latest_checkpoint(directory.checkpoints, warn)
    checkpoint = world.broadcast_object(checkpoint)
    if checkpoint is not None and not checkpoint.resumable:
        raise RequestError(
            f"{directory}: was imported: weights without the optimizers' state, which nothing can go on from; "
            f"`ganzoo run {shell_word(directory.path / 'recipe.toml')}` trains such networks anew, and with "
            f"--set init.from={shell_word(directory.path)} from these weights"
        )
    initial = _initial_weights(recipe, world, directory.read_json(REPORT)) if checkpoint is None else None
    with plugin_notes(recipe, manager), naming_source(directory.path / "recipe.toml"):
        built = build_run(recipe, manager, directory=directory, warn=warn, world=world, initial=initial)
    if checkpoint is not None:
        cure = f"`ganzoo run` with --set init.from={shell_word(directory.path)} begins anew from its weights"
        if told := checkpoint.info.changed(built.info):
            raise RunDirectoryError(f"{directory}: {told}; bring it back to go on, or {cure}")
        if world.is_main:
            check_changes(directory, describe_environment(built), accept=accept_changes)
        try:
            restore(built, checkpoint)
        except CheckpointError as error:
            raise CheckpointError(f"{error}; {cure}") from error
    if built.step >= built.total_steps:
        length = "run.steps" if recipe.run.steps is not None else "run.epochs"
        raise RequestError(
            f"{directory}: is complete at step {built.step}; to go on, ask for more with --set {length}=…"
        )
    rows = [row for row in directory.read_metrics() if row["step"] <= built.step]
    target = recipe.run.target
    if target is not None and (row := first_reaching(target, rows)):
        raise RequestError(
            f"{directory}: is complete: it reached its target, {target}, at step {row['step']}; to go on, ask for more "
            f"with --set run.target.{'above' if target.below is None else 'below'}=…, or have none with "
            f"--set 'run.target={{}}'"
        )
    built.resumed_from = built.step
    if not built.clock.seconds and rows:  # by a checkpoint of an earlier version
        built.clock.seconds = float(rows[-1].get("seconds", 0.0))
    if world.is_main:
        directory.write_recipe(recipe)
        directory.write_plugins(directory.changed_plugins(recipe, manager))
        directory.cut_metrics_after(built.step)
        cut_evaluations_after(directory, built.step)
        (directory.path / SUMMARY).unlink(missing_ok=True)  # the run did not end there
    return built


@kept_random_state()
def import_run(
    source: str | Path,
    out: str | Path,
    overrides: Overrides = (),
    *,
    importer: str | None = None,
    report: Callable[[ImportedWeights], None] | None = None,
    manager: PluginManager | None = None,
) -> TrainedRun:
    """Import weights that were trained elsewhere into a run directory, to be used like any other.

    Nothing in `source` is executed. The run cannot be resumed: the state of the optimizers is not imported.

    Args:
        source: a file or folder, in a form that an importer of an installed plugin reads.
        out: the run directory to make; must not exist, or be empty.
        overrides: changes to the recipe that goes with the weights, such as `{"dataset.name": "cifar10"}`.
        importer: its name; default: the one that recognizes `source`.
        report: called with the weights that were read and where each one goes, once they are known to fit.
        manager: the plugins to use; default: those installed.

    Raises:
        GanzooError: the source is missing, damaged or of no known form, its weights do not fit, or
            `out` is in use; nothing is written then.
    """
    manager = manager or plugin_manager()
    directory = import_weights(Path(source), Path(out), manager, overrides, importer=importer, report=report)
    return load_run(directory.path, manager=manager)


def load_run(
    path: str | Path,
    *,
    step: int | None = None,
    network: str | None = None,
    accelerator: str | None = None,
    trust_plugins: bool | None = None,
    manager: PluginManager | None = None,
) -> TrainedRun:
    """Open a run directory to sample from what was trained in it; needs no dataset.

    Args:
        path: the run directory, or a folder that `ganzoo export` made.
        step: of the checkpoint whose weights are used; default: of the last complete one.
        network: name of the generator, where the trainer has several; default: the first, or the exported one.
        accelerator: "cpu", "cuda", "mps" or "auto"; default: the best there is.
        trust_plugins: whether plugin files in the run directory may be imported, which executes them; default: as
            `GANZOO_TRUST_PLUGINS` says, or no if it is unset.
        manager: the plugins to use; default: those installed.

    Raises:
        GanzooError: it is not a run directory, or has no complete checkpoint, or none of that step.
    """
    directory, checkpoint = _open_weights(Path(path), step)
    recipe, manager = directory.load_recipe(manager or plugin_manager(), trust=trust_plugins)
    for file in directory.changed_plugins(recipe, manager):
        warn(f"{directory.path}: {file.path} is imported, in place of another {file.name} that the run keeps")
    made, expected = checkpoint.info.samples, recipe.dataset.sample_spec()
    if made != expected:
        raise CheckpointError(f"{checkpoint.path}: makes samples of {made}, but its recipe has a dataset of {expected}")
    exported = checkpoint if isinstance(checkpoint, ExportedWeights) else None
    if exported is not None:
        check_export(recipe, exported, manager)
    compute = choose_compute(DeviceOptions(accelerator=accelerator or "auto", precision="fp32"))
    if network is None and exported is not None:
        held = {name.removesuffix("_ema") for name in exported.networks()}
        generators = [name for name, kind in recipe.trainer.roles.items() if kind == "generator"]
        network = next((name for name in generators if name in held), None)
    return TrainedRun(directory, recipe, checkpoint, compute, manager, network or "generator")


def read_inputs(trained: TrainedRun, path: str | Path) -> tuple[list[str], Tensor]:
    """Return the names of image files, without suffixes, and the images as conditions of the generator, (N, C, H, W).

    Args:
        trained: whose dataset options bring each to its size.
        path: an image file, or a folder whose images are all taken, in the order of their names.

    Raises:
        RequestError: an image cannot be read, there is none, or two have one name; or the generator takes none.
    """
    spec = trained.info.condition if "condition" in trained.generator.uses else None
    if not isinstance(spec, ImageSpec):
        instead = f"but vectors of {spec}: give them in Python, sample(condition=…)" if spec else "nor other conditions"
        raise RequestError(f"--input {path}: the {trained.network} of {trained.path} takes no images, {instead}")
    return _read_images(trained, Path(path), spec, "--input")


def read_images(trained: TrainedRun, path: str | Path) -> tuple[list[str], Tensor]:
    """Return the names of image files, without suffixes, and the images in the form of the run's samples, (N, C, H, W).

    Args:
        trained: whose dataset options bring each to its size.
        path: an image file, or a folder whose images are all taken, in the order of their names.

    Raises:
        RequestError: an image cannot be read, there is none, or two have one name.
        UnfitDataError: the run's samples are vectors.
    """
    return _read_images(trained, Path(path), trained.image, "--images")


def _read_images(trained: TrainedRun, path: Path, spec: ImageSpec, option: str) -> tuple[list[str], Tensor]:
    if not path.exists():
        raise RequestError(f"{option} {path}: does not exist")
    listed = sorted(path.iterdir()) if path.is_dir() else [path]
    files = [file for file in listed if file.suffix.lower() in readable_suffixes() and not file.name.startswith(".")]
    if not files:
        raise RequestError(f"{option} {path}: is no image, and no folder with images in it")
    inputs: dict[str, Tensor] = {}
    for file in files:
        if file.stem in inputs:
            raise RequestError(f"{option} {path}: two images are called {file.stem}: their outputs would be one file")
        try:
            with allowed_pixels(trained.recipe.dataset):
                pixels = to_stored(read_image(file), trained.recipe.dataset, spec)
        except Exception as error:  # PIL raises many types for a damaged file
            raise RequestError(f"{option} {file}: cannot be read: {first_line(error)}") from error
        inputs[file.stem] = as_floats(pixels[None].copy())
    return list(inputs), torch.cat([*inputs.values()])


def load_export(
    path: str | Path,
    *,
    accelerator: str | None = None,
    trust_plugins: bool | None = None,
    manager: PluginManager | None = None,
) -> TrainedRun:
    """Open a folder that `ganzoo export` made, to sample from it; runs no code from it.

    Args:
        path: the folder, of the format safetensors or hub; the others are arguments of `load_run`.

    Raises:
        GanzooError: it is no such folder, a file in it is missing or changed, or its plugin is not installed.
    """
    if not is_export(Path(path)):
        raise RunDirectoryError(f"{path}: is not a folder that `ganzoo export` made: it has no {EXPORT}")
    return load_run(path, accelerator=accelerator, trust_plugins=trust_plugins, manager=manager)


def _before_first_checkpoint(directory: RunDirectory, recipe: Recipe) -> bool:
    """Check whether a run was stopped before its first checkpoint, and is repeated from its start with the same seed.

    A run without checkpoints has lost them if it has metrics of a step after the first was due, ended with one, or has
    no folder for them.

    Raises:
        UnreadableCheckpointError: its checkpoints cannot be listed.
    """
    if checkpoint_folders(directory.checkpoints):
        return False
    reached = max((row["step"] for row in directory.read_metrics()), default=0)
    ended = directory.read_json(SUMMARY)
    saved = ended.get("status") in ("complete", "reached") or str(ended.get("error")).startswith(Interrupted.__name__)
    return not saved and (reached <= recipe.checkpoint.every if directory.checkpoints.is_dir() else not reached)


def _open_weights(path: Path, step: int | None) -> tuple[RunDirectory, Checkpoint]:
    """Open the weights of a run directory, of the last complete checkpoint or that of a step, or those of an export.

    Raises:
        RequestError: they are missing or damaged.
    """
    if is_export(path):
        if step is not None:
            raise RequestError(f"{path}: is an export, which holds the weights of one step: leave step out")
        return RunDirectory(path), open_export(path)
    if path.is_file():
        raise RequestError(f"{path}: is a file; `ganzoo import` makes a run directory of weights trained elsewhere")
    directory = RunDirectory.open(path)
    if step is None:
        return directory, latest_checkpoint(directory.checkpoints, warn)
    return directory, checkpoint_of(directory.checkpoints, step)


def _initial_weights(recipe: Recipe, world: World, begun: dict[str, Any] | None = None) -> Checkpoint | None:
    """Open the weights that a run starts from; nothing else of where they lie is read, and no code of it runs.

    A run that has `begun`, by its report on them, starts from the same step again, also where its source trained on.

    Raises:
        RecipeError: they are missing or damaged.
    """
    checkpoint = None
    if recipe.init.source is None:
        return None
    if world.is_main:
        try:
            source, step = expand_user(recipe.init.source), recipe.init.step
            if begun and begun.get("from") == recipe.init.source and not is_export(source):
                step = begun["step"] if isinstance(begun.get("step"), int) else step
            _, checkpoint = _open_weights(source, step)
        except RequestError as error:
            raise RecipeError("recipe", [Problem("init.from", str(error))]) from error
    return world.broadcast_object(checkpoint)


def _note(world: World) -> Note:
    """Return what prints a warning in one process of a run."""
    return warn if world.is_main else lambda _: None


def _checked(observers: Iterable[object]) -> tuple[object, ...]:
    """Check observers for hooks that would not be called, before anything is built."""
    checked = tuple(observers)
    for observer in checked:
        check_hooks(observer)
    return checked


def _train(built: Run, observers: Iterable[object]) -> TrainedRun:
    with plugin_notes(built.recipe, built.manager):
        if built.world.is_main:  # the first process alone has observers
            write_environment(built.directory, describe_environment(built), built.step)
            built.events.register_standard(standard_observers(built))
            registry = built.manager.registries.observers
            for name, config in built.recipe.observers.chosen().items():
                built.events.register(registry[name].load()(config), f"observers.{name}")
            for observer in observers:
                built.events.register(observer)
        loop.train(built)
    built.world.all_reduce_signal(None)  # the others wait until the first has written everything
    checkpoint = latest_checkpoint(built.directory.checkpoints, warn)
    return TrainedRun(built.directory, built.recipe, checkpoint, built.compute, built.manager)
