"""Inception, the classifier and torchvision's backbones: what features they give, of which weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ganzoo_metrics import classifier, extractors
from ganzoo_metrics.classifier import classifier_for
from ganzoo_metrics.configs import ClassifierConfig, InceptionConfig, TorchvisionBackboneConfig
from ganzoo_metrics.extractors import ClassifierFeatures, Inception, TorchvisionBackbone
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torchvision import models

from ganzoo.builtin.configs import SyntheticConfig
from ganzoo.builtin.datasets import Synthetic
from ganzoo.data.packed_dataset import PackedDataset, pack_dataset, real_images
from ganzoo.errors import DataError


@pytest.fixture(scope="module")
def packed() -> PackedDataset:
    return pack_dataset(Synthetic(SyntheticConfig(name="synthetic", image_size=16, count=64)))


@pytest.fixture
def images(packed: PackedDataset) -> Tensor:
    return real_images(packed, torch.arange(3))


class TestTorchvision:
    def build(self, packed: PackedDataset, **options: Any) -> TorchvisionBackbone:
        config = TorchvisionBackboneConfig(name="torchvision", **{"weights": "random", "input_size": 32, **options})
        extractor = TorchvisionBackbone(config, info=packed.info)
        extractor.prepare(packed)
        return extractor

    def test_features_are_what_the_last_layer_sees(self, packed: PackedDataset, images: Tensor, tmp_path: Path):
        network = models.resnet18(weights=None).eval()
        torch.save(network.state_dict(), tmp_path / "mine.pth")
        extractor = self.build(packed, model="resnet18", weights=str(tmp_path / "mine.pth"))
        features = extractor.features(images)
        assert (extractor.label, extractor.source, features.shape) == ("resnet18", "mine.pth", (3, 512))
        # From torchvision's own preprocessing of the same images.
        pixels = torch.nn.functional.interpolate((images + 1) / 2, (32, 32), mode="bilinear", antialias=True)
        standard = models.ResNet18_Weights.IMAGENET1K_V1.transforms()
        normalized = (pixels - torch.tensor(standard.mean)[:, None, None]) / torch.tensor(standard.std)[:, None, None]
        torch.testing.assert_close(extractor.logits(features), network(normalized))

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("model", "features"), [("vgg11", 4096), ("densenet121", 1024), ("mobilenet_v3_small", 1024), ("vit_b_32", 768)]
    )
    def test_every_family(self, packed: PackedDataset, images: Tensor, model: str, features: int):
        size = 224 if model.startswith("vit") else 32
        assert self.build(packed, model=model, input_size=size).features(images).shape == (3, features)

    def test_random_weights_follow_from_the_seed(self, packed: PackedDataset):
        one, same, other = (self.build(packed, model="resnet18", seed=seed) for seed in (1, 1, 2))
        assert one.digest() == same.digest() != other.digest()
        assert one.label == "resnet18_random"
        assert one.logits(torch.zeros(1, 512)) is None

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"model": "resnet81"}, 'torchvision has no classifier "resnet81", did you mean resnet18?'),
            (
                {"model": "alexnet"},
                '"alexnet" does not take images of 32×32 pixels (',
            ),
            (
                {"model": "vit_b_32", "input_size": 64},
                "64×64 pixels (Wrong image height! Expected 224 but got 64!): set input_size to a size that it takes",
            ),
            ({"model": "squeezenet1_0"}, '"squeezenet1_0" does not end in a dense layer'),
            (
                {"model": "resnet18", "weights": "mine"},
                "neither a file nor a name of the weights of resnet18: IMAGENET",
            ),
        ],
    )
    def test_wrong_requests(self, packed: PackedDataset, options: dict[str, Any], message: str):
        with pytest.raises(DataError) as raised:
            self.build(packed, **options)
        assert message in str(raised.value)

    def test_weights_of_another_model(self, packed: PackedDataset, tmp_path: Path):
        torch.save({"fc.weight": torch.zeros(2)}, tmp_path / "other.pth")
        with pytest.raises(DataError, match=r"other\.pth: are not weights of resnet18: Missing key"):
            self.build(packed, model="resnet18", weights=str(tmp_path / "other.pth"))


def test_the_classifier_is_the_one_of_the_dataset(packed: PackedDataset, images: Tensor):
    extractor = ClassifierFeatures(ClassifierConfig(name="classifier"), info=packed.info)
    extractor.prepare(packed)
    network, features = classifier_for(packed).network, extractor.features(images)
    torch.testing.assert_close(features, network.features(images))
    torch.testing.assert_close(extractor.logits(features), network(images))
    assert extractor.notes()["accuracy"] == classifier_for(packed).accuracy


def test_the_classifier_is_trained_anew_for_other_samples_or_labels_of_the_same_key(
    packed: PackedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A pack is made anew under its key, such as with images that could not be read before."""
    assert packed.labels is not None
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path))
    monkeypatch.setattr(classifier, "EXAMPLES", classifier.BATCH)
    first = classifier_for(packed).network.state_dict()
    for other in (
        replace(packed, images=255 - packed.images, checksum=1),
        replace(packed, labels=packed.labels[::-1].copy()),
    ):
        weights = classifier_for(other).network.state_dict()
        assert not all(torch.equal(first[name], weights[name]) for name in first)
    again = classifier_for(packed).network.state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)


class Noting:
    """Stored images that note which of them are read together."""

    def __init__(self, images: Any) -> None:
        self._images = images
        self.read: list[set[int]] = []

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, indices: Any) -> Any:
        self.read.append({*indices.tolist()})
        return self._images[indices]


def test_the_classifiers_accuracy_is_of_images_that_it_was_not_trained_on(
    packed: PackedDataset, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(classifier, "EXAMPLES", 10 * classifier.BATCH)
    images = Noting(packed.images)
    classifier_for(replace(packed, images=images, key="noted"))  # type: ignore[arg-type]
    *trained, measured = images.read
    assert (len(trained), len(measured)) == (10, 6)
    assert set.union(*trained) == {*range(64)} - measured


class TestInception:
    @pytest.mark.slow
    def test_is_torch_fidelitys_network(
        self, packed: PackedDataset, images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        """With made-up weights of the right shapes, and their sum in the place of the real one's."""
        torch.manual_seed(0)
        monkeypatch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        bare = FeatureExtractorInceptionV3(
            "x", ["2048", "logits_unbiased"], feature_extractor_weights_path=_nothing(tmp_path)
        )
        monkeypatch.undo()
        path = tmp_path / "weights.pth"
        torch.save(bare.state_dict(), path)
        monkeypatch.setattr(extractors, "INCEPTION_HASH_PREFIX", hashlib.sha256(path.read_bytes()).hexdigest()[:8])
        extractor = Inception(InceptionConfig(name="inception", weights=str(path)), info=packed.info)
        extractor.prepare(packed)
        features = extractor.features(images)
        expected, logits = bare(((images + 1) * 127.5).round().to(torch.uint8))
        torch.testing.assert_close(features, expected)
        torch.testing.assert_close(extractor.logits(features), logits)
        assert extractor.features(images[:, :1]).shape == (3, 2048)  # gray

    def test_images_are_rounded_to_eight_bits_and_made_rgb(self, packed: PackedDataset):
        """As when they are read from files: −1 is 0, and 1 is 255, beyond which none lies."""
        extractor = Inception(InceptionConfig(name="inception"), info=packed.info)
        extractor.network = lambda pixels: (pixels.flatten(2).transpose(1, 2),)  # type: ignore[assignment]
        levels = torch.tensor([-1.0, -0.9962, -0.0001, 0.0001, 0.997, 1.0, 1.2, -1.2])
        found = extractor.features(levels.reshape(1, 1, 2, 4))
        assert found.dtype == torch.uint8
        assert found[0].tolist() == [[level] * 3 for level in (0, 0, 127, 128, 255, 255, 255, 0)]

    def test_other_weights_are_refused(self, packed: PackedDataset, tmp_path: Path):
        path = tmp_path / "weights.pth"
        torch.save({"a": torch.ones(1)}, path)
        extractor = Inception(InceptionConfig(name="inception", weights=str(path)), info=packed.info)
        with pytest.raises(DataError, match="is not the Inception weights of FID, or is damaged"):
            extractor.prepare(packed)

    def test_weights_of_the_right_sum_and_the_wrong_shape(
        self, packed: PackedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        path = tmp_path / "weights.pth"
        torch.save({"a": torch.ones(1)}, path)
        monkeypatch.setattr(extractors, "INCEPTION_HASH_PREFIX", hashlib.sha256(path.read_bytes()).hexdigest()[:8])
        extractor = Inception(InceptionConfig(name="inception", weights=str(path)), info=packed.info)
        with pytest.raises(DataError, match="does not hold the Inception weights of FID"):
            extractor.prepare(packed)


def _nothing(tmp_path: Path) -> Path:
    torch.save({}, tmp_path / "nothing.pth")
    return tmp_path / "nothing.pth"


def test_without_a_network_the_command_says_what_to_fetch(
    command: Callable[..., Any],
    tables: dict[str, Any],
    recipe_file: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
):
    tables["evaluation"] = {"every": 3, "extractors": [{"name": "inception"}]}
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(recipe_file(tables).parent / "hub"))

    def offline(*_: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    ended = command("run", recipe_file(tables))
    (line,) = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert ended.code == 2
    assert "the Inception weights of FID cannot be downloaded (Network is unreachable): fetch https://" in line
    assert "hub/checkpoints/weights-inception-2015-12-05-6726825d.pth, or name its place with" in line
    (metrics,) = recipe_file(tables).parent.glob("runs/tiny/*")
    assert json.loads((metrics / "summary.json").read_text())["steps"] == 0
