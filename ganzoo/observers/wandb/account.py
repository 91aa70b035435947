"""Look for the API key of Weights & Biases where W&B itself would, and shorten its errors."""

from __future__ import annotations

import netrc
import os
from pathlib import Path
from urllib.parse import urlsplit

from ganzoo.errors import GanzooError, RequestError, first_line


def require_key() -> None:
    """Check that an API key is known, which `--wandb` needs to read from the server.

    Raises:
        RequestError: no key is known.
        GanzooError: W&B does not start.
    """
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
        hosts.add("api.wandb.ai")  # the name under which `wandb login` has kept the key of the public server
    candidates = [os.environ["NETRC"]] if os.environ.get("NETRC") else ["~/.netrc", "~/_netrc"]
    for candidate in candidates:
        try:
            entries = netrc.netrc(Path(candidate).expanduser()).hosts
        except (OSError, netrc.NetrcParseError):
            continue
        if any(entries[host][2] for host in hosts & entries.keys()):
            return True
    return False


def in_short(error: BaseException) -> str:
    """Shorten an error of W&B to a line, with the cure where WANDB_SERVICE is wrong."""
    said = first_line(error)
    if said == "<no message>":
        said = type(error).__name__
    if os.environ.get("WANDB_SERVICE") and ("connect to service" in said or "WANDB_SERVICE" in said):
        said += "; the variable WANDB_SERVICE leads to a process of W&B that is not there: unset it"
    return said
