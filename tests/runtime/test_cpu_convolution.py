"""Convolutions by the fastest way: the same numbers as torch's own, whichever way that is."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

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
    for rule in ("_images_are_faster", "_weight_is_faster"):
        monkeypatch.setattr(convolution, rule, lambda *_: True)


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
    ("shape", "stride", "dtype", "images", "weight"),
    [
        ((64, 32, 4, 4), 2, torch.bfloat16, [], [2, 4, 8]),
        ((64, 32, 3, 3), 1, torch.bfloat16, [], [2, 4]),
        ((512, 256, 5, 5), 2, torch.bfloat16, [2, 4], [2, 4, 8]),
        ((512, 256, 3, 3), 1, torch.bfloat16, [2, 4], [2, 4]),
        ((1024, 512, 4, 4), 2, torch.float32, [2], [2, 4]),
        ((512, 256, 4, 4), 2, torch.float32, [2], [2]),
        ((128, 64, 4, 4), 2, torch.float32, [], []),
    ],
)
def test_goes_the_way_that_was_measured_to_be_faster(
    monkeypatch: pytest.MonkeyPatch,
    shape: tuple[int, ...],
    stride: int,
    dtype: torch.dtype,
    images: list[int],
    weight: list[int],
) -> None:
    """At these sizes of the smaller image, on a processor with AMX."""
    ways: list[tuple[bool, bool]] = []
    monkeypatch.setattr(convolution, "_has_amx", lambda: True)
    monkeypatch.setattr(convolution._Convolution, "apply", lambda *options: ways.append(options[-2:]))
    learned = torch.empty(shape, dtype=dtype, requires_grad=True)
    sizes = (2, 4, 8, 16)
    for size in sizes:
        before = len(ways)
        with FastConvolutions():
            F.conv_transpose2d(torch.empty(1, shape[0], size, size, dtype=dtype), learned, stride=stride, padding=1)
        ways += [(False, False)] * (before + 1 - len(ways))
    assert [size for size, (by_product, _) in zip(sizes, ways, strict=True) if by_product] == images
    assert [size for size, (_, by_product) in zip(sizes, ways, strict=True) if by_product] == weight


def test_without_amx_images_of_more_than_four_positions_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.empty(512, 256, 5, 5, dtype=torch.bfloat16)
    monkeypatch.setattr(convolution, "_has_amx", lambda: False)
    faster = [convolution._images_are_faster(weight, positions, torch.bfloat16) for positions in (4, 16)]
    assert faster == [True, False]


@layers
@pytest.mark.usefixtures("always")
def test_a_frozen_layer_gives_the_same_gradient_of_its_input(name: str) -> None:
    layer, images = prepared(name)
    layer.requires_grad_(False)
    expected = torch.autograd.grad(layer(images).square().sum(), images)
    with FastConvolutions():
        found = torch.autograd.grad(layer(images).square().sum(), images)
    torch.testing.assert_close(found, expected)


@pytest.mark.usefixtures("always")
def test_results_are_the_same_to_the_bit_with_gradients_and_without() -> None:
    layer, images = prepared("up 5×5", torch.bfloat16)
    with FastConvolutions():
        learned = layer(images)
        with torch.no_grad():
            assert torch.equal(layer(images), learned)


class Called(TorchDispatchMode):
    """Notes the operations that torch computes."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.usefixtures("always")
def test_a_bias_costs_no_gradient_of_the_weight() -> None:
    """Torch computes it with the bias's, which would take longer than all else."""
    layer, images = prepared("down")
    with FastConvolutions(), Called() as called:
        gradients(layer, images)
    assert not [name for name in called.names if "convolution" in name]


@pytest.mark.usefixtures("always")
def test_an_activation_in_place_can_follow() -> None:
    layer, images = prepared("down")
    expected = gradients(nn.Sequential(layer, nn.LeakyReLU(0.2)), images)
    with FastConvolutions():
        found = gradients(nn.Sequential(layer, nn.LeakyReLU(0.2, inplace=True)), images)
    torch.testing.assert_close(found, expected)


@pytest.mark.usefixtures("always")
def test_an_image_smaller_than_the_kernel_is_refused_as_torch_does() -> None:
    layer, images = prepared("down")
    with FastConvolutions(), pytest.raises(RuntimeError, match="Kernel size can't be greater"):
        layer(images[:, :, :1, :1])


@pytest.mark.usefixtures("always")
def test_a_compiled_run_leaves_convolutions_to_the_compiler() -> None:
    layer, images = prepared("up", torch.float32)
    kinds = {}
    for compiled in (False, True):
        with Compute(CPU, "fp32", "", compiled=compiled).autocast():
            kinds[compiled] = type(layer(images).grad_fn).__name__
    assert kinds == {False: "_ConvolutionBackward", True: "ConvolutionBackward0"}
