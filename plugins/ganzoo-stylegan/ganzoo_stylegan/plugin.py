"""Registers StyleGAN2, its penalties and its importer with ganzoo, and warns of what does not go with them."""

from __future__ import annotations

from collections.abc import Iterator

from ganzoo.plugin import GANTrainerConfig, Problem, RecipeView, Registrar, hookimpl
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
    """Warn of StyleGAN2 without what its authors train it with, and of parts that do not go together."""
    generator = isinstance(recipe.generator, configs.StyleGAN2GeneratorConfig)
    discriminator = isinstance(recipe.discriminator, configs.StyleGAN2DiscriminatorConfig)
    return [*(_generator(recipe) if generator else ()), *(_discriminator(recipe) if discriminator else ())]


def _generator(recipe: RecipeView) -> Iterator[Problem]:
    trainer = recipe.trainer
    if isinstance(trainer, GANTrainerConfig):
        if not trainer.ema_decay and trainer.ema_half_life is None:
            yield Problem(
                "trainer.ema_half_life",
                'is left out, and images of "stylegan2" are those of averaged weights, much better than the raw ones: '
                "set it to 10_000 images for each 32 of a minibatch, with ema_ramp = 0.05",
            )
        elif trainer.ema_buffers != "copy":
            yield Problem(
                "trainer.ema_buffers", 'is "average", so that the mean style lags behind the weights: set it to "copy"'
            )
        for role in ("generator", "discriminator"):
            betas = getattr(getattr(trainer, f"{role}_optimizer"), "betas", (0.0,))
            if betas[0] not in (0, 0.0):
                yield Problem(
                    f"trainer.{role}_optimizer.betas",
                    f'begins with {betas[0]}: "stylegan2" is trained without momentum, betas = [0.0, 0.99]',
                )
    if recipe.device.precision == "fp16":
        yield Problem(
            "device.precision", 'is "fp16", in which styles times features may overflow: take "bf16" or "fp32"'
        )
    truncation = recipe.generator.sampling_options.get("truncation", 1.0)
    if truncation != 1:
        yield Problem(
            "generator.sampling.truncation",
            f"is {truncation}, also for the scores of this run, which do not compare with others' then: leave it out "
            "and give it to `ganzoo sample` by --set",
        )


def _discriminator(recipe: RecipeView) -> Iterator[Problem]:
    if not any(penalty.is_gradient_penalty for penalty in recipe.penalties):
        yield Problem(
            "penalties",
            'has no gradient penalty, without which "stylegan2" soon diverges: add "r1" with interval = 16, '
            "own_update = true and weight = 0.0002 · pixels² / batch_size",
        )
    assert isinstance(recipe.discriminator, configs.StyleGAN2DiscriminatorConfig)
    group, batch = recipe.discriminator.group, recipe.trainer.batch_size
    if group and batch % min(group, batch):
        yield Problem(
            "discriminator.minibatch_stddev",
            f"is {group}, which does not divide the minibatch of {batch} images: its groups are smaller then",
        )
