"""Registers the trainers and optimizers with ganzoo."""

from __future__ import annotations

from ganzoo.plugin import Registrar, hookimpl
from ganzoo_trainers import configs


@hookimpl
def register_trainers(register: Registrar) -> None:
    """The unrolled GAN, and PacGAN."""
    register("unrolled", "ganzoo_trainers.unrolled:Unrolled", config=configs.UnrolledConfig)
    register("pacgan", "ganzoo_trainers.pacgan:PacGAN", config=configs.PacGANConfig)


@hookimpl
def register_optimizers(register: Registrar) -> None:
    """Lion."""
    register("lion", configs.LionConfig)
