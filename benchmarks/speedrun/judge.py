"""The judge of the speedrun: the Fréchet distance of samples to real digits, in the features of one frozen classifier.

    python benchmarks/speedrun/judge.py score samples.npy
    python benchmarks/speedrun/judge.py floor --root data
    python benchmarks/speedrun/judge.py train --root data --out other.safetensors

`judge.safetensors` holds the classifier, and the mean and covariance of its features on all real images at hand (here
10,000), so that judging needs no data. It was made once, by `train`, and is frozen: `CHECKSUM` is that of the file.
No contestant may see it.
"""

from __future__ import annotations

import argparse
import hashlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

FILE = Path(__file__).with_name("judge.safetensors")
CHECKSUM = "20047c27baf9cb56ecf84baf34ef22545be9cf03b85650d5623be9bf34cb615a"
SIZE, FEATURES = 28, 64
SAMPLES = 5000
"""How many samples are judged; the distance depends on it."""
WAYS = ("inverse", "bicubic")
"""How samples of another size come to 28 pixels, and the better score counts: by the least-squares inverse of the
bilinear enlargement that real digits went through, which loses nothing of clean digits, or by bicubic resizing with
antialiasing, which blurs them and takes away more of noise."""

Array = npt.NDArray[Any]


class Judge(nn.Module):
    """Three convolutions of stride 2, a dense layer whose output are the features, and one to the ten classes."""

    def __init__(self) -> None:
        super().__init__()
        widths, layers = [1, 16, 32, 32], []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 4 * 4, FEATURES), nn.ReLU())
        self.classes = nn.Linear(FEATURES, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, 10) of images (N, 1, 28, 28) in [0, 1]."""
        logits: Tensor = self.classes(self.layers(images))
        return logits

    @torch.inference_mode()
    def features(self, images: Array, way: str = WAYS[0]) -> Array:
        """Return features (N, 64) of images (N, S, S) uint8, brought to 28 pixels by one of `WAYS`."""
        parts = torch.split(torch.from_numpy(images), 500)
        return torch.cat([self.layers(at_28(part, way)) for part in parts]).double().numpy()


def at_28(images: Tensor, way: str = WAYS[0]) -> Tensor:
    """Return images (N, 1, 28, 28) in [0, 1] for uint8 ones (N, S, S) of any size."""
    floats, size = images[:, None].float() / 255, images.shape[1]
    if size == SIZE:
        return floats
    if way == "bicubic":
        return F.interpolate(floats, (SIZE, SIZE), mode="bicubic", antialias=True).clamp(0, 1)
    small, large = sorted((size, SIZE))
    enlargement = F.interpolate(torch.eye(small)[:, None], large, mode="linear")[:, 0].T
    rows = enlargement if size < SIZE else torch.linalg.pinv(enlargement)
    return (rows @ floats @ rows.T).clamp(0, 1)


def load_judge(file: Path = FILE) -> tuple[Judge, Array, Array]:
    """Return the frozen judge, and the mean (64,) and covariance (64, 64) of its features on real images.

    Raises:
        ValueError: the file is not the one that was frozen.
    """
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != CHECKSUM:
        raise ValueError(f"{file}: its SHA-256 is {found}, and the frozen judge's is {CHECKSUM}: restore the file")
    tensors = load_file(file)
    mean, covariance = (tensors.pop(name).numpy() for name in ("real.mean", "real.covariance"))
    judge = Judge()
    judge.load_state_dict(tensors)
    return judge.eval(), mean, covariance


def statistics_of(features: Array) -> tuple[Array, Array]:
    """Return mean (D,) and covariance (D, D) of features (N, D)."""
    return features.mean(0), np.cov(features, rowvar=False)


def frechet(first: tuple[Array, Array], second: tuple[Array, Array]) -> float:
    """Return the Fréchet distance of two Gaussians, each by its mean (D,) and covariance (D, D) (arXiv 1706.08500)."""
    (mean, covariance), (other_mean, other_covariance) = first, second
    roots = np.sqrt(np.linalg.eigvals(covariance @ other_covariance).real.clip(0)).sum()
    traces = np.trace(covariance) + np.trace(other_covariance)
    return float(((mean - other_mean) ** 2).sum() + traces - 2 * roots)


def judged(samples: Array) -> tuple[Array, Array, float]:
    """Return mean and covariance of the features of samples (N, S, S) uint8, and their score: lower is better."""
    network, *real = load_judge()
    ways = WAYS if samples.shape[1] != SIZE else WAYS[:1]
    found = [statistics_of(network.features(samples, way)) for way in ways]
    scored = [(*each, frechet(each, (real[0], real[1]))) for each in found]
    return min(scored, key=lambda each: each[2])


def score(samples: Array) -> float:
    """Return the judge's score of 5,000 samples (N, S, S) uint8: lower is better.

    Raises:
        ValueError: there are fewer or more, or they are no such images.
    """
    if samples.dtype != np.uint8 or samples.ndim != 3 or len(samples) != SAMPLES:
        raise ValueError(
            f"samples of {samples.dtype} {samples.shape} cannot be judged: must be uint8 ({SAMPLES}, S, S)"
        )
    return judged(samples)[2]


def real_digits(root: str) -> tuple[Array, Array, Array, Array]:
    """Return training images (N, 28, 28) and their labels, test images and theirs."""
    from torchvision import datasets

    train, test = (datasets.MNIST(root, train=each) for each in (True, False))
    return train.data.numpy(), train.targets.numpy(), test.data.numpy(), test.targets.numpy()


def train(root: str, file: Path, epochs: int = 15) -> None:
    """Train the judge on the training images, each moved by up to two pixels, and write it; print its accuracy."""
    images, labels, test_images, test_labels = real_digits(root)
    torch.manual_seed(0)
    judge, count, batch = Judge(), len(images), 128
    optimizer = torch.optim.Adam(judge.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * (count // batch))
    pixels = F.pad(torch.from_numpy(images)[:, None].float() / 255, (2, 2, 2, 2))
    for _ in range(epochs):
        for chosen in torch.randperm(count)[: count // batch * batch].split(batch):
            top, left = torch.randint(5, (2,)).tolist()
            moved = pixels[chosen, :, top : top + SIZE, left : left + SIZE]
            loss = F.cross_entropy(judge(moved), torch.from_numpy(labels)[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    judge.eval()
    with torch.inference_mode():
        right = judge(at_28(torch.from_numpy(test_images))).argmax(1).numpy() == test_labels
    mean, covariance = statistics_of(judge.features(np.concatenate([images, test_images])))
    tensors = {name: tensor.contiguous() for name, tensor in judge.state_dict().items()}
    tensors |= {"real.mean": torch.from_numpy(mean), "real.covariance": torch.from_numpy(covariance)}
    facts = {"images": str(len(images) + len(test_images)), "accuracy": f"{right.mean():.4f}"}
    save_file(tensors, file, facts)
    checksum = hashlib.sha256(file.read_bytes()).hexdigest()
    print(f"{file}: {right.mean():.2%} of {len(right):,} test digits right; SHA-256 {checksum}")


def floor(root: str, repeats: int = 10) -> None:
    """Print what real digits score: 5,000 against all and against 5,000 others; all of them sent through 64."""
    from PIL import Image
    from torchvision.transforms import functional

    train_images, _, test_images, _ = real_digits(root)
    images = np.concatenate([train_images, test_images])
    judge, *real = load_judge()
    with safe_open(FILE, "np") as opened:
        print(f"the judge: {opened.metadata()}")
    drawn, halves = [], []
    features = judge.features(images)
    for seed in range(repeats):
        order = np.random.default_rng(seed).permutation(len(images))
        first, rest = order[:SAMPLES], order[SAMPLES : 2 * SAMPLES]
        drawn.append(frechet(statistics_of(features[first]), (real[0], real[1])))
        halves.append(frechet(statistics_of(features[first]), statistics_of(features[rest])))
    print(f"5,000 of the real digits against all: {np.mean(drawn):.4f} ± {np.std(drawn, ddof=1):.4f}")
    print(f"5,000 of the real digits against 5,000 others: {np.mean(halves):.4f} ± {np.std(halves, ddof=1):.4f}")
    larger = np.stack([np.asarray(functional.resize(Image.fromarray(each), [64, 64])) for each in images])
    for way in WAYS:
        back = frechet(statistics_of(judge.features(larger, way)), (real[0], real[1]))
        print(f"all real digits at 64 pixels, brought back to 28 ({way}), against all: {back:.5f}")


def main() -> None:
    """Score, print the floor or train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("score").add_argument("samples", type=Path, nargs="+")
    verbs.add_parser("floor").add_argument("--root", required=True)
    training = verbs.add_parser("train")
    training.add_argument("--root", required=True)
    training.add_argument("--out", type=Path, required=True, help="a file that is not there yet")
    options = parser.parse_args()
    if options.verb == "train" and options.out.exists():
        parser.error(f"--out {options.out}: is there already, and a judge is trained once: name another file")
    try:
        if options.verb == "train":
            train(options.root, options.out)
        elif options.verb == "floor":
            floor(options.root)
        else:
            for path in options.samples:
                print(f"{path}: {score(np.load(path)):.4f}")
    except (OSError, RuntimeError, ValueError) as error:  # torchvision's for MNIST that is not there
        parser.error(str(error))


if __name__ == "__main__":
    main()
