"""Registers generators, trainers, datasets and the metric of image translation with ganzoo."""

from __future__ import annotations

from ganzoo.plugin import Problem, RecipeView, Registrar, hookimpl
from ganzoo_translation import configs

LARGEST_BATCH = 8


@hookimpl
def register_architectures(register: Registrar) -> None:
    """The generators; their discriminator is `patchgan` of ganzoo-dcgan."""
    register("unet", "ganzoo_translation.unet:UNet", config=configs.UNetConfig)
    resnet = "ganzoo_translation.resnet:ResNetTranslator"
    register("resnet_translator", resnet, config=configs.ResNetTranslatorConfig)


@hookimpl
def register_datasets(register: Registrar) -> None:
    """Pairs and domains of the images of other datasets."""
    register("derived_pairs", "ganzoo_translation.datasets:DerivedPairs", config=configs.DerivedPairsConfig)
    register("two_domains", "ganzoo_translation.datasets:TwoDomains", config=configs.TwoDomainsConfig)


@hookimpl
def register_trainers(register: Registrar) -> None:
    """Both algorithms."""
    register("pix2pix", "ganzoo_translation.pix2pix:Pix2Pix", config=configs.Pix2PixConfig)
    register("cyclegan", "ganzoo_translation.cyclegan:CycleGAN", config=configs.CycleGANConfig)


@hookimpl
def register_metrics(register: Registrar) -> None:
    """The distance from targets."""
    register("l1", "ganzoo_translation.metrics:L1", config=configs.L1Config)


@hookimpl
def lint_recipe(recipe: RecipeView) -> list[Problem | str]:
    """Warn of what pix2pix and CycleGAN do not work well with."""
    trainer, dataset = recipe.trainer, recipe.dataset
    unpaired = getattr(dataset, "pairing", None) == "unpaired"
    problems: list[Problem | str] = []
    if isinstance(trainer, configs.Pix2PixConfig):
        if "condition" not in recipe.discriminator.uses:
            problems.append(
                Problem(
                    "discriminator",
                    f'"{recipe.discriminator.name}" does not see the input, so it cannot tell whether an output '
                    "belongs to it: set conditional = true, if it has it",
                )
            )
        if unpaired:
            problems.append(
                Problem(
                    "dataset.pairing",
                    'is "unpaired", and pix2pix brings outputs close to targets of other inputs: take "cyclegan"',
                )
            )
    if isinstance(trainer, configs.CycleGANConfig):
        if trainer.batch_size > LARGEST_BATCH:
            problems.append(
                Problem(
                    "trainer.batch_size",
                    f"is {trainer.batch_size}: CycleGAN is trained with 1 to {LARGEST_BATCH} images, and with more its "
                    "pools of images are renewed too fast to steady the discriminators",
                )
            )
        if trainer.identity_weight and "invert" in getattr(dataset, "condition", ()):
            problems.append(
                Problem(
                    "trainer.identity_weight",
                    f"is {trainer.identity_weight:g}, and asks of both generators to leave an image of their own "
                    "domain as it is, of which the other domain is the negative: set it to 0",
                )
            )
    return problems
