"""Importer of state dicts of the tutorials' DCGAN in PyTorch, also within a checkpoint."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganzoo.plugin import CodeError, DatasetInfo, ImageSpec, ImportedWeights, Importer, RequestError, load_tensors
from ganzoo_dcgan.configs import POWERS, DCGANDiscriminatorConfig, DCGANGeneratorConfig
from ganzoo_dcgan.dcgan import DCGANDiscriminator, DCGANGenerator
from ganzoo_dcgan.importers import TutorialStateConfig
from ganzoo_dcgan.weight_mapping import Matched, shapes_of

ZIP = b"PK\x03\x04"
BEFORE_ZIP = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""First bytes of `torch.save` before torch 1.6: a pickle of its magic number."""
KEY = re.compile(r"(?:(?P<stack>.+)\.)?(?P<layer>\d{1,4})\.(?P<leaf>\w+)")
DEPTH = 5
"""Depth to which nested dictionaries are searched."""
COUNTER = "num_batches_tracked"
CHANNELS = (1, 3)

Leaves = dict[str, Tensor]


@dataclass
class Stack:
    """The numbered layers of one `nn.Sequential`, each with its tensors by name."""

    name: str
    numbered: dict[int, Leaves] = field(default_factory=dict)

    def layers(self) -> list[tuple[str, Leaves]]:
        """Return the layers in order, each under its name in the file."""
        return [(f"{self.name}{number}", self.numbered[number]) for number in sorted(self.numbered)]

    def convolutions(self) -> list[Leaves]:
        """Return the layers with a kernel, in order."""
        return [leaves for _, leaves in self.layers() if _kind(leaves) == "convolution"]

    def kernels(self) -> list[Tensor]:
        """Return the kernels in order."""
        return [leaves["weight"] for leaves in self.convolutions()]


class TutorialStateImporter(Importer):
    """Reads a generator and, where there is one, a discriminator from a file of `torch.save`.

    Either is the state dict of one `nn.Sequential` of 4×4 convolutions and batch norms, as in PyTorch's
    DCGAN tutorial (`main.0.weight`, …), matched to the architecture `dcgan` by shape and order, whatever
    stands before the numbers and in whatever dictionary it lies. Channels must double from layer to layer.
    """

    Config = TutorialStateConfig

    def mismatch(self, source: Path) -> str | None:
        """Return a reason unless `source` is a file that begins as those of `torch.save`."""
        if not source.is_file():
            return "is no file"
        with source.open("rb") as file:
            start = file.read(len(BEFORE_ZIP))
        if start.startswith(ZIP) or start == BEFORE_ZIP:
            return None
        if tarfile.is_tarfile(source):
            return "is a tar archive, which cannot be read without running code: load it with torch and save it again"
        return "was not written by torch.save"

    def read(self, source: Path) -> ImportedWeights:
        """Read the weights in the file `source`.

        Raises:
            RequestError: it is damaged, holds more than data, or networks that `dcgan` cannot be.
        """
        stacks = find_stacks(_load(source), source)
        generator, discriminator = _tell_apart(stacks, source)
        spec, generator_config = _generator(generator, source)
        judged, discriminator_config = spec, DCGANDiscriminatorConfig(edge_bias=generator_config.edge_bias)
        if discriminator is not None:
            judged, discriminator_config = _discriminator(discriminator, source)
        if judged != spec:
            raise RequestError(f"{source}: the generator makes images of {spec}, the discriminator takes {judged}")

        info = DatasetInfo(spec)
        matched = Matched()
        state = shapes_of(lambda: DCGANGenerator(generator_config, info=info))
        problems = list(_match("generator", generator, state, matched))
        if discriminator is not None:
            state = shapes_of(lambda: DCGANDiscriminator(discriminator_config, info=info))
            problems += _match("discriminator", discriminator, state, matched)
        if problems:
            raise RequestError("\n".join([f"{source}: is not the tutorials' DCGAN:", *(f"  {p}" for p in problems)]))
        return ImportedWeights(
            tables=_tables(info, generator_config, discriminator_config),
            info=info,
            networks=matched.networks,
            assignments=matched.assignments,
            files=[source],
            notes=_notes(discriminator),
        )


def find_stacks(content: Any, source: Path) -> list[Stack]:
    """Find every sequence of numbered layers in the contents of a file.

    Raises:
        RequestError: there is none, or a state dict with one has keys that belong to none.
    """
    stacks: dict[str, Stack] = {}
    extra = []
    for path, state in _state_dicts(content):
        for key, value in state.items():
            match = KEY.fullmatch(key) if isinstance(key, str) else None
            if match and isinstance(value, Tensor):
                name = f"{path}{match['stack']}." if match["stack"] else path
                layer = stacks.setdefault(name, Stack(name)).numbered.setdefault(int(match["layer"]), {})
                layer[match["leaf"]] = value.detach()
            else:
                extra.append(f"{path}{key}")
    if extra:
        raise RequestError(f"{source}: holds keys that the tutorials' DCGAN does not have: {_listed(extra)}")
    if not stacks:
        raise RequestError(f"{source}: holds no state dict with keys such as main.0.weight")
    return list(stacks.values())


def _state_dicts(content: Any, path: str = "", depth: int = DEPTH) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Yield the dictionaries with a key of a numbered layer, each with its path of keys."""
    if not isinstance(content, Mapping) or not depth:
        return
    if any(isinstance(k, str) and KEY.fullmatch(k) and isinstance(v, Tensor) for k, v in content.items()):
        yield path, content
        return
    for key, value in content.items():
        yield from _state_dicts(value, f"{path}{key}.", depth - 1)


def _load(source: Path) -> Any:
    try:
        return load_tensors(source)
    except CodeError as error:
        raise RequestError(
            f"{source}: {error}; whoever trusts it can save the state dict by itself: "
            f"torch.save(network.state_dict(), …)"
        ) from error
    except ValueError as error:
        raise RequestError(f"{source}: {error}") from error


def _tell_apart(stacks: list[Stack], source: Path) -> tuple[Stack, Stack | None]:
    """Return the generator and the discriminator, told apart by the layer with the channels of an image."""
    generators, discriminators = [], []
    for stack in stacks:
        kernels = stack.kernels()
        if kernels and kernels[0].shape[1] in CHANNELS and kernels[-1].shape[0] == 1:
            discriminators.append(stack)
        elif kernels and kernels[-1].shape[1] in CHANNELS:
            generators.append(stack)
        else:
            raise RequestError(
                f"{source}: {stack.name}* is neither a generator, whose last kernel gives 1 or 3 channels, nor a "
                f"discriminator, whose first takes so many and whose last gives one"
            )
    for kind, found in (("generator", generators), ("discriminator", discriminators)):
        if len(found) > 1:
            names = ", ".join(f"{stack.name}*" for stack in found)
            raise RequestError(f"{source}: holds several networks like a {kind}: {names}: save one by itself")
    if not generators:
        raise RequestError(f"{source}: holds a discriminator, but no generator: save both, or the generator")
    return generators[0], discriminators[0] if discriminators else None


def _generator(stack: Stack, source: Path) -> tuple[ImageSpec, DCGANGeneratorConfig]:
    """Return the images that a generator of such kernels makes, and its options."""
    kernels = stack.kernels()
    widths = [kernel.shape[1] for kernel in kernels[:-1]]
    _check_doubling(widths[::-1], stack, source)
    width, odd = divmod(widths[-1], 2)
    if odd:
        raise RequestError(f"{source}: {stack.name}*: {widths[-1]} channels before the last layer; must be even")
    config = DCGANGeneratorConfig(
        latent_dim=kernels[0].shape[0],
        width=width,
        max_channels=max(widths),
        edge_bias="bias" in stack.convolutions()[-1],
    )
    return _images(kernels, kernels[-1].shape[1], stack, source), config


def _discriminator(stack: Stack, source: Path) -> tuple[ImageSpec, DCGANDiscriminatorConfig]:
    """Return the images that a discriminator of such kernels takes, and its options."""
    kernels = stack.kernels()
    widths = [kernel.shape[0] for kernel in kernels[:-1]]
    _check_doubling(widths, stack, source)
    ends = (stack.convolutions()[0], stack.convolutions()[-1])
    config = DCGANDiscriminatorConfig(
        width=widths[0], max_channels=max(widths), edge_bias=any("bias" in leaves for leaves in ends)
    )
    return _images(kernels, kernels[0].shape[1], stack, source), config


def _images(kernels: list[Tensor], channels: int, stack: Stack, source: Path) -> ImageSpec:
    """Return the size of the images: one layer is between 1×1 and 4×4, each other doubles."""
    size = 4 * 2 ** (len(kernels) - 1)
    if size not in POWERS:
        raise RequestError(f"{source}: {stack.name}*: {len(kernels)} convolutions make {size} pixels, not of {POWERS}")
    return ImageSpec(channels, size, size)


def _check_doubling(widths: list[int], stack: Stack, source: Path) -> None:
    """Check that widths, from the image on, double up to a maximum."""
    expected = [min(widths[0] * 2**power, max(widths)) for power in range(len(widths))] if widths else []
    if not widths or not widths[0] or widths != expected:
        raise RequestError(
            f"{source}: {stack.name}*: has {', '.join(map(str, widths)) or 'no'} channels, from the image on; "
            f"they must double from layer to layer"
        )


def _match(network: str, stack: Stack, state: Mapping[str, Tensor], matched: Matched) -> Iterator[str]:
    """Assign every tensor of `stack` to its key of `state`; yield the problems."""
    places: dict[str, Leaves] = {}
    for key, value in state.items():
        layer, _, leaf = key.rpartition(".")
        places.setdefault(layer, {})[leaf] = value
    layers = stack.layers()
    kinds, wanted = [_kind(leaves) for _, leaves in layers], [_kind(leaves) for leaves in places.values()]
    if kinds != wanted:
        yield f"{stack.name}*: its layers are {', '.join(kinds)}; must be {', '.join(wanted)}"
        return
    for (name, leaves), (place, expected) in zip(layers, places.items(), strict=True):
        yield from (f"{name}.{leaf}: is one too many" for leaf in leaves.keys() - expected.keys())
        for leaf, like in expected.items():
            source, key = f"{name}.{leaf}", f"{place}.{leaf}"
            if leaf in leaves and leaves[leaf].shape != like.shape:
                yield f"{source}: has shape {tuple(leaves[leaf].shape)}, but must have {tuple(like.shape)}"
            elif leaf in leaves:
                matched.put(network, key, leaves[leaf], source=source, shape=like.shape)
            elif leaf == COUNTER:  # torch before 0.4.1 had none
                matched.put(network, key, torch.tensor(0), source="(none)", shape=(), change="set to 0")
            else:
                yield f"{source}: is missing"


def _kind(leaves: Leaves) -> str:
    weight = leaves.get("weight")
    if weight is not None and weight.ndim == 4:
        return "convolution"
    return "batch norm" if "running_mean" in leaves or (weight is not None and weight.ndim == 1) else "other"


def _tables(
    info: DatasetInfo, generator: DCGANGeneratorConfig, discriminator: DCGANDiscriminatorConfig
) -> dict[str, Any]:
    """Return the recipe of PyTorch's DCGAN tutorial, with these networks."""
    return {
        "run": {"name": "dcgan-tutorial", "epochs": 5},
        "plugins": {"requires": ["ganzoo-dcgan", "ganzoo-datasets"]},
        "dataset": {"name": "celeba", "image_size": info.image.height, "channels": info.image.channels},
        "generator": {**generator.model_dump(mode="json"), "name": "dcgan"},
        "discriminator": {**discriminator.model_dump(mode="json"), "name": "dcgan"},
        "loss": {"name": "non_saturating", "discriminator_terms": "sum"},
        "trainer": {"name": "adversarial", "batch_size": 128},
    }


def _notes(discriminator: Stack | None) -> list[str]:
    """Return what a state dict does not say and was assumed."""
    notes = [
        "the file does not say what it was trained on: the recipe names the tutorial's CelebA unless "
        "--set dataset.name=… names another dataset"
    ]
    if discriminator is None:
        notes.append("the file holds no discriminator: the run makes images, but judges none")
    return notes


def _listed(names: list[str], most: int = 8) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
