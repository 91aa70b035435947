"""Show a run on Weights & Biases, online or in a file to upload later.

`tracker` implements the hooks, `session` starts and finishes the run there, `artifacts` sends checkpoints, and
`account` looks for the API key.
"""
