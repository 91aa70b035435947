"""Self-attention over the positions of an image (SAGAN, arXiv 1805.08318 §3)."""

from __future__ import annotations

import torch
from ganzoo_dcgan.blocks import Wrap
from torch import Tensor, nn


class SelfAttention(nn.Module):
    """x + γ · v(h(x) β), β the softmax of f(x)ᵀ g(x) over all places; the identity at its start, where γ is 0.

    Args:
        channels: of input and output.
        reduction: f, g and h have so many times fewer channels, 8 in the paper.
        wrap: applied to each 1×1 convolution, as spectral norm is in the paper.
    """

    def __init__(self, channels: int, *, reduction: int = 8, wrap: Wrap | None = None) -> None:
        super().__init__()
        inner = max(1, channels // reduction)

        def pointwise(before: int, after: int) -> nn.Module:
            layer = nn.Conv2d(before, after, 1, bias=False)
            return wrap(layer) if wrap else layer

        self.keys = pointwise(channels, inner)
        self.queries = pointwise(channels, inner)
        self.values = pointwise(channels, inner)
        self.output = pointwise(inner, channels)
        self.gamma = nn.Parameter(torch.zeros(()))

    def attention(self, images: Tensor) -> Tensor:
        """Return β (N, H · W, H · W): row j holds the weights of all positions for position j; rows sum to 1."""
        keys, queries = self.keys(images).flatten(2), self.queries(images).flatten(2)
        scores = torch.bmm(queries.transpose(1, 2), keys)
        return scores.float().softmax(-1).to(scores.dtype)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, C, H, W) for (N, C, H, W)."""
        values = self.values(images).flatten(2)
        gathered = torch.bmm(values, self.attention(images).transpose(1, 2))
        height, width = images.shape[2:]
        result: Tensor = images + self.gamma * self.output(gathered.reshape(len(images), -1, height, width))
        return result
