"""What a trained GAN is worth: scores on images."""
