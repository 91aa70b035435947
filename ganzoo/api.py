"""ganzoo from Python: the verbs of the command line as functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganzoo.components.network import Discriminator, Generator
from ganzoo.engine.build import build_networks, build_run, open_dataset
from ganzoo.engine.checkpoint import Checkpoint, latest_checkpoint, load_network, restore
from ganzoo.engine.device import Compute, choose_compute
from ganzoo.engine.environment import describe_environment
from ganzoo.engine.loop import train
from ganzoo.engine.run import Run
from ganzoo.engine.run_directory import RunDirectory
from ganzoo.engine.sampling import generate
from ganzoo.errors import RequestError, RunDirectoryError
from ganzoo.observers.console import packing_progress, warn
from ganzoo.observers.standard import standard_observers
from ganzoo.plugin_manager import PluginManager, plugin_manager
from ganzoo.recipe import DeviceOptions, Recipe, load_recipe, parse_recipe


class TrainedRun:
    """A run directory, to work with what was trained in it.

    Args:
        directory: the run's.
        recipe: as it was run.
        checkpoint: whose weights are used.
        compute: where they are used.
    """

    def __init__(
        self,
        directory: RunDirectory,
        recipe: Recipe,
        checkpoint: Checkpoint,
        compute: Compute,
        manager: PluginManager,
    ) -> None:
        self.directory = directory
        self.recipe = recipe
        self.checkpoint = checkpoint
        self.compute = compute
        self._manager = manager

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.directory.path

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The rows of `metrics.jsonl`."""
        return self.directory.read_metrics()

    @property
    def generator(self) -> Generator:
        """The generator with the weights it samples from: the average where one was kept, else the last."""
        return self.generator_with("auto")

    def generator_with(self, weights: str) -> Generator:
        """The generator with its "ema" or "raw" weights; "auto": ema where the trainer kept them.

        Raises:
            RequestError: there are no such weights.
        """
        generator, _ = self._networks
        name = {"ema": "generator_ema", "raw": "generator"}[self.weights_name(weights)]
        load_network(generator, self.checkpoint, name)
        return generator.eval()

    def weights_name(self, weights: str) -> str:
        """Which weights "auto" stands for: "ema" where the trainer kept them, else "raw".

        Raises:
            RequestError: "ema" is asked for, and there are none.
        """
        has_ema = "generator_ema" in self.checkpoint.networks()
        if weights == "ema" and not has_ema:
            raise RequestError(
                f"{self.path}: keeps no average of the weights (trainer.ema_decay is 0): take --weights raw"
            )
        return "ema" if has_ema and weights != "raw" else "raw"

    @property
    def discriminator(self) -> Discriminator:
        """The discriminator."""
        _, discriminator = self._networks
        load_network(discriminator, self.checkpoint, "discriminator")
        return discriminator.eval()

    def sample(
        self,
        count: int = 64,
        *,
        seed: int = 0,
        weights: str = "auto",
        labels: Sequence[int] | None = None,
        batch_norm: str | None = None,
    ) -> Tensor:
        """Images (count, C, H, W) in [−1, 1], fp32 on the CPU; the same for the same arguments.

        Args:
            count: how many.
            seed: of the latents.
            weights: "ema", "raw", or "auto" for ema where there is one.
            labels: class indices for a conditional generator, taken in turn; left out: class after class.
            batch_norm: "running" or "batch" statistics; left out: as the recipe's [samples] has it.

        Raises:
            RequestError: the labels do not fit the generator.
        """
        generator = self.generator_with(weights)
        latents = generator.sample_latents(count, torch.Generator().manual_seed(seed))
        return generate(
            generator,
            latents,
            self._labels(generator, count, labels),
            batch_norm=batch_norm or self.recipe.samples.batch_norm,
        )

    def evaluate(self, samples: int = 1000, *, seed: int = 0, weights: str = "auto") -> dict[str, Any]:
        """Score samples against the dataset; needs it, and its labels.

        Returns `{"scores": …, "protocol": …}`, also written to `evaluation.json` in the run directory.

        Args:
            samples: how many to make.
            seed: of their latents.
            weights: "ema", "raw", or "auto" for ema where there is one.

        Raises:
            DataError: the dataset is not there, or has no labels.
        """
        from ganzoo.evaluation.classifier import classifier_for
        from ganzoo.evaluation.scores import score

        with packing_progress() as progress:
            pack = open_dataset(self.recipe, self._manager, progress)
        classifier = classifier_for(pack)
        scores = score(self.sample(samples, seed=seed, weights=weights), pack, classifier)
        protocol = {
            "samples": samples,
            "seed": seed,
            "step": self.checkpoint.step,
            "weights": self.weights_name(weights),
            "batch_norm": self.recipe.samples.batch_norm,
            "real_images": len(pack),
            "pack": pack.key,
            "extractor": "classifier",
            "extractor_digest": classifier.digest,
            "extractor_accuracy": classifier.accuracy,
        }
        result = {"scores": scores.to_dict(), "protocol": protocol}
        self.directory.write_json("evaluation.json", result)
        return result

    def _labels(self, generator: Generator, count: int, labels: Sequence[int] | None) -> Tensor | None:
        if not generator.conditional:
            if labels is not None:
                raise RequestError(f'{self.path}: the generator "{self.recipe.generator.name}" takes no labels')
            return None
        classes = self.checkpoint.facts.num_classes
        chosen = list(labels) if labels is not None else list(range(classes))
        if not chosen or any(label < 0 or label >= classes for label in chosen):
            raise RequestError(f"labels {chosen}: must be class indices from 0 to {classes - 1}")
        return torch.tensor(chosen).repeat(count // len(chosen) + 1)[:count]

    @cached_property
    def _networks(self) -> tuple[Generator, Discriminator]:
        return build_networks(self.recipe, self._manager, self.checkpoint.facts, self.compute)


def run(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    overrides: Iterable[str] = (),
    *,
    manager: PluginManager | None = None,
) -> TrainedRun:
    """Train a GAN from beginning to end.

    Args:
        recipe: a TOML file, its tables as a dictionary, or a checked recipe.
        overrides: "trainer.batch_size=64" and the like.
        manager: the plugins to use; left out: those installed.

    Raises:
        GanzooError: the recipe is wrong, or the run failed; the text says how to mend it.
    """
    manager = manager or plugin_manager()
    recipe = _recipe(recipe, overrides, manager)
    with packing_progress() as progress:
        built = build_run(recipe, manager, warn=warn, progress=progress)
    return _train(built, manager)


def resume(path: str | Path, overrides: Iterable[str] = (), *, manager: PluginManager | None = None) -> TrainedRun:
    """Go on with a run from its last whole checkpoint, in the same run directory.

    Args:
        path: the run directory.
        overrides: changes to its recipe, such as "run.steps=50000".
        manager: the plugins to use; left out: those installed.

    Raises:
        GanzooError: there is nothing to go on from, the run is complete, or it failed.
    """
    manager = manager or plugin_manager()
    directory = RunDirectory.open(path)
    recipe = parse_recipe(
        directory.read_recipe(), manager, source=str(directory.path / "recipe.toml"), overrides=overrides
    )
    checkpoint = latest_checkpoint(directory.checkpoints)
    with packing_progress() as progress:
        built = build_run(recipe, manager, directory=directory, warn=warn, progress=progress)
    if built.facts != checkpoint.facts:
        raise RunDirectoryError(
            f"{directory}: the dataset has changed since: it was {checkpoint.facts}, and is {built.facts}"
        )
    restore(built, checkpoint)
    if built.step >= built.total_steps:
        raise RequestError(
            f"{directory}: is complete at step {built.step}; to go on, ask for more with --set run.steps=…"
        )
    built.resumed_from = built.step
    directory.write_recipe(recipe)
    directory.cut_metrics_after(built.step)
    return _train(built, manager)


def load_run(path: str | Path, *, accelerator: str | None = None, manager: PluginManager | None = None) -> TrainedRun:
    """Open a run directory to sample from what was trained in it; needs no dataset.

    Args:
        path: the run directory.
        accelerator: "cpu", "cuda", "mps" or "auto"; left out: the best there is.
        manager: the plugins to use; left out: those installed.

    Raises:
        GanzooError: it is no run directory, or holds no whole checkpoint.
    """
    manager = manager or plugin_manager()
    directory = RunDirectory.open(path)
    recipe = parse_recipe(directory.read_recipe(), manager, source=str(directory.path / "recipe.toml"))
    compute = choose_compute(DeviceOptions(accelerator=accelerator or "auto", precision="fp32"))
    return TrainedRun(directory, recipe, latest_checkpoint(directory.checkpoints), compute, manager)


def _recipe(
    recipe: str | Path | Mapping[str, Any] | Recipe, overrides: Iterable[str], manager: PluginManager
) -> Recipe:
    if isinstance(recipe, str | Path):
        return load_recipe(recipe, manager, overrides)
    tables = recipe.to_dict() if isinstance(recipe, Recipe) else recipe
    return parse_recipe(tables, manager, overrides=overrides)


def _train(built: Run, manager: PluginManager) -> TrainedRun:
    built.directory.write_json("environment.json", describe_environment(built))
    with observing(manager, standard_observers(built.recipe)):
        train(built)
    checkpoint = latest_checkpoint(built.directory.checkpoints)
    return TrainedRun(built.directory, built.recipe, checkpoint, built.compute, manager)


@contextmanager
def observing(manager: PluginManager, observers: Sequence[object]) -> Iterator[None]:
    """Have `observers` hear the events of one run."""
    for observer in observers:
        manager.pluggy.register(observer, name=type(observer).__name__)
    try:
        yield
    finally:
        for observer in observers:
            manager.pluggy.unregister(observer)
