"""The one import for plugin authors: hooks, contracts, options and errors.

    from ganzoo.plugin import Loss, LossConfig, Registrar, hookimpl

Each name is imported when it is first asked for, so that a plugin can register its components without torch.
"""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganzoo.builtin.configs import GANTrainerConfig, NonSaturatingConfig
    from ganzoo.builtin.gan_trainer import GANTrainer
    from ganzoo.builtin.losses import NonSaturating
    from ganzoo.builtin.optimizers import AdamConfig, NAdamConfig, RMSpropConfig, SGDConfig
    from ganzoo.builtin.penalties import squared_gradient_norm
    from ganzoo.components.dataset import Batch, Dataset, FakeBatch, LabeledImages, SampleSource, StoredImages
    from ganzoo.components.extractor import Extractor
    from ganzoo.components.importer import Assignment, ImportedWeights, Importer
    from ganzoo.components.loss import Loss
    from ganzoo.components.metric import Metric, MetricInputs
    from ganzoo.components.network import Discriminator, Generator
    from ganzoo.components.observer import AgentSweep, Alert, Observer, RecipeView, Report, RunView, Tracker
    from ganzoo.components.options import (
        ComponentConfig,
        DatasetConfig,
        DiscriminatorConfig,
        ExtractorConfig,
        GeneratorConfig,
        ImageDatasetConfig,
        ImageSize,
        ImporterConfig,
        LossConfig,
        MetricConfig,
        ObserverConfig,
        OptimizerConfig,
        Options,
        PenaltyConfig,
        TrackerConfig,
        TrainerConfig,
        VectorDatasetConfig,
    )
    from ganzoo.components.penalty import Penalty, PenaltyStep
    from ganzoo.components.schedule import Progress, Schedule, Scheduled, value_at
    from ganzoo.components.spec import DatasetInfo, ImageSpec, LabelSpec, UnfitDataError, VectorSpec, square_size
    from ganzoo.components.trainer import Failure, Trainer, TrainingParts
    from ganzoo.components.world import World
    from ganzoo.data.image_files import count_frames, decode_image, readable_suffixes
    from ganzoo.data.packed_dataset import pack_dataset, real_images
    from ganzoo.data.samples import SampleReader
    from ganzoo.data.tensor_cache import cached_tensors
    from ganzoo.data.transforms import check_array, eight_bit_image, upright
    from ganzoo.errors import (
        DataError,
        DivergedError,
        GanzooError,
        OutputError,
        PluginError,
        Problem,
        RequestError,
        RunDirectoryError,
        TrainingError,
        first_line,
    )
    from ganzoo.evaluation.evaluation_log import Evaluation, read_evaluations
    from ganzoo.evaluation.protocol import differences
    from ganzoo.recipe.model import Recipe
    from ganzoo.recipe.overrides import Overrides
    from ganzoo.registry.commands import CommandRegistrar
    from ganzoo.registry.hookspecs import hookimpl
    from ganzoo.registry.plugin_manager import PluginManager, check_hooks, plugin_manager
    from ganzoo.registry.registry import Entry, Registrar
    from ganzoo.runtime.random_state import kept_random_state
    from ganzoo.sampling.trained_run import TrainedRun
    from ganzoo.storage.disk import new_folder
    from ganzoo.storage.exported import seal_export
    from ganzoo.storage.run_directory import RunDirectory
    from ganzoo.storage.safe_load import CodeError, load_tensors
    from ganzoo.terminal import count_progress, say, warn
    from ganzoo.text import markdown, printable, shell_word
    from ganzoo.training.ema import EMA
    from ganzoo.training.optimizer_step import current_lr, options_at
    from ganzoo.training.optimizing_trainer import OptimizingTrainer
    from ganzoo.training.run import Run
    from ganzoo.untrusted import open_file, read_bytes, read_text

__all__ = [
    "EMA",
    "AdamConfig",
    "AgentSweep",
    "Alert",
    "Assignment",
    "Batch",
    "CodeError",
    "CommandRegistrar",
    "ComponentConfig",
    "DataError",
    "Dataset",
    "DatasetConfig",
    "DatasetInfo",
    "Discriminator",
    "DiscriminatorConfig",
    "DivergedError",
    "Entry",
    "Evaluation",
    "Extractor",
    "ExtractorConfig",
    "Failure",
    "FakeBatch",
    "GANTrainer",
    "GANTrainerConfig",
    "GanzooError",
    "Generator",
    "GeneratorConfig",
    "ImageDatasetConfig",
    "ImageSize",
    "ImageSpec",
    "ImportedWeights",
    "Importer",
    "ImporterConfig",
    "LabelSpec",
    "LabeledImages",
    "Loss",
    "LossConfig",
    "Metric",
    "MetricConfig",
    "MetricInputs",
    "NAdamConfig",
    "NonSaturating",
    "NonSaturatingConfig",
    "Observer",
    "ObserverConfig",
    "OptimizerConfig",
    "OptimizingTrainer",
    "Options",
    "OutputError",
    "Overrides",
    "Penalty",
    "PenaltyConfig",
    "PenaltyStep",
    "PluginError",
    "PluginManager",
    "Problem",
    "Progress",
    "RMSpropConfig",
    "Recipe",
    "RecipeView",
    "Registrar",
    "Report",
    "RequestError",
    "Run",
    "RunDirectory",
    "RunDirectoryError",
    "RunView",
    "SGDConfig",
    "SampleReader",
    "SampleSource",
    "Schedule",
    "Scheduled",
    "StoredImages",
    "Tracker",
    "TrackerConfig",
    "TrainedRun",
    "Trainer",
    "TrainerConfig",
    "TrainingError",
    "TrainingParts",
    "UnfitDataError",
    "VectorDatasetConfig",
    "VectorSpec",
    "World",
    "cached_tensors",
    "check_array",
    "check_hooks",
    "count_frames",
    "count_progress",
    "current_lr",
    "decode_image",
    "differences",
    "eight_bit_image",
    "first_line",
    "hookimpl",
    "kept_random_state",
    "load_tensors",
    "markdown",
    "new_folder",
    "open_file",
    "options_at",
    "pack_dataset",
    "plugin_manager",
    "printable",
    "read_bytes",
    "read_evaluations",
    "read_text",
    "readable_suffixes",
    "real_images",
    "say",
    "seal_export",
    "shell_word",
    "square_size",
    "squared_gradient_norm",
    "upright",
    "value_at",
    "warn",
]


@cache
def _module_of() -> dict[str, str | None]:
    """Return the module of each name, as the imports for the type checker above have it."""
    parsed = ast.walk(ast.parse(inspect.getsource(sys.modules[__name__])))
    return {alias.name: node.module for node in parsed if isinstance(node, ast.ImportFrom) for alias in node.names}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(str(_module_of()[name])), name)


def __dir__() -> list[str]:
    return sorted(__all__)
