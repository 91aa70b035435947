"""The layers of DCGAN as plain modules, for any network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrize import is_parametrized

from ganzoo_dcgan.same_padding import SameConv2d, SameConvTranspose2d

NormFactory = Callable[[int], nn.Module]
ActivationFactory = Callable[[], nn.Module]
Wrap = Callable[[nn.Module], nn.Module]
Padding = int | Literal["same"] | None
Upsampling = Literal["transposed", "nearest"]
Weighted = nn.Conv2d | nn.ConvTranspose2d | nn.Linear

NORMS: dict[str, NormFactory | None] = {
    "batch": nn.BatchNorm2d,
    "instance": lambda channels: nn.InstanceNorm2d(channels, affine=True),
    "layer": lambda channels: nn.GroupNorm(1, channels),
    "none": None,
}


def batch_norm(
    *, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True, track: bool = True, flat: bool = False
) -> NormFactory:
    """Batch norm with these options, as a `norm` for the blocks.

    Args:
        eps: added to the variance.
        momentum: share of the newest batch in the running statistics; Keras' 0.99 is 0.01 here.
        affine: whether it has gains and biases.
        track: keep running statistics for evaluation; without, those of the batch are taken always.
        flat: for features (N, C) rather than images (N, C, H, W).
    """
    norm = nn.BatchNorm1d if flat else nn.BatchNorm2d
    return lambda channels: norm(channels, eps, momentum, affine, track)


def leaky_relu(slope: float = 0.2) -> ActivationFactory:
    """Return a LeakyReLU with this slope below 0, as an `activation` for the blocks."""
    return lambda: nn.LeakyReLU(slope, inplace=True)


LEAKY_RELU = leaky_relu()
"""The paper's, of slope 0.2."""


def relu() -> nn.Module:
    """Return an in-place ReLU, which overwrites its input, which batch norm does not need again."""
    return nn.ReLU(inplace=True)


class UpBlock(nn.Sequential):
    """Transposed convolution, norm, activation: (N, in, H, W) → (N, out, 2H, 2W) as it stands.

    Neighboring output pixels of a transposed convolution of stride 2 come from different weights, which shows as a
    checkerboard. With `upsampling = "nearest"` each pixel is repeated and then convolved, all with the same weights
    (Odena et al. 2016, "Deconvolution and Checkerboard Artifacts", doi 10.23915/distill.00003).

    Args:
        in_channels: of the input.
        out_channels: of the output.
        kernel_size: with the defaults for `padding` and `output_padding`, 4 and 5 double the size at stride 2.
        stride: how many output pixels lie between two input pixels.
        padding: taken off the output on each side; default: (kernel_size − 1) // 2; "same": as Keras does it,
            see `SameConvTranspose2d`.
        output_padding: added at the bottom and right; default: what makes stride 2 double exactly.
        bias: whether the convolution has one.
        norm: makes the normalization for a number of channels; None for no normalization.
        activation: makes the activation; None for none.
        wrap: applied to the convolution, as `torch.nn.utils.parametrizations.spectral_norm` is.
        upsampling: "nearest" repeats each pixel `stride` times in both directions, and convolves with a kernel of odd
            size, one less than an even `kernel_size`; `padding` and `output_padding` are not used then.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 4,
        stride: int = 2,
        padding: Padding = None,
        output_padding: int | None = None,
        bias: bool = False,
        norm: NormFactory | None = nn.BatchNorm2d,
        activation: ActivationFactory | None = relu,
        wrap: Wrap | None = None,
        upsampling: Upsampling = "transposed",
    ) -> None:
        convolution: nn.Module
        repeat: list[nn.Module] = []
        if upsampling == "nearest":
            kernel_size -= 1 - kernel_size % 2
            repeat = [nn.UpsamplingNearest2d(scale_factor=stride)]
            convolution = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=bias)
        elif padding == "same":
            convolution = SameConvTranspose2d(in_channels, out_channels, kernel_size, stride, bias=bias)
        else:
            padding = (kernel_size - 1) // 2 if padding is None else padding
            output_padding = max(0, stride - kernel_size + 2 * padding) if output_padding is None else output_padding
            convolution = nn.ConvTranspose2d(
                in_channels, out_channels, kernel_size, stride, padding, output_padding, bias=bias
            )
        super().__init__(*repeat, *layers(convolution, out_channels, norm, activation, wrap))


class DownBlock(nn.Sequential):
    """Convolution, norm, activation: (N, in, H, W) → (N, out, H/2, W/2) as it stands.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        kernel_size: 4 and 5 both halve an even size exactly at stride 2.
        stride: how many input pixels lie between two output pixels.
        padding: zeros on each side; default: (kernel_size − 1) // 2; "same": as Keras does it, see `SameConv2d`.
        bias: whether the convolution has one.
        norm: makes the normalization for a number of channels; None for no normalization.
        activation: makes the activation; None for none.
        wrap: applied to the convolution, as `torch.nn.utils.parametrizations.spectral_norm` is.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 4,
        stride: int = 2,
        padding: Padding = None,
        bias: bool = False,
        norm: NormFactory | None = nn.BatchNorm2d,
        activation: ActivationFactory | None = LEAKY_RELU,
        wrap: Wrap | None = None,
    ) -> None:
        convolution: nn.Module
        if padding == "same":
            convolution = SameConv2d(in_channels, out_channels, kernel_size, stride, bias=bias)
        else:
            padding = (kernel_size - 1) // 2 if padding is None else padding
            convolution = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=bias)
        super().__init__(*layers(convolution, out_channels, norm, activation, wrap))


class DenseBlock(nn.Sequential):
    """Dense layer, norm, activation: (N, in) → (N, out).

    Args:
        in_features: of the input.
        out_features: of the output.
        bias: whether the dense layer has one.
        norm: makes the normalization for a number of features; None for no normalization.
        activation: makes the activation; None for none.
        wrap: applied to the dense layer.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        norm: NormFactory | None = None,
        activation: ActivationFactory | None = None,
        wrap: Wrap | None = None,
    ) -> None:
        dense = nn.Linear(in_features, out_features, bias)
        super().__init__(*layers(dense, out_features, norm, activation, wrap))


class Projection(nn.Module):
    """Dense layer from latents (N, in) to a small image (N, channels, size, size), then norm and activation.

    Args:
        in_features: of the latents.
        channels: of the image.
        size: height and width of the image.
        bias: whether the dense layer has one.
        norm: makes the normalization for a number of channels; None for no normalization.
        norm_units: norm and activation come before the reshape, `norm` made for channels · size · size units.
        activation: makes the activation; None for none.
        wrap: applied to the dense layer.
    """

    def __init__(
        self,
        in_features: int,
        channels: int,
        size: int,
        *,
        bias: bool = True,
        norm: NormFactory | None = nn.BatchNorm2d,
        norm_units: bool = False,
        activation: ActivationFactory | None = None,
        wrap: Wrap | None = None,
    ) -> None:
        super().__init__()
        units = channels * size * size
        normed = units if norm_units else channels
        dense, *after = layers(nn.Linear(in_features, units, bias), normed, norm, activation, wrap)
        self.norm_units = norm_units
        self.dense = dense
        self.reshape = nn.Unflatten(1, (channels, size, size))
        self.after = nn.Sequential(*after)

    def forward(self, latents: Tensor) -> Tensor:
        """Return images (N, channels, size, size) for latents (N, in)."""
        units = self.dense(latents)
        image: Tensor = self.reshape(self.after(units)) if self.norm_units else self.after(self.reshape(units))
        return image


def layers(
    weighted: nn.Module,
    channels: int,
    norm: NormFactory | None,
    activation: ActivationFactory | None,
    wrap: Wrap | None,
) -> list[nn.Module]:
    """Return a weighted layer, wrapped, with its norm and activation, if any."""
    result = [wrap(weighted) if wrap else weighted]
    if norm:
        result.append(norm(channels))
    if activation:
        result.append(activation())
    return result


def init_weights(
    module: nn.Module,
    *,
    weight_std: float = 0.02,
    norm_mean: float = 1.0,
    norm_std: float = 0.02,
    bias: Literal["zero", "torch"] = "zero",
) -> None:
    """Draw the weights of every layer in `module`: normal around 0, gains of norms around `norm_mean`; biases 0.

    Args:
        module: a network or a part of one.
        weight_std: deviation of convolutions and dense layers.
        norm_mean: mean of the gains of norms.
        norm_std: deviation of these gains.
        bias: "torch" leaves the biases of convolutions and dense layers as torch has drawn them.
    """
    for layer in module.modules():
        if isinstance(layer, Weighted):
            draw_weight(layer, lambda weight: nn.init.normal_(weight, 0.0, weight_std))
            if layer.bias is not None and bias == "zero":
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, _BatchNorm | nn.InstanceNorm2d | nn.GroupNorm) and layer.weight is not None:
            nn.init.normal_(layer.weight, norm_mean, norm_std)
            nn.init.zeros_(layer.bias)


def draw_weight(layer: Weighted, draw: Callable[[Tensor], Tensor]) -> None:
    """Fill the weight of a layer by `draw`, also under a parametrization such as spectral norm."""
    if is_parametrized(layer, "weight"):  # the parametrized weight is computed, so the original is filled
        with torch.no_grad():
            layer.weight = draw(torch.empty_like(layer.weight))
    else:
        draw(layer.weight)


def init_glorot(module: nn.Module) -> None:
    """Draw the weights of every layer in `module` as Keras does: uniform after Glorot and Bengio, biases 0.

    The limit is √(6 / (fan in + fan out)); norms keep gains of 1 and biases of 0.
    """
    for layer in module.modules():
        if isinstance(layer, Weighted):
            draw_weight(layer, nn.init.xavier_uniform_)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
