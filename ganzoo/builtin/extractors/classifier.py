"""The classifier of a labeled dataset as an extractor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from torch import Tensor

from ganzoo.builtin.extractors.configs import ClassifierConfig
from ganzoo.components.dataset import StoredImages
from ganzoo.components.extractor import Extractor
from ganzoo.evaluation.classifier import ClassifierNetwork, classifier_for


class ClassifierFeatures(Extractor):
    """Pooled last feature maps of the classifier that `ganzoo.evaluation.classifier` trains and caches."""

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
