"""Start networks from the weights of another run, and keep parts of networks from training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from rich import box
from rich.table import Table
from torch import Tensor, nn

from ganzoo.errors import Problem, RecipeError
from ganzoo.recipe.model import InitialWeightsOptions
from ganzoo.storage.checkpoint import Checkpoint
from ganzoo.storage.run_directory import RunDirectory
from ganzoo.terminal import console, say
from ganzoo.text import count, did_you_mean, printable

REPORT = "init.json"
PARTS = ("taken", "began_anew", "left_over")

Networks = Mapping[str, nn.Module]
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Transfer:
    """The tensors of one network by what became of them: their shapes by name.

    Attributes:
        weights: the name that the network has in the source, such as "generator_ema".
        taken: tensors of the same name and shape in both.
        began_anew: all others of the network.
        left_over: all others of the source.
    """

    weights: str
    taken: Shapes
    began_anew: Shapes
    left_over: Shapes


def take_weights(networks: Networks, source: Checkpoint, options: InitialWeightsOptions) -> dict[str, Transfer]:
    """Load the source's tensors of the same name and shape into networks; leave their other tensors as they are.

    Buffers of a module, such as the statistics of a batch norm, are taken together or not at all.

    Args:
        networks: those of the run, by name.
        source: holds the weights.
        options: the table [init].

    Raises:
        RecipeError: the table names a network that is missing here or in the source, or nothing fits.
    """
    stored = {name: _stored_name(name, source, options) for name in options.networks or networks}
    missing = [
        f'the run has no network "{name}"{did_you_mean(name, networks)}; it has: {", ".join(networks)}'
        for name in stored
        if name not in networks
    ]
    missing += [
        f'{source.path}: holds no network "{name}"; it has: {", ".join(source.networks())}'
        for name in options.networks
        if name in networks and stored[name] is None
    ]
    if missing:
        raise RecipeError("recipe", [Problem("init.networks", each) for each in missing])
    if options.weights == "ema" and not any(name != there for name, there in stored.items() if there):
        text = f'{source.path}: holds no averaged weights of {", ".join(stored)}: take "auto" or "raw"'
        raise RecipeError("recipe", [Problem("init.weights", text)])
    transfers, unlike = {}, {}
    for name, there in stored.items():
        if there is not None:
            tensors = source.network(there)
            transfers[name] = transfer = _take(networks[name], there, tensors, f"{source.path}: {there}")
            parameters = networks[name].named_parameters(remove_duplicate=False)
            if not any(key in transfer.taken and parameter.ndim > 1 for key, parameter in parameters):
                unlike[name] = _first_difference(transfer)
    if unlike.keys() >= transfers.keys() or unlike.keys() & {*options.networks}:
        text = "; ".join(f"{name}: {difference}" for name, difference in unlike.items())
        text = text or f"it has {', '.join(source.networks())}, and the run {', '.join(networks)}"
        problem = Problem("init.from", f"{source.path}: no weight has the name and shape of one of the run's: {text}")
        raise RecipeError("recipe", [problem])
    return transfers


def freeze(networks: Networks, paths: Iterable[str]) -> None:
    """Keep the parameters under module paths such as "discriminator.blocks.0" from training.

    They get no gradient, and so no state in the optimizer. Modules there that have buffers are put into evaluation
    mode, in which batch norm takes its running statistics and leaves them, and spectral norm does not iterate.

    Args:
        networks: those of the run, by name.
        paths: of modules or parameters, each beginning with the name of a network.

    Raises:
        RecipeError: a path leads to no parameter, or a network would have none left to train.
    """
    parts = {
        f"{name}.{path}".rstrip("."): part
        for name, network in networks.items()
        for path, part in [*network.named_modules(remove_duplicate=False), *network.named_parameters()]
        if isinstance(part, Tensor) or next(part.parameters(), None) is not None
    }
    problems = []
    for path in paths:
        part = parts.get(path)
        if part is None:
            problems.append(_unknown_part(path, parts))
            continue
        part.requires_grad_(False)
        for module in part.modules() if isinstance(part, nn.Module) else ():
            if next(module.buffers(recurse=False), None) is not None:
                module.training = False
    problems += [
        f"freezes every parameter of the {name}: leave some of them to train"
        for name, network in networks.items()
        if not problems and not any(parameter.requires_grad for parameter in network.parameters())
    ]
    if problems:
        raise RecipeError("recipe", [Problem("init.freeze", problem) for problem in problems])


def report(
    transfers: Mapping[str, Transfer], source: Checkpoint, options: InitialWeightsOptions, directory: RunDirectory
) -> None:
    """Print how many tensors and parameters were taken, and write their names to `init.json` of the run directory."""
    say(f"weights from {source.path}: tensors (values)")
    table = Table("network", *(part.replace("_", " ") for part in PARTS), box=box.SIMPLE)
    found = {}
    for name, transfer in transfers.items():
        parts = {part: _count(getattr(transfer, part)) for part in PARTS}
        own = name if name == transfer.weights else f"{name} ← {transfer.weights}"
        table.add_row(printable(own), *(f"{each['tensors']} ({count(each['values'])})" for each in parts.values()))
        found[name] = {"weights": transfer.weights, **parts}
    console().print(table)
    directory.write_json(REPORT, {"from": options.source, "step": source.step, "networks": found})


def _stored_name(name: str, source: Checkpoint, options: InitialWeightsOptions) -> str | None:
    """Return the name that a network has in the source, that of its average where it is wanted; None: it has none."""
    names = [name] if options.weights == "raw" else [f"{name}_ema", name]
    return next((each for each in names if each in source.networks()), None)


def _take(network: nn.Module, weights: str, tensors: Mapping[str, Tensor], where: str) -> Transfer:
    """Load the tensors that fit into a network.

    Raises:
        RecipeError: one of them holds values that are not finite.
    """
    state = network.state_dict()
    parameters = dict(network.named_parameters(remove_duplicate=False))
    fits = {name for name, own in state.items() if name in tensors and tensors[name].shape == own.shape}
    apart = {_module_of(name) for name in state.keys() - parameters.keys() - fits}
    taken = {
        name: tensors[name].to(own.dtype)
        for name, own in state.items()
        if name in fits and (name in parameters or _module_of(name) not in apart)
    }
    for name, tensor in taken.items():
        if not torch.isfinite(tensor).all():
            raise RecipeError("recipe", [Problem("init.from", f"{where}: {name} holds values that are not finite")])
    shapes = {name: tuple(own.shape) for name, own in state.items()}
    state.update(taken)  # it has the versions of the modules too, by which torch reads what older ones saved
    network.load_state_dict(state)
    return Transfer(
        weights=weights,
        taken={name: shape for name, shape in shapes.items() if name in taken},
        began_anew={name: shape for name, shape in shapes.items() if name not in taken},
        left_over={name: tuple(tensor.shape) for name, tensor in tensors.items() if name not in taken},
    )


def _module_of(name: str) -> str:
    return name.rpartition(".")[0]


def _first_difference(transfer: Transfer) -> str:
    """Return where a network and its source differ first."""
    for name, shape in transfer.began_anew.items():
        if (there := transfer.left_over.get(name)) is not None and there != shape:
            return f"{name} has shape {there} there and {shape} here"
    return f"{next(iter(transfer.left_over), 'nothing')} there, {next(iter(transfer.began_anew), 'nothing')} here"


def _unknown_part(path: str, parts: Mapping[str, Any]) -> str:
    """Return the message for a path without parameters: what comes close, and the modules of what it begins with."""
    around = path
    while around and around not in parts:
        around = _module_of(around)
    inside = [each for each in parts if _module_of(each) == around]
    where = f"in {around} there are" if around else "the networks are"
    return f'"{path}" leads to no parameter{did_you_mean(path, [*parts])}; {where}: {", ".join(inside)}'


def _count(shapes: Shapes) -> dict[str, Any]:
    """Return how many tensors and values there are, and the shape of each tensor in words."""
    in_words = {name: "×".join(map(str, shape)) or "scalar" for name, shape in shapes.items()}
    return {"tensors": len(shapes), "values": sum(map(math.prod, shapes.values())), "shapes": in_words}
