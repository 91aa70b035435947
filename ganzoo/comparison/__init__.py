"""Runs side by side: grouped by what was varied, scores with their spread, refused where protocols differ."""
