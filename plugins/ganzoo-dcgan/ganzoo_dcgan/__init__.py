"""DCGAN for ganzoo: its variants and their building blocks."""
