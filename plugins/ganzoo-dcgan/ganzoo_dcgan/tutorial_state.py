"""Reads the state dict of the tutorials' DCGAN in PyTorch, wherever in a checkpoint it lies."""

from __future__ import annotations

import pickle
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganzoo.components.importer import ImportedWeights, Importer
from ganzoo.errors import RequestError
from ganzoo.images import Facts, ImageSpec
from ganzoo_dcgan.configs import POWERS, DCGANDiscriminatorConfig, DCGANGeneratorConfig
from ganzoo_dcgan.dcgan import DCGANDiscriminator, DCGANGenerator
from ganzoo_dcgan.importers import TutorialStateConfig
from ganzoo_dcgan.matching import Matched, state_of

ZIP = b"PK\x03\x04"
BEFORE_ZIP = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""How `torch.save` began a file before torch 1.6: a pickle of its magic number."""
DEPTH = 4
KEY = re.compile(r"(?P<stack>.*?)\.?(?P<layer>\d+)\.(?P<leaf>[a-z_]+)")
COUNTER = "num_batches_tracked"


@dataclass
class Stack:
    """The numbered layers of one `nn.Sequential`: by number, then by the name of each tensor."""

    name: str
    layers: dict[int, dict[str, Tensor]] = field(default_factory=dict)

    @property
    def kernels(self) -> list[Tensor]:
        """The kernels of the convolutions, in order."""
        weights = [self.layers[number].get("weight") for number in sorted(self.layers)]
        return [weight for weight in weights if weight is not None and weight.ndim == 4]

    def source(self, layer: int, leaf: str) -> str:
        """The key in the file, dictionaries and keys joined by dots."""
        return ".".join(filter(None, (self.name, str(layer), leaf)))
