"""The trainer against loops written by hand: the same weights, batches and noise end in the same weights.

Each recipe's own trainer, loss and optimizers are taken, so that what is compared is what the recipe runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from literal import authors, four_by_four, gan_in_action
from literal.comparison import DIGITS, build, copy_weights, info
from torch import Tensor, nn
from torch.nn import functional as F

from ganzoo.components.dataset import Batch
from ganzoo.components.spec import DatasetInfo
from ganzoo.components.trainer import Trainer, TrainingParts
from ganzoo.recipe.load import load_recipe
from ganzoo.registry.plugin_manager import plugin_manager
from ganzoo.runtime.device import Compute

RECIPES = Path(__file__).parents[3] / "recipes"
STEPS = 3
COUNT = 8


def trainer_of(
    recipe_name: str, info: DatasetInfo, options: tuple[dict[str, Any], dict[str, Any]], *overrides: str
) -> Trainer:
    """The recipe's trainer with narrower networks, its noise from the seed 0."""
    manager = plugin_manager()
    recipe, _ = load_recipe(RECIPES / f"{recipe_name}.toml", manager, overrides)
    generator, discriminator = build(recipe.generator.name, info, *options)
    loss = manager.registries.losses[recipe.loss.name].load()(recipe.loss, info=info)
    given = TrainingParts(
        networks={"generator": generator, "discriminator": discriminator},
        loss=loss,
        rng=torch.Generator().manual_seed(0),
        autocast=Compute(torch.device("cpu"), "fp32", "").autocast,
        total_steps=1_000,
    )
    trainer: type[Trainer] = manager.registries.trainers[recipe.trainer.name].load()
    return trainer(recipe.trainer, parts=given)


def assert_same_weights(network: nn.Module, weights: list[Tensor], lr: float, unmoved: tuple[int, ...] = ()) -> None:
    """To a twentieth of what one update of Adam moves a weight by, but for one weight in a thousand.

    Adam makes a step of a gradient that is 0 but for rounding, which processors differ in. That of `unmoved`, biases in
    front of a batch norm, is.
    """
    for index, (ours, theirs) in enumerate(zip(network.parameters(), weights, strict=True)):
        theirs = theirs.T if theirs.shape != ours.shape else theirs
        largest = 2 * STEPS * lr if index in unmoved else lr / 2
        torch.testing.assert_close(ours, theirs, atol=largest, rtol=0, msg=lambda text, i=index: f"{i}: {text}")
        assert index in unmoved or ((ours - theirs).abs() > lr / 20).float().mean() <= 0.001, index


def test_tutorials_step() -> None:
    """Discriminator, then generator, on one fake batch and one graph; mean of the two terms; sigmoid and BCE."""
    torch.manual_seed(1)
    options = {"width": 4, "init": {"norm_mean": 0.0, "bias": "torch"}}
    trainer = trainer_of("dcgan_4x4_mnist", info(1, 64), (options, options))
    gen, disc = four_by_four.generator(channels=1, f=4), four_by_four.discriminator(channels=1, f=4)
    generator, discriminator = trainer.parts.generator, trainer.parts.discriminator
    for literal, network in ((gen, generator), (disc, discriminator)):
        for ours, theirs in zip(network.parameters(), literal.parameters(), strict=True):
            theirs.data.copy_(ours.data)
    gen_adam = torch.optim.Adam(gen.parameters(), lr=2e-4, betas=(0.5, 0.999))
    disc_adam = torch.optim.Adam(disc.parameters(), lr=2e-4, betas=(0.5, 0.999))

    noise = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        real = torch.rand(COUNT, 1, 64, 64) * 2 - 1
        trainer.train_step(Batch(real))
        four_by_four.train_step(gen, disc, gen_adam, disc_adam, real, torch.randn(COUNT, 100, generator=noise))

    assert_same_weights(generator, list(gen.parameters()), 2e-4)
    assert_same_weights(discriminator, list(disc.parameters()), 2e-4)
    for literal, network in ((gen, generator), (disc, discriminator)):
        for ours, theirs in zip(network.buffers(), literal.buffers(), strict=True):
            torch.testing.assert_close(ours, theirs, msg="batch norm has seen the same batches")


@pytest.mark.parametrize("l2", [1e-5, 0.1], ids=["as it is", "so that it shows"])
def test_authors_step(l2: float) -> None:
    """One minibatch for the generator, the next for the discriminator; sum of the terms; L2 in every gradient."""
    torch.manual_seed(2)
    decays = [f"trainer.{network}_optimizer.weight_decay={l2}" for network in ("generator", "discriminator")]
    trainer = trainer_of("dcgan_authors_celeba", info(3, 32), ({"width": 8}, {"width": 8}), *decays)
    gw = leaves(authors.faces_gen_weights(widths=(32, 16, 8)))
    dw = leaves(authors.faces_discrim_weights(widths=(8, 16, 32)))
    copy_weights(gw, trainer.parts.generator)
    copy_weights(dw, trainer.parts.discriminator)
    g_adam, d_adam = authors.Adam(gw, 2e-4, l2=l2), authors.Adam(dw, 2e-4, l2=l2)

    noise = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        real = torch.rand(2 * COUNT, 3, 32, 32) * 2 - 1
        trainer.train_step(Batch(real))
        p_gen = authors.faces_discrim(authors.faces_gen(uniform(noise), gw), dw)
        g_adam.step(bce(p_gen, 1.0))
        p_real = authors.faces_discrim(real[COUNT:], dw)
        p_gen = authors.faces_discrim(authors.faces_gen(uniform(noise), gw), dw)
        d_adam.step(bce(p_real, 1.0) + bce(p_gen, 0.0))

    assert_same_weights(trainer.parts.generator, gw, 2e-4)
    assert_same_weights(trainer.parts.discriminator, dw, 2e-4)


def test_authors_conditional_step() -> None:
    """Each network learns from the labels of its own minibatch, and so does what is generated for it."""
    torch.manual_seed(3)
    options = {"width": 4, "dense_width": 16}
    trainer = trainer_of("dcgan_authors_mnist", info(1, 28, DIGITS), (options, options))
    gw = leaves(authors.mnist_gen_weights(ngf=4, ngfc=16))
    dw = leaves(authors.mnist_discrim_weights(ndf=4, ndfc=16))
    copy_weights(gw, trainer.parts.generator)
    copy_weights(dw, trainer.parts.discriminator)
    g_adam, d_adam = authors.Adam(gw, 2e-4, l2=2.5e-5), authors.Adam(dw, 2e-4, l2=2.5e-5)

    noise = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        real, labels = torch.rand(2 * COUNT, 1, 28, 28), torch.randint(10, (2 * COUNT,))
        trainer.train_step(Batch(real * 2 - 1, labels))
        classes = F.one_hot(labels, 10).float()
        first, second = classes.chunk(2)
        p_gen = authors.mnist_discrim(authors.mnist_gen(uniform(noise), first, gw), first, dw)
        g_adam.step(bce(p_gen, 1.0))
        p_real = authors.mnist_discrim(real[COUNT:], second, dw)
        p_gen = authors.mnist_discrim(authors.mnist_gen(uniform(noise), second, gw), second, dw)
        d_adam.step(bce(p_real, 1.0) + bce(p_gen, 0.0))

    assert_same_weights(trainer.parts.generator, gw, 2e-4)
    assert_same_weights(trainer.parts.discriminator, dw, 2e-4)


def test_authors_rate_falls_linearly_over_the_second_half() -> None:
    options = {"width": 4, "dense_width": 16}
    trainer = trainer_of("dcgan_authors_mnist", info(1, 28, DIGITS), (options, options))
    batch = Batch(torch.rand(2 * COUNT, 1, 28, 28), torch.randint(10, (2 * COUNT,)))
    rates = {}
    for step in (0, 499, 500, 750, 999):
        trainer.steps = step
        rates[step] = trainer.train_step(batch)["lr/generator"].item()
    expected = {0: 2e-4, 499: 2e-4, 500: 2e-4, 750: 1e-4, 999: 2e-4 / 500}
    assert {step: round(rate / 2e-4, 6) for step, rate in rates.items()} == {
        step: round(rate / 2e-4, 6) for step, rate in expected.items()
    }


def test_gan_in_action_step() -> None:
    """Discriminator on real, then on generated images of inference mode; the generator on new latents.

    One step: those biases whose gradient is rounding alone move the inference-mode images of the next.
    """
    torch.manual_seed(4)
    trainer = trainer_of("gan_in_action_mnist", info(1, 28), ({"width": 4}, {"width": 4}))
    generator, discriminator = gan_in_action.Generator(f=4), gan_in_action.Discriminator(f=4)
    copy_weights(gan_in_action.generator_as_torch(generator), trainer.parts.generator)
    copy_weights(gan_in_action.discriminator_as_torch(discriminator), trainer.parts.discriminator)
    adams = (
        gan_in_action.Adam(leaves(generator.weights())),
        gan_in_action.Adam(leaves(discriminator.weights())),
    )

    noise = torch.Generator().manual_seed(0)
    real = torch.rand(COUNT, 28, 28, 1) * 2 - 1
    trainer.train_step(Batch(real.permute(0, 3, 1, 2)))
    z1, z2 = (torch.randn(COUNT, 100, generator=noise) for _ in range(2))
    gan_in_action.train_step(generator, discriminator, adams, real, z1, z2)

    before_norms = (3, 7)
    assert_same_weights(
        trainer.parts.generator, gan_in_action.generator_as_torch(generator), 1e-3, unmoved=before_norms
    )
    assert_same_weights(trainer.parts.discriminator, gan_in_action.discriminator_as_torch(discriminator), 1e-3)
    norms = [layer for layer in trainer.parts.generator.modules() if isinstance(layer, nn.BatchNorm2d)]
    for ours, theirs in zip(norms, generator.norms, strict=True):
        assert ours.num_batches_tracked == 1, "images for the discriminator leave the statistics alone"
        torch.testing.assert_close(ours.running_var, theirs.moving_variance, atol=1e-5, rtol=0)


def leaves(weights: list[Tensor]) -> list[Tensor]:
    return [weight.requires_grad_() for weight in weights]


def uniform(rng: torch.Generator) -> Tensor:
    return torch.rand(COUNT, 100, generator=rng) * 2 - 1


def bce(probabilities: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy(probabilities, torch.full_like(probabilities, target))
