"""Speed of fp32 matrix products on this CPU, by torch's own library and by oneDNN.

    python benchmarks/matrix_products.py [--batch 100]

One line for each layer of the benchmarks' networks: GFLOP a second of both, best of 200 products, and how much faster
oneDNN is. `ganzoo/runtime/cpu_kernels.py` holds the rule that follows from it.
"""

from __future__ import annotations

import argparse

import torch
from convolution_products import best
from torch.nn import functional as F

LAYERS = ((2, 400), (64, 64), (128, 128), (128, 512), (400, 400), (200, 1000), (784, 512), (1024, 8192))


@torch.no_grad()
def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=100)
    batch = parser.parse_args().batch
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, batch {batch}")
    print("    layer      torch   oneDNN  faster by")
    products = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    for into, out in LAYERS:
        inputs, weight = torch.randn(batch, into), torch.randn(out, into)
        seconds = []
        for products.fp32_precision in ("ieee", "bf16"):
            seconds.append(best(lambda x=inputs, w=weight: F.linear(x, w), times=200))  # type: ignore[misc]
        speeds = " ".join(f"{2 * batch * into * out / each / 1e9:8.1f}" for each in seconds)
        print(f"{into:4} → {out:<4} {speeds} {seconds[0] / seconds[1]:9.2f}×", flush=True)


if __name__ == "__main__":
    main()
