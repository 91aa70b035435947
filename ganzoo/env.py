"""The environment variables that choose plugins; apart, so that the command line sets them at no cost."""

from __future__ import annotations

DISABLE_VARIABLE = "GANZOO_DISABLE_PLUGINS"
FILES_VARIABLE = "GANZOO_PLUGIN_FILES"
TRUST_VARIABLE = "GANZOO_TRUST_PLUGINS"
