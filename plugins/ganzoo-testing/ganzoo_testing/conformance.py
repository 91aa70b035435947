"""Conformance checks of any component, and a short training run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from ganzoo import api
from ganzoo.plugin import (
    ComponentConfig,
    DataError,
    Dataset,
    DatasetConfig,
    Discriminator,
    DiscriminatorConfig,
    Entry,
    Extractor,
    ExtractorConfig,
    GanzooError,
    Generator,
    GeneratorConfig,
    Importer,
    ImporterConfig,
    Loss,
    LossConfig,
    Metric,
    MetricConfig,
    Observer,
    ObserverConfig,
    OptimizerConfig,
    Penalty,
    PenaltyConfig,
    PluginError,
    PluginManager,
    Tracker,
    TrackerConfig,
    TrainedRun,
    Trainer,
    TrainerConfig,
    first_line,
    plugin_manager,
)
from ganzoo_testing.checks import check_dataset, check_extractor, check_metric, check_observer
from ganzoo_testing.fixtures import ConformanceError, require, seeded, small_options, takes_schedule
from ganzoo_testing.networks import check_discriminator, check_generator
from ganzoo_testing.training import check_loss, check_optimizer, check_penalty, check_trainer


class Contract(NamedTuple):
    """What components of a kind are: their base class (an optimizer is its config), and the check of one, if any."""

    kind: str
    config: type[ComponentConfig]
    base: type[Any]
    check: Callable[..., None] | None = None


CONTRACTS = (
    Contract("generator", GeneratorConfig, Generator, check_generator),
    Contract("discriminator", DiscriminatorConfig, Discriminator, check_discriminator),
    Contract("loss", LossConfig, Loss, check_loss),
    Contract("penalty", PenaltyConfig, Penalty, check_penalty),
    Contract("dataset", DatasetConfig, Dataset, check_dataset),
    Contract("trainer", TrainerConfig, Trainer, check_trainer),
    Contract("importer", ImporterConfig, Importer),
    Contract("extractor", ExtractorConfig, Extractor, check_extractor),
    Contract("metric", MetricConfig, Metric, check_metric),
    Contract("optimizer", OptimizerConfig, OptimizerConfig, check_optimizer),
    Contract("observer", ObserverConfig, Observer, check_observer),
    Contract("tracker", TrackerConfig, Tracker, check_observer),
)


def contract_of(entry: Entry) -> Contract:
    """Return the contract of a component, by its options."""
    return next(each for each in CONTRACTS if issubclass(entry.options, each.config))


def describe(entry: Entry) -> str:
    """Return kind and name of a component, such as "generator dcgan"."""
    return f"{contract_of(entry).kind} {entry.name}"


def components_of(plugin: str, manager: PluginManager | None = None) -> list[Entry]:
    """Return all components that a distribution's plugins, or a plugin file, register.

    Args:
        plugin: name of the distribution, or path of a plugin file that the manager has.
        manager: the plugins to look at; default: those installed.

    Raises:
        PluginError: it is not installed, or one of its plugins is broken.
    """
    manager = manager or plugin_manager()
    names = plugins_of(plugin, manager)
    return [entry for registry in manager.registries.all() for entry in registry if entry.plugin in names]


def plugins_of(plugin: str, manager: PluginManager) -> set[str]:
    """Return the plugins of a distribution, or that of a plugin file, as components name them.

    Raises:
        PluginError: it is not installed, or one of its plugins is broken.
    """
    file = str(Path(plugin).resolve())
    found = manager.of_distribution(plugin) or [each for each in manager.plugins if each.module == file]
    if not found:
        raise PluginError(f"{plugin}: no plugin of it is installed; `pip install -e .` in its folder does it")
    for each in found:
        if each.status != "loaded":
            raise PluginError(f"the plugin {each} is {each.status}: {each.error}")
    return {str(each) for each in found}


def hooks_of(plugin: str, manager: PluginManager) -> list[str]:
    """Return the hooks that a plugin has beside those that register, whose names and arguments loading it checks."""
    found = [
        caller.name
        for name in plugins_of(plugin, manager)
        for caller in manager.pluggy.get_hookcallers(manager.pluggy.get_plugin(name)) or ()
    ]
    return sorted({name for name in found if not name.startswith("register_")})


def check_command(command: Any) -> None:
    """Check that a command, as `manager.commands` has it, can be imported and that typer makes a command of it.

    Raises:
        ConformanceError: with what to change.
    """
    import typer

    try:
        target = command.load()
        app = typer.Typer()
        app.add_typer(target, name=command.name) if isinstance(target, typer.Typer) else app.command()(target)
        typer.main.get_command(app)
    except PluginError as error:
        raise ConformanceError(str(error)) from error
    except Exception as error:
        raise ConformanceError(
            f"command {command.name} of the plugin {command.plugin}: typer makes no command of {command.target}: "
            f"{type(error).__name__}: {first_line(error)}"
        ) from error


def check_component(entry: Entry, manager: PluginManager | None = None, /, **options: Any) -> None:
    """Check that a component conforms to the interface of its kind.

    Args:
        entry: the component, as a registry or `components_of` gives it.
        manager: the plugins that it is one of; default: those installed.
        options: for its config, where those of `small_options` do not suit it.

    Raises:
        ConformanceError: it does not; the text says what to change.
        DataError: files that it needs are missing; nothing is downloaded.
    """
    told = f"{describe(entry)} of the plugin {entry.plugin}"
    try:
        check_config(entry, **options)
        if check := contract_of(entry).check:
            of_others = {"manager": manager} if check in (check_penalty, check_trainer) else {}
            seeded(partial(check, entry, **of_others, **options))
    except DataError:
        raise
    except (ConformanceError, GanzooError) as error:
        raise ConformanceError(f"{told}: {error}") from error
    except Exception as error:
        raise ConformanceError(f"{told}: raises {type(error).__name__}: {first_line(error)}") from error


def check_config(entry: Entry, **options: Any) -> None:
    """Check the base class, and that options are documented, refuse unknown keys, and survive a recipe's round trip.

    Raises:
        ConformanceError: with what to change.
    """
    contract = contract_of(entry).base
    try:
        require(issubclass(entry.load(), contract), f"its class does not derive from {contract.__name__}")
    except PluginError as error:
        raise ConformanceError(str(error)) from error
    if not issubclass(entry.config, PenaltyConfig | TrainerConfig | OptimizerConfig):
        fields = entry.config.model_fields.items()
        scheduled = [name for name, field in fields if takes_schedule(field.annotation)]
        require(
            not scheduled,
            f"the options {', '.join(scheduled)} take a schedule, and only penalties, trainers and optimizers know the "
            f"step: make them numbers",
        )
    config = small_options(entry, options)
    try:
        again = type(config).model_validate_json(config.model_dump_json(exclude_none=True, by_alias=True), strict=True)
    except ValidationError as error:
        wrong = error.errors()[0]
        told = f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}"
        raise ConformanceError(f"its config does not come back from a recipe: {told}") from error
    require(again == config, "its config changes on the way through a recipe: give options types that TOML has")
    shown = entry.config.model_json_schema()["properties"]
    undocumented = sorted(name for name, told in shown.items() if name != "name" and "description" not in told)
    require(
        not undocumented,
        f"the options {', '.join(undocumented)} have no text under them, which the JSON schema and the docs show",
    )
    try:
        entry.config(name=entry.name, **{**options, "no_such_option": 1})
    except ValidationError:
        return
    raise ConformanceError('its config takes unknown keys: leave `extra` as it is, "forbid"')


def train_briefly(
    recipe: str | Path, folder: Path, *overrides: str, manager: PluginManager | None = None
) -> TrainedRun:
    """Train two steps of a recipe with small minibatches, on the CPU and without trackers that it does not name.

    Args:
        recipe: its file.
        folder: where the run directory is made.
        overrides: "path.to.key=value", applied last.
        manager: the plugins to use; default: those installed.
    """
    brief: dict[str, Any] = {
        "run.steps": 2,
        "run.log_every": 1,
        "run.root": str(folder),
        "trainer.batch_size": 8,
        "device.accelerator": "cpu",
        "device.precision": "fp32",
        "samples.count": 4,
        "samples.gif": False,
    }
    for entry in (manager or plugin_manager()).registries.trackers:
        brief |= {f"tracking.{entry.name}.{key}": value for key, value in entry.options.off.items()}
    return api.run(recipe, [*brief.items(), *overrides], manager=manager)
