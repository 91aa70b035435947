"""Registers FastGAN and the projected discriminator with ganzoo, and warns of what does not go with few images."""

from __future__ import annotations

from collections.abc import Iterator

from ganzoo.plugin import ImageDatasetConfig, Problem, RecipeView, Registrar, hookimpl
from ganzoo_fewshot import configs

HERE = "ganzoo_fewshot"
FEW = 2000
"""Images below which a discriminator memorizes them unless they are augmented."""


@hookimpl
def register_architectures(register: Registrar) -> None:
    """FastGAN's two networks, and the projected discriminator, which goes with any generator."""
    register("fastgan", f"{HERE}.fastgan:FastGANGenerator", config=configs.FastGANGeneratorConfig)
    register("fastgan", f"{HERE}.fastgan:FastGANDiscriminator", config=configs.FastGANDiscriminatorConfig)
    register("projected", f"{HERE}.projected:ProjectedDiscriminator", config=configs.ProjectedDiscriminatorConfig)


@hookimpl
def register_losses(register: Registrar) -> None:
    """FastGAN's loss, and its decoders as a penalty."""
    register("uniform_hinge", f"{HERE}.uniform_hinge:UniformHinge", config=configs.UniformHingeConfig)
    register("reconstruction", f"{HERE}.reconstruction:Reconstruction", config=configs.ReconstructionConfig)


@hookimpl
def register_trainers(register: Registrar) -> None:
    """The trainer of two scales."""
    register("fastgan", f"{HERE}.two_scales:FastGANTrainer", config=configs.FastGANTrainerConfig)


@hookimpl
def lint_recipe(recipe: RecipeView) -> list[Problem]:
    """Warn of few images without augmentation, and of a second output that nobody sees."""
    return [*_few_images(recipe), *_unseen(recipe)]


def _few_images(recipe: RecipeView) -> Iterator[Problem]:
    if not isinstance(recipe.dataset, ImageDatasetConfig) or any(penalty.augments for penalty in recipe.penalties):
        return
    count = recipe.dataset.limit  # files are not counted: checking a recipe opens nothing that it names
    if count is not None and count < FEW:
        yield Problem(
            "penalties",
            f"the discriminator soon memorizes {count} images, since nothing augments them: add "
            f'[[penalties]] name = "diff_augment" (arXiv 2006.10738)',
        )


def _unseen(recipe: RecipeView) -> Iterator[Problem]:
    makes_small = isinstance(recipe.generator, configs.FastGANGeneratorConfig) and recipe.generator.small_output
    shows_small = isinstance(recipe.trainer, configs.FastGANTrainerConfig)
    sees_small = isinstance(recipe.discriminator, configs.FastGANDiscriminatorConfig)
    if makes_small and not (shows_small and sees_small):
        yield Problem(
            "generator.small_output",
            'makes images that nobody sees: take the trainer and the discriminator "fastgan", or leave it out',
        )
    elif shows_small and not makes_small:
        yield Problem(
            "trainer",
            f'"{recipe.trainer.name}" does no more than "adversarial" with these networks: take the generator '
            f'"fastgan" with small_output = true',
        )
