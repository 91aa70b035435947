"""The feature extractors of the core, one file each."""
