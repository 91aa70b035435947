"""How far a discriminator overfits: its logits for training images, unseen images and generated ones (ADA, fig. 1)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from math import sqrt
from operator import itemgetter
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from ganzoo.plugin import Batch, DatasetInfo, Discriminator, Overrides, RequestError, StoredImages, TrainedRun, warn

ROLE = "discriminator"
BATCH = 128
TOLD_APART = 2.0
"""Standard errors between two means from which on they count as different."""


@dataclass(frozen=True)
class Logits:
    """Summary of the logits for a group of samples; of patches, each sample's mean is taken.

    Attributes:
        count: number of samples.
        mean: of the logits.
        deviation: their standard deviation.
        probability: mean probability of being real; None under a loss whose logits have none.
    """

    count: int
    mean: float
    deviation: float
    probability: float | None


@dataclass(frozen=True)
class Overfitting:
    """Summaries of the logits for three groups of samples.

    Attributes:
        step: of the checkpoint.
        training: of images that it was trained on.
        unseen: of real images that it was not.
        generated: of the generator's images with its raw weights, which it was trained against.
        ratio: (training − unseen) / (training − generated) of the means, r_v of ADA (arXiv 2006.06676, eq. 1): 0 where
            unseen images are judged as training images are, 1 where they are as generated ones. None where training
            images are not told from generated ones, so that there is nothing to compare.
    """

    step: int
    training: Logits
    unseen: Logits
    generated: Logits
    ratio: float | None


def overfitting(
    run: TrainedRun, *, dataset: str | None = None, overrides: Overrides = (), count: int = 2000, seed: int = 0
) -> Overfitting:
    """Compare a discriminator's logits for training images, unseen images and generated ones; needs the dataset.

    Augmentations of training are not applied. Labels and conditions of generated images are those of the training
    images. Of the unseen images, those that are among the training images pixel for pixel are left out, with a warning.

    Args:
        run: a trained run.
        dataset: with the unseen images, by name, at the run's image size and channels; default: the run's.
        overrides: changes to its options, such as `{"dataset.split": "test"}`; with neither, the recipe's
            `[evaluation.held_out]` says which images are unseen.
        count: images of each group, at most as many as there are.
        seed: of the choice of images, and of latents.

    Raises:
        DataError: the images are not there.
        RequestError: no unseen images are named, or they are the training images or of another kind; the generator
            has averaged weights alone, as in some exports; or the discriminator judges something else than single
            samples, such as packs.
    """
    if ROLE not in run.recipe.trainer.roles:
        raise RequestError(f'{run.path}: the trainer "{run.recipe.trainer.name}" has no network named {ROLE}')
    changes = overrides or ({} if dataset else held_out(run))
    if not dataset and not changes:
        has_test_split = getattr(run.recipe.dataset, "split", "test") != "test"
        way = (
            "--set dataset.split=test" if has_test_split else "an option of the dataset by --set, or another --dataset"
        )
        raise RequestError(f"name images that it was not trained on: {way}")
    training, unseen = run.training_set(), run.open_dataset(dataset, changes)[0]
    order = not_among(training, unseen, drawn(len(unseen), len(unseen), seed))
    if not len(order):
        raise RequestError("the unseen images are those that it was trained on: name others, by --set or --dataset")
    if len(order) < len(unseen):
        warn(f"{len(unseen) - len(order)} of {len(unseen)} unseen images are training images too, and are left out")
    discriminator = run.discriminator
    try:
        run.weights_name("raw")
    except RequestError as error:
        raise RequestError(
            f"{run.path}: keeps nothing but the average of the generator, which the discriminator was not trained "
            f"against: name the run itself, or an export with --weights raw --discriminator"
        ) from error
    check_fits(discriminator, training.info, f"{run.path}: the training images")
    check_fits(discriminator, unseen.info, f"{run.path}: the unseen images")
    count = min(count, len(training), len(order))
    seen = run.real_batch(training, drawn(len(training), count, seed), ROLE)
    other = run.real_batch(unseen, order[:count], ROLE)
    made = run.images(run.latents(count, seed), seen.labels, seen.condition, weights="raw", seed=seed)
    loss = run.manager.registries.losses[run.recipe.loss.name].load()
    said = [logits(discriminator, group) for group in (seen, other, replace(seen, real=made))]
    told = [summary(each, has_probabilities=loss.outputs_probabilities) for each in said]
    return Overfitting(run.checkpoint.step, told[0], told[1], told[2], ratio(*said))


def held_out(run: TrainedRun) -> dict[str, Any]:
    """Return the changes to the dataset by which the recipe names unseen images; empty where it names none."""
    return {f"dataset.{key}": value for key, value in run.recipe.evaluation.held_out.items()}


def check_fits(discriminator: Discriminator, info: DatasetInfo, what: str) -> None:
    """Check that a discriminator judges samples of this kind, one by one, and knows their labels.

    Raises:
        RequestError: it does not.
    """
    judged = discriminator.info
    if info.samples != judged.samples:
        raise RequestError(f"{what} are {info.samples}, and the discriminator judges {judged.samples}")
    if "labels" in discriminator.uses and info.labels != judged.labels:
        raise RequestError(f"{what} do not have the labels that the discriminator takes")
    if "condition" in discriminator.uses and info.condition != judged.condition:
        raise RequestError(f"{what} do not have the conditions that the discriminator takes")


def drawn(total: int, count: int, seed: int) -> Tensor:
    """Draw indices (count,), each at most once."""
    return torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:count]


def not_among(training: StoredImages, others: StoredImages, order: Tensor) -> Tensor:
    """Return those of the indices `order` whose samples are not among the training set's, by hashes of their pixels."""
    known = {digest(sample) for sample in training.images}
    return order[[digest(others.images[index]) not in known for index in order.tolist()]]


def digest(sample: npt.NDArray[Any]) -> bytes:
    """Return a hash of a stored sample, 16 bytes."""
    return hashlib.blake2b(sample.tobytes(), digest_size=16).digest()


@torch.inference_mode()
def logits(discriminator: Discriminator, samples: Batch) -> Tensor:
    """Return logits (N,) on the CPU, of patches or scales the mean; batch norm as in evaluation."""
    device = next(discriminator.parameters()).device
    found = []
    for start in range(0, len(samples), BATCH):
        part = samples.map(itemgetter(slice(start, start + BATCH))).map(lambda tensor: tensor.to(device))
        said = discriminator(part.real, **discriminator.inputs(part.labels, part.condition))
        found.append(said.float().reshape(len(part), -1).mean(1).cpu())
    return torch.cat(found)


def summary(said: Tensor, *, has_probabilities: bool) -> Logits:
    """Summarize logits (N,)."""
    probability = said.sigmoid().mean().item() if has_probabilities else None
    return Logits(len(said), said.mean().item(), said.std().item(), probability)


def ratio(training: Tensor, unseen: Tensor, generated: Tensor) -> float | None:
    """Return r_v of logits (N,) each; None where those of training and of generated images are not told apart."""
    gap = (training.mean() - generated.mean()).item()
    error = sqrt((training.var() / len(training) + generated.var() / len(generated)).item())
    return (training.mean() - unseen.mean()).item() / gap if gap > TOLD_APART * error else None
