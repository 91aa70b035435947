"""Trackers for ganzoo: they show a run on Weights & Biases."""
