"""Images from trained generators, and the files they are written to."""
