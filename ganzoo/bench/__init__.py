"""Benchmark of a recipe's training speed, against the machine's peak and a baseline loop."""
