"""Projected GAN's discriminator (arXiv 2111.01007): small discriminators on mixed features of a frozen classifier."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganzoo.plugin import DatasetInfo, Discriminator, square_size
from ganzoo_fewshot.backbone import STRIDES, Backbone
from ganzoo_fewshot.configs import ProjectedDiscriminatorConfig
from ganzoo_fewshot.layers import convolution, leaky

HEAD_WIDTHS = {4: 512, 8: 512, 16: 256, 32: 128, 64: 64, 128: 64, 256: 32, 512: 16, 1024: 8}
"""Channels within a small discriminator by the side of its map, where `width` is 64."""
LARGEST, LAST_SIDE = 256, 8
"""Sides of the images from which, and of the map to which, the discriminators halve; larger images give more logits."""


class ProjectedDiscriminator(Discriminator):
    """Four discriminators on the maps of strides 4, 8, 16 and 32, after two random projections that never learn.

    The first, across channels, is a 1×1 convolution of each map; the second, across scales, adds each map to the next
    larger one from the smallest on, doubles it and has another 1×1 convolution. Only the small discriminators learn.
    The classifier is not in a checkpoint, but its checksum: a run resumes with the same weights alone, and is sampled
    without them.

    Differences from the authors' code: the classifier is torchvision's, whose EfficientNet-B0 stands for timm's
    EfficientNet-Lite0, and images are normalized as it was trained; a map of each stride is found by its size, in any
    convolutional network; images are resized to `input_size`, below 224 with fewer halvings; DiffAugment is a penalty
    of its own.
    """

    Config = ProjectedDiscriminatorConfig
    config: ProjectedDiscriminatorConfig

    def __init__(self, config: ProjectedDiscriminatorConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        side = config.input_size or max(224, square_size(info.image))
        self.backbone = Backbone(
            config.model, config.weights, seed=config.seed, where="[discriminator]", input_size=side
        )
        with torch.no_grad():
            found = [each.shape[1] for each in self.backbone(torch.zeros(1, 3, 64, 64))]
        widths = [config.width * 2**scale for scale in range(len(STRIDES))]
        mixed = [widths[0], *(width // 2 for width in widths[1:])]
        self.across_channels = nn.ModuleList(nn.Conv2d(*both, 1) for both in zip(found, widths, strict=True))
        self.across_scales = nn.ModuleList(nn.Conv2d(*both, 1) for both in zip(widths, mixed, strict=True))
        for projection in (self.across_channels, self.across_scales):
            projection.requires_grad_(False)
        self.heads = nn.ModuleList(
            _head(channels, 2 * min(side, LARGEST) // stride, config.width / 64)
            for channels, stride in zip(mixed, STRIDES, strict=True)
        )

    def prepare(self) -> None:
        """Load the classifier's weights."""
        self.backbone.read_weights()

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, …), those of the four scales side by side."""
        maps = self.features(images)
        return torch.cat([head(each).flatten(1) for head, each in zip(self.heads, maps, strict=True)], 1)

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the projected maps, the largest first."""
        maps = [mix(each) for mix, each in zip(self.across_channels, self.backbone(images), strict=True)]
        mixed: list[Tensor] = []
        for own, mix in zip(reversed(maps), reversed(self.across_scales), strict=True):
            together = own + mixed[-1] if mixed else own
            mixed.append(mix(F.interpolate(together, scale_factor=2, mode="bilinear", align_corners=True)))
        return mixed[::-1]


def _head(channels: int, side: int, share: float) -> nn.Sequential:
    """Return a discriminator of maps of about this side: halvings to 8×8, then logits by 4×4."""
    start = min(HEAD_WIDTHS, key=lambda known: abs(known - side))
    layers: list[nn.Module] = []
    while start > LAST_SIDE:
        start //= 2
        width = max(1, int(HEAD_WIDTHS[start] * share))
        layers += [convolution(channels, width, 4, stride=2, padding=1, bias=True), nn.BatchNorm2d(width), leaky()]
        channels = width
    return nn.Sequential(*layers, convolution(channels, 1, 4))
