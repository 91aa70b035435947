"""What the tests share: a recipe that trains in a moment, and the command run in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from ganzoo.cli.main import app
from ganzoo.errors import GanzooError

pytest.importorskip("ganzoo_dcgan")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GANZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tables_in() -> Callable[[Path], dict[str, Any]]:
    """A recipe of made-up images of 16 pixels, with networks of a few thousand weights."""
    return lambda folder: {
        "run": {"name": "tiny", "seed": 7, "steps": 6, "log_every": 2, "root": str(folder / "runs")},
        "device": {"accelerator": "cpu", "precision": "fp32"},
        "dataset": {"name": "synthetic", "image_size": 16, "count": 64},
        "generator": {"name": "dcgan", "width": 4, "latent_dim": 8},
        "discriminator": {"name": "dcgan", "width": 4},
        "loss": {"name": "non_saturating"},
        "trainer": {"name": "adversarial", "batch_size": 8},
        "samples": {"every": 100, "count": 4, "gif": False},
        "checkpoint": {"every": 3},
        "tracking": {"wandb": {"mode": "disabled"}},
    }


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run `ganzoo` with these arguments in this process."""

    def run(*arguments: str | Path) -> Ended:
        capsys.readouterr()
        code: Any = 0
        try:
            app([str(argument) for argument in arguments])
        except GanzooError as error:
            print(f"error: {error}", file=sys.stderr)
            code = error.exit_code
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return run
