"""A small classifier trained on the labeled dataset itself, to score samples without a download."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganzoo.plugin import DataError, StoredImages, cached_tensors, real_images

VERSION = 1
"""Version of the network and its training, raised with every change so that older cached weights are not used."""

FEATURES = 128
HELD_OUT = 0.1
EXAMPLES = 30_000
BATCH = 128
SEED = 0


class ClassifierNetwork(nn.Module):
    """Four 3×3 convolutions, each halving the image, and one dense layer on their mean."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        widths = [channels, 32, 64, 128, FEATURES]
        self.layers = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
                )
                for before, after in pairwise(widths)
            )
        )
        self.classes = nn.Linear(FEATURES, classes)

    def features(self, images: Tensor) -> Tensor:
        """Return features (N, 128) of images (N, C, H, W) in [−1, 1]."""
        maps: Tensor = self.layers(images)
        return maps.mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, classes)."""
        logits: Tensor = self.classes(self.features(images))
        return logits


@dataclass(frozen=True)
class Classifier:
    """A trained classifier in evaluation mode, on the CPU, and its accuracy on held-out real images."""

    network: ClassifierNetwork
    accuracy: float


def classifier_for(packed: StoredImages) -> Classifier:
    """Return the classifier of a dataset, from the cache or trained now; the same for the same images and labels.

    Raises:
        DataError: the dataset has no labels.
    """
    if packed.labels is None:
        raise DataError(
            "the dataset has no labels to train a classifier on: classes covered and fd_classifier need them"
        )
    with torch.random.fork_rng(devices=[]):
        network = ClassifierNetwork(packed.info.image.channels, packed.info.num_classes)
    samples = zlib.crc32(packed.labels.data, packed.checksum)  # of one key there may be others, as after a repair
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    weights = cached_tensors(
        f"classifiers/{packed.key[:16]}-{samples:08x}-v{VERSION}",
        lambda: _trained(network, packed),
        lambda found: {name: tensor.shape for name, tensor in found.items()} == shapes,
    )
    network.load_state_dict(weights)
    network.eval()
    return Classifier(network, _accuracy(network, packed))


def _split(packed: StoredImages) -> tuple[Tensor, Tensor]:
    """Return the indices of the training and of the held-out images."""
    order = torch.randperm(len(packed), generator=torch.Generator().manual_seed(SEED))
    held_out = max(1, int(len(packed) * HELD_OUT))
    return order[held_out:], order[:held_out]


def _trained(network: ClassifierNetwork, packed: StoredImages) -> dict[str, Tensor]:
    """Train with Adam and cosine decay, on the same number of examples whatever the size of the dataset."""
    assert packed.labels is not None
    rng = torch.Generator().manual_seed(SEED)
    labels = torch.from_numpy(packed.labels)
    train, _ = _split(packed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.reset_parameters()
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    steps = EXAMPLES // BATCH
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    network.train()
    for _ in range(steps):
        chosen = train[torch.randint(len(train), (BATCH,), generator=rng)]
        loss = F.cross_entropy(network(real_images(packed, chosen)), labels[chosen])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return network.state_dict()


@torch.inference_mode()
def _accuracy(network: ClassifierNetwork, packed: StoredImages) -> float:
    assert packed.labels is not None
    _, held_out = _split(packed)
    labels = torch.from_numpy(packed.labels)
    answers = torch.cat([network(real_images(packed, part)).argmax(1) for part in torch.split(held_out, 256)])
    return float((answers == labels[held_out]).double().mean())
