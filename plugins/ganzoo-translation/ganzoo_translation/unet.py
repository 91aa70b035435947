"""The generator of pix2pix (arXiv 1611.07004, §6.1.1)."""

from __future__ import annotations

from itertools import pairwise

import torch
from ganzoo_dcgan.blocks import DownBlock, UpBlock, init_weights
from ganzoo_dcgan.patchgan import PATCH_NORMS, has_bias
from torch import Tensor, nn

from ganzoo.plugin import DatasetInfo, Generator
from ganzoo_translation.configs import UNetConfig
from ganzoo_translation.noise import LatentDropout

DROPPED = 3
"""Upsamplings after the deepest one that drop units."""


class UNet(Generator):
    """4×4 convolutions of stride 2 down and up again; each upsampling gets what the downsampling at its size gave.

    Differs from the authors' code: which units dropout drops follows from the latents, so that an output is the same
    for the same seed and whichever others it is made with, and `--count` makes several of one input; up to three
    layers have it at any depth, where theirs have one less for each level below eight. The authors also sample with
    batch statistics of a single image: here that is `norm = "instance"`.
    """

    Config = UNetConfig
    config: UNetConfig

    def __init__(self, config: UNetConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        assert info.condition is not None
        levels, bias, norm = config.levels(info.image), has_bias(config.norm), PATCH_NORMS[config.norm]
        widths = [config.width * min(2**level, 8) for level in range(levels)]
        channels = [info.condition.shape[0], *widths]
        # The norm of a layer comes before the next one's activation, and what is skipped has neither of its own.
        self.downs = nn.ModuleList(
            DownBlock(before, after, bias=bias, norm=norm if 0 < level < levels - 1 else None, activation=None)
            for level, (before, after) in enumerate(pairwise(channels))
        )
        self.ups = nn.ModuleList(
            UpBlock(before if level == levels - 1 else 2 * before, after, bias=bias, norm=norm, activation=None)
            for level, (after, before) in reversed(list(enumerate(pairwise(widths), 1)))
        )
        self.last = UpBlock(2 * widths[0], info.image.channels, bias=True, norm=None, activation=None)
        self.dropouts = nn.ModuleList(LatentDropout(0.5, place) for place in range(min(DROPPED, levels - 2)))
        init_weights(self, **config.init.model_dump())

    def forward(self, latents: Tensor, *, condition: Tensor) -> Tensor:
        """Return images (N, C, H, W) for latents (N, 1) or (N, 0) and conditions (N, C', H, W)."""
        maps = [self.downs[0](condition)]
        for down in self.downs[1:]:
            maps.append(down(nn.functional.leaky_relu(maps[-1], 0.2)))
        image = maps.pop()
        for place, up in enumerate(self.ups):
            image = up(image.relu())
            if self.config.latent_dim and 0 < place <= len(self.dropouts):
                image = self.dropouts[place - 1](image, latents)
            image = torch.cat([maps.pop(), image], 1)
        return self.last(image.relu()).tanh()  # type: ignore[no-any-return]
