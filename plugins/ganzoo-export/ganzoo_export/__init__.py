"""Export of trained networks into folders to share: safetensors, ONNX, or in the Hugging Face Hub's layout.

from ganzoo_export import export_run

export_run(ganzoo.load_run("runs/dcgan-digits/0001"), "digits")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganzoo_export.export import export_run

__all__ = ["export_run"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ganzoo_export import export  # imports torch, for which `ganzoo --help` would wait

    return getattr(export, name)
