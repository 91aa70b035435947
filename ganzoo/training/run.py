"""Hold the state of one run, count its seconds, and give observers a read-only view of it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from operator import attrgetter
from types import FrameType, MappingProxyType
from typing import Any, cast

import torch
from torch import nn

from ganzoo.components.dataset import Batch
from ganzoo.components.network import Generator
from ganzoo.components.observer import RunView
from ganzoo.components.spec import DatasetInfo
from ganzoo.components.trainer import Trainer
from ganzoo.components.world import World
from ganzoo.data.loader import Loader
from ganzoo.data.packed_dataset import example_batch
from ganzoo.errors import Interrupted, LostProcessError, TrainingError
from ganzoo.recipe.model import Recipe
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.runtime.cpu_kernels import processor_name
from ganzoo.runtime.cpu_threads import adaptive_spinning
from ganzoo.runtime.device import Compute
from ganzoo.runtime.environment import describe_software
from ganzoo.runtime.memory import memory_errors
from ganzoo.runtime.signals import ends_at_once, heeded_signals
from ganzoo.storage.run_directory import ALERT, RunDirectory
from ganzoo.storage.summary import POSITION, SCORE, Status
from ganzoo.training.changed_environment import OPTIONS, training_options
from ganzoo.training.events import Events


class Clock:
    """Counts the seconds of training: of steps with their data, whoever watches the run.

    It stands still while observers are called, so evaluation, samples, checkpoints and trackers do not count, and
    neither does what comes before the first step.

    Args:
        synchronize: waits until the device has finished all queued work.
    """

    def __init__(self, synchronize: Callable[[], None]) -> None:
        self._synchronize = synchronize
        self.seconds = 0.0
        """Counted so far."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count while open."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - begun

    def settle(self) -> None:
        """Wait for the steps that are still queued on the device, and count that; before an observer uses it."""
        with self.running():
            self._synchronize()


@dataclass
class Run:
    """The state of one run: its recipe, its parts, and the steps taken so far."""

    recipe: Recipe
    directory: RunDirectory
    info: DatasetInfo
    compute: Compute
    trainer: Trainer
    loader: Loader
    events: Events
    total_steps: int
    manager: PluginManager = field(repr=False)
    """The plugins that its parts come from."""
    plugin_code: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Hash of the files of each plugin that it calls."""
    world: World = field(default_factory=World, repr=False)
    step: int = 0
    latest_metrics: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)
    """The last value of each metric since the last log point, on the device: not all come at every step."""
    resumed_from: int | None = None
    stop_signal: int | None = field(default=None, repr=False)
    error: BaseException | None = field(default=None, repr=False)
    time_to_target: float | None = None
    clock: Clock = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.clock = Clock(self.compute.synchronize)

    def end_at_target(self) -> None:
        """End the run after this step, at whose samples its target was reached."""
        if self.time_to_target is None:
            self.time_to_target = self.seconds

    @property
    def ending(self) -> bool:
        """Whether no step comes after this one: the run has its length, or has reached its target."""
        return self.step >= self.total_steps or self.time_to_target is not None

    @property
    def view(self) -> RunView:
        """The run as its observers see it."""
        return cast("RunView", ReadOnlyRun(self))

    def fire(self, event: str, **arguments: Any) -> None:
        """Call an event on every observer, with a read-only view of the run as `run`."""
        self.events.fire(event, run=self.view, **arguments)

    def log(self, figures: Mapping[str, float]) -> None:
        """Add figures of this step to the metrics, the console and the trackers.

        Raises:
            ValueError: a name is that of the run's position, or begins with "score/".
        """
        taken = [name for name in figures if name in (*POSITION, ALERT) or name.startswith(SCORE)]
        if taken:
            raise ValueError(f"{', '.join(taken)}: ganzoo itself logs figures of this name, take another")
        self.fire("figures_logged", step=self.step, figures={name: float(value) for name, value in figures.items()})

    @contextmanager
    def computing(self) -> Iterator[None]:
        """While open, compute as the run trains, and say in words why a step is not possible on this machine.

        Raises:
            TrainingError: there is not enough memory, or batch norm has a single value to normalize.
            DeviceError: compiled networks cannot be run.
            LostProcessError: another process was lost; the text says how to resume.
        """
        batch_size = self.recipe.trainer.batch_size

        def when() -> str:
            return f"in step {self.step + 1}"

        with (
            adaptive_spinning() if self.device.type == "cpu" else nullcontext(),
            self.compute.fp32_products(),
            self.compute.compiler_errors(),
            memory_errors(self.device, batch_size, when),
        ):
            try:
                yield
            except ValueError as error:
                if "more than 1 value per channel" not in str(error):
                    raise
                raise TrainingError(
                    f"a batch norm got one value of each channel {when()}, which it cannot normalize: "
                    f"--set trainer.batch_size={2 * self.world.world_size}, or more"
                ) from error
            except LostProcessError as error:
                raise LostProcessError(
                    f"step {self.step + 1}: {error}: `{self.directory.command('resume')}`, started as this run was, "
                    "goes on from its last checkpoint"
                ) from error

    @property
    def plugin_versions(self) -> Mapping[str, str]:
        """Version of every distribution that a loaded plugin came from, by its name."""
        return MappingProxyType(self.manager.distributions())

    @property
    def status(self) -> Status:
        """How it ended: "complete", "reached" its target, "interrupted" or "failed"."""
        if isinstance(self.error, Interrupted | KeyboardInterrupt | LostProcessError):
            return "interrupted"
        if self.error is None and self.time_to_target is not None:
            return "reached"
        return "complete" if self.error is None and self.step >= self.total_steps else "failed"

    @property
    def seconds(self) -> float:
        """Seconds of training so far, over all parts of a resumed run, as `clock` counts them."""
        return round(self.clock.seconds, 3)

    @property
    def device(self) -> torch.device:
        """The device that it trains on."""
        return self.compute.device

    @property
    def precision(self) -> str:
        """The precision: "fp32", "bf16" or "fp16"."""
        return self.compute.precision

    @property
    def compute_description(self) -> str:
        """The device and precision in words, and why they were chosen."""
        return str(self.compute)

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The networks by name, as the trainer gives them."""
        return MappingProxyType(self.trainer.networks())

    @property
    def images_per_step(self) -> int:
        """Real images in one step, over all processes."""
        return self.recipe.trainer.batch_size * self.recipe.trainer.batches_per_step

    @property
    def epoch(self) -> float:
        """Passes over the dataset so far."""
        return self.step * self.images_per_step / len(self.loader.packed)

    def fixed_latents(self, count: int) -> torch.Tensor:
        """Return `count` latents on the CPU, the same in every run of this seed and generator config."""
        return self.trainer.parts.generator.latents_of_seed(count, self.recipe.run.seed)

    def fixed_labels(self, count: int) -> torch.Tensor | None:
        """Return labels for the fixed latents, each class in turn; None where the generator takes no labels."""
        if "labels" not in self.trainer.parts.generator.uses:
            return None
        return self.loader.packed.example_labels(count)

    def fixed_examples(self, count: int) -> Batch | None:
        """Return the first `count` samples of the dataset, on the CPU; None where the generator takes no condition."""
        if "condition" not in self.trainer.parts.generator.uses:
            return None
        return example_batch(self.loader.packed, torch.arange(count))

    @property
    def sample_classes(self) -> str:
        """Which classes samples from the fixed latents are of in turn; empty where they are not of classes in turn."""
        if self.trainer.parts.generator.uses != {"labels"} or not self.info.class_names or self.info.labels is None:
            return ""
        return self.info.labels.told(range(len(self.info.class_names)))

    def weights_name(self, weights: str) -> str:
        """Resolve "auto": "ema" where the trainer keeps an average, else "raw"."""
        return "ema" if weights != "raw" and "generator_ema" in self.trainer.networks() else "raw"

    def sampling_generator(self, weights: str) -> Generator:
        """Return the generator to sample from: "ema", "raw", or "auto" for ema where the trainer keeps one.

        The steps before are waited for, so that their time is counted as theirs.
        """
        self.clock.settle()
        name = {"ema": "generator_ema", "raw": "generator"}[self.weights_name(weights)]
        generator = self.trainer.networks()[name]
        assert isinstance(generator, Generator)
        return generator

    @contextmanager
    def noting_interrupts(self) -> Iterator[None]:
        """Raise KeyboardInterrupt on Ctrl-C, and again at the end where the code inside swallowed it."""

        def note(number: int, frame: FrameType | None) -> None:
            self.stop_signal = number
            raise KeyboardInterrupt

        ours = threading.current_thread() is threading.main_thread()
        if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            yield  # the caller handles signals
            return
        signal.signal(signal.SIGINT, note)
        try:
            yield
            if self.stop_signal is not None:
                raise KeyboardInterrupt
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    @contextmanager
    def stopping_on_signals(self, saving: ExitStack) -> Iterator[None]:
        """Let the step finish and the state be saved on SIGINT, SIGTERM or SIGHUP; a second Ctrl-C ends it at once.

        An interrupted run keeps the handlers until `saving` ends. With several processes none ends it at once: torchrun
        and a scheduler may each send one, and torchrun kills what does not end. It also signals the processes that are
        left when one ends, which must still report that.
        """

        def request_stop(number: int, frame: FrameType | None) -> None:
            self.stop_signal = self.stop_signal or number
            if self.world.world_size == 1:
                restore([each for each in previous if ends_at_once(number, each)])

        def restore(numbers: Iterable[int]) -> None:
            for number in numbers:
                signal.signal(number, previous[number])

        try:
            previous = heeded_signals()
            for number in previous:
                signal.signal(number, request_stop)
        except ValueError:  # only the main thread can handle signals; elsewhere the caller does
            yield
            return
        try:
            yield
        except BaseException as error:
            if self.world.world_size == 1:
                if isinstance(error, Interrupted):
                    saving.callback(restore, previous)
                else:
                    restore(previous)
            raise
        restore(previous)


class ReadOnlyRun:
    """The attributes of `RunView`, read from a run; none can be set."""

    __slots__ = ("_run",)

    def __init__(self, run: Run) -> None:
        self._run = run


_PLACES = {"world_size": "world.world_size", "dataset": "loader.packed", "loss": "trainer.parts.loss"}
for _name in (*RunView.__annotations__, *vars(RunView)):
    if not _name.startswith("_"):
        setattr(ReadOnlyRun, _name, property(attrgetter(f"_run.{_PLACES.get(_name, _name)}")))


def describe_environment(run: Run) -> dict[str, Any]:
    """Return the content of `environment.json`, without the environment variables of the process."""
    device = run.compute.device
    return {
        **describe_software(run.plugin_versions),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name(),
        "processes": run.world.world_size,
        "threads": torch.get_num_threads(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "precision": run.compute.precision,
        "why": run.compute.reason,
        "images": len(run.loader.packed),
        "data": run.loader.packed.checksums(),
        "pack": run.loader.packed.key,
        "plugin_code": dict(run.plugin_code),
        OPTIONS: training_options(run.recipe.to_dict()),
        "skipped_images": list(run.loader.packed.skipped),
        "findings": list(run.loader.packed.findings),
    }
