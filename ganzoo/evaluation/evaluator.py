"""Evaluation of generators against the real images of a recipe, with protocol cards."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from typing import Literal

import torch
from torch import Tensor
from torchvision.transforms.functional import resize

from ganzoo.components.dataset import StoredImages
from ganzoo.components.extractor import Extractor
from ganzoo.components.metric import Metric, MetricInputs, Source, possible_scores
from ganzoo.components.network import Generator
from ganzoo.components.options import ImageSize
from ganzoo.components.spec import VectorSpec
from ganzoo.data.packed_dataset import PackedDataset, example_batch, real_images, seen_by
from ganzoo.errors import DataError, RequestError
from ganzoo.evaluation.evaluation_log import Evaluation
from ganzoo.evaluation.protocol import ANY, Card, ExtractorCard, RealCard, SamplesCard
from ganzoo.evaluation.real_features import features_of_real, reference_indices
from ganzoo.evaluation.results import compute
from ganzoo.recipe.model import Recipe
from ganzoo.recipe.validate import other_images
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.runtime.device import fp32_products
from ganzoo.runtime.random_state import seeded_generators
from ganzoo.sampling.generate import BATCH_SIZE, batch_norm_used, generate_batches
from ganzoo.terminal import count_progress, warn
from ganzoo.training.build import build_part, open_dataset
from ganzoo.training.plugin_notes import plugin_notes

CONDITIONS_AT_ONCE = 1024
SAMPLES_KEPT = 1000
"""Number of images, and of real ones, that are kept to be compared themselves; vectors are all kept."""


class Evaluator:
    """Computes scores as a recipe's [evaluation] says, keeping the real images, extractors and real features.

    Args:
        recipe: of the run.
        manager: the plugins that its components come from.
        device: to compute on.
        network: name of the generator to evaluate, where the trainer has several.
        shows_progress: whether the samples that are done are counted on stderr.

    Raises:
        DataError: images or weights are missing; the text says which to put where.
        RequestError: no metric is there by default, or two metrics or extractors give their scores the same names.
    """

    def __init__(
        self,
        recipe: Recipe,
        manager: PluginManager,
        device: torch.device,
        network: str = "generator",
        *,
        shows_progress: bool = False,
    ) -> None:
        self.recipe = recipe
        self.options = recipe.evaluation
        self.device = device
        self._manager = manager
        self._network = network
        self._shows_progress = shows_progress
        with seeded_generators(self.options.seed):
            self.metrics = self._metrics()
            size = self.options.image_size
            self.training = self._open(None, size)
            self.real = self._open("real", size) if self.options.real else self.training
            if len(self.real) < 2:
                raise DataError(f'the dataset "{recipe.dataset.name}" has one image, and scores need two or more')
            self.examples = self._open("real", None) if size else self.real
            self.unseen = self._open("held_out", size) if self.options.held_out else None
            vectors = isinstance(self.training.info.samples, VectorSpec)
            if vectors and self.options.real:
                raise RequestError("evaluation.real: points are scored against the training set alone: leave it out")
            self.own: Source = "points" if vectors else "pixels"
            self.kept = self.options.samples if vectors else SAMPLES_KEPT
            # A metric that the samples themselves suffice for brings no extractor by itself.
            unneeded = vectors or all(self.own in metric.needs for metric in self.metrics)
            self.extractors = [] if unneeded else self._prepared()
        self._real_features: dict[str, Tensor] = {}
        of: dict[str, str] = {}
        for metric in self.metrics:
            for score in self.score_names([metric]):
                if of.setdefault(score, metric.config.name) != metric.config.name:
                    two = f'"{of[score]}" and "{metric.config.name}"'
                    raise RequestError(f'evaluation.metrics: {two} both give a score "{score}": leave one out')

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
            seed: of the latents; default: the recipe's.

        Raises:
            RequestError: the dataset's labels or conditions are not those that the generator takes.
        """
        given = self.examples if "condition" in generator.uses else self.training
        if told := generator.info.changed(given.info, sorted(generator.uses)):
            raise RequestError(f"{run}: {told}; bring it back as it was: the generator takes no others")
        seed = self.options.seed if seed is None else seed
        samples = self._samples_card(generator, weights, seed)
        order = self._order(seed) if "condition" in generator.uses else None
        labels = self._labels(generator, order)
        batches = self._made(generator, seed, labels, order)
        return self._scored(batches, samples, run, step, self._targets(order), labels)

    def score_names(self, metrics: Iterable[Metric] | None = None) -> set[str]:
        """Return the names of the scores that its metrics, or some of them, may give."""
        extractors = {each.label: type(each) for each in self.extractors}
        return {*possible_scores(map(type, self.metrics if metrics is None else metrics), self.own, extractors)}

    def evaluate_images(self, images: StoredImages, source: str, resize: str) -> list[Evaluation]:
        """Score images that are there already, such as another program's, as `evaluate` does those of a generator.

        Args:
            images: of the shape of the real ones.
            source: what the card calls them.
            resize: how they were brought to that shape.
        """
        samples = SamplesCard(
            images=len(images), weights="files", batch_norm=ANY, precision="fp32", seed=self.options.seed, resize=resize
        )
        # Metrics may take the first of a folder sorted by class; the real images have another shuffle.
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(1))
        batches = (real_images(images, part).to(self.device) for part in torch.split(order, BATCH_SIZE))
        return self._scored(batches, samples, source, 0)

    def _scored(
        self,
        batches: Iterator[Tensor],
        samples: SamplesCard,
        run: str,
        step: int,
        targets: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> list[Evaluation]:
        timings: dict[str, float] = {}
        batches = _counted(batches, samples.images) if self._shows_progress else batches
        notes = plugin_notes(self.recipe, self._manager)
        with notes, seeded_generators(samples.seed), fp32_products(self.device):
            real = [self._features_of_real(extractor, timings) for extractor in self.extractors]
            features, pixels = self._collected(batches, timings)
            evaluation = partial(self._evaluation, samples, run, step, timings)
            found = [
                evaluation(self._inputs(extractor, real_features, fake_features, labels), extractor)
                for extractor, real_features, fake_features in zip(self.extractors, real, features, strict=True)
            ]
            if self._wanted({self.own}):
                reference = real_images(self.training, reference_indices(self.training, self.kept))
                labels = None if labels is None else labels[: len(pixels)]
                found.append(evaluation([self._input(self.own, reference, pixels, labels, targets)]))
        return found

    def _wanted(self, sources: Set[Source]) -> bool:
        """Check whether a metric is computed on one of these."""
        return any(metric.needs & sources for metric in self.metrics)

    def _input(
        self, source: Source, real: Tensor, fake: Tensor, labels: Tensor | None, targets: Tensor | None = None
    ) -> MetricInputs:
        mirrored = self.recipe.dataset.flips
        return MetricInputs(source, real, fake, self.training, self.unseen, mirrored, targets, labels)

    @torch.no_grad()
    def _inputs(self, extractor: Extractor, real: Tensor, fake: Tensor, labels: Tensor | None) -> list[MetricInputs]:
        """Return what metrics get of an extractor, on the device where that is CUDA, for sums over pairs."""
        place = self.device if self.device.type == "cuda" else torch.device("cpu")
        inputs = [self._input("features", real.to(place), fake.to(place), labels)]
        if self._wanted({"logits", "class_logits"}):
            logits = [extractor.logits(features.to(self.device)) for features in (real, fake)]
            if logits[0] is not None and logits[1] is not None:
                inputs.append(self._input("logits", logits[0], logits[1], labels))
                if extractor.names_classes:
                    inputs.append(self._input("class_logits", logits[0], logits[1], labels))
        return inputs

    def _made(self, generator: Generator, seed: int, labels: Tensor | None, order: Tensor | None) -> Iterator[Tensor]:
        """Yield the samples of a generator batch by batch, with the conditions of the real images in `order`."""
        count, mode = self.options.samples, self.recipe.samples.batch_norm
        latents = generator.latents_of_seed(count, seed)
        if order is None:
            yield from generate_batches(generator, latents, labels, batch_norm=mode)
            return
        for start in range(0, count, CONDITIONS_AT_ONCE):
            part = slice(start, start + CONDITIONS_AT_ONCE)
            condition = example_batch(self.examples, order[part]).condition
            given = None if labels is None else labels[part]
            yield from generate_batches(generator, latents[part], given, condition, batch_norm=mode)

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

    def _order(self, seed: int) -> Tensor:
        """Return which real images, or unpaired conditions, those of samples come from, by index."""
        conditions, count = self.examples.conditions, self.options.samples
        available = max(len(self.examples), 0 if conditions is None else len(conditions))
        order = torch.randperm(available, generator=torch.Generator().manual_seed(seed))
        return order.repeat(count // len(order) + 1)[:count]

    def _labels(self, generator: Generator, order: Tensor | None) -> Tensor | None:
        """Return the labels to make samples of: those of their conditions, else as `example_labels`; None: of none."""
        if "labels" not in generator.uses:
            return None
        if order is None:
            return self.training.example_labels(self.options.samples)
        labels = self.examples.labels
        return None if labels is None else torch.from_numpy(labels[(order % len(self.examples)).numpy()])

    def _targets(self, order: Tensor | None) -> Tensor | None:
        """Return the real images that the conditions of the first samples belong to; None where they belong to none."""
        if order is None or not self.examples.paired:
            return None
        return _resized(real_images(self.examples, order[: self.kept]), self.training.info.samples.shape)

    def _features_of_real(self, extractor: Extractor, timings: dict[str, float]) -> Tensor:
        """Return the real features from memory or the cache, computing them on the first call."""
        label = extractor.label
        if label not in self._real_features:
            with self._timed(f"real_features/{label}", timings):
                most = self.options.real_images
                self._real_features[label] = features_of_real(extractor, self.real, most, self.device)
        return self._real_features[label]

    def _metrics(self) -> list[Metric]:
        registry = self._manager.registries.metrics
        configs = self.options.metrics or registry.chosen(lambda options: options.by_default)
        if not configs:
            cure = "; ".join(self._manager.lacking(registry.kind.usual)) or "name one"
            raise RequestError(f"evaluation.metrics: names none, and none is there by default: {cure}")
        return [registry[config.name].load()(config) for config in configs]

    def _prepared(self) -> list[Extractor]:
        registry = self._manager.registries.extractors
        info = self.training.info
        configs = self.options.extractors or registry.chosen(lambda options: options.default_for(info))
        if not configs:
            warn(f"only the pixels are compared: no extractor is named, and none is by default for {info.samples}")
        extractors: dict[str, Extractor] = {}
        for index, config in enumerate(configs):
            extractor: Extractor = build_part(registry, config, f"evaluation.extractors.{index}", info)
            if extractor.label in extractors:
                raise RequestError(
                    f'evaluation.extractors: two of them call their scores "{extractor.label}": leave one out'
                )
            extractor.prepare(self.training)
            extractors[extractor.label] = extractor.to(self.device).eval()
        return list(extractors.values())

    def _open(self, table: Literal["real", "held_out"] | None, image_size: ImageSize | None) -> PackedDataset:
        """Open the dataset with the changes of a table of [evaluation], whose keys errors then name."""
        changes = getattr(self.options, table) if table else {}
        dataset = other_images(self.recipe.dataset, changes, image_size)
        try:
            packed = open_dataset(self.recipe.model_copy(update={"dataset": dataset}), self._manager)
        except DataError as error:
            if not changes:
                raise
            own = rf"\bdataset\.(?=(?:{'|'.join(map(re.escape, changes))})\b)"
            told = re.sub(own, f"evaluation.{table}.", str(error))
            raise DataError(f"the images of evaluation.{table}: {told}") from error
        return seen_by(self._network, packed, self.recipe.trainer)

    def _samples_card(self, generator: Generator, weights: str, seed: int) -> SamplesCard:
        given = "condition" in generator.uses
        classes = "each class in turn" if "labels" in generator.uses else ""
        return SamplesCard(
            images=self.options.samples,
            network=self._network,
            weights=weights,
            batch_norm=batch_norm_used(generator, self.recipe.samples.batch_norm),
            precision="fp32",
            options=generator.config.sampling_options,
            conditions=f"crc32:{self.examples.conditions_checksum:08x}" if given and self.options.real else "",
            seed=seed,
            labels="conditions of real images" if given else classes,
            made_at=str(generator.info.samples),
            resize="bilinear",
        )

    def _evaluation(
        self,
        samples: SamplesCard,
        run: str,
        step: int,
        timings: dict[str, float],
        inputs: Sequence[MetricInputs],
        extractor: Extractor | None = None,
    ) -> Evaluation:
        """Compute the metrics of an extractor's features, or of samples themselves, and note how."""
        results = compute(self.metrics, inputs, extractor)
        packed, real = self.real if extractor else self.training, inputs[0].real
        used: list[Metric | Extractor] = [*self.metrics, *([extractor] if extractor else [])]
        libraries = ["ganzoo-core", "torch", *(name for each in used for name in each.libraries)]
        card = Card(
            extractor=_extractor_card(extractor, self.own, real[0].numel()),
            real=RealCard(
                dataset=self.recipe.dataset.name,
                images=len(real) if extractor else len(packed),
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
            versions={name: version(name) for name in dict.fromkeys(libraries)},
        )
        took = {
            name.partition("/")[0]: seconds
            for name, seconds in timings.items()
            if name.partition("/")[2] in ("", card.extractor.name)
        }
        took = {name: round(seconds, 3) for name, seconds in {**took, **results.timings}.items()}
        return Evaluation(step=step, card=card, **{**vars(results), "timings": took})

    @contextmanager
    def _timed(self, name: str, timings: dict[str, float]) -> Iterator[None]:
        """Add the seconds spent inside, waiting for the device included, to `timings`."""
        start = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        timings[name] = timings.get(name, 0.0) + time.perf_counter() - start


def _counted(batches: Iterator[Tensor], total: int) -> Iterator[Tensor]:
    """Yield batches of samples and show how many are done."""
    done = 0
    with count_progress(what="scoring samples") as progress:
        for images in batches:
            yield images
            done += len(images)
            progress(done, total)


def _resized(images: Tensor, shape: Sequence[int]) -> Tensor:
    """Return images (N, C, H, W) at the size of a shape (C, H, W); vectors as they are."""
    return images if images.shape[2:] == shape[1:] else resize(images, list(shape[1:]), antialias=True)


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
        settings=dict(extractor.settings()),
        weights=extractor.source,
    )
