"""FastGAN's self-supervision of the discriminator: decoders that rebuild real images from its features."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganzoo.plugin import DatasetInfo, Discriminator, Generator, Penalty, PenaltyStep, square_size
from ganzoo_fewshot.backbone import Backbone
from ganzoo_fewshot.configs import MAP_SIDES, SMALL_SIZE, ReconstructionConfig
from ganzoo_fewshot.layers import convolution, up_block

DECODER_MULTIPLES = (4, 2, 2, 1)
"""Channels of a decoder's maps of 16, 32, 64 and 128 pixels, as multiples of its width."""
VGG_LAYERS = ("features.3", "features.8", "features.15", "features.22", "features.29")
"""The last ReLU of each size in VGG-16, whose features LPIPS compares (arXiv 1801.03924)."""


class Perceptual(nn.Module):
    """The mean squared distance of VGG-16's features, of unit length at each place, summed over five layers.

    LPIPS (arXiv 1801.03924) without the weights that it learnt for the channels.
    """

    def __init__(self, weights: str) -> None:
        super().__init__()
        self.backbone = Backbone("vgg16", weights, where='the penalty "reconstruction"', nodes=VGG_LAYERS)

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        """Return the distances' mean, a scalar, of images (N, C, H, W) in [−1, 1]."""
        both = (map(_unit, self.backbone(each)) for each in (images, others))
        return torch.stack([(one - other).square().sum(1).mean() for one, other in zip(*both, strict=True)]).sum()


class Reconstruction(Penalty):
    """Decoders rebuild a real image as the discriminator saw it from its 8×8 maps, and a quarter of it from a quarter.

    The discriminator learns with the decoders, by its own optimizer.

    Differences from the authors' code: a quarter is drawn for each image and not for the minibatch; the term is the
    mean over the images and not their sum, which `weight = 8` gives for 8 of them; the distance is a norm of the
    difference, the paper's formula, and not LPIPS, since that is a download: `distance = "perceptual"` comes near to
    it, without its learnt weights; the decoders' weights start as torch has them and not from N(0, 0.02), which tells
    as it does in the generator `fastgan`. The discriminator runs once more for the term.
    """

    Config = ReconstructionConfig
    config: ReconstructionConfig

    def __init__(self, config: ReconstructionConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        self.size = square_size(info.image)
        if config.distance == "perceptual":
            self.perceptual = Perceptual(config.vgg_weights)
            self.perceptual.backbone.read_weights()

    def setup(self, generator: Generator, discriminator: Discriminator) -> None:
        """Create a decoder for each 8×8 map, and one for the last of 16×16.

        Raises:
            ValueError: the discriminator has no such maps.
        """
        shapes = discriminator.feature_shapes()
        whole, quartered = ([i for i, shape in enumerate(shapes) if shape[1:] == (side, side)] for side in MAP_SIDES)
        if not whole:
            raise ValueError(f"rebuilds images from 8×8 features, and the discriminator has {_sides(shapes)}")
        self.channels = discriminator.info.image.channels  # of packs, where it judges such
        if self.config.distance == "perceptual" and self.channels != self.info.image.channels:
            raise ValueError(
                'distance = "perceptual" is of single images, and the discriminator judges packs: set "pixels"'
            )
        self.whole = nn.ModuleDict({str(i): self._decoder(shapes[i][0], self.size) for i in whole})
        self.quarter = nn.ModuleDict({str(i): self._decoder(shapes[i][0], self.size // 2) for i in quartered[-1:]})

    def discriminator_term(self, step: PenaltyStep) -> Tensor:
        """Return the sum of the decoders' distances, each the mean over the images."""
        maps = step.discriminator.features(step.real)
        part = torch.randint(4, (len(step.real),), generator=step.rng, device=step.real.device)
        terms = [self.distance(decoder(maps[int(i)]), step.real) for i, decoder in self.whole.items()]
        for i, decoder in self.quarter.items():
            terms.append(self.distance(decoder(quarters(maps[int(i)], part)), quarters(step.real, part)))
        return torch.stack(terms).sum()

    def distance(self, rebuilt: Tensor, images: Tensor) -> Tensor:
        """Return the distance, a scalar, to images (N, C, H, W) brought to the size of those rebuilt."""
        images = F.interpolate(images, rebuilt.shape[-1])
        if self.config.distance == "perceptual":
            return cast("Tensor", self.perceptual(rebuilt, images))
        return (rebuilt - images).abs().mean()

    def _decoder(self, channels: int, size: int) -> nn.Sequential:
        """Return a decoder of 8×8 maps to images of `size`, or 128 pixels if that is less."""
        doublings = (min(size, SMALL_SIZE) // 8).bit_length() - 1
        widths = (channels, *(self.config.width * multiple for multiple in DECODER_MULTIPLES[:doublings]))
        last = convolution(widths[-1], self.channels, 3, padding=1)
        return nn.Sequential(nn.AdaptiveAvgPool2d(8), *(up_block(*both) for both in pairwise(widths)), last, nn.Tanh())


def quarters(maps: Tensor, part: Tensor) -> Tensor:
    """Return a quarter (N, C, H / 2, W / 2) of each map (N, C, H, W): 0 to 3 are those in reading order."""
    count, channels, height, width = maps.shape
    halves = maps.reshape(count, channels, 2, height // 2, 2, width // 2).permute(0, 2, 4, 1, 3, 5)
    return halves[torch.arange(count, device=maps.device), part // 2, part % 2]


def _sides(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join("×".join(map(str, shape[1:])) or "none with places" for shape in shapes)


def _unit(features: Tensor) -> Tensor:
    return features / (features.square().sum(1, keepdim=True) + 1e-10).sqrt()
