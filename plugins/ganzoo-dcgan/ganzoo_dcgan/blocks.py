"""The layers of DCGAN as plain modules, for any network."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

NormFactory = Callable[[int], nn.Module]
ActivationFactory = Callable[[], nn.Module]
Wrap = Callable[[nn.Module], nn.Module]

NORMS: dict[str, NormFactory | None] = {
    "batch": nn.BatchNorm2d,
    "instance": lambda channels: nn.InstanceNorm2d(channels, affine=True),
    "layer": lambda channels: nn.GroupNorm(1, channels),
    "none": None,
}


def leaky_relu(slope: float = 0.2) -> ActivationFactory:
    """LeakyReLU with this slope below 0, as an `activation` for the blocks."""
    return lambda: nn.LeakyReLU(slope, inplace=True)


def leaky() -> nn.Module:
    """The paper's LeakyReLU, of slope 0.2."""
    return nn.LeakyReLU(0.2, inplace=True)


def relu() -> nn.Module:
    """ReLU that overwrites its input, which batch norm does not need again."""
    return nn.ReLU(inplace=True)


class UpBlock(nn.Sequential):
    """Transposed convolution, norm, activation: (N, in, H, W) → (N, out, 2H, 2W) as it stands.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        kernel_size: with the defaults for `padding` and `output_padding`, 4 and 5 double the size at stride 2.
        stride: how many output pixels lie between two input pixels.
        padding: taken off the output on each side; left out: (kernel_size − 1) // 2.
        output_padding: added at the bottom and right; left out: what makes stride 2 double exactly.
        bias: whether the convolution has one.
        norm: makes the normalisation for a number of channels; None for no normalisation.
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
        padding: int | None = None,
        output_padding: int | None = None,
        bias: bool = False,
        norm: NormFactory | None = nn.BatchNorm2d,
        activation: ActivationFactory | None = relu,
        wrap: Wrap | None = None,
    ) -> None:
        padding = (kernel_size - 1) // 2 if padding is None else padding
        output_padding = max(0, stride - kernel_size + 2 * padding) if output_padding is None else output_padding
        convolution = nn.ConvTranspose2d(
            in_channels, out_channels, kernel_size, stride, padding, output_padding, bias=bias
        )
        super().__init__(*layers(convolution, out_channels, norm, activation, wrap))


class DownBlock(nn.Sequential):
    """Convolution, norm, activation: (N, in, H, W) → (N, out, H/2, W/2) as it stands.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        kernel_size: 4 and 5 both halve an even size exactly at stride 2.
        stride: how many input pixels lie between two output pixels.
        padding: zeros on each side; left out: (kernel_size − 1) // 2.
        bias: whether the convolution has one.
        norm: makes the normalisation for a number of channels; None for no normalisation.
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
        padding: int | None = None,
        bias: bool = False,
        norm: NormFactory | None = nn.BatchNorm2d,
        activation: ActivationFactory | None = leaky,
        wrap: Wrap | None = None,
    ) -> None:
        padding = (kernel_size - 1) // 2 if padding is None else padding
        convolution = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=bias)
        super().__init__(*layers(convolution, out_channels, norm, activation, wrap))


class Projection(nn.Module):
    """Dense layer from latents (N, in) to a small image (N, channels, size, size), then norm and activation.

    Args:
        in_features: of the latents.
        channels: of the image.
        size: height and width of the image.
        bias: whether the dense layer has one.
        norm: makes the normalisation for a number of channels; None for no normalisation.
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
        activation: ActivationFactory | None = None,
        wrap: Wrap | None = None,
    ) -> None:
        super().__init__()
        dense, *after = layers(nn.Linear(in_features, channels * size * size, bias), channels, norm, activation, wrap)
        self.dense = dense
        self.reshape = nn.Unflatten(1, (channels, size, size))
        self.after = nn.Sequential(*after)

    def forward(self, latents: Tensor) -> Tensor:
        """(N, channels, size, size) for latents (N, in)."""
        image: Tensor = self.after(self.reshape(self.dense(latents)))
        return image


def layers(
    weighted: nn.Module,
    channels: int,
    norm: NormFactory | None,
    activation: ActivationFactory | None,
    wrap: Wrap | None,
) -> list[nn.Module]:
    """A weighted layer, wrapped, with the norm and activation behind it that are wanted."""
    result = [wrap(weighted) if wrap else weighted]
    if norm:
        result.append(norm(channels))
    if activation:
        result.append(activation())
    return result


def init_weights(
    module: nn.Module, *, weight_std: float = 0.02, norm_mean: float = 1.0, norm_std: float = 0.02
) -> None:
    """Draw the weights of every layer in `module`: normal around 0, gains of norms around `norm_mean`; biases 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(layer.weight, 0.0, weight_std)
        elif isinstance(layer, _BatchNorm | nn.InstanceNorm2d | nn.GroupNorm) and layer.weight is not None:
            nn.init.normal_(layer.weight, norm_mean, norm_std)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
