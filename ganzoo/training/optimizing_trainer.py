"""The state of a trainer with optimizers and averages, and what the training loop asks of it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from ganzoo.components.dataset import Batch
from ganzoo.components.options import OptimizerConfig, TrainerConfig
from ganzoo.components.schedule import Progress, scheduled
from ganzoo.components.trainer import Failure, Trainer, TrainingParts
from ganzoo.runtime.restored import check_like
from ganzoo.training.ema import EMA
from ganzoo.training.non_finite import NonFiniteGuard
from ganzoo.training.optimizer_step import OptimizerStep, skips_non_finite
from ganzoo.training.penalties import Penalties


class OptimizingTrainer(Trainer):
    """A trainer with an optimizer for each kind of network, averages of the generators, and penalties.

    A derived class adds its optimizers and averages when it is constructed, has the updates in `compute_step`, and in
    `end_step` updates the averages and counts the step.

    Unless `unrecordable` returns a reason, `compute_step` can be recorded as a CUDA graph and replayed. Then it must
    not read a value from the device, nor branch on what changes from step to step, and may keep state only in tensors
    that it changes in place.
    """

    def __init__(self, config: TrainerConfig, *, parts: TrainingParts) -> None:
        super().__init__(config, parts=parts)
        self.work: Callable[[Batch], dict[str, Tensor]] = self.compute_step
        """The function that computes a step: `compute_step`, or a recording of it."""
        self.steps = 0
        """Training steps taken."""
        self.optimizer_steps: dict[str, OptimizerStep] = {}
        """The optimizer of each kind of network, by the names that `add_optimizer` was given."""
        self.emas: dict[str, EMA] = {}
        """Averages of generators, by the generators' names."""
        self.penalties = Penalties(parts)
        self.guard = NonFiniteGuard(parts.rng.device)
        self._rng_state = parts.rng.get_state()

    def add_optimizer(
        self, name: str, networks: Mapping[str, nn.Module], options: OptimizerConfig, **more: Any
    ) -> None:
        """Build the optimizer of some networks; the arguments are those of `OptimizerStep`."""
        self.optimizer_steps[name] = OptimizerStep(
            name,
            networks,
            options,
            at=self.progress,
            guard=self.guard,
            scaling=self.parts.loss_scaling,
            world=self.parts.world,
            **more,
        )

    @property
    def progress(self) -> Progress:
        """How far the run is."""
        images = self.config.batch_size * self.config.batches_per_step
        return Progress(self.steps, self.parts.total_steps, images)

    def train_step(self, batch: Batch) -> dict[str, Tensor]:
        """Call `begin_step`, `compute_step` or a recording of it, and `end_step`; return the metrics."""
        self.begin_step()
        metrics = self.work(batch)
        self.end_step()
        return metrics

    @abstractmethod
    def compute_step(self, batch: Batch) -> dict[str, Tensor]:
        """Train on `config.batches_per_step` minibatches; returns scalars, detached and on the device."""

    @abstractmethod
    def end_step(self) -> None:
        """Do the bookkeeping after the work; never recorded."""

    def begin_step(self) -> None:
        """Set the scheduled options, and keep the state of the random numbers in case the step is not finite."""
        now = self.progress
        recorded = self.work != self.compute_step
        for step in self.optimizer_steps.values():
            step.set_scheduled(now, on_device=recorded)
        self.penalties.begin_step(now)
        self._rng_state = self.parts.rng.get_state()

    def optimizer_step(self, name: str, objective: Tensor | None = None) -> None:
        """Update networks by the gradient of `objective`, a scalar; the update is skipped if it is not finite."""
        self.optimizer_steps[name].step(objective, number=self.steps + 1, rng=self._rng_state)

    def update_ema(self) -> None:
        """Update the averages of the generators' weights, if they are kept."""
        for name, ema in self.emas.items():
            ema.update(self.parts.networks[name], self.progress)

    def networks(self) -> dict[str, nn.Module]:
        """Return the networks, an average of each generator as `generator_ema`, and the penalties that have a state."""
        averages = {f"{name}_ema": ema.module for name, ema in self.emas.items()}
        stateful = {f"penalty_{name}": each for name, each in self.parts.penalties.items() if each.state_dict()}
        return {**self.parts.networks, **averages, **stateful}

    def state_dict(self) -> dict[str, Any]:
        """Return the state of optimizers, loss scalers and counters."""
        return {
            "optimizers": {name: step.state_dict() for name, step in self.optimizer_steps.items()},
            "ema_updates": {name: ema.updates for name, ema in self.emas.items()},
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        counters = {"ema_updates": dict.fromkeys(self.emas, 0), "steps": 0}
        check_like({key: state[key] for key in counters}, counters, "trainer")
        for name, step in self.optimizer_steps.items():
            step.load_state_dict(state["optimizers"][name])
        for name, ema in self.emas.items():
            ema.updates = state["ema_updates"][name]
        self.steps = state["steps"]

    def expensive_metrics(self) -> dict[str, Tensor]:
        """Return the norm of the gradient in the last update of each optimizer."""
        return {f"gradient_norm/{name}": step.gradient_norm() for name, step in self.optimizer_steps.items()}

    def failure(self) -> Failure | None:
        """Return the first update whose loss or gradient was not finite; no weight has moved since."""
        return self.guard.failure()

    def optimizers(self) -> list[Optimizer]:
        """Return the optimizers, in the order that they were added in."""
        return [step.optimizer for step in self.optimizer_steps.values()]

    def unrecordable(self) -> str | None:
        """Return what in the options may make one step differ from another; None: nothing does."""
        for name, step in self.optimizer_steps.items():
            if others := sorted(scheduled(step.options).keys() - {"lr"}):
                return f"{others[0]} of the {name}'s optimizer has a schedule, and its step takes that as a number"
        for name, penalty in self.parts.penalties.items():
            if penalty.config.interval > 1:
                return f'the penalty "{name}" is not taken at every step (interval)'
            if not penalty.cuda_graph_safe:
                return f'the penalty "{name}" does not say that it does the same at each step'
        if self.parts.loss_scaling and not all(map(skips_non_finite, self.optimizers())):
            return "in fp16, an optimizer that is not fused looks at its gradients on the host at each step"
        return None

    def recorded(self) -> Callable[[], None]:
        """Return a function that, called after each replay of a CUDA graph, has the guard check its updates."""
        return self.guard.recorded(lambda: (self.steps + 1, self._rng_state))
