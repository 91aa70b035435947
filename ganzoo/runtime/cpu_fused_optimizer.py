"""Torch's fused optimizers on the CPU, for channels-last weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class ChannelsLastUpdates(TorchFunctionMode):
    """While open, pass channels-last tensors to fused optimizers as contiguous (N, H, W, C) views.

    Torch's CPU kernels step through the memory of a weight, its gradient and its moments together, whatever their
    strides are. They also copy each gradient that is not contiguous, and leave the copy unused, which took three
    times as long as the update itself. A gradient with other strides than its weight would update the wrong values;
    it is brought into the weight's order here.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call torch's function on contiguous views of the tensors."""
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
