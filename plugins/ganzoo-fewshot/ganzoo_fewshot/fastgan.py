"""FastGAN (arXiv 2101.04775): both networks, 64 to 1024 pixels."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from ganzoo.plugin import DatasetInfo, Discriminator, Generator, square_size
from ganzoo_fewshot.configs import SMALL_SIZE, FastGANDiscriminatorConfig, FastGANGeneratorConfig
from ganzoo_fewshot.layers import GLU, DownBlock, Excitation, batch_norm, convolution, halving, leaky, up_block

GENERATOR_MULTIPLES = {4: 16.0, 8: 8.0, 16: 4.0, 32: 2.0, 64: 2.0, 128: 1.0, 256: 0.5, 512: 0.25, 1024: 0.125}
"""Channels of the generator's maps by their side, as multiples of its width."""
FIRST_SIDE, LAST_SIDE = 256, 8
"""Sides of the discriminator's first map, at most, and of its last."""


def small_size(size: int) -> int:
    """Return the side of the small images beside those of `size`."""
    return min(SMALL_SIZE, size // 2)


class FastGANGenerator(Generator):
    """Transposed 4×4 to a 4×4 map, then blocks that double; maps of 64 to 512 are excited by those 16 times smaller.

    Every other block, from 8×8 on, has two convolutions and noise. Where `small_output`, a 1×1 convolution makes the
    small image from the map of its size.

    Differences from the authors' code: latents are normalized, as Projected GAN's copy of it does, unless
    `normalize_latents = false`; tanh ends both outputs at every size, and not at 1024 alone, since images are in
    [−1, 1]; there are 64 and 128 pixels, with small images of half the size. Weights start as torch has them; the
    authors draw those of all convolutions from N(0, 0.02). Spectral norm divides the deviation away, but how fast a
    layer then learns depends on it. Samples are made with running statistics and without noise, so that a latent is
    one image; the authors make them in training mode, with the statistics of the minibatch
    (`samples.batch_norm = "batch"`) and with noise.
    """

    Config = FastGANGeneratorConfig
    config: FastGANGeneratorConfig

    def __init__(self, config: FastGANGeneratorConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        self.size = square_size(info.image)
        widths = {side: max(1, int(config.width * share)) for side, share in GENERATOR_MULTIPLES.items()}
        self.sides = [side for side in widths if 8 <= side <= self.size]
        self.start = nn.Sequential(
            spectral_norm(nn.ConvTranspose2d(config.latent_dim, 2 * widths[4], 4, bias=False)),
            batch_norm(2 * widths[4]),
            GLU(),
        )
        self.blocks = nn.ModuleDict(
            {
                str(side): up_block(widths[side // 2], widths[side], twice=index % 2 == 0, noise=config.noise)
                for index, side in enumerate(self.sides)
            }
        )
        self.excitations = nn.ModuleDict(
            {str(side): Excitation(widths[side // 16], widths[side]) for side in self.sides if 64 <= side <= 512}
        )
        self.image = convolution(widths[self.size], info.image.channels, 3, padding=1)
        if config.small_output:
            self.small_image = convolution(widths[small_size(self.size)], info.image.channels, 1)

    def forward(self, latents: Tensor, *, small: bool = False) -> Tensor:
        """Return images (N, C, H, W) for latents (N, latent_dim); with `small` a pair, of these and the small ones."""
        if self.config.normalize_latents:
            latents = latents * latents.square().mean(1, keepdim=True).add(1e-8).rsqrt()
        maps: dict[int, Tensor] = {4: self.start(latents[:, :, None, None])}
        for side in self.sides:
            maps[side] = self.blocks[str(side)](maps[side // 2])
            if str(side) in self.excitations:
                maps[side] = self.excitations[str(side)](maps[side // 16], maps[side])
        images = cast("Tensor", self.image(maps[self.size]).tanh())
        if not small:
            return images
        return images, self.small_image(maps[small_size(self.size)]).tanh()  # type: ignore[return-value]


class FastGANDiscriminator(Discriminator):
    """Two tracks of convolutions to 8×8 maps, one on the image, one on a small one; 5×5 logits from each.

    On the track of the image, maps of 32, 16 and 8 are excited by those 8 times larger. At 512 and 1024 pixels the
    first convolutions bring the image to 256 first; below 256 the track begins later.

    Differences from the authors' code: the decoders are the penalty `reconstruction`; at 64 and 128 pixels the small
    images have half the size; weights start as torch has them, as the generator's do. Without the trainer `fastgan`,
    the small track sees generated images shrunk like real ones, and not the generator's own small output.
    """

    Config = FastGANDiscriminatorConfig
    config: FastGANDiscriminatorConfig

    def __init__(self, config: FastGANDiscriminatorConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        size, channels = square_size(info.image), info.image.channels
        first = min(size, FIRST_SIDE)

        def width(side: int) -> int:
            """Channels of the full track's map of this side; those of the small track are a half."""
            return max(1, config.width * 64 // side)

        if size <= FIRST_SIDE:
            start = [convolution(channels, width(first), 3, padding=1), leaky()]
        elif size == 512:
            start = [convolution(channels, width(first), 4, stride=2, padding=1), leaky()]
        else:
            start = [convolution(channels, width(512), 4, stride=2, padding=1), leaky()]
            start += halving(width(512), width(first))
        sides = [first >> power for power in range(1, (first // LAST_SIDE).bit_length())]
        self.full = nn.ModuleList([nn.Sequential(*start), *(DownBlock(width(2 * side), width(side)) for side in sides)])
        self.excitations = nn.ModuleList(
            Excitation(width(8 * side), width(side)) for side in sides if 8 * side <= first
        )
        last = width(LAST_SIDE)
        self.full_logits = nn.Sequential(
            convolution(last, 2 * last, 1), batch_norm(2 * last), leaky(), convolution(2 * last, 1, 4)
        )

        self.small_size = small_size(size)
        halves = [self.small_size >> power for power in range(1, (self.small_size // LAST_SIDE).bit_length())]
        begin = nn.Sequential(convolution(channels, width(2 * halves[0]), 4, stride=2, padding=1), leaky())
        self.small = nn.ModuleList(
            [begin, *(nn.Sequential(*halving(width(4 * side), width(2 * side))) for side in halves[1:])]
        )
        self.small_logits = convolution(width(16), 1, 4)

    def forward(self, images: Tensor, *, small: Tensor | None = None) -> Tensor:
        """Return logits (N, 50) for images (N, C, H, W), and small ones, by default every n-th pixel of these."""
        full_logits = self.full_logits(self._full_maps(images)[-1])
        small_logits = self.small_logits(self._small_maps(self._shrunk(images) if small is None else small)[-1])
        return torch.cat([full_logits.flatten(1), small_logits.flatten(1)], 1)

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the maps of the track of small images, then those of the images' own."""
        return [*self._small_maps(self._shrunk(images)), *self._full_maps(images)]

    def _shrunk(self, images: Tensor) -> Tensor:
        return F.interpolate(images, self.small_size)

    def _full_maps(self, images: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        for index, block in enumerate(self.full):
            made = block(maps[-1] if maps else images)
            maps.append(self.excitations[index - 3](maps[index - 3], made) if index >= 3 else made)
        return maps

    def _small_maps(self, images: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        for block in self.small:
            maps.append(block(maps[-1] if maps else images))
        return maps
