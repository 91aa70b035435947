"""CPU threads: the variables that are set, the quota that is heeded, and spinning that adapts to other work."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from ganzoo.runtime import cpu_threads
from ganzoo.runtime.cpu_threads import SPINS, SpinWatcher, adaptive_spinning, available_cores

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells of waiting threads on Linux alone")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"GOMP_SPINCOUNT": SPINS}),
        ({"GOMP_SPINCOUNT": "5"}, {"GOMP_SPINCOUNT": "5"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE"}),
        ({"OMP_NUM_THREADS": "3"}, {"OMP_NUM_THREADS": "3", "GOMP_SPINCOUNT": SPINS}),
    ],
)
def test_the_variables_are_set_before_torch_is_imported(given: dict[str, str], expected: dict[str, str]):
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")
    code = f"""
import json, os, sys
import ganzoo
assert "torch" not in sys.modules
print(json.dumps({{name: os.environ[name] for name in {names} if name in os.environ}}))
"""
    environment = {name: value for name, value in os.environ.items() if name not in names} | given
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    found = json.loads(printed.stdout)
    if available_cores() < len(os.sched_getaffinity(0)):
        expected = {"OMP_NUM_THREADS": str(available_cores())} | expected
    assert found == expected


def test_a_quota_counts_as_fewer_cores(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    monkeypatch.setattr(cpu_threads, "_quotas", lambda root: iter([2.5]))
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    cpu_threads.set_defaults()
    assert os.environ["OMP_NUM_THREADS"] == "3"
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    cpu_threads.set_defaults()
    assert os.environ["OMP_NUM_THREADS"] == "8"


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "150000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, 16),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "400000 100000\n"}, 4),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        (
            {
                "proc/self/cgroup": "3:memory:/x\n2:cpu,cpuacct:/docker/c0ffee\n0::/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            16,
        ),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "a lot\n"}, 16),
        ({"proc/self/cgroup": "nonsense\n"}, 16),
        ({}, 16),
    ],
)
def test_the_quota_of_a_container(files: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    quotas = cpu_threads._quotas
    monkeypatch.setattr(cpu_threads, "_quotas", lambda root: quotas(tmp_path))
    assert available_cores() == cores


@LINUX
def test_a_thread_without_a_core_is_seen_to_wait():
    """Two processes on one core: each waits about half of the time, longer beside other work, and never all of it."""
    code = """
import os, subprocess, sys, time
from ganzoo.runtime.cpu_threads import waiting_times
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
time.sleep(0.2)
began, before = time.monotonic(), sum(waiting_times().values())
while time.monotonic() < began + 0.5: pass
waited = sum(waiting_times().values()) - before
print(waited / (time.monotonic() - began))
other.kill()
"""
    share = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert 0.2 < share < 1


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    monkeypatch.setenv("GOMP_SPINCOUNT", SPINS)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def until(holds: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@LINUX
def test_more_openmp_threads_than_cores_while_the_machine_is_busy(two_threads: None):
    torch.ones(1 << 17).add_(1)
    alone = threads()
    watcher = SpinWatcher(2)
    watcher.look(0.1)
    assert not watcher.idle_threads
    watcher.look(0.7)
    assert watcher.idle_threads
    until(lambda: threads() == alone + 2)  # a thread of Python's, and one of libgomp's that belongs to it
    watcher.look(0.1)
    assert watcher.idle_threads, "neither busy nor idle: nothing changes"
    watcher.look(0.01)
    assert not watcher.idle_threads
    until(lambda: threads() == alone)


@LINUX
def test_training_watches_and_leaves_no_thread(two_threads: None, monkeypatch: pytest.MonkeyPatch):
    clock = itertools.count()
    monkeypatch.setattr(cpu_threads, "PERIOD", 0.01)
    monkeypatch.setattr(cpu_threads, "waiting_times", lambda: {"1": float(next(clock))})
    torch.ones(1 << 17).add_(1)
    before = threads()
    with adaptive_spinning():
        (watcher,) = (each for each in threading.enumerate() if isinstance(each, SpinWatcher))
        until(lambda: watcher.idle_threads)
    assert not watcher.is_alive()
    until(lambda: threads() == before)


@pytest.mark.parametrize("variable", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"])
def test_what_the_user_set_is_left_alone(two_threads: None, variable: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(variable, {"GOMP_SPINCOUNT": "300000", "OMP_WAIT_POLICY": "ACTIVE"}[variable])
    with adaptive_spinning():
        assert not any(isinstance(each, SpinWatcher) for each in threading.enumerate())
