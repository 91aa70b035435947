"""GANs for few images, as a plugin of ganzoo."""
