"""The extractors: a dataset's own classifier, FID's Inception, torchvision's classifiers."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from ganzoo.plugin import DataError, DatasetInfo, Extractor, StoredImages
from ganzoo_metrics.classifier import ClassifierNetwork, classifier_for
from ganzoo_metrics.configs import ClassifierConfig, InceptionConfig, TorchvisionBackboneConfig
from ganzoo_metrics.imagenet import ImageNetInput
from ganzoo_metrics.weights import (
    RANDOM,
    check_hash,
    downloaded,
    expand_user,
    line_of,
    load_tensors,
    load_torchvision_weights,
    torchvision_classifier,
)

OPTION = "weights under [[evaluation.extractors]]"
INCEPTION_WEIGHTS = "the Inception weights of FID"
INCEPTION_HASH_PREFIX = "6726825d"
"""Prefix of the file's SHA-256; with other weights a distance is not the FID."""


class ClassifierFeatures(Extractor):
    """Pooled last feature maps of the classifier that is trained on the dataset and cached."""

    Config = ClassifierConfig

    names_classes = True
    source = "trained on the dataset"

    def prepare(self, real: StoredImages) -> None:
        """Load the classifier of these images from the cache, or train it.

        Raises:
            DataError: they have no labels.
        """
        classifier = classifier_for(real)
        self.network: ClassifierNetwork = classifier.network
        self._accuracy = classifier.accuracy
        self.requires_grad_(False).eval()

    def features(self, images: Tensor) -> Tensor:
        """Return features (N, 128)."""
        return self.network.features(images)

    def logits(self, features: Tensor) -> Tensor:
        """Return logits (N, classes)."""
        return cast("Tensor", self.network.classes(features))

    def notes(self) -> Mapping[str, float | str]:
        """Return the accuracy on held-out real images."""
        return {"accuracy": self._accuracy}


class Inception(Extractor):
    """The 2048 features of the last pooling; images are rounded to 8 bits and made RGB, as when read from files."""

    Config = InceptionConfig
    config: InceptionConfig
    libraries = ("torch-fidelity",)

    input = "299×299"
    resize = "bilinear as TensorFlow 1 has it"
    score_names: ClassVar = {"fd_inception": "fid", "kd_inception": "kid", "is_inception": "inception_score"}

    @property
    def source(self) -> str:
        """Name of the weights file."""
        return self._file.name

    def prepare(self, real: StoredImages) -> None:
        """Load the weights, from the file that the options name or torch's cache.

        Raises:
            DataError: the file is missing, or its checksum is wrong.
        """
        from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3

        if self.config.weights is None:
            self._file = downloaded(URL_INCEPTION_V3, INCEPTION_WEIGHTS, OPTION, INCEPTION_HASH_PREFIX)
        else:
            self._file = expand_user(self.config.weights)
            check_hash(self._file, INCEPTION_WEIGHTS, INCEPTION_HASH_PREFIX)
        # The network would unpickle any object in the file, so it gets a copy of the tensors alone.
        tensors = io.BytesIO()
        torch.save(load_tensors(self._file, INCEPTION_WEIGHTS), tensors)
        tensors.seek(0)
        try:
            self.network = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=tensors)
        except RuntimeError as error:
            raise DataError(f"{self._file}: does not hold {INCEPTION_WEIGHTS}: {line_of(error)}") from error

    def features(self, images: Tensor) -> Tensor:
        """Return features (N, 2048)."""
        pixels = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        (features,) = self.network(pixels.expand(-1, 3, -1, -1))
        assert isinstance(features, Tensor)
        return features

    def logits(self, features: Tensor) -> Tensor:
        """Return logits (N, 1008), without the bias, as the inception score is defined."""
        return cast("Tensor", features @ self.network.fc.weight.T)


class TorchvisionBackbone(Extractor):
    """A torchvision classifier on images made RGB, resized to a square without a crop, and normalized for ImageNet."""

    Config = TorchvisionBackboneConfig
    config: TorchvisionBackboneConfig

    resize = "bilinear"

    def __init__(self, config: TorchvisionBackboneConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        self.input = f"{config.input_size}×{config.input_size}"
        self.antialias = config.antialias

    @property
    def source(self) -> str:
        """Name of the weights or of their file."""
        return Path(self.config.weights).name

    def prepare(self, real: StoredImages) -> None:
        """Build the network and load its weights.

        Raises:
            DataError: there is no such model, its last layer is not dense, its weights are missing, or it does not take
                images of this size.
        """
        where = f'extractor "{self.config.name}"'
        network = torchvision_classifier(self.config.model, self.config.seed, where)
        load_torchvision_weights(network, self.config.model, self.config.weights, where, OPTION)
        self.head = _cut_off_head(network, self.config.model)
        self.network = network
        self.to_input = ImageNetInput(self.config.input_size, antialias=self.config.antialias)
        self.requires_grad_(False).eval()
        size = self.config.input_size
        try:  # no model says which sizes it takes
            network(torch.zeros(1, 3, size, size))
        except (AssertionError, RuntimeError) as error:
            raise DataError(
                f'{where}: "{self.config.model}" does not take images of {size}×{size} pixels ({line_of(error)}): '
                f"set input_size to a size that it takes, such as 224"
            ) from error

    def features(self, images: Tensor) -> Tensor:
        """Return features (N, D), with D 2048 for resnet50."""
        return cast("Tensor", self.network(self.to_input(images)))

    def logits(self, features: Tensor) -> Tensor | None:
        """Return logits (N, 1000) of ImageNet's classes; None where the weights are random."""
        return None if self.config.weights == RANDOM else cast("Tensor", self.head(features))


def _cut_off_head(network: nn.Module, model: str) -> nn.Linear:
    """Replace the last dense layer by the identity, and return it.

    Raises:
        DataError: there is none.
    """
    dense = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not dense or dense[-1][1].out_features != 1000:
        raise DataError(f'extractor: "{model}" does not end in a dense layer, before which its features could be taken')
    name, head = dense[-1]
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, nn.Identity())
    return head
