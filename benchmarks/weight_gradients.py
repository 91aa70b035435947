"""Where the gradient of a convolution's weight is faster as a matrix product than by torch's own kernel.

    python benchmarks/weight_gradients.py [--batch 64]

One line a layer, kernel 4×4 at stride 2 as in DCGAN and 3×3 at stride 1: milliseconds of both ways, best of five, and
how much faster the product is. `ganzoo/runtime/cpu_kernels.py` holds the rule that follows from it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from ganzoo.runtime.cpu_kernels import weight_gradient

CHANNELS = ((64, 32), (128, 64), (256, 128), (512, 256), (1024, 512))
MOST_FLOP = 2e10


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64)
    batch = parser.parse_args().batch
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, batch {batch}")
    print("dtype     kernel  positions  channels    torch ms  product ms  faster by")
    for dtype in (torch.float32, torch.bfloat16):
        for kernel, stride in ((4, 2), (3, 1)):
            for size in (2, 4, 8, 16):
                for channels in CHANNELS:
                    if 2 * batch * size**2 * kernel**2 * channels[0] * channels[1] <= MOST_FLOP:
                        row(dtype, kernel, stride, size, channels, batch)


@torch.no_grad()
def row(dtype: torch.dtype, kernel: int, stride: int, size: int, channels: tuple[int, int], batch: int) -> None:
    """Measure one layer: its input has `channels[1]` channels, its output `channels[0]` at `size`×`size`."""
    out, into = channels
    images, weight, gradient = (
        torch.randn(shape).to(dtype).to(memory_format=torch.channels_last)
        for shape in (
            (batch, into, size * stride, size * stride),
            (out, into, kernel, kernel),
            (batch, out, size, size),
        )
    )
    strides, pads = (stride, stride), (1, 1)

    def own() -> object:
        result = torch.ops.aten.convolution_backward(
            gradient, images, weight, None, strides, pads, (1, 1), False, (0, 0), 1, [False, True, False]
        )
        return result[1].contiguous(memory_format=torch.channels_last)  # as the parameter lies in memory

    theirs = best(own)
    ours = best(lambda: weight_gradient(gradient, images, (kernel, kernel), strides, pads))
    name = str(dtype).removeprefix("torch.")
    print(
        f"{name:9} {kernel}×{kernel} /{stride}  {size**2:9}  {out:4}×{into:<4}   "
        f"{theirs * 1e3:8.2f}  {ours * 1e3:10.2f}  {theirs / ours:8.2f}×",
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
