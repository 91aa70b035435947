"""Observers that write a run's files and show its progress, without affecting training.

`standard.standard_observers(run)` lists those of every run. Each is an object with methods of the names
in `ganzoo.registry.hookspecs`, registered with the events of one run, which it sees as a `RunView`.
"""
