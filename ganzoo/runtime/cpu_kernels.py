"""Fast kernels for the CPU: matrix products, convolutions, and fused optimizers for channels-last weights.

Torch's CPU kernels reach the speed of its matrix product on large images of many channels. On small ones they do not:
a weight gradient summed over few positions runs at a quarter of it, and on processors with AMX the rest of a
convolution to 2×2 positions at a tenth. The small end of a DCGAN is where most of its weights are.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Pair = tuple[int, int]


@contextmanager
def fp32_precision(backend: Any, precision: str) -> Iterator[None]:
    """While open, have one of torch's backends compute fp32 products in a precision; its switch is the process's."""
    before, backend.fp32_precision = backend.fp32_precision, precision
    try:
        yield
    finally:
        backend.fp32_precision = before


def onednn_products(wanted: bool = True) -> AbstractContextManager[None]:
    """While open, multiply fp32 matrices by oneDNN where that is faster and as exact; as torch does if not `wanted`."""
    if not onednn_is_faster():
        return nullcontext()
    return fp32_precision(torch.backends.mkldnn.matmul, "bf16" if wanted else "ieee")  # type: ignore[attr-defined]


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
    with fp32_precision(torch.backends.mkldnn.matmul, "bf16"):  # type: ignore[attr-defined]
        left, right = (torch.linspace(-1, 1, 128 * 128).reshape(128, 128).roll(shift) for shift in (0, 1))
        return bool(torch.allclose((left @ right).double(), left.double() @ right.double(), rtol=0, atol=1e-3))


class FastConvolutions(TorchFunctionMode):
    """While open, replace `conv2d` and `conv_transpose2d` by matrix products where these are faster on a CPU.

    Results differ by rounding alone. The choice depends on shapes, dtypes and the processor, so a run repeats to the
    bit. Double backward works.
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
    if min(high, wide) < 1:  # torch says what is wrong
        return None
    return _apply(input, weight, bias, high * wide, (down, right), (rows, columns), False, (0, 0))


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
    positions = input.shape[2] * input.shape[3]
    return _apply(input, weight, bias, positions, _pair(stride), _pair(padding), True, _pair(output_padding))


_REPLACEMENTS: dict[Callable[..., Any], Callable[..., Tensor | None]] = {
    torch.conv2d: _conv2d,
    torch.conv_transpose2d: _conv_transpose2d,
}


def _is_supported(images: Tensor, dilation: int | Sequence[int], groups: int) -> bool:
    return images.device.type == "cpu" and images.dim() == 4 and groups == 1 and _pair(dilation) == (1, 1)


def _apply(images: Tensor, weight: Tensor, bias: Tensor | None, positions: int, *options: Any) -> Tensor | None:
    """Apply `_Convolution`, or return None where no part of it is faster as a matrix product.

    `positions` counts those of the smaller of the two images; the options are stride, padding, whether the
    convolution is transposed, and its output padding.
    """
    reduced = torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu") if reduced else images.dtype
    tensors = (images, weight) if bias is None else (images, weight, bias)
    learned = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    images_by_product = _images_are_faster(weight, positions, dtype)
    weight_by_product = learned and weight.requires_grad and _weight_is_faster(weight, positions, options[0], dtype)
    if not (images_by_product or weight_by_product):
        return None
    if reduced:  # the tensors saved for backward have to be those computed with
        images, weight = images.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    apply = _Convolution.apply if learned else _Convolution.forward
    return cast("Tensor", apply(images, weight, bias, *options, images_by_product, weight_by_product))


def _images_are_faster(weight: Tensor, positions: int, dtype: torch.dtype) -> bool:
    """Return whether the result and the gradient of the images are faster as matrix products.

    benchmarks/convolution_products.py measures the break-even points, of this and the next rule.
    """
    channels = weight.shape[0] * weight.shape[1]
    if dtype is torch.bfloat16 and _has_amx():
        return positions <= 16 and channels >= 2**15
    return positions <= 4 and channels >= 2**17


def _weight_is_faster(weight: Tensor, positions: int, stride: Pair, dtype: torch.dtype) -> bool:
    """Return whether the gradient of `weight`, summed over `positions`, is faster as a matrix product."""
    if dtype is torch.bfloat16:
        return positions <= (16 if stride == (1, 1) else 64)
    channels = weight.shape[0] * weight.shape[1]
    return (positions <= 4 and channels >= 2**15) or (positions <= 16 and channels >= 2**19)


@cache
def _has_amx() -> bool:
    """Return whether the processor has AMX, which multiplies bf16 matrices seven times as fast as fp32 ones."""
    return bool(capabilities().get("amx_bf16"))


class _Convolution(torch.autograd.Function):
    """Torch's convolution, with its parts as matrix products where that is faster."""

    @staticmethod
    def forward(images: Tensor, weight: Tensor, bias: Tensor | None, *options: Any) -> Tensor:
        stride, padding, transposed, output_padding, by_product, _ = options
        if not by_product:
            return torch.convolution(images, weight, bias, stride, padding, (1, 1), transposed, output_padding, 1)
        if not transposed:
            return convolve(images, weight, bias, stride, padding)
        sizes = zip(images.shape[2:], weight.shape[2:], stride, padding, output_padding, strict=True)
        size = [(small - 1) * step + kernel - 2 * pad + rest for small, kernel, step, pad, rest in sizes]
        result = convolve_transposed(images, weight, size, stride, padding)
        return result if bias is None else result.add_(bias[:, None, None])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        images, weight, _, *ctx.options = inputs
        ctx.save_for_backward(images, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        images, weight = ctx.saved_tensors
        stride, padding, transposed, output_padding, images_by_product, weight_by_product = ctx.options
        images_wanted, weight_wanted, bias_wanted = ctx.needs_input_grad[:3]
        ours = not torch.is_grad_enabled()  # double backward is left to torch
        images_by_product = ours and images_wanted and images_by_product
        weight_by_product = ours and weight_wanted and weight_by_product
        images_grad = weight_grad = None
        rest = [images_wanted and not images_by_product, weight_wanted and not weight_by_product, False]
        if any(rest):
            images_grad, weight_grad, _ = torch.ops.aten.convolution_backward(
                gradient, images, weight, None, stride, padding, (1, 1), transposed, output_padding, 1, rest
            )
        # For the bias's gradient torch would compute the weight's too.
        bias_grad = gradient.sum((0, 2, 3)) if bias_wanted else None
        if images_by_product and transposed:
            images_grad = convolve(gradient, weight, None, stride, padding)
        elif images_by_product:
            images_grad = convolve_transposed(gradient, weight, images.shape[2:], stride, padding)
        if weight_by_product:
            small, big = (images, gradient) if transposed else (gradient, images)
            weight_grad = weight_gradient(small, big, weight.shape[2:], stride, padding)
        return images_grad, weight_grad, bias_grad, *[None] * len(ctx.options)


def convolve(big: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair) -> Tensor:
    """Return the convolution (N, A, h, w), channels last, of `big` (N, B, H, W) with `weight` (A, B, *kernel)."""
    patches = _patches(big, weight.shape[2:], stride, padding)
    result = _empty_channels_last(big, (len(big), len(weight), *patches.shape[1:3]))
    rows, kernels = patches.flatten(3).flatten(0, 2), weight.permute(0, 2, 3, 1).flatten(1).t()
    flat = result.permute(0, 2, 3, 1).view(len(rows), -1)
    if bias is None:
        torch.mm(rows, kernels, out=flat)
    else:
        torch.addmm(bias, rows, kernels, out=flat)
    return result


def convolve_transposed(small: Tensor, weight: Tensor, size: Sequence[int], stride: Pair, padding: Pair) -> Tensor:
    """Return the transposed convolution (N, B, *size), channels last, of `small` (N, A, h, w) with `weight`.

    Where patches overlap they are summed in fp32, as torch's kernels do.
    """
    count, channels, height, width = small.shape
    _, out, rows, columns = weight.shape
    flat = small.permute(0, 2, 3, 1).reshape(-1, channels)
    patches = (flat @ weight.permute(0, 2, 3, 1).flatten(1)).view(count, height, width, rows, columns, out)
    dtype = torch.promote_types(small.dtype, torch.float32)
    big = small.new_zeros((count, size[0] + 2 * padding[0], size[1] + 2 * padding[1], out), dtype=dtype)
    for row in range(rows):
        for column in range(columns):
            reached = big[:, row:, column:][:, :: stride[0], :: stride[1]][:, :height, :width]
            reached += patches[:, :, :, row, column]
    inside = big[:, padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]]
    return _empty_channels_last(small, (count, out, *size)).copy_(inside.permute(0, 3, 1, 2))


def weight_gradient(small: Tensor, big: Tensor, kernel: Sequence[int], stride: Pair, padding: Pair) -> Tensor:
    """Return the gradient (A, B, *kernel), channels last in memory, of a convolution's weight.

    Args:
        small: (N, A, h, w): the output's gradient, or the input of a transposed convolution.
        big: (N, B, H, W): the input, or the gradient of a transposed convolution's output.
        kernel: height and width.
        stride: of the kernel over `big`.
        padding: of `big` on each side.
    """
    flat = small.permute(0, 2, 3, 1).reshape(-1, small.shape[1])
    product = flat.t() @ _patches(big, kernel, stride, padding).reshape(len(flat), -1)
    return product.view(small.shape[1], *kernel, big.shape[1]).permute(0, 3, 1, 2)


def _empty_channels_last(like: Tensor, shape: Sequence[int]) -> Tensor:
    """Return a tensor that is no view, which an activation may change in place."""
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


def _patches(big: Tensor, kernel: Sequence[int], stride: Pair, padding: Pair) -> Tensor:
    """Return a view (N, h, w, *kernel, B) of the patches of `big` (N, B, H, W) that the kernel meets."""
    padded = F.pad(big.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0]))
    return padded.unfold(1, kernel[0], stride[0]).unfold(2, kernel[1], stride[1]).permute(0, 1, 2, 4, 5, 3)


def _pair(value: int | Sequence[int]) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def order_instance_norm_gradients(module: nn.Module) -> None:
    """Have each instance norm within `module` get its gradient in the order of its result, (N, C, H, W) in memory.

    Torch views the maps of all samples as channels of one. Where there is a single sample, a gradient in channels-last
    order stays so, and the CPU kernel reads it as if it were not: the gradient of the input is wrong.
    """
    for child in module.modules():
        if isinstance(child, (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)):
            child.register_forward_hook(_order_gradient)


def _order_gradient(module: nn.Module, given: Any, result: Tensor) -> None:
    if result.requires_grad:
        result.register_hook(torch.Tensor.contiguous)  # type: ignore[no-untyped-call]


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
            args = tuple([*map(contiguous_view, tensors)] for tensors in (parameters, gradients, *states))
        return func(*args, **(kwargs or {}))


_FUSED = {torch._fused_adam_, torch._fused_adamw_, torch._fused_sgd_}


def _strided_as(gradient: Tensor, parameter: Tensor) -> Tensor:
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


def contiguous_view(tensor: Tensor) -> Tensor:
    """Return a channels-last tensor as a contiguous (N, H, W, C) view, any other as it is."""
    if tensor.is_contiguous() or not tensor.is_contiguous(memory_format=torch.channels_last):
        return tensor
    return tensor.permute(0, 2, 3, 1)
