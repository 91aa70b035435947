"""StyleGAN2 written out literally from its description, on dictionaries of tensors with the authors' names.

Resampling inserts zeros, pads and correlates with a flipped kernel; modulated convolutions go image by image.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]
TAPS = torch.tensor([1.0, 3.0, 3.0, 1.0])
KERNEL = torch.outer(TAPS, TAPS) / 64


def draw(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=rng)


def widths(size: int, base: int, most: int) -> dict[int, int]:
    return {2**power: min(base // 2**power, most) for power in range(2, size.bit_length())}


def mapping_state(rng: torch.Generator, latent: int, labels: int, width: int, depth: int) -> State:
    state: State = {}
    if labels:
        state |= {"embed.weight": draw(rng, width, labels), "embed.bias": draw(rng, width)}
    before = latent + (width if labels else 0)
    for layer in range(depth):
        state[f"fc{layer}.weight"] = draw(rng, width, before) * 100
        state[f"fc{layer}.bias"] = draw(rng, width) * 10
        before = width
    return state


def generator_state(
    size: int, *, latent: int = 5, labels: int = 0, width: int = 6, depth: int = 3, base: int = 64, most: int = 7
) -> State:
    rng = torch.Generator().manual_seed(size + labels)
    state = {f"mapping.{key}": value for key, value in mapping_state(rng, latent, labels, width, depth).items()}
    state["mapping.w_avg"] = draw(rng, width)
    channels = widths(size, base, most)
    for resolution, after in channels.items():
        block = f"synthesis.b{resolution}"
        state[f"{block}.resample_filter"] = KERNEL
        if resolution == 4:
            state[f"{block}.const"] = draw(rng, after, 4, 4)
        for name in ("conv0", "conv1") if resolution > 4 else ("conv1",):
            before = channels[resolution // 2] if name == "conv0" else after
            layer = f"{block}.{name}"
            state |= {
                f"{layer}.weight": draw(rng, after, before, 3, 3),
                f"{layer}.noise_strength": draw(rng),
                f"{layer}.bias": draw(rng, after),
                f"{layer}.resample_filter": KERNEL,
                f"{layer}.noise_const": draw(rng, resolution, resolution),
                f"{layer}.affine.weight": draw(rng, before, width),
                f"{layer}.affine.bias": draw(rng, before),
            }
        state |= {
            f"{block}.torgb.weight": draw(rng, 3, after, 1, 1),
            f"{block}.torgb.bias": draw(rng, 3),
            f"{block}.torgb.affine.weight": draw(rng, after, width),
            f"{block}.torgb.affine.bias": draw(rng, after),
        }
    return state


def discriminator_state(
    size: int, *, labels: int = 0, skips: bool = True, base: int = 64, most: int = 7, deviation: bool = True
) -> State:
    rng = torch.Generator().manual_seed(100 + size + labels)
    channels = widths(size, base, most)
    state: State = {
        f"b{size}.fromrgb.weight": draw(rng, channels[size], 3, 1, 1),
        f"b{size}.fromrgb.bias": draw(rng, channels[size]),
        f"b{size}.fromrgb.resample_filter": KERNEL,
    }
    for resolution in sorted(channels, reverse=True)[:-1]:
        before, after, block = channels[resolution], channels[resolution // 2], f"b{resolution}"
        state |= {
            f"{block}.conv0.weight": draw(rng, before, before, 3, 3),
            f"{block}.conv0.bias": draw(rng, before),
            f"{block}.conv1.weight": draw(rng, after, before, 3, 3),
            f"{block}.conv1.bias": draw(rng, after),
            f"{block}.conv1.resample_filter": KERNEL,
        }
        if skips:
            state[f"{block}.skip.weight"] = draw(rng, after, before, 1, 1)
    last, out = channels[4], channels[4] if labels else 1
    state |= {
        "b4.conv.weight": draw(rng, last, last + deviation, 3, 3),
        "b4.conv.bias": draw(rng, last),
        "b4.fc.weight": draw(rng, last, last * 16),
        "b4.fc.bias": draw(rng, last),
        "b4.out.weight": draw(rng, out, last),
        "b4.out.bias": draw(rng, out),
    }
    if labels:
        state |= {f"mapping.{key}": value for key, value in mapping_state(rng, 0, labels, last, 8).items()}
    return state


def leaky(x: Tensor, gain: float = 1.0) -> Tensor:
    x = torch.where(x < 0, 0.2 * x, x) * math.sqrt(2) * gain
    return x.clamp(-256 * gain, 256 * gain)


def dense(x: Tensor, state: State, name: str, rate: float = 1.0) -> Tensor:
    weight = state[f"{name}.weight"]
    return x @ (weight * rate / math.sqrt(weight.shape[1])).T + state[f"{name}.bias"] * rate


def unit(x: Tensor) -> Tensor:
    return x / ((x * x).mean(1, keepdim=True) + 1e-8).sqrt()


def mapping(state: State, z: Tensor | None, c: Tensor | None, prefix: str = "mapping.") -> Tensor:
    parts = [] if z is None else [unit(z)]
    if c is not None:
        parts.append(unit(dense(c, state, f"{prefix}embed")))
    x, layer = torch.cat(parts, 1), 0
    while f"{prefix}fc{layer}.weight" in state:
        x = leaky_unclamped(dense(x, state, f"{prefix}fc{layer}", 0.01))
        layer += 1
    return x


def leaky_unclamped(x: Tensor) -> Tensor:
    return torch.where(x < 0, 0.2 * x, x) * math.sqrt(2)


def upfirdn(x: Tensor, *, up: int = 1, down: int = 1, pad: tuple[int, int], gain: float = 1.0) -> Tensor:
    n, c, h, w = x.shape
    zeros = torch.zeros(n, c, h * up, w * up)
    zeros[:, :, ::up, ::up] = x
    padded = F.pad(zeros, (*pad, *pad))
    out = torch.stack(
        [F.conv2d(padded[:, each : each + 1], KERNEL.flip(0, 1)[None, None] * gain)[:, 0] for each in range(c)], 1
    )
    return out[:, :, ::down, ::down]


def modulated(x: Tensor, weight: Tensor, styles: Tensor, *, demodulate: bool, up: bool = False) -> Tensor:
    out = []
    for image, style in zip(x, styles, strict=True):
        w = weight * style[None, :, None, None]
        if demodulate:
            w = w / ((w * w).sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if up:  # zeros between pixels, then a convolution, which flips the kernel, and the filter
            zeros = torch.zeros(1, x.shape[1], 2 * x.shape[2] - 1, 2 * x.shape[3] - 1)
            zeros[:, :, ::2, ::2] = image
            y = F.conv2d(F.pad(zeros, (2, 2, 2, 2)), w.flip(2, 3))
            out.append(upfirdn(y, pad=(1, 1), gain=4))
        else:
            out.append(F.conv2d(image[None], w, padding=w.shape[2] // 2))
    return torch.cat(out)


def synthesis(state: State, ws: Tensor, noise: bool = True) -> Tensor:
    resolutions = sorted(int(key.split(".")[1][1:]) for key in state if key.endswith("torgb.bias"))
    x = state["synthesis.b4.const"][None].repeat(len(ws), 1, 1, 1)
    image, used = None, 0
    for resolution in resolutions:
        block = f"synthesis.b{resolution}"
        for name in ("conv0", "conv1") if resolution > 4 else ("conv1",):
            layer = f"{block}.{name}"
            styles = dense(ws[:, used], state, f"{layer}.affine")
            x = modulated(x, state[f"{layer}.weight"], styles, demodulate=True, up=name == "conv0")
            if noise:
                x = x + state[f"{layer}.noise_const"] * state[f"{layer}.noise_strength"]
            x = leaky(x + state[f"{layer}.bias"][:, None, None])
            used += 1
        weight = state[f"{block}.torgb.weight"]
        styles = dense(ws[:, used], state, f"{block}.torgb.affine") / math.sqrt(weight.shape[1])
        y = modulated(x, weight, styles, demodulate=False) + state[f"{block}.torgb.bias"][:, None, None]
        y = y.clamp(-256, 256)
        image = y if image is None else upfirdn(image, up=2, pad=(2, 1), gain=4) + y
    assert image is not None
    return image


def generate(state: State, z: Tensor, c: Tensor | None = None, *, psi: float = 1.0, noise: bool = True) -> Tensor:
    w = mapping(state, z, c)
    w = state["mapping.w_avg"] + psi * (w - state["mapping.w_avg"])
    layers = 2 * len([key for key in state if key.endswith("torgb.bias")])
    return synthesis(state, w[:, None].repeat(1, layers, 1), noise)


def convolve(x: Tensor, state: State, name: str, *, down: bool = False, gain: float = 1.0) -> Tensor:
    weight = state[f"{name}.weight"]
    weight = weight / math.sqrt(weight[0].numel())
    size = weight.shape[2]
    if down and size == 1:
        x = F.conv2d(upfirdn(x, down=2, pad=(1, 1)), weight)
    elif down:
        x = F.conv2d(upfirdn(x, pad=(2, 2)), weight, stride=2)
    else:
        x = F.conv2d(x, weight, padding=size // 2)
    bias = state.get(f"{name}.bias")
    return x * gain if bias is None else leaky(x + bias[:, None, None], gain)


def deviation(x: Tensor, group: int) -> Tensor:
    group = min(group, len(x))
    y = x.reshape(group, -1, *x.shape[1:])
    y = ((y - y.mean(0)).square().mean(0) + 1e-8).sqrt().mean((1, 2, 3))
    return torch.cat([x, y.repeat(group)[:, None, None, None].expand(-1, 1, *x.shape[2:])], 1)


def judge(state: State, x: Tensor, c: Tensor | None = None, *, group: int = 4) -> Tensor:
    resolutions = sorted({int(key.split(".")[0][1:]) for key in state if key.startswith("b")}, reverse=True)
    x = convolve(x, state, f"b{resolutions[0]}.fromrgb")
    for resolution in resolutions[:-1]:
        block = f"b{resolution}"
        if f"{block}.skip.weight" in state:
            beside = convolve(x, state, f"{block}.skip", down=True, gain=math.sqrt(0.5))
            x = convolve(x, state, f"{block}.conv0")
            x = convolve(x, state, f"{block}.conv1", down=True, gain=math.sqrt(0.5)) + beside
        else:
            x = convolve(convolve(x, state, f"{block}.conv0"), state, f"{block}.conv1", down=True)
    if state["b4.conv.weight"].shape[1] > state["b4.conv.weight"].shape[0]:
        x = deviation(x, group)
    x = convolve(x, state, "b4.conv").flatten(1)
    x = leaky_unclamped(dense(x, state, "b4.fc"))
    x = dense(x, state, "b4.out")
    if c is not None:
        embedded = mapping(state, None, c)
        return (x * embedded).sum(1) / math.sqrt(embedded.shape[1])
    return x[:, 0]
