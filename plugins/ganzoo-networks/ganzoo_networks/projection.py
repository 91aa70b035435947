"""cGANs with projection (arXiv 1802.05637): classes as an inner product in D, and in the batch norms of G."""

from __future__ import annotations

from functools import partial
from typing import cast

from torch import Tensor, nn

from ganzoo.plugin import DatasetInfo
from ganzoo_networks.class_norm import ClassBatchNorm2d
from ganzoo_networks.configs import ProjectionDiscriminatorConfig, ProjectionGeneratorConfig
from ganzoo_networks.sngan_resnet import ResNetDiscriminator, ResNetGenerator
from ganzoo_networks.spectral import spectral


class ProjectionGenerator(ResNetGenerator):
    """SNGAN's ResNet with class-conditional batch norm in its blocks."""

    Config = ProjectionGeneratorConfig

    def __init__(self, config: ProjectionGeneratorConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info, norm=partial(ClassBatchNorm2d, num_classes=info.num_classes))

    def forward(self, latents: Tensor, *, labels: Tensor) -> Tensor:  # type: ignore[override]
        """Return images (N, C, H, W) for latents (N, latent_dim) and class indices (N,)."""
        return super().forward(latents, labels=labels)


class ProjectionDiscriminator(ResNetDiscriminator):
    """SNGAN's ResNet whose logit is ψ(φ(x)) + ⟨V_y, φ(x)⟩ (eq. 3 of the paper), V with spectral norm."""

    Config = ProjectionDiscriminatorConfig

    def __init__(self, config: ProjectionDiscriminatorConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        # Without classes the core says so; one row keeps the matrix from being empty until then.
        embedding = nn.Embedding(max(1, info.num_classes), self.channels)
        nn.init.xavier_uniform_(embedding.weight)
        self.classes = spectral(embedding)

    def forward(self, images: Tensor, *, labels: Tensor) -> Tensor:  # type: ignore[override]
        """Return logits (N,) for images (N, C, H, W) and class indices (N,)."""
        summary = self.summary(images)
        logits = self.logit(summary).flatten() + (self.classes(labels) * summary).sum(1)
        return cast("Tensor", logits)
