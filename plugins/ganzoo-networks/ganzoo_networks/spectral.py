"""Spectral norm with the start that its layers need: weights drawn first, then normalized."""

from __future__ import annotations

from functools import partial

from ganzoo_dcgan.blocks import Weighted, Wrap
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm


def spectral(layer: nn.Module) -> nn.Module:
    """A layer whose weight is divided by its largest singular value (SNGAN, arXiv 1802.05957), as a `wrap` for blocks.

    Torch estimates the value by one power iteration in each forward pass of training, and by 15 here.
    """
    return spectral_norm(layer)


def drawn(layer: nn.Module, *, std: float) -> nn.Module:
    """A layer with weights from N(0, std) and biases of 0."""
    if isinstance(layer, Weighted):
        nn.init.normal_(layer.weight, 0.0, std)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return layer


def drawn_spectral(std: float = 0.02) -> Wrap:
    """`spectral` after weights were drawn from N(0, std).

    Drawn afterwards, the singular vectors of torch's estimate would belong to other weights.
    """
    return lambda layer: spectral(drawn(layer, std=std))


def plainly_drawn(std: float = 0.02) -> Wrap:
    """A `wrap` that draws weights from N(0, std) and changes nothing else."""
    return partial(drawn, std=std)
