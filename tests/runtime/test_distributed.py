"""Several processes train what one trains that has the whole minibatch; they find a GPU each, and each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import joint_runs
import pytest
import torch
from joint_runs import CASES, train_all
from safetensors.torch import load_file
from torchrun import Ranks

from ganzoo.components.world import World
from ganzoo.errors import DeviceError
from ganzoo.recipe.model import DeviceOptions
from ganzoo.runtime import device
from ganzoo.runtime.device import choose_compute
from ganzoo.runtime.distributed import DistributedWorld, SynchronizedBatchNorm, world_from_env

TIMED = ("seconds", "images_per_second")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every case, trained by two processes below `joint` and by this one below `alone`."""
    root = tmp_path_factory.mktemp("runs")
    child = Ranks(2, Path(joint_runs.__file__), root / "joint")
    _, err = child.communicate(timeout=600)
    assert child.returncode == 0, err
    assert "Traceback" not in err
    assert err.count("complete: 3 steps") == len(CASES)  # one process speaks
    train_all(CASES, root / "alone")
    return root


def rows(run: Path) -> list[dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in TIMED} for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_what_one_does(runs: Path, case: str):
    ours, theirs = (runs / who / case / "0001" for who in ("joint", "alone"))
    for file in sorted((theirs / "checkpoints/step_0000003").glob("*.safetensors")):
        alone, joint = load_file(file), load_file(ours / "checkpoints/step_0000003" / file.name)
        for name, tensor in alone.items():
            torch.testing.assert_close(joint[name], tensor, rtol=1e-5, atol=1e-5, msg=f"{file.stem}: {name}")
    assert len(rows(theirs)) == 3
    for joint_row, row in zip(rows(ours), rows(theirs), strict=True):
        assert joint_row == pytest.approx(row, rel=1e-4, abs=1e-5)


def test_joint_batch_norm_is_torchs():
    """Of a few values, where the variance of a sample is far from that of the batch."""
    world, theirs = World(), torch.nn.BatchNorm2d(3)
    world.in_step = True
    ours = SynchronizedBatchNorm(torch.nn.BatchNorm2d(3), world)
    images = torch.randn(2, 3, 1, 2, generator=torch.Generator().manual_seed(0)) * 3 + 1
    torch.testing.assert_close(ours(images), theirs(images))
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())


def test_without_torchrun_a_process_is_alone(monkeypatch: pytest.MonkeyPatch):
    assert type(world_from_env()) is World
    monkeypatch.setenv("WORLD_SIZE", "4")  # some schedulers set this one by themselves
    assert type(world_from_env()) is World


def test_torchrun_with_one_process_is_alone(monkeypatch: pytest.MonkeyPatch):
    variables = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    for name, value in {**variables, "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    assert type(world_from_env()) is World


def test_each_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch):
    chosen = []
    monkeypatch.setattr(device, "available_accelerators", lambda: ["cuda", "cpu"])
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    options = DeviceOptions(precision="fp32")
    assert choose_compute(options, DistributedWorld(3, 4, 1, 2)).device == torch.device("cuda:1")
    assert chosen == [1]
    with pytest.raises(DeviceError, match=r"3 processes were started on this machine, which has 2 GPUs: .*node 2"):
        choose_compute(options, DistributedWorld(0, 3, 0, 3))


def test_processes_do_not_share_mps(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(device, "available_accelerators", lambda: ["mps", "cpu"])
    two = DistributedWorld(0, 2, 0, 2)
    assert choose_compute(DeviceOptions(precision="fp32")).device.type == "mps"
    assert choose_compute(DeviceOptions(precision="fp32"), two).device.type == "cpu"
    with pytest.raises(DeviceError, match='"mps" is not there for several processes'):
        choose_compute(DeviceOptions(accelerator="mps"), two)


def test_no_graph_is_recorded_of_a_joint_step():
    with pytest.raises(DeviceError, match=r"^device\.cuda_graphs: .* set it to false$"):
        choose_compute(DeviceOptions(cuda_graphs=True), DistributedWorld(0, 2, 0, 2))
