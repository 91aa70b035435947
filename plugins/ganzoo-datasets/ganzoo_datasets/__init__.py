"""Datasets that others publish, for ganzoo: MNIST, Fashion-MNIST, CIFAR-10, SVHN, CelebA and LSUN."""
