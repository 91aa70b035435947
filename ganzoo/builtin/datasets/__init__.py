"""Datasets that ship with the core, one file a kind of source."""
