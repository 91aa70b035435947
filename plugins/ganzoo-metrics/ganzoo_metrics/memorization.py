"""Memorization test: distances of samples to the training images, compared with those of unseen images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ganzoo.plugin import StoredImages, real_images
from ganzoo_metrics.nearest_neighbors import nearest

COMPARED = 1000
"""Largest number of samples, and of unseen images, whose nearest training image is searched."""
NEAR = 0.01
"""A sample counts as a copy if it is nearer to a training image than all but this share of unseen images."""
SOME, MANY = 0.05, 0.5
FEWEST_UNSEEN = 20
"""Number of unseen images below which one sample in twenty is nearer than all of them by chance."""
FEWEST_SAMPLES = 60
"""Number of samples from which on, of 5% copies, one is seen in 95 of 100 cases."""


@dataclass(frozen=True)
class Memorization:
    """Distances to the nearest training image, of samples against unseen images (L2 over pixels in [−1, 1]).

    Attributes:
        nearer: probability that a sample is nearer to the training images than an unseen one (after Meehan et al. 2020,
            arXiv 2004.05675): 0.5 where samples are like unseen images, 1 where all are copies; below 0.5 where
            samples are unlike any image.
        copies: share of samples that are nearer than all but 1% of unseen images: about 0.01 where nothing is copied.
        samples_median: median distance of the samples.
        unseen_median: median distance of the unseen images.
        duplicates: number of images that were to count as unseen and are among the training images, so do not.
        verdict: the conclusion, in words.
    """

    nearer: float
    copies: float
    samples_median: float
    unseen_median: float
    duplicates: int
    verdict: str


def memorization(
    samples: Tensor, training: StoredImages, unseen: StoredImages | None = None, *, mirrored: bool = False
) -> Memorization:
    """Test up to 1,000 samples (N, C, H, W) in [−1, 1] for copies of training images.

    Args:
        samples: of the packs' shape.
        training: the images that are trained on.
        unseen: images of the same kind that are not; default: training images, each against all others, whose
            distances are those of unseen images.
        mirrored: whether images are also mirrored in training, so that mirrored copies count.
    """
    near = _distances(samples[:COMPARED], training, mirrored)
    images = training if unseen is None else unseen
    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:COMPARED]
    own = chosen if unseen is None else None
    far = _distances(real_images(images, chosen), training, mirrored, own).sort().values
    duplicates = int((far == 0).sum())  # no copy could be nearer than these
    unseen_count = len(far) - duplicates
    far = far[duplicates:] if unseen_count else far
    below, up_to = (torch.searchsorted(far, near, right=right).double() for right in (False, True))
    nearer = 1 - float((below + up_to).mean()) / (2 * len(far))
    copies = float((near < far[int(NEAR * len(far))]).double().mean())
    verdict = _verdict(copies, len(near), unseen_count)
    return Memorization(nearer, copies, float(near.median()), float(far.median()), duplicates, verdict)


def _distances(queries: Tensor, training: StoredImages, mirrored: bool, own: Tensor | None = None) -> Tensor:
    """Return the distance of each query to its nearest training image, of those with an index in `own` to another."""
    ways = [queries, queries.flip(-1)] if mirrored else [queries]
    found = [nearest(each, training, 1, leave_out=own).distances.flatten() for each in ways]
    return torch.stack(found).amin(0)


def _verdict(copies: float, samples: int, unseen: int) -> str:
    if unseen < FEWEST_UNSEEN:
        return f"{unseen} unseen images are too few to tell copies from chance"
    if copies >= MANY:
        return "memorized: most samples are copies of training images"
    if copies >= SOME:
        return f"copies: {copies:.0%} of the samples are nearer to a training image than unseen ones"
    if samples < FEWEST_SAMPLES:
        return f"no copies seen, but {samples} samples are too few to tell"
    return "no sign of copies"
