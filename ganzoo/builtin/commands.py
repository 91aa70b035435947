"""The commands of the core: a table, so that neither `ganzoo --help` nor one command imports all of them."""

from __future__ import annotations

from ganzoo.registry.commands import CommandRegistrar


def register_commands(register: CommandRegistrar) -> None:
    """Every command of the core under its section."""
    register("run", "ganzoo.cli.run:run", help="Train a GAN.", section="train")
    register(
        "resume", "ganzoo.cli.run:resume", help="Go on with a run from its last whole checkpoint.", section="train"
    )
    register("sweep", "ganzoo.cli.sweep:sweep", help="Train every combination with several seeds.", section="train")
    register(
        "bench",
        "ganzoo.cli.bench:bench",
        help="Measure training: images a second, memory, where the time goes.",
        section="train",
    )
    register("sample", "ganzoo.cli.sample:sample", help="Make images from a trained run.")
    register("evaluate", "ganzoo.cli.evaluate:evaluate", help="Score samples against the dataset.")
    register("export", "ganzoo.cli.export:export", help="Write the generator into a folder to give away.")
    register("import", "ganzoo.cli.import_weights:import_", help="Bring weights from elsewhere into a run directory.")
    register(
        "compare",
        "ganzoo.cli.compare:compare",
        help="Show runs side by side, grouped by their recipe.",
        section="compare",
    )
    register("data", "ganzoo.cli.data:commands", help="Prepare datasets, and look at them.", section="data")
    register("recipe", "ganzoo.cli.recipe:commands", help="Check, show and describe recipes.", section="data")
    register("list", "ganzoo.cli.list:list_components", help="List what is installed of one kind.", section="plugins")
    register("plugins", "ganzoo.cli.list:plugins", help="List the installed plugins.", section="plugins")
    register(
        "new-plugin",
        "ganzoo.cli.new_plugin:new_plugin",
        help="Write a plugin that installs, passes its own tests and trains.",
        section="plugins",
    )
