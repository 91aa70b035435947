"""What chooses plugins: the entry-point group and environment variables; imports nothing heavy."""

from __future__ import annotations

ENTRY_POINT_GROUP = "ganzoo"
DISABLE_VARIABLE = "GANZOO_DISABLE_PLUGINS"
FILES_VARIABLE = "GANZOO_PLUGIN_FILES"
TRUST_VARIABLE = "GANZOO_TRUST_PLUGINS"
