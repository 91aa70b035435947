"""The contract of an importer: it reads weights that were trained elsewhere, without running code from them."""

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
    """Where one tensor went.

    `source` and its `shape` are as found; `target` is "network.key"; `change` says what was done to the
    values on the way, such as a transposition, and is empty where they are as found.
    """

    source: str
    shape: tuple[int, ...]
    target: str
    change: str = ""


@dataclass(frozen=True)
class ImportedWeights:
    """Weights as an importer read them, with all that a run directory needs beside them.

    `tables` is a recipe whose networks have these weights and, as far as it is known, that trained them.
    `networks` has the complete state of `generator`, and of `discriminator` where the source holds one.
    `files` are those that were read; `notes` tell a user what the source does not say and was assumed.
    """

    tables: Mapping[str, Any]
    info: DatasetInfo
    networks: Mapping[str, Mapping[str, Tensor]]
    assignments: Sequence[Assignment]
    files: Sequence[Path]
    notes: Sequence[str] = ()


class Importer(ABC):
    """Reads one form of foreign weights.

    It takes tensors and shapes from files and nothing else: `torch.load(weights_only=True)`,
    `numpy.load(allow_pickle=False)`, safetensors; never a pickle, and no fallback to one.
    """

    Config: ClassVar[type[ImporterConfig]] = ImporterConfig

    def __init__(self, config: ImporterConfig) -> None:
        self.config = config

    @abstractmethod
    def mismatch(self, source: Path) -> str | None:
        """Why `source`, which exists, is not of this importer's form, as a short clause; None where it is.

        Looks at names and first bytes alone, so that a damaged file of the right form gets as far as `read`,
        which says what is wrong with it.
        """

    @abstractmethod
    def read(self, source: Path) -> ImportedWeights:
        """The weights in `source`.

        Raises:
            RequestError: a tensor is missing, one too many, or of the wrong shape; a file cannot be read.
        """
