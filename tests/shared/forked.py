"""Starts Python programs in processes forked from one that has imported torch and ganzoo, for the tests.

They begin in milliseconds, where an interpreter of their own takes seconds for its imports. All else is as with
`subprocess`: each is a child of the tests, in the folder and with the environment and the streams that it is given.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

LIBRARIES = ("torch._dynamo", "torch.distributed.run", "torchvision", "sklearn.datasets", "scipy", "wandb", "pytest")
"""What ganzoo or its tests import only when they need it."""

LARGEST = 2**20
"""Bytes that a request may take: the environment, mostly."""

LOCK = threading.Lock()
"""Held while a process starts: two threads at once would make two servers, and one end the adoption of the other."""

PR_SET_CHILD_SUBREAPER = 36  # of Linux's <sys/prctl.h>


class Forked(subprocess.Popen[str]):
    """`subprocess.Popen([sys.executable, *arguments])`, forked; where Linux is not the system, an ordinary process.

    Args:
        ignored: signals that the process ignores.
    """

    def __init__(self, *arguments: str | Path, ignored: Sequence[int] = (), **options: Any) -> None:
        self.ignored = [*map(int, ignored)]
        if sys.platform != "linux" and ignored:
            options["preexec_fn"] = lambda: [signal.signal(number, signal.SIG_IGN) for number in ignored]
        super().__init__([sys.executable, *map(str, arguments)], **{"text": True, **options})

    if sys.platform == "linux":
        # fmt: off
        def _execute_child(
            self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, startupinfo, creationflags, shell,
            p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite, restore_signals, gid, gids, uid, umask,
            start_new_session, *others,
        ):
            # fmt: on
            request = {
                "arguments": args[1:],
                "environment": dict(os.environ if env is None else env),
                "folder": str(cwd or Path.cwd()),
                "session": start_new_session,
                "ignored": self.ignored,
            }
            streams = [own if given == -1 else given for own, given in enumerate((p2cread, c2pwrite, errwrite))]
            with LOCK:
                self.pid = _server().fork(request, streams)
            self._child_created = True
            self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)


class _Server:
    """The process that all others are forked from; it ends with the tests."""

    def __init__(self) -> None:
        self.link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            number = theirs.fileno()
            self.process = subprocess.Popen(
                [sys.executable, __file__, str(number)],
                pass_fds=[number],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )

    def fork(self, request: dict[str, Any], streams: Sequence[int]) -> int:
        """Return the number of a process that does what is asked for."""
        with _adopting():
            socket.send_fds(self.link, [json.dumps(request).encode()], streams)
            answer = self.link.recv(32)
        assert answer, "the process that others are forked from has ended"
        return int(answer)


@cache
def _server() -> _Server:
    return _Server()


@contextmanager
def _adopting() -> Iterator[None]:
    """Make this process the parent of those below it whose own parent ends."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    assert prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    try:
        yield
    finally:
        prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _load() -> None:
    """Import whatever a program may want."""
    packages = {point.module.split(".")[0] for point in entry_points(group="ganzoo")}
    names = [*LIBRARIES, *sorted(packages)]
    for package in packages:
        found = pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
        names += [each.name for each in found if not each.name.endswith(".__main__")]
    for name in names:
        with suppress(ImportError):
            importlib.import_module(name)


def _serve(link: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Fork a process for each request, in which this returns."""
    while True:
        message, streams, _, _ = socket.recv_fds(link, LARGEST, 3)
        if not message:
            os._exit(0)
        told, tells = os.pipe()
        between = os.fork()
        if not between:
            child = os.fork()
            if child:
                os.write(tells, str(child).encode())
                os._exit(0)
            for open_one in (told, tells, link.detach()):
                os.close(open_one)
            return json.loads(message), streams
        os.waitpid(between, 0)  # now the tests are the parent of the child
        link.send(os.read(told, 32))
        for open_one in (told, tells, *streams):
            os.close(open_one)


def _become(request: dict[str, Any], streams: list[int]) -> None:
    """Be the program that is asked for."""
    if request["session"]:
        os.setsid()
    for number in request["ignored"]:
        signal.signal(number, signal.SIG_IGN)
    for place, stream in enumerate(streams):
        os.dup2(stream, place)
        os.close(stream)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    first, *words = request["arguments"]
    places = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:1] = [
        str(Path.cwd() if first in ("-m", "-c") else Path(first).resolve().parent),
        *(place for place in places if place and place not in sys.path[1:]),
    ]
    if first == "-c":
        sys.argv = [first, *words[1:]]
        exec(compile(words[0], "<string>", "exec"), {"__name__": "__main__"})
    elif first == "-m":
        sys.argv = words
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [first, *words]
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    _load()
    gc.freeze()  # a collection would touch, and so copy, all that is shared
    _become(*_serve(socket.socket(fileno=int(sys.argv[1]))))
