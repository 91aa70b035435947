"""Evaluation of generators against the real images of a recipe, with protocol cards."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.functional import resize

from ganzoo.components.extractor import Extractor
from ganzoo.components.network import Generator
from ganzoo.components.options import ExtractorConfig
from ganzoo.data.packed_dataset import PackedDataset, example_batch, seen_by
from ganzoo.errors import RequestError
from ganzoo.evaluation.evaluation_log import Evaluated, Evaluation, add_evaluations
from ganzoo.evaluation.metrics import MetricResults, Settings, measure_features, measure_pixels
from ganzoo.evaluation.protocol import Card, ExtractorCard, RealCard, SamplesCard
from ganzoo.evaluation.real_features import features_of_real
from ganzoo.recipe.load import parse_recipe
from ganzoo.recipe.model import Metric, Recipe
from ganzoo.recipe.overrides import Overrides, apply_overrides, override_pairs
from ganzoo.recipe.validate import other_images
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.runtime.random_state import seeded_generators
from ganzoo.sampling.generate import batch_norm_used, generate_batches
from ganzoo.sampling.trained_run import TrainedRun, Weights
from ganzoo.terminal import packing_progress
from ganzoo.training.build import build_part, open_dataset

OF_PIXELS: tuple[Metric, ...] = ("memorization", "diversity")
"""Metrics that need no extractor."""
CONDITIONS_AT_ONCE = 1024
PIXELS_KEPT = 1000
"""Number of samples whose pixels are kept for the pixel metrics."""


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
        with seeded_generators(self.options.seed, device):
            size = self.options.image_size
            self.training = self._open({}, size)
            self.real = self._open(self.options.real, size) if self.options.real else self.training
            self.examples = self._open(self.options.real, None) if size else self.real
            self.unseen = self._open(self.options.held_out, size) if self.options.held_out else None
            self.extractors = self._prepared() if set(self.options.metrics) - set(OF_PIXELS) else []
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
        timings: dict[str, float] = {}
        with seeded_generators(seed, self.device), without_tf32(self.device):
            real = [self._features_of_real(extractor, timings) for extractor in self.extractors]
            features, pixels = self._sample(generator, seed, timings)
            samples = self._samples_card(generator, weights, seed)
            found = []
            for extractor, real_features, fake_features in zip(self.extractors, real, features, strict=True):
                results = measure_features(extractor, real_features, fake_features, self.options.metrics, self.device)
                card = self._card(samples, run, step, extractor, real_features.shape, results.settings)
                found.append(self._evaluation(card, results, timings))
            wanted = [metric for metric in self.options.metrics if metric in OF_PIXELS]
            if wanted:
                mirrored = self.recipe.dataset.flips
                results = measure_pixels(pixels, self.training, self.unseen, wanted, mirrored=mirrored)
                image = self.training.info.image
                shape = len(self.training), image.channels * image.height * image.width
                card = self._card(samples, run, step, None, shape, results.settings)
                found.append(self._evaluation(card, results, timings))
        return found

    @torch.no_grad()
    def _sample(self, generator: Generator, seed: int, timings: dict[str, float]) -> tuple[list[Tensor], Tensor]:
        """Return the features (N, D) of all samples by each extractor, and the pixels of the first ones, on the CPU."""
        count, image = self.options.samples, self.training.info.image
        latents = generator.sample_latents(count, torch.Generator().manual_seed(seed))
        labels = self.training.example_labels(count) if "labels" in generator.uses else None
        features: list[list[Tensor]] = [[] for _ in self.extractors]
        pixels: list[Tensor] = []
        kept = 0
        mode = self.recipe.samples.batch_norm
        if "condition" in generator.uses:
            batches = self._from_examples(generator, latents, seed)
        else:
            batches = generate_batches(generator, latents, labels, batch_norm=mode)
        while True:
            with self._timed("samples", timings):
                images = next(batches, None)
                if images is None:
                    break
                if images.shape[2:] != (image.height, image.width):
                    images = resize(images, [image.height, image.width], antialias=True)
            for extractor, parts in zip(self.extractors, features, strict=True):
                with self._timed(f"features/{extractor.label}", timings):
                    parts.append(extractor.features(images).float().cpu())
            if kept < PIXELS_KEPT:
                pixels.append(images.cpu())
                kept += len(images)
        return [torch.cat(parts) for parts in features], torch.cat(pixels)[:PIXELS_KEPT]

    def _from_examples(self, generator: Generator, latents: Tensor, seed: int) -> Iterator[Tensor]:
        """Yield samples for conditions, with their labels, drawn from the real images; not all are held at once."""
        count, mode = len(self.examples), self.recipe.samples.batch_norm
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).repeat(len(latents) // count + 1)
        for start in range(0, len(latents), CONDITIONS_AT_ONCE):
            part = latents[start : start + CONDITIONS_AT_ONCE]
            drawn = example_batch(self.examples, order[start : start + len(part)])
            yield from generate_batches(generator, part, drawn.labels, drawn.condition, batch_norm=mode)

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

    def _prepared(self) -> list[Extractor]:
        registry = self._manager.registries.extractors
        configs: Sequence[ExtractorConfig] = self.options.extractors
        if not configs:
            name = "classifier" if self.training.info.class_names else "inception"
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

    def _open(self, changes: dict[str, Any], image_size: int | None) -> PackedDataset:
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
            seed=seed,
            labels=_given(generator),
            made_at=str(generator.info.image),
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
        settings: Settings,
    ) -> Card:
        packed = self.real if extractor else self.training
        return Card(
            extractor=_extractor_card(extractor, shape[1]),
            real=RealCard(
                dataset=self.recipe.dataset.name,
                images=shape[0],
                available=len(packed),
                shape=str(packed.info.image),
                pixels=f"crc32:{packed.checksum:08x}",
                packed=packed.key,
                options=self.options.real if extractor else {},
            ),
            samples=samples,
            settings=settings,
            run=run,
            step=step,
            device=str(self.device),
            versions={name: version(name) for name in ("ganzoo-core", "torch", "torchmetrics", "torch-fidelity")},
        )

    @staticmethod
    def _evaluation(card: Card, results: MetricResults, timings: dict[str, float]) -> Evaluation:
        label = card.extractor.name
        of_this = {
            name.partition("/")[0]: seconds for name, seconds in timings.items() if name.endswith(("samples", label))
        }
        took = {name: round(seconds, 3) for name, seconds in {**of_this, **results.timings}.items()}
        return Evaluation(step=card.step, scores=results.scores, card=card, details=results.details, timings=took)

    @contextmanager
    def _timed(self, name: str, timings: dict[str, float]) -> Iterator[None]:
        """Add the seconds spent inside, waiting for the device included, to `timings`."""
        start = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        timings[name] = timings.get(name, 0.0) + time.perf_counter() - start


def _given(generator: Generator) -> str:
    """Say what a conditional generator is given."""
    if "condition" in generator.uses:
        return "conditions of real images"
    return "each class in turn" if "labels" in generator.uses else ""


def _extractor_card(extractor: Extractor | None, features: int) -> ExtractorCard:
    if extractor is None:
        return ExtractorCard(name="pixels", features=features)
    return ExtractorCard(
        name=extractor.label,
        digest=extractor.digest(),
        features=features,
        input=extractor.input,
        resize=extractor.resize,
        antialias=extractor.antialias,
        weights=extractor.source,
    )


@contextmanager
def without_tf32(device: torch.device) -> Iterator[None]:
    """While open, compute products and convolutions in true fp32, without TF32 on NVIDIA GPUs."""
    if device.type != "cuda":
        yield
        return
    backends: Any = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    for backend in backends:
        backend.fp32_precision = "ieee"
    try:
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def evaluate(
    run: TrainedRun,
    samples: int | None = None,
    *,
    seed: int | None = None,
    seeds: int = 1,
    weights: Weights | None = None,
    image_size: int | None = None,
    extractors: Sequence[str] = (),
    overrides: Overrides = (),
) -> Evaluated:
    """Score samples against the dataset as the recipe's [evaluation] says, and add the result to `evaluation.json`.

    Args:
        run: the trained run, whose dataset must be available.
        samples: number of samples; this and the following, left out: the recipe's.
        seed: of their latents.
        seeds: number of consecutive seeds to evaluate, for the spread of the scores.
        weights: "ema", "raw", or "auto" for ema where there is one.
        image_size: resize samples and real images to this size first, to compare runs of different sizes.
        extractors: names of the extractors to use, with their default options.
        overrides: changes to the recipe, such as `{"dataset.root": "/data"}` where the images have moved.

    Raises:
        DataError: the dataset or an extractor's weights are missing; the text says which to put where.
        RecipeError: one of these options is invalid.
    """
    wanted = {"samples": samples, "seed": seed, "weights": weights, "image_size": image_size}
    changes: dict[str, Any] = {f"evaluation.{key}": value for key, value in wanted.items() if value is not None}
    if extractors:
        changes["evaluation.extractors"] = [{"name": name} for name in extractors]
    tables = apply_overrides(run.recipe.to_dict(), [*override_pairs(overrides), *changes.items()])
    recipe = parse_recipe(tables, run.manager, source=str(run.path))
    options = recipe.evaluation
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
    add_evaluations(run.directory, [each for evaluations in found for each in evaluations])
    return Evaluated(found)
