"""Makes pickles as StyleGAN2-ADA's code writes them: objects of persistent classes in modules that only they have."""

from __future__ import annotations

import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

SOURCE = "import os\nos.system('touch /tmp/this-must-not-run')\n"


def _reconstruct_persistent_obj(meta: Any) -> Any:
    raise AssertionError("the file was unpickled with the authors' code")


class EasyDict(dict):  # type: ignore[type-arg]
    """A dictionary whose items are attributes, too."""


class Persistent(nn.Module):
    """A module that is pickled with the source of its class."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.class_name = name
        self.gain = np.sqrt(2)
        self.init_kwargs = EasyDict(z_dim=512, nested=EasyDict(a=[1, 2.5, None, True], b=("x", {1, 2})))
        self.size = torch.Size([1, 2])

    def __reduce__(self) -> Any:
        state = dict(vars(self))
        meta = {
            "type": "class",
            "version": 6,
            "module_src": SOURCE,
            "class_name": self.class_name,
            "state": state,
        }
        return _reconstruct_persistent_obj, (meta,), None

    __reduce_ex__ = None  # type: ignore[assignment]


Persistent.__reduce_ex__ = lambda self, protocol: self.__reduce__()  # type: ignore[method-assign, assignment]


@contextmanager
def their_modules() -> Iterator[None]:
    """While open, the classes above are in modules of the authors' names."""
    names = {"torch_utils": {}, "torch_utils.persistence": {"_reconstruct_persistent_obj": _reconstruct_persistent_obj}}
    names |= {"dnnlib": {}, "dnnlib.util": {"EasyDict": EasyDict}}  # type: ignore[dict-item]
    before = {cls: cls.__module__ for cls in (EasyDict, _reconstruct_persistent_obj)}
    try:
        for name, contents in names.items():
            sys.modules[name] = types.ModuleType(name)
            vars(sys.modules[name]).update(contents)
        EasyDict.__module__ = "dnnlib.util"
        _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
        yield
    finally:
        for name in names:
            del sys.modules[name]
        for cls, module in before.items():
            cls.__module__ = module


def network(state: dict[str, Tensor], name: str) -> Persistent:
    """A network with these parameters and buffers, as nested modules."""
    root = Persistent(name)
    for key, value in state.items():
        *path, leaf = key.split(".")
        module: nn.Module = root
        for step in path:
            if step not in module._modules:
                module.add_module(step, Persistent("Layer"))
            module = module._modules[step]  # type: ignore[assignment]
        if leaf in ("resample_filter", "noise_const", "w_avg"):
            module.register_buffer(leaf, value)
        else:
            module.register_parameter(leaf, nn.Parameter(value))
    return root


def write(path: Path, networks: dict[str, dict[str, Tensor]], *, group: int | None = None, protocol: int = 4) -> Path:
    """Write a snapshot with these networks, as the authors' training loop does."""
    content: dict[str, Any] = {"training_set_kwargs": EasyDict(path="somewhere", use_labels=False)}
    for name, state in networks.items():
        content[name] = network(state, "Generator" if name.startswith("G") else "Discriminator")
    if group is not None:
        deviation = Persistent("MinibatchStdLayer")
        deviation.group_size = group  # type: ignore[assignment]
        content["D"].b4.add_module("mbstd", deviation)
    content["augment_pipe"] = None
    content["more"] = OrderedDict(a=1)
    with their_modules(), path.open("wb") as file:
        pickle.dump(content, file, protocol=protocol)
    return path
