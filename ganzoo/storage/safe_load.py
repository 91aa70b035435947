"""Loading of untrusted files: no code in them runs, and any defect is a ValueError."""

from __future__ import annotations

import os
import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors.torch import load_file

from ganzoo.runtime.memory import physical_memory
from ganzoo.untrusted import CodeError, open_file


def load_tensors(path: Path, *, mapped: bool = False) -> Any:
    """Load tensors and plain values from a file of `torch.save`, or tensors from one of safetensors, on the CPU.

    Args:
        path: the file; one of safetensors ends in ".safetensors".
        mapped: do not read the tensors of `torch.save`.

    Raises:
        CodeError: it holds other objects.
        ValueError: it is damaged, or unpacks to more than its size on the disk. The texts continue the file's name.
    """
    kind = "safetensors" if path.suffix == ".safetensors" else "torch.save"
    try:
        with open_file(path, physical_memory()) as file:
            if kind == "safetensors":
                return load_file(path)
            packed = _packed(file)
            if not packed:
                with warnings.catch_warnings(action="ignore"):  # torch's, about formats that are refused anyway
                    source = path if mapped else file
                    content = torch.load(source, map_location="cpu", weights_only=True, mmap=mapped)
                    _check_tensors(content, set())
                    return content
    except pickle.UnpicklingError as error:  # torch's own text suggests loading the file unsafely
        found = re.search(r"GLOBAL (\S+)", str(error))
        what = f" ({found[1]})" if found else ""
        raise CodeError(f"holds more than tensors and plain values{what}, and is not run to see what") from error
    except Exception as error:  # of any type, depending on the bytes
        reason = re.split(r"\n|\. ", str(error))[0]
        raise ValueError(f"is damaged, or not of {kind}: {reason or type(error).__name__}") from error
    raise ValueError(packed)


def _check_tensors(content: Any, seen: set[int]) -> None:
    """Check that all tensors lie in memory value by value, as code that takes their addresses presumes.

    Raises:
        ValueError: one is sparse, quantized or without values, or repeats a value in place of having many.
    """
    if id(content) in seen:
        return
    seen.add(id(content))
    if isinstance(content, torch.Tensor):
        plain = content.layout is torch.strided and content.device.type == "cpu" and not content.is_quantized
        if not plain or content.numel() * content.element_size() > content.untyped_storage().nbytes():
            raise ValueError("has a tensor that is not stored value by value")
    elif isinstance(content, dict | list | tuple | set):
        for each in [*content.keys(), *content.values()] if isinstance(content, dict) else content:
            _check_tensors(each, seen)


def _packed(file: BinaryIO) -> str:
    """Return what is wrong with an archive: it is a program, or compressed, which could fill the memory."""
    is_archive, size = zipfile.is_zipfile(file), file.seek(0, os.SEEK_END)
    members = zipfile.ZipFile(file).infolist() if is_archive else []
    file.seek(0)
    if not is_archive:
        return ""
    if any(member.filename.endswith("/constants.pkl") for member in members):
        return (
            "is a program of TorchScript, which is not run; where you trust it, "
            "torch.save(torch.jit.load(FILE).state_dict(), NEW_FILE) writes its weights"
        )
    total = sum(member.file_size for member in members)
    if total <= size and all(member.compress_type == zipfile.ZIP_STORED for member in members):
        return ""
    return f"is packed: it would take {total} bytes of memory, {size} are its own"
