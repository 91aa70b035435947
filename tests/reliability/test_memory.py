"""Memory that does not suffice ends the run with what was asked for and which batch size would do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from ganzoo import api
from ganzoo.components.observer import RunView
from ganzoo.errors import TrainingError
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.runtime.memory import error_text, fitting_batch, memory_errors

# As torch 2.10 says it on a GPU.
CUDA = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.79 GiB of which 1.00 GiB is free. "
    "Including non-PyTorch memory, this process has 6.50 GiB memory in use. Of the allocated memory 6.00 GiB is "
    "allocated by PyTorch, and 100.00 MiB is reserved by PyTorch but unallocated."
)
CPU = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 33554432 bytes. Error code 12 (Cannot allocate memory)"
)

# Runs the command with the address space limited once torch is there: to what is in use and so many bytes more.
LIMITED = """
import resource, sys
from ganzoo.cli.main import main
import torch
import ganzoo.training.build, ganzoo.api
from ganzoo.runtime.memory import in_use
from ganzoo.training import loop
more = int(sys.argv[1]) * 2**20

def limit():
    resource.setrlimit(resource.RLIMIT_AS, (in_use(None) + more,) * 2)

train = loop.train
if sys.argv[2] == "build":
    limit()
else:
    def limited(run):
        limit()
        train(run)
    loop.train = limited
sys.argv = ["ganzoo", *sys.argv[3:]]
main()
"""


@pytest.fixture
def limited(recipe_file: Callable[[Any], Any]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`ganzoo run` in a process that may take so many MiB more, from the build or from the first step on."""
    pytest.importorskip("resource")
    if not sys.platform.startswith("linux"):
        pytest.skip("the limit on the address space works on Linux alone")

    def run(mebibytes: int, since: str, tables: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", LIMITED, str(mebibytes), since, "run", str(recipe_file(tables))],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


@pytest.mark.slow
def test_step_that_asks_for_too_much(tables: dict, limited: Callable[..., Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    tables["dataset"] |= {"image_size": 64, "count": 512}
    tables["generator"]["width"] = 16
    tables["trainer"]["batch_size"] = 512
    ended = limited(150, "step", tables)
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "error: out of memory on cpu in step 1" in ended.stderr
    assert "trainer.batch_size is 512; about " in ended.stderr
    size = int(ended.stderr.rpartition("--set trainer.batch_size=")[2])
    assert 1 <= size <= 256
    tables["trainer"]["batch_size"] = max(1, size // 4)  # what fits is estimated
    tables["run"]["steps"] = 1
    tables["samples"]["count"] = 1
    again = limited(150, "step", tables)
    assert again.returncode == 0, again.stderr


@pytest.mark.slow
def test_build_that_asks_for_too_much(tables: dict, limited: Callable[..., Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    tables["dataset"]["image_size"] = 64
    tables["generator"]["width"] = 256
    ended = limited(60, "build", tables)
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "error: out of memory while the run was built: " in ended.stderr
    assert "smaller networks take less" in ended.stderr


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError(CUDA),
        RuntimeError(CPU),
        MemoryError("std::bad_alloc"),
        RuntimeError("could not create a primitive"),
        MemoryError("Unable to allocate 1.00 GiB for an array with shape (1024, 1024, 1024) and data type uint8"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB). Tried to allocate 1.20 GB on private pool."),
    ],
    ids=["cuda", "cpu", "bad_alloc", "onednn", "numpy", "mps"],
)
def test_every_way_of_saying_it_ends_the_run_at_once(tables: dict, error: Exception):
    steps: list[int] = []

    class Exhausting:
        @hookimpl
        def run_started(self, run: RunView) -> None:
            def fail(*_: object) -> None:
                steps.append(run.step)
                raise error

            run.networks["generator"].register_forward_pre_hook(fail)

    manager = PluginManager()
    manager.pluggy.register(Exhausting())
    with pytest.raises(TrainingError, match=r"^out of memory on cpu in step 1.*trainer\.batch_size is 8") as caught:
        api.run(tables, manager=manager)
    assert caught.value.exit_code == 1
    assert steps == [0]  # a second attempt with other figures would be another run


def test_advice_for_a_gpu(monkeypatch: pytest.MonkeyPatch):
    """Weights take 1 GiB; the batch had taken 5 and wanted 2 more where 1 is left: six sevenths of it would do."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**30, 8 * 2**30))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 6 * 2**30)
    told = error_text(CUDA, torch.device("cuda"), 64, "in step 3", 2**30)
    assert told == (
        "out of memory on cuda in step 3: 2.0 GiB more were asked for, 1.0 GiB are free. "
        "trainer.batch_size is 64; about 32 would fit: --set trainer.batch_size=32"
    )


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ((64, None, None, 0), 32),
        ((64, 100, 200, 0), 32),
        ((64, 100, 30, 0), 16),
        ((64, 100, 0, 0), 1),
        ((65, 100, 99, 10_000), 64),
        ((48, 100, 90, 0), 32),
        ((2, 100, 90, 0), 1),
    ],
)
def test_batch_that_fits_is_a_smaller_power_of_two(figures: Any, expected: int):
    assert fitting_batch(*figures) == expected


def test_batch_of_one_cannot_shrink():
    told = error_text(CPU, torch.device("cpu"), 1, "in step 1", 0)
    assert "trainer.batch_size is 1 already: a smaller dataset.image_size or smaller networks take less" in told


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="mat1 and mat2"), memory_errors():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
