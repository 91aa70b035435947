"""Register components by name, and load the plugins that provide them."""
