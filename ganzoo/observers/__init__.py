"""What watches a run and writes about it; never steers it.

`standard.standard_observers(recipe)` lists those of every run. Each is an object with methods of the names
in `ganzoo.registry.hookspecs`, registered for the time of one run.
"""
