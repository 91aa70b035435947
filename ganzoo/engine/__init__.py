"""How a GAN experiment is run."""
