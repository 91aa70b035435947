"""Convert a generator to ONNX, and check the result against torch."""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ganzoo.plugin import Generator, RequestError, first_line
from ganzoo.sampling.generate import BatchNormMode, batch_norm_mode, batch_norm_used

LATENTS, IMAGES = "latents", "images"
OPSET = 18
TOLERANCE = 1e-4
"""Largest difference from torch that is allowed, for images in [−1, 1]."""
BATCHES = (1, 2, 7, 64)
"""Batch sizes that are compared."""
UNUSUAL = 1024
"""Latents that are written beside the file where NumPy alone does not draw them."""


def onnx_model(generator: Generator, mode: BatchNormMode, source: str) -> tuple[bytes, dict[str, Any]]:
    """Return the ONNX file of a generator, and a report with its largest difference from torch by batch size.

    Args:
        generator: stays unchanged.
        mode: statistics of batch norm to be fixed in the file.
        source: names the run in errors.

    Raises:
        RequestError: it cannot be exported faithfully; the text says why.
    """
    check_installed()
    used = batch_norm_used(generator, mode)
    if used == "batch":
        keeps = " Its batch norms keep no statistics, so there are no others to take." if mode != "batch" else ""
        cure = "take --format safetensors" if keeps else "give --batch-norm running or standing, if that is good enough"
        raise RequestError(
            f"{source}: samples with the statistics of each batch, so that an image depends on those beside it. An "
            f"ONNX file with fixed statistics would make other images.{keeps} To go on, {cure}"
        )
    if used == "standing" and generator.uses:
        what = " and ".join(sorted(generator.uses))
        raise RequestError(
            f"{source}: standing statistics of a conditional generator depend on the {what} asked for, which "
            f"an ONNX file cannot know. To go on, give --batch-norm running, if that is good enough"
        )
    copied = copy.deepcopy(generator).cpu().eval()
    with batch_norm_mode(copied, mode):
        content = _convert(copied, _inputs(copied, 2), source)
        differences = {str(count): _difference(copied, content, _inputs(copied, count), source) for count in BATCHES}
    worst = max(differences.values())
    if not worst <= TOLERANCE:
        raise RequestError(
            f"{source}: the ONNX model differs from torch by up to {worst:.2g}, more than {TOLERANCE:g}: the generator "
            f'"{generator.config.name}" draws noise of its own, or uses what ONNX computes otherwise. '
            f"Take --format safetensors"
        )
    return content, {"opset": OPSET, "tolerance": TOLERANCE, "largest_difference": differences}


def unusual_latents(generator: Generator) -> Tensor | None:
    """Return the first latents of seed 0 where they are drawn from another prior than the standard normal one."""
    drawn = generator.sample_latents(2, torch.Generator().manual_seed(0))
    normal = Generator.sample_latents(generator, 2, torch.Generator().manual_seed(0))
    return None if torch.equal(drawn, normal) else generator.latents_of_seed(UNUSUAL, 0)


def check_installed() -> None:
    """Check that the libraries are installed.

    Raises:
        RequestError: one is not; the text names the extra that brings it.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise RequestError(
            f"--format onnx: needs {error.name or 'onnx'}, which is not installed: pip install "
            f'"./plugins/ganzoo-export[onnx]" in a checkout of ganzoo, or pip install onnx onnxscript onnxruntime'
        ) from error


def _inputs(generator: Generator, count: int) -> dict[str, Tensor]:
    """Return latents, labels and condition by the names of `forward`'s arguments, latents first."""
    rng, info = torch.Generator().manual_seed(count), generator.info
    latents, labels = generator.sample_latents(count, rng), None
    if info.labels is not None:
        names = len(info.labels.names)
        classes = info.labels.kind == "classes"
        labels = torch.arange(count) % names if classes else torch.rand(count, names, generator=rng).round()
    condition = torch.rand(count, *info.condition.shape, generator=rng) * 2 - 1 if info.condition else None
    return {LATENTS: latents, **generator.inputs(labels, condition)}


def _convert(model: Generator, inputs: dict[str, Tensor], source: str) -> bytes:
    """Convert the network to an ONNX file that takes batches of any size.

    Raises:
        RequestError: torch cannot turn this network into ONNX.
    """
    try:
        with _quiet():
            program = torch.onnx.export(
                _graph(model, inputs),
                dynamo=True,
                input_names=list(inputs),
                output_names=[IMAGES],
                opset_version=OPSET,
                verbose=False,
            )
        assert program is not None
        proto = program.model_proto
        if model.clips_images:
            _clip(proto)
        return proto.SerializeToString()  # type: ignore[no-any-return]
    except Exception as error:  # torch raises whatever the network's own code does
        reason = first_line(error.__cause__ or error)
        raise RequestError(
            f"{source}: the generator cannot be turned into ONNX by torch: {reason}. Take --format safetensors"
        ) from error


def _clip(proto: Any) -> None:
    """Clip the images of an ONNX model to [−1, 1], as those of a generator without tanh are where they are shown."""
    from onnx import helper, numpy_helper

    raw = f"{IMAGES}_unclipped"
    for node in proto.graph.node:
        for names in (node.input, node.output):
            names[:] = [raw if name == IMAGES else name for name in names]
    bounds = {"lowest": -1.0, "highest": 1.0}
    proto.graph.initializer.extend(numpy_helper.from_array(np.array(v, np.float32), name) for name, v in bounds.items())
    proto.graph.node.append(helper.make_node("Clip", [raw, *bounds], [IMAGES]))


def _graph(model: nn.Module, inputs: dict[str, Tensor]) -> torch.export.ExportedProgram:
    """Trace the network for batches of any size.

    Strict mode also traces `len(latents)`, which the faster non-strict mode takes for a constant.
    """
    latents, *keywords = inputs
    first = next(iter(inspect.signature(model.forward).parameters))  # authors choose the name of the latents
    given: dict[str, Any] = {
        "args": (inputs[latents],),
        "kwargs": {name: inputs[name] for name in keywords},
        "dynamic_shapes": {name: {0: torch.export.Dim("batch")} for name in (first, *keywords)},
    }
    try:
        return torch.export.export(model, **given, strict=False)
    except Exception:  # of any kind; strict mode reports what is wrong
        return torch.export.export(model, **given, strict=True)


def _difference(model: Generator, content: bytes, inputs: dict[str, Tensor], source: str) -> float:
    """Return the largest difference between onnxruntime and torch on the same inputs.

    Raises:
        RequestError: onnxruntime cannot run the model, or its images are of another shape.
    """
    import onnxruntime

    with torch.no_grad():
        latents, *keywords = inputs
        expected = model(inputs[latents], **{name: inputs[name] for name in keywords})
        expected = model.clipped(expected)
    feed = {name: value.numpy() for name, value in inputs.items()}
    try:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        (found,) = session.run([IMAGES], feed)
    except Exception as error:  # onnxruntime's errors have no class in common
        raise RequestError(f"{source}: onnxruntime does not run the ONNX model: {first_line(error)}") from error
    if found.shape != tuple(expected.shape):
        raise RequestError(f"{source}: the ONNX model makes {found.shape}, where torch makes {tuple(expected.shape)}")
    return float((torch.from_numpy(found) - expected).abs().max())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence torch's logging, warnings and output."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
