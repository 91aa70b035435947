"""The `ganzoo` command: parse, call, print."""
