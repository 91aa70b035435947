"""Start and finish a run on Weights & Biases: online where a key is known and that works, else in a file."""

from __future__ import annotations

import configparser
import netrc
import os
import shlex
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pydantic import ValidationError

from ganzoo.plugin import GanzooError, RecipeView, RequestError, RunDirectory, first_line, read_text, say, warn
from ganzoo_trackers.configs import WandbConfig
from ganzoo_trackers.facts import facts
from ganzoo_trackers.wandb.record import RECORD, artifact_name, identify, is_on_the_server

if TYPE_CHECKING:
    import wandb

    from ganzoo.plugin import RunView

START_SECONDS = 10.0
"""Time for a server to accept a run; after it the run is tracked offline."""
FINISH_SECONDS = 40.0
"""Time for the last rows to reach the server; rows that do not stay on disk, for `wandb sync`."""
STOP_SECONDS = 2.0
"""The same in an interrupted run, whose process may be killed soon."""
FLUSH_SECONDS = 1.0
"""Longest time that a row waits in memory before it is in W&B's file, where it outlasts a process that is killed."""

# Values of WANDB_MODE; any other is taken as none.
MODES = {"online": "online", "run": "online", "offline": "offline", "dryrun": "offline", "disabled": "disabled"}


def start(run: RunView) -> wandb.Run | None:
    """Start the W&B run, or go on with it, online or else offline; None: disabled.

    Raises:
        Exception: of any kind: the working directory would say where the key goes, or W&B cannot even write into the
            run directory.
    """
    options, directory = run.recipe.tracking.wandb, run.directory
    mode = wanted_mode(options)
    if mode == "disabled":
        return None
    check_writable(directory)
    before, record = directory.read_json(RECORD), identify(run)
    resumed, parent = record["id"] == before.get("id"), record["parent"]
    about: dict[str, Any] = {"config": {**run.recipe.to_dict(), "facts": facts(run)}}
    fork = None
    if parent:
        about["config"]["parent"] = parent
        forks = parent["id"] == before.get("id")
        whence = f"{parent['name'] or parent['id']}{' at' if forks else ', weights of'} step {parent['step']}"
        if not resumed:  # else the notes may have been changed there since
            about["notes"] = f"{'Forked' if forks else 'Started'} from {whence} ({parent['url'] or parent['id']})"
        if forks:
            say(f"W&B: a run of its own, forked from {whence}, which has later steps of other options")
            fork = f"{parent['id']}?_step={parent['step']}" if is_on_the_server(directory, before) else None
    tracked = begin(directory, mode, describe(run.recipe, record, resumed=resumed) | about, fork)
    try:
        folder = directory.path.resolve()
        tracked.save(folder / "recipe.toml", base_path=folder, policy="now")
        record |= {
            "id": tracked.id,  # a sweep's agent gives another
            "mode": "offline" if tracked.offline else "online",
            "artifact": artifact_name(run.recipe.run.name, tracked.id),
            "project": tracked.project,
            "entity": tracked.entity or options.entity,
            "path": str(Path(tracked.dir).resolve().parent.relative_to(folder)),
            "url": tracked.url,
        }
        directory.write_json(RECORD, record)
    except Exception:
        tracked.finish(exit_code=1)
        raise
    return tracked


def go_on(directory: RunDirectory, recipe: RecipeView) -> wandb.Run | None:
    """Go on with a run that has ended, as it was tracked; None: it was not, or tracking is disabled now.

    Raises:
        Exception: of any kind, as of `start`.
    """
    mode, record = wanted_mode(recipe.tracking.wandb), directory.read_json(RECORD)
    if mode == "disabled" or not record.get("mode"):
        return None
    check_writable(directory)
    if not is_on_the_server(directory, record):
        mode = "offline"  # what follows may not come before the run itself
    place = {key: record[key] for key in ("project", "entity") if record.get(key)}
    return begin(directory, mode, describe(recipe, record, resumed=True) | place)


def finish(tracked: wandb.Run, exit_code: int, seconds: float | None = None) -> None:
    """Finish a run within `seconds`, or W&B's own limit and five more, since it does not always keep it.

    Raises:
        TimeoutError: the server has not taken everything by then.
        Exception: of any kind; of a process of W&B's that was killed nothing is left to fail when the program ends.
    """
    try:
        within(FINISH_SECONDS + 5 if seconds is None else seconds, lambda: tracked.finish(exit_code=exit_code))
    except ConnectionError:
        import wandb

        if wandb.run is None:  # else the calling program has a run of its own
            with suppress(ConnectionError, SystemExit):  # at the program's end it would be a traceback
                wandb.teardown()
        raise


def within(seconds: float, do: Callable[[], object]) -> None:
    """Call a function of W&B in a thread, which is left behind where it takes longer.

    Raises:
        TimeoutError: it takes longer.
        Exception: what the function raises.
    """
    errors: list[Exception] = []

    def call() -> None:
        try:
            do()
        except Exception as error:
            errors.append(error)

    calling = Thread(target=call, daemon=True)
    calling.start()
    calling.join(seconds)
    if calling.is_alive() or errors:
        raise errors[0] if errors else TimeoutError


def wanted_mode(options: WandbConfig) -> str | None:
    """Return the mode that the recipe, or for "auto" the environment, asks for; None: none."""
    return MODES.get(os.environ.get("WANDB_MODE", "")) if options.mode == "auto" else options.mode


def check_writable(directory: RunDirectory) -> None:
    """Check that the working directory leaves the server to the user, and that W&B can write into the run directory.

    Raises:
        Exception: of any kind.
    """
    check_settings()
    folder = directory.path / "wandb"
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass  # writable; where it is not, W&B would quietly take the system's temporary folder


def describe(recipe: RecipeView, record: Mapping[str, Any], *, resumed: bool) -> dict[str, Any]:
    """Return the arguments of `wandb.init` that each part of a run has."""
    options = recipe.tracking.wandb
    return {
        "project": options.project,
        "entity": options.entity,
        "id": record["id"],
        "name": record.get("name"),
        "group": options.group or recipe.run.name,
        "job_type": options.job_type,
        "tags": tags(recipe),
        "resume": "allow" if resumed else None,
    }


def begin(
    directory: RunDirectory, mode: str | None, options: Mapping[str, Any], fork_from: str | None = None
) -> wandb.Run:
    """Begin a part of a run online, or else offline, and say where it is.

    Args:
        directory: of the run.
        mode: "online", "offline", or None for online where a key is known.
        options: of `wandb.init`.
        fork_from: the run and step that a server forks it from, where it can; a run without that history elsewhere.

    Raises:
        Exception: of any kind, where not even an offline run can be started.
    """
    folder = directory.path / "wandb"
    # W&B's reports on itself go to the same server, and delay the exit where that does not answer.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    problem = ""
    if mode != "offline" and key_is_known():
        for branch in [{"fork_from": fork_from}, {}] if fork_from else [{}]:
            before = set(folder.iterdir())
            try:
                tracked = _init(directory, "online", {**options, **branch})
                say(f"W&B: {tracked.url}")
                return tracked
            except Exception as error:
                problem = in_short(error)
                _forget_attempt(set(folder.iterdir()) - before)
    elif mode == "online":
        problem = "no API key is known here, `wandb login` keeps one"
    tracked = _init(directory, "offline", options)
    files = folder / f"offline-run-*-{tracked.id}*"  # one of each part, where the run was resumed
    parts = list(folder.glob(files.name))
    hint = f"upload it with: wandb sync {shlex.quote(str(parts[0])) if len(parts) == 1 else files}"
    if problem:
        warn(f"W&B: the run is tracked offline: {problem}; {hint}")
    else:
        say(f"W&B: the run is tracked offline; {hint}")
    return tracked


def _init(directory: RunDirectory, mode: Literal["online", "offline"], options: Mapping[str, Any]) -> wandb.Run:
    import wandb  # late: the import takes as long as many first steps

    _set_up()
    settings = {
        "silent": True,
        "console": "off",
        "symlink": False,
        "save_code": False,
        "disable_code": True,
        "disable_git": True,
        "label_disable": True,
        "init_timeout": START_SECONDS,
        "finish_timeout": FINISH_SECONDS,
        "finish_timeout_raises": True,
        "x_transaction_log_flush_interval": FLUSH_SECONDS,
    }
    return wandb.init(
        dir=directory.path.resolve(),
        mode=mode,
        allow_val_change=True,
        reinit="create_new",  # leaves alone a run that the calling program has of its own
        settings=wandb.Settings(**{key: settings[key] for key in settings.keys() & wandb.Settings.model_fields.keys()}),
        **options,
    )


def _set_up() -> Any:
    """Start W&B's own process, unless it runs, without this one's output.

    Where a server is away it goes on after the run, and who reads the run's output through a pipe would wait for it.
    """
    import wandb

    kept = [stream for stream in (1, 2) if os.name == "posix" and _is_inherited(stream)]
    for stream in kept:
        os.set_inheritable(stream, False)
    try:
        return wandb.setup(wandb.Settings(silent=True))
    finally:
        for stream in kept:
            os.set_inheritable(stream, True)


def _is_inherited(stream: int) -> bool:
    """Return whether a file descriptor is open, and given to the processes that this one starts."""
    try:
        return os.get_inheritable(stream)
    except OSError:
        return False


def _forget_attempt(leftovers: set[Path]) -> None:
    """Free the id of a run that could not be started, and remove its files, which hold nothing to upload."""
    import wandb

    if wandb.run is None:  # else the calling program has a run of its own, which must not be ended
        wandb.teardown()
    for path in leftovers:
        shutil.rmtree(path, ignore_errors=True)


def tags(recipe: RecipeView) -> list[str]:
    """List the components, the seed and the recipe's tags, each cut to the 64 characters that W&B takes."""
    components = (
        *(recipe.network(role) for role in recipe.trainer.roles),
        recipe.loss,
        *recipe.penalties,
        recipe.dataset,
        recipe.trainer,
    )
    names = [*(part.name for part in components), f"seed:{recipe.run.seed}", *recipe.tracking.wandb.tags]
    return list(dict.fromkeys(name[:64] for name in names if name))


def require_key() -> None:
    """Check that an API key is known, which `--wandb` needs to read from the server.

    Raises:
        RequestError: no key is known.
        GanzooError: W&B does not start, or the working directory says where the key would go.
    """
    check_settings()
    try:
        known = key_is_known()
    except Exception as error:  # of any kind: W&B starts a process of its own
        raise GanzooError(f"--wandb: W&B does not begin: {in_short(error)}") from error
    if not known:
        raise RequestError("--wandb: no API key of W&B is known here; `wandb login` keeps one")


def key_is_known() -> bool:
    """Check whether W&B has a key without a prompt: in variables, settings or netrc."""
    import wandb

    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    settings = _set_up().settings
    if settings.api_key or settings.identity_token_file:
        return True
    hosts = {urlsplit(settings.base_url).netloc}
    if settings.base_url == wandb.Settings().base_url:
        hosts.add(_OLDER_PUBLIC)
    candidates = [os.environ["NETRC"]] if os.environ.get("NETRC") else ["~/.netrc", "~/_netrc"]
    for candidate in candidates:
        try:
            entries = netrc.netrc(_expanded(candidate)).hosts
        except (OSError, netrc.NetrcParseError):
            continue
        if any(entries[host][2] for host in hosts & entries.keys()):
            return True
    return False


def check_settings() -> None:
    """Check that no file in the working directory says where the key goes, and what else is the user's to say.

    W&B takes up a file `wandb/settings` wherever it is started, and every run directory has a folder of that name.

    Raises:
        GanzooError: such a file sets what neither the environment nor the user's own file sets alike.
    """
    found = [path for path in (Path("wandb", "settings"), Path(".wandb", "settings")) if os.path.lexists(path)]
    if not found:
        return
    import wandb  # after it: the import takes as long as many first steps

    config = os.environ.get("WANDB_CONFIG_DIR") or Path("~", ".config", "wandb")
    own = {"base_url": wandb.Settings().base_url} | _settings(_expanded(config) / "settings")
    for path in found:
        for key, value in _settings(path).items():
            if key in _HARMLESS or os.environ.get(f"WANDB_{key.upper()}") or value == own.get(key):
                continue
            if key == "base_url" and _server(value) == _server(own[key]):
                continue
            named = f"{key} = {ascii(value)[:80]}" if key == "base_url" else ascii(key)[:80]
            raise GanzooError(
                f"{path} in the working directory sets {named}, which your own configuration does not: W&B is not "
                f"started there; remove it, or set it in {config}/settings, if it is yours"
            )


_HARMLESS = ("entity", "project", "mode")
"""Settings that say nothing of the server; the recipe's are stronger."""


def _settings(path: Path) -> dict[str, str]:
    """Read a file of W&B's settings, as W&B does; empty where there is none.

    Raises:
        GanzooError: it cannot be read.
    """
    parser = configparser.ConfigParser()
    try:
        if not os.path.lexists(path):
            return {}
        parser.read_string(read_text(path))
        return dict(parser.items("default"))
    except configparser.NoSectionError:
        return {}
    except (OSError, ValueError, configparser.Error) as error:
        raise GanzooError(f"{path}: W&B's settings cannot be read: {first_line(error)}; remove the file") from error


def _expanded(path: Path | str) -> Path:
    """Expand "~", unless the user has no home."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - pathlib's raises where there is none


def _server(address: str) -> str:
    """Return the address of a server, the public one's newer for either of its two."""
    import wandb

    address = address.rstrip("/")
    return wandb.Settings().base_url if address == f"https://{_OLDER_PUBLIC}" else address


_OLDER_PUBLIC = "api.wandb.ai"
"""Public server under its older name, by which `wandb login` has kept its key."""


def in_short(error: BaseException) -> str:
    """Shorten an error of W&B to a line, with the cure where an environment variable is wrong."""
    if isinstance(error, ValidationError):  # of W&B's settings; a wrong value may be a key, and is not shown
        return "; ".join(map(_wrong_setting, error.errors()))
    said = first_line(error)
    if said == "<no message>":
        said = type(error).__name__
    if os.environ.get("WANDB_SERVICE") and ("connect to service" in said or "WANDB_SERVICE" in said):
        said += "; the variable WANDB_SERVICE leads to a process of W&B that is not there: unset it"
    return said


def _wrong_setting(detail: Mapping[str, Any]) -> str:
    name = ".".join(map(str, detail["loc"]))
    variable = f"WANDB_{name.upper()}"
    cure = f": correct or unset the variable {variable}" if variable in os.environ else ""
    return f"its setting {name} is wrong: {detail['msg']}{cure}"
