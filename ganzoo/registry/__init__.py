"""Components by name, and the plugins that bring them."""
