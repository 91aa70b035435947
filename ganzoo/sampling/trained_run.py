"""A trained run, opened for sampling and inspection."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch
from PIL import Image
from torch import Tensor

from ganzoo.components.dataset import Batch
from ganzoo.components.network import Discriminator, Generator, Network
from ganzoo.components.options import DatasetConfig
from ganzoo.components.spec import DatasetInfo, ImageSpec, LabelSpec, UnfitDataError
from ganzoo.data.packed_dataset import PackedDataset, example_batch, seen_by
from ganzoo.errors import DataError, RequestError
from ganzoo.recipe.load import parse_recipe
from ganzoo.recipe.model import Recipe
from ganzoo.recipe.overrides import Overrides, limited_overrides
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.runtime.device import Compute, torch_defaults
from ganzoo.runtime.memory import memory_errors, physical_memory
from ganzoo.runtime.random_state import kept_random_state, seeded_generators
from ganzoo.sampling.generate import BatchNormMode, batch_norm_used, generate, made_together
from ganzoo.sampling.image_io import GIF, as_image, picture_of, real_points
from ganzoo.storage.checkpoint import Checkpoint, load_network
from ganzoo.storage.run_directory import RunDirectory
from ganzoo.storage.summary import best_and_last
from ganzoo.terminal import count_progress
from ganzoo.text import LARGEST_INT, did_you_mean, html_table, number, size_in_words
from ganzoo.training.build import build_networks, open_dataset
from ganzoo.untrusted import PICTURE, read_bytes

Weights = Literal["auto", "ema", "raw"]
Labels = Sequence[int | str] | Sequence[Sequence[float]] | Tensor
"""Classes, by name or index, or indices (N,); where labels are attributes or values, (N, K) or N texts "0.5,1"."""


def is_of_sampling(key: str) -> bool:
    """Return whether an override is of a generator's table `sampling`."""
    return re.match(r"(generator|networks\.\w+)\.sampling\.", key) is not None


@dataclass(frozen=True)
class Film:
    """An animation at `path`, which a notebook plays."""

    path: Path

    def _repr_html_(self) -> str:
        return f'<img src="data:image/gif;base64,{base64.b64encode(read_bytes(self.path, PICTURE)).decode()}">'


@dataclass(eq=False, repr=False)
class TrainedRun:
    """The networks of one checkpoint of a run, for sampling and inspection.

    Attributes:
        directory: the run directory.
        recipe: of the run.
        checkpoint: gives the weights.
        compute: device and precision.
        manager: the plugins that the recipe's components come from.
        network: name of the generator to sample from, where the trainer has several.

    Raises:
        RequestError: the trainer has no generator of this name.
    """

    directory: RunDirectory
    recipe: Recipe
    checkpoint: Checkpoint
    compute: Compute
    manager: PluginManager
    network: str = "generator"
    _networks: dict[str, Network] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        generators = [name for name, kind in self.recipe.trainer.roles.items() if kind == "generator"]
        if self.network not in generators:
            raise RequestError(
                f"{self.path}: has no generator {self.network!r}{did_you_mean(self.network, generators)}; "
                f"it has: {', '.join(generators)}"
            )

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.directory.path

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """Rows of `metrics.jsonl`."""
        return self.directory.read_metrics()

    def scores(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return the "best" and "last" value of each score that the network was given in training, with their steps."""
        rows = self.metrics if self.network == "generator" else []  # training scores the first generator
        return best_and_last(rows, self.directory.score_directions())

    @property
    def info(self) -> DatasetInfo:
        """What the generator makes and takes."""
        return self.recipe.trainer.info_for(self.network, self.checkpoint.info)

    @property
    def image(self) -> ImageSpec:
        """Shape of the images that the generator makes.

        Raises:
            UnfitDataError: it makes vectors; the text names the run.
        """
        return self._image_of(self.info)

    def _image_of(self, info: DatasetInfo) -> ImageSpec:
        try:
            return info.image
        except UnfitDataError as error:
            raise UnfitDataError(f"{self.path}: {error}: name a run on images") from None

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
        return cast("Generator", self._network(self.tensors_name(weights)))

    def tensors_name(self, weights: Weights) -> str:
        """Return the name that the generator's weights have in the checkpoint, such as "generator_ema"."""
        return self.network + ("_ema" if self.weights_name(weights) == "ema" else "")

    def weights_name(self, weights: Weights) -> str:
        """Resolve "auto" to "ema" where the trainer kept EMA weights, else to "raw".

        Raises:
            RequestError: "ema" was asked for and not kept, or there are no such weights.
        """
        if weights not in get_args(Weights):
            raise RequestError(f'weights is "{weights}": give one of {", ".join(get_args(Weights))}')
        held = self.checkpoint.networks()
        has_ema = f"{self.network}_ema" in held
        if weights == "ema" and not has_ema:
            raise RequestError(f"{self.path}: keeps no average of the weights: take --weights raw")
        if weights == "raw" and has_ema and self.network not in held:
            raise RequestError(f"{self.path}: keeps nothing but the average of the weights: take --weights ema")
        return "ema" if has_ema and weights != "raw" else "raw"

    def sampled_with(self, overrides: Overrides) -> TrainedRun:
        """Return the run with other options of sampling, such as `{"generator.sampling.truncation": 0.7}`.

        Raises:
            RequestError: an override is of something else, or the generator has no such option.
        """
        only = "how samples are made can be set here, generator.sampling.…"
        changes = limited_overrides(overrides, is_of_sampling, only)
        if not changes:
            return self
        tables, foreign = self.recipe.to_dict(), self.recipe.foreign
        recipe = parse_recipe(tables, self.manager, changes, source=str(self.path), foreign=foreign)
        return replace(self, recipe=recipe)

    @torch_defaults()
    def latents(self, count: int, seed: int = 0) -> Tensor:
        """Draw latents (count, latent_dim) from the generator's prior, on the CPU; the first are those of any count.

        Raises:
            RequestError: the seed is out of range, or so many samples do not fit into the memory.
        """
        self.check_memory(count)
        if not 0 <= seed <= LARGEST_INT:
            raise RequestError(f"seed is {seed}: seeds are from 0 to {LARGEST_INT}")
        return self.generator.latents_of_seed(count, seed)

    def check_memory(self, count: int) -> None:
        """Check that so many samples, with their latents, fit into the memory.

        Raises:
            RequestError: they do not.
        """
        size = 4 * count * (self.generator.config.latent_dim + math.prod(self.info.samples.shape))
        if size > physical_memory():
            raise RequestError(
                f"{count} samples take {size_in_words(size)}, more memory than there is: make them in parts, each of "
                f"another seed"
            )

    def labels(self, count: int, chosen: Labels | None = None) -> Tensor | None:
        """Return labels for a conditional generator, None for any other.

        For classes they are (count,), cycling through those that are chosen, or through all. For attributes and values
        they are (count, K), cycling through those that are chosen, or those of samples all over the training set.

        Raises:
            RequestError: the generator takes no labels, or none like these.
        """
        if "labels" not in self.generator.uses:
            if chosen is not None:
                raise RequestError(f'{self.path}: the generator "{self.generator.config.name}" takes no labels')
            return None
        labels = self.info.labels
        assert labels is not None, "a network that uses labels was built for some"
        if labels.kind == "classes":
            rows = torch.tensor(_indices(labels, range(len(labels.names)) if chosen is None else chosen))
        elif chosen is None:
            return self.training_set("labels").example_labels(count)
        else:
            rows = _values(labels, chosen)
        return rows[torch.arange(count) % len(rows)]

    def told_classes(self, classes: Labels | None = None) -> str:
        """Say which classes `labels` takes in turn, by index and name; empty for a generator without classes.

        Raises:
            RequestError: there is no such class.
        """
        names = self.info.class_names if "labels" in self.generator.uses else ()
        indices = self.labels(len(names if classes is None else classes), classes) if names else None
        if indices is None or self.info.labels is None:
            return ""
        return self.info.labels.told(dict.fromkeys(indices.tolist()))

    def conditions(self, count: int) -> Tensor | None:
        """Return the first `count` conditions of the training set, for a generator that takes one; None for any other.

        Raises:
            DataError: the training set is not there, or cannot be read.
        """
        if "condition" not in self.generator.uses:
            return None
        return self.real_batch(self.training_set("condition"), torch.arange(count), self.network).condition

    def images(
        self,
        latents: Tensor,
        labels: Tensor | None = None,
        condition: Tensor | None = None,
        *,
        weights: Weights = "auto",
        batch_norm: BatchNormMode | None = None,
        seed: int = 0,
    ) -> Tensor:
        """Generate images (N, C, H, W) in [−1, 1], fp32 on the CPU, from latents (N, latent_dim).

        Args:
            latents: any, not only from the prior.
            labels: for a conditional generator, class indices (N,), or attributes or values (N, K).
            condition: (N, …) for a generator that takes one; default: the first ones of the training set.
            weights: "ema", "raw", or "auto" for ema where there is one.
            batch_norm: statistics that batch norm takes; default: as the recipe's [samples] has it.
            seed: of noise that the generator draws itself, if it does.
        """
        mode, generator = batch_norm or self.recipe.samples.batch_norm, self.generator_with(weights)
        condition = self.conditions(len(latents)) if condition is None else condition
        with seeded_generators(seed), count_progress(what="making images", only_if_slow=True) as progress:
            return generate(generator, latents, labels, condition, batch_norm=mode, progress=progress)

    @torch_defaults()
    def sample(
        self,
        count: int | None = None,
        *,
        seed: int = 0,
        weights: Weights = "auto",
        labels: Labels | None = None,
        condition: Tensor | None = None,
        batch_norm: BatchNormMode | None = None,
    ) -> Tensor:
        """Generate images (count, C, H, W) in [−1, 1], fp32 on the CPU; the same for the same arguments.

        An image does not depend on the number of images, except for noise that the generator draws itself.

        Args:
            count: number of images; default: one for each condition that is given, else 64.
            seed: of the latents, and of noise that the generator draws itself.
            weights: "ema", "raw", or "auto" for ema where there is one.
            labels: for a conditional generator, taken in turn: classes, by name or index, or numbers (M, K) where the
                labels are attributes or values; default: class after class, or those of samples of the training set.
            condition: inputs (M, …) of a generator that takes one, taken in turn: images in [−1, 1], or vectors;
                default: the first ones of the training set.
            batch_norm: statistics that batch norm takes; default: as the recipe's [samples] has it.

        Raises:
            RequestError: the labels or the condition do not fit the generator, there are no such weights or statistics,
                or count or seed are out of range.
        """
        if condition is not None:
            count, condition = len(condition) if count is None else count, self._checked(condition)
        count, mode = 64 if count is None else count, batch_norm or self.recipe.samples.batch_norm
        if count < 1:
            raise RequestError(f"count is {count}: give 1 or more")
        made = made_together(self.generator_with(weights), count, mode)
        latents, classes = self.latents(made, seed), self.labels(made, labels)
        if condition is not None:
            condition = condition[torch.arange(made) % len(condition)]
        return self.images(latents, classes, condition, weights=weights, batch_norm=mode, seed=seed)[:count]

    def _checked(self, condition: Tensor) -> Tensor:
        spec = self.info.condition
        if spec is None or "condition" not in self.generator.uses:
            raise RequestError(f"{self.path}: the {self.network} takes no condition")
        if not len(condition) or condition.shape[1:] != spec.shape:
            raise RequestError(f"condition of shape {tuple(condition.shape)}: must be (N, {str(spec.shape)[1:]}")
        return condition

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
            **({"sampling": options} if (options := self.generator.config.sampling_options) else {}),
            **more,
        }

    def picture(self, samples: Tensor) -> Tensor | None:
        """Return a picture (C, H', W') in [0, 1] of samples: images in a grid, points of two dimensions by density.

        Points lie over those of the training set where it is there. None for vectors of more or less than two numbers.
        """

        def real() -> Tensor | None:
            with suppress(DataError, RequestError):  # points alone do where the dataset is gone
                return real_points(seen_by(self.network, self.training_set(), self.recipe.trainer))
            return None

        return picture_of(samples, real, self.recipe.samples.bands)

    def show(self, count: int = 64, **options: Any) -> Image.Image:
        """Return a grid of samples, which a notebook shows; `options` are those of `sample`.

        Raises:
            RequestError: the samples are vectors of more or less than two numbers.
        """
        picture = self.picture(self.sample(count, **options))
        if picture is None:
            raise RequestError(f"{self.path}: vectors of {self.info.samples} have no picture: take sample()")
        return as_image(picture)

    def film(self) -> Film:
        """Return the animation of the samples during training, which a notebook plays.

        Raises:
            RequestError: the run has none, or is not there any more.
        """
        film = Film(self.directory.samples / GIF)
        if not film.path.is_file():
            self.directory.check_there()
            reason = "a run makes it at its end, unless samples.gif is false; exports have none"
            raise RequestError(f"{film.path}: is not there: {reason}")
        return film

    def _repr_html_(self) -> str:
        """Return the run directory, the step and the scores of training as a table, for notebooks."""
        scores = self.scores()
        rows = [
            (name, *(number(scores[which][name]["value"]) if name in scores[which] else "" for which in scores))
            for name in scores["last"]
        ]
        return html_table((f"{self.path} at step {self.checkpoint.step}", *(scores if rows else ())), *rows)

    def training_set(self, wanted: Literal["samples", "labels", "condition"] = "samples") -> PackedDataset:
        """Return the images that the run was trained on, packed now if they are not; `wanted` is what is used of them.

        Raises:
            DataError: they are not there, or cannot be read.
            RequestError: samples, or what is wanted, are not of the shape that they were.
        """
        instead = {"labels": "give labels (--labels)", "condition": "give inputs (--input)"}.get(wanted, "")
        try:
            packed, _ = self.open_dataset()
        except DataError as error:
            raise DataError(f"{error}; or {instead}" if instead else str(error)) from error
        if told := self.checkpoint.info.changed(packed.info, ("samples", wanted)):
            raise RequestError(f"{self.path}: {told}; bring it back as it was{f', or {instead}' if instead else ''}")
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
        only = "options of the dataset can be set here, dataset.…"
        changes = limited_overrides(overrides, lambda key: key.startswith("dataset."), only)
        recipe = self.recipe
        if name is not None or changes:
            tables = self.recipe.to_dict()
            if name is not None:
                image = self._image_of(self.checkpoint.info)
                tables["dataset"] = {"name": name, "image_size": image.size, "channels": image.channels}
            foreign = self.recipe.foreign and name is None
            recipe = parse_recipe(tables, self.manager, changes, source="dataset", foreign=foreign)
        return open_dataset(recipe, self.manager), recipe.dataset

    def real_batch(self, packed: PackedDataset, indices: Tensor, role: str) -> Batch:
        """Return real samples with labels and conditions, on the CPU, as a network of the trainer sees them.

        Args:
            packed: as `training_set` and `open_dataset` return it.
            indices: (N,) of samples; beyond the last it begins again.
            role: name of the network.
        """
        seen: Batch = self.recipe.trainer.batch_for(role, example_batch(packed, indices))
        return seen

    def untrained_discriminator(self, seed: int = 0) -> Discriminator:
        """Return the run's discriminator as it would start from `seed`; the global random state stays as it is."""
        with seeded_generators(seed):
            networks = build_networks(self.recipe, self.manager, self.checkpoint.info, self.compute)
        networks["discriminator"].prepare()
        return cast("Discriminator", networks["discriminator"].eval())

    def _network(self, name: str) -> Network:
        """Return the network of these weights; each set has its own, so that a network in use never changes."""
        if name not in self._networks:
            memory = memory_errors(self.compute.device, when=lambda: "for the networks")
            with kept_random_state(), torch_defaults(), memory:
                built = build_networks(self.recipe, self.manager, self.checkpoint.info, self.compute)
            network = built[name if name in built else name.removesuffix("_ema")]
            network.prepare()
            load_network(network, self.checkpoint, name)
            self._networks[name] = network.eval()
        return self._networks[name]


def _indices(labels: LabelSpec, chosen: Sequence[Any] | range | Tensor) -> list[int]:
    if isinstance(chosen, Tensor):
        chosen = chosen.tolist() if chosen.ndim else [chosen.tolist()]
    try:
        indices = [labels.index(each) for each in chosen]
    except ValueError as error:
        raise RequestError(f"labels: {error}") from None
    if not indices:
        raise RequestError("labels: name at least one class")
    return indices


def _values(labels: LabelSpec, chosen: Sequence[Any] | Tensor) -> Tensor:
    if isinstance(chosen, Tensor):
        chosen = chosen.tolist()
    try:
        rows = [row.split(",") if isinstance(row, str) else row for row in chosen]
        values = torch.tensor([[float(value) for value in row] for row in rows])
    except (TypeError, ValueError):
        values = torch.empty(0)
    size = len(labels.names)
    if not len(values) or values.shape[1:] != (size,) or not values.isfinite().all():
        numbers = "1 number for each sample" if size == 1 else f"{size} numbers for each sample, with commas between"
        raise RequestError(
            f"labels: these are {labels} ({labels.first_names}): give {numbers}, and --labels again for the next one, "
            f"or in Python a tensor (N, {size})"
        )
    return values
