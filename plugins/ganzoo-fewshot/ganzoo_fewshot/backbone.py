"""Frozen feature maps of a torchvision classifier, which a checkpoint names by their checksum."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

import torch
from ganzoo_metrics.imagenet import ImageNetInput
from ganzoo_metrics.weights import load_torchvision_weights, torchvision_classifier
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor

STRIDES = (4, 8, 16, 32)
DIGEST = "weights_sha256"


class Backbone(nn.Module):
    """Feature maps of a classifier in evaluation mode, whose parameters never learn.

    Its state dict holds the SHA-256 of its weights and not the weights: they are read again where they came from, and
    others are refused.

    Args:
        model: as torchvision names it.
        weights: name of torchvision's, a file, or "random".
        seed: of random weights.
        where: the component that has it, in messages.
        nodes: names of the modules whose outputs are taken; default: the last of each stride of 4, 8, 16 and 32.
        input_size: side in pixels that images are brought to; None: they are taken as they are.
    """

    def __init__(
        self,
        model: str,
        weights: str,
        *,
        seed: int = 0,
        where: str,
        nodes: Sequence[str] | None = None,
        input_size: int | None = None,
    ) -> None:
        super().__init__()
        self.model, self.weights, self.seed, self.where = model, weights, seed, where
        classifier = torchvision_classifier(model, seed, where).eval()
        nodes = list(nodes) if nodes else _last_of_each_stride(classifier, where)
        self.network = create_feature_extractor(classifier, {node: str(place) for place, node in enumerate(nodes)})
        self.to_input = ImageNetInput(input_size)
        self.requires_grad_(False).eval()
        self._digest: Tensor | None = None
        self.register_load_state_dict_pre_hook(_check_digest)  # type: ignore[no-untyped-call]

    def read_weights(self) -> None:
        """Load the weights.

        Raises:
            DataError: they are missing; the text says which file to put where.
        """
        classifier = torchvision_classifier(self.model, self.seed, self.where)
        load_torchvision_weights(classifier, self.model, self.weights, self.where, f"weights of {self.where}")
        loaded = classifier.state_dict()
        self.network.load_state_dict({name: loaded[name] for name in self.network.state_dict()})
        self._digest = None

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the feature maps, each (N, C, H, W), of images (N, 1 or 3, H, W) in [−1, 1]."""
        maps = self.network(self.to_input(images))
        return [maps[str(place)] for place in range(len(maps))]

    def train(self, mode: bool = True) -> Backbone:
        """Stay in evaluation mode."""
        return super().train(False)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Return the SHA-256 of the weights."""
        destination = kwargs.get("destination")
        destination = {} if destination is None else destination
        destination[kwargs.get("prefix", "") + DIGEST] = self.digest()
        return destination

    def digest(self) -> Tensor:
        """Return the SHA-256 of the weights, 32 bytes on the CPU."""
        if self._digest is None:
            content = hashlib.sha256()
            for name, tensor in sorted(self.network.state_dict().items()):
                content.update(name.encode())
                content.update(tensor.detach().cpu().contiguous().numpy().tobytes())
            self._digest = torch.frombuffer(bytearray(content.digest()), dtype=torch.uint8)
        return self._digest.clone()


def _check_digest(
    module: nn.Module, state: dict[str, Any], prefix: str, _metadata: Any, _strict: bool, *problems: list[str]
) -> None:
    """Refuse the state of other weights, and put the module's own in the place of those that are not in it."""
    backbone, (missing, _unexpected, errors) = cast("Backbone", module), problems
    found = state.pop(prefix + DIGEST, None)
    if found is None:
        missing.append(prefix + DIGEST)
    elif not torch.equal(found.cpu(), backbone.digest()):
        errors.append(
            f'it was trained on other weights of {backbone.model} than {backbone.where} has with "{backbone.weights}"'
        )
    own = backbone.network.state_dict()
    state.update({f"{prefix}network.{name}": tensor for name, tensor in own.items()})


def _last_of_each_stride(classifier: nn.Module, where: str) -> list[str]:
    """Return the names of modules that give the last map of each stride, before what only widens it for the classes.

    Raises:
        ValueError: it has none of some stride, as a transformer has.
    """
    size, shapes = 128, dict[str, tuple[int, ...]]()

    def note(name: str) -> Any:
        return lambda _module, _inputs, output: shapes.update(
            {name: tuple(output.shape)} if isinstance(output, Tensor) else {}
        )

    hooks = [module.register_forward_hook(note(name)) for name, module in classifier.named_modules() if name]
    with torch.no_grad(), suppress(AssertionError, RuntimeError):  # of one that takes images of one size alone
        classifier(torch.zeros(1, 3, size, size))
    for hook in hooks:
        hook.remove()
    nodes = []
    for stride in STRIDES:
        side = size // stride
        fitting = [name for name, shape in shapes.items() if len(shape) == 4 and shape[2:] == (side, side)]
        if not fitting:
            raise ValueError(
                f'{where}: "{type(classifier).__name__}" has no feature map of stride {stride}: take a convolutional '
                f'network that halves its maps, such as "resnet18" or "efficientnet_b0"'
            )
        nodes.append(_last_block(classifier, fitting))
    return nodes


def _last_block(classifier: nn.Module, names: list[str]) -> str:
    """Return the outermost and last of these modules, without the 1×1 convolution that widens maps for classifying."""
    depth = min(name.count(".") for name in names)
    outermost = [name for name in names if name.count(".") == depth]
    last = _without_heads(classifier, outermost)[-1]
    inside = [name for name in names if name.startswith(f"{last}.") and name.count(".") == depth + 1]
    blocks = _without_heads(classifier, inside)
    return last if blocks == inside else blocks[-1]


def _without_heads(classifier: nn.Module, names: list[str]) -> list[str]:
    """Return the names up to the last module that is more than a 1×1 convolution; all of them where none is."""
    kept = list(names)
    while kept and _is_pointwise(classifier.get_submodule(kept[-1])):
        kept.pop()
    return kept or names


def _is_pointwise(module: nn.Module) -> bool:
    convolutions = [each for each in module.modules() if isinstance(each, nn.Conv2d)]
    return len(convolutions) == 1 and convolutions[0].kernel_size == (1, 1)
