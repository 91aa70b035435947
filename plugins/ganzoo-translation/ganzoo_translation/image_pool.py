"""Earlier generated images, of which a discriminator is shown some in the place of new ones (arXiv 1612.07828)."""

from __future__ import annotations

import torch
from torch import Tensor

from ganzoo.plugin import World


class ImagePool:
    """Up to `size` images; every process keeps the same ones, of the minibatches of all.

    Args:
        size: largest number of images; 0: new ones are always shown.
        shape: of an image.
        device: to keep them on.
    """

    def __init__(self, size: int, shape: tuple[int, ...], device: torch.device) -> None:
        self._images = torch.empty(size, *shape, device=device)
        self._filled = 0

    @property
    def images(self) -> Tensor:
        """The images so far (n, …)."""
        return self._images[: self._filled]

    @images.setter
    def images(self, images: Tensor) -> None:
        if images.shape[1:] != self._images.shape[1:] or images.dtype != self._images.dtype:
            raise ValueError(f"the pool of images has some of {tuple(images.shape[1:])}, and they are of another shape")
        self._filled = min(len(images), len(self._images))
        self.images.copy_(images[: self._filled])

    @torch.no_grad()
    def exchange(self, images: Tensor, rng: torch.Generator, world: World) -> Tensor:
        """Keep images (N, …) and return as many: each new, or with probability ½ one of the pool in its place.

        While the pool has room it keeps new images and returns them. Those of one minibatch that change places are
        different ones, for different ones of earlier minibatches. Nothing waits for the device.
        """
        everyones = world.all_gather(images)
        shown, size = everyones.clone(), len(self._images)
        earlier = self._filled
        kept = min(size - earlier, len(everyones))
        self._images[self._filled : self._filled + kept] = everyones[:kept]
        self._filled += kept
        rest = slice(kept, kept + min(earlier, len(everyones) - kept))
        if rest.start < rest.stop:
            new = everyones[rest]
            places = torch.randperm(earlier, generator=rng, device=rng.device)[: len(new)]
            swap = torch.rand(len(new), generator=rng, device=rng.device).reshape(-1, *[1] * (new.ndim - 1)) < 0.5
            old = self._images[places]
            shown[rest] = torch.where(swap, old, new)
            self._images[places] = torch.where(swap, new, old)
        return shown[world.rank * len(images) : (world.rank + 1) * len(images)]
