"""Evaluation of generators against the real images of a recipe, with protocol cards."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.functional import resize

from ganzoo.components.dataset import StoredImages
from ganzoo.components.extractor import Extractor
from ganzoo.components.metric import Direction, Metric, MetricInputs, Source
from ganzoo.components.network import Generator
from ganzoo.components.options import ExtractorConfig, ImageDatasetConfig, ImageSize, MetricConfig
from ganzoo.components.spec import VectorSpec
from ganzoo.data.packed_dataset import PackedDataset, example_batch, real_images, seen_by
from ganzoo.errors import DataError, OutputError, PluginError, RequestError
from ganzoo.evaluation.evaluation_log import Evaluated, Evaluation, add_evaluations, json_of
from ganzoo.evaluation.protocol import ANY, Card, ExtractorCard, RealCard, SamplesCard
from ganzoo.evaluation.real_features import features_of_real, reference_indices
from ganzoo.recipe.load import parse_recipe
from ganzoo.recipe.model import Recipe
from ganzoo.recipe.overrides import Overrides, override_pairs
from ganzoo.recipe.validate import other_images
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.runtime.device import fp32_products
from ganzoo.runtime.random_state import seeded_generators
from ganzoo.sampling.generate import BATCH_SIZE, batch_norm_used, generate_batches
from ganzoo.sampling.trained_run import TrainedRun, Weights, is_of_sampling
from ganzoo.storage.disk import write_text
from ganzoo.terminal import packing_progress, warn
from ganzoo.training.build import build_part, open_dataset

METRICS = (
    *("frechet", "kernel", "inception_score", "precision_recall", "density_coverage"),
    *("class_coverage", "memorization", "diversity"),
)
"""What is computed where a recipe names no metrics."""
CONDITIONS_AT_ONCE = 1024
SAMPLES_KEPT = 1000
"""Number of images, and of real ones, that are kept to be compared themselves; vectors are all kept."""


@dataclass
class Results:
    """What the metrics of one extractor, or of the pixels, gave; timings are seconds of each metric."""

    scores: dict[str, float] = field(default_factory=dict)
    directions: dict[str, Direction] = field(default_factory=dict)
    ideals: dict[str, float] = field(default_factory=dict)
    warnings: dict[str, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, int | float | str] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)


class Evaluator:
    """Computes scores as a recipe's [evaluation] says, keeping the real images, extractors and real features.

    Args:
        recipe: of the run.
        manager: the plugins that its components come from.
        device: to compute on.
        network: name of the generator to evaluate, where the trainer has several.

    Raises:
        DataError: images or weights are missing; the text says which to put where.
        RequestError: two extractors would give their scores the same names.
    """

    def __init__(
        self, recipe: Recipe, manager: PluginManager, device: torch.device, network: str = "generator"
    ) -> None:
        self.recipe = recipe
        self.options = recipe.evaluation
        self.device = device
        self._manager = manager
        self._network = network
        with seeded_generators(self.options.seed):
            size = self.options.image_size
            self.training = self._open({}, size)
            self.real = self._open(self.options.real, size) if self.options.real else self.training
            self.examples = self._open(self.options.real, None) if size else self.real
            self.unseen = self._open(self.options.held_out, size) if self.options.held_out else None
            self.metrics = self._metrics()
            vectors = isinstance(self.training.info.samples, VectorSpec)
            self.own: Source = "points" if vectors else "pixels"
            self.kept = self.options.samples if vectors else SAMPLES_KEPT
            # A metric that the samples themselves suffice for brings no extractor by itself.
            unneeded = vectors or all(self.own in metric.needs for metric in self.metrics)
            self.extractors = [] if unneeded else self._prepared()
        self._real_features: dict[str, Tensor] = {}

    def evaluate(
        self, generator: Generator, *, weights: str, run: str, step: int, seed: int | None = None
    ) -> list[Evaluation]:
        """Generate samples and score them: an evaluation for each extractor, and one for the pixel metrics.

        The generator and the global random number generators are left as they were.

        Args:
            generator: on the device.
            weights: "ema" or "raw", for the card.
            run: the run directory, for the card.
            step: of the run.
            seed: of the latents; left out: the recipe's.
        """
        seed = self.options.seed if seed is None else seed
        samples = self._samples_card(generator, weights, seed)
        return self._scored(self._made(generator, seed), samples, run, step, self._targets(generator, seed))

    def evaluate_images(self, images: StoredImages, source: str, resize: str) -> list[Evaluation]:
        """Score images that are there already, such as another program's, as `evaluate` does those of a generator.

        Args:
            images: of the shape of the real ones.
            source: what the card calls them.
            resize: how they were brought to that shape.
        """
        samples = SamplesCard(
            images=len(images),
            weights="files",
            batch_norm=ANY,
            precision="fp32",
            seed=self.options.seed,
            resize=resize,
        )
        parts = torch.split(torch.arange(len(images)), BATCH_SIZE)
        batches = (real_images(images, part).to(self.device) for part in parts)
        return self._scored(batches, samples, source, 0)

    def _scored(
        self, batches: Iterator[Tensor], samples: SamplesCard, run: str, step: int, targets: Tensor | None = None
    ) -> list[Evaluation]:
        timings: dict[str, float] = {}
        with seeded_generators(samples.seed), fp32_products(self.device):
            real = [self._features_of_real(extractor, timings) for extractor in self.extractors]
            features, pixels = self._collected(batches, timings)
            found = []
            for extractor, real_features, fake_features in zip(self.extractors, real, features, strict=True):
                results = self._compute(self._inputs(extractor, real_features, fake_features), extractor)
                card = self._card(samples, run, step, extractor, real_features.shape, results)
                found.append(self._evaluation(card, results, timings))
            if self._wanted({self.own}):
                reference = real_images(self.training, reference_indices(self.training, self.kept))
                results = self._compute([self._input(self.own, reference, pixels, targets)])
                shape = len(self.training), math.prod(self.training.info.samples.shape)
                card = self._card(samples, run, step, None, shape, results)
                found.append(self._evaluation(card, results, timings))
        return found

    def _wanted(self, sources: Set[Source]) -> bool:
        """Check whether a metric is computed on one of these."""
        return any(metric.needs & sources for metric in self.metrics)

    def _input(self, source: Source, real: Tensor, fake: Tensor, targets: Tensor | None = None) -> MetricInputs:
        mirrored = self.recipe.dataset.flips
        return MetricInputs(source, real, fake, self.training, self.unseen, mirrored, targets)

    @torch.no_grad()
    def _inputs(self, extractor: Extractor, real: Tensor, fake: Tensor) -> list[MetricInputs]:
        """Return what metrics get of an extractor, on the device where that is CUDA, for sums over pairs."""
        place = self.device if self.device.type == "cuda" else torch.device("cpu")
        inputs = [self._input("features", real.to(place), fake.to(place))]
        if self._wanted({"logits", "class_logits"}):
            logits = [extractor.logits(features.to(self.device)) for features in (real, fake)]
            if logits[0] is not None and logits[1] is not None:
                inputs.append(self._input("logits", logits[0], logits[1]))
                if extractor.names_classes:
                    inputs.append(self._input("class_logits", logits[0], logits[1]))
        return inputs

    def _compute(self, inputs: Sequence[MetricInputs], extractor: Extractor | None = None) -> Results:
        """Compute every metric on what it needs, each from the same seed, so that none depends on the others.

        Raises:
            PluginError: a metric gives a value without a direction.
        """
        results = Results(
            details={f"extractor_{name}": value for name, value in extractor.notes().items()} if extractor else {}
        )
        for metric in self.metrics:
            own = metric.config.name
            for given in inputs:
                if given.source not in metric.needs:
                    continue
                torch.manual_seed(0)
                start = time.perf_counter()
                values = metric.compute(given)
                results.timings[own] = results.timings.get(own, 0.0) + time.perf_counter() - start
                caveat = metric.caveat(given)
                for value, score in values.items():
                    if value not in metric.directions:
                        raise PluginError(
                            f'the metric "{own}" gives "{value}", which its `directions` does not have: add it there'
                        )
                    name = value
                    if extractor is not None and given.source != "class_logits":
                        name = f"{value}_{extractor.label}"
                        name = extractor.score_names.get(name, name)
                    results.scores[name], results.directions[name] = float(score), metric.directions[value]
                    if value in metric.ideals:
                        results.ideals[name] = metric.ideals[value]
                    if caveat:
                        results.warnings[name] = caveat
                results.settings |= {f"{own}_{key}": value for key, value in metric.settings(given).items()}
                results.details |= given.details
        return results

    def _made(self, generator: Generator, seed: int) -> Iterator[Tensor]:
        """Yield the samples of a generator batch by batch."""
        count = self.options.samples
        latents = generator.latents_of_seed(count, seed)
        labels = self.training.example_labels(count) if "labels" in generator.uses else None
        if "condition" in generator.uses:
            yield from self._from_examples(generator, latents, seed)
        else:
            yield from generate_batches(generator, latents, labels, batch_norm=self.recipe.samples.batch_norm)

    @torch.no_grad()
    def _collected(self, batches: Iterator[Tensor], timings: dict[str, float]) -> tuple[list[Tensor], Tensor]:
        """Return the features (N, D) of all samples by each extractor, and the pixels of the first ones, on the CPU."""
        shape = self.training.info.samples.shape
        features: list[list[Tensor]] = [[] for _ in self.extractors]
        pixels: list[Tensor] = []
        kept = 0
        while True:
            with self._timed("samples", timings):
                images = next(batches, None)
                if images is None:
                    break
                images = _resized(images, shape)
            for extractor, parts in zip(self.extractors, features, strict=True):
                with self._timed(f"features/{extractor.label}", timings):
                    parts.append(extractor.features(images).float().cpu())
            if kept < self.kept:
                pixels.append(images.cpu())
                kept += len(images)
        return [torch.cat(parts) for parts in features], torch.cat(pixels)[: self.kept]

    def _from_examples(self, generator: Generator, latents: Tensor, seed: int) -> Iterator[Tensor]:
        """Yield samples for conditions, with their labels, drawn from the real images; not all are held at once."""
        order, mode = self._order(len(latents), seed), self.recipe.samples.batch_norm
        for start in range(0, len(latents), CONDITIONS_AT_ONCE):
            part = latents[start : start + CONDITIONS_AT_ONCE]
            drawn = example_batch(self.examples, order[start : start + len(part)])
            yield from generate_batches(generator, part, drawn.labels, drawn.condition, batch_norm=mode)

    def _order(self, count: int, seed: int) -> Tensor:
        """Return which real images the conditions of samples come from, by index."""
        order = torch.randperm(len(self.examples), generator=torch.Generator().manual_seed(seed))
        return order.repeat(count // len(order) + 1)[:count]

    def _targets(self, generator: Generator, seed: int) -> Tensor | None:
        """Return the real images that the conditions of the first samples belong to; None where they belong to none."""
        if "condition" not in generator.uses or not self.examples.paired:
            return None
        order = self._order(self.options.samples, seed)[: self.kept]
        return _resized(real_images(self.examples, order), self.training.info.samples.shape)

    def _features_of_real(self, extractor: Extractor, timings: dict[str, float]) -> Tensor:
        """Return the real features from memory or the cache, computing them on the first call."""
        label = extractor.label
        if label not in self._real_features:
            with (
                self._timed(f"real_features/{label}", timings),
                packing_progress(what=f"features of real images ({label})") as progress,
            ):
                self._real_features[label] = features_of_real(
                    extractor, self.real, self.options.real_images, self.device, progress
                )
        return self._real_features[label]

    def _metrics(self) -> list[Metric]:
        registry = self._manager.registries.metrics
        configs: Sequence[MetricConfig] = self.options.metrics
        return [
            registry[config.name].load()(config)
            for config in configs or [registry[name].config(name=name) for name in METRICS]
        ]

    def _prepared(self) -> list[Extractor]:
        registry = self._manager.registries.extractors
        configs: Sequence[ExtractorConfig] = self.options.extractors
        if not configs:
            named = self.training.info.class_names
            if not named and self.training.info.image.channels not in (1, 3):
                warn("only the pixels are compared: inception knows gray and RGB images, and no extractor is named")
                return []
            name = "classifier" if named else "inception"
            configs = [registry[name].config(name=name)]
        extractors: dict[str, Extractor] = {}
        for index, config in enumerate(configs):
            extractor: Extractor = build_part(registry, config, f"evaluation.extractors.{index}", self.training.info)
            if extractor.label in extractors:
                raise RequestError(
                    f'evaluation.extractors: two of them call their scores "{extractor.label}": leave one out'
                )
            extractor.prepare(self.training)
            extractors[extractor.label] = extractor.to(self.device).eval()
        return list(extractors.values())

    def _open(self, changes: dict[str, Any], image_size: ImageSize | None) -> PackedDataset:
        dataset = other_images(self.recipe.dataset, changes, image_size)
        with packing_progress() as progress:
            packed = open_dataset(self.recipe.model_copy(update={"dataset": dataset}), self._manager, progress)
        return seen_by(self._network, packed, self.recipe.trainer)

    def _samples_card(self, generator: Generator, weights: str, seed: int) -> SamplesCard:
        return SamplesCard(
            images=self.options.samples,
            weights=weights,
            batch_norm=batch_norm_used(generator, self.recipe.samples.batch_norm),
            precision="fp32",
            options=generator.config.sampling_options,
            seed=seed,
            labels=_given(generator),
            made_at=str(generator.info.samples),
            resize="bilinear",
            antialias=True,
        )

    def _card(
        self,
        samples: SamplesCard,
        run: str,
        step: int,
        extractor: Extractor | None,
        shape: Sequence[int],
        results: Results,
    ) -> Card:
        packed = self.real if extractor else self.training
        return Card(
            extractor=_extractor_card(extractor, self.own, shape[1]),
            real=RealCard(
                dataset=self.recipe.dataset.name,
                images=shape[0],
                available=len(packed),
                shape=str(packed.info.samples),
                pixels=f"crc32:{packed.checksum:08x}",
                packed=packed.key,
                options=self.options.real if extractor else {},
            ),
            samples=samples,
            settings=results.settings,
            run=run,
            step=step,
            device=str(self.device),
            versions={name: version(name) for name in ("ganzoo-core", "torch", "torchmetrics", "torch-fidelity")},
        )

    @staticmethod
    def _evaluation(card: Card, results: Results, timings: dict[str, float]) -> Evaluation:
        label = card.extractor.name
        of_this = {
            name.partition("/")[0]: seconds for name, seconds in timings.items() if name.endswith(("samples", label))
        }
        took = {name: round(seconds, 3) for name, seconds in {**of_this, **results.timings}.items()}
        return Evaluation(
            step=card.step,
            scores=results.scores,
            directions=results.directions,
            ideals=results.ideals,
            warnings=results.warnings,
            card=card,
            details=results.details,
            timings=took,
        )

    @contextmanager
    def _timed(self, name: str, timings: dict[str, float]) -> Iterator[None]:
        """Add the seconds spent inside, waiting for the device included, to `timings`."""
        start = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        timings[name] = timings.get(name, 0.0) + time.perf_counter() - start


def _resized(images: Tensor, shape: Sequence[int]) -> Tensor:
    """Return images (N, C, H, W) at the size of a shape (C, H, W); vectors as they are."""
    return images if images.shape[2:] == shape[1:] else resize(images, list(shape[1:]), antialias=True)


def _given(generator: Generator) -> str:
    """Say what a conditional generator is given."""
    if "condition" in generator.uses:
        return "conditions of real images"
    return "each class in turn" if "labels" in generator.uses else ""


def _extractor_card(extractor: Extractor | None, own: str, features: int) -> ExtractorCard:
    if extractor is None:
        return ExtractorCard(name=own, features=features)
    return ExtractorCard(
        name=extractor.label,
        digest=extractor.digest(),
        features=features,
        input=extractor.input,
        resize=extractor.resize,
        antialias=extractor.antialias,
        weights=extractor.source,
    )


def evaluate(
    run: TrainedRun,
    samples: int | None = None,
    *,
    seed: int | None = None,
    seeds: int = 1,
    weights: Weights | None = None,
    image_size: ImageSize | None = None,
    extractors: Sequence[str] = (),
    overrides: Overrides = (),
    out: Path | None = None,
) -> Evaluated:
    """Score samples against the dataset as the recipe's [evaluation] says, and add the result to `evaluation.json`.

    Where that cannot be written, as in a run directory that may only be read, a warning says so.

    Args:
        run: the trained run, whose dataset must be available.
        samples: number of samples; this and the following, left out: the recipe's.
        seed: of their latents.
        seeds: number of consecutive seeds to evaluate, for the spread of the scores.
        weights: "ema", "raw", or "auto" for ema where there is one.
        image_size: resize samples and real images to this size first, to compare runs of different sizes.
        extractors: names of the extractors to use, with their default options.
        overrides: changes to the recipe, such as `{"dataset.root": "/data"}` where the images have moved.
        out: a JSON file that gets the result in place of the run's `evaluation.json`.

    Raises:
        DataError: the dataset or an extractor's weights are missing; the text says which to put where.
        RecipeError: one of these options is invalid.
        OutputError: `out` cannot be written.
    """
    wanted = {"samples": samples, "seed": seed, "weights": weights, "image_size": image_size}
    changes: dict[str, Any] = {f"evaluation.{key}": value for key, value in wanted.items() if value is not None}
    if extractors:
        changes["evaluation.extractors"] = [{"name": name} for name in extractors]
    overrides = [*override_pairs(overrides), *changes.items()]
    tables, foreign = run.recipe.to_dict(), run.recipe.foreign
    recipe = parse_recipe(tables, run.manager, overrides, source=str(run.path), foreign=foreign)
    options = recipe.evaluation
    run = run.sampled_with([pair for pair in overrides if is_of_sampling(pair[0])])
    generator = run.generator_with(options.weights)
    evaluator = Evaluator(recipe, run.manager, run.compute.device, run.network)
    found = [
        evaluator.evaluate(
            generator,
            weights=run.weights_name(options.weights),
            run=str(run.path),
            step=run.checkpoint.step,
            seed=each,
        )
        for each in range(options.seed, options.seed + seeds)
    ]
    new = [each for evaluations in found for each in evaluations]
    if out is not None:
        write_text(out, json_of(new))
        return Evaluated(found)
    try:
        add_evaluations(run.directory, new)
    except OutputError as error:
        warn(f"the scores are not kept: {error}; to keep them elsewhere, give --out scores.json (in Python out=…)")
    return Evaluated(found)


def evaluate_images(folder: Path, recipe: Recipe, manager: PluginManager, device: torch.device) -> Evaluated:
    """Score the images of a folder against the dataset of a recipe, as its [evaluation] says; nothing is stored.

    They are cropped and resized as the dataset's are.

    Raises:
        DataError: an image cannot be read, there are too few, or the dataset or an extractor's weights are missing.
        RequestError: the dataset is of vectors.
    """
    dataset = recipe.dataset
    if not isinstance(dataset, ImageDatasetConfig):
        raise RequestError(f"--images {folder}: the dataset {dataset.name} is of vectors, not of images")
    config = manager.registries.datasets["image_folder"].config
    shape = {name: getattr(dataset, name) for name in ("channels", "crop", "resize_first", "resize")}
    size = recipe.evaluation.image_size or dataset.image_size
    options = config.model_validate({"name": "image_folder", "root": str(folder), "image_size": size, **shape})
    with packing_progress() as progress:
        images = open_dataset(recipe.model_copy(update={"dataset": options}), manager, progress)
    if len(images) < 2:
        raise DataError(f"--images {folder}: has one image, and scores need two or more")
    network = next((name for name, kind in recipe.trainer.roles.items() if kind == "generator"), "generator")
    evaluator = Evaluator(recipe, manager, device, network)
    return Evaluated([evaluator.evaluate_images(images, str(folder), dataset.resize)])
