"""Registers the components that ship with the core, as any plugin registers its own."""

from __future__ import annotations

from ganzoo.builtin import commands, configs, lints, optimizers
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.registry.registry import Registrar

LOSSES = "ganzoo.builtin.losses"
PENALTIES = "ganzoo.builtin.penalties"


@hookimpl
def register_losses(register: Registrar) -> None:
    """The classic losses, and the gradient penalties."""
    register("non_saturating", f"{LOSSES}:NonSaturating", config=configs.NonSaturatingConfig)
    register("minimax", f"{LOSSES}:Minimax", config=configs.MinimaxConfig)
    register("least_squares", f"{LOSSES}:LeastSquares", config=configs.LeastSquaresConfig)
    register("hinge", f"{LOSSES}:Hinge", config=configs.HingeConfig)
    register("wasserstein", f"{LOSSES}:Wasserstein", config=configs.WassersteinConfig)
    register("gradient_penalty", f"{PENALTIES}:GradientPenalty", config=configs.GradientPenaltyConfig)
    register("r1", f"{PENALTIES}:R1", config=configs.R1Config)
    register("r2", f"{PENALTIES}:R2", config=configs.R2Config)


@hookimpl
def register_datasets(register: Registrar) -> None:
    """scikit-learn's digits, and made-up images."""
    register("digits", "ganzoo.builtin.datasets:Digits", config=configs.DigitsConfig)
    register("synthetic", "ganzoo.builtin.datasets:Synthetic", config=configs.SyntheticConfig)


@hookimpl
def register_trainers(register: Registrar) -> None:
    """The trainer of the original GAN algorithm."""
    register("adversarial", "ganzoo.builtin.gan_trainer:GANTrainer", config=configs.GANTrainerConfig)


@hookimpl
def register_optimizers(register: Registrar) -> None:
    """Those of torch."""
    register("adam", optimizers.AdamConfig)
    register("adamw", optimizers.AdamWConfig)
    register("nadam", optimizers.NAdamConfig)
    register("radam", optimizers.RAdamConfig)
    register("adamax", optimizers.AdamaxConfig)
    register("sgd", optimizers.SGDConfig)
    register("rmsprop", optimizers.RMSpropConfig)


lint_recipe = hookimpl(lints.lint_recipe)
register_commands = hookimpl(commands.register_commands)
