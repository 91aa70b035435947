"""Environment variables that choose plugins, in a module of their own that imports nothing heavy."""

from __future__ import annotations

DISABLE_VARIABLE = "GANZOO_DISABLE_PLUGINS"
FILES_VARIABLE = "GANZOO_PLUGIN_FILES"
TRUST_VARIABLE = "GANZOO_TRUST_PLUGINS"
