"""The recipe: one TOML file that names the parts of a run, checked whole before anything is imported or built."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import tomli_w
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError, create_model, model_validator

from ganzoo.components.component import (
    DatasetConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    LossConfig,
    Options,
    PenaltyConfig,
    TrainerConfig,
)
from ganzoo.errors import Problem, RecipeError, RequestError
from ganzoo.overrides import apply_overrides
from ganzoo.plugin_manager import PluginManager
from ganzoo.reading import parse_toml
from ganzoo.recipe_checks import missing_plugins, unfit_parts, unmet_wishes
from ganzoo.recipe_errors import explain
from ganzoo.recipe_evaluation import EvaluationOptions, WatchdogOptions, evaluation_model
from ganzoo.registry import Registries


class RunOptions(Options):
    """How long a run is, where it writes, and what it can be repeated from."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    """Names the folder of runs below `root`, and the run on W&B."""
    seed: NonNegativeInt = 2333
    """Everything random follows from it."""
    steps: PositiveInt | None = None
    """Length in training steps; this or `epochs`."""
    epochs: PositiveFloat | None = None
    """Length in passes over the dataset; this or `steps`."""
    root: str = "runs"
    """Folder that run directories are made in, relative to the working directory."""
    log_every: PositiveInt = 10
    """Steps between two rows of metrics."""

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give either steps or epochs, one of the two")
        return self


class PluginOptions(Options):
    """What has to be installed for this recipe."""

    requires: tuple[str, ...] = ()
    """Distributions whose plugins the recipe uses, such as "ganzoo-dcgan"."""
    files: tuple[str, ...] = ()
    """Plugin files, relative to the recipe, that are imported when it is run: their code is executed then."""


class DeviceOptions(Options):
    """What the run computes on, and how."""

    accelerator: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    """auto: cuda where there is one, else mps, else cpu."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto: bf16 where the hardware computes in it, else fp32."""
    compile: bool = False
    """Compile both networks with torch.compile."""
    tf32: bool = False
    """On a CUDA GPU, let products in fp32 round their factors to TF32, which keeps 10 of 23 bits."""
    cuda_graphs: bool = False
    """Record the training step as a CUDA graph and replay it; for steps that are alike, on a CUDA GPU."""
    sync_batch_norm: bool = True
    """With several processes: batch norm takes its statistics from the images of all, or each process from its own."""


class SampleOptions(Options):
    """The grids that are made from fixed latents as the run goes on."""

    every: PositiveInt | None = None
    """Steps between two grids; left out: twenty over the run."""
    count: PositiveInt = 64
    """Images in a grid."""
    weights: Literal["auto", "ema", "raw"] = "auto"
    """auto: ema where the trainer keeps one."""
    batch_norm: Literal["auto", "running", "batch", "standing"] = "auto"
    """Statistics that batch norm takes: gathered in training, of the images made together, or gathered anew with
    the weights as they are; auto: running where the generator keeps them, else batch."""
    gif: bool = True
    """Write `samples/evolution.gif` at the end."""


class CheckpointOptions(Options):
    """When the state of the run is saved; it always is at the end and when the run is interrupted."""

    every: PositiveInt = 1000
    """Steps between two checkpoints."""
    keep: PositiveInt = Field(default=2, ge=2)
    """How many of the latest to keep."""
    keep_every: PositiveInt | None = None
    """Keep every n-th of them for good: 10 with `every = 1000` keeps those of steps 10000, 20000, …"""
    best: str | None = None
    """Name of a score, such as "fd_classifier": whenever it is evaluated at its best so far, the state is saved, and
    kept until a better one comes."""


class WandbOptions(Options):
    """Tracking on Weights & Biases."""

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """auto: WANDB_MODE if set, else online where a key is known, else offline; never a prompt."""
    project: str = "ganzoo"
    """Project on W&B."""
    entity: str | None = None
    """User or team; left out: the account's default."""
    group: str | None = None
    """Runs to be shown together; left out: the run's name, so that its seeds line up."""
    job_type: str = "train"
    """Kind of run within the group."""
    tags: tuple[str, ...] = ()
    """Tags beside those that ganzoo sets: the names of the parts."""
    checkpoints: Literal[False, True, "best", "all"] = False
    """Send checkpoints too, as artefacts. true: the last and, where `checkpoint.best` names a score, the best when the
    run has ended; "best": only that; "all": each when it is saved."""


class TrackingOptions(Options):
    """Where metrics go beside the run directory."""

    wandb: WandbOptions = WandbOptions()
    """Tracking on Weights & Biases."""


class Recipe(Options):
    """A whole run. The model that validates one is `recipe_model(registries)`, which knows the registered parts."""

    run: RunOptions
    """How long, where to, from which seed."""
    plugins: PluginOptions = PluginOptions()
    """What has to be installed."""
    device: DeviceOptions = DeviceOptions()
    """What to compute on."""
    dataset: DatasetConfig
    """The images."""
    generator: GeneratorConfig
    """The network that makes images."""
    discriminator: DiscriminatorConfig
    """The network that judges them."""
    loss: LossConfig
    """What both minimise."""
    penalties: tuple[PenaltyConfig, ...] = ()
    """Extra terms for either."""
    trainer: TrainerConfig
    """The update schedule and optimisers."""
    samples: SampleOptions = SampleOptions()
    """Grids from fixed latents."""
    checkpoint: CheckpointOptions = CheckpointOptions()
    """Saved states."""
    evaluation: EvaluationOptions = EvaluationOptions()
    """How samples are scored."""
    watchdog: WatchdogOptions = WatchdogOptions()
    """Telling of a run that goes wrong."""
    tracking: TrackingOptions = TrackingOptions()
    """Where metrics go."""

    def to_dict(self) -> dict[str, Any]:
        """Every option with its value as TOML has it; what is unset is left out, since TOML has no null."""
        return self.model_dump(mode="json", exclude_none=True)

    def to_toml(self) -> str:
        """The resolved recipe: running it again repeats the run."""
        return tomli_w.dumps(self.to_dict())


def recipe_model(registries: Registries, names: Collection[str] | None = None) -> type[Recipe]:
    """The pydantic model of a recipe whose component tables are those that are registered.

    Args:
        registries: of the components.
        names: of the components that are wanted; left out: all.
    """
    types: dict[str, Any] = {
        "dataset": registries.datasets.options_type(names),
        "generator": registries.generators.options_type(names),
        "discriminator": registries.discriminators.options_type(names),
        "loss": registries.losses.options_type(names),
        "penalties": tuple[registries.penalties.options_type(names), ...],  # type: ignore[misc]
        "trainer": registries.trainers.options_type(names),
        "evaluation": evaluation_model(registries, names),
    }
    tables: dict[str, Any] = {table: (of, Recipe.model_fields[table].default) for table, of in types.items()}
    return create_model("Recipe", __base__=Recipe, __doc__=Recipe.__doc__, **tables)


def recipe_schema(registries: Registries) -> dict[str, Any]:
    """The JSON schema of a recipe, with every component that is installed."""
    schema = recipe_model(registries).model_json_schema()
    return {**schema, "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "ganzoo recipe"}


LARGEST = 2**24
"""Bytes of a recipe at most: a link to a device never ends."""


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        RequestError: there is no such file, or it cannot be read.
        RecipeError: it is not TOML.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise RequestError(f"{path}: is larger than {LARGEST >> 20} MiB, which no recipe is")
        return parse_toml(content.decode())
    except FileNotFoundError:
        raise RequestError(f"{path}: there is no such recipe file") from None
    except IsADirectoryError:
        raise RequestError(f"{path}: is a folder; a recipe is one TOML file") from None
    except OSError as error:
        raise RequestError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise RecipeError(str(path), [Problem("", f"is not valid TOML: {error}")]) from error


def parse_recipe(
    tables: Mapping[str, Any],
    manager: PluginManager,
    *,
    source: str = "recipe",
    overrides: Iterable[str] = (),
) -> Recipe:
    """The recipe that `tables` describe, everything in it checked against what is installed.

    Args:
        tables: as read from TOML.
        manager: the installed plugins.
        source: how error messages name the recipe: its file.
        overrides: "path.to.key=value" each, set before the check.

    Raises:
        RecipeError: with everything that is wrong, each problem with its TOML path.
    """
    tables = apply_overrides(tables, overrides)
    problems = missing_plugins(tables, manager)
    text = json.dumps(tables)
    try:
        # To build what checks the options of all that is installed takes longer than all else that a command does.
        recipe = recipe_model(manager.registries, _named(tables)).model_validate_json(text, strict=True)
    except ValidationError:
        problems += _explained(text, tables, manager)
        raise RecipeError(source, problems) from None
    problems += [*unfit_parts(recipe), *unmet_wishes(recipe)]
    if problems:
        raise RecipeError(source, problems)
    return recipe


def load_recipe(path: str | Path, manager: PluginManager, overrides: Iterable[str] = ()) -> Recipe:
    """Read and check a recipe file.

    Raises:
        RequestError: the file cannot be read.
        RecipeError: with everything that is wrong in it.
    """
    path = Path(path)
    return parse_recipe(read_toml(path), manager, source=str(path), overrides=overrides)


def _named(tables: Mapping[str, Any]) -> set[str]:
    """The names of components that a recipe's tables give, right or not."""
    evaluation = tables.get("evaluation")
    nested = [evaluation.get("extractors")] if isinstance(evaluation, Mapping) else []
    listed = [*tables.values(), *nested]
    parts = [part for table in listed for part in (table if isinstance(table, list) else [table])]
    names = [part.get("name") for part in parts if isinstance(part, Mapping)]
    return {name for name in names if isinstance(name, str)}


def _explained(text: str, tables: Mapping[str, Any], manager: PluginManager) -> list[Problem]:
    """What is wrong with a recipe that does not pass, in view of all components that there are."""
    model = recipe_model(manager.registries)
    try:
        model.model_validate_json(text, strict=True)
    except ValidationError as error:
        return explain(error, tables, model, manager)
    raise AssertionError("a recipe that does not pass is wrong whatever else is installed")
