"""Record of the software of a run: versions, platform, git commit and plugins, to repeat it by."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch


def describe_software(plugin_versions: Mapping[str, str]) -> dict[str, Any]:
    """Return the versions of the software that a run or an import uses."""
    return {
        "ganzoo": version("ganzoo-core"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "platform": platform.platform(),
        "plugins": dict(plugin_versions),
        "git_commit": _git_commit(),
    }


def _git_commit() -> str | None:
    """Return the commit of the working directory, with "+" if files differ from it; None outside a repository."""
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
