"""StyleGAN2 (arXiv 1912.04958) with adaptive augmentation (arXiv 2006.06676) for ganzoo."""
