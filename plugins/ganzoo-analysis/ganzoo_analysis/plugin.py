"""Register the commands, the observer and the tracker with ganzoo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganzoo.plugin import CommandRegistrar, hookimpl

if TYPE_CHECKING:
    from ganzoo.plugin import Registrar  # imports pydantic, for which `ganzoo --help` would wait


@hookimpl
def register_commands(register: CommandRegistrar) -> None:
    """Register the commands that look into a run."""
    latent, networks = "ganzoo_analysis.latent_commands", "ganzoo_analysis.network_commands"
    register("latent-grid", f"{latent}:latent_grid", help="Draw a grid of 100 numbered images, to pick latents from.")
    register("interpolate", f"{latent}:interpolate", help="Walk from latent to latent.")
    register("arithmetic", f"{latent}:arithmetic", help="Add and subtract concepts in latent space.")
    register("direction", f"{latent}:direction", help="Move images along the difference of two properties.")
    register("invert", "ganzoo_analysis.invert_command:invert", help="Find the latents of given images.")
    register("neighbors", f"{networks}:neighbors", help="Draw samples beside the training images nearest to them.")
    register("overfitting", f"{networks}:overfitting", help="Measure how far the discriminator overfits.")
    register("filters", f"{networks}:filters", help="Draw filters, and what features respond to.")
    register("probe", "ganzoo_analysis.probe_command:probe", help="Measure the discriminator as a feature extractor.")


@hookimpl
def register_observers(register: Registrar) -> None:
    """Register the observer of weights and the tracker for spreadsheets."""
    from ganzoo_analysis import configs

    register("weight_norms", "ganzoo_analysis.weight_norms:WeightNorms", config=configs.WeightNormsConfig)
    register("csv", "ganzoo_analysis.csv_tracker:CSVTracker", config=configs.CSVConfig)
