"""The loop, the run it works on, and what a step of an optimizer means."""
