"""StyleGAN2's generator (arXiv 1912.04958): styles modulate convolutions, and each resolution adds to the image."""

from __future__ import annotations

import math
from typing import Literal

import torch
from ganzoo_networks.resample import Resample
from torch import Tensor, nn

from ganzoo.plugin import DatasetInfo, Generator, square_size
from ganzoo_stylegan.configs import StyleGAN2GeneratorConfig
from ganzoo_stylegan.labels import label_dim, label_vectors
from ganzoo_stylegan.layers import EqualizedLinear, Form, Mapping, activate, modulated_conv2d

START = 4
Noise = Literal["const", "random", "none"]


class StyledConv(nn.Module):
    """A modulated 3×3 convolution, noise, a bias and LeakyReLU.

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        style_dim: numbers of a style.
        size: of the output, in pixels.
        up: whether to double height and width, filtered.
        limit: of the activations.
        form: of the modulated convolution.
    """

    noise: Tensor

    def __init__(
        self, inputs: int, outputs: int, style_dim: int, size: int, *, up: bool, limit: float, form: Form
    ) -> None:
        super().__init__()
        self.affine = EqualizedLinear(style_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise", torch.randn(size, size))
        self.resample = Resample() if up else None
        self.limit, self.form = limit, form

    def forward(self, images: Tensor, styles: Tensor, noise: Noise) -> Tensor:
        """Return (N, outputs, size, size) for features and styles (N, style_dim)."""
        up = self.resample is not None
        images = modulated_conv2d(images, self.weight, self.affine(styles), demodulate=True, up=up, form=self.form)
        if self.resample is not None:
            images = self.resample.blur(images, 1, gain=4.0)
        if noise != "none":
            shape = (len(images), 1, *self.noise.shape)
            # Dropout's random numbers, the global ones: the run's own do not reach networks.
            drawn = torch.randn(shape, device=images.device) if noise == "random" else self.noise
            images = images + (drawn * self.noise_strength).to(images.dtype)
        return activate(images, self.bias, limit=self.limit)


class ToImage(nn.Module):
    """A modulated 1×1 convolution to the channels of the image, without demodulation.

    Args:
        inputs: channels of the input.
        channels: of the image.
        style_dim: numbers of a style.
        limit: of the values.
        form: of the modulated convolution.
    """

    def __init__(self, inputs: int, channels: int, style_dim: int, *, limit: float, form: Form) -> None:
        super().__init__()
        self.affine = EqualizedLinear(style_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.scale = 1 / math.sqrt(inputs)
        self.limit, self.form = limit, form

    def forward(self, images: Tensor, styles: Tensor) -> Tensor:
        """Return (N, channels, H, W) for features and styles (N, style_dim)."""
        scaled = self.affine(styles) * self.scale
        images = modulated_conv2d(images, self.weight, scaled, demodulate=False, form=self.form)
        images = images + self.bias.to(images.dtype)[:, None, None]
        return images.clamp(-self.limit, self.limit)


class StyleGAN2Generator(Generator):
    """Mapping and synthesis: a constant of 4×4 is convolved, doubled and convolved until it has the image's size.

    In training the noise is random, some images have two styles, and the mean style follows the minibatches of all
    processes. In evaluation the options of `sampling` hold.

    Differences from the authors' code: plain PyTorch takes the place of its CUDA kernels. Where the style changes is
    drawn for each image, not once for a minibatch. The mean style is that of all processes, not of the first, and
    follows the images generated beside R1's own update too, where the authors generate none. Noise in evaluation is
    fixed unless asked for, so that an image does not depend on the others; the authors score images with random noise.
    Mixed precision is bf16 in all convolutions, with styles and dense layers in fp32, instead of fp16 in the four
    largest resolutions.
    """

    Config = StyleGAN2GeneratorConfig
    config: StyleGAN2GeneratorConfig
    mean_style: Tensor

    def __init__(self, config: StyleGAN2GeneratorConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        self.bounded = config.output == "tanh"
        size = square_size(info.image)
        labels = label_dim(info, config.conditional)
        self.mapping = Mapping(config.latent_dim, labels, config.style_dim, config.mapping_depth)
        self.register_buffer("mean_style", torch.zeros(config.style_dim))
        self.constant = nn.Parameter(torch.randn(config.channels(START, size), START, START))
        self.layers, self.to_image = nn.ModuleList(), nn.ModuleList()
        before, resolution = config.channels(START, size), START
        while resolution <= size:
            after = config.channels(resolution, size)
            for up in (True, False) if resolution > START else (False,):
                self.layers.append(
                    StyledConv(
                        before,
                        after,
                        config.style_dim,
                        resolution,
                        up=up,
                        limit=config.activation_limit,
                        form=config.modulation,
                    )
                )
                before = after
            self.to_image.append(
                ToImage(
                    after,
                    info.image.channels,
                    config.style_dim,
                    limit=config.activation_limit,
                    form=config.modulation,
                )
            )
            resolution *= 2
        self.resample = Resample()

    @property
    def num_styles(self) -> int:
        """Styles of an image: one for each convolution, and one for the last image."""
        return len(self.layers) + 1

    def forward(self, latents: Tensor, *, labels: Tensor | None = None) -> Tensor:
        """Return images (N, C, H, W), around [−1, 1], for latents (N, latent_dim), and labels where it uses them."""
        return self.synthesize(self.layer_styles(latents, labels))

    def to_style(self, latents: Tensor, *, labels: Tensor | None = None) -> Tensor:
        """Return the styles (N, style_dim) of latents (N, latent_dim), truncated as in evaluation."""
        styles = self.mapping(latents, label_vectors(labels, self.info))
        return self.mean_style.lerp(styles, self.config.sampling.truncation)

    def from_style(self, styles: Tensor, *, labels: Tensor | None = None) -> Tensor:
        """Return images (N, C, H, W) for styles (N, style_dim), each that of all layers of its image."""
        return self.synthesize(styles[:, None].expand(-1, self.num_styles, -1))

    def layer_styles(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the styles (N, num_styles, style_dim) of images: mixed in training, truncated in evaluation."""
        if not self.training:
            return self.to_style(latents, labels=labels)[:, None].expand(-1, self.num_styles, -1)
        vectors = label_vectors(labels, self.info)
        styles = self.mapping(latents, vectors)
        with torch.no_grad():
            mean = self.world.all_reduce_mean(styles.detach().mean(0))
            self.mean_style.copy_(mean.lerp(self.mean_style, self.config.mean_decay))
        return self._mixed(styles, latents, vectors)

    def synthesize(self, styles: Tensor) -> Tensor:
        """Return images (N, C, H, W) for the styles (N, num_styles, style_dim) of their layers."""
        noise: Noise = "random" if self.training else self.config.sampling.noise
        features = self.constant.expand(len(styles), -1, -1, -1)
        image: Tensor | None = None
        for number, layer in enumerate(self.layers):
            features = layer(features, styles[:, number], noise)
            if number % 2 == 0:  # the last convolution of a resolution
                added = self.to_image[number // 2](features, styles[:, number + 1]).float()
                image = added if image is None else self.resample.doubled(image) + added
        assert image is not None
        return image.tanh() if self.bounded else image

    def _mixed(self, styles: Tensor, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Return the styles of each layer: from a random layer on, those of other latents, in some of the images."""
        repeated = styles[:, None].expand(-1, self.num_styles, -1)
        if not self.config.mixing_probability:
            return repeated
        count, device = len(styles), styles.device
        others = self.mapping(torch.randn_like(latents), labels)[:, None]
        begin = torch.randint(1, self.num_styles, (count, 1), device=device)
        mixed = torch.rand(count, 1, device=device) < self.config.mixing_probability
        others_from = torch.where(mixed, begin, self.num_styles)
        return torch.where((torch.arange(self.num_styles, device=device) < others_from)[..., None], repeated, others)
