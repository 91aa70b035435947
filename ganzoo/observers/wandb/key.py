"""Looks for the key of Weights & Biases where W&B itself would."""

from __future__ import annotations

import netrc
import os
from pathlib import Path
from urllib.parse import urlsplit

from ganzoo.errors import GanzooError, RequestError
from ganzoo.observers.wandb.errors import in_short


def require_key() -> None:
    """For what `--wandb` asks for, which there is only on the server.

    Raises:
        RequestError: no key is known.
        GanzooError: W&B does not begin.
    """
    try:
        known = key_is_known()
    except Exception as error:  # of any kind, from whatever W&B asks its own process for
        raise GanzooError(f"--wandb: W&B does not begin: {in_short(error)}") from error
    if not known:
        raise RequestError("--wandb: no API key of W&B is known here; `wandb login` keeps one")


def key_is_known() -> bool:
    """Whether W&B can be logged in to without asking anybody: by variables, settings or netrc."""
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
