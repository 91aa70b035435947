"""Comparison of runs, grouped by recipe, with the spread of their scores, ranked only where protocols agree."""
