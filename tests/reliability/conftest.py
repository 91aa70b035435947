"""Makes the modules that these tests share importable; test modules are imported one by one, without a package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def load(path: Path) -> None:
    """Import a file under its name."""
    if path.stem not in sys.modules:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[path.stem] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[path.stem])


HERE = Path(__file__).parent
SHARED = (HERE / "same.py", HERE.parent / "engine/torchrun.py")
for shared in (*SHARED, *(HERE.parent / "observers" / f"wandb_{name}.py" for name in ("reader", "server"))):
    load(shared)
