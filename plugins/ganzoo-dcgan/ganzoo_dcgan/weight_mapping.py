"""Mapping of foreign tensors to networks, in order, shared by the importers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ganzoo.plugin import Assignment


@dataclass
class Matched:
    """State of networks filled with foreign tensors, and the record of their assignments."""

    networks: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    assignments: list[Assignment] = field(default_factory=list)

    def put(
        self, network: str, key: str, tensor: Tensor, *, source: str, shape: Iterable[int], change: str = ""
    ) -> None:
        """Assign `tensor` to `key` of `network`; `source` and `shape` are those of the foreign tensor."""
        self.networks.setdefault(network, {})[key] = tensor
        self.assignments.append(Assignment(source, tuple(shape), f"{network}.{key}", change))


def shapes_of(build: Callable[[], nn.Module]) -> dict[str, Tensor]:
    """Return the keys and shapes of the network of `build`, in order, without allocating its values."""
    with torch.device("meta"):
        state: dict[str, Any] = build().state_dict()
    return state
