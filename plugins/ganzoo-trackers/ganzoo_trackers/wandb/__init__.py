"""Show a run on Weights & Biases, online or in a file to upload later.

`tracker` implements the hooks; `session` looks for the API key, and starts and finishes the run there.
"""
