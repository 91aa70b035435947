"""Image-to-image translation as a plugin file: a U-Net, a PatchGAN, and the trainers of pix2pix and CycleGAN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from ganzoo.plugin import (
    Batch,
    Dataset,
    DatasetInfo,
    Discriminator,
    DiscriminatorConfig,
    FakeBatch,
    GANTrainer,
    GANTrainerConfig,
    Generator,
    GeneratorConfig,
    ImageDatasetConfig,
    ImageSpec,
    Registrar,
    TrainingParts,
    hookimpl,
)


def down(before: int, after: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(before, after, 4, 2, 1), nn.InstanceNorm2d(after), nn.LeakyReLU(0.2))


def up(before: int, after: int) -> nn.Module:
    return nn.Sequential(nn.ConvTranspose2d(before, after, 4, 2, 1), nn.InstanceNorm2d(after), nn.ReLU())


# Data


class DigitPairsConfig(ImageDatasetConfig):
    """Digits, and as conditions their outlines; or apart from them other digits in negative."""

    image_size: int = 16
    channels: int = 1
    resize: str = "bicubic"
    paired: bool = True

    def condition_spec(self) -> ImageSpec:
        return ImageSpec(1, self.image_size, self.image_size)


class DigitPairs(Dataset):
    Config = DigitPairsConfig

    def fingerprint(self) -> list[str]:
        return ["digits"]

    def open(self) -> list[Any]:
        images = (load_digits().images * 15.9).astype(np.uint8)
        if not self.config.paired:
            return [(image, None) for image in images[::2]]
        steps = np.abs(np.diff(images.astype(int), axis=1, append=0)) + np.abs(
            np.diff(images.astype(int), axis=2, append=0)
        )
        return list(zip(images, [None] * len(images), steps.clip(0, 255).astype(np.uint8), strict=True))

    def open_conditions(self) -> list[Any] | None:
        images = (load_digits().images * 15.9).astype(np.uint8)
        return None if self.config.paired else [(255 - image, None) for image in images[1::2]]


# Networks


class UNetConfig(GeneratorConfig):
    """A U-Net (pix2pix, arXiv 1611.07004) that turns conditions into samples; latents become further channels."""

    latent_dim: int = 0
    width: int = 16
    depth: int = 3

    @property
    def uses(self) -> frozenset[str]:
        return frozenset({"condition"})


class UNet(Generator):
    Config = UNetConfig

    def __init__(self, config: UNetConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        channels = (info.condition.shape[0] if info.condition else 0) + config.latent_dim
        widths = [config.width * 2**power for power in range(config.depth)]
        self.downs = nn.ModuleList(map(down, [channels, *widths[:-1]], widths))
        narrower = [config.width, *widths[:-1]]
        self.ups = nn.ModuleList(
            up(width if width == widths[-1] else 2 * width, after)
            for width, after in zip(reversed(widths), reversed(narrower), strict=True)
        )
        self.last = nn.Conv2d(config.width + channels, info.image.channels, 3, padding=1)

    def forward(self, latents: Tensor, *, condition: Tensor) -> Tensor:
        """Return images (N, C, H, W) for conditions (N, C', H, W)."""
        planes = latents[:, :, None, None].expand(-1, -1, *condition.shape[2:])
        skipped = [torch.cat([condition, planes], 1)]
        for layer in self.downs:
            skipped.append(layer(skipped[-1]))
        image = skipped.pop()
        for layer in self.ups:
            image = torch.cat([layer(image), skipped.pop()], 1)
        return self.last(image).tanh()


class PatchConfig(DiscriminatorConfig):
    """A PatchGAN of 16×16 pixels, which sees the condition beside the sample where `conditional` is true."""

    width: int = 16
    conditional: bool = True

    @property
    def uses(self) -> frozenset[str]:
        return frozenset({"condition"} if self.conditional else ())


class Patch(Discriminator):
    Config = PatchConfig

    def __init__(self, config: PatchConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        beside = info.condition.shape[0] if config.conditional and info.condition else 0
        first = nn.Sequential(nn.Conv2d(info.image.channels + beside, config.width, 4, 2, 1), nn.LeakyReLU(0.2))
        self.layers = nn.ModuleList([first, down(config.width, 2 * config.width)])
        self.head = nn.Conv2d(2 * config.width, 1, 3, padding=1)

    def forward(self, samples: Tensor, *, condition: Tensor | None = None) -> Tensor:
        """Return a map of logits (N, 1, H/4, W/4)."""
        return self.head(self.features(samples if condition is None else torch.cat([samples, condition], 1))[-1])

    def features(self, samples: Tensor) -> list[Tensor]:
        maps = [samples]
        for layer in self.layers:
            maps.append(layer(maps[-1]))
        return maps[1:]


# pix2pix


class Pix2PixConfig(GANTrainerConfig):
    """pix2pix (arXiv 1611.07004): a conditional GAN whose generator also comes close to the target."""

    l1_weight: float = 100.0

    @property
    def uses(self) -> frozenset[str]:
        return frozenset({"condition"})


class Pix2Pix(GANTrainer):
    Config = Pix2PixConfig

    def generator_objective(self, batch: Batch, fake: FakeBatch) -> tuple[Tensor, dict[str, Tensor]]:
        objective, metrics = super().generator_objective(batch, fake)
        distance = (fake.samples - batch.real).abs().mean()
        return objective + self.config.l1_weight * distance, metrics | {"loss/l1": distance.detach()}


# CycleGAN


class CycleGANConfig(GANTrainerConfig):
    """CycleGAN (arXiv 1703.10593): from the domain of the conditions to that of the samples, and back."""

    cycle_weight: float = 10.0
    identity_weight: float = 5.0
    pool_size: int = 50

    @property
    def uses(self) -> frozenset[str]:
        return frozenset({"condition"})

    @property
    def roles(self) -> Mapping[str, Any]:
        return {**super().roles, "generator_back": "generator", "discriminator_back": "discriminator"}

    def info_for(self, role: str, info: DatasetInfo) -> DatasetInfo:
        if not isinstance(info.condition, ImageSpec):
            raise ValueError("translates images, and the dataset's conditions are none")
        return DatasetInfo(info.condition, condition=info.samples) if role.endswith("_back") else info

    def batch_for(self, role: str, batch: Batch) -> Batch:
        return Batch(batch.condition, condition=batch.real) if role.endswith("_back") else batch


@dataclass(frozen=True)
class Translated(FakeBatch):
    """Samples made from conditions, and in `back` conditions made from samples."""

    back: FakeBatch | None = None

    def detach(self) -> FakeBatch:
        return replace(self, samples=self.samples.detach(), back=self.back.detach())


class CycleGAN(GANTrainer):
    Config = CycleGANConfig

    def __init__(self, config: CycleGANConfig, *, parts: TrainingParts) -> None:
        super().__init__(config, parts=parts)
        self.pools = {"discriminator": ImagePool(config.pool_size), "discriminator_back": ImagePool(config.pool_size)}

    def generate(self, batch: Batch, role: str = "generator") -> FakeBatch:
        back = super().generate(self.config.batch_for("generator_back", batch), "generator_back")
        return Translated(**vars(super().generate(batch, role)), back=back)

    def translate(self, images: Tensor, role: str) -> Tensor:
        return super().generate(Batch(images, condition=images), role).samples

    def directions(self, batch: Batch, fake: FakeBatch) -> list[tuple[Batch, FakeBatch, str]]:
        return [
            (batch, fake, "discriminator"),
            (self.config.batch_for("discriminator_back", batch), fake.back, "discriminator_back"),
        ]

    def discriminator_objective(self, batch: Batch, fake: FakeBatch) -> tuple[Tensor, dict[str, Tensor]]:
        losses, metrics = [], {}
        for real, made, role in self.directions(batch, fake):
            samples = self.pools[role].exchange(made.samples, self.parts)
            real_logits = self.logits(self.augment(real.real), real, role)
            fake_logits = self.logits(self.augment(samples), made, role)
            losses.append(self.discriminator_loss(real_logits, fake_logits))
            metrics[f"loss/{role}"] = losses[-1].detach()
        return sum(losses), metrics

    def generator_objective(self, batch: Batch, fake: FakeBatch) -> tuple[Tensor, dict[str, Tensor]]:
        terms = {}
        for real, made, role in self.directions(batch, fake):
            with torch.no_grad():
                real_logits = self.logits(self.augment(real.real), real, role)
            terms[f"loss/{role.replace('discriminator', 'generator')}"] = self.generator_loss(
                real_logits, self.logits(self.augment(made.samples), made, role)
            )
        there_and_back = self.translate(fake.samples, "generator_back") - batch.condition
        back_and_there = self.translate(fake.back.samples, "generator") - batch.real
        terms["loss/cycle"] = self.config.cycle_weight * (l1(there_and_back) + l1(back_and_there))
        if self.config.identity_weight:
            kept = self.translate(batch.real, "generator") - batch.real
            kept_back = self.translate(batch.condition, "generator_back") - batch.condition
            terms["loss/identity"] = self.config.identity_weight * (l1(kept) + l1(kept_back))
        return sum(terms.values()), {name: term.detach() for name, term in terms.items()}

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "pools": {role: pool.images for role, pool in self.pools.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        for role, images in state["pools"].items():
            self.pools[role].images = images if images is None else images.to(self.parts.rng.device)


class ImagePool:
    """Earlier generated images, of which the discriminator is shown some in place of new ones (arXiv 1612.07828)."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.images: Tensor | None = None

    @torch.no_grad()
    def exchange(self, images: Tensor, parts: TrainingParts) -> Tensor:
        """Keep images (N, …), and return as many: each new, or with probability 1/2 one from the pool in its place.

        Every process keeps the same pool, of the images of all.
        """
        mine = slice(parts.world.rank * len(images), (parts.world.rank + 1) * len(images))
        images = parts.world.all_gather(images)
        if self.images is None or len(self.images) + len(images) <= self.size:
            self.images = images.clone() if self.images is None else torch.cat([self.images, images])
            return images[mine]
        device = parts.rng.device
        swap = torch.rand(len(images), generator=parts.rng, device=device) < 0.5
        swap &= torch.arange(len(images), device=device) < len(self.images)
        places = torch.randperm(len(self.images), generator=parts.rng, device=device)[: len(images)]
        places = nn.functional.pad(places, (0, len(images) - len(places)))
        old = self.images[places]
        self.images[places[swap]] = images[swap]
        return torch.where(swap[:, None, None, None], old, images)[mine]


def l1(difference: Tensor) -> Tensor:
    return difference.abs().mean()


@hookimpl
def register_architectures(register: Registrar) -> None:
    register("unet", UNet)
    register("patch", Patch)


@hookimpl
def register_datasets(register: Registrar) -> None:
    register("digit_pairs", DigitPairs)


@hookimpl
def register_trainers(register: Registrar) -> None:
    register("pix2pix", Pix2Pix)
    register("cyclegan", CycleGAN)
