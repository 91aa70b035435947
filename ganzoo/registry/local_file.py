"""Import a plugin file, which no distribution installs."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class LocalFile:
    """A plugin file, which no distribution installs; `source` is its content when it was imported."""

    path: Path
    source: bytes

    @property
    def name(self) -> str:
        """The name of the file, which is also the plugin's."""
        return self.path.name


def _import_source(name: str, path: Path, source: bytes) -> Any:
    """Import a module from exactly these bytes, so that the copy kept with a run is what it ran."""
    spec = importlib.util.spec_from_loader(name, loader=None, origin=str(path))
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(path)
    sys.modules[name] = module  # pydantic and dataclasses resolve annotations there
    try:
        exec(compile(source, str(path), "exec"), vars(module))  # noqa: S102
    except BaseException:
        del sys.modules[name]
        raise
    return module
