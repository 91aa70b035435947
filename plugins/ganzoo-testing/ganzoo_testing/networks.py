"""Conformance checks of generators and discriminators."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ganzoo.plugin import DatasetInfo, Entry, VectorSpec
from ganzoo_testing.fixtures import (
    BATCH,
    ConformanceError,
    contract,
    generator_of_seed,
    inputs_for,
    require,
    samples_for,
    seeded,
    small_info,
    small_options,
)

Inputs = tuple[Tensor, dict[str, Tensor]]
"""Latents or samples, and the keywords of `forward`."""


def check_generator(entry: Entry, **options: Any) -> None:
    """Check latents, images, labels, gradients, seeds, state and bf16 of a generator, at a small size.

    Raises:
        ConformanceError: with what to change.
    """
    config, info, network = _built(entry, options)
    with contract("sample_latents(count, rng) → (count, config.latent_dim)"):
        latents = network.sample_latents(BATCH, generator_of_seed(0))
    require(
        latents.shape == (BATCH, config.latent_dim),
        f"sample_latents gives {tuple(latents.shape)}: make it (count, config.latent_dim)",
    )
    require(
        torch.equal(latents, network.sample_latents(BATCH, generator_of_seed(0))),
        "sample_latents gives others for the same rng: draw with `generator=rng`, or runs cannot be repeated",
    )
    require(
        not latents.numel() or not torch.equal(latents, network.sample_latents(BATCH, generator_of_seed(1))),
        "sample_latents does not depend on its rng: draw with `generator=rng`",
    )
    inputs = inputs_for(network, info)
    shape = (BATCH, *info.samples.shape)
    with contract(f"forward({_named('latents', inputs)}) → {shape}", latents, *inputs.values(), info=info):
        images = network(latents, **inputs)
    _check_output(images)
    require(images.shape == shape, f"forward gives {tuple(images.shape)}, not {shape}: build for info.samples")
    within = not network.bounded or isinstance(info.samples, VectorSpec) or images.abs().max() <= 1
    require(within, "forward leaves [−1, 1]: end with tanh, or say `bounded = False`")
    _check_network(entry, config, info, network, (latents, inputs), images)


def check_discriminator(entry: Entry, **options: Any) -> None:
    """Check logits, features, labels, gradients, seeds, state and bf16 of a discriminator, at a small size.

    Raises:
        ConformanceError: with what to change.
    """
    config, info, network = _built(entry, options)
    images, inputs = samples_for(info), inputs_for(network, info)
    with contract(f"forward({_named('samples', inputs)}) → logits ({BATCH}, …)", images, *inputs.values(), info=info):
        logits = network(images, **inputs)
    _check_output(logits)
    require(
        logits.ndim and len(logits) == BATCH,
        f"forward gives {tuple(logits.shape)} for {BATCH} samples: give logits ({BATCH}, …)",
    )
    spread = torch.cat([_outputs(shaken, (images, inputs)).flatten() for shaken in _shaken(network)])
    require(
        spread.min() < 0 or spread.max() > 1,
        "gives numbers between 0 and 1 whatever its weights are: losses want logits, so leave the sigmoid out",
    )
    with contract("features(samples) → a list of tensors (N, …)", images):
        maps = network.features(images)
    require(
        isinstance(maps, list) and maps and all(isinstance(each, Tensor) and len(each) == BATCH for each in maps),
        "features must give a list of tensors, one a layer, each with the images in its first dimension",
    )
    has_batch_norm = any(isinstance(module, _BatchNorm) for module in network.modules())
    require(
        config.mixes_batch or not has_batch_norm,
        "has batch norm, so that logits depend on the whole minibatch: let `mixes_batch` of its options be True",
    )
    _check_network(entry, config, info, network, (images, inputs), logits)


def check_export(entry: Entry, **options: Any) -> None:
    """Check that torch.export takes a generator in evaluation mode; too slow for `check_component`.

    Raises:
        ConformanceError: it cannot be exported, with the reason.
    """
    _, info, network = _built(entry, options)
    network.eval()
    latents = network.sample_latents(BATCH, generator_of_seed(0))
    inputs = inputs_for(network, info)
    try:
        exported = torch.export.export(network, (latents,), inputs).module()
    except Exception as error:
        raise ConformanceError(
            f"torch.export cannot take the generator {entry.name}: {error}. Branches on the values of tensors are the "
            f"usual reason"
        ) from error
    with torch.no_grad():
        same = torch.allclose(exported(latents, **inputs), network(latents, **inputs), atol=1e-5)
    require(same, "gives other images once it is exported: keep state out of forward")


def _built(entry: Entry, options: dict[str, Any]) -> tuple[Any, DatasetInfo, Any]:
    """Build a small network, checked to start alike for the same seed; return its config and images too."""
    config = small_options(entry, options)
    info = small_info(config)
    with contract("__init__(config, *, info)", info=info):
        network, other = (seeded(partial(entry.load(), config, info=info)) for _ in range(2))
    require(isinstance(network, nn.Module), "is no nn.Module")
    ours, theirs = network.state_dict(), other.state_dict()
    different = [name for name in ours if not torch.equal(ours[name], theirs[name])]
    require(
        not different,
        f"starts with other weights for the same seed ({', '.join(different[:3])}): "
        f"draw them with torch's random numbers",
    )
    return config, info, network


def _named(first: str, inputs: dict[str, Tensor]) -> str:
    """Return the arguments of `forward` as its contract has them."""
    return ", ".join([first, *(f"{name}={name}" for name in inputs)])


def _shaken(network: nn.Module, count: int = 4) -> Iterator[nn.Module]:
    """Yield copies of a network with random numbers added to the weights that learn, some of which start at zero."""
    for seed in range(count):
        copied = copy.deepcopy(network)
        rng = generator_of_seed(seed)
        with torch.no_grad():
            for parameter in filter(lambda each: each.requires_grad, copied.parameters()):
                parameter.add_(torch.randn(parameter.shape, generator=rng))
        yield copied


def _check_inputs_matter(network: nn.Module, inputs: Inputs) -> None:
    """Check that each keyword changes the output, with weights other than those it starts with."""
    first, keywords = inputs
    for name, rows in keywords.items():
        others = (first, {**keywords, name: rows.roll(1, 0)})
        changed = any(
            not torch.equal(_outputs(shaken, inputs), _outputs(shaken, others)) for shaken in _shaken(network)
        )
        require(changed, f"takes {name} and gives the same for others: use them, or leave them out of `uses`")


def _check_output(output: Tensor) -> None:
    require(isinstance(output, Tensor), f"forward gives {type(output).__name__}: give a tensor")
    require(output.dtype == torch.float32, f"forward gives {output.dtype} for fp32 inputs: keep their type")
    require(output.isfinite().all(), "forward gives values that are not finite: look at how weights start")


def _check_network(entry: Entry, config: Any, info: DatasetInfo, network: Any, inputs: Inputs, output: Tensor) -> None:
    """Check gradients, inputs, repeatability, state and bf16 of a network that gave `output`."""
    _check_inputs_matter(network, inputs)
    weights = torch.randn(output.shape, generator=generator_of_seed(3))
    (output * weights).sum().backward()  # type: ignore[no-untyped-call]
    unreached = [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None]
    require(
        not unreached,
        f"no gradient reaches {', '.join(unreached[:3])}: use it in forward, do not make it, or freeze it",
    )
    broken = [name for name, p in network.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    require(not broken, f"the gradient of {', '.join(broken[:3])} is not finite")
    require(
        torch.equal(_outputs(network, inputs), _outputs(network, inputs)),
        "gives other outputs for the same inputs in evaluation: noise and dropout belong to training",
    )
    other = seeded(partial(entry.load(), config, info=info), 5)
    other.load_state_dict(network.state_dict())
    require(
        torch.equal(_outputs(network, inputs), _outputs(other, inputs)),
        "does not come back from its state_dict: make what it depends on parameters or buffers",
    )
    try:
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = network(inputs[0], **inputs[1])
    except Exception as error:
        raise ConformanceError(
            f"fails under bf16 autocast: {type(error).__name__}: {error}. Let torch choose the types"
        ) from error
    kept = rounded.shape == output.shape and rounded.isfinite().all()
    require(kept, "gives a wrong shape or values that are not finite under bf16 autocast")


@torch.no_grad()
def _outputs(network: nn.Module, inputs: Inputs) -> Tensor:
    """Return its outputs in evaluation mode, for a copy of the inputs."""
    was_training = network.training
    network.eval()
    first, keywords = inputs
    output: Tensor = network(first.clone(), **{name: each.clone() for name, each in keywords.items()})
    network.train(was_training)
    return output
