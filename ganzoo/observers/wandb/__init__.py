"""Shows a run on Weights & Biases, online or in a file to upload later.

`tracker` hears the events, `session` begins and ends the run there, `description` says what W&B files it
under, `panels` how its figures are drawn, `artifacts` sends checkpoints, and `key` knows whether anybody is logged
in.
"""
