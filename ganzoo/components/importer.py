"""Base class of importers, which read weights trained elsewhere without running code from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from ganzoo.components.options import ImporterConfig
from ganzoo.components.spec import DatasetInfo


@dataclass(frozen=True)
class Assignment:
    """Mapping of one tensor of the source to one of a network.

    `source` and its `shape` are those of the file; `target` is "network.key"; `change` names the conversion,
    such as a transposition, and is empty where the values are unchanged.
    """

    source: str
    shape: tuple[int, ...]
    target: str
    change: str = ""


@dataclass(frozen=True)
class ImportedWeights:
    """Weights read by an importer, with what else a run directory needs.

    `tables` is a recipe with the networks of these weights and, as far as known, the training that made them.
    `networks` has the complete state of `generator`, and of `discriminator` where the source holds one.
    `files` are those read; `notes` tell the user what was assumed where the source does not say.
    """

    tables: Mapping[str, Any]
    info: DatasetInfo
    networks: Mapping[str, Mapping[str, Tensor]]
    assignments: Sequence[Assignment]
    files: Sequence[Path]
    notes: Sequence[str] = ()


class Importer(ABC):
    """Reads one format of foreign weights.

    It reads tensors and shapes from files and nothing else: `torch.load(weights_only=True)`,
    `numpy.load(allow_pickle=False)`, safetensors; never `pickle.load`, and no fallback to it.
    """

    Config: ClassVar[type[ImporterConfig]] = ImporterConfig

    def __init__(self, config: ImporterConfig) -> None:
        self.config = config

    @abstractmethod
    def mismatch(self, source: Path) -> str | None:
        """Return why `source`, which exists, is not of this importer's format, as a short clause; None if it is.

        It checks names and first bytes only, so that a damaged file of the right format reaches `read`,
        which says what is wrong with it.
        """

    @abstractmethod
    def read(self, source: Path) -> ImportedWeights:
        """Read the weights in `source`.

        Raises:
            RequestError: a tensor is missing, one too many, or of the wrong shape; a file cannot be read.
        """
