"""Foreign tensors and the networks they are for, matched in order: what the importers share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ganzoo.plugin import Assignment


@dataclass
class Matched:
    """Networks as they fill up with foreign tensors, and the record of what went where."""

    networks: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    assignments: list[Assignment] = field(default_factory=list)

    def put(
        self, network: str, key: str, tensor: Tensor, *, source: str, shape: Iterable[int], change: str = ""
    ) -> None:
        """Let `tensor` be `key` of `network`; `source` and `shape` say what it was made of."""
        self.networks.setdefault(network, {})[key] = tensor
        self.assignments.append(Assignment(source, tuple(shape), f"{network}.{key}", change))


def state_of(build: Callable[[], nn.Module]) -> dict[str, Tensor]:
    """The keys and shapes that the network of `build` has, in order, without memory for its values."""
    with torch.device("meta"):
        state: dict[str, Any] = build().state_dict()
    return state
