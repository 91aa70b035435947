"""Choosing the device and the precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ganzoo.errors import DeviceError
from ganzoo.recipe.model import DeviceOptions
from ganzoo.runtime.device import Compute, available_accelerators, choose_compute, fp32_products


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


def test_a_device_and_its_precision_in_words():
    assert str(Compute(torch.device("cpu"), "fp32", "as asked")) == "cpu in fp32 (as asked)"


BACKENDS: Any = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)


def precisions() -> list[str]:
    return [backend.fp32_precision for backend in BACKENDS]


@pytest.mark.parametrize(
    ("tf32", "expected"),
    [(False, ["ieee", "ieee"]), (True, ["tf32", "tf32"]), ("convolutions", ["ieee", "tf32"])],
)
def test_fp32_is_fp32_on_a_gpu_unless_tf32_is_asked_for(tf32, expected):
    """Torch itself lets cuDNN's convolutions round to TF32; what it is set to is the caller's."""
    before = precisions()
    with fp32_products(torch.device("cuda"), tf32=tf32):
        assert precisions() == expected
    assert precisions() == before


def test_a_recipe_asks_for_tf32(accelerators):
    accelerators("cuda")
    with choose_compute(DeviceOptions(tf32=True)).fp32_products():
        assert precisions() == ["tf32", "tf32"]


def test_other_devices_leave_tf32_alone(accelerators):
    accelerators("mps")
    before = precisions()
    for options in (DeviceOptions(tf32=True), DeviceOptions(accelerator="cpu", tf32=True)):
        with choose_compute(options).fp32_products():
            assert precisions() == before


def test_a_failure_of_the_compiler_names_the_option():
    """As torch 2.11 fails on transposed convolutions on GPUs, in the code that it generates."""
    generated = compile("raise AssertionError('expected stride 16')", "/tmp/torchinductor_me/cu/ab.py", "exec")
    compute = Compute(torch.device("cpu"), "fp32", "", compiled=True)
    message = r"device\.compile: torch .* on cpu \(expected stride 16\): set it to false"
    with pytest.raises(DeviceError, match=message), compute.compiler_errors():
        exec(generated)
    for mine, error in ((compute, KeyError), (Compute(torch.device("cpu"), "fp32", ""), AssertionError)):
        with pytest.raises(error), mine.compiler_errors():
            exec(generated) if error is AssertionError else {}["another"]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("tf32", [False, True])
def test_a_convolution_rounds_as_asked(tf32: bool):
    weights, images = torch.randn(64, 64, 3, 3, dtype=torch.float64), torch.randn(8, 64, 16, 16, dtype=torch.float64)
    exact = torch.nn.functional.conv2d(images, weights)
    with fp32_products(torch.device("cuda"), tf32=tf32):
        found = torch.nn.functional.conv2d(images.float().cuda(), weights.float().cuda()).cpu()
    error = float((found - exact).abs().max() / exact.std())
    assert (error > 2e-4) is tf32
