"""Data, networks and scores of the benchmarks, against their protocols."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ganzoo_benchmarks.configs import GridConfig, ModesConfig, RingConfig, StackedDigitsConfig, StackedMNISTConfig
from ganzoo_benchmarks.datasets import Grid, Ring, StackedMNIST
from ganzoo_benchmarks.modes import Modes, divergence_of_perfect
from ganzoo_benchmarks.networks import Maxout
from ganzoo_benchmarks.stacked_digits import StackedDigits
from sklearn.datasets import load_digits

import ganzoo
from ganzoo.plugin import (
    DataError,
    DatasetInfo,
    ImageSpec,
    LabelSpec,
    MetricInputs,
    RequestError,
    UnfitDataError,
    VectorSpec,
    pack_dataset,
)
from ganzoo.registry.plugin_manager import plugin_manager

POINTS = DatasetInfo(VectorSpec(2), LabelSpec.classes("01234567"))


def make(kind: str, name: str, info: DatasetInfo = POINTS, **options: Any) -> Any:
    entry = getattr(plugin_manager().registries, kind)[name]
    config = entry.config(name=name, **options)
    config.check_info(info)
    return entry.load()(config, info=info)


def stored(points: np.ndarray, labels: np.ndarray, names: LabelSpec | None) -> Any:
    return SimpleNamespace(images=points, labels=labels, info=DatasetInfo(VectorSpec(2), names))


def test_ring_is_the_protocols():
    source = Ring(RingConfig(name="ring", count=80_000)).open()
    points = np.array([point for point, _ in source])
    labels = np.array([label for _, label in source])
    assert np.bincount(labels).tolist() == [10_000] * 8
    assert labels[:10].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0, 1]
    for index in range(8):
        mine = points[labels == index]
        angle = index * math.pi / 4
        np.testing.assert_allclose(mine.mean(0), [math.cos(angle), math.sin(angle)], atol=5e-4)
        np.testing.assert_allclose(mine.std(0), 0.01, rtol=0.03)


@pytest.mark.parametrize("limit", [1_000, 12_500, 50_000])
def test_a_limit_takes_as_many_points_of_each_gaussian(tmp_path: Path, limit: int):
    packed = pack_dataset(Ring(RingConfig(name="ring", limit=limit)), cache=tmp_path)
    assert set(np.bincount(packed.labels)) <= {limit // 8, -(-limit // 8)}


def test_the_classes_are_named_by_the_centers():
    names = Ring(RingConfig(name="ring", modes=4, radius=2.0)).labels().names
    assert names == ("(2, 0)", "(0, 2)", "(-2, 0)", "(0, -2)")
    assert Grid(GridConfig(name="grid", side=2)).labels().names == ("(-1, -1)", "(1, -1)", "(-1, 1)", "(1, 1)")


def test_grid_is_the_protocols():
    config = GridConfig(name="grid", count=25_000)
    assert sorted(config.centers()) == [(x, y) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)]
    source = Grid(config).open()
    distances = np.array([point - config.centers()[label] for point, label in source])
    np.testing.assert_allclose(distances.std(0), 0.05, rtol=0.03)


def test_perfect_samples_find_every_mode_and_a_collapsed_one_finds_one():
    ring = Ring(RingConfig(name="ring", count=8_000))
    source = ring.open()
    training = stored(np.array([p for p, _ in source]), np.array([label for _, label in source]), ring.labels())
    other = Ring(RingConfig(name="ring", count=2_400, data_seed=1)).open()
    fake = torch.tensor(np.array([point for point, _ in other]), dtype=torch.float32)

    def scores(fake: torch.Tensor) -> dict[str, float]:
        return Modes(ModesConfig(name="modes")).compute(MetricInputs("points", fake, fake, training))

    perfect = scores(fake)
    assert perfect["modes"] == 8
    # Of two dimensions, exp(−9/2) of a Gaussian's points lie beyond three standard deviations.
    assert perfect["high_quality"] == pytest.approx(1 - math.exp(-4.5), abs=0.006)
    assert perfect["kl_to_uniform"] == pytest.approx(0, abs=1e-3)
    collapsed = scores(torch.tensor([[1.0, 0.0]]).expand(100, 2))
    assert collapsed == {"modes": 1, "high_quality": 1.0, "kl_to_uniform": pytest.approx(math.log(8))}
    few = np.isin(training.labels, (0, 3))
    training = stored(training.images[few], training.labels[few], ring.labels())
    assert scores(fake)["modes"] == 2
    (single,) = np.flatnonzero(training.labels == 3)[:1]
    few = (training.labels == 0) | (np.arange(len(training.labels)) == single)
    training = stored(training.images[few], training.labels[few], ring.labels())
    assert scores(fake)["modes"] == 2
    assert scores(torch.zeros(10, 2)) == {"modes": 0, "high_quality": 0.0, "kl_to_uniform": pytest.approx(math.log(8))}


@pytest.mark.parametrize(("hits", "found"), [(0, 3), (1, 3), (2, 2), (3, 1), (4, 0)])
def test_a_mode_counts_from_as_many_samples_as_it_needs(hits: int, found: int):
    ring = Ring(RingConfig(name="ring", count=800))
    source = ring.open()
    training = stored(np.array([p for p, _ in source]), np.array([label for _, label in source]), ring.labels())
    fake = torch.tensor(ring.config.centers())[[0, 1, 1, 2, 2, 2]]
    inputs = MetricInputs("points", fake, fake, training)
    assert Modes(ModesConfig(name="modes", hits=hits)).compute(inputs)["modes"] == found
    assert inputs.details["kl_to_uniform_of_perfect_samples"] == pytest.approx(divergence_of_perfect(8, 6))


def test_a_ring_of_one_point_a_mode_has_no_widths():
    ring = Ring(RingConfig(name="ring", count=8))
    source = ring.open()
    training = stored(np.array([p for p, _ in source]), np.array([label for _, label in source]), ring.labels())
    fake = torch.tensor(ring.config.centers())
    with pytest.raises(RequestError, match=r"no class of this dataset has two different ones: .* dataset\.count"):
        Modes(ModesConfig(name="modes")).compute(MetricInputs("points", fake, fake, training))


@pytest.mark.parametrize(("samples", "warned"), [(400, True), (9_999, True), (10_000, False)])
def test_few_samples_are_told(samples: int, warned: bool):
    training = SimpleNamespace(info=DatasetInfo(ImageSpec(3, 28, 28), LabelSpec.classes(map(str, range(1000)))))
    inputs = MetricInputs("class_logits", torch.empty(0), torch.empty(samples, 0), training)  # type: ignore[arg-type]
    told = f"{samples:,} samples for 1,000 modes, fewer than ten of each: a mode may be missing by chance"
    assert Modes(ModesConfig(name="modes")).caveat(inputs) == (told if warned else "")


def test_the_divergence_of_perfect_samples_is_exact():
    assert divergence_of_perfect(8, 1) == pytest.approx(math.log(8))
    # Two samples of two modes: together in half of all cases, where the divergence is ln 2, else apart, where it is 0.
    assert divergence_of_perfect(2, 2) == pytest.approx(math.log(2) / 2)
    assert divergence_of_perfect(1, 5) == pytest.approx(0, abs=1e-12)
    drawn = np.random.default_rng(0).multinomial(20, np.full(8, 1 / 8), size=20_000) / 20
    found = (drawn * np.log(np.where(drawn > 0, 8 * drawn, 1))).sum(1).mean()
    assert divergence_of_perfect(8, 20) == pytest.approx(found, abs=0.003)
    assert divergence_of_perfect(8, 100_000) == pytest.approx(7 / 200_000, rel=1e-3)  # (modes − 1) / (2 samples)


def test_each_mode_is_as_wide_as_its_own_points():
    wide, narrow = [[-1.0, -1.0], [1.0, 1.0]], [[9.9, 9.9], [10.1, 10.1]]  # deviations of 1 and 0.1
    training = stored(np.array(wide + narrow), np.array([0, 0, 1, 1]), LabelSpec.classes(("wide", "narrow")))
    fake = torch.tensor([[2.9, 0.0], [0.0, -3.1], [10.0, 10.29], [10.31, 10.0]])
    scores = Modes(ModesConfig(name="modes")).compute(MetricInputs("points", fake, fake, training))
    assert (scores["modes"], scores["high_quality"]) == (2, 0.5)


def test_floor_of_the_divergence_is_that_of_perfect_samples():
    training = SimpleNamespace(info=DatasetInfo(ImageSpec(3, 28, 28), LabelSpec.classes(map(str, range(1000)))))
    classes = torch.randint(1000, (26_000,), generator=torch.Generator().manual_seed(0))
    inputs = MetricInputs("class_logits", torch.empty(0), torch.eye(1000)[classes], training)  # type: ignore[arg-type]
    found = Modes(ModesConfig(name="modes")).compute(inputs)
    assert found["modes"] == 1000
    assert inputs.details["kl_to_uniform_of_perfect_samples"] == pytest.approx(0.01934, abs=1e-5)
    assert found["kl_to_uniform"] == pytest.approx(0.01934, abs=2e-3)
    assert "high_quality" not in found


def test_images_of_dense_layers_are_clipped_and_points_are_not():
    points, images = (
        make("generators", "mlp", info=DatasetInfo(spec), latent_dim=2, hidden=[8])
        for spec in (VectorSpec(2), ImageSpec(1, 8, 8))
    )
    assert (points.clips_images, images.clips_images) == (False, True)


def test_modes_need_classes():
    with pytest.raises(RequestError, match="counts the classes of the dataset"):
        Modes(ModesConfig(name="modes")).compute(
            MetricInputs("points", torch.zeros(1, 2), torch.zeros(1, 2), stored(np.zeros((1, 2)), np.zeros(1), None))
        )


def test_networks_of_pacgans_experiments():
    """Four layers of 400 with batch norm, no biases, from two latents; three maxout layers of 200 with five pieces."""
    generator = make("generators", "mlp", latent_dim=2, hidden=[400] * 4, norm="batch", bias=False)
    weights = [2 * 400, 400 * 400, 400 * 400, 400 * 400, 400 * 2]
    assert sum(p.numel() for p in generator.parameters()) == sum(weights) + 4 * 2 * 400
    discriminator = make("discriminators", "mlp", hidden=[200] * 3, activation="maxout", pieces=5)
    sizes = [(2, 1000), (200, 1000), (200, 1000), (200, 1)]
    assert sum(p.numel() for p in discriminator.parameters()) == sum(a * b + b for a, b in sizes)
    points = torch.randn(6, 2)
    values = points
    for block in discriminator.blocks:
        pieces = torch.nn.functional.linear(values, block[0].weight, block[0].bias).view(6, 5, 200)
        values = pieces.max(1).values
    expected = torch.nn.functional.linear(values, discriminator.head.weight, discriminator.head.bias)[:, 0]
    torch.testing.assert_close(discriminator(points), expected)


def test_maxout_has_the_gradients_of_amax():
    """Of both orders, for penalties and unrolled steps; equal pieces share them."""
    values = torch.randn(3, 5 * 4, dtype=torch.float64)
    values[:, 4:8] = values[:, :4]
    values.requires_grad_()
    largest, expected = Maxout(5)(values), values.unflatten(1, (5, 4)).amax(1)
    torch.testing.assert_close(largest, expected, rtol=0, atol=0)
    ours, theirs = (torch.autograd.grad(of.pow(3).sum(), values, create_graph=True)[0] for of in (largest, expected))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-14)
    of_ours, of_theirs = (torch.autograd.grad(of.square().sum(), values)[0] for of in (ours, theirs))
    torch.testing.assert_close(of_ours, of_theirs, rtol=0, atol=1e-12)


def test_networks_of_unrolled_gans_experiments_are_orthogonal():
    generator = make(
        "generators", "mlp", latent_dim=256, activation="relu", init="orthogonal", init_scale=0.8, hidden=[128, 128]
    )
    weight = generator.layers[0].weight
    torch.testing.assert_close(weight @ weight.T, 0.8**2 * torch.eye(128), atol=1e-4, rtol=0)


def test_a_discriminator_scales_its_input():
    scaled = make("discriminators", "mlp", hidden=[16], input_scale=0.25)
    plain = make("discriminators", "mlp", hidden=[16])
    plain.load_state_dict(scaled.state_dict())
    points = torch.randn(6, 2)
    torch.testing.assert_close(scaled(points), plain(points / 4))
    torch.testing.assert_close(scaled.features(points)[0], plain.features(points / 4)[0])


def test_dcgan_of_28_pixels_passes_through_14_7_4_and_2():
    info = DatasetInfo(ImageSpec(3, 28, 28))
    generator = make("generators", "dcgan_28", info, latent_dim=100, width=8)
    latents = generator.sample_latents(500, torch.Generator().manual_seed(0))
    assert latents.abs().max() <= 1
    assert latents.std() == pytest.approx(1 / math.sqrt(3), abs=0.01)
    images = generator(latents[:4])
    assert images.shape == (4, 3, 28, 28)
    assert generator.first_shape == (64, 2, 2)
    discriminator = make("discriminators", "dcgan_28", info, width=8)
    shapes = [tuple(each.shape[1:]) for each in discriminator.features(images)]
    assert shapes == [(8, 14, 14), (16, 7, 7), (32, 4, 4), (64, 2, 2)]
    assert discriminator(images).shape == (4,)
    norms = [sum(isinstance(layer, torch.nn.BatchNorm2d) for layer in block) for block in discriminator.blocks]
    assert norms == [0, 1, 1, 1]


@pytest.mark.parametrize("kind", ["generators", "discriminators"])
@pytest.mark.parametrize(
    ("name", "options", "deviation"),
    [("mlp", {"hidden": [400, 400], "init_scale": 0.05}, 0.05), ("dcgan_28", {"width": 16}, 0.02)],
)
def test_weights_start_from_a_normal_distribution_and_biases_from_zero(
    kind: str, name: str, options: dict[str, Any], deviation: float
):
    network = make(kind, name, DatasetInfo(ImageSpec(3, 28, 28)), **options)
    layers = [each for each in network.modules() if hasattr(each, "weight") and each.weight.ndim > 1]
    assert len(layers) > 2
    for layer in layers:
        assert layer.bias.eq(0).all()
        values = layer.weight.detach()
        assert values.mean().abs() < 5 * deviation / values.numel() ** 0.5
        assert values.std() == pytest.approx(deviation, rel=5 / (2 * values.numel()) ** 0.5)


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MNIST's files, of scikit-learn's digits: 8×8, scaled up to 24×24 within 28×28."""
    root = tmp_path_factory.mktemp("mnist")
    digits = load_digits()
    images = np.pad(np.kron(digits.images / 16 * 255, np.ones((3, 3))).astype(np.uint8), ((0, 0), (2, 2), (2, 2)))
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, chosen in (("train", slice(0, 1500)), ("t10k", slice(1500, None))):
        mine, labels = images[chosen], digits.target[chosen].astype(np.uint8)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">iiii", 2051, *mine.shape) + mine.tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">ii", 2049, len(labels)) + labels.tobytes())
    return root


def test_a_triple_reads_as_its_class(mnist: Path):
    dataset = StackedMNIST(StackedMNISTConfig(name="stacked_mnist", root=str(mnist), count=2000, download=False))
    dataset.prepare()
    source = dataset.open()
    assert len(source) == 2000
    digits = load_digits()
    image, label = source[7]
    for channel, digit in enumerate(f"{label:03}"):
        small = image[2:-2:3, 2:-2:3, channel]
        originals = (digits.images[digits.target == int(digit)] / 16 * 255).astype(np.uint8)
        assert (originals == small).all((1, 2)).any()
    assert dataset.labels().names[label] == f"{label:03}"  # type: ignore[union-attr]
    assert len(set(source.targets)) > 800  # type: ignore[attr-defined]


def test_mnist_that_is_missing_is_told(tmp_path: Path):
    dataset = StackedMNIST(StackedMNISTConfig(name="stacked_mnist", root=str(tmp_path), download=False))
    with pytest.raises(DataError, match=r"MNIST is not in .* and dataset\.download is false.*train-images-idx3-ubyte"):
        dataset.prepare()


@pytest.mark.slow
def test_stacked_mnist_is_run_and_scored(mnist: Path, tmp_path: Path):
    """The whole way: triples, the 28-pixel DCGAN, the classifier of triples and the modes that it finds."""
    recipe = {
        "run": {"name": "stacked", "steps": 2, "root": str(tmp_path)},
        "dataset": {"name": "stacked_mnist", "root": str(mnist), "count": 600, "download": False},
        "generator": {"name": "dcgan_28", "latent_dim": 8, "width": 4},
        "discriminator": {"name": "dcgan_28", "width": 4},
        "loss": {"name": "non_saturating"},
        "trainer": {"name": "adversarial", "batch_size": 16, "generator_steps": 2},
        "evaluation": {
            "metrics": ["modes"],
            "samples": 64,
            "extractors": [{"name": "stacked_digits", "steps": 120}],
        },
    }
    [found] = ganzoo.evaluate(ganzoo.run(recipe)).evaluations
    [evaluation] = [each for each in found if "modes" in each.scores]
    assert 1 <= evaluation.scores["modes"] <= 64
    assert 0 <= evaluation.scores["kl_to_uniform"] <= math.log(1000)
    assert evaluation.details["extractor_accuracy"] > 0.5  # of triples; single digits: its cube root


def test_the_accuracy_on_triples_is_of_digits_that_are_in_none_of_those_trained_on():
    """Patterns say nothing of the digits of others, so that it can only know those that it has seen."""
    rng = np.random.default_rng(0)
    patterns, digits = rng.integers(0, 256, (40, 8, 8), dtype=np.uint8), np.arange(40) % 10
    triples = rng.integers(0, 40, (600, 3))
    info = DatasetInfo(ImageSpec(3, 8, 8), LabelSpec.classes(map(str, range(1000))))
    images, labels = patterns[triples].transpose(0, 2, 3, 1), digits[triples] @ [100, 10, 1]
    real = SimpleNamespace(images=images, labels=labels, info=info)
    extractor = StackedDigits(StackedDigitsConfig(name="stacked_digits", steps=60), info=info)
    extractor.prepare(real)  # type: ignore[arg-type]
    with torch.no_grad():
        answers = extractor.logits(extractor.features(torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1))
    assert float((answers.argmax(1).numpy() == labels).mean()) > 0.6  # 0.9³, of what it has seen mostly
    assert extractor.notes()["accuracy"] < 0.3


def test_each_channel_is_learnt_as_its_own_digit():
    rng = np.random.default_rng(0)
    patterns, digits = rng.integers(0, 236, (10, 8, 8)), rng.integers(0, 10, (1000, 3))
    info = DatasetInfo(ImageSpec(3, 8, 8), LabelSpec.classes(map(str, range(1000))))
    images = (patterns[digits] + rng.integers(0, 20, (1000, 3, 8, 8))).astype(np.uint8).transpose(0, 2, 3, 1)
    real = SimpleNamespace(images=images, labels=digits @ [100, 10, 1], info=info)
    extractor = StackedDigits(StackedDigitsConfig(name="stacked_digits", steps=40), info=info)
    extractor.prepare(real)  # type: ignore[arg-type]
    assert extractor.notes()["accuracy"] > 0.9
    images = torch.from_numpy(real.images).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        sure = extractor.logits(extractor.features(images)).softmax(1)[range(1000), real.labels]
    assert sure.median() > 0.5


def test_the_logits_of_triples_are_the_log_probabilities_of_their_digits_together():
    info = DatasetInfo(ImageSpec(3, 8, 8), LabelSpec.classes(map(str, range(1000))))
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    real = SimpleNamespace(images=images, labels=np.arange(40), info=info)
    extractor = StackedDigits(StackedDigitsConfig(name="stacked_digits", steps=1), info=info)
    extractor.prepare(real)  # type: ignore[arg-type]
    features = torch.randn(5, 3 * 128)
    digits = extractor.digits(features.view(5, 3, 128)).log_softmax(2)
    logits = extractor.logits(features)
    for triple in (0, 7, 70, 123, 905, 999):
        expected = sum(digits[:, place, int(digit)] for place, digit in enumerate(f"{triple:03}"))
        torch.testing.assert_close(logits[:, triple], expected)


def test_classifier_of_triples_refuses_other_images():
    other = SimpleNamespace(info=DatasetInfo(ImageSpec(1, 28, 28), LabelSpec.classes("01")), labels=np.zeros(2))
    with pytest.raises(RequestError, match="1,000 classes"):
        StackedDigits(StackedDigitsConfig(name="stacked_digits"), info=other.info).prepare(other)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "count", "told"),
    [
        (3, 40, "3×3.*: set dataset.image_size to 4 or more"),
        (4, 40, "all are the same: set dataset.count to 2 or more"),
    ],
)
def test_classifier_of_triples_refuses_too_small_or_too_few_digits(size: int, count: int, told: str):
    info = DatasetInfo(ImageSpec(3, size, size), LabelSpec.classes(map(str, range(1000))))
    images = np.zeros((count, size, size, 3), np.uint8)
    real = SimpleNamespace(images=images, labels=np.arange(count), info=info)
    extractor = StackedDigits(StackedDigitsConfig(name="stacked_digits", steps=1), info=info)
    with pytest.raises(UnfitDataError, match=told):
        extractor.prepare(real)  # type: ignore[arg-type]


def test_classifier_of_triples_takes_the_smallest_images():
    info = DatasetInfo(ImageSpec(3, 4, 4), LabelSpec.classes(map(str, range(1000))))
    images = np.zeros((1, 4, 4, 3), np.uint8)
    images[..., 1] = 255
    real = SimpleNamespace(images=images, labels=np.arange(1), info=info)
    extractor = StackedDigits(StackedDigitsConfig(name="stacked_digits", steps=1), info=info)
    extractor.prepare(real)  # type: ignore[arg-type]
    assert 0 <= extractor.notes()["accuracy"] <= 1


def test_the_watchdog_names_missing_modes(tmp_path: Path):
    """A plain GAN on the ring, too short a run to find the modes."""
    recipe = Path(__file__).parents[3] / "recipes" / "unrolled_ring.toml"
    small = ["dataset.count=800", "trainer.batch_size=16", "evaluation.samples=100", "evaluation.every=30"]
    changes = ["trainer.unrolled_steps=0", "run.steps=120", f"run.root={tmp_path.as_posix()}", *small]
    run = ganzoo.run(recipe, changes)
    (alert,) = json.loads((run.path / "summary.json").read_text(encoding="utf-8"))["alerts"]
    assert (alert["kind"], alert["step"]) == ("classes_missing", 90)
    assert "of 8 classes are among the samples" in alert["text"]
    assert "the pacgan or unrolled trainer" in alert["remedy"]
    with pytest.raises(RequestError, match=r"evaluation\.real: points are scored against the training set alone"):
        ganzoo.evaluate(run, overrides={"evaluation.real.count": 400})
