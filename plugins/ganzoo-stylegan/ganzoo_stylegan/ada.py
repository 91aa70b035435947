"""ADA's augmentation of the discriminator's images (arXiv 2006.06676, appendix B), with its feedback."""

from __future__ import annotations

import torch
from ganzoo_objectives.augment import AdaptiveProbability
from torch import Tensor

from ganzoo.plugin import DatasetInfo
from ganzoo_stylegan import augment_ops
from ganzoo_stylegan.configs import ADAConfig


class ADA(AdaptiveProbability):
    """The pipeline "bgc", each transformation with the current probability, differentiable twice.

    The order is the paper's; all of the geometry is one matrix, by which an image is sampled once. As many random
    numbers are drawn at any probability.

    Differences from the authors' code: an image of which pixels are only blitted is so by their indices rather than
    through the filters, which are not quite symmetric; margins are mirrored at any distance rather than padded by a
    size that the device has to be asked for; the signs are those of the discriminator's updates, without those of R1's
    own; the probability has an upper limit, 1 at most, where theirs can rise beyond 1 and then takes as long to come
    back; and an image that nothing is done to stays as it is to the bit.
    """

    Config = ADAConfig
    config: ADAConfig
    low_pass: Tensor

    def __init__(self, config: ADAConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        self.register_buffer("low_pass", torch.tensor(augment_ops.LOW_PASS), persistent=False)

    def transform_images(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Transform each image (N, C, H, W) by parameters of its own."""
        choose = augment_ops.Choices(len(images), self.probability, rng)
        still = augment_ops.identity(3, len(images), images.device)
        blitted = augment_ops.moved(still, choose, images.shape[2:])
        source, images = images, augment_ops.move(images, blitted)
        if "g" in self.config.pipeline:
            general = augment_ops.warped(still, choose, images.shape[2:])
            resampled = augment_ops.resample(source, blitted @ general, self.low_pass)
            images = torch.where(augment_ops.is_identity(general), images, resampled)
        if "c" in self.config.pipeline:
            colors = augment_ops.colors(augment_ops.identity(4, len(images), images.device), choose)
            images = augment_ops.recolor(images, colors)
        return images
