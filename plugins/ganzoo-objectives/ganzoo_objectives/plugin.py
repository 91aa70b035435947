"""Registers the losses and penalties with ganzoo, and warns of what does not go with them."""

from __future__ import annotations

from ganzoo.plugin import Problem, RecipeView, Registrar, hookimpl
from ganzoo_objectives import configs

HERE = "ganzoo_objectives"


@hookimpl
def register_losses(register: Registrar) -> None:
    """Relativistic and smoothed losses; penalties on weights, gradients and features; noise and augmentation."""
    register(
        "relativistic_average", f"{HERE}.relativistic:RelativisticAverage", config=configs.RelativisticAverageConfig
    )
    register(
        "relativistic_pairing", f"{HERE}.relativistic:RelativisticPairing", config=configs.RelativisticPairingConfig
    )
    register("label_smoothing", f"{HERE}.smoothing:LabelSmoothing", config=configs.LabelSmoothingConfig)
    register("weight_clipping", f"{HERE}.clipping:WeightClipping", config=configs.WeightClippingConfig)
    register("dragan", f"{HERE}.dragan:DRAGAN", config=configs.DRAGANConfig)
    register("feature_matching", f"{HERE}.feature_matching:FeatureMatching", config=configs.FeatureMatchingConfig)
    register("instance_noise", f"{HERE}.instance_noise:InstanceNoise", config=configs.InstanceNoiseConfig)
    register("diff_augment", f"{HERE}.augment:DiffAugment", config=configs.DiffAugmentConfig)
    register("adaptive_augment", f"{HERE}.augment:AdaptiveAugment", config=configs.AdaptiveAugmentConfig)


@hookimpl
def lint_recipe(recipe: RecipeView) -> list[Problem]:
    """Weight clipping on a critic with spectral norm."""
    if not recipe.discriminator.has_spectral_norm:
        return []
    return [
        Problem(
            f"penalties.{index}",
            f'"{penalty.name}" clamps weights that spectral norm in "{recipe.discriminator.name}" then divides by '
            f"their largest singular value: it bounds nothing that is not bounded already, and bends the weights. "
            f"Either of the two keeps a critic Lipschitz: leave the clipping out",
        )
        for index, penalty in enumerate(recipe.penalties)
        if isinstance(penalty, configs.WeightClippingConfig)
    ]
