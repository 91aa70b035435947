"""Registers the datasets with ganzoo."""

from __future__ import annotations

from ganzoo.plugin import Problem, RecipeView, Registrar, hookimpl
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


@hookimpl
def lint_recipe(recipe: RecipeView) -> list[Problem]:
    """Warn of options that the others leave without effect."""
    dataset = recipe.dataset
    if isinstance(dataset, configs.ImageFolderConfig) and dataset.label_kind and dataset.labels in ("none", "folders"):
        told = f'has no effect with labels = "{dataset.labels}": set dataset.labels to a file'
        return [Problem("dataset.label_kind", told)]
    usual = configs.ImagePairsConfig.model_fields["folders"].default
    if isinstance(dataset, configs.ImagePairsConfig) and dataset.pairing == "side_by_side" and dataset.folders != usual:
        told = 'have no effect with pairing = "side_by_side": set dataset.pairing to "aligned" or "unpaired"'
        return [Problem("dataset.folders", told)]
    return []
