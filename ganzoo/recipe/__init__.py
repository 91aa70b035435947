"""Read, override and check a recipe."""
