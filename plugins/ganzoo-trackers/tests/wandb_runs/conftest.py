"""A GAN that is made and trained in a blink, to track."""

from observed_gan import build, manager, one_thread, surroundings, tables  # noqa: F401
