"""pix2pix and CycleGAN: translation of images, as a plugin of ganzoo."""
