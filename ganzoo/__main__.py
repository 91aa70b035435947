"""The `ganzoo` command, which `python -m ganzoo` is too."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; Ctrl-C ends it in the same way while it is still being imported."""
    try:
        from ganzoo.cli.main import main as command
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    command()


if __name__ == "__main__":
    main()
