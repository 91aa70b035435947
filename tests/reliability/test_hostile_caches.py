"""What lies in a cache or in a sweep's folder, made to run code: it is refused, or made anew, and never run."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ganzoo_metrics import classifier
from ganzoo_metrics.weights import load_tensors

from ganzoo.data.packed_dataset import pack_dataset
from ganzoo.errors import DataError, RunDirectoryError
from ganzoo.recipe.model import Recipe
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.sweeps.directory import STATE, SweepDirectory
from ganzoo.sweeps.display import last_row


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def bomb(path: Path) -> None:
    """64 MiB of zeros in a few KiB."""
    torch.save({"x": torch.zeros(2**10)}, path)
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content * (2**14 if name.endswith("data/0") else 1))


WRITERS: dict[str, Callable[[Path, Trap], object]] = {
    "a pickle": lambda path, trap: path.write_bytes(pickle.dumps(trap)),
    "of torch": lambda path, trap: torch.save({"x": trap}, path),
    "of an old torch": lambda path, trap: torch.save(trap, path, _use_new_zipfile_serialization=False),
    "a bomb": lambda path, trap: bomb(path),
    "numbers": lambda path, trap: torch.save([1, 2, 3], path),
    "nothing": lambda path, trap: path.write_bytes(b""),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("kind", WRITERS)
def test_weights_of_an_extractor(tmp_path: Path, kind: str, suffix: str):
    path = tmp_path / f"weights{suffix}"
    WRITERS[kind](path, Trap(tmp_path / "ran"))
    with pytest.raises(DataError, match="the weights cannot be read there: ") as caught:
        load_tensors(path, "the weights")
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", WRITERS)
def test_classifier_in_the_cache(
    tmp_path: Path, tables: Any, parse: Callable[..., Recipe], manager: PluginManager, kind: str, monkeypatch: Any
):
    """It is trained anew."""
    tables["dataset"] = {"name": "digits"}
    recipe = parse(tables)
    pack = pack_dataset(manager.registries.datasets["digits"].load()(recipe.dataset))
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path))
    trained: list[object] = []

    def untrained(network: Any, pack: Any) -> Any:
        trained.append(network)
        return network.state_dict()

    monkeypatch.setattr(classifier, "_trained", untrained)
    classifier.classifier_for(pack)
    (cached,) = tmp_path.rglob("*.safetensors")
    WRITERS[kind](cached, Trap(tmp_path / "ran"))
    classifier.classifier_for(pack)
    assert len(trained) == 2
    assert not (tmp_path / "ran").exists()
    classifier.classifier_for(pack)
    assert len(trained) == 2


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "9" * 10_000,
        "[]",
        '{"runs": [{"run": "../outside/0001"}]}',
        '{"runs": 3, "vary": {}, "name": "x", "source": "x", "recipe": {}}',
    ],
    ids=["brackets", "digits", "a list", "outside", "a number"],
)
def test_state_of_a_sweep(tmp_path: Path, text: str):
    (tmp_path / STATE).write_text(text)
    with pytest.raises(RunDirectoryError, match="is no state of a sweep, or is damaged"):
        SweepDirectory.open(tmp_path)


def test_metrics_of_a_sweeps_run(tmp_path: Path):
    class Run:
        metrics = tmp_path / "metrics.jsonl"

    row = '{"step": 3, "images_per_second": 5.0}'
    Run.metrics.write_bytes(f"{row}\n".encode() + b"[" * 1500 + b"\n\xff\xfe\n[]\n7\n")
    assert last_row(Run) == {"step": 3, "images_per_second": 5.0}  # type: ignore[arg-type]
