"""The `ganzoo` command: its subcommands, its global options, and how it ends."""

from __future__ import annotations

import atexit
import errno
import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, TextIO

import typer

from ganzoo.cli import cleanup
from ganzoo.cli.command_group import CommandGroup
from ganzoo.errors import GanzooError, LostProcessError
from ganzoo.registry import DISABLE_VARIABLE, FILES_VARIABLE, TRUST_VARIABLE
from ganzoo.text import printable_lines

EXIT_SECONDS = 2.0
"""How long a program that is interrupted may take to end."""
HOOK_SECONDS = 10.0
"""How long the exit hooks of libraries may take at the end of any other: W&B's may wait for a server that has gone."""

PERMISSIONS = "change its permissions, or those of the folders that it is in"
LOST_OUTPUT = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO)

OTHERS_WAIT = 2.0
"""How long the other processes of a run leave it to the first to tell of an error."""

HELP = """A configurable GAN zoo: train, resume, sample and compare GANs from recipes.

\b
Train a recipe:    ganzoo run recipes/dcgan_digits.toml
Write a plugin:    ganzoo new-plugin ganzoo-mine --kind loss
Compare variants:  ganzoo sweep recipes/dcgan_digits.toml --vary loss.name=hinge,wasserstein
                   ganzoo compare runs/dcgan-digits-sweep
"""

app = typer.Typer(
    name="ganzoo",
    cls=CommandGroup,
    help=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(version("ganzoo-core"))
        raise typer.Exit


def _append(variable: str, between: str, values: list[str] | None) -> None:
    if values:
        os.environ[variable] = between.join([*filter(None, [os.environ.get(variable)]), *values])


# Options that choose plugins are eager: --help lists what they leave.
@app.callback()
def options(
    no_plugin: Annotated[
        list[str] | None,
        typer.Option(
            "--no-plugin",
            help="Leave this plugin out; may be given again.",
            metavar="NAME",
            callback=lambda names: _append(DISABLE_VARIABLE, ",", names),
            is_eager=True,
        ),
    ] = None,
    plugin: Annotated[
        list[str] | None,
        typer.Option(
            "--plugin",
            help="Import this plugin file too; may be given again.",
            metavar="FILE",
            callback=lambda files: _append(FILES_VARIABLE, os.pathsep, files),
            is_eager=True,
        ),
    ] = None,
    trust: Annotated[
        bool,
        typer.Option("--trust", help="Import, and so execute, the plugin files of the run, or of the recipe to check."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Options of every command; they can be given before or after its name."""
    if trust:
        os.environ[TRUST_VARIABLE] = "1"


def main() -> None:
    """Run the command and leave with its exit code: 0 done, 1 failed, 2 wrong request, 128 + signal interrupted."""
    from ganzoo.runtime.output import surviving_output

    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed, as by `>&-`
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 (stays open)
    for stream in (sys.stdout, sys.stderr):
        # What a terminal of ASCII, or a name that is no text, cannot show is escaped and not an error.
        if isinstance(stream, TextIOWrapper) and (stream.errors == "strict" or stream.encoding.lower() != "utf-8"):
            stream.reconfigure(errors="backslashreplace")
    with surviving_output("stderr"):
        try:
            _main()
        finally:
            if getattr(sys.stderr, "error", None) is not None:
                _let_go(sys.stderr)


def _main() -> None:
    arguments = _global_options_first(sys.argv[1:])
    try:
        with cleanup:
            app(arguments)
    except GanzooError as error:
        if "--debug" in arguments:
            traceback.print_exc()
        elif _is_to_say(error):
            typer.echo(printable_lines(f"error: {error}"), err=True)
        if error.exit_code > 128:
            _leave_soon(error.exit_code)
        _leave_within(HOOK_SECONDS, error.exit_code)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, SystemExit) as error:
        if not _is_interruption(error):
            _leave_within(HOOK_SECONDS, error.code if isinstance(error, SystemExit) else 1)
            raise
        typer.echo("interrupted", err=True)
        _leave_soon(130)
    except OSError as error:
        if isinstance(error, PermissionError) and error.filename is not None and "--debug" not in arguments:
            typer.echo(printable_lines(f"error: {error.filename}: {error.strerror}: {PERMISSIONS}"), err=True)
            _leave_within(HOOK_SECONDS, 2)
            sys.exit(2)
        if error.errno not in LOST_OUTPUT:
            raise
        _let_go(sys.stdout)
        if error.errno != errno.EPIPE:
            with suppress(OSError):  # stderr may be on the same full disk
                typer.echo(f"error: the output cannot be written: {error.strerror}", err=True)
        sys.exit(1)


def _let_go(stream: TextIO) -> None:
    """Send what a stream still holds to nowhere, or Python would fail to write it at its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _is_to_say(error: GanzooError) -> bool:
    """Whether this process tells of an error, which all processes of a run may have."""
    if "RANK" not in os.environ:
        return True
    from ganzoo.runtime.distributed import is_error_reporter

    return is_error_reporter(0 if isinstance(error, LostProcessError) else OTHERS_WAIT)


def _is_interruption(error: BaseException | None) -> bool:
    """Whether somebody pressed Ctrl-C; typer makes an exit of that."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _leave_within(seconds: float, code: object) -> None:
    """End the process after so long, should the exit hooks of libraries still wait then."""
    last = threading.Timer(seconds, os._exit, [code if isinstance(code, int) else int(code is not None)])
    last.daemon = True
    last.start()


def _leave_soon(code: int) -> None:
    """Leave, whatever the exit hooks of libraries wait for: W&B's wait for its server.

    Nothing is taken apart after them, which takes Python seconds on a machine that is busy.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C ends at once
    _leave_within(EXIT_SECONDS, code)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # the terminal may be gone
            stream.flush()
    atexit._run_exitfuncs()
    os._exit(code)


def _global_options_first(arguments: list[str]) -> list[str]:
    """Move the options of every command before the command's name, where the parser wants them."""
    with_value = ("--no-plugin", "--plugin")
    first: list[str] = []
    rest: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        if argument in ("--debug", "--trust") or argument.startswith(tuple(f"{option}=" for option in with_value)):
            first.append(argument)
        elif argument in with_value:
            first += [argument, *([name] if (name := next(remaining, None)) is not None else [])]
        else:
            rest.append(argument)
    return first + rest
