"""The baseline of the speedrun: DCGAN on MNIST as PyTorch tutorials train it, without anything of ganzoo.

    python benchmarks/speedrun/baseline.py --root data --out samples.npy --seed 0

Images of 64 pixels, resized one by one by torchvision in a DataLoader without workers; networks of width 64 that start
from N(0, 0.02), batch norm's gains too; sigmoid and binary cross entropy; minibatches of 128, five epochs; Adam with
2e-4 and betas (0.5, 0.999); all in fp32. The generated images of a step serve both updates, and the discriminator's
backward pass goes through them into the generator. The last minibatch of an epoch is as small as what is left, the
noise is always of 128. At its end the loop draws samples with the generator in training mode, as it stands.

Frozen: a record names the checksum of this file.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from clock import since_start
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

SIZE, LATENT, BATCH = 64, 100, 128


def main() -> None:
    """Train, draw samples and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder of MNIST as torchvision lays it out")
    parser.add_argument("--out", type=Path, required=True, help="file for the samples, (N, 64, 64) uint8")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--keep", action="store_true", help="write the generator's weights beside the samples")
    parser.add_argument("--width", type=int, default=64, help="another than 64 is for trials")
    parser.add_argument("--epochs", type=int, default=5, help="other than 5 are for trials")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    generator, steps = train(options.root, options.width, options.epochs, torch.device(options.device))
    np.save(options.out, draw(generator, options.samples, torch.device(options.device)))
    facts = {"seed": options.seed, "steps": steps, "seconds": round(since_start(), 2)}
    print(json.dumps({**facts, "cpu": round(time.process_time(), 2)}), flush=True)
    if options.keep:
        torch.save(generator.state_dict(), options.out.with_suffix(".pt"))


def train(root: str, width: int, epochs: int, device: torch.device) -> tuple[nn.Module, int]:
    """Return the trained generator and the number of steps taken."""
    to_tensor = transforms.Compose([transforms.Resize(SIZE), transforms.ToTensor(), transforms.Normalize([0.5], [0.5])])
    data = datasets.MNIST(root=root, train=True, transform=to_tensor)
    loader = DataLoader(data, batch_size=BATCH, shuffle=True)
    generator, discriminator = make_generator(width).to(device), make_discriminator(width).to(device)
    generator.apply(initialize)
    discriminator.apply(initialize)
    generator_adam = optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    discriminator_adam = optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    entropy = nn.BCELoss()
    steps = 0
    for epoch in range(epochs):
        for images, _ in loader:
            real = images.to(device)
            fake = generator(torch.randn(BATCH, LATENT, 1, 1, device=device))

            on_real, on_fake = discriminator(real).reshape(-1), discriminator(fake).reshape(-1)
            loss = (entropy(on_real, torch.ones_like(on_real)) + entropy(on_fake, torch.zeros_like(on_fake))) / 2
            discriminator.zero_grad()
            loss.backward(retain_graph=True)
            discriminator_adam.step()

            judged = discriminator(fake).reshape(-1)
            generator_loss = entropy(judged, torch.ones_like(judged))
            generator.zero_grad()
            generator_loss.backward()
            generator_adam.step()

            steps += 1
            if steps % 10 == 0:
                losses = f"loss D {loss.item():.3f}, G {generator_loss.item():.3f}"
                print(f"epoch {epoch + 1}, step {steps}, {since_start():.1f} s: {losses}", flush=True)
    return generator, steps


@torch.no_grad()
def draw(generator: nn.Module, count: int, device: torch.device) -> np.ndarray:
    """Return samples (count, 64, 64), uint8."""
    parts: list[Tensor] = []
    for _ in range(-(-count // BATCH)):
        noise = torch.randn(BATCH, LATENT, 1, 1, device=device)
        parts.append(((generator(noise)[:, 0] + 1) * 127.5).round().to(torch.uint8).cpu())
    return torch.cat(parts)[:count].numpy()


def make_generator(width: int) -> nn.Module:
    """Noise (N, 100, 1, 1) to images (N, 1, 64, 64)."""
    widths = [LATENT, width * 16, width * 8, width * 4, width * 2]
    blocks: list[nn.Module] = []
    for place, (before, after) in enumerate(pairwise(widths)):
        stride, padding = (2, 1) if place else (1, 0)
        blocks += [
            nn.ConvTranspose2d(before, after, 4, stride, padding, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        ]
    return nn.Sequential(*blocks, nn.ConvTranspose2d(width * 2, 1, 4, 2, 1), nn.Tanh())


def make_discriminator(width: int) -> nn.Module:
    """Images (N, 1, 64, 64) to probabilities (N, 1, 1, 1)."""
    widths = [width, width * 2, width * 4, width * 8]
    blocks: list[nn.Module] = [nn.Conv2d(1, width, 4, 2, 1), nn.LeakyReLU(0.2)]
    for before, after in pairwise(widths):
        blocks += [nn.Conv2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
    return nn.Sequential(*blocks, nn.Conv2d(width * 8, 1, 4, 2, 0), nn.Sigmoid())


def initialize(layer: nn.Module) -> None:
    """Draw a layer's weights from N(0, 0.02)."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 0.0, 0.02)


if __name__ == "__main__":
    main()
