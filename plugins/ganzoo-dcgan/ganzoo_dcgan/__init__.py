"""DCGAN for ganzoo: its variants, and the blocks they are made of."""
