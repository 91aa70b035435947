"""Benchmark of a recipe's training speed, against the machine's peak and a baseline loop.

`measure` trains and times, `profile` looks into one step, `report` makes figures and text of what was measured.
"""
