"""Choice of the device and precision of a run."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

import torch

from ganzoo.components.world import World
from ganzoo.errors import DeviceError, GanzooError, first_line
from ganzoo.recipe.model import DeviceOptions
from ganzoo.runtime.cpu_kernels import FastConvolutions, capabilities, fp32_precision, onednn_products

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Compute:
    """A device and a precision.

    Attributes:
        device: of the networks.
        precision: "fp32", "bf16" or "fp16".
        reason: why these, in words.
        compiled: whether the networks are compiled.
        tf32: whether fp32 products may round their factors to TF32 on a GPU; "convolutions": in those alone.
    """

    device: torch.device
    precision: str
    reason: str
    compiled: bool = False
    tf32: bool | Literal["convolutions"] = False

    @contextmanager
    def compiler_errors(self) -> Iterator[None]:
        """Report a failure of torch's compiler, which some layers on some devices bring about.

        Raises:
            DeviceError: compiled networks cannot be run; the text names the option.
        """
        try:
            yield
        except GanzooError:
            raise
        except Exception as error:  # of any kind, from generated code too
            frames = traceback.extract_tb(error.__traceback__) if self.compiled else ()
            if any(place in frame.filename for frame in frames for place in ("inductor", "_dynamo")):
                raise DeviceError(
                    f"device.compile: torch {torch.__version__} cannot run these networks compiled on "
                    f"{self.device.type} ({first_line(error)}): set it to false"
                ) from error
            raise

    def fp32_products(self) -> AbstractContextManager[None]:
        """Compute fp32 products as `tf32` says while open."""
        return fp32_products(self.device, tf32=self.tf32)

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """While open, compute in the run's precision and with fast CPU convolutions; parameters stay fp32."""
        with ExitStack() as stack:
            if self.precision != "fp32":
                stack.enter_context(torch.autocast(self.device.type, dtype=DTYPES[self.precision]))
            if self.device.type == "cpu" and not self.compiled:
                stack.enter_context(FastConvolutions())
            yield

    def synchronize(self) -> None:
        """Wait until the device has finished all queued work, as timing needs it."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def __str__(self) -> str:
        return f"{self.device} in {self.precision} ({self.reason})"


@contextmanager
def fp32_products(device: torch.device, *, tf32: bool | Literal["convolutions"] = False) -> Iterator[None]:
    """While open, compute fp32 products in true fp32, in TF32, or in TF32 in convolutions alone, torch's own default.

    TF32 is of NVIDIA GPUs. A CPU's products are in fp32, by the fastest library, or with "convolutions" by torch's own.
    Torch's flags are the process's, and are restored.
    """
    with ExitStack() as stack:
        if device.type == "cpu":
            stack.enter_context(onednn_products(tf32 != "convolutions"))
        elif device.type == "cuda":
            stack.enter_context(fp32_precision(torch.backends.cuda.matmul, "tf32" if tf32 is True else "ieee"))
            stack.enter_context(fp32_precision(torch.backends.cudnn.conv, "tf32" if tf32 else "ieee"))  # type: ignore[attr-defined]
        yield


@contextmanager
def torch_defaults() -> Iterator[None]:
    """Record gradients and make tensors of fp32, whatever the caller has set, which is restored on exit."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.set_default_dtype(dtype)


def available_accelerators() -> list[str]:
    """Return the accelerators of this machine, best first; the last is "cpu"."""
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return [kind for kind, there in found.items() if there]


def choose_compute(options: DeviceOptions, world: World | None = None) -> Compute:
    """Choose the device and precision that a recipe asks for, on this machine.

    Args:
        options: of the recipe.
        world: the processes of the run; each takes a GPU of its own.

    Raises:
        DeviceError: the device or precision is not available; the text lists what is.
    """
    world = world or World()
    available = available_accelerators()
    if world.world_size > 1:
        if options.cuda_graphs:
            raise DeviceError(
                "device.cuda_graphs: a step that several processes take together cannot be recorded: set it to false"
            )
        available = [kind for kind in available if kind != "mps"]  # torch.distributed has no backend for it
    if options.accelerator == "auto":
        kind = available[0]
        why = f"the best of {', '.join(available)}" if len(available) > 1 else "no accelerator found"
    elif options.accelerator in available:
        kind, why = options.accelerator, f"{options.accelerator} as asked"
    else:
        together = " for several processes" if world.world_size > 1 else ""
        raise DeviceError(
            f'device.accelerator: "{options.accelerator}" is not there{together}; '
            f'this machine has: {", ".join(available)}. Set one of them, or "auto"'
        )
    device = torch.device(kind)
    if kind == "cuda" and world.world_size > 1:
        device = _own_gpu(world)
    if options.precision == "auto":
        precision, why_precision = _auto_precision(device)
    else:
        precision, why_precision = options.precision, f"{options.precision} as asked"
        if precision == "fp16" and kind == "cpu":
            raise DeviceError(
                'device.precision: "fp16" needs a GPU, and this run is on the CPU: set "bf16", "fp32" or "auto"'
            )
    return Compute(device, precision, f"{why}; {why_precision}", compiled=options.compile, tf32=options.tf32)


def _own_gpu(world: World) -> torch.device:
    gpus = torch.cuda.device_count()
    if world.local_world_size > gpus:
        raise DeviceError(
            f"{world.local_world_size} processes were started on this machine, which has {gpus} GPUs: "
            f'start it with --nproc-per-node {gpus}, or set device.accelerator to "cpu"'
        )
    torch.cuda.set_device(world.local_rank)
    return torch.device("cuda", world.local_rank)


def _auto_precision(device: torch.device) -> tuple[str, str]:
    """Return bf16 where the hardware multiplies in it, else fp32, faster than emulated bf16; with the reason."""
    native = False
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        native = bool(capabilities().get("avx512_bf16") or capabilities().get("amx_bf16"))
    return ("bf16", "computes in bf16") if native else ("fp32", "no native bf16")
