"""Take optimizer steps: scale the loss, average and clip the gradients, and skip steps that are not finite."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ganzoo.components.options import OptimizerConfig
from ganzoo.components.schedule import Progress, scheduled, value_at
from ganzoo.components.world import World
from ganzoo.errors import PluginError
from ganzoo.runtime.cpu_kernels import ChannelsLastUpdates
from ganzoo.runtime.restored import check_like, in_words
from ganzoo.training.non_finite import NonFiniteGuard, Update


class OptimizerStep:
    """Takes the steps of one optimizer.

    Args:
        name: of the network, or of those that it moves together.
        networks: by name, whose gradient is clipped.
        options: of the optimizer, over the networks' parameters and `others`.
        at: the step that the run is at.
        guard: shared by the optimizers of a run.
        others: further parameters that this optimizer updates, by name.
        clip: largest norm of the gradient of all networks; None: no clipping.
        scaling: whether to scale the loss, as fp16 needs it.
        world: the processes that take the same step, each with the gradient of its part of the minibatch.
        lazy: intervals of the penalties with updates of their own, for which rate and betas are corrected.

    Raises:
        PluginError: an option with a schedule is none of the optimizer's groups.
    """

    def __init__(
        self,
        name: str,
        networks: Mapping[str, nn.Module],
        options: OptimizerConfig,
        *,
        at: Progress,
        guard: NonFiniteGuard,
        others: Mapping[str, Tensor] | None = None,
        clip: float | None = None,
        scaling: bool = False,
        world: World | None = None,
        lazy: Iterable[int] = (),
    ) -> None:
        self.name = name
        self.networks = nn.ModuleDict(networks)
        self.options = options
        self.scaler = torch.amp.GradScaler(guard.found_inf.device.type, enabled=scaling)
        self._guard = guard
        self._clip = clip
        self._world = world or World()
        self._parameters: dict[str, Tensor] = {**dict(self.networks.named_parameters()), **(others or {})}
        self._others = len(others or {})
        self._share = 1 / (1 + sum(1 / interval for interval in lazy))
        self.optimizer = options_at(options, at, self._share).build(self._parameters.values())
        self._scheduled = tuple(scheduled(options))
        for option in self._scheduled:
            if any(option not in group for group in self.optimizer.param_groups):
                raise PluginError(
                    f'the optimizer "{options.name}" of the {name} cannot follow a schedule of {option}: its '
                    f'param_groups have no "{option}". Give a number, or let its `build` make groups with that key'
                )
        self._loss: Tensor | None = None
        self._norms: Tensor | None = None
        self._before: list[Tensor] | None = None
        self._built: list[dict[str, Any]] = []
        """The options in the optimizer's groups before its first step in this process."""

    def add(self, loss: Tensor) -> None:
        """Add a loss, and its gradient, to what the next step decreases."""
        if self._loss is None:
            self.optimizer.zero_grad(set_to_none=True)
        if self.scaler.is_enabled():  # the scaler takes no step where the gradient is NaN
            loss = loss * torch.where(loss.isfinite() & (self._guard.found_inf == 0), 1.0, math.nan)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._loss = loss.detach() if self._loss is None else self._loss + loss.detach()

    def step(self, loss: Tensor | None = None, *, number: int, rng: Tensor) -> None:
        """Take a step that decreases the losses added since the last; none is taken once an update was not finite.

        Args:
            loss: one more to add.
            number: the training step's.
            rng: the state of the run's random numbers at the beginning of that step.
        """
        if loss is not None:
            self.add(loss)
        assert self._loss is not None, "nothing to minimize"
        self._note_built()
        loss, self._loss = self._loss, None
        # The loss is averaged too, so that all processes find it finite, or none does.
        self._world.all_reduce_mean_([loss, *(p.grad for p in self._parameters.values() if p.grad is not None)])
        if self._clip is not None or self.scaler.is_enabled():
            self.scaler.unscale_(self.optimizer)
        norms = self._norms = self._norm_of_each(loss.dtype)
        if self.scaler.is_enabled():  # they count as 0 while the scaler can still lower its scale
            norms = torch.where(self.scaler.scale(torch.ones_like(loss)) > 1, torch.zeros_like(norms), norms)
        self._guard.check(Update(self.name, number, rng, list(self._parameters), torch.cat([loss[None], norms])))
        if self._clip is not None:
            nn.utils.clip_grad_norm_(self.networks.parameters(), self._clip)
        self._move()

    def set_scheduled(self, at: Progress, *, on_device: bool = False) -> None:
        """Set the scheduled options of the optimizer for a step, in tensors where a CUDA graph reads them."""
        if not self._scheduled:
            return
        now = options_at(self.options, at, self._share)
        for name in self._scheduled:
            value = getattr(now, name)
            for group in self.optimizer.param_groups:
                if isinstance(group[name], Tensor):
                    group[name].fill_(value)
                else:
                    group[name] = torch.tensor(value, device=group["params"][0].device) if on_device else value

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the optimizer, by the names of its parameters, and of the loss scaler."""
        optimizer = optimizer_state(self.optimizer, self._parameters)
        return {"optimizer": optimizer, "moved": self._moved(), "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; the options of the optimizer stay those it was built with.

        One that the optimizer itself changes, such as a count of its steps, goes on where it was, unless it was built
        with another value now.

        Raises:
            ValueError: it is of another optimizer or of other parameters.
        """
        load_optimizer(self.optimizer, state["optimizer"], self._parameters, f"{self.name}_optimizer")
        self._note_built()
        for group, moved in zip(self.optimizer.param_groups, state.get("moved", ()), strict=False):
            for key, (was, now) in moved.items():
                if _same(group[key], was):
                    if not all(isinstance(each, int | float | None) for each in (was, now)):
                        check_like(now, group[key], f"{self.name}_optimizer: {key}")
                    group[key] = now
        if self.scaler.is_enabled() and state["scaler"]:  # empty where the run was in another precision before
            check_like(state["scaler"], self.scaler.state_dict(), f"{self.name}: scaler")
            self.scaler.load_state_dict(state["scaler"])

    def learning_rate(self) -> Tensor:
        """Return the learning rate of the optimizer's first group, a scalar on the device."""
        lr = self.optimizer.param_groups[0]["lr"]
        return lr.clone() if isinstance(lr, Tensor) else torch.full((), lr, device=self._guard.found_inf.device)

    def gradient_norm(self) -> Tensor:
        """Return the norm of the networks' gradient in the last update, before clipping, still on the device.

        0 where the gradient overflowed in fp16, and the scaler took no step.
        """
        assert self._norms is not None, "no step has been taken"
        norm = torch.linalg.vector_norm(self._norms[: len(self._norms) - self._others])
        return torch.where(norm.isfinite(), norm, 0.0) if self.scaler.is_enabled() else norm

    def _norm_of_each(self, dtype: torch.dtype) -> Tensor:
        """Return the norm of each parameter's gradient, 0 where there is none."""
        gradients = [parameter.grad for parameter in self._parameters.values()]
        present = [gradient for gradient in gradients if gradient is not None]
        norms = iter(torch._foreach_norm(present) if present else ())
        none = torch.zeros((), dtype=dtype, device=self._guard.found_inf.device)
        return torch.stack([none if gradient is None else next(norms).to(dtype) for gradient in gradients])

    def _move(self) -> None:
        """Take the optimizer's step unless an update was not finite."""
        if self.scaler.is_enabled():
            self.scaler.step(self.optimizer)
            self.scaler.update()
        elif skips_non_finite(self.optimizer):
            self.optimizer.found_inf = self._guard.found_inf  # type: ignore[attr-defined]
            with ChannelsLastUpdates() if self._guard.found_inf.device.type == "cpu" else nullcontext():
                self.optimizer.step()
        else:
            self._move_and_undo()

    def _note_built(self) -> None:
        self._built = self._built or [copy.deepcopy(group) for group in _options_of(self.optimizer)]

    def _moved(self) -> list[dict[str, tuple[Any, Any]]]:
        """Return the options that the optimizer itself has changed since it was built, by group: before and now."""
        pairs = zip(self._built, _options_of(self.optimizer), strict=False)
        changed = [{key: (was[key], now[key]) for key in was if not _same(was[key], now[key])} for was, now in pairs]
        return [{key: both for key, both in each.items() if key not in self._scheduled} for each in changed]

    @torch.no_grad()
    def _move_and_undo(self) -> None:
        parameters = list(self._parameters.values())
        if self._before is None:
            self._before = [torch.empty_like(parameter) for parameter in parameters]
        torch._foreach_copy_(self._before, parameters)
        self.optimizer.step()
        finite = self._guard.found_inf == 0
        for parameter, before in zip(parameters, self._before, strict=True):
            torch.where(finite, parameter, before, out=parameter)


def options_at(options: OptimizerConfig, at: Progress, share: float = 1.0) -> OptimizerConfig:
    """Return the options of an optimizer at a step, with numbers for schedules.

    Args:
        options: of the recipe.
        at: the step.
        share: c, the share of the updates that are not a lazy regularization's (arXiv 1912.04958, appendix B): the rate
            is multiplied by it, and betas are raised to its power.
    """
    now = {name: value_at(value, at) for name, value in options}
    if share != 1:
        now["lr"] *= share
        if "betas" in now:
            now["betas"] = tuple(beta**share for beta in now["betas"])
    return options.model_copy(update=now)


def skips_non_finite(optimizer: Optimizer) -> bool:
    """Return whether an optimizer takes no step where its `found_inf` is 1, as torch's fused ones do."""
    return bool(getattr(optimizer, "_step_supports_amp_scaling", False))


def optimizer_state(optimizer: Optimizer, parameters: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the state of an optimizer by the names of its parameters, where torch's own goes by their order."""
    state, names = optimizer.state_dict(), _names(optimizer, parameters)
    groups = [{**group, "params": [names[number] for number in group["params"]]} for group in state["param_groups"]]
    named = {names[key] if isinstance(key, int) else key: values for key, values in state["state"].items()}
    return {**state, "state": named, "param_groups": groups}


def load_optimizer(optimizer: Optimizer, state: dict[str, Any], parameters: Mapping[str, Tensor], what: str) -> None:
    """Restore the state that `optimizer_state` returned; the options stay those that the optimizer was built with.

    Fused kernels look at no shape and no stride, so each tensor is copied into one as the optimizer itself makes it.

    Raises:
        ValueError: the state is of another optimizer or of other parameters.
    """
    names = _names(optimizer, parameters)
    own, options = optimizer.state_dict()["param_groups"], _options_of(optimizer)
    for now, before, group in zip(options, state["param_groups"], own, strict=True):
        kept = {key for key in _OPTIONS_THAT_SHAPE_STATE if bool(now.get(key)) != bool(before.get(key))}
        if now.keys() != before.keys() - {"params"} or kept:
            raise ValueError(f"{what} is another one now, with nothing to go on from: leave it as it was")
        if other := set(before["params"]) ^ {names[number] for number in group["params"]}:
            raise ValueError(f"{what} is of other parameters than now, {min(map(str, other))} among them")
    expected = _state_after_a_step(optimizer)
    loaded: dict[Any, Any] = {}
    for name, values in state["state"].items():
        key = names.index(name) if name in names else name  # an optimizer may keep a state of all under another key
        if name not in names and key not in expected:
            raise ValueError(f"{what} has a state for {str(name)[:99]}, which it does not train")
        loaded[key] = _placed(values, expected.get(key), parameters.get(name), f"{what}: {name}")
    optimizer.load_state_dict({**state, "state": loaded, "param_groups": own})
    for group, kept_options in zip(optimizer.param_groups, options, strict=True):
        group.update(kept_options)


_OPTIONS_THAT_SHAPE_STATE = ("amsgrad", "centered", "momentum")


def _names(optimizer: Optimizer, parameters: Mapping[str, Tensor]) -> list[str]:
    """Return the name of each parameter in the order of `optimizer.state_dict()`; its number where it has none."""
    names = {id(parameter): name for name, parameter in parameters.items()}
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return [names.get(id(parameter), f"#{number}") for number, parameter in enumerate(trained)]


def _options_of(optimizer: Optimizer) -> list[dict[str, Any]]:
    return [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]


def _same(one: Any, other: Any) -> bool:
    both_tensors = isinstance(one, Tensor) and isinstance(other, Tensor)
    return torch.equal(one.cpu(), other.cpu()) if both_tensors else bool(one == other)


def _state_after_a_step(optimizer: Optimizer) -> dict[Any, Any]:
    """Return the state after the first step of a copy, as `state_dict` has it; none for one that takes no such step."""
    twin = copy.deepcopy(optimizer)
    vars(twin).update(vars(optimizer) | vars(twin))  # a copy lacks what torch's own constructor sets beside its state
    twin.state.clear()
    trained = [parameter for group in twin.param_groups for parameter in group["params"]]
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    try:
        twin.step()
    except Exception:  # of any kind: a plugin's optimizer may want more than gradients
        return {}
    others = {key: value for key, value in twin.state.items() if not isinstance(key, Tensor)}
    return {**others, **{number: twin.state[parameter] for number, parameter in enumerate(trained)}}


def _placed(values: Any, like: Any, parameter: Tensor | None, what: str) -> Any:
    """Return the state of a parameter in tensors that are as the optimizer's own.

    Of what a first step does not tell, each list may have any length, and further values the shape of the parameter.

    Raises:
        ValueError: it is not a state of this parameter.
    """
    if like is not None and not isinstance(like, dict):
        check_like(values, like, what)
        return values
    like = like or {}
    lists = {key for key, value in values.items() if isinstance(value, list) and isinstance(like.get(key), list)}
    later = values.keys() - like.keys()
    if values:  # none without a step
        found, expected = ({key: each[key] for key in each if key not in lists | later} for each in (values, like))
        check_like(found, expected, what)
    own = like | {key: _like_parameter(values[key], parameter, f"{what}.{key}") for key in later}
    return {
        key: torch.empty_like(own[key]).copy_(value) if isinstance(value, Tensor) else value
        for key, value in values.items()
    }


def _like_parameter(value: Any, parameter: Tensor | None, what: str) -> Any:
    """Return the form that a state must have whose optimizer cannot be asked: a number, or one for each weight."""
    if isinstance(value, Tensor) and parameter is not None and value.shape == parameter.shape:
        return torch.empty_like(parameter, dtype=value.dtype)
    if (isinstance(value, Tensor) and value.numel() == 1) or isinstance(value, int | float | str | None):
        return value
    raise ValueError(f"{what} is {in_words(value)}, and goes with no parameter of this shape")


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Keep the parameters of `module` from accumulating gradients, which still flow through it."""
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
