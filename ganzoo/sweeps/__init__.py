"""Sweeps: every combination of some options and every seed as a run of its own, in one resumable directory."""
