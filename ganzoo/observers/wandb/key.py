"""Looks for the key of Weights & Biases where W&B itself would."""

from __future__ import annotations

import netrc
import os
from pathlib import Path
from urllib.parse import urlsplit


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
