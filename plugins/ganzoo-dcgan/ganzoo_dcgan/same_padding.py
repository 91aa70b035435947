"""Convolutions that pad as TensorFlow and Keras do with padding="same"."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class SameConv2d(nn.Conv2d):
    """Convolution to ceil(H / stride) × ceil(W / stride) pixels, padded with zeros as much as that takes.

    An odd number of zeros puts the one more at the bottom and right: a 3×3 kernel at stride 2 pads an even size
    after but not before, an odd size on both sides. PyTorch's `padding=1` pads both sides always.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        kernel_size: of a square kernel.
        stride: in both directions.
        bias: whether there is one.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, *, bias: bool = True
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, bias=bias)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's own name for it)
        """Return (N, out, ceil(H / stride), ceil(W / stride)) for (N, in, H, W)."""
        top, bottom = self._padding_of(input.shape[2])
        left, right = self._padding_of(input.shape[3])
        return super().forward(F.pad(input, (left, right, top, bottom)))

    def _padding_of(self, size: int) -> tuple[int, int]:
        """Return the numbers of zeros before and after a dimension of this size."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
        return total // 2, total - total // 2


class SameConvTranspose2d(nn.ConvTranspose2d):
    """Transposed convolution to exactly stride · H × stride · W pixels: the adjoint of `SameConv2d`.

    What `SameConv2d` would have padded is cut off the full output: for a 3×3 kernel at stride 2 the last row and
    column, which leaves other pixels than PyTorch's `padding=1, output_padding=1`.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        kernel_size: of a square kernel, no smaller than the stride.
        stride: in both directions.
        bias: whether there is one.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, *, bias: bool = True
    ) -> None:
        if kernel_size < stride:
            raise ValueError(f"a kernel of {kernel_size} does not reach over a stride of {stride}")
        before = (kernel_size - stride) // 2
        super().__init__(in_channels, out_channels, kernel_size, stride, before, bias=bias)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:  # noqa: A002
        """Return (N, out, stride · H, stride · W) for (N, in, H, W)."""
        height, width = (self.stride[0] * size for size in input.shape[2:])
        images = super().forward(input, output_size)
        kept = images[:, :, :height, :width]
        # Batch norm takes ten times as long on a view with gaps.
        return images if kept.shape == images.shape else kept.clone()
