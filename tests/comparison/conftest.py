"""Run directories as training leaves them, made in a moment, for comparisons."""

from made_runs import make_card, make_grid, make_run  # noqa: F401
