"""Start and finish a run on Weights & Biases: online where a key is known and that works, else in a file."""

from __future__ import annotations

import configparser
import netrc
import os
import secrets
import shlex
import shutil
import tempfile
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from ganzoo.plugin import GanzooError, RequestError, first_line, read_text, say, warn
from ganzoo_trackers.facts import facts

if TYPE_CHECKING:
    import wandb

    from ganzoo.plugin import RunView

START_SECONDS = 10.0
"""Time for a server to accept a run; after it the run is tracked offline."""
FINISH_SECONDS = 40.0
"""Time for the last rows to reach the server; rows that do not stay on disk, for `wandb sync`."""
STOP_SECONDS = 2.0
"""The same in an interrupted run, whose process may be killed soon."""

RECORD = "wandb.json"

# Values of WANDB_MODE; any other is taken as none.
MODES = {"online": "online", "run": "online", "offline": "offline", "dryrun": "offline", "disabled": "disabled"}


def start(run: RunView) -> wandb.Run | None:
    """Start the W&B run, online or else offline; None: disabled.

    Raises:
        Exception: of any kind: the working directory would say where the key goes, or W&B cannot even write into the
            run directory.
    """
    mode: str | None = run.recipe.tracking.wandb.mode
    if mode == "auto":
        mode = MODES.get(os.environ.get("WANDB_MODE", ""))
    if mode == "disabled":
        return None
    check_settings()
    folder = run.directory.path / "wandb"
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass  # writable; where it is not, W&B would quietly take the system's temporary folder
    # W&B's reports on itself go to the same server, and delay the exit where that does not answer.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    problem = ""
    if mode != "offline" and key_is_known():
        before = set(folder.iterdir())
        try:
            tracked = _begin(run, "online")
            say(f"W&B: {tracked.url}")
            return tracked
        except Exception as error:
            problem = in_short(error)
            _forget_attempt(set(folder.iterdir()) - before)
    elif mode == "online":
        problem = "no API key is known here, `wandb login` keeps one"
    tracked = _begin(run, "offline")
    files = folder / f"offline-run-*-{tracked.id}*"  # one of each part, where the run was resumed
    parts = list(folder.glob(files.name))
    hint = f"upload it with: wandb sync {shlex.quote(str(parts[0])) if len(parts) == 1 else files}"
    if problem:
        warn(f"W&B: the run is tracked offline: {problem}; {hint}")
    else:
        say(f"W&B: the run is tracked offline; {hint}")
    return tracked


def finish(tracked: wandb.Run, exit_code: int, seconds: float | None = None) -> None:
    """Finish a run within `seconds`, or W&B's own limit and five more, since it does not always keep it.

    Raises:
        TimeoutError: the server has not taken everything by then.
    """
    errors: list[Exception] = []

    def end() -> None:
        try:
            tracked.finish(exit_code=exit_code)
        except Exception as error:
            errors.append(error)

    ending = Thread(target=end, daemon=True)
    ending.start()
    ending.join(FINISH_SECONDS + 5 if seconds is None else seconds)
    if ending.is_alive() or errors:
        raise errors[0] if errors else TimeoutError


def _begin(run: RunView, mode: Literal["online", "offline"]) -> wandb.Run:
    options, record = run.recipe.tracking.wandb, run.directory.read_json(RECORD)
    folder = run.directory.path.resolve()
    resumed = bool(record.get("id"))
    if not resumed:  # written before W&B starts, so that a run killed meanwhile resumes under the same id
        record["id"] = secrets.token_hex(8)
        run.directory.write_json(RECORD, record)
    import wandb  # after it: the import takes as long as many first steps

    wandb.setup(wandb.Settings(silent=True))
    tracked = wandb.init(
        project=options.project,
        entity=options.entity,
        dir=folder,
        id=record["id"],
        name=f"{run.recipe.run.name}/{folder.name}",
        group=options.group or run.recipe.run.name,
        job_type=options.job_type,
        tags=tags(run),
        config={**run.recipe.to_dict(), "facts": facts(run)},
        allow_val_change=True,
        mode=mode,
        resume="allow" if resumed and mode == "online" else None,
        reinit="create_new",  # leaves alone a run that the calling program has of its own
        settings=wandb.Settings(
            silent=True,
            console="off",
            symlink=False,
            save_code=False,
            disable_code=True,
            disable_git=True,
            label_disable=True,
            init_timeout=START_SECONDS,
            finish_timeout=FINISH_SECONDS,
            finish_timeout_raises=True,
        ),
    )
    try:
        tracked.save(folder / "recipe.toml", base_path=folder, policy="now")
        values = {
            "id": tracked.id,
            "mode": mode,
            "project": tracked.project,
            "entity": tracked.entity or options.entity,
            "path": str(Path(tracked.dir).resolve().parent.relative_to(folder)),
            "url": tracked.url,
        }
        run.directory.write_json(RECORD, values)
    except Exception:
        tracked.finish(exit_code=1)
        raise
    return tracked


def _forget_attempt(leftovers: set[Path]) -> None:
    """Free the id of a run that could not be started, and remove its files, which hold nothing to upload."""
    import wandb

    if wandb.run is None:  # else the calling program has a run of its own, which must not be ended
        wandb.teardown()
    for path in leftovers:
        shutil.rmtree(path, ignore_errors=True)


def tags(run: RunView) -> list[str]:
    """List the components, the seed and the recipe's tags, each cut to the 64 characters that W&B takes."""
    recipe = run.recipe
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
    settings = wandb.setup(wandb.Settings(silent=True)).settings
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
    """Shorten an error of W&B to a line, with the cure where WANDB_SERVICE is wrong."""
    said = first_line(error)
    if said == "<no message>":
        said = type(error).__name__
    if os.environ.get("WANDB_SERVICE") and ("connect to service" in said or "WANDB_SERVICE" in said):
        said += "; the variable WANDB_SERVICE leads to a process of W&B that is not there: unset it"
    return said
