"""A plugin of one file that no distribution installs."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class LocalFile:
    """A plugin of one file that no distribution installs; `source` is what was imported."""

    path: Path
    source: bytes

    @property
    def name(self) -> str:
        """The file's name, which is the plugin's."""
        return self.path.name


def _import_source(name: str, path: Path, source: bytes) -> Any:
    """A module of exactly these bytes, so that what is kept with a run is what it ran."""
    spec = importlib.util.spec_from_loader(name, loader=None, origin=str(path))
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(path)
    sys.modules[name] = module  # pydantic and dataclasses look up what annotations mean there
    try:
        exec(compile(source, str(path), "exec"), vars(module))  # noqa: S102
    except BaseException:
        del sys.modules[name]
        raise
    return module
