"""Permissions that hold for root too, who may otherwise read and write every file."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_VERSION = 0x20080522
"""Version 3 of the form of capabilities (Linux, capget(2))."""
_OVERRIDE = 1 << 1 | 1 << 2
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH (capabilities(7))."""


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Set(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@contextmanager
def heeded_permissions() -> Iterator[None]:
    """While open, heed the permissions of files in this thread, which root need not; skip the test where it must."""
    if not hasattr(os, "geteuid"):
        pytest.skip("permissions are POSIX's")
    if os.geteuid() != 0:
        yield
        return
    if sys.platform != "linux":
        pytest.skip("root may read every file")
    libc, header, sets = ctypes.CDLL(None), ctypes.byref(_Header(_VERSION, 0)), (_Set * 2)()
    assert libc.capget(header, sets) == 0
    before = sets[0].effective
    sets[0].effective &= ~_OVERRIDE
    assert libc.capset(header, sets) == 0
    try:
        yield
    finally:
        sets[0].effective = before
        assert libc.capset(header, sets) == 0
