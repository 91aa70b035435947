"""Run directories as training leaves them, made in a moment."""

from made_runs import make_run  # noqa: F401
