"""Choosing the device and the precision."""

from __future__ import annotations

import pytest
import torch

from ganzoo.errors import DeviceError
from ganzoo.recipe.model import DeviceOptions
from ganzoo.runtime.device import Compute, available_accelerators, choose_compute


@pytest.fixture
def accelerators(monkeypatch: pytest.MonkeyPatch):
    """Pretend that the machine has these and no others."""

    def have(*names: str) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in names)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in names)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)

    return have


@pytest.mark.parametrize(
    ("there", "chosen"), [((), "cpu"), (("mps",), "mps"), (("cuda",), "cuda"), (("cuda", "mps"), "cuda")]
)
def test_auto_takes_the_best(accelerators, there: tuple[str, ...], chosen: str):
    accelerators(*there)
    compute = choose_compute(DeviceOptions())
    assert compute.device.type == chosen
    assert available_accelerators()[-1] == "cpu"
    if chosen != "cpu":
        assert compute.precision == "fp32"  # this pretended GPU only emulates bf16


@pytest.mark.parametrize("accelerator", ["cuda", "mps"])
def test_accelerator_that_is_not_there(accelerators, accelerator: str):
    accelerators()
    with pytest.raises(DeviceError) as caught:
        choose_compute(DeviceOptions(accelerator=accelerator))
    assert str(caught.value).startswith(f'device.accelerator: "{accelerator}" is not there; this machine has: cpu.')
    assert caught.value.exit_code == 2


def test_fp16_on_the_cpu_is_refused():
    with pytest.raises(DeviceError, match=r'"fp16" needs a GPU.*"bf16", "fp32" or "auto"'):
        choose_compute(DeviceOptions(accelerator="cpu", precision="fp16"))


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16"), ({"avx2": True}, "fp32"), ({}, "fp32")],
)
def test_auto_precision_follows_the_cpu(monkeypatch: pytest.MonkeyPatch, capabilities: dict, precision: str):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    compute = choose_compute(DeviceOptions(accelerator="cpu"))
    assert compute.precision == precision
    assert "bf16" in compute.reason


def test_autocast_computes_in_the_precision():
    left = torch.ones(2, 2)
    dtypes = {}
    for precision in ("fp32", "bf16"):
        with choose_compute(DeviceOptions(accelerator="cpu", precision=precision)).autocast():
            dtypes[precision] = (left @ left).dtype
    assert dtypes == {"fp32": torch.float32, "bf16": torch.bfloat16}


def test_only_fp16_scales_losses():
    cpu = torch.device("cpu")
    assert [Compute(cpu, p, "").loss_scaling for p in ("fp32", "bf16", "fp16")] == [False, False, True]
    assert str(Compute(cpu, "fp32", "as asked")) == "cpu in fp32 (as asked)"


@pytest.fixture
def kept_tf32():
    """The places where torch holds it, set back afterwards."""
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    yield backends
    for backend, value in zip(backends, before, strict=True):
        backend.allow_tf32 = value


@pytest.mark.parametrize("tf32", [False, True])
def test_fp32_is_fp32_on_a_gpu_unless_tf32_is_asked_for(kept_tf32, accelerators, tf32: bool):
    """Torch itself lets cuDNN's convolutions round to TF32."""
    accelerators("cuda")
    for backend in kept_tf32:
        backend.allow_tf32 = not tf32
    choose_compute(DeviceOptions(tf32=tf32)).configure()
    assert torch.backends.cuda.matmul.allow_tf32 is tf32
    assert torch.backends.cudnn.allow_tf32 is tf32


def test_other_devices_leave_tf32_alone(kept_tf32, accelerators):
    accelerators("mps")
    torch.backends.cudnn.allow_tf32 = True
    choose_compute(DeviceOptions()).configure()
    choose_compute(DeviceOptions(accelerator="cpu")).configure()
    assert torch.backends.cudnn.allow_tf32
