"""Torch's fused optimizers on a CPU, for weights that are channels-last in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class InMemoryOrder(TorchFunctionMode):
    """While open, fused optimizers get channels-last tensors as what they are in memory: contiguous (N, H, W, C).

    On a CPU torch's kernels go through the memory of a weight, its gradient and its moments side by side, whatever
    their strides are. They also copy each gradient that is not contiguous, and leave the copy unused, which took three
    times as long as the update itself. A gradient whose strides are not the weight's would move the wrong weights; it
    is brought into their order here.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Torch's function, on other views of the same tensors."""
        if func in _FUSED:
            args = _in_memory_order(*args)
        return func(*args, **(kwargs or {}))


_FUSED = {torch._fused_adam_, torch._fused_adamw_, torch._fused_sgd_}


def _in_memory_order(
    parameters: Sequence[Tensor], gradients: Sequence[Tensor], *states: Sequence[Tensor]
) -> tuple[Any, ...]:
    gradients = [_strided_as(*pair) for pair in zip(gradients, parameters, strict=True)]
    return tuple([_as_contiguous(tensor) for tensor in tensors] for tensors in (parameters, gradients, *states))


def _strided_as(gradient: Tensor, parameter: Tensor) -> Tensor:
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


def _as_contiguous(tensor: Tensor) -> Tensor:
    if tensor.is_contiguous() or not tensor.is_contiguous(memory_format=torch.channels_last):
        return tensor
    return tensor.permute(0, 2, 3, 1)
