"""DCGAN as most PyTorch tutorials train it, for `ganzoo bench` to compare with.

    ganzoo bench benchmarks/dcgan64.toml --baseline benchmarks/tutorial_loop.py

Images of 64 pixels, opened and transformed one by one by torchvision in a DataLoader without workers; sigmoid and
binary cross entropy; one graph of the generated images, kept for both updates; Adam as it comes, in fp32, without
channels_last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from ganzoo.data.packed_dataset import PackedDataset
from ganzoo.plugin import RequestError, Run

SIZE = 64
ADAM: dict[str, Any] = {"lr": 2e-4, "betas": (0.5, 0.999)}


def baseline(run: Run) -> Callable[[], int]:
    """A function that trains one step on the dataset of `run`, with its batch size, and returns the images it took.

    Raises:
        RequestError: the images are not of 64 pixels.
    """
    if run.info.image.height != SIZE:
        raise RequestError(f"the tutorial's networks are for {SIZE} pixels: set dataset.image_size to {SIZE}")
    device = run.compute.device
    latent_dim = run.recipe.generator.latent_dim
    generator_width = getattr(run.recipe.generator, "width", 64)
    discriminator_width = getattr(run.recipe.discriminator, "width", 64)
    channels = run.info.image.channels
    generator = make_generator(latent_dim, channels, generator_width).to(device)
    discriminator = make_discriminator(channels, discriminator_width).to(device)
    for network in (generator, discriminator):
        network.apply(start)
    generator_adam = optim.Adam(generator.parameters(), **ADAM)
    discriminator_adam = optim.Adam(discriminator.parameters(), **ADAM)
    entropy = nn.BCELoss()
    batches = endless(
        DataLoader(Opened(run.loader.packed), run.recipe.trainer.batch_size, shuffle=True, drop_last=True)
    )

    def step() -> int:
        real = next(batches).to(device)
        fake = generator(torch.randn(len(real), latent_dim, 1, 1, device=device))

        on_real, on_fake = discriminator(real).reshape(-1), discriminator(fake).reshape(-1)
        loss = (entropy(on_real, torch.ones_like(on_real)) + entropy(on_fake, torch.zeros_like(on_fake))) / 2
        discriminator.zero_grad()
        loss.backward(retain_graph=True)
        discriminator_adam.step()

        judged = discriminator(fake).reshape(-1)
        loss = entropy(judged, torch.ones_like(judged))
        generator.zero_grad()
        loss.backward()
        generator_adam.step()
        return len(real)

    return step


class Opened(Dataset[Tensor]):
    """Images one by one, as a tutorial's dataset gives them: a PIL image, resized, to a tensor, to [−1, 1]."""

    def __init__(self, packed: PackedDataset) -> None:
        middle = [0.5] * packed.info.image.channels
        self._images = packed.images
        self._transform = transforms.Compose(
            [transforms.Resize(SIZE), transforms.ToTensor(), transforms.Normalize(middle, middle)]
        )

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Tensor:
        pixels = self._images[index]
        image: Tensor = self._transform(Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[:, :, 0]))
        return image


def endless(loader: DataLoader[Tensor]) -> Iterator[Tensor]:
    """Epoch after epoch."""
    while True:
        yield from loader


def make_generator(latent_dim: int, channels: int, width: int) -> nn.Module:
    """1×1 latents to images of 64 pixels."""
    return nn.Sequential(
        up(latent_dim, width * 16, 1, 0),
        up(width * 16, width * 8, 2, 1),
        up(width * 8, width * 4, 2, 1),
        up(width * 4, width * 2, 2, 1),
        nn.ConvTranspose2d(width * 2, channels, 4, 2, 1),
        nn.Tanh(),
    )


def make_discriminator(channels: int, width: int) -> nn.Module:
    """Images of 64 pixels to probabilities."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 4, 2, 1),
        nn.LeakyReLU(0.2),
        down(width, width * 2),
        down(width * 2, width * 4),
        down(width * 4, width * 8),
        nn.Conv2d(width * 8, 1, 4, 2, 0),
        nn.Sigmoid(),
    )


def up(into: int, out: int, stride: int, padding: int) -> nn.Module:
    """A layer of the generator."""
    return nn.Sequential(nn.ConvTranspose2d(into, out, 4, stride, padding, bias=False), nn.BatchNorm2d(out), nn.ReLU())


def down(into: int, out: int) -> nn.Module:
    """A layer of the discriminator."""
    return nn.Sequential(nn.Conv2d(into, out, 4, 2, 1, bias=False), nn.BatchNorm2d(out), nn.LeakyReLU(0.2))


def start(layer: nn.Module) -> None:
    """Draw a layer's weights from N(0, 0.02)."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 0.0, 0.02)
