"""Interpolation and vector arithmetic of latents."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Method = Literal["spherical", "linear"]

PARALLEL = 1e-6
"""Two directions whose angle has a smaller sine count as parallel, so that no single great circle joins them."""


def walk(starts: Tensor, ends: Tensor, steps: int = 10, method: Method = "spherical") -> Tensor:
    """Interpolate latents (N, steps, D) from each of `starts` (N, D) to the one in `ends` (N, D), both included.

    Args:
        starts: where the walks begin.
        ends: where they end.
        steps: points of each walk, at least 2.
        method: "spherical" turns the direction by equal angles and changes the length evenly, so that a walk
            between Gaussian latents stays among likely ones: in 100 dimensions they all lie near a sphere of
            radius 10, and the middle of the straight line only 7 from the origin. "linear" is the straight
            line, natural where the prior is uniform in a cube (paper, fig. 4).

    Raises:
        ValueError: the shapes differ, there are fewer than two steps, or no such method.
    """
    if starts.ndim != 2 or starts.shape != ends.shape:
        raise ValueError(f"starts {tuple(starts.shape)} and ends {tuple(ends.shape)} must both be (N, D)")
    if steps < 2:
        raise ValueError(f"a walk of {steps} steps cannot have both of its ends: take 2 or more")
    if method not in get_args(Method):
        raise ValueError(f'method "{method}": take one of {", ".join(get_args(Method))}')
    first, last = (ends_of_all.cpu().double()[:, None] for ends_of_all in (starts, ends))  # not all GPUs have float64
    at = torch.linspace(0, 1, steps, dtype=torch.float64)[None, :, None]
    straight = torch.lerp(first, last, at)
    points = straight if method == "linear" else _on_the_sphere(first, last, at, straight)
    return points.to(starts)


def _on_the_sphere(first: Tensor, last: Tensor, at: Tensor, straight: Tensor) -> Tensor:
    """Interpolate directions spherically and lengths linearly; latents linearly where slerp is undefined."""
    lengths = first.norm(dim=-1, keepdim=True), last.norm(dim=-1, keepdim=True)
    one, other = (point / length.clamp_min(1e-300) for point, length in zip((first, last), lengths, strict=True))
    angle = torch.acos((one * other).sum(-1, keepdim=True).clamp(-1, 1))
    sine = torch.sin(angle)
    turned = (torch.sin((1 - at) * angle) * one + torch.sin(at * angle) * other) / sine.clamp_min(PARALLEL)
    undefined = (sine < PARALLEL) | (lengths[0] == 0) | (lengths[1] == 0)
    return torch.where(undefined, straight, turned * torch.lerp(*lengths, at))


def combine(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return mean(a) − mean(b) + mean(c), a latent (D,), of exemplars (K, D) of three concepts.

    The paper takes three exemplars a concept: with one each the results were unstable (§6.3.2, fig. 7).

    Raises:
        ValueError: a concept has no exemplar.
    """
    return _mean(a, "a") - _mean(b, "b") + _mean(c, "c")


def around(center: Tensor, count: int = 9, spread: float = 0.25, *, rng: torch.Generator) -> Tensor:
    """Return latents (count, D) around `center` (D,), itself the middle one (paper, fig. 7: nine, ±0.25).

    Args:
        center: what the others differ from.
        count: how many, at least 1.
        spread: each number differs by uniform noise between −spread and +spread.
        rng: where the noise comes from, on any device.
    """
    noise = torch.rand(count, len(center), generator=rng, device=rng.device).mul(2).sub(1).mul(spread)
    noise[count // 2] = 0
    return center + noise.to(center)


def direction(left: Tensor, right: Tensor) -> Tensor:
    """Return mean(left) − mean(right), a vector (D,), of exemplars (K, D) and (M, D) of two poses (paper, fig. 8).

    Raises:
        ValueError: a pose has no exemplar.
    """
    return _mean(left, "left") - _mean(right, "right")


def along(latents: Tensor, vector: Tensor, steps: int = 9, strength: float = 1.0) -> Tensor:
    """Return latents (N, steps, D): `latents` (N, D), each moved by −strength … +strength times `vector` (D,).

    With an odd number of steps the one in the middle is the latent itself.

    Raises:
        ValueError: there are fewer than two steps.
    """
    if steps < 2:
        raise ValueError(f"{steps} steps do not lead anywhere: take 2 or more")
    at = torch.linspace(-strength, strength, steps, dtype=torch.float64).to(latents)
    return latents[:, None] + at[None, :, None] * vector


def pairs(points: Tensor) -> tuple[Tensor, Tensor]:
    """Return starts and ends (N − 1, D) of the walks that lead through `points` (N, D), one after the other.

    Raises:
        ValueError: there are fewer than two points.
    """
    if len(points) < 2:
        raise ValueError(f"{len(points)} point makes no walk: take 2 or more")
    return points[:-1], points[1:]


def _mean(exemplars: Tensor, name: str) -> Tensor:
    if exemplars.ndim != 2 or not len(exemplars):
        raise ValueError(f"{name} {tuple(exemplars.shape)}: must be exemplars (K, D), at least one")
    return exemplars.mean(0)
