"""A trained run, opened for sampling and inspection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor

from ganzoo.components.network import Discriminator, Generator
from ganzoo.components.options import DatasetConfig
from ganzoo.data.packed_dataset import PackedDataset
from ganzoo.errors import RequestError
from ganzoo.recipe.load import parse_recipe
from ganzoo.recipe.model import Recipe
from ganzoo.recipe.overrides import Overrides, override_pairs
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.runtime.device import Compute
from ganzoo.runtime.memory import memory_errors
from ganzoo.runtime.random_state import kept_random_state, seeded_generators
from ganzoo.sampling.generate import BatchNormMode, batch_norm_used, generate, made_together
from ganzoo.storage.checkpoint import Checkpoint, load_network
from ganzoo.storage.run_directory import RunDirectory
from ganzoo.terminal import packing_progress
from ganzoo.training.build import build_networks, open_dataset

Weights = Literal["auto", "ema", "raw"]


@dataclass(eq=False, repr=False)
class TrainedRun:
    """The networks of one checkpoint of a run, for sampling and inspection.

    Attributes:
        directory: the run directory.
        recipe: of the run.
        checkpoint: gives the weights.
        compute: device and precision.
        manager: the plugins that the recipe's components come from.
    """

    directory: RunDirectory
    recipe: Recipe
    checkpoint: Checkpoint
    compute: Compute
    manager: PluginManager
    _networks: dict[str, Generator | Discriminator] = field(default_factory=dict, init=False)

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.directory.path

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """Rows of `metrics.jsonl`."""
        return self.directory.read_metrics()

    @property
    def generator(self) -> Generator:
        """The generator with its EMA weights where the trainer kept them, else the raw ones."""
        return self.generator_with("auto")

    @property
    def discriminator(self) -> Discriminator:
        """The discriminator."""
        return cast("Discriminator", self._network("discriminator"))

    def generator_with(self, weights: Weights) -> Generator:
        """Return the generator with its "ema" or "raw" weights; "auto": ema where the trainer kept them.

        Raises:
            RequestError: "ema" was asked for and not kept.
        """
        name = {"ema": "generator_ema", "raw": "generator"}[self.weights_name(weights)]
        return cast("Generator", self._network(name))

    def weights_name(self, weights: Weights) -> str:
        """Resolve "auto" to "ema" where the trainer kept EMA weights, else to "raw".

        Raises:
            RequestError: "ema" was asked for and not kept.
        """
        has_ema = "generator_ema" in self.checkpoint.networks()
        if weights == "ema" and not has_ema:
            raise RequestError(
                f"{self.path}: keeps no average of the weights (trainer.ema_decay is 0): take --weights raw"
            )
        return "ema" if has_ema and weights != "raw" else "raw"

    def latents(self, count: int, seed: int = 0) -> Tensor:
        """Draw latents (count, latent_dim) from the generator's prior, on the CPU; the first are those of any count."""
        return self.generator.latents_of_seed(count, seed)

    def labels(self, count: int, classes: Sequence[int] | None = None) -> Tensor | None:
        """Return labels (count,) for a conditional generator, cycling through `classes` or all; None for any other.

        Raises:
            RequestError: the generator takes no labels, or there is no such class.
        """
        if "labels" not in self.generator.uses:
            if classes is not None:
                raise RequestError(f'{self.path}: the generator "{self.recipe.generator.name}" takes no labels')
            return None
        known = self.checkpoint.info.num_classes
        chosen = list(classes) if classes is not None else list(range(known))
        if not chosen or any(label < 0 or label >= known for label in chosen):
            raise RequestError(f"labels {chosen}: must be class indices from 0 to {known - 1}")
        return torch.tensor(chosen).repeat(count // len(chosen) + 1)[:count]

    def images(
        self,
        latents: Tensor,
        labels: Tensor | None = None,
        *,
        weights: Weights = "auto",
        batch_norm: BatchNormMode | None = None,
        seed: int = 0,
    ) -> Tensor:
        """Generate images (N, C, H, W) in [−1, 1], fp32 on the CPU, from latents (N, latent_dim).

        Args:
            latents: any, not only from the prior.
            labels: class indices (N,) for a conditional generator.
            weights: "ema", "raw", or "auto" for ema where there is one.
            batch_norm: statistics that batch norm takes; left out: as the recipe's [samples] has it.
            seed: of noise that the generator draws itself, if it does.
        """
        mode, generator = batch_norm or self.recipe.samples.batch_norm, self.generator_with(weights)
        with seeded_generators(seed):
            return generate(generator, latents, labels, batch_norm=mode)

    def sample(
        self,
        count: int = 64,
        *,
        seed: int = 0,
        weights: Weights = "auto",
        labels: Sequence[int] | None = None,
        batch_norm: BatchNormMode | None = None,
    ) -> Tensor:
        """Generate images (count, C, H, W) in [−1, 1], fp32 on the CPU; the same for the same arguments.

        An image does not depend on the number of images, except for noise that the generator draws itself.

        Args:
            count: number of images.
            seed: of the latents, and of noise that the generator draws itself.
            weights: "ema", "raw", or "auto" for ema where there is one.
            labels: class indices for a conditional generator, taken in turn; left out: class after class.
            batch_norm: statistics that batch norm takes; left out: as the recipe's [samples] has it.

        Raises:
            RequestError: the labels do not fit the generator, or there are no such weights.
        """
        mode = batch_norm or self.recipe.samples.batch_norm
        made = made_together(self.generator_with(weights), count, mode)
        latents, classes = self.latents(made, seed), self.labels(made, labels)
        return self.images(latents, classes, weights=weights, batch_norm=mode, seed=seed)[:count]

    def about(
        self, *, weights: Weights = "auto", batch_norm: BatchNormMode | None = None, **more: object
    ) -> Mapping[str, object]:
        """Return the metadata of images generated with these arguments, for the files that hold them."""
        mode = batch_norm or self.recipe.samples.batch_norm
        return {
            "run": str(self.path),
            "step": self.checkpoint.step,
            "weights": self.weights_name(weights),
            "batch_norm": batch_norm_used(self.generator_with(weights), mode),
            **more,
        }

    def training_set(self) -> PackedDataset:
        """Return the images that the run was trained on, packed now if they are not yet.

        Raises:
            DataError: they are not there, or cannot be read.
            RequestError: they are not of the shape that they were.
        """
        packed, _ = self.open_dataset()
        if packed.info.image != self.checkpoint.info.image:
            raise RequestError(
                f"{self.path}: the dataset has changed since: its images were {self.checkpoint.info.image}, "
                f"and are {packed.info.image}"
            )
        return packed

    def open_dataset(self, name: str | None = None, overrides: Overrides = ()) -> tuple[PackedDataset, DatasetConfig]:
        """Return the run's dataset with changed options, or another one at its image size and channels.

        Args:
            name: of another dataset.
            overrides: changes to its options, such as `{"dataset.split": "test"}`.

        Raises:
            DataError: the images are not there, or cannot be read.
            RequestError: an override is of something else than the dataset.
        """
        changes = override_pairs(overrides)
        wrong = [key for key, _ in changes if not key.startswith("dataset.")]
        if wrong:
            raise RequestError(f"--set {wrong[0]}: only options of the dataset can be set here, dataset.…")
        recipe = self.recipe
        if name is not None or changes:
            tables = self.recipe.to_dict()
            if name is not None:
                image = self.checkpoint.info.image
                tables["dataset"] = {"name": name, "image_size": image.height, "channels": image.channels}
            recipe = parse_recipe(tables, self.manager, changes, source="dataset")
        with packing_progress() as progress:
            return open_dataset(recipe, self.manager, progress), recipe.dataset

    def untrained_discriminator(self, seed: int = 0) -> Discriminator:
        """Return the run's discriminator as it would start from `seed`; the global random state stays as it is."""
        with seeded_generators(seed):
            _, discriminator = build_networks(self.recipe, self.manager, self.checkpoint.info, self.compute)
        return discriminator.eval()

    def _network(self, name: str) -> Generator | Discriminator:
        """Return the network of these weights; each set has its own, so that a network in use never changes."""
        if name not in self._networks:
            with kept_random_state(), memory_errors(self.compute.device, when=lambda: "for the networks"):
                generator, discriminator = build_networks(self.recipe, self.manager, self.checkpoint.info, self.compute)
            network = discriminator if name == "discriminator" else generator
            load_network(network, self.checkpoint, name)
            self._networks[name] = network.eval()
        return self._networks[name]
