"""Which form of StyleGAN2's modulated convolution is faster on the device at hand.

    python benchmarks/modulated_convolution.py [--accelerator cpu|cuda] [--batch 32] [--size 256] [--bf16]

One line a layer of the network for images of `--size` pixels: milliseconds of a forward and a backward pass with
weights for each image, in groups, and with scaled inputs and outputs, best of some rounds, and what scaling gains; then
the sum.
`FASTER` in `ganzoo_stylegan/layers.py` holds what follows from it, by type of device.
"""

from __future__ import annotations

import argparse
import time
from contextlib import nullcontext
from typing import Literal

import torch
from ganzoo_stylegan.configs import StyleGAN2GeneratorConfig
from ganzoo_stylegan.layers import modulated_conv2d


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accelerator", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--most-channels", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bf16", action="store_true")
    options = parser.parse_args()
    if options.size < 4 or options.size & (options.size - 1):
        parser.error(f"--size {options.size}: give a power of two from 4 on")
    device, config = torch.device(options.accelerator), StyleGAN2GeneratorConfig(max_channels=options.most_channels)
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    dtype = "bf16" if options.bf16 else "fp32"
    print(f"torch {torch.__version__}, {device.type} ({named}), {dtype}, batch {options.batch}, {options.size} pixels")
    print("output      channels    doubled  grouped ms  scaled ms  faster by")
    totals = [0.0, 0.0]
    resolution, before = 4, config.channels(4, options.size)
    while resolution <= options.size:
        after = config.channels(resolution, options.size)
        for up in (True, False) if resolution > 4 else (False,):
            given = resolution // 2 if up else resolution
            parts = (
                torch.randn(options.batch, before, given, given, device=device).to(memory_format=torch.channels_last),
                torch.randn(after, before, 3, 3, device=device).to(memory_format=torch.channels_last),
                torch.randn(options.batch, before, device=device),
            )
            found = [measured(parts, form, up, options.rounds, options.bf16) for form in ("grouped", "scaled")]
            totals = [total + each for total, each in zip(totals, found, strict=True)]
            shape = f"{resolution}×{resolution}"
            print(
                f"{shape:10}  {before:4} → {after:<4} {up!s:>7}  "
                f"{found[0]:10.2f} {found[1]:10.2f} {found[0] / found[1]:9.2f}×"
            )
            before = after
        resolution *= 2
    print(f"all                              {totals[0]:10.2f} {totals[1]:10.2f} {totals[0] / totals[1]:9.2f}×")


def measured(
    parts: tuple[torch.Tensor, ...], form: Literal["grouped", "scaled"], up: bool, rounds: int, bf16: bool
) -> float:
    """Return the milliseconds of a forward and a backward pass, best of some rounds."""
    parts = tuple(part.detach().requires_grad_() for part in parts)
    images, weight, styles = parts
    seconds = []
    for _ in range(rounds + 1):
        synchronize(images.device)
        begun = time.perf_counter()
        with torch.autocast(images.device.type, torch.bfloat16) if bf16 else nullcontext():
            result = modulated_conv2d(images, weight, styles, demodulate=True, up=up, form=form)
        torch.autograd.grad(result.float().square().mean(), parts)
        synchronize(images.device)
        seconds.append(time.perf_counter() - begun)
    return 1000 * min(seconds[1:])


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
