"""The networks of pix2pix and CycleGAN as their authors' PyTorch code builds them, written down plainly."""
