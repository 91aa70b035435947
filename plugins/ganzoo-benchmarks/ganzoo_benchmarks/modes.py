"""Modes that a generator finds."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ganzoo.plugin import Metric, MetricInputs, RequestError
from ganzoo_benchmarks.configs import ModesConfig


class Modes(Metric):
    """Modes found, the share of samples close to one, and the divergence of their shares from equal ones, in nats.

    Of points, the nearest mode counts if it is near enough; the modes are the classes of the dataset, with their mean
    and standard deviation (VEEGAN, arXiv 1705.07761). Of images, the classifier's class counts.
    """

    Config = ModesConfig
    config: ModesConfig
    needs = frozenset({"points", "class_logits"})
    directions: ClassVar = {"modes": "higher", "high_quality": "higher", "kl_to_uniform": "lower"}
    class_count = "modes"

    def compute(self, inputs: MetricInputs) -> dict[str, float]:
        """Return modes, high_quality (of points) and kl_to_uniform.

        Raises:
            RequestError: the dataset has no classes.
        """
        names = inputs.training.info.class_names
        if not names:
            raise RequestError('the metric "modes" counts the classes of the dataset, and this one has none')
        scores: dict[str, float] = {}
        if inputs.source == "points":
            found = self._of_points(inputs)
            scores["high_quality"] = len(found) / len(inputs.fake)
        else:
            found = inputs.fake.argmax(1).cpu()
        counts = torch.bincount(found, minlength=len(names)).double()
        shares = counts[counts > 0] / max(len(found), 1)
        scores["modes"] = float((counts >= max(self.config.hits, 1)).sum())
        # Without any sample near a mode there are no shares: as far from uniform as samples of one mode.
        divergence = (shares * (shares * len(names)).log()).sum()
        scores["kl_to_uniform"] = float(divergence) if len(found) else math.log(len(names))
        inputs.details["kl_to_uniform_of_perfect_samples"] = divergence_of_perfect(len(names), len(inputs.fake))
        return scores

    def caveat(self, inputs: MetricInputs) -> str:
        """Fewer samples than ten of each mode, which an even split would give."""
        count, modes = len(inputs.fake), len(inputs.training.info.class_names)
        few = f"{count:,} samples for {modes:,} modes, fewer than ten of each: a mode may be missing by chance"
        return few if count < 10 * modes else ""

    def _of_points(self, inputs: MetricInputs) -> Tensor:
        """Return the mode (M,) of each point that lies near one.

        Raises:
            RequestError: no mode has two points in the dataset, whose deviation tells what is near.
        """
        points, labels = np.asarray(inputs.training.images, dtype=np.float64), inputs.training.labels
        assert labels is not None
        modes = np.unique(labels)  # those that there are points of
        classes = [points[labels == mode] for mode in modes]
        centers = torch.from_numpy(np.stack([each.mean(0) for each in classes]))
        sigmas = torch.tensor([each.std(0).mean() for each in classes])
        if not (sigmas > 0).any():
            raise RequestError(
                'the metric "modes" takes the width of a mode from the deviation of its points, and no class of this '
                "dataset has two different ones: give it more, as by dataset.count"
            )
        sigmas = torch.where(sigmas > 0, sigmas, sigmas[sigmas > 0].mean())  # one point alone has no deviation
        distances = torch.cdist(inputs.fake.double().cpu(), centers)
        nearest = distances.argmin(1)
        close = distances.gather(1, nearest[:, None])[:, 0] <= self.config.within * sigmas[nearest]
        return torch.from_numpy(modes)[nearest[close]]


def divergence_of_perfect(modes: int, samples: int) -> float:
    """Return the expected divergence from equal shares, in nats, of samples that fall into all modes alike.

    A mode's number of samples is binomial.
    """
    counts = torch.arange(1, samples + 1, dtype=torch.float64)
    binomial = torch.distributions.Binomial(samples, torch.tensor(1 / modes, dtype=torch.float64))
    chance = binomial.log_prob(counts).exp()  # type: ignore[no-untyped-call]
    shares = counts / samples
    return float((modes * chance * shares * (shares * modes).log()).sum())
