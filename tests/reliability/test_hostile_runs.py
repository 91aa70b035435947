"""Run directories made to run code, or to have something read or written outside of them: refused, with one line."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ganzoo import api

Tables = dict[str, Any]
STEP = "checkpoints/step_0000006"


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@dataclass(frozen=True)
class Place:
    """Where an attack happens: the run directory, and what lies beside it and is none of its business."""

    run: Path
    outside: Path

    @property
    def marker(self) -> Path:
        """What code that was run would make."""
        return self.outside.with_name("ran")

    def seal(self) -> None:
        """Give the newest checkpoint a manifest that fits what is in it: sums keep out mishaps, not people."""
        folder = self.run / STEP
        manifest = json.loads((folder / "manifest.json").read_text())
        names = [path.name for path in folder.iterdir() if path.name != "manifest.json" and path.is_file()]
        self.write_manifest(manifest | {"files": {name: sha256(folder / name) for name in sorted(names)}})

    def change_manifest(self, **values: Any) -> None:
        """Change it, and its own sum with it."""
        self.write_manifest(json.loads((self.run / STEP / "manifest.json").read_text()) | values)

    def write_manifest(self, manifest: Tables) -> None:
        manifest.pop("manifest_sha256", None)
        manifest["manifest_sha256"] = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
        (self.run / STEP / "manifest.json").write_text(json.dumps(manifest, indent=2))

    def replace(self, line: str, by: str) -> None:
        """Change each such line of the recipe."""
        recipe = self.run / "recipe.toml"
        assert line in recipe.read_text()
        recipe.write_text(recipe.read_text().replace(line, by))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def tree(folder: Path) -> dict[str, tuple[float, bytes]]:
    """Everything in a folder, with its time and content."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tables_in: Callable[[Path], Tables]) -> Path:
    """A run that was stopped at step 6 of 9, with one checkpoint before that."""
    tables = tables_in(tmp_path_factory.mktemp("hostile"))
    tables["samples"] |= {"every": 2, "gif": True}
    return api.run(tables).path


@pytest.fixture
def place(trained: Path, tmp_path: Path) -> Place:
    shutil.copytree(trained, tmp_path / "run")
    outside = tmp_path / "outside"
    (outside / "folder").mkdir(parents=True)
    (outside / "secret.txt").write_text("the secret")
    (outside / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n')
    shutil.copytree(trained / "checkpoints", outside / "checkpoints")
    return Place(tmp_path / "run", outside)


# Each attack, and what the one line of error says when the run is resumed; "" where the attack comes to nothing.
ATTACKS: dict[str, tuple[Callable[[Place], object], str]] = {}


def attack(told: str) -> Callable[[Callable[[Place], object]], Callable[[Place], object]]:
    def register(act: Callable[[Place], object]) -> Callable[[Place], object]:
        ATTACKS[act.__name__] = (act, told)
        return act

    return register


@attack("state.pt: cannot be read")
def state_with_a_trap(place: Place) -> None:
    torch.save({"trainer": Trap(place.marker)}, place.run / STEP / "state.pt")
    place.seal()


@attack("state.pt: cannot be read")
def state_of_an_old_torch_with_a_trap(place: Place) -> None:
    torch.save(Trap(place.marker), place.run / STEP / "state.pt", _use_new_zipfile_serialization=False)
    place.seal()


@attack("state.pt: cannot be read")
def state_that_is_a_bare_pickle(place: Place) -> None:
    (place.run / STEP / "state.pt").write_bytes(pickle.dumps(Trap(place.marker)))
    place.seal()


@attack("state.pt: cannot be read")
def state_that_is_a_tar_archive(place: Place) -> None:
    with tarfile.open(place.run / STEP / "state.pt", "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors", "../../../outside/written"):
            content = pickle.dumps(Trap(place.marker))
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    place.seal()


@attack("state.pt: cannot be read")
def state_that_is_a_program_of_torchscript(place: Place) -> None:
    with zipfile.ZipFile(place.run / STEP / "state.pt", "w") as archive:
        for name in ("constants.pkl", "data.pkl", "code/__torch__.py", "version"):
            archive.writestr(f"state/{name}", b"3" if name == "version" else pickle.dumps(Trap(place.marker)))
    place.seal()


@attack("state.pt: cannot be read: is packed")
def state_that_is_a_bomb(place: Place) -> None:
    """64 MiB of zeros in a few KiB."""
    state = place.run / STEP / "state.pt"
    torch.save(torch.zeros(2**20), state)
    with zipfile.ZipFile(state) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(state, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content * (16 if name.endswith("data/0") else 1))
    place.seal()


@attack("does not fit the recipe")
def state_with_other_things_in_it(place: Place) -> None:
    state = torch.load(place.run / STEP / "state.pt", weights_only=True)
    torch.save(state | {"position": {"a": 1}}, place.run / STEP / "state.pt")
    place.seal()


@attack("does not fit the recipe")
def state_of_a_place_that_never_was(place: Place) -> None:
    state = torch.load(place.run / STEP / "state.pt", weights_only=True)
    torch.save(state | {"position": -(10**30)}, place.run / STEP / "state.pt")
    place.seal()


@attack("does not fit the recipe")
def state_without_a_trainer(place: Place) -> None:
    state = torch.load(place.run / STEP / "state.pt", weights_only=True)
    torch.save(state | {"trainer": [1, 2]}, place.run / STEP / "state.pt")
    place.seal()


@attack("generator.safetensors: cannot be read")
def weights_with_a_trap(place: Place) -> None:
    torch.save({"x": Trap(place.marker)}, place.run / STEP / "generator.safetensors")
    place.seal()


@attack("generator.safetensors: cannot be read")
def weights_that_promise_more_than_there_is(place: Place) -> None:
    header = json.dumps({"x": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}).encode()
    content = struct.pack("<Q", len(header)) + header + b"0000"
    (place.run / STEP / "generator.safetensors").write_bytes(content)
    place.seal()


@attack("generator does not fit the recipe")
def weights_of_other_shapes(place: Place) -> None:
    weights = load_file(place.run / STEP / "generator.safetensors")
    save_file({key: value[None] for key, value in weights.items()}, place.run / STEP / "generator.safetensors")
    place.seal()


@attack("manifest.json: is no manifest: files")
def manifest_that_names_a_file_outside(place: Place) -> None:
    secret = place.outside / "secret.txt"
    files = json.loads((place.run / STEP / "manifest.json").read_text())["files"]
    place.change_manifest(files=files | {"../../../outside/secret.txt": sha256(secret)})


@attack("manifest.json: is no manifest: files")
def manifest_that_names_a_file_by_its_full_path(place: Place) -> None:
    place.change_manifest(files={str(place.outside / "secret.txt"): sha256(place.outside / "secret.txt")})


@attack("manifest.json: is of step 1000000000")
def manifest_of_another_step(place: Place) -> None:
    place.change_manifest(step=10**9)


@attack("manifest.json: is no manifest: files")
def manifest_with_a_list_of_files(place: Place) -> None:
    place.change_manifest(files=["state.pt"])


@attack("manifest.json: cannot be read")
def manifest_of_endless_brackets(place: Place) -> None:
    (place.run / STEP / "manifest.json").write_text("[" * 200_000)


@attack("manifest.json: cannot be read")
def manifest_with_endless_digits(place: Place) -> None:
    (place.run / STEP / "manifest.json").write_text('{"step": ' + "9" * 10_000 + "}")


@attack("the dataset has changed since")
def manifest_of_images_beyond_memory(place: Place) -> None:
    samples = {"channels": 3, "height": 2**15, "width": 2**15}
    place.change_manifest(info={"samples": samples, "labels": None, "condition": None})


@attack("leads out of")
def weights_that_are_a_link(place: Place) -> None:
    file = place.run / STEP / "generator.safetensors"
    file.unlink()
    file.symlink_to(place.outside / "checkpoints" / Path(STEP).name / file.name)


@attack("leads out of")
def checkpoint_that_is_a_link(place: Place) -> None:
    shutil.rmtree(place.run / STEP)
    (place.run / STEP).symlink_to(place.outside / STEP)


@attack("leads out of")
def checkpoints_that_are_a_link(place: Place) -> None:
    """What lies behind it is read, and old checkpoints there would go."""
    shutil.rmtree(place.run / "checkpoints")
    (place.run / "checkpoints").symlink_to(place.outside / "checkpoints")


@attack("leads out of")
def samples_that_are_a_link(place: Place) -> None:
    shutil.rmtree(place.run / "samples")
    (place.run / "samples").symlink_to(place.outside / "folder")


@attack("leads out of")
def metrics_that_are_a_link(place: Place) -> None:
    """Rows are added to the file behind it."""
    (place.run / "metrics.jsonl").unlink()
    (place.run / "metrics.jsonl").symlink_to(place.outside / "metrics.jsonl")


@attack("leads out of")
def link_to_nothing_yet(place: Place) -> None:
    (place.run / "metrics.jsonl").unlink()
    (place.run / "metrics.jsonl").symlink_to(place.outside / "made")


@attack("leads out of")
def folder_of_wandb_that_is_a_link(place: Place) -> None:
    (place.run / "wandb").symlink_to(place.outside / "folder")


@attack("leads out of")
def half_written_file_that_is_a_link(place: Place) -> None:
    (place.run / ".recipe.partial.toml").symlink_to(place.outside / "secret.txt")


@attack("leads out of")
def half_written_checkpoint_that_is_a_link(place: Place) -> None:
    (place.run / "checkpoints/.step_0000009.partial").symlink_to(place.outside / "folder")


@attack("leads out of")
def lock_that_is_a_link(place: Place) -> None:
    (place.run / ".lock").unlink(missing_ok=True)
    (place.run / ".lock").symlink_to(place.outside / "secret.txt")


@attack("leads out of")
def recipe_that_is_a_link(place: Place) -> None:
    (place.run / "recipe.toml").rename(place.outside / "recipe.toml")
    (place.run / "recipe.toml").symlink_to(place.outside / "recipe.toml")


@attack("has plugin files of its own: plugins/evil.py")
def recipe_with_a_plugin_file(place: Place) -> None:
    (place.run / "plugins").mkdir()
    (place.run / "plugins/evil.py").write_text(f"import os\nos.mkdir({str(place.marker)!r})\n")
    place.replace("files = []", 'files = ["plugins/evil.py"]')


@attack("lies outside the run's own folder")
def recipe_with_a_plugin_file_elsewhere(place: Place) -> None:
    (place.outside / "evil.py").write_text(f"import os\nos.mkdir({str(place.marker)!r})\n")
    place.replace("files = []", 'files = ["../outside/evil.py"]')


@attack('there is no dataset "os:mkdir"')
def recipe_with_the_path_of_a_class(place: Place) -> None:
    place.replace('name = "synthetic"', 'name = "os:mkdir"')


@attack("run.name")
def recipe_with_a_name_that_climbs(place: Place) -> None:
    place.replace('name = "tiny"', 'name = "../../outside/tiny"')


@attack("recipe.toml: cannot be read")
def recipe_of_endless_brackets(place: Place) -> None:
    (place.run / "recipe.toml").write_text("a = " + "[" * 100_000)


@attack("recipe.toml: cannot be read")
def recipe_with_endless_digits(place: Place) -> None:
    (place.run / "recipe.toml").write_text("a = " + "9" * 10_000)


@attack("out of memory")
def recipe_of_networks_beyond_memory(place: Place) -> None:
    place.replace("latent_dim = 8", "latent_dim = 1000000000000")


@attack("step_0000004.png: cannot be read and is left out")
def picture_that_is_a_program(place: Place) -> None:
    """PIL has Ghostscript run what is PostScript, whatever a file is called."""
    (place.run / "samples/step_0000004.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
    )


@attack("")
def metrics_that_are_none(place: Place) -> None:
    rows = ["[1]", "7", "null", '"text"', "{}", '{"step": "x"}', '{"step": null}', "[" * 100_000, "9" * 10_000, "\0"]
    with (place.run / "metrics.jsonl").open("a") as file:
        file.write("\n".join([*rows, '{"step": -1, "score/fd": "low"}', '{"step": 2, "seconds": []}']))


@attack("W&B: tracking is off: ")
def tracking_that_climbs(place: Place) -> None:
    (place.run / "wandb.json").write_text(json.dumps({"id": "../../../outside/folder/x", "path": "../outside"}))
    place.replace('mode = "disabled"', 'mode = "offline"')


@attack("W&B: tracking is off: ")
def tracking_that_is_no_text(place: Place) -> None:
    (place.run / "wandb.json").write_text(json.dumps({"id": {"a": [1]}}))
    place.replace('mode = "disabled"', 'mode = "offline"')


@pytest.fixture
def ghostscript(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `gs` that leaves a trace."""
    programs = place.outside.with_name("bin")
    programs.mkdir()
    (programs / "gs").write_text(f"#!/bin/sh\nmkdir -p {place.marker}\n")
    (programs / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
def test_attack(name: str, place: Place, ghostscript: None, command: Callable[..., Any]):
    """Nothing is run, nothing is written elsewhere, and one line says what is wrong."""
    act, told = ATTACKS[name]
    act(place)
    before = tree(place.outside)
    out = place.run.with_name("out.png")
    for arguments in (
        ("resume", place.run, "--set", "run.steps=8"),
        ("sample", place.run, "--count", "2", "--out", out),
    ):
        ended = command(*arguments)
        assert not place.marker.exists()
        assert tree(place.outside) == before
        assert "Traceback" not in ended.err
        lines = [line for line in ended.err.splitlines() if line.startswith(("error: ", "warning: "))]
        assert ended.code in (0, 1, 2)
        if arguments[0] == "resume":
            assert bool(told) == (len(lines) == 1), ended.err
            assert told in ended.err
