"""An observer of the norms of the networks' weights."""

from __future__ import annotations

from torch.nn.utils import get_total_norm

from ganzoo.plugin import Observer, RunView, hookimpl
from ganzoo_analysis.configs import WeightNormsConfig


class WeightNorms(Observer):
    """Logs `weight_norm/<network>`, the L2 norm over all parameters."""

    Config = WeightNormsConfig
    config: WeightNormsConfig

    @hookimpl
    def step_ended(self, run: RunView, step: int) -> None:
        """Log the norms on schedule."""
        if step % self.config.every == 0:
            norms = {name: get_total_norm(network.parameters()) for name, network in run.networks.items()}
            run.log({f"weight_norm/{name}": float(norm) for name, norm in norms.items()})
