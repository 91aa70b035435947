"""Fast kernels for the CPU: matrix products, convolutions, and fused optimizers for channels-last weights.

Torch's CPU kernels reach the speed of its matrix product on large images of many channels. They fall to a quarter
of it where a weight gradient is summed over few positions, which at the 4×4 end of a DCGAN is a fifth of a
training step, and to a tenth where there is a single position.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Pair = tuple[int, int]


@contextmanager
def onednn_products(wanted: bool = True) -> Iterator[None]:
    """While open, multiply fp32 matrices by oneDNN where that is faster and as exact; if not `wanted`, as torch does.

    Torch's switch for it is the process's, and is restored.
    """
    if not onednn_is_faster():
        yield
        return
    products: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = products.fp32_precision
    products.fp32_precision = "bf16" if wanted else "ieee"
    try:
        yield
    finally:
        products.fp32_precision = before


def capabilities() -> dict[str, Any]:
    """Return what torch knows of the processor; nothing where it does not look."""
    return dict(torch.cpu.get_capabilities()) if hasattr(torch.cpu, "get_capabilities") else {}


def processor_name() -> str:
    """Return the processor's name, as far as the system tells."""
    return str(capabilities().get("cpu_name") or platform.processor() or platform.machine())


@cache
def onednn_is_faster() -> bool:
    """Return whether oneDNN multiplies fp32 matrices faster than MKL, without rounding them.

    On AMD's processors MKL does not use AVX-512. From Zen 5 on, which `avx512_vp2intersect` tells, that halves its
    speed; benchmarks/matrix_products.py measures it. Torch gives fp32 products to oneDNN where they may be rounded to
    bf16. Of x86 processors oneDNN rounds only on those with AMX, which are Intel's; one product is tried all the same.
    """
    if not (processor_name().startswith("AMD") and capabilities().get("avx512_vp2intersect")):
        return False
    products: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before, products.fp32_precision = products.fp32_precision, "bf16"
    try:
        left, right = (torch.linspace(-1, 1, 128 * 128).reshape(128, 128).roll(shift) for shift in (0, 1))
        return bool(torch.allclose((left @ right).double(), left.double() @ right.double(), rtol=0, atol=1e-3))
    finally:
        products.fp32_precision = before


class FastConvolutions(TorchFunctionMode):
    """While open, replace `conv2d` and `conv_transpose2d` by matrix products where these are faster on a CPU.

    Results differ by rounding alone, and the choice depends on shapes and dtypes only, so a run repeats to the bit.
    Double backward works.
    """

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call torch's function, or its replacement."""
        kwargs = kwargs or {}
        replacement = _REPLACEMENTS.get(func)
        result = replacement(*args, **kwargs) if replacement else None
        return func(*args, **kwargs) if result is None else result


def _conv2d(
    input: Tensor,  # noqa: A002
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor | None:
    if isinstance(padding, str) or not _is_supported(input, dilation, groups):
        return None
    if input.shape[2:] == weight.shape[2:] and _pair(padding) == (0, 0):
        flat = F.linear(input.permute(0, 2, 3, 1).flatten(1), weight.permute(0, 2, 3, 1).flatten(1), bias)
        return flat[:, :, None, None]
    (height, width), (rows, columns), (down, right) = _pair(input.shape[2:]), _pair(padding), _pair(stride)
    high = (height + 2 * rows - weight.shape[2]) // down + 1
    wide = (width + 2 * columns - weight.shape[3]) // right + 1
    if not _is_faster_as_product(input, weight, high * wide, (down, right)):
        return None
    return _apply(input, weight, bias, (down, right), (rows, columns), False, (0, 0))


def _conv_transpose2d(
    input: Tensor,  # noqa: A002
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
) -> Tensor | None:
    if not _is_supported(input, dilation, groups):
        return None
    if input.shape[2:] == (1, 1) and _pair(padding) == (0, 0) and _pair(output_padding) == (0, 0):
        out, height, width = weight.shape[1:]
        units = input.flatten(1) @ weight.permute(0, 2, 3, 1).flatten(1)
        image = units.reshape(-1, height, width, out).permute(0, 3, 1, 2)
        return image if bias is None else image + bias.to(image.dtype)[:, None, None]
    if not _is_faster_as_product(input, weight, input.shape[2] * input.shape[3], _pair(stride)):
        return None
    return _apply(input, weight, bias, _pair(stride), _pair(padding), True, _pair(output_padding))


_REPLACEMENTS: dict[Callable[..., Any], Callable[..., Tensor | None]] = {
    torch.conv2d: _conv2d,
    torch.conv_transpose2d: _conv_transpose2d,
}


def _is_supported(images: Tensor, dilation: int | Sequence[int], groups: int) -> bool:
    return images.device.type == "cpu" and images.dim() == 4 and groups == 1 and _pair(dilation) == (1, 1)


def _is_faster_as_product(images: Tensor, weight: Tensor, positions: int, stride: Pair) -> bool:
    """Return whether the gradient of `weight`, summed over `positions`, is faster as a matrix product.

    benchmarks/weight_gradients.py measures the break-even points.
    """
    if not (torch.is_grad_enabled() and weight.requires_grad):
        return False
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else images.dtype
    if dtype is torch.bfloat16:
        return positions <= (16 if stride == (1, 1) else 64)
    return positions <= 16 and weight.shape[0] * weight.shape[1] >= 2**19


def _apply(images: Tensor, weight: Tensor, bias: Tensor | None, *options: Pair | bool) -> Tensor:
    """Apply `_Convolution`; the options are stride, padding, whether it is transposed, and its output padding."""
    if torch.is_autocast_enabled("cpu"):  # the tensors saved for backward have to be those computed with
        dtype = torch.get_autocast_dtype("cpu")
        images, weight = images.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    return cast("Tensor", _Convolution.apply(images, weight, bias, *options))


class _Convolution(torch.autograd.Function):
    """Torch's convolution, with the gradient of the weight as a matrix product."""

    @staticmethod
    def forward(images: Tensor, weight: Tensor, bias: Tensor | None, *options: Any) -> Tensor:
        stride, padding, transposed, output_padding = options
        return torch.convolution(images, weight, bias, stride, padding, (1, 1), transposed, output_padding, 1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        images, weight, bias, *ctx.options = inputs
        ctx.save_for_backward(images, weight)
        ctx.biases = None if bias is None else list(bias.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        images, weight = ctx.saved_tensors
        stride, padding, transposed, output_padding = ctx.options
        wanted = list(ctx.needs_input_grad[:3])
        # Double backward is left to torch.
        by_product = wanted[1] and not torch.is_grad_enabled()
        images_grad = weight_grad = bias_grad = None
        rest = [wanted[0], wanted[1] and not by_product, wanted[2]]
        if any(rest):
            images_grad, weight_grad, bias_grad = torch.ops.aten.convolution_backward(
                gradient, images, weight, ctx.biases, stride, padding, (1, 1), transposed, output_padding, 1, rest
            )
        if by_product:
            small, big = (images, gradient) if transposed else (gradient, images)
            weight_grad = weight_gradient(small, big, weight.shape[2:], stride, padding)
        return images_grad, weight_grad, bias_grad, None, None, None, None


def weight_gradient(small: Tensor, big: Tensor, kernel: Sequence[int], stride: Pair, padding: Pair) -> Tensor:
    """Return the gradient (A, B, *kernel), channels last in memory, of a convolution's weight.

    Args:
        small: (N, A, h, w): the output's gradient, or the input of a transposed convolution.
        big: (N, B, H, W): the input, or the gradient of a transposed convolution's output.
        kernel: height and width.
        stride: of the kernel over `big`.
        padding: of `big` on each side.
    """
    count, channels, height, width = small.shape
    padded = F.pad(big.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0]))
    image, row, column, channel = padded.stride()
    patches = padded.as_strided(
        (count, height, width, *kernel, big.shape[1]),
        (image, row * stride[0], column * stride[1], row, column, channel),
    )
    flat = small.permute(0, 2, 3, 1).reshape(-1, channels)
    product = flat.t() @ patches.reshape(len(flat), -1)
    return product.view(channels, *kernel, big.shape[1]).permute(0, 3, 1, 2)


def _pair(value: int | Sequence[int]) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


class ChannelsLastUpdates(TorchFunctionMode):
    """While open, pass channels-last tensors to fused optimizers as contiguous (N, H, W, C) views.

    Torch's CPU kernels step through the memory of a weight, its gradient and its moments together, whatever their
    strides are. They also copy each gradient that is not contiguous, and leave the copy unused, which took three
    times as long as the update itself. A gradient with other strides than its weight would update the wrong values;
    it is brought into the weight's order here.
    """

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call torch's function on contiguous views of the tensors."""
        if func in _FUSED:
            parameters, gradients, *states = args
            gradients = [_strided_as(*pair) for pair in zip(gradients, parameters, strict=True)]
            args = tuple([_as_contiguous(tensor) for tensor in tensors] for tensors in (parameters, gradients, *states))
        return func(*args, **(kwargs or {}))


_FUSED = {torch._fused_adam_, torch._fused_adamw_, torch._fused_sgd_}


def _strided_as(gradient: Tensor, parameter: Tensor) -> Tensor:
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


def _as_contiguous(tensor: Tensor) -> Tensor:
    if tensor.is_contiguous() or not tensor.is_contiguous(memory_format=torch.channels_last):
        return tensor
    return tensor.permute(0, 2, 3, 1)
