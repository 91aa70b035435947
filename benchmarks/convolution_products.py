"""Where the parts of a convolution are faster as matrix products than by torch's own kernels.

    python benchmarks/convolution_products.py [--batch 64]

One line a layer, at stride 2 the kernels 4×4 and 5×5 as in DCGANs, at stride 1 3×3: milliseconds of torch and of the
product, best of five, for the convolution, the gradient of its input and the gradient of its weight.
`ganzoo/runtime/cpu_kernels.py` holds the rules that follow from it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from ganzoo.runtime.cpu_kernels import convolve, convolve_transposed, weight_gradient

CHANNELS = ((64, 32), (128, 64), (256, 128), (512, 256), (1024, 512))
KERNELS = ((4, 2, 1), (5, 2, 2), (3, 1, 1))
"""Kernel, stride, padding."""
MOST_FLOP = 2e10


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64)
    batch = parser.parse_args().batch
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, batch {batch}")
    print("                                       convolution        input's gradient    weight's gradient")
    print("dtype     kernel  positions  channels     torch product      torch product      torch product")
    for dtype in (torch.float32, torch.bfloat16):
        for kernel in KERNELS:
            for size in (1, 2, 4, 8, 16):
                for channels in CHANNELS:
                    if 2 * batch * size**2 * kernel[0] ** 2 * channels[0] * channels[1] <= MOST_FLOP:
                        row(dtype, kernel, size, channels, batch)


@torch.no_grad()
def row(
    dtype: torch.dtype, kernel_stride_padding: tuple[int, int, int], size: int, channels: tuple[int, int], batch: int
) -> None:
    """Measure one layer: its input has `channels[1]` channels, its output `channels[0]` at `size`×`size`."""
    (out, into), (kernel, stride, padding) = channels, kernel_stride_padding
    images, weight, gradient = (
        torch.randn(shape).to(dtype).to(memory_format=torch.channels_last)
        for shape in (
            (batch, into, size * stride, size * stride),
            (out, into, kernel, kernel),
            (batch, out, size, size),
        )
    )
    strides, pads = (stride, stride), (padding, padding)

    def backward(*wanted: bool) -> object:
        results = torch.ops.aten.convolution_backward(
            gradient, images, weight, None, strides, pads, (1, 1), False, (0, 0), 1, [*wanted, False]
        )
        return [each.contiguous(memory_format=torch.channels_last) for each in results if each is not None]

    pairs: list[tuple[Callable[[], object], Callable[[], object]]] = [
        (
            lambda: torch.conv2d(images, weight, None, strides, pads),
            lambda: convolve(images, weight, None, strides, pads),
        ),
        (
            lambda: backward(True, False),
            lambda: convolve_transposed(gradient, weight, images.shape[2:], strides, pads),
        ),
        (
            lambda: backward(False, True),
            lambda: weight_gradient(gradient, images, (kernel, kernel), strides, pads),
        ),
    ]
    times = [tuple(best(work) * 1e3 for work in pair) for pair in pairs]
    name = str(dtype).removeprefix("torch.")
    print(
        f"{name:9} {kernel}×{kernel} /{stride}  {size**2:9}  {out:4}×{into:<4}  "
        + "".join(f"{theirs:8.2f} {ours:7.2f}{'*' if ours < theirs else ' '}  " for theirs, ours in times),
        flush=True,
    )


def best(work: Callable[[], object], times: int = 5) -> float:
    """The least seconds that `work` takes."""
    work()
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)


if __name__ == "__main__":
    main()
