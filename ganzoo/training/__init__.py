"""Build a run, take its training steps, and save its state."""
