"""ganzoo, a configurable GAN zoo for PyTorch.

    import ganzoo

    trained = ganzoo.run("recipes/dcgan_digits.toml")
    images = trained.sample(64)

Importing this package does not import torch; the first call does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ganzoo.runtime.cpu_threads import set_defaults

if TYPE_CHECKING:
    __version__: str
    from ganzoo.api import evaluate, evaluate_images, import_run, load_export, load_run, resume, run
    from ganzoo.comparison.comparison import compare
    from ganzoo.comparison.page import write_page
    from ganzoo.sampling.trained_run import TrainedRun
    from ganzoo.sweeps.run_sweep import sweep

__all__ = [
    "TrainedRun",
    "__version__",
    "compare",
    "evaluate",
    "evaluate_images",
    "import_run",
    "load_export",
    "load_run",
    "resume",
    "run",
    "sweep",
    "write_page",
]

set_defaults()  # before torch is imported, which reads them


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("ganzoo-core")
    if name in __all__:
        modules = {
            "compare": "ganzoo.comparison.comparison",
            "sweep": "ganzoo.sweeps.run_sweep",
            "write_page": "ganzoo.comparison.page",
        }
        return getattr(import_module(modules.get(name, "ganzoo.api")), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
