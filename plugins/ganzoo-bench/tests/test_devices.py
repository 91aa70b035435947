"""benchmarks/devices.py, the one command that fills in the table of a device."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "devices.py"
TINY = ("generator.width=4", "discriminator.width=4", "dataset.count=64")


@pytest.mark.slow
def test_rows_are_measured_or_say_why_not() -> None:
    overrides = [word for each in TINY for word in ("--set", each)]
    arguments = ["--accelerator", "cpu", "--batch", "8", "--rounds", "2", "--steps", "1", "--only", "fp32", *overrides]
    shown = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    rows = {line.split("|")[1].strip(): line for line in shown if line.startswith("| ") and "images/s" not in line}
    assert [*rows] == ["fp32"]
    assert "%" in rows["fp32"], shown
    absent = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments, "--accelerator", "mps"], capture_output=True, text=True, check=True
    ).stdout
    assert 'not there: error: device.accelerator: "mps" is not there' in absent
