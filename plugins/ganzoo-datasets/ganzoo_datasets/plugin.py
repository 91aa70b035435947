"""Registers the datasets with ganzoo."""

from __future__ import annotations

from ganzoo.plugin import Registrar, hookimpl
from ganzoo_datasets import configs


@hookimpl
def register_datasets(register: Registrar) -> None:
    """Folders of images and pairs, datasets that torchvision downloads, CelebA and LSUN."""
    place = "ganzoo_datasets"
    register("image_folder", f"{place}.image_folder:ImageFolder", config=configs.ImageFolderConfig)
    register("image_pairs", f"{place}.image_pairs:ImagePairs", config=configs.ImagePairsConfig)
    register("mnist", f"{place}.torchvision_sets:MNIST", config=configs.MNISTConfig)
    register("fashion_mnist", f"{place}.torchvision_sets:FashionMNIST", config=configs.FashionMNISTConfig)
    register("cifar10", f"{place}.torchvision_sets:CIFAR10", config=configs.CIFAR10Config)
    register("svhn", f"{place}.torchvision_sets:SVHN", config=configs.SVHNConfig)
    register("celeba", f"{place}.celeba:CelebA", config=configs.CelebAConfig)
    register("lsun", f"{place}.lsun:LSUN", config=configs.LSUNConfig)
