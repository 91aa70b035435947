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

# The list of the public names. A type checker takes a name for public by its `as`.
if TYPE_CHECKING:
    from ganzoo.builtin.configs import GANTrainerConfig as GANTrainerConfig
    from ganzoo.builtin.configs import NonSaturatingConfig as NonSaturatingConfig
    from ganzoo.builtin.gan_trainer import GANTrainer as GANTrainer
    from ganzoo.builtin.losses import NonSaturating as NonSaturating
    from ganzoo.builtin.optimizers import AdamConfig as AdamConfig
    from ganzoo.builtin.optimizers import NAdamConfig as NAdamConfig
    from ganzoo.builtin.optimizers import RMSpropConfig as RMSpropConfig
    from ganzoo.builtin.optimizers import SGDConfig as SGDConfig
    from ganzoo.builtin.penalties import squared_gradient_norm as squared_gradient_norm
    from ganzoo.components.dataset import Batch as Batch
    from ganzoo.components.dataset import Dataset as Dataset
    from ganzoo.components.dataset import FakeBatch as FakeBatch
    from ganzoo.components.dataset import LabeledImages as LabeledImages
    from ganzoo.components.dataset import SampleSource as SampleSource
    from ganzoo.components.dataset import StoredImages as StoredImages
    from ganzoo.components.extractor import Extractor as Extractor
    from ganzoo.components.importer import Assignment as Assignment
    from ganzoo.components.importer import ImportedWeights as ImportedWeights
    from ganzoo.components.importer import Importer as Importer
    from ganzoo.components.loss import Loss as Loss
    from ganzoo.components.metric import Metric as Metric
    from ganzoo.components.metric import MetricInputs as MetricInputs
    from ganzoo.components.network import Discriminator as Discriminator
    from ganzoo.components.network import Generator as Generator
    from ganzoo.components.observer import AgentSweep as AgentSweep
    from ganzoo.components.observer import Alert as Alert
    from ganzoo.components.observer import Observer as Observer
    from ganzoo.components.observer import RecipeView as RecipeView
    from ganzoo.components.observer import Report as Report
    from ganzoo.components.observer import RunView as RunView
    from ganzoo.components.observer import Tracker as Tracker
    from ganzoo.components.options import ComponentConfig as ComponentConfig
    from ganzoo.components.options import DatasetConfig as DatasetConfig
    from ganzoo.components.options import DiscriminatorConfig as DiscriminatorConfig
    from ganzoo.components.options import ExtractorConfig as ExtractorConfig
    from ganzoo.components.options import GeneratorConfig as GeneratorConfig
    from ganzoo.components.options import ImageDatasetConfig as ImageDatasetConfig
    from ganzoo.components.options import ImageSize as ImageSize
    from ganzoo.components.options import ImporterConfig as ImporterConfig
    from ganzoo.components.options import LossConfig as LossConfig
    from ganzoo.components.options import MetricConfig as MetricConfig
    from ganzoo.components.options import ObserverConfig as ObserverConfig
    from ganzoo.components.options import OptimizerConfig as OptimizerConfig
    from ganzoo.components.options import Options as Options
    from ganzoo.components.options import PenaltyConfig as PenaltyConfig
    from ganzoo.components.options import TrackerConfig as TrackerConfig
    from ganzoo.components.options import TrainerConfig as TrainerConfig
    from ganzoo.components.options import VectorDatasetConfig as VectorDatasetConfig
    from ganzoo.components.penalty import Penalty as Penalty
    from ganzoo.components.penalty import PenaltyStep as PenaltyStep
    from ganzoo.components.schedule import Progress as Progress
    from ganzoo.components.schedule import Schedule as Schedule
    from ganzoo.components.schedule import Scheduled as Scheduled
    from ganzoo.components.schedule import value_at as value_at
    from ganzoo.components.spec import DatasetInfo as DatasetInfo
    from ganzoo.components.spec import ImageSpec as ImageSpec
    from ganzoo.components.spec import LabelSpec as LabelSpec
    from ganzoo.components.spec import UnfitDataError as UnfitDataError
    from ganzoo.components.spec import VectorSpec as VectorSpec
    from ganzoo.components.spec import square_size as square_size
    from ganzoo.components.trainer import Failure as Failure
    from ganzoo.components.trainer import Trainer as Trainer
    from ganzoo.components.trainer import TrainingParts as TrainingParts
    from ganzoo.components.world import World as World
    from ganzoo.data.decode import unusable_reason as unusable_reason
    from ganzoo.data.image_files import count_frames as count_frames
    from ganzoo.data.image_files import decode_image as decode_image
    from ganzoo.data.image_files import readable_suffixes as readable_suffixes
    from ganzoo.data.packed_dataset import code_of as code_of
    from ganzoo.data.packed_dataset import pack_dataset as pack_dataset
    from ganzoo.data.packed_dataset import real_images as real_images
    from ganzoo.data.samples import SampleReader as SampleReader
    from ganzoo.data.samples import class_of as class_of
    from ganzoo.data.tensor_cache import cached_tensors as cached_tensors
    from ganzoo.data.transforms import check_array as check_array
    from ganzoo.data.transforms import eight_bit_image as eight_bit_image
    from ganzoo.data.transforms import upright as upright
    from ganzoo.errors import DataError as DataError
    from ganzoo.errors import DivergedError as DivergedError
    from ganzoo.errors import GanzooError as GanzooError
    from ganzoo.errors import OutputError as OutputError
    from ganzoo.errors import PluginError as PluginError
    from ganzoo.errors import Problem as Problem
    from ganzoo.errors import RequestError as RequestError
    from ganzoo.errors import RunDirectoryError as RunDirectoryError
    from ganzoo.errors import TrainingError as TrainingError
    from ganzoo.errors import first_line as first_line
    from ganzoo.evaluation.evaluation_log import Evaluation as Evaluation
    from ganzoo.evaluation.evaluation_log import read_evaluations as read_evaluations
    from ganzoo.evaluation.protocol import differences as differences
    from ganzoo.recipe.model import Recipe as Recipe
    from ganzoo.recipe.overrides import Overrides as Overrides
    from ganzoo.registry.commands import CommandRegistrar as CommandRegistrar
    from ganzoo.registry.hookspecs import hookimpl as hookimpl
    from ganzoo.registry.plugin_manager import PluginManager as PluginManager
    from ganzoo.registry.plugin_manager import check_hooks as check_hooks
    from ganzoo.registry.plugin_manager import plugin_manager as plugin_manager
    from ganzoo.registry.registry import Entry as Entry
    from ganzoo.registry.registry import Registrar as Registrar
    from ganzoo.runtime.environment import chosen_entries as chosen_entries
    from ganzoo.runtime.random_state import kept_random_state as kept_random_state
    from ganzoo.sampling.trained_run import TrainedRun as TrainedRun
    from ganzoo.storage.disk import new_folder as new_folder
    from ganzoo.storage.exported import seal_export as seal_export
    from ganzoo.storage.run_directory import RunDirectory as RunDirectory
    from ganzoo.storage.safe_load import load_tensors as load_tensors
    from ganzoo.terminal import count_progress as count_progress
    from ganzoo.terminal import say as say
    from ganzoo.terminal import warn as warn
    from ganzoo.text import markdown as markdown
    from ganzoo.text import printable as printable
    from ganzoo.text import shell_word as shell_word
    from ganzoo.training.ema import EMA as EMA
    from ganzoo.training.optimizer_step import frozen as frozen
    from ganzoo.training.optimizer_step import options_at as options_at
    from ganzoo.training.optimizing_trainer import OptimizingTrainer as OptimizingTrainer
    from ganzoo.training.run import Run as Run
    from ganzoo.untrusted import CodeError as CodeError
    from ganzoo.untrusted import open_file as open_file
    from ganzoo.untrusted import read_bytes as read_bytes
    from ganzoo.untrusted import read_text as read_text


@cache
def _modules() -> dict[str, str]:
    """Return the module of each public name, as the imports for the type checker above have it."""
    parsed = ast.walk(ast.parse(inspect.getsource(sys.modules[__name__])))
    found = [node for node in parsed if isinstance(node, ast.ImportFrom) and str(node.module).startswith("ganzoo.")]
    return {alias.name: str(node.module) for node in found for alias in node.names}


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return __dir__()
    if name.startswith("_") or name not in _modules():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_modules()[name]), name)


def __dir__() -> list[str]:
    return sorted(_modules())
