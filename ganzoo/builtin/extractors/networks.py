"""The extractors that ship with the core: a dataset's own classifier, FID's Inception, torchvision's classifiers.

Their weights are downloaded, checked, and loaded without running code from them.
"""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision import models

from ganzoo.builtin.extractors.configs import ClassifierConfig, InceptionConfig, TorchvisionBackboneConfig
from ganzoo.components.dataset import StoredImages
from ganzoo.components.extractor import Extractor
from ganzoo.components.spec import DatasetInfo
from ganzoo.errors import DataError, first_line
from ganzoo.evaluation.classifier import ClassifierNetwork, classifier_for
from ganzoo.runtime.memory import physical_memory
from ganzoo.storage import safe_load
from ganzoo.storage.disk import expand_user
from ganzoo.storage.manifest import file_sha256
from ganzoo.text import did_you_mean
from ganzoo.untrusted import open_file

SECONDS = 15.0
"""Timeout of a download's connection in seconds."""
OPTION = "weights under [[evaluation.extractors]]"
INCEPTION_WEIGHTS = "the Inception weights of FID"
INCEPTION_HASH_PREFIX = "6726825d"
"""Prefix of the file's SHA-256; with other weights a distance is not the FID."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's pixels, by which all of torchvision's classifiers normalize."""
RANDOM = "random"


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
            raise DataError(f"{self._file}: does not hold {INCEPTION_WEIGHTS}: {first_line(error)}") from error

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
    mean: Tensor
    deviation: Tensor

    def __init__(self, config: TorchvisionBackboneConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        self.input = f"{config.input_size}×{config.input_size}"
        self.antialias = config.antialias

    @property
    def label(self) -> str:
        """Name of the model, marked where its weights are random."""
        return self.config.model + ("_random" if self.config.weights == RANDOM else "")

    @property
    def source(self) -> str:
        """Name of the weights or of their file."""
        return Path(self.config.weights).name

    def prepare(self, real: StoredImages) -> None:
        """Build the network and load its weights.

        Raises:
            DataError: there is no such model, its last layer is not dense, or its weights are missing.
        """
        names = models.list_models(module=models)
        if self.config.model not in names:
            raise DataError(
                f'extractor "{self.config.name}": torchvision has no classifier '
                f'"{self.config.model}"{did_you_mean(self.config.model, names)}'
            )
        tensors = self._tensors()
        silent: dict[str, Any] = {"init_weights": True} if self.config.model in ("googlenet", "inception_v3") else {}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            network = models.get_model(self.config.model, weights=None, **silent)
        if tensors is not None:
            try:
                network.load_state_dict(tensors)
            except RuntimeError as error:
                raise DataError(
                    f"{self.config.weights}: are not weights of {self.config.model}: {_second_line(error)}"
                ) from error
        self.head = _cut_off_head(network, self.config.model)
        self.network = network
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def features(self, images: Tensor) -> Tensor:
        """Return features (N, D), with D 2048 for resnet50."""
        size = [self.config.input_size] * 2
        pixels = (images.expand(-1, 3, -1, -1) + 1) / 2
        if pixels.shape[2:] != torch.Size(size):
            pixels = F.interpolate(pixels, size, mode="bilinear", antialias=self.config.antialias)
        return cast("Tensor", self.network((pixels - self.mean) / self.deviation))

    def logits(self, features: Tensor) -> Tensor | None:
        """Return logits (N, 1000) of ImageNet's classes; None where the weights are random."""
        return None if self.config.weights == RANDOM else cast("Tensor", self.head(features))

    def _tensors(self) -> dict[str, Tensor] | None:
        weights, what = self.config.weights, f"the weights of {self.config.model}"
        if weights == RANDOM:
            return None
        known = models.get_model_weights(self.config.model)
        if weights in known.__members__:
            url = known[weights].url
            prefix = url.rpartition("-")[2].partition(".")[0]
            return load_tensors(downloaded(url, what, OPTION, prefix), what)
        path = expand_user(weights)
        if not path.is_file():
            raise DataError(
                f'extractor "{self.config.name}": weights = "{weights}" is neither a file nor a name of '
                f"{what}: {', '.join(known.__members__)}, {RANDOM}"
            )
        return load_tensors(path, what)


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


def _second_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    return lines[1] if len(lines) > 1 else lines[0]


def downloaded(url: str, what: str, option: str, hash_prefix: str) -> Path:
    """Return the file of torch's cache for `url`, after downloading it where it is missing.

    Args:
        url: of the file.
        what: its name in messages.
        option: the key of a recipe that names a file to use instead.
        hash_prefix: what the SHA-256 of the file begins with.

    Raises:
        DataError: it cannot be fetched; the text says what to fetch and where to put it.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if path.parts[0].startswith("~"):
        raise DataError(f"{path}: there is no such home folder: set TORCH_HOME to a folder for {what}, or {option}")
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _download_timeout():
                torch.hub.download_url_to_file(url, str(path), hash_prefix)
        except (OSError, RuntimeError, ValueError) as error:
            raise DataError(
                f"{what} cannot be downloaded ({first_line(error)}): fetch {url} where there is a network, "
                f"and put it at {path}, or name its place with {option}"
            ) from error
    check_hash(path, what, hash_prefix)
    return path


def check_hash(path: Path, what: str, hash_prefix: str) -> None:
    """Check the SHA-256 of a file.

    Raises:
        DataError: it is another file, or damaged.
    """
    try:
        found = file_sha256(path)
    except OSError as error:
        raise DataError(f"{path}: {what} cannot be read there: {error.strerror}") from error
    if not found.startswith(hash_prefix):
        raise DataError(
            f"{path}: is not {what}, or is damaged: its SHA-256 begins with {found[: len(hash_prefix)]}, "
            f"and must begin with {hash_prefix}; remove it"
        )


def load_tensors(path: Path, what: str) -> dict[str, Tensor]:
    """Load the tensors of a `.safetensors` file or of a state dict that torch saved, and nothing else.

    Raises:
        DataError: it is neither.
    """
    try:
        if path.suffix == ".safetensors":
            open_file(path, physical_memory()).close()
            return load_file(path)
        state = safe_load.load_tensors(path)
    except (OSError, SafetensorError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no state dict of tensors"
        raise DataError(f"{path}: {what} cannot be read there: {reason}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise DataError(f"{path}: {what} cannot be read there: it is no state dict of tensors")
    return state


@contextmanager
def _download_timeout() -> Iterator[None]:
    """Set a timeout for torch's download, which has none."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
