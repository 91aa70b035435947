"""The commands of the core: a table, so that neither `ganzoo --help` nor one command imports all of them."""

from __future__ import annotations

from ganzoo.registry.commands import CommandRegistrar, Section

COMMANDS: tuple[tuple[Section, str, str, str], ...] = (
    ("train", "run", "run", "Train a GAN."),
    ("train", "resume", "resume", "Continue a run from its last complete checkpoint."),
    ("train", "sweep", "sweep", "Train every combination with several seeds."),
    ("look", "sample", "sample", "Make images from a trained run."),
    ("look", "evaluate", "evaluate", "Score samples against the dataset."),
    ("look", "import", "import_", "Import weights trained elsewhere into a run directory."),
    ("compare", "compare", "compare", "Show runs side by side, grouped by their recipe."),
    ("data", "data", "data_commands", "Prepare datasets, and look at them."),
    ("data", "recipe", "recipe_commands", "Check, show and describe recipes."),
    ("plugins", "list", "list_components", "List what is installed of one kind."),
    ("plugins", "plugins", "plugins", "List the installed plugins."),
)
"""Section of `ganzoo --help`, which is the module in `ganzoo.cli` too; name; function; help."""

ELSEWHERE = {
    "bench": "ganzoo-bench",
    "export": "ganzoo-export",
    "new-plugin": "ganzoo-testing",
    "test-plugin": "ganzoo-testing",
    **dict.fromkeys(("latent-grid", "interpolate", "arithmetic", "direction", "invert"), "ganzoo-analysis"),
    **dict.fromkeys(("neighbors", "overfitting", "filters", "probe"), "ganzoo-analysis"),
}
"""Commands of distributions beside the core, to say which one to install."""


def register_commands(register: CommandRegistrar) -> None:
    """Register every command of the core."""
    for section, name, function, text in COMMANDS:
        register(name, f"ganzoo.cli.{section}:{function}", help=text, section=section)
