"""Reads the weights that StyleGAN2-ADA's authors and their followers published, without running code from them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from ganzoo_dcgan.weight_mapping import Matched
from ganzoo_networks.resample import TAPS
from torch import Tensor

from ganzoo.plugin import DatasetInfo, ImageSpec, ImportedWeights, Importer, LabelSpec, RequestError
from ganzoo_stylegan.configs import SIZES, StyleGAN2DiscriminatorConfig, StyleGAN2GeneratorConfig, StyleGAN2PickleConfig
from ganzoo_stylegan.pickle_reader import Module, read_pickle

LOOKED_AT = 1 << 20
"""Bytes at a file's beginning in which its first object is looked for."""
DEPTH = 8
"""Depth to which networks are searched for layers."""
FILTER = "resample_filter"
EMBEDDING = "mapping.embed.weight"

State = dict[str, Tensor]


class StyleGAN2PickleImporter(Importer):
    """Takes `G_ema`, the averaged generator, and `D` from a pickle of their PyTorch code.

    Sizes follow from the tensors' shapes; names are mapped, and values stay as they are.
    """

    Config = StyleGAN2PickleConfig

    def mismatch(self, source: Path) -> str | None:
        """Return a reason unless `source` is a pickle with an object of their classes."""
        if not source.is_file():
            return "is no file"
        with source.open("rb") as file:
            start = file.read(LOOKED_AT)
        if not start.startswith(b"\x80"):
            return "is no pickle"
        if b"dnnlib.tflib" in start:
            return "is of the TensorFlow code: convert it with legacy.py of the authors' PyTorch code first"
        return None if b"torch_utils.persistence" in start else "is no pickle of StyleGAN2-ADA's PyTorch code"

    def read(self, source: Path) -> ImportedWeights:
        """Read the weights in the file `source`.

        Raises:
            RequestError: it is damaged, names code, or holds networks that `stylegan2` cannot be.
        """
        try:
            return _weights(read_pickle(source.read_bytes()), source)
        except ValueError as error:
            raise RequestError(f"{source}: {error}") from error


def _weights(content: Any, source: Path) -> ImportedWeights:
    found = content if isinstance(content, Mapping) else {"G_ema": content}
    of_generator = "G_ema" if isinstance(found.get("G_ema"), Module) else "G"
    if not isinstance(found.get(of_generator), Module):
        raise ValueError(f"holds no generator: neither G_ema nor G is among {', '.join(map(str, found))[:200]}")
    theirs = state_of(found[of_generator], source.stat().st_size)
    generator, info = generator_config(theirs)
    matched = Matched()
    _match("generator", of_generator, theirs, generator_key, matched)
    discriminator = StyleGAN2DiscriminatorConfig(name="stylegan2", conditional=generator.conditional)
    notes = [
        "the file does not say what it was trained on: the recipe names an image folder unless --set dataset.name=… "
        "names another dataset",
        f"the generator is {of_generator}{', the average of their weights' if of_generator == 'G_ema' else ''}",
    ]
    if isinstance(found.get("D"), Module):
        theirs = state_of(found["D"], source.stat().st_size)
        discriminator = discriminator_config(theirs, info, found["D"])
        size = info.image.height
        _match("discriminator", "D", theirs, lambda key: discriminator_key(key, size), matched)
    else:
        notes.append("the file holds no discriminator: the run makes images, but judges none")
    return ImportedWeights(
        tables=_tables(info, generator, discriminator),
        info=info,
        networks=matched.networks,
        assignments=matched.assignments,
        files=[source],
        notes=notes,
    )


def state_of(module: Module, most: int) -> State:
    """Return the parameters and buffers of a network by their dotted names.

    Raises:
        ValueError: they take more than `most` bytes; or a layer is in it twice, or too deep.
    """
    found = dict(_tensors_of(module))
    if sum(tensor.numel() * tensor.element_size() for tensor in found.values()) > most:
        raise ValueError("has tensors that share their memory: they would take more than the file")
    return found


def _tensors_of(module: Module, path: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Tensor]]:
    seen = set() if seen is None else seen
    if id(module) in seen or path.count(".") > DEPTH:
        raise ValueError(f"has a layer, {path[:99]}, that is within itself, twice there, or too deep")
    seen.add(id(module))
    for kind in ("_parameters", "_buffers"):
        for name, value in dict(module.state.get(kind) or {}).items():
            if isinstance(value, Tensor):
                yield f"{path}{name}", value
    for name, child in dict(module.state.get("_modules") or {}).items():
        if isinstance(child, Module):
            yield from _tensors_of(child, f"{path}{name}.", seen)


def generator_key(key: str) -> str | None:
    """Return the name that a tensor of the authors' generator has here; None for the filter, which is a constant."""
    if match := re.fullmatch(r"mapping\.fc(\d)\.(weight|bias)", key):
        return f"mapping.layers.{match[1]}.{match[2]}"
    if match := re.fullmatch(r"synthesis\.b(\d+)\.(conv0|conv1|torgb)\.(\w+(?:\.\w+)?)", key):
        number = int(match[1]).bit_length() - 3
        leaf = {"noise_const": "noise"}.get(match[3], match[3])
        if match[2] == "torgb":
            return None if leaf == FILTER else f"to_image.{number}.{leaf}"
        return None if leaf == FILTER else f"layers.{2 * number - (match[2] == 'conv0')}.{leaf}"
    if re.fullmatch(r"synthesis\.b\d+\.resample_filter", key):
        return None
    return {"mapping.w_avg": "mean_style", "synthesis.b4.const": "constant"}.get(key, key)


def discriminator_key(key: str, size: int) -> str | None:
    """Return the name that a tensor of the authors' discriminator has here; None for the filter."""
    if key.endswith(FILTER):
        return None
    if match := re.fullmatch(r"mapping\.fc(\d)\.(weight|bias)", key):
        return f"mapping.layers.{match[1]}.{match[2]}"
    if match := re.fullmatch(r"b4\.(conv|fc|out)\.(weight|bias)", key):
        names = {"conv": "conv", "fc": "dense", "out": "logit"}
        return f"{names[match[1]]}.{match[2]}"
    if match := re.fullmatch(r"b(\d+)\.(fromrgb|conv0|conv1|skip)\.(weight|bias)", key):
        if match[2] == "fromrgb":
            return f"from_image.{match[3]}"
        return f"blocks.{size.bit_length() - int(match[1]).bit_length()}.{match[2]}.{match[3]}"
    return key


def generator_config(theirs: State) -> tuple[StyleGAN2GeneratorConfig, DatasetInfo]:
    """Return the options of a generator of such tensors, and what it makes.

    Raises:
        ValueError: it is no generator of StyleGAN2, or one with another architecture.
    """
    resolutions = _resolutions(theirs, r"synthesis\.b(\d+)\.conv1\.weight")
    layers = {int(match[1]) for key in theirs if (match := re.fullmatch(r"mapping\.fc(\d)\.weight", key))}
    _need(theirs, "mapping.fc0.weight", *(f"synthesis.b{each}.torgb.weight" for each in resolutions))
    size, last = resolutions[-1], f"synthesis.b{resolutions[-1]}"
    channels = {each: theirs[f"synthesis.b{each}.conv1.weight"].shape[0] for each in resolutions}
    labels = 0
    if EMBEDDING in theirs:
        _need(theirs, EMBEDDING)
        labels = theirs[EMBEDDING].shape[1]
    width = theirs["mapping.fc0.weight"].shape[0]
    base, most = _channels(channels)
    config = StyleGAN2GeneratorConfig(
        name="stylegan2",
        latent_dim=theirs["mapping.fc0.weight"].shape[1] - (width if labels else 0),
        conditional=bool(labels),
        style_dim=width,
        mapping_layers=len(layers),
        channel_base=base,
        max_channels=most,
    )
    image = ImageSpec(theirs[f"{last}.torgb.weight"].shape[0], size, size)
    return config, DatasetInfo(image, LabelSpec.classes(map(str, range(labels))))


def discriminator_config(theirs: State, info: DatasetInfo, module: Module) -> StyleGAN2DiscriminatorConfig:
    """Return the options of a discriminator of such tensors.

    Raises:
        ValueError: it is no discriminator of StyleGAN2, or one for other images.
    """
    resolutions = _resolutions(theirs, r"b(\d+)\.conv1\.weight")
    size = resolutions[-1]
    _need(theirs, f"b{size}.fromrgb.weight", "b4.conv.weight", "b4.fc.weight", "b4.out.weight")
    if size != info.image.height:
        raise ValueError(f"has a generator of {info.image.height} pixels and a discriminator of {size}")
    channels = {each: theirs[f"b{each}.conv0.weight"].shape[0] for each in resolutions}
    channels[4] = theirs["b4.conv.weight"].shape[0]
    base, most = _channels(dict(sorted(channels.items())))
    layers = [key for key in theirs if re.fullmatch(r"mapping\.fc\d\.weight", key)]
    group = theirs["b4.conv.weight"].shape[1] - channels[4]
    return StyleGAN2DiscriminatorConfig(
        name="stylegan2",
        conditional=EMBEDDING in theirs,
        skips=f"b{size}.skip.weight" in theirs,
        channel_base=base,
        max_channels=most,
        minibatch_stddev=_group(module) if group else 0,
        label_layers=len(layers) or 8,
    )


def _group(module: Module) -> int:
    """Return the group of the minibatch's deviation, which no tensor shows."""
    for name in ("b4", "mbstd"):
        child = dict(module.state.get("_modules") or {}).get(name)
        if not isinstance(child, Module):
            return 4
        module = child
    group = module.state.get("group_size")
    return group if isinstance(group, int) and 0 < group <= 1024 else 4


def _resolutions(theirs: State, pattern: str) -> list[int]:
    found = sorted(int(match[1]) for key in theirs if (match := re.fullmatch(pattern, key)))
    whole = [2**power for power in range(3 if found[:1] == [8] else 2, found[-1].bit_length())] if found else []
    if not found or found != whole or found[-1] not in SIZES:
        raise ValueError(f"is no network of StyleGAN2: it has convolutions at {found or 'no'} pixels")
    return found


def _need(theirs: State, *keys: str) -> None:
    for key in keys:
        if key not in theirs or theirs[key].ndim < 2:
            raise ValueError(f"is no network of StyleGAN2 as here, with skips to the image: it has no {key}")


def _channels(channels: Mapping[int, int]) -> tuple[int, int]:
    """Return `channel_base` and `max_channels` that give these channels by resolution."""
    most = max(channels.values())
    narrow = [width * each for each, width in channels.items() if width < most]
    base = narrow[-1] if narrow else most * max(channels)
    if any(min(base // each, most) != width for each, width in channels.items()):
        listed = ", ".join(map(str, channels.values()))
        raise ValueError(f"has {listed} channels, which do not halve as the size doubles")
    return base, most


def _match(network: str, named: str, theirs: State, key_of: Any, matched: Matched) -> None:
    taps = torch.tensor(TAPS)
    expected = torch.outer(taps, taps) / taps.sum() ** 2
    for key, tensor in theirs.items():
        ours = key_of(key)
        if ours is not None:
            value = tensor.float().clone(memory_format=torch.contiguous_format)
            change = "" if tensor.dtype == torch.float32 else f"from {tensor.dtype}"
            matched.put(network, ours, value, source=f"{named}.{key}", shape=tensor.shape, change=change)
        elif tensor.shape != expected.shape or not torch.allclose(tensor.float(), expected):
            raise ValueError(f"has another filter, {named}.{key}, than [1, 3, 3, 1]")


def _tables(
    info: DatasetInfo, generator: StyleGAN2GeneratorConfig, discriminator: StyleGAN2DiscriminatorConfig
) -> dict[str, Any]:
    """Return the authors' recipe "auto" with these networks."""
    size = info.image.height
    optimizer = {"name": "adam", "lr": 2e-3 if size >= 1024 else 2.5e-3, "betas": [0.0, 0.99], "eps": 1e-8}
    dataset: dict[str, Any] = {"name": "image_folder", "image_size": size, "channels": info.image.channels}
    if generator.conditional:
        dataset["labels"] = "dataset.json"  # as their dataset_tool.py writes it
    return {
        "run": {"name": "stylegan2-authors", "steps": 781_250},
        "plugins": {"requires": ["ganzoo-stylegan"]},
        "dataset": dataset,
        "generator": generator.model_dump(mode="json", exclude_none=True),
        "discriminator": discriminator.model_dump(mode="json", exclude_none=True),
        "loss": {"name": "non_saturating", "discriminator_terms": "sum"},
        "penalties": [
            {"name": "r1", "weight": 0.0002 * size**2 / 32, "interval": 16, "own_update": True},
            {"name": "path_length"},
            {"name": "ada"},
        ],
        "trainer": {
            "name": "adversarial",
            "batch_size": 32,
            "fake_batch": "fresh",
            "ema_half_life": 10_000,
            "ema_ramp": 0.05,
            "ema_buffers": "copy",
            "generator_optimizer": optimizer,
            "discriminator_optimizer": optimizer,
        },
    }
