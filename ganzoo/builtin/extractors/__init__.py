"""Extractors of features that ship with the core, one file each."""
