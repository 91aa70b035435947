"""Run directories, checkpoints and the files in them."""
