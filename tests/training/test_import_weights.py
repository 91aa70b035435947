"""Importing: which importer reads a source, what is checked before anything is written, and what is written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import ganzoo
from ganzoo import api
from ganzoo.components.importer import Assignment, ImportedWeights, Importer
from ganzoo.components.options import ImporterConfig
from ganzoo.components.spec import DatasetInfo
from ganzoo.errors import OutputError, RequestError
from ganzoo.recipe.load import parse_recipe
from ganzoo.registry.plugin_manager import LocalFile, PluginManager
from ganzoo.registry.registry import Registrar
from ganzoo.training import import_weights as importing

Networks = dict[str, dict[str, Tensor]]
Import = Callable[..., ganzoo.TrainedRun]


@pytest.fixture
def networks(tables: dict, manager: PluginManager) -> Networks:
    """The state of freshly built networks of the tiny recipe."""
    recipe = parse_recipe(tables, manager)
    info = DatasetInfo(recipe.dataset.sample_spec())
    registries = manager.registries
    torch.manual_seed(3)
    return {
        "generator": registries.generators["dcgan"].load()(recipe.generator, info=info).state_dict(),
        "discriminator": registries.discriminators["dcgan"].load()(recipe.discriminator, info=info).state_dict(),
    }


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.weights"
    path.write_bytes(b"some bytes")
    return path


@pytest.fixture
def own_manager(tables: dict, networks: Networks) -> PluginManager:
    """The installed plugins and an importer "tiny", which gives `networks` for any source of its suffix."""

    class Tiny(Importer):
        """Reads nothing."""

        class Config(ImporterConfig):
            """No options."""

        def mismatch(self, source: Path) -> str | None:
            return None if source.suffix == ".weights" else "does not end in .weights"

        def read(self, source: Path) -> ImportedWeights:
            info = DatasetInfo(parse_recipe(tables, manager).dataset.sample_spec())
            rows = [
                Assignment(f"w{number}", tuple(tensor.shape), f"{name}.{key}")
                for name, tensors in networks.items()
                for number, (key, tensor) in enumerate(tensors.items())
            ]
            return ImportedWeights(tables, info, networks, rows, [source], ["something was assumed"])

    manager = PluginManager()
    Registrar((manager.registries.importers,), "test")("tiny", Tiny)
    return manager


@pytest.fixture
def bring(source: Path, tmp_path: Path, own_manager: PluginManager) -> Import:
    def bring(*overrides: str, out: Path = tmp_path / "run", **options: Any) -> ganzoo.TrainedRun:
        return ganzoo.import_run(source, out, overrides, manager=own_manager, **options)

    return bring


def test_imported_run_is_worked_with_like_any_other(bring: Import, networks: Networks, own_manager: PluginManager):
    run = bring()
    for name, tensors in networks.items():
        loaded = run.checkpoint.network(name)
        assert loaded.keys() == tensors.keys()
        assert all(torch.equal(loaded[key], tensors[key]) for key in tensors)
    again = ganzoo.load_run(run.path, manager=own_manager)
    assert torch.equal(again.sample(3, seed=1), run.sample(3, seed=1))
    assert again.discriminator(again.sample(2)).shape == (2,)
    assert again.metrics == []
    assert {path.name for path in run.path.iterdir()} == {
        "recipe.toml",
        "environment.json",
        "summary.json",
        "samples",
        "checkpoints",
    }


def test_plugin_files_are_kept(bring: Import, tmp_path: Path, own_manager: PluginManager):
    file = tmp_path / "mine.py"
    file.write_text("from ganzoo.plugin import hookimpl\n\n@hookimpl\ndef lint_recipe():\n    return []\n")
    own_manager.files.append(LocalFile(file, file.read_bytes()))
    run = bring()
    assert (run.path / "plugins" / "mine.py").read_text() == file.read_text()
    assert run.directory.read_recipe()["plugins"]["files"] == ["plugins/mine.py"]


def test_recipe_trains_such_networks_anew(bring: Import, own_manager: PluginManager):
    run = bring()
    assert run.directory.path.joinpath("recipe.toml").read_text().startswith("# Made by `ganzoo import`")
    assert ganzoo.run(run.path / "recipe.toml", ["run.steps=1"], manager=own_manager).checkpoint.step == 1


def test_run_says_where_its_weights_came_from(bring: Import, source: Path, networks: Networks):
    run = bring()
    summary = json.loads((run.path / "summary.json").read_text())
    assert summary["status"] == "imported"
    assert summary["steps"] == 0
    origin = {
        "importer": "tiny",
        "source": str(source),
        "sha256": {"source.weights": hashlib.sha256(b"some bytes").hexdigest()},
    }
    assert origin.items() <= summary["imported"].items()
    assert summary["imported"]["notes"] == ["something was assumed"]
    assert len(summary["imported"]["tensors"]) == sum(map(len, networks.values()))
    first = summary["imported"]["tensors"][0]
    assert first == {"source": "w0", "shape": [8, 16, 4, 4], "target": "generator.blocks.0.0.weight", "change": ""}
    environment = json.loads((run.path / "environment.json").read_text())
    assert environment["imported"] == origin
    assert environment["plugins"].keys() >= {"ganzoo-core", "ganzoo-dcgan"}


def test_imported_weights_are_sealed(bring: Import):
    run = bring()
    file = run.checkpoint.path / "generator.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(RequestError, match=r"generator\.safetensors: is damaged"):
        ganzoo.load_run(run.path)


def test_imported_run_cannot_be_resumed(bring: Import, own_manager: PluginManager):
    run = bring()
    with pytest.raises(RequestError, match="was imported: weights without the optimizers' state"):
        ganzoo.resume(run.path, manager=own_manager)


def test_overrides_change_the_recipe(bring: Import):
    assert bring("run.name=other", "samples.batch_norm=batch").recipe.run.name == "other"


def test_report_is_handed_what_was_read(bring: Import):
    heard: list[ImportedWeights] = []
    bring(report=heard.append)
    assert heard[0].notes == ["something was assumed"]


def test_generator_is_enough(bring: Import, networks: Networks):
    del networks["discriminator"]
    run = bring()
    assert run.sample(2).shape == (2, 3, 16, 16)
    with pytest.raises(RequestError, match="holds no discriminator; it has: generator"):
        _ = run.discriminator


UNFIT: dict[str, tuple[Callable[[Networks], Any], str]] = {
    "no generator": (lambda n: n.pop("generator"), "holds no generator"),
    "missing": (
        lambda n: n["generator"].pop("blocks.0.0.weight"),
        "generator.blocks.0.0.weight: nothing in the source",
    ),
    "extra": (lambda n: n["generator"].update(x=torch.zeros(1)), "generator.x: the network has no such tensor"),
    "shape": (
        lambda n: n["generator"].update({"blocks.0.0.weight": torch.zeros(8, 9, 4, 4)}),
        "w0 → generator.blocks.0.0.weight: has shape (8, 9, 4, 4), but must have (8, 16, 4, 4)",
    ),
    "type": (
        lambda n: n["generator"].update({"blocks.0.0.weight": torch.zeros(8, 16, 4, 4).half()}),
        "w0 → generator.blocks.0.0.weight: is of type torch.float16, but must be torch.float32",
    ),
    "values": (
        lambda n: n["discriminator"]["head.0.weight"].fill_(torch.inf),
        "discriminator.head.0.weight: holds values that are not finite numbers",
    ),
    "another network": (lambda n: n.update(critic={}), "critic: is no network that a run holds"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_weights_that_do_not_fit_are_told_and_nothing_is_written(
    tmp_path: Path, bring: Import, networks: Networks, case: str
):
    change, told = UNFIT[case]
    change(networks)
    with pytest.raises(RequestError) as caught:
        bring()
    assert told in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source.weights"]


def test_all_that_does_not_fit_is_told_together(bring: Import, networks: Networks):
    networks["generator"] = {}
    with pytest.raises(RequestError) as caught:
        bring()
    assert str(caught.value).count("nothing in the source goes there") > 5


def test_dataset_of_other_images_is_told(bring: Import):
    with pytest.raises(RequestError, match="makes images of 3×16×16, but its recipe has a dataset of 3×32×32"):
        bring("dataset.image_size=32")


def test_options_of_other_networks_are_told(bring: Import):
    with pytest.raises(RequestError, match=r"generator\.blocks\.0\.0\.weight: has shape"):
        bring("generator.width=8")


def test_override_that_is_wrong_is_told(bring: Import):
    with pytest.raises(RequestError, match=r"generator\.wdth: there is no such key, did you mean width\?"):
        bring("generator.wdth=8")


def test_importer_by_name(source: Path, own_manager: PluginManager):
    assert importing.choose_importer(source, own_manager, "tiny").name == "tiny"
    with pytest.raises(RequestError, match=r'there is no importer "tny", did you mean tiny\?; installed: .*tiny'):
        importing.choose_importer(source, own_manager, "tny")


def test_no_importer_knows_the_source(tmp_path: Path, own_manager: PluginManager):
    other = tmp_path / "other.txt"
    other.write_text("text")
    with pytest.raises(RequestError, match=r"no importer knows this form \(.*tiny: does not end in \.weights\)"):
        importing.choose_importer(other, own_manager)
    with pytest.raises(RequestError, match=r"no importer knows this form \(tiny: does not end in \.weights\)"):
        importing.choose_importer(other, own_manager, "tiny")


def test_no_importer_is_installed(source: Path):
    with pytest.raises(RequestError, match=r"no importer knows this form \(none is installed\)"):
        importing.choose_importer(source, PluginManager(disabled=["dcgan", "stylegan"]))


def test_several_importers_know_the_source(source: Path, own_manager: PluginManager):
    register = Registrar((own_manager.registries.importers,), "other")
    register("twin", own_manager.registries.importers["tiny"].load())
    with pytest.raises(RequestError, match="several importers: choose one of tiny, twin with --as"):
        importing.choose_importer(source, own_manager)
    assert importing.choose_importer(source, own_manager, "twin").name == "twin"


def test_missing_source_is_told(tmp_path: Path, own_manager: PluginManager):
    with pytest.raises(RequestError, match="nowhere: there is no such file or folder to import"):
        api.import_run(tmp_path / "nowhere", tmp_path / "run", manager=own_manager)


def test_out_in_use_is_told(tmp_path: Path, bring: Import, source: Path):
    bring()
    with pytest.raises(RequestError, match=r"--out .*run: is a folder with files in it"):
        bring()
    with pytest.raises(RequestError, match=r"--out .*source\.weights: is there already"):
        bring(out=source)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(RequestError, match=r"--out .*dangling: is there already"):
        bring(out=tmp_path / "dangling")


def test_out_that_cannot_be_made_is_told(bring: Import, source: Path):
    with pytest.raises(RequestError, match=r"--out .*: cannot be made: Not a directory"):
        bring(out=source / "run")


def test_empty_folder_and_new_parents_will_do(tmp_path: Path, bring: Import, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "empty").mkdir()
    assert bring(out=tmp_path / "empty").sample(1).shape == (1, 3, 16, 16)
    assert bring(out=tmp_path / "a" / "b" / "run").sample(1).shape == (1, 3, 16, 16)
    monkeypatch.chdir(tmp_path)
    assert bring(out=Path("here")).path == Path("here")


def test_failed_write_leaves_nothing(tmp_path: Path, bring: Import, monkeypatch: pytest.MonkeyPatch):
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(importing, "write_checkpoint", full)
    with pytest.raises(OutputError, match="the disk is full"):
        bring()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source.weights"]
