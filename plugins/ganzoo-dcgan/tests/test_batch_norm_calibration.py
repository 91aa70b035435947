"""Batch statistics averaged over batches: as computed by hand, and gone afterwards."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from ganzoo_dcgan.batch_norm_calibration import calibrated_batch_norm
from torch import Tensor, nn

BATCHES = [torch.randn(6, 2, 5, 5, generator=torch.Generator().manual_seed(seed)) * (seed + 1) for seed in range(3)]


class Small(nn.Module):
    """Two convolutions with batch norms, and a norm that nothing reaches."""

    def __init__(self, track: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(2, 3, 3)
        self.norm = nn.BatchNorm2d(3, track_running_stats=track)
        self.second = nn.Conv2d(3, 4, 3)
        self.last_norm = nn.BatchNorm2d(4, track_running_stats=track)
        self.unreached = nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        return self.last_norm(self.second(F.relu(self.norm(self.first(images)))))


@pytest.mark.parametrize("track", [True, False])
def test_mean_of_the_batches(track: bool):
    network = Small(track)
    firsts = [network.first(batch) for batch in BATCHES]
    seconds = [network.second(F.relu(F.batch_norm(one, None, None, training=True))) for one in firsts]
    with torch.no_grad(), calibrated_batch_norm(network, BATCHES):
        for norm, inputs in ((network.norm, firsts), (network.last_norm, seconds)):
            mean = torch.stack([one.mean((0, 2, 3)) for one in inputs]).mean(0)
            variance = torch.stack([one.var((0, 2, 3), unbiased=False) for one in inputs]).mean(0)
            torch.testing.assert_close(norm.running_mean, mean)
            torch.testing.assert_close(norm.running_var, variance)
        # Fixed: an image is judged alike whatever comes with it.
        together = network(BATCHES[0])
        torch.testing.assert_close(network(BATCHES[0][:1]), together[:1])
        torch.testing.assert_close(network.unreached.running_mean, torch.zeros(4))
        assert not network.norm.training


@pytest.mark.parametrize("track", [True, False])
def test_all_is_put_back(track: bool):
    network = Small(track).train()
    network.second.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]

    def misuse() -> None:
        with calibrated_batch_norm(network, BATCHES):
            raise KeyError

    with pytest.raises(KeyError):
        misuse()
    after = network.state_dict()
    assert after.keys() == before.keys()
    assert all(after[name].equal(before[name]) for name in before)
    assert [module.training for module in network.modules()] == modes
    assert network.norm.track_running_stats is track
    assert (network.norm.running_mean is None) is not track
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_without_batch_norm():
    network = nn.Conv2d(2, 3, 3).train()
    with calibrated_batch_norm(network, BATCHES):
        assert not network.training
    assert network.training
