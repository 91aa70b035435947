"""Base classes of generators and discriminators."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ganzoo.components.options import ComponentConfig, DiscriminatorConfig, GeneratorConfig
from ganzoo.components.spec import DatasetInfo, ImageSpec
from ganzoo.components.world import World

LATENTS_AT_ONCE = 64
"""Latents of a seed that are drawn together; another number gives other latents."""


class Network(nn.Module, ABC):
    """What generators and discriminators have in common.

    Args:
        config: the options of this network.
        info: of the samples it makes or judges.
    """

    Config: ClassVar[type[ComponentConfig]]
    config: Any
    world: World = World()
    """The processes of the run, for a statistic over the minibatch that `forward` takes in training."""

    def __init__(self, config: Any, *, info: DatasetInfo) -> None:
        super().__init__()
        self.config = config
        self.info = info

    def prepare(self) -> None:
        """Read what it needs besides its checkpoint, such as frozen weights of another network; nothing by default.

        Called once, on its device, before it trains or its weights are loaded; not called if it is built only because
        another network of the run is used. The constructor reads nothing.

        Raises:
            DataError: a file is missing; the text says which to put where.
        """

    @property
    def uses(self) -> frozenset[str]:
        """Which of "labels" and "condition" `forward` takes, as keywords; its config says so."""
        return self.config.uses  # type: ignore[no-any-return]

    def inputs(self, labels: Tensor | None = None, condition: Tensor | None = None) -> dict[str, Tensor]:
        """Return the keywords of `forward` among these.

        Raises:
            ValueError: one that the network uses is missing.
        """
        given = {"labels": labels, "condition": condition}
        missing = [name for name in sorted(self.uses) if given[name] is None]
        if missing:
            raise ValueError(f'"{self.config.name}" needs {" and ".join(missing)}')
        return {name: value for name, value in given.items() if name in self.uses and value is not None}


class Generator(Network):
    """Turns latent vectors into samples.

    One with an intermediate latent space, StyleGAN's w, may have two more methods, which together are `forward`:
    `to_style(latents, **inputs)` gives styles (N, …), and `from_style(styles, **inputs)` samples. Inversion and walks
    then go through styles.
    """

    Config: ClassVar[type[GeneratorConfig]] = GeneratorConfig

    bounded: bool = True
    """Whether images are in [−1, 1] by construction; those of a generator without tanh are clipped where they are
    written or scored, but not in training."""

    @property
    def clips_images(self) -> bool:
        """Whether its samples are clipped to [−1, 1] where they are written or scored; vectors never are."""
        return not self.bounded and isinstance(self.info.samples, ImageSpec)

    def clipped(self, samples: Tensor) -> Tensor:
        """Return samples as they are written and scored."""
        return samples.clamp(-1, 1) if self.clips_images else samples

    @abstractmethod
    def forward(self, latents: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return samples for latents (N, latent_dim): images (N, C, H, W) in [−1, 1], or vectors (N, D).

        A network whose `uses` names them also takes the keywords `labels`, (N,) or (N, K) as `info.labels` has it,
        and `condition`, (N, …) of the shape `info.condition`.
        """

    def sample_latents(self, count: int, rng: torch.Generator) -> Tensor:
        """Draw latents (count, latent_dim), standard normal unless overridden, on the device of `rng`."""
        return torch.randn(count, self.config.latent_dim, generator=rng, device=rng.device)

    def latents_of_seed(self, count: int, seed: int) -> Tensor:
        """Return latents (count, latent_dim) on the CPU, of which each follows from the seed and its place alone.

        They are drawn in blocks of one size: torch fills the end of a tensor otherwise than its beginning, and what
        `sample_latents` draws in parts begins each part elsewhere for another count.
        """
        rng = torch.Generator().manual_seed(seed)
        blocks = [self.sample_latents(LATENTS_AT_ONCE, rng) for _ in range(-(-count // LATENTS_AT_ONCE) or 1)]
        return torch.cat(blocks)[:count]


class Discriminator(Network):
    """Tells real samples from generated ones; a critic under a Wasserstein loss."""

    Config: ClassVar[type[DiscriminatorConfig]] = DiscriminatorConfig

    @abstractmethod
    def forward(self, samples: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return logits, not probabilities, for images (N, C, H, W) in [−1, 1] or vectors (N, D).

        Their shape is (N, …): one for each sample, a map of patches, several scales side by side. A network whose
        `uses` names them also takes the keywords `labels` and `condition`, as a generator does.
        """

    @abstractmethod
    def features(self, samples: Tensor) -> list[Tensor]:
        """Return the features of every layer, first to last, each (N, …), for samples (N, …).

        It may take the keywords `labels` and `condition` too, None where they are unknown.
        """

    @torch.no_grad()
    def feature_shapes(self) -> list[tuple[int, ...]]:
        """Return the shapes of the features of one sample, layer by layer; the network stays unchanged."""
        with evaluation_mode(self):
            device = next(self.parameters()).device
            maps = self.features(torch.zeros(1, *self.info.samples.shape, device=device))
        return [tuple(each.shape[1:]) for each in maps]


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put a module and all its parts into evaluation mode; restore the mode of each on exit."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training
