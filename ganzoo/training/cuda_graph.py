"""Record a training step once as a CUDA graph and replay it, which saves the time of launching kernels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ganzoo.components.dataset import Batch
from ganzoo.components.trainer import Trainer
from ganzoo.errors import Problem, RecipeError
from ganzoo.runtime.device import Compute
from ganzoo.training.optimizing_trainer import OptimizingTrainer

WARM_UP = 3
"""Steps before the recording, so that libraries have chosen their kernels."""

Metrics = dict[str, Tensor]


class CUDAGraph:
    """Records work on a GPU and replays it.

    Args:
        rng: generator that the work draws from; each replay draws the next numbers, as the work itself would.
    """

    def __init__(self, rng: torch.Generator) -> None:
        self._graph = torch.cuda.CUDAGraph()
        self._graph.register_generator_state(rng)
        self._metrics: Metrics = {}

    def warm_up(self, work: Callable[[], Metrics]) -> Metrics:
        """Run work on a side stream, as a recording does."""
        usual, beside = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        beside.wait_stream(usual)
        with torch.cuda.stream(beside):
            metrics = work()
        usual.wait_stream(beside)
        return metrics

    def record(self, work: Callable[[], Metrics]) -> None:
        """Record work without running it, while another thread may load data."""
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._metrics = work()

    def replay(self) -> Metrics:
        """Replay the recorded work; the next replay overwrites the tensors that are returned."""
        self._graph.replay()
        return self._metrics


class RecordedStep:
    """The work of a trainer's step: run as usual at first, then recorded, then replayed.

    Args:
        trainer: whose step it is.
        recorder: records it.
    """

    def __init__(self, trainer: OptimizingTrainer, recorder: CUDAGraph) -> None:
        self._trainer = trainer
        self._recorder = recorder
        self._warmed_up = 0
        self._batch: Batch | None = None
        self._after_replay: Callable[[], None] | None = None

    def __call__(self, batch: Batch) -> Metrics:
        """Train on `batch`, of the same shape each time."""
        if self._warmed_up < WARM_UP:
            self._warmed_up += 1
            return self._recorder.warm_up(lambda: self._trainer.compute_step(batch))
        if self._batch is None or self._after_replay is None:
            self._trainer.failure()  # waits for the device, so that the steps before are complete
            given = self._batch = batch.map(torch.clone)
            self._recorder.record(lambda: self._trainer.compute_step(given))
            self._after_replay = self._trainer.recorded()
        else:
            for name, tensor in vars(self._batch).items():
                if tensor is not None:
                    tensor.copy_(getattr(batch, name))
        metrics = self._recorder.replay()
        self._after_replay()
        return metrics


def record_steps(trainer: Trainer, compute: Compute, recorder: CUDAGraph | None = None) -> None:
    """Make a trainer replay its steps from a CUDA graph.

    Args:
        trainer: takes the steps.
        compute: what it computes on.
        recorder: records them; default: a CUDA graph.

    Raises:
        RecipeError: the steps cannot be recorded; the text says why, and what to change.
    """
    reason: str | None
    if compute.device.type != "cuda":
        reason = f"CUDA graphs need a CUDA GPU, and this run is on {compute.device.type}"
    elif not isinstance(trainer, OptimizingTrainer):
        reason = f'the trainer "{trainer.config.name}" does not say whether its steps are alike'
    else:
        reason = trainer.unrecordable()
    if reason is not None:
        raise RecipeError("recipe", [Problem("device.cuda_graphs", f"{reason}; set device.cuda_graphs to false")])
    assert isinstance(trainer, OptimizingTrainer)
    for optimizer in trainer.optimizers():
        for group in optimizer.param_groups:
            if "capturable" in group:  # keeps the optimizer's count of steps on the device
                group["capturable"] = True
    trainer.work = RecordedStep(trainer, recorder or CUDAGraph(trainer.parts.rng))
