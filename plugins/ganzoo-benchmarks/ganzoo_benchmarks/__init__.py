"""Published benchmarks of mode collapse for ganzoo."""
