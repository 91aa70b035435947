"""What chooses plugins: entry points and environment variables; apart, so that the command line has them at no cost."""

from __future__ import annotations

ENTRY_POINT_GROUP = "ganzoo"
DISABLE_VARIABLE = "GANZOO_DISABLE_PLUGINS"
FILES_VARIABLE = "GANZOO_PLUGIN_FILES"
TRUST_VARIABLE = "GANZOO_TRUST_PLUGINS"
