"""Conformance checks of generators and discriminators."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ganzoo.registry.registry import Entry
from ganzoo.testing.fixtures import (
    BATCH,
    fail,
    generator_of_seed,
    images_for,
    labels_for,
    require,
    seeded,
    small_info,
    small_options,
)

Inputs = tuple[Tensor, dict[str, Tensor]]
"""Latents or samples, and the keywords of `forward`."""


def check_generator(entry: Entry[Any], **options: Any) -> None:
    """Check latents, images, labels, gradients, seeds, state and bf16 of a generator, at a small size.

    Raises:
        ConformanceError: with what to change.
    """
    config = small_options(entry, options)
    info = small_info(config)
    cls = entry.load()
    network = seeded(lambda: cls(config, info=info))
    _check_built_alike(entry, network, seeded(lambda: cls(config, info=info)))
    latents = network.sample_latents(BATCH, generator_of_seed(0))
    require(
        latents.shape == (BATCH, config.latent_dim),
        entry,
        f"sample_latents gives {tuple(latents.shape)}: make it (count, config.latent_dim)",
    )
    require(
        torch.equal(latents, network.sample_latents(BATCH, generator_of_seed(0))),
        entry,
        "sample_latents gives others for the same rng: draw with `generator=rng`, or runs cannot be repeated",
    )
    require(
        not torch.equal(latents, network.sample_latents(BATCH, generator_of_seed(1))),
        entry,
        "sample_latents does not depend on its rng: draw with `generator=rng`",
    )
    inputs = network.inputs(labels_for(info))
    images = network(latents, **inputs)
    expected = (BATCH, *info.image.shape)
    require(
        images.shape == expected,
        entry,
        f"forward gives {tuple(images.shape)}, not {expected}: build for facts.image",
    )
    require(images.dtype == torch.float32, entry, f"forward gives {images.dtype} for fp32 latents: keep their type")
    require(images.isfinite().all(), entry, "forward gives images that are not finite: look at how weights start")
    require(images.abs().max() <= 1, entry, "forward leaves [−1, 1]: end with tanh")
    _check_gradients(entry, network, images)
    _check_repeatable(entry, network, (latents, inputs))
    _check_state(entry, network, seeded(lambda: cls(config, info=info), 5), (latents, inputs))
    _check_autocast(entry, network, (latents, inputs), expected)


def check_discriminator(entry: Entry[Any], **options: Any) -> None:
    """Check logits, features, labels, gradients, seeds, state and bf16 of a discriminator, at a small size.

    Raises:
        ConformanceError: with what to change.
    """
    config = small_options(entry, options)
    info = small_info(config)
    cls = entry.load()
    network = seeded(lambda: cls(config, info=info))
    _check_built_alike(entry, network, seeded(lambda: cls(config, info=info)))
    images, inputs = images_for(info), network.inputs(labels_for(info))
    before = images.clone()
    logits = network(images, **inputs)
    require(logits.shape == (BATCH,), entry, f"forward gives {tuple(logits.shape)}, not ({BATCH},): flatten the logits")
    require(logits.dtype == torch.float32, entry, f"forward gives {logits.dtype} for fp32 images: keep their type")
    require(logits.isfinite().all(), entry, "forward gives logits that are not finite: look at how weights start")
    require(torch.equal(images, before), entry, "forward changes the images it is given: the first layer is in place")
    last = [module for module in network.modules() if not list(module.children())][-1]
    require(not isinstance(last, nn.Sigmoid), entry, "ends with a sigmoid: losses want logits, so leave it out")
    maps = network.features(images)
    require(
        isinstance(maps, list) and maps and all(isinstance(each, Tensor) and len(each) == BATCH for each in maps),
        entry,
        "features must give a list of tensors, one a layer, each with the images in its first dimension",
    )
    _check_gradients(entry, network, logits)
    _check_repeatable(entry, network, (images, inputs))
    _check_state(entry, network, seeded(lambda: cls(config, info=info), 5), (images, inputs))
    _check_autocast(entry, network, (images, inputs), (BATCH,))


def check_export(entry: Entry[Any], **options: Any) -> None:
    """Check that torch.export takes a generator in evaluation mode; too slow for `check_component`.

    Raises:
        ConformanceError: it cannot be exported, with the reason.
    """
    config = small_options(entry, options)
    info = small_info(config)
    network = seeded(lambda: entry.load()(config, info=info)).eval()
    latents = network.sample_latents(BATCH, generator_of_seed(0))
    inputs = network.inputs(labels_for(info))
    try:
        exported = torch.export.export(network, (latents,), inputs).module()
    except Exception as error:
        fail(entry, f"torch.export cannot take it: {error}. Branches on the values of tensors are the usual reason")
    with torch.no_grad():
        same = torch.allclose(exported(latents, **inputs), network(latents, **inputs), atol=1e-5)
    require(same, entry, "gives other images once it is exported: keep state out of forward")


def _check_built_alike(entry: Entry[Any], one: nn.Module, other: nn.Module) -> None:
    require(isinstance(one, nn.Module), entry, "is no nn.Module")
    ours, theirs = one.state_dict(), other.state_dict()
    different = [name for name in ours if not torch.equal(ours[name], theirs[name])]
    require(
        not different,
        entry,
        f"starts with other weights for the same seed ({', '.join(different[:3])}): "
        f"draw them with torch's random numbers",
    )


def _check_gradients(entry: Entry[Any], network: nn.Module, output: Tensor) -> None:
    """Check that every parameter gets a gradient."""
    weights = torch.randn(output.shape, generator=generator_of_seed(3))
    (output * weights).sum().backward()  # type: ignore[no-untyped-call]
    unreached = [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None]
    require(
        not unreached,
        entry,
        f"no gradient reaches {', '.join(unreached[:3])}: use it in forward, do not make it, or freeze it",
    )
    broken = [name for name, p in network.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    require(not broken, entry, f"the gradient of {', '.join(broken[:3])} is not finite")
    network.zero_grad(set_to_none=True)


@torch.no_grad()
def _outputs(network: nn.Module, inputs: Inputs) -> Tensor:
    """Return its outputs in evaluation mode, for a copy of the inputs."""
    was_training = network.training
    network.eval()
    first, keywords = inputs
    output: Tensor = network(first.clone(), **{name: each.clone() for name, each in keywords.items()})
    network.train(was_training)
    return output


def _check_repeatable(entry: Entry[Any], network: nn.Module, inputs: Inputs) -> None:
    same = torch.equal(_outputs(network, inputs), _outputs(network, inputs))
    require(same, entry, "gives other outputs for the same inputs in evaluation: noise and dropout belong to training")


def _check_state(entry: Entry[Any], network: nn.Module, other: nn.Module, inputs: Inputs) -> None:
    other.load_state_dict(network.state_dict())
    require(
        torch.equal(_outputs(network, inputs), _outputs(other, inputs)),
        entry,
        "does not come back from its state_dict: make what it depends on parameters or buffers",
    )


def _check_autocast(entry: Entry[Any], network: nn.Module, inputs: Inputs, expected: tuple[int, ...]) -> None:
    try:
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            output = network(inputs[0], **inputs[1])
    except Exception as error:
        fail(entry, f"fails under bf16 autocast: {type(error).__name__}: {error}. Let torch choose the types")
    kept = output.shape == expected and output.isfinite().all()
    require(kept, entry, "gives a wrong shape or values that are not finite under bf16 autocast")
