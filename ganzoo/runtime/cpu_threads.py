"""CPU threads: how many there are, and how long they spin at a barrier.

Between two parallel loops OpenMP's threads wait for each other. Spinning is the fastest way while each has a core of
its own; where another process works on the machine, a thread that spins keeps from its core the one that it waits for,
and training is several times slower. So threads spin for a short time only, and hardly at all while they are kept
waiting for a core.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ganzoo.untrusted import read_text

SPINS = "10000"
"""How often libgomp, the OpenMP of torch's wheels for Linux, looks before it sleeps: 0.1 ms; its default is 300,000."""
PERIOD = 1.0
"""Seconds between two looks at how long threads were kept waiting."""
KEPT_WAITING, LEFT_ALONE = 0.2, 0.05
"""Thread-seconds of waiting for a core in a second at which spinning is shortened, and below which it no longer is."""
GRAIN = 32_768
"""Elements from which torch gives another thread a part of a tensor."""
MOST_IDLE_THREADS = 8


def set_defaults() -> None:
    """Set the variables that OpenMP reads when torch is imported, those that the user has set excepted."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    if (cores := available_cores()) < _affinity():  # OpenMP heeds the affinity itself
        os.environ.setdefault("OMP_NUM_THREADS", str(cores))


def available_cores() -> int:
    """Return the number of cores that this process may use: by its affinity and the CPU quota of its cgroups."""
    return max(1, min([_affinity(), *(math.ceil(quota) for quota in _quotas(Path("/")))]))


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[float]:
    """Return the quotas in cores of the cgroups, of version 1 or 2, that this process is in."""
    with suppress(OSError, ValueError):
        for line in read_text(root / "proc/self/cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            mount = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
            group = mount / path.lstrip("/")  # in a container that does not see its path, only the mount is there
            for folder in [group, *(parent for parent in group.parents if parent.is_relative_to(mount))]:
                with suppress(OSError, ValueError):
                    if controllers:
                        quota, period = (read_text(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
                    else:
                        quota, period = read_text(folder / "cpu.max").split()
                    if quota.strip() not in ("max", "-1"):
                        yield int(quota) / int(period)


@contextmanager
def adaptive_spinning() -> Iterator[None]:
    """While open, spin hardly at all as long as threads of this process are kept waiting for a core.

    This changes no result, since the number of threads that compute stays. It does nothing where the user has set how
    OpenMP waits, with one thread, and outside of Linux.
    """
    import torch

    adapts = os.environ.get("GOMP_SPINCOUNT") == SPINS and "OMP_WAIT_POLICY" not in os.environ
    if not adapts or torch.get_num_threads() == 1 or not waiting_times():
        yield
        return
    watcher = SpinWatcher(torch.get_num_threads())
    watcher.start()
    try:
        yield
    finally:
        watcher.stop()


def waiting_times() -> dict[str, float]:
    """Return the seconds that each thread of this process has waited for a core, if the kernel keeps them."""
    found = {}
    with suppress(OSError):
        for thread in Path("/proc/self/task").iterdir():
            with suppress(OSError, ValueError, IndexError):  # it has ended
                found[thread.name] = int(read_text(thread / "schedstat").split()[1]) / 1e9
    return found


class SpinWatcher(threading.Thread):
    """Shortens the spinning of OpenMP's threads while they are kept waiting for a core.

    libgomp spins 100 times at most while the process has more of its threads than there are cores, so threads are added
    that do nothing.

    Args:
        computing: the number of threads that compute.
    """

    def __init__(self, computing: int) -> None:
        super().__init__(name="ganzoo-spinning", daemon=True)
        self._computing = computing
        self._stopped = threading.Event()
        self.idle_threads: list[threading.Thread] = []
        """Those that were added; there are some while the spinning is shortened."""
        self._ended = threading.Event()

    def run(self) -> None:
        """Look every second until it is stopped."""
        before, then = waiting_times(), time.monotonic()
        while not self._stopped.wait(PERIOD):
            now, times = time.monotonic(), waiting_times()
            self.look(sum(times[each] - before[each] for each in times.keys() & before.keys()) / (now - then))
            before, then = times, now
        self._lengthen()

    def look(self, waited: float) -> None:
        """Shorten or lengthen the spinning by how long threads have `waited` for a core, in thread-seconds a second."""
        if not self.idle_threads and waited > KEPT_WAITING:
            self._shorten()
        elif self.idle_threads and waited < LEFT_ALONE:
            self._lengthen()

    def stop(self) -> None:
        """Stop looking, and spin as before."""
        self._stopped.set()
        self.join()

    def _shorten(self) -> None:
        count = math.ceil((_affinity() - self._computing + 1) / (self._computing - 1))
        if count <= MOST_IDLE_THREADS:
            self._ended.clear()
            self.idle_threads = [threading.Thread(target=self._be_idle, daemon=True) for _ in range(max(1, count))]
            for thread in self.idle_threads:
                thread.start()

    def _lengthen(self) -> None:
        self._ended.set()
        for thread in self.idle_threads:
            thread.join()
        self.idle_threads = []

    def _be_idle(self) -> None:
        """Have libgomp start threads of this thread's own, and keep them until they are released."""
        import torch

        torch.empty(self._computing * GRAIN).fill_(1)  # in as many threads as compute
        self._ended.wait()
