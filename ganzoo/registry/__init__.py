"""Register components by name, and load the plugins that provide them."""

ENTRY_POINT_GROUP = "ganzoo"
DISABLE_VARIABLE = "GANZOO_DISABLE_PLUGINS"
FILES_VARIABLE = "GANZOO_PLUGIN_FILES"
TRUST_VARIABLE = "GANZOO_TRUST_PLUGINS"
