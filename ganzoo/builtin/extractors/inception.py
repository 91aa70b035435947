"""The Inception-v3 that defines FID: torch-fidelity's network, with the weights of the original TensorFlow graph."""

from __future__ import annotations

import io
from pathlib import Path
from typing import ClassVar, cast

import torch
from torch import Tensor

from ganzoo.builtin.extractors.configs import InceptionConfig
from ganzoo.builtin.extractors.weights import check_hash, downloaded, load_tensors
from ganzoo.components.dataset import StoredImages
from ganzoo.components.extractor import Extractor
from ganzoo.errors import DataError, first_line

WHAT = "the Inception weights of FID"
HASH_PREFIX = "6726825d"
"""Prefix of the file's SHA-256; with other weights a distance is not the FID."""


class Inception(Extractor):
    """The 2048 features of the last pooling; images are rounded to 8 bits and made RGB, as when read from files."""

    Config = InceptionConfig
    config: InceptionConfig

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
            self._file = downloaded(URL_INCEPTION_V3, WHAT, "weights under [[evaluation.extractors]]", HASH_PREFIX)
        else:
            self._file = Path(self.config.weights).expanduser()
            check_hash(self._file, WHAT, HASH_PREFIX)
        # The network would unpickle any object in the file, so it gets a copy of the tensors alone.
        tensors = io.BytesIO()
        torch.save(load_tensors(self._file, WHAT), tensors)
        tensors.seek(0)
        try:
            self.network = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=tensors)
        except RuntimeError as error:
            raise DataError(f"{self._file}: does not hold {WHAT}: {first_line(error)}") from error

    def features(self, images: Tensor) -> Tensor:
        """Return features (N, 2048)."""
        pixels = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        (features,) = self.network(pixels.expand(-1, 3, -1, -1))
        assert isinstance(features, Tensor)
        return features

    def logits(self, features: Tensor) -> Tensor:
        """Return logits (N, 1008), without the bias, as the inception score is defined."""
        return cast("Tensor", features @ self.network.fc.weight.T)
