"""Sweeps: a run for each combination of options and each seed, in one resumable directory."""
