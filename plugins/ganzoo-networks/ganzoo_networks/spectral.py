"""Spectral norm of layers whose weights are drawn before they are normalized."""

from __future__ import annotations

from ganzoo_dcgan.blocks import Weighted, Wrap
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm


def spectral(layer: nn.Module) -> nn.Module:
    """Apply spectral norm (SNGAN, arXiv 1802.05957) to a layer, as a `wrap` for blocks.

    Torch estimates the value by one power iteration in each forward pass of training, and by 15 here.
    """
    return spectral_norm(layer)


def drawn(layer: nn.Module, *, std: float) -> nn.Module:
    """Draw the weights of a layer from N(0, std) and set its biases to 0."""
    if isinstance(layer, Weighted):
        nn.init.normal_(layer.weight, 0.0, std)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return layer


def drawn_spectral(std: float = 0.02) -> Wrap:
    """Return a `wrap` that draws weights from N(0, std) and applies `spectral`.

    Drawn afterwards, the singular vectors of torch's estimate would belong to other weights.
    """
    return lambda layer: spectral(drawn(layer, std=std))
