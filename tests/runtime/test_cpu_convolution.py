"""Convolutions by the fastest way: the same numbers as torch's own, whichever way that is."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganzoo.runtime import cpu_kernels as convolution
from ganzoo.runtime.cpu_kernels import FastConvolutions
from ganzoo.runtime.device import Compute

CPU = torch.device("cpu")

LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "from one pixel": (nn.ConvTranspose2d(8, 6, 4, 1, 0, bias=False), (3, 8, 1, 1)),
    "from one pixel, with a bias": (nn.ConvTranspose2d(8, 6, (3, 5)), (3, 8, 1, 1)),
    "to one pixel": (nn.Conv2d(8, 6, 4, 2, 0), (3, 8, 4, 4)),
    "to one pixel, oblong": (nn.Conv2d(8, 6, (3, 5), bias=False), (3, 8, 3, 5)),
    "down": (nn.Conv2d(4, 6, 4, 2, 1), (3, 4, 8, 8)),
    "down, without a bias": (nn.Conv2d(4, 6, 4, 2, 1, bias=False), (3, 4, 8, 8)),
    "down 5×5 with a rest": (nn.Conv2d(4, 6, 5, 2, 2), (3, 4, 9, 9)),
    "down, oblong": (nn.Conv2d(4, 6, (3, 4), (1, 2), (1, 0)), (3, 4, 7, 10)),
    "up": (nn.ConvTranspose2d(6, 4, 4, 2, 1, bias=False), (3, 6, 4, 4)),
    "up 5×5": (nn.ConvTranspose2d(6, 4, 5, 2, 2, output_padding=1), (3, 6, 4, 4)),
    "up, oblong": (nn.ConvTranspose2d(6, 4, (3, 4), (1, 2), (1, 0)), (3, 6, 4, 3)),
    "3×3": (nn.Conv2d(4, 6, 3, padding="same"), (3, 4, 4, 4)),
    "dilated": (nn.Conv2d(4, 6, 3, dilation=2, padding=2), (3, 4, 5, 5)),
    "in groups": (nn.Conv2d(4, 6, 4, 2, 1, groups=2), (3, 4, 8, 8)),
}
layers = pytest.mark.parametrize("name", LAYERS)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the other way wherever it is possible, however small the layer."""

    def needs_gradient(_: Tensor, weight: Tensor, *__: object) -> bool:
        return torch.is_grad_enabled() and weight.requires_grad

    monkeypatch.setattr(convolution, "_is_faster_as_product", needs_gradient)


def prepared(name: str, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    layer, shape = copy.deepcopy(LAYERS[name])
    images = torch.randn(shape, dtype=dtype).to(memory_format=torch.channels_last)
    return layer.to(dtype=dtype, memory_format=torch.channels_last), images.requires_grad_()


def gradients(layer: nn.Module, images: Tensor, **options: Any) -> tuple[Tensor, ...]:
    return torch.autograd.grad(layer(images).square().sum(), [images, *layer.parameters()], **options)


@layers
@pytest.mark.usefixtures("always")
def test_results_and_gradients_are_those_of_torch(name: str) -> None:
    layer, images = prepared(name)
    expected = [layer(images), *gradients(layer, images)]
    with FastConvolutions():
        found = [layer(images), *gradients(layer, images)]
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other)


@layers
@pytest.mark.usefixtures("always")
def test_gradients_of_gradients_are_those_of_torch(name: str) -> None:
    def twice() -> tuple[Tensor, ...]:
        first = gradients(layer, images, create_graph=True)
        return torch.autograd.grad(sum(each.square().sum() for each in first), [images, *layer.parameters()])

    layer, images = prepared(name)
    expected = twice()
    with FastConvolutions():
        found = twice()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


@layers
def test_bf16_is_as_close_to_the_truth_as_torch_is(name: str) -> None:
    layer, images = prepared(name)
    truth = gradients(layer, images)
    layer, images = prepared(name, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        theirs = gradients(layer, images)
    with Compute(CPU, "bf16", "").autocast():
        assert layer(images).dtype is torch.bfloat16
        ours = gradients(layer, images)
    for one, other, true in zip(ours, theirs, truth, strict=True):
        assert one.dtype is torch.float32, "gradients have the type of the parameters"
        assert error(one, true) <= 1.5 * error(other, true) + 1e-3


def error(found: Tensor, true: Tensor) -> float:
    return ((found.double() - true).norm() / true.norm()).item()


def test_gradient_of_a_weight_lies_in_memory_as_the_weight_does() -> None:
    """Else each step would copy it once more."""
    layer, images = prepared("up", torch.float32)
    with Compute(CPU, "bf16", "").autocast():
        loss = layer(images).float().sum()
    loss.backward()
    assert layer.weight.grad.stride() == layer.weight.stride()


@pytest.mark.parametrize(
    ("shape", "stride", "dtype", "gains"),
    [
        ((64, 32, 4, 4), 2, torch.bfloat16, {4: True, 8: True, 16: False}),
        ((64, 32, 3, 3), 1, torch.bfloat16, {4: True, 8: False, 16: False}),
        ((1024, 512, 4, 4), 2, torch.float32, {4: True, 8: False}),
        ((512, 256, 4, 4), 2, torch.float32, {4: False, 8: False}),
    ],
)
def test_goes_the_way_that_was_measured_to_be_faster(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], stride: int, dtype: torch.dtype, gains: dict[int, bool]
) -> None:
    ways: dict[int, bool] = {}
    monkeypatch.setattr(convolution, "_apply", lambda images, *_, **__: ways.update({size: True}))
    weight = torch.empty(shape, dtype=dtype, requires_grad=True)
    for size in gains:
        ways[size] = False
        with FastConvolutions():
            F.conv_transpose2d(torch.empty(1, shape[0], size, size, dtype=dtype), weight, stride=stride, padding=1)
    assert ways == gains


@pytest.mark.usefixtures("always")
def test_nothing_changes_where_no_weight_is_learnt() -> None:
    layer, images = prepared("up", torch.bfloat16)
    layer.requires_grad_(False)
    with FastConvolutions():
        assert "_Convolution" not in type(layer(images).grad_fn).__name__


@pytest.mark.usefixtures("always")
def test_a_compiled_run_leaves_convolutions_to_the_compiler() -> None:
    layer, images = prepared("up", torch.float32)
    kinds = {}
    for compiled in (False, True):
        with Compute(CPU, "fp32", "", compiled=compiled).autocast():
            kinds[compiled] = type(layer(images).grad_fn).__name__
    assert kinds == {False: "_ConvolutionBackward", True: "ConvolutionBackward0"}
