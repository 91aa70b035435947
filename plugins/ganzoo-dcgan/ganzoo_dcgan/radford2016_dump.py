"""Reads the weights that the DCGAN authors published: numbered NumPy files of their Theano parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganzoo.plugin import DatasetInfo, ImageSpec, ImportedWeights, Importer, RequestError
from ganzoo_dcgan.configs import POWERS, Radford2016DiscriminatorConfig, Radford2016GeneratorConfig
from ganzoo_dcgan.importers import Radford2016DumpConfig
from ganzoo_dcgan.radford2016 import START, Radford2016Discriminator, Radford2016Generator
from ganzoo_dcgan.weight_mapping import Matched, shapes_of

KERNEL = (5, 5)
UNITS = START * START
FILE = re.compile(r"(?P<prefix>.*)(?P<network>gen|discrim)_params\.jl_(?P<number>\d{2})\.npy")
NETWORKS = {"gen": "generator", "discrim": "discriminator"}

Array = NDArray[Any]
Shape = tuple[int, ...]


class Radford2016DumpImporter(Importer):
    """Reads a folder of the authors' joblib dump by its numbered `.npy` files; the pickles beside them stay shut.

    The files are in the order of the training script (github.com/Newmu/dcgan_code). `to_torch` says what is
    done to them.
    """

    Config = Radford2016DumpConfig

    def mismatch(self, source: Path) -> str | None:
        """Needs a folder with at least one of the generator's files."""
        if not source.is_dir():
            return "is no folder"
        if not any(match["network"] == "gen" for match in _matches(source)):
            return "has no files named like gen_params.jl_01.npy"
        return None

    def read(self, source: Path) -> ImportedWeights:
        """The weights in the folder `source`.

        Raises:
            RequestError: a file is missing, damaged, or of a shape or type that the networks do not have.
        """
        files, doublings = _find(source)
        arrays = {name: [_read(path) for path in paths] for name, paths in files.items()}
        size = START * 2**doublings
        if size not in POWERS:
            raise RequestError(f"{source}: its files make images of {size} pixels; known are {POWERS}")
        latent_dim, width, channels = _generator_sizes(files["generator"], arrays["generator"], doublings)
        _check_shapes(files["generator"], arrays["generator"], generator_shapes(latent_dim, width, channels, doublings))
        judged_width = width
        if "discriminator" in files:
            judged_width = int(arrays["discriminator"][0].shape[0])
            expected = discriminator_shapes(judged_width, channels, doublings)
            _check_shapes(files["discriminator"], arrays["discriminator"], expected)

        info = DatasetInfo(ImageSpec(channels, size, size))
        generator = Radford2016GeneratorConfig(
            latent_dim=latent_dim, width=width, latents="normal" if size == 32 else "uniform"
        )
        discriminator = Radford2016DiscriminatorConfig(width=judged_width)
        keys = {
            "generator": shapes_of(lambda: Radford2016Generator(generator, info=info)),
            "discriminator": shapes_of(lambda: Radford2016Discriminator(discriminator, info=info)),
        }
        matched = Matched()
        for name, paths in files.items():
            for key, path, array in zip(keys[name], paths, arrays[name], strict=True):
                tensor, change = to_torch(array)
                matched.put(name, key, tensor, source=path.name, shape=array.shape, change=change)
        tables = _tables(info, generator, discriminator)
        return ImportedWeights(
            tables=tables,
            info=info,
            networks=matched.networks,
            assignments=matched.assignments,
            files=[path for paths in files.values() for path in paths],
            notes=_notes(tables, list(files)),
        )


def to_torch(array: Array) -> tuple[Tensor, str]:
    """One of the authors' parameters as PyTorch has it, and what was done to it.

    A kernel (N, M, 5, 5) is flipped in both directions: Theano's convolution flips its kernels, PyTorch's
    does not. A transposed convolution is the gradient of such a convolution in both, so its kernel has the
    layout (in, out, 5, 5) in both, and is flipped likewise. A dense weight (in, out) is transposed: Theano computes
    `dot(x, w)`, PyTorch `dot(x, w.T)`. Gains and biases (N,) stay as they are.
    """
    changed, change = array, ""
    if array.ndim == 4:
        changed, change = array[:, :, ::-1, ::-1], "flipped"
    elif array.ndim == 2:
        changed, change = array.T, "transposed"
    return torch.from_numpy(np.array(changed, order="C")), change


def generator_shapes(latent_dim: int, width: int, channels: int, doublings: int) -> list[Shape]:
    """Dense weight with gain and bias of each unit; then kernels, with gain and bias but for the last."""
    widths = [width * 2**power for power in range(doublings - 1, -1, -1)]
    units = widths[0] * UNITS
    shapes: list[Shape] = [(latent_dim, units), (units,), (units,)]
    for before, after in pairwise(widths):
        shapes += [(before, after, *KERNEL), (after,), (after,)]
    return [*shapes, (widths[-1], channels, *KERNEL)]


def discriminator_shapes(width: int, channels: int, doublings: int) -> list[Shape]:
    """Kernels, with gain and bias but for the first; then the dense weight."""
    widths = [width * 2**power for power in range(doublings)]
    shapes: list[Shape] = [(widths[0], channels, *KERNEL)]
    for before, after in pairwise(widths):
        shapes += [(after, before, *KERNEL), (after,), (after,)]
    return [*shapes, (widths[-1] * UNITS, 1)]


def _matches(source: Path) -> list[re.Match[str]]:
    return [match for path in sorted(source.iterdir()) if (match := FILE.fullmatch(path.name))]


def _find(source: Path) -> tuple[dict[str, list[Path]], int]:
    """The files of each network, and how often 4×4 is doubled by a generator of so many files."""
    matches = _matches(source)
    prefixes = sorted({match["prefix"] for match in matches})
    if len(prefixes) > 1:
        names = ", ".join(f"{prefix}…" for prefix in prefixes)
        raise RequestError(f"{source}: holds several dumps ({names}): put the files of one into a folder of their own")
    last = {name: max((int(m["number"]) for m in matches if m["network"] == name), default=0) for name in NETWORKS}
    # 3n + 1 parameters in a generator of n doublings, 3n − 1 in its discriminator: see `generator_shapes`.
    doublings = max((last["gen"] + 1) // 3, (last["discrim"] + 3) // 3)
    counts = {"gen": 3 * doublings + 1, "discrim": 3 * doublings - 1 if last["discrim"] else 0}
    files = {
        NETWORKS[name]: [source / f"{prefixes[0]}{name}_params.jl_{n:02d}.npy" for n in range(1, count + 1)]
        for name, count in counts.items()
        if count
    }
    missing = [path.name for paths in files.values() for path in paths if not path.is_file()]
    if missing:
        raise RequestError(f"{source}: incomplete, a dump of this size also has {', '.join(missing)}")
    return files, doublings


def _read(path: Path) -> Array:
    """One array, mapped so that a header which promises more than the file holds is an error, not memory."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:
        raise RequestError(f"{path}: is damaged or no plain NumPy array: {error}") from error
    if not isinstance(array, np.ndarray):
        raise RequestError(f"{path}: is an archive, but must be one NumPy array")
    if array.dtype != np.float32:
        raise RequestError(f"{path}: is of type {array.dtype}, but must be float32")
    if array.ndim not in (1, 2, 4):
        raise RequestError(f"{path}: has shape {array.shape}; the dump has kernels, matrices and vectors only")
    return array


def _generator_sizes(files: Sequence[Path], arrays: Sequence[Array], doublings: int) -> tuple[int, int, int]:
    """Numbers in a latent, channels before the last layer, and channels of the images."""
    dense, last = arrays[0], arrays[-1]
    if dense.ndim != 2:
        raise RequestError(f"{files[0]}: has shape {dense.shape}, but must be a dense layer (latents, units)")
    if last.ndim != 4 or last.shape[1] not in (1, 3):
        raise RequestError(f"{files[-1]}: has shape {last.shape}, but must be a kernel (channels, 1 or 3, 5, 5)")
    width, rest = divmod(dense.shape[1], UNITS * 2 ** (doublings - 1))
    if rest or not width:
        raise RequestError(
            f"{files[0]}: has {dense.shape[1]} units; {doublings} doublings from 4×4 to the image need "
            f"a multiple of {UNITS * 2 ** (doublings - 1)}"
        )
    return dense.shape[0], width, last.shape[1]


def _check_shapes(files: Sequence[Path], arrays: Sequence[Array], expected: Sequence[Shape]) -> None:
    for path, array, shape in zip(files, arrays, expected, strict=True):
        if array.shape != shape:
            raise RequestError(f"{path}: has shape {array.shape}, but must have {shape} to go with the others")


def _tables(
    info: DatasetInfo, generator: Radford2016GeneratorConfig, discriminator: Radford2016DiscriminatorConfig
) -> dict[str, Any]:
    """The authors' recipe: that of SVHN at 32 pixels, that of faces and bedrooms at others."""
    svhn = info.image.height == 32
    optimizer = {"name": "adam", "lr": 5e-4 if svhn else 2e-4, "betas": [0.5, 0.999], "weight_decay": 1e-5}
    return {
        "run": {"name": "dcgan-authors", "epochs": 200 if svhn else 25},
        "plugins": {"requires": ["ganzoo-dcgan"]},
        "dataset": {
            "name": "svhn" if svhn else "image_folder",
            "image_size": info.image.height,
            "channels": info.image.channels,
        },
        "generator": {**generator.model_dump(mode="json"), "name": "dcgan_authors"},
        "discriminator": {**discriminator.model_dump(mode="json"), "name": "dcgan_authors"},
        "loss": {"name": "non_saturating", "discriminator_terms": "sum"},
        "trainer": {
            "name": "adversarial",
            "batch_size": 64 if svhn else 128,
            "schedule": "alternate_minibatches",
            "generator_optimizer": optimizer,
            "discriminator_optimizer": optimizer,
        },
    }


def _notes(tables: Mapping[str, Any], networks: Sequence[str]) -> list[str]:
    """What a dump does not say."""
    dataset, latents = tables["dataset"]["name"], tables["generator"]["latents"]
    notes = [
        f'the dump does not say what it was trained on: the recipe names the dataset "{dataset}" and {latents} latents '
        "unless --set dataset.name=… and --set generator.latents=… name others"
    ]
    if "discriminator" not in networks:
        notes.append("the dump holds no discriminator: the run makes images, but judges none")
    return notes
