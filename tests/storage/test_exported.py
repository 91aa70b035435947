"""Exports from a stranger: whatever is in the folder, nothing is executed, and what is wrong is told by its file."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ganzoo_export import export_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import ganzoo
from ganzoo import api
from ganzoo.errors import CheckpointError, GanzooError
from ganzoo.storage.manifest import file_sha256, write_checksummed

WEIGHTS = "generator.safetensors"


@pytest.fixture(scope="module")
def given_away(tmp_path_factory: pytest.TempPathFactory, tables_in: Callable[[Path], Any]) -> Path:
    folder = tmp_path_factory.mktemp("export")
    return export_run(api.run(tables_in(folder), ["run.steps=1"]), folder / "given", discriminator=True)


@pytest.fixture
def folder(given_away: Path, tmp_path: Path) -> Path:
    return shutil.copytree(given_away, tmp_path / "fetched")


def reseal(folder: Path, change: Callable[[dict[str, Any]], object] = lambda manifest: None) -> None:
    """What somebody who means harm can do: checksums prove that nothing changed on the way, not who made it."""
    manifest = json.loads((folder / "export.json").read_text())
    manifest["files"] = {name: file_sha256(folder / name) for name in manifest["files"]}
    change(manifest)
    manifest.pop("manifest_sha256", None)
    write_checksummed(folder / "export.json", manifest)


def refused(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        ganzoo.load_export(folder)
    return str(caught.value)


@pytest.mark.parametrize("name", [WEIGHTS, "discriminator.safetensors", "recipe.toml", "export.json"])
def test_any_flipped_bit_is_told_by_its_file(folder: Path, name: str):
    path = folder / name
    content = path.read_bytes()
    for place in {0, 9, len(content) // 3, len(content) // 2, len(content) - 1}:
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert str(path) in refused(folder)
    path.write_bytes(content[:-1])
    assert str(path) in refused(folder)
    path.unlink()
    with pytest.raises(GanzooError, match=name):
        ganzoo.load_export(folder)


@pytest.mark.parametrize(
    "name",
    ["../outside", "/etc/hostname", "plugins/../../outside", "deep/er", "..", ".", "", "plugins/", "a\\b", "a\0b"],
)
def test_names_that_lead_elsewhere(folder: Path, name: str):
    (folder.parent / "outside").write_text("somebody's")
    assert "names a file that may not be" in (
        text := refused_after(folder, lambda manifest: manifest["files"].update({name: "0" * 64}))
    ), text


def refused_after(folder: Path, change: Callable[[dict[str, Any]], object]) -> str:
    reseal(folder, change)
    return refused(folder)


def test_weights_that_are_not_listed_are_not_weights(folder: Path):
    assert "names weights that cannot be" in refused_after(
        folder, lambda manifest: manifest["networks"].update(generator="README.md")
    )
    assert "names weights that cannot be" in refused_after(
        folder, lambda manifest: manifest["networks"].update(generator="../outside.safetensors")
    )
    assert "names weights that cannot be" in refused_after(
        folder, lambda manifest: manifest["networks"].update({"generator": WEIGHTS, "__class__": WEIGHTS})
    )


def test_a_link_to_somewhere_else(folder: Path):
    secret = folder.parent / "secret.safetensors"
    (folder / WEIGHTS).rename(secret)
    (folder / WEIGHTS).symlink_to(secret)
    assert f"{folder / WEIGHTS}: is a link to somewhere else" in refused(folder)


def test_a_pipe_does_not_hold_it_up(folder: Path):
    (folder / WEIGHTS).unlink()
    os.mkfifo(folder / WEIGHTS)
    assert "is missing" in refused(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8,
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 99_000_000) + b"{}",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 4) + b"null",
        struct.pack("<Q", 100_000) + b'{"a":' * 20_000,
        (lambda header: struct.pack("<Q", len(header)) + header)(
            b'{"w":{"dtype":"F32","shape":[9223372036854775807,4],"data_offsets":[0,4]}}'
        )
        + b"\0" * 4,
        (lambda header: struct.pack("<Q", len(header)) + header)(
            b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"v":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
        )
        + b"\0" * 4,
    ],
)
def test_headers_made_to_hurt(folder: Path, content: bytes):
    (folder / WEIGHTS).write_bytes(content)
    reseal(folder)
    assert str(folder / WEIGHTS) in refused(folder)


def test_a_pickle_under_another_name_is_not_executed(folder: Path):
    class Harm:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(folder / "executed"),)

    for content in (pickle.dumps(Harm()), None):
        if content is None:
            torch.save(Harm(), folder / WEIGHTS)
        else:
            (folder / WEIGHTS).write_bytes(content)
        reseal(folder)
        assert "cannot be read" in refused(folder)
    assert not (folder / "executed").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors | {"more": torch.zeros(2)},
        lambda tensors: dict(list(tensors.items())[1:]),
        lambda tensors: {name: tensor.flatten() for name, tensor in tensors.items()},
    ],
)
def test_weights_of_another_network(folder: Path, change: Callable[[Any], Any]):
    save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS)
    reseal(folder)
    assert f"{folder / WEIGHTS}: does not fit the recipe beside it" in refused(folder)


@pytest.mark.parametrize(
    "option", ["latent_dim = 1000000000000", "width = 1000000000", "latent_dim = 9007199254740993"]
)
def test_networks_larger_than_any_memory_are_not_built(folder: Path, option: str):
    key = option.split()[0]
    text = (folder / "recipe.toml").read_text()
    head, tail = text.split("[generator]")
    lines = [option if line.startswith(f"{key} =") else line for line in tail.splitlines()]
    (folder / "recipe.toml").write_text(head + "[generator]" + "\n".join(lines))
    reseal(folder)
    with pytest.raises(GanzooError):
        ganzoo.load_export(folder)


def test_a_recipe_that_is_none(folder: Path):
    for text in ("not toml [", "", "[run]\nname = 'x'\n", '[generator]\nname = "os.system"\n'):
        (folder / "recipe.toml").write_text(text)
        reseal(folder)
        with pytest.raises(GanzooError):
            ganzoo.load_export(folder)


@pytest.mark.parametrize("text", ["", "[]", "null", "3", '"export"', "{", "[" * 100_000, '{"export": 1}', "\ud83d"])
def test_manifests_that_are_none(folder: Path, text: str):
    (folder / "export.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    told = refused(folder)
    assert told.startswith(str(folder / "export.json"))
    assert told.endswith("; fetch it again")


def test_a_manifest_that_the_system_does_not_give(folder: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(path: Path, *args: object) -> str:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr("ganzoo.storage.manifest.read_text", fail)
    told = refused(folder)
    assert told == f"{folder / 'export.json'}: cannot be read: Permission denied; make it readable, or fetch it again"


def test_a_manifest_without_end(folder: Path):
    with (folder / "export.json").open("wb") as file:
        file.truncate(1 << 40)  # takes no room on the disk
    assert "more than the 16.0 MiB" in refused(folder)


def test_another_format_says_so(folder: Path):
    later = refused_after(folder, lambda manifest: manifest.update(export=2))
    assert later == f"{folder / 'export.json'}: has format 2; this ganzoo reads format 1: upgrade ganzoo-core"
    earlier = refused_after(folder, lambda manifest: manifest.update(export=0))
    assert earlier == f"{folder / 'export.json'}: has format 0; this ganzoo reads format 1"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.slow
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.sampled_from(["export", "step", "info", "networks", "files", "format", "weights", "plugins"]),
    value=JSON,
)
def test_manifests_with_anything_in_them(given_away: Path, tmp_path: Path, key: str, value: Any):
    """It loads, or says what is wrong; no other error, whatever the manifest holds."""
    folder = tmp_path / "fuzzed"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(given_away, folder)
    reseal(folder, lambda manifest: manifest.update({key: value}))
    try:
        ganzoo.load_export(folder)
    except GanzooError as error:
        told = str(error)
    else:
        told = str(folder)
    assert str(folder) in told
