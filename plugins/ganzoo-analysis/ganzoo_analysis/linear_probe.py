"""Linear SVM on a discriminator's features, compared with raw pixels and random weights."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from ganzoo_dcgan.batch_norm_calibration import calibrated_batch_norm, training_batches
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC
from torch import Tensor

from ganzoo.plugin import DataError, Discriminator, RequestError, StoredImages, count_progress, real_images
from ganzoo.sampling.generate import batch_norm_mode

GRID = 4
PENALTIES = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2)
"""Values of the SVM's C that the authors of DCGAN searched."""
WIDER = (*PENALTIES, 2e-2, 5e-2, 1e-1)
"""Values of C for the baselines: their features are of another scale, for which that range may be too narrow."""
MOST_VALIDATION = 10_000
MOST_TEST = 10_000
ITERATIONS = 5000
BATCH = 128
CHUNK = 1000

Array = NDArray[Any]


@dataclass(frozen=True)
class ProbeScore:
    """Accuracy of a linear SVM on one kind of features.

    Attributes:
        accuracy: mean over the draws, on the test images.
        deviation: standard deviation over the draws; 0 for one draw.
        accuracies: of each draw.
        validation_accuracy: mean over the draws, with the C chosen by it.
        penalty: that C.
        at_edge: whether it is the smallest or the largest of those tried, so that another might do better.
        features: number of features of one image.
        converged: whether every fit with this C ended before it ran out of iterations.
    """

    accuracy: float
    deviation: float
    accuracies: list[float]
    validation_accuracy: float
    penalty: float
    at_edge: bool
    features: int
    converged: bool


@dataclass(frozen=True)
class Draw:
    """Disjoint indices into a pack: to fit (balanced over the classes), to choose C, to score."""

    train: Tensor
    validation: Tensor
    test: Tensor


@torch.inference_mode()
def pooled_features(discriminator: Discriminator, images: Tensor) -> Tensor:
    """Return features (N, D) on the CPU: all layers' maps max-pooled to 4×4, flattened, concatenated (paper, §5.1).

    Maps smaller than 4×4, and layers that give vectors, are taken as they are.

    Args:
        discriminator: in evaluation mode, with fixed batch statistics.
        images: (N, C, H, W) in [−1, 1].
    """
    device = next(discriminator.parameters()).device
    found = []
    for part in torch.split(images, BATCH):
        maps = discriminator.features(part.to(device))
        found.append(torch.cat([_pooled(one).flatten(1) for one in maps], 1).float().cpu())
    return torch.cat(found)


def layer_shapes(discriminator: Discriminator) -> list[str]:
    """Return the shape of each layer's output for one image before and after pooling: "64×16×16 → 64×4×4"."""
    device = next(discriminator.parameters()).device
    with torch.no_grad(), batch_norm_mode(discriminator, "auto"):
        maps = discriminator.features(torch.zeros(2, *discriminator.info.image.shape, device=device))
    return [f"{_shape(one)} → {_shape(_pooled(one))}" for one in maps]


def probe(
    discriminator: Discriminator,
    random: Discriminator,
    packed: StoredImages,
    *,
    train: int = 1000,
    draws: int = 5,
    seed: int = 0,
) -> dict[str, Any]:
    """Fit a linear SVM to the features of a few labeled images, and score it on others (paper, tables 1 and 2).

    As the authors did it: batch norm with statistics averaged over training batches and fixed; features of every
    layer max-pooled to 4×4; no standardization; scikit-learn's LinearSVC (L2 penalty, squared hinge, one against
    the rest) on equally many images of each class; C by the mean accuracy over all draws on validation images, and
    then the accuracy on test images. Here every draw splits the pack anew, so that small sets suffice; and batch norm's
    statistics are of 100 batches of the whole pack, validation and test images included, where the authors took all
    batches of the training images alone.

    Args:
        discriminator: as trained; stays unchanged.
        random: the same network with random weights; stays unchanged.
        packed: labeled images of the shape that they take.
        train: labeled images to fit, over all classes.
        draws: how often to draw them.
        seed: of the draws.

    Returns:
        `{"scores": {"discriminator": …, "random_weights": …, "raw_pixels": …}, "protocol": …}`, the same for the
        same arguments; each score has the fields of `ProbeScore`.

    Raises:
        DataError: the data has no labels.
        RequestError: the images are of another shape, or there are too few.
    """
    if packed.info.image != discriminator.info.image:
        raise RequestError(
            f"the dataset's images are {packed.info.image}, and the discriminator judges {discriminator.info.image}: "
            f"set dataset.image_size and dataset.channels"
        )
    parts = list(split(packed, train=train, draws=draws, seed=seed))
    kinds: dict[str, Any] = {}
    networks = (("discriminator", discriminator, PENALTIES), ("random_weights", random, WIDER))
    with count_progress(what="fitting SVMs") as progress:
        done, total = itertools.count(1), len(parts) * (len(PENALTIES) + 2 * len(WIDER))

        def told() -> None:
            progress(next(done), total)

        for name, network, penalties in networks:
            with calibrated_batch_norm(network, training_batches(packed)):
                kinds[name] = score(partial(pooled_features, network), packed, parts, seed, penalties, told)
        kinds["raw_pixels"] = score(lambda images: images.flatten(1), packed, parts, seed, WIDER, told)
    return {
        "scores": {name: asdict(kind) for name, kind in kinds.items()},
        "protocol": {
            "pack": packed.key,
            "classes": packed.info.num_classes,
            "train_images": len(parts[0].train),
            "validation_images": len(parts[0].validation),
            "test_images": len(parts[0].test),
            "draws": draws,
            "seed": seed,
            "layers": layer_shapes(discriminator),
            "batch_norm": "mean of the statistics of training batches, fixed",
            "classifier": "LinearSVC, squared hinge, L2, no standardization",
            "penalties": list(PENALTIES),
            "penalties_of_baselines": list(WIDER),
        },
    }


def split(packed: StoredImages, *, train: int, draws: int, seed: int) -> Iterator[Draw]:
    """Split the pack `draws` times; of the images not in `train`, a third is to choose C, 10,000 at most.

    Raises:
        DataError: the data has no labels.
        RequestError: a class has too few images.
    """
    if packed.labels is None:
        raise DataError("the dataset has no labels: a probe asks how well its classes are told apart")
    classes = packed.info.num_classes
    each = train // classes
    counts = np.bincount(packed.labels, minlength=classes)
    if draws < 1:
        raise RequestError(f"{draws} draws: take at least 1")
    if each < 1:
        raise RequestError(f"{train} labeled images over {classes} classes: take at least one of each")
    fewest = int(counts.argmin())
    if counts[fewest] <= each or len(packed) - each * classes < 2 * classes:
        raise RequestError(
            f"{train} labeled images are {each} of each class, and the dataset has {len(packed)}, "
            f'{counts[fewest]} of them of class "{packed.info.class_names[fewest]}": '
            f"take fewer, so that some are left to choose C and to test"
        )
    labels = torch.from_numpy(packed.labels)
    rng = torch.Generator().manual_seed(seed)
    for _ in range(draws):
        order = torch.randperm(len(packed), generator=rng)
        first = torch.zeros(len(packed), dtype=torch.bool)
        for label in range(classes):
            first[(labels[order] == label).nonzero().flatten()[:each]] = True
        rest = order[~first]
        validation = min(MOST_VALIDATION, len(rest) // 3)
        yield Draw(order[first], rest[:validation], rest[validation:][:MOST_TEST])


def score(
    features: Callable[[Tensor], Tensor],
    packed: StoredImages,
    parts: Sequence[Draw],
    seed: int,
    penalties: Sequence[float],
    fitted: Callable[[], None] = lambda: None,
) -> ProbeScore:
    """Fit and score SVMs on `features` (N, D) of images (N, C, H, W) in [−1, 1], one draw at a time.

    `fitted` is called after each.
    """
    assert packed.labels is not None
    shape = len(parts), len(penalties)
    validation, test, converged = np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=bool)
    for row, draw in enumerate(parts):
        seen = features(real_images(packed, draw.train))
        basis = _basis(seen)
        machines = []
        for column, penalty in enumerate(penalties):
            machine, converged[row, column] = _fit((seen @ basis).numpy(), packed.labels[draw.train], penalty, seed)
            machines.append(machine)
            fitted()
        for table, indices in ((validation, draw.validation), (test, draw.test)):
            for part in torch.split(indices, CHUNK):
                x = (features(real_images(packed, part)) @ basis).numpy()
                table[row] += [np.sum(one.predict(x) == packed.labels[part]) / len(indices) for one in machines]
    best = int(validation.mean(0).argmax())
    return ProbeScore(
        accuracy=float(test[:, best].mean()),
        deviation=float(test[:, best].std(ddof=1)) if len(parts) > 1 else 0.0,
        accuracies=test[:, best].tolist(),
        validation_accuracy=float(validation[:, best].mean()),
        penalty=penalties[best],
        at_edge=best in (0, len(penalties) - 1),
        features=seen.shape[1],
        converged=bool(converged[:, best].all()),
    )


def _basis(features: Tensor) -> Tensor:
    """Return an orthonormal basis (D, K) of the features (N, D), or the identity where that is no larger.

    The weights of an SVM with an L2 penalty lie in the span of its training data, so that fitting in these coordinates
    gives the same machine a few times faster.
    """
    count, size = features.shape
    return torch.linalg.qr(features.t()).Q if size > count else torch.eye(size)


def _fit(x: Array, y: Array, penalty: float, seed: int) -> tuple[LinearSVC, bool]:
    # Coordinate descent in the dual is fastest at small C and very slow at large C.
    dual = penalty <= max(PENALTIES)
    machine = LinearSVC(C=penalty, dual=dual, max_iter=ITERATIONS, random_state=seed % 2**32)
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        machine.fit(x, y)
    return machine, not any(issubclass(one.category, ConvergenceWarning) for one in raised)


def _pooled(maps: Tensor) -> Tensor:
    if maps.ndim != 4:
        return maps
    return F.adaptive_max_pool2d(maps, (min(GRID, maps.shape[2]), min(GRID, maps.shape[3])))


def _shape(maps: Tensor) -> str:
    return "×".join(map(str, maps.shape[1:]))
