"""Datasets of files, for ganzoo: your own images and pairs; MNIST, Fashion-MNIST, CIFAR-10, SVHN, CelebA and LSUN."""
