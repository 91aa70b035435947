"""The stacks of 4×4 blocks of DCGAN's generator and discriminator, for networks that change a part of one."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

from ganzoo_dcgan.blocks import ActivationFactory, DownBlock, NormFactory, UpBlock, Upsampling, Wrap
from ganzoo_dcgan.dcgan import doublings
from torch import nn

from ganzoo.plugin import DatasetInfo


def up_row(
    inputs: int,
    info: DatasetInfo,
    *,
    width: int,
    max_channels: int,
    norm: NormFactory | None = nn.BatchNorm2d,
    bias: bool = True,
    wrap: Wrap | None = None,
    upsampling: Upsampling = "transposed",
) -> list[UpBlock]:
    """Build the blocks from (N, inputs, 1, 1) over 4×4, 8×8, … to an image in [−1, 1].

    Args:
        inputs: numbers in a latent vector, with whatever is concatenated to it.
        info: the images to make.
        width: half the channels before the last layer; they double towards the 4×4 start.
        max_channels: no layer has more.
        norm: of every layer but the last.
        bias: of the last layer.
        wrap: applied to every convolution.
        upsampling: of every layer but the first.
    """
    widths = [min(width * 2**power, max_channels) for power in range(doublings(info), 0, -1)]
    up = partial(UpBlock, wrap=wrap, upsampling=upsampling)
    return [
        UpBlock(inputs, widths[0], stride=1, padding=0, norm=norm, wrap=wrap),
        *(up(before, after, norm=norm) for before, after in pairwise(widths)),
        up(widths[-1], info.image.channels, bias=bias, norm=None, activation=nn.Tanh),
    ]


def down_row(
    inputs: int,
    info: DatasetInfo,
    *,
    width: int,
    max_channels: int,
    activation: ActivationFactory,
    norm: NormFactory | None = None,
    edge_bias: bool = True,
    wrap: Wrap | None = None,
) -> tuple[list[DownBlock], int]:
    """Build the blocks from an image (N, inputs, H, W) to (N, channels, 4, 4), and return the channels too.

    Args:
        inputs: channels of the image, with whatever is concatenated to it.
        info: the images to judge.
        width: channels of the first layer; they double with each.
        max_channels: no layer has more.
        activation: of every layer.
        norm: of every layer but the first; without it, every layer has a bias.
        edge_bias: whether the first layer has one.
        wrap: applied to every convolution.
    """
    widths = [min(width * 2**power, max_channels) for power in range(doublings(info))]
    first = DownBlock(inputs, widths[0], bias=edge_bias, norm=None, activation=activation, wrap=wrap)
    others = [
        DownBlock(before, after, bias=norm is None, norm=norm, activation=activation, wrap=wrap)
        for before, after in pairwise(widths)
    ]
    return [first, *others], widths[-1]


def logit_block(channels: int, *, bias: bool = True, wrap: Wrap | None = None) -> DownBlock:
    """Build the block from (N, channels, 4, 4) to logits (N, 1, 1, 1)."""
    return DownBlock(channels, 1, padding=0, bias=bias, norm=None, activation=None, wrap=wrap)
