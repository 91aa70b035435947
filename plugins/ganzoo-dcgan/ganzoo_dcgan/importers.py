"""The options of the importers of foreign weights, without torch."""

from __future__ import annotations

from ganzoo.plugin import ImporterConfig


class Radford2016DumpConfig(ImporterConfig):
    """A folder of the DCGAN authors' weights: `…gen_params.jl_NN.npy` and `…discrim_params.jl_NN.npy`."""


class TutorialStateConfig(ImporterConfig):
    """A PyTorch state dict of the tutorials' DCGAN (`main.0.weight`, …), alone or inside a checkpoint."""
