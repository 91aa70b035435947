"""Exports as safetensors and for the Hub: what is in them, and that they load to the same bits."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from ganzoo_export import export_run
from safetensors.torch import load_file
from translation_runs import tables_of

import ganzoo
from ganzoo import api
from ganzoo.errors import CheckpointError, OutputError, RequestError
from ganzoo.evaluation.evaluation_log import Evaluation, add_evaluations
from ganzoo.evaluation.protocol import Card, ExtractorCard, RealCard, SamplesCard
from ganzoo.registry.plugin_manager import PluginManager, plugin_manager
from ganzoo.sampling.trained_run import TrainedRun

CARD = Card(
    extractor=ExtractorCard(name="inception", digest="abc"),
    real=RealCard(dataset="synthetic", images=64, available=64, shape="3×16×16", pixels="crc32:1"),
    samples=SamplesCard(images=50, weights="ema", batch_norm="running", precision="fp32", seed=3),
    run="runs/tiny/0001",
    step=6,
)


@pytest.fixture
def trained(tables: dict) -> TrainedRun:
    changes = ["trainer.ema_decay=0.5", "dataset.root=/secret/place", "tracking.wandb.entity=secret-me"]
    return api.run(tables, [*changes, "evaluation.real.root=secret", "evaluation.held_out.root=/secret/other"])


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_weights_and_recipe_load_in_three_lines(trained: TrainedRun, tmp_path: Path):
    out = export_run(trained, tmp_path / "given")
    assert names(out) == ["README.md", "export.json", "generator_ema.safetensors", "recipe.toml", "samples.png"]
    elsewhere = shutil.copytree(out, tmp_path / "elsewhere")
    expected = trained.sample(64), trained.sample(5, seed=3, batch_norm="batch")
    shutil.rmtree(trained.path)
    images = ganzoo.load_export(elsewhere).sample(64)
    assert torch.equal(images, expected[0])
    opened = ganzoo.load_run(elsewhere)
    assert torch.equal(opened.sample(5, seed=3, batch_norm="batch"), expected[1])
    assert opened.about()["weights"] == "ema"
    with pytest.raises(RequestError, match="keeps nothing but the average of the weights: take --weights ema"):
        opened.sample(5, weights="raw")
    assert opened.checkpoint.step == 6
    with pytest.raises(CheckpointError, match="holds no discriminator; it has: generator_ema"):
        _ = opened.discriminator
    with pytest.raises(RequestError, match="is an export, without the state of the optimizers"):
        api.resume(elsewhere)


def test_raw_weights_and_the_discriminator(trained: TrainedRun, tmp_path: Path):
    out = export_run(trained, tmp_path / "given", weights="raw", discriminator=True)
    assert len({path.stat().st_mode for path in out.glob("*.*")}) == 1  # the umask's: others may read each file
    opened = ganzoo.load_export(out)
    assert torch.equal(opened.sample(9), trained.sample(9, weights="raw"))
    with pytest.raises(RequestError, match="keeps no average of the weights: take --weights raw"):
        opened.sample(9, weights="ema")
    images = trained.sample(4)
    assert torch.equal(opened.discriminator(images), trained.discriminator(images))


def test_nothing_of_the_machine_is_given_away(trained: TrainedRun, tmp_path: Path):
    real = CARD.real.model_copy(update={"options": {"root": "secret", "split": "test"}})
    extractor = CARD.extractor.model_copy(update={"weights": "/secret/runs/0003, step 5"})
    card = CARD.model_copy(update={"real": real, "extractor": extractor, "run": "/secret/runs/0001"})
    add_evaluations(trained.directory, [Evaluation(step=6, scores={"fid": 12.5}, card=card)])
    for form in ("safetensors", "hub"):
        out = export_run(trained, tmp_path / form, form)  # type: ignore[arg-type]
        for path in out.iterdir():
            content = path.read_bytes()
            assert b"secret" not in content, path
            assert str(tmp_path).encode() not in content, path
        shown = (out / "README.md").read_text()
        assert '"split": "test"' in shown
        assert '"weights": "0003, step 5"' in shown


def test_a_folder_for_the_hub(trained: TrainedRun, tmp_path: Path):
    other = CARD.model_copy(update={"step": 3})
    add_evaluations(
        trained.directory,
        [
            Evaluation(step=6, scores={"fid": 12.5, "kid": math.nan}, card=CARD),
            Evaluation(step=3, scores={"fid": 99.0}, card=other),
        ],
    )
    out = export_run(trained, tmp_path / "hub", "hub", license="mit", discriminator=True)
    assert names(out) == [
        "README.md",
        "config.json",
        "discriminator.safetensors",
        "export.json",
        "model.safetensors",
        "recipe.toml",
        "samples.png",
    ]
    text = (out / "README.md").read_text()
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["library_name"] == "ganzoo"
    assert front["license"] == "mit"
    assert {"gan", "dcgan", "synthetic", "non_saturating"} <= set(front["tags"])
    assert front["pipeline_tag"] == "unconditional-image-generation"
    (model,) = front["model-index"]
    (result,) = model["results"]
    assert result["dataset"]["name"] == "synthetic"
    assert [(one["type"], one["value"]) for one in result["metrics"]] == [("fid", 12.5)]
    assert "| fid | 12.5 |" in text
    assert "99" not in text.split("## How it was trained")[0]
    card = json.loads(re.findall(r"```json\n(.*?)```", text, re.S)[0])
    assert card["extractor"]["name"] == "inception"
    assert "run" not in card
    assert 'name = "non_saturating"' in text
    config = json.loads((out / "config.json").read_text())
    assert config["info"]["samples"] == {"channels": 3, "height": 16, "width": 16}
    assert config["generator"]["latent_dim"] == 8
    assert config["plugins"].keys() == {"ganzoo-dcgan"}
    assert load_file(out / "model.safetensors").keys() == trained.generator.state_dict().keys()

    (out / "README.md").write_text(text + "\nI have changed the card, as people do.\n")
    (out / ".gitattributes").write_text("*.safetensors filter=lfs\n")
    assert torch.equal(ganzoo.load_export(out).sample(9), trained.sample(9))


def test_the_hubs_own_library_reads_the_card(trained: TrainedRun, tmp_path: Path):
    hub = pytest.importorskip("huggingface_hub")
    add_evaluations(trained.directory, [Evaluation(step=6, scores={"fid": 12.5, "kid": 0.1}, card=CARD)])
    data = hub.ModelCard.load(export_run(trained, tmp_path / "hub", "hub", license="cc-by-4.0") / "README.md").data
    assert data.license == "cc-by-4.0"
    assert {(one.metric_type, one.metric_value) for one in data.eval_results} == {("fid", 12.5), ("kid", 0.1)}


def test_a_snapshot_in_the_hubs_cache_is_made_of_links(trained: TrainedRun, tmp_path: Path):
    out = export_run(trained, tmp_path / "hub", "hub")
    blobs, snapshot = tmp_path / "models--me--it/blobs", tmp_path / "models--me--it/snapshots/abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, path in enumerate(sorted(out.iterdir())):
        path.rename(blobs / str(number))
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")
    assert torch.equal(ganzoo.load_export(snapshot).sample(4), trained.sample(4))


def test_the_card_says_that_options_changed_on_the_way(tables: dict, tmp_path: Path):
    run = ganzoo.run(tables)
    recipe_repeats_it = "`ganzoo run recipe.toml` trains such a network anew:"
    assert recipe_repeats_it in (export_run(run, tmp_path / "first") / "README.md").read_text()
    resumed = ganzoo.resume(run.path, {"run.steps": 8, "loss.name": "hinge"})
    card = (export_run(resumed, tmp_path / "second") / "README.md").read_text()
    assert recipe_repeats_it not in card
    assert "The run was resumed with other options or data than it was begun with" in card


def test_an_export_needs_the_plugins_of_its_components_alone(tables: dict, tmp_path: Path):
    """Not those of trackers, which every recipe has tables of; and the card names them."""
    tables["penalties"] = [{"name": "dragan"}]
    tables["plugins"] = {"requires": ["ganzoo-networks"]}
    out = export_run(api.run(tables), tmp_path / "given")
    needed = {"ganzoo-dcgan", "ganzoo-networks", "ganzoo-objectives"}
    assert json.loads((out / "export.json").read_text())["plugins"].keys() == needed
    assert all(f"`{name}` 0.1.0" in (out / "README.md").read_text() for name in needed)
    assert "tracking" not in (out / "recipe.toml").read_text()
    others = plugin_manager().distributions().keys() - needed - {"ganzoo-core"}
    disabled = [info.name for info in plugin_manager().plugins if info.distribution in others]
    assert "trackers" in disabled
    opened = ganzoo.load_export(out, manager=PluginManager(disabled))
    assert opened.sample(2).shape[0] == 2


@pytest.mark.parametrize("weights", ["ema", "raw"])
def test_an_export_scores_the_weights_that_it_has(tables: dict, tmp_path: Path, weights: str):
    other = {"ema": "raw", "raw": "ema"}[weights]
    changes = ["trainer.ema_decay=0.5", f"evaluation.weights={other}", f"samples.weights={other}"]
    opened = ganzoo.load_export(export_run(api.run(tables, changes), tmp_path / "given", weights=weights))
    assert (opened.recipe.evaluation.weights, opened.recipe.samples.weights) == ("auto", "auto")


def test_a_run_is_exported_also_when_it_has_removed_the_checkpoint(trained: TrainedRun, tmp_path: Path):
    expected = trained.sample(2)
    opened = api.load_run(trained.path)
    shutil.rmtree(opened.checkpoint.path)
    assert torch.equal(ganzoo.load_export(export_run(opened, tmp_path / "given")).sample(2), expected)


def test_the_card_says_where_weights_come_from(tables: dict, trained: TrainedRun, tmp_path: Path):
    tuned = api.run(
        tables, {"init.from": str(trained.path), "init.freeze": ["discriminator.head"], "run.name": "tuned"}
    )
    out = export_run(tuned, tmp_path / "tuned")
    card, recipe = (out / "README.md").read_text(), (out / "recipe.toml").read_text()
    assert "6 steps, from the weights of another run, which this recipe does not name." in card
    assert ("freeze = [\n" in recipe, str(trained.path) in recipe + card) == (True, False)
    environment = tuned.directory.read_json("environment.json") | {"imported": {"importer": "tutorial", "source": "x"}}
    tuned.directory.write_json("environment.json", environment)
    card = (export_run(tuned, tmp_path / "imported") / "README.md").read_text()
    assert "imported into ganzoo by `tutorial`: generator" in card
    assert "These weights were trained elsewhere. `ganzoo run recipe.toml` trains networks of this kind:" in card
    assert "trained on" not in card


def test_conditional_generators_keep_their_labels(tables: dict, tmp_path: Path):
    tables["generator"] = {"name": "cgan", "width": 4, "latent_dim": 8}
    tables["discriminator"] = {"name": "cgan", "width": 4}
    trained = api.run(tables)
    opened = ganzoo.load_export(export_run(trained, tmp_path / "hub", "hub"))
    assert torch.equal(opened.sample(6, labels=[1, 7]), trained.sample(6, labels=[1, 7]))


def test_an_imported_or_exported_run_can_be_exported_again(trained: TrainedRun, tmp_path: Path):
    first = ganzoo.load_export(export_run(trained, tmp_path / "a"))
    second = ganzoo.load_export(export_run(first, tmp_path / "b", "hub"))
    assert torch.equal(second.sample(4), trained.sample(4))


def test_a_folder_in_use_is_left_alone(trained: TrainedRun, tmp_path: Path):
    out = tmp_path / "given"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(RequestError, match="is a folder with files in it"):
        export_run(trained, out)
    assert names(out) == ["thesis.txt"]
    (out / "thesis.txt").unlink()
    export_run(trained, out)
    with pytest.raises(RequestError, match="is a folder with files in it"):
        export_run(trained, out)


@pytest.mark.parametrize("at", ["save_tensors", "save_picture", "model_card", "seal_export"])
def test_never_half_a_folder(trained: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str):
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"ganzoo_export.export.{at}", fail)
    (tmp_path / "place").mkdir()
    with pytest.raises(OutputError, match="the disk is full"):
        export_run(trained, tmp_path / "place/given", "hub")
    assert list((tmp_path / "place").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"license": "all rights: mine"}, "SPDX"),
        ({"format": "pickle"}, "must be one of safetensors, onnx, hub"),
        ({"batch_norm": "running"}, "fixes statistics in an ONNX file"),
        ({"format": "onnx", "discriminator": True}, "discriminator is not exported as ONNX"),
    ],
)
def test_requests_that_make_no_sense(trained: TrainedRun, tmp_path: Path, options: Any, text: str):
    with pytest.raises(RequestError, match=text):
        export_run(trained, tmp_path / "given", **options)
    assert not (tmp_path / "given").exists()


def test_plugin_files_come_along_and_are_not_trusted(tables: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plugin = tmp_path / "smooth.py"
    plugin.write_text(
        "from ganzoo.builtin.losses import NonSaturating\nfrom ganzoo.registry.hookspecs import hookimpl\n\n\n"
        "class Smooth(NonSaturating):\n    pass\n\n\n"
        "@hookimpl\ndef register_losses(register):\n    register('smooth', Smooth)\n"
    )
    tables |= {"plugins": {"files": [str(plugin)]}, "loss": {"name": "smooth"}}
    trained = api.run(tables)
    out = export_run(trained, tmp_path / "given")
    assert "plugins/smooth.py" in names(out)
    with pytest.raises(RequestError, match="has plugin files of its own"):
        ganzoo.load_export(out)
    assert torch.equal(ganzoo.load_export(out, trust_plugins=True).sample(4), trained.sample(4))
    (out / "plugins/smooth.py").write_text("raise SystemExit('executed')")
    with pytest.raises(CheckpointError, match=r"plugins/smooth.py: is damaged or was changed"):
        ganzoo.load_export(out, trust_plugins=True)


def test_the_command(trained: TrainedRun, command: Callable[..., Any], tmp_path: Path):
    ended = command("export", trained.path, "--out", tmp_path / "given", "--format", "hub", "--license", "mit")
    assert (ended.code, ended.out) == (0, f"{tmp_path / 'given'}\n")
    assert ended.err.splitlines() == ["writing the export, part 0/3", "writing the export, part 3/3"]
    assert command("sample", tmp_path / "given", "--out", tmp_path / "grid.png").code == 0
    again = command("export", trained.path, "--out", tmp_path / "given")
    assert again.code == 2
    assert "is a folder with files in it" in again.err


def test_the_card_names_no_range_of_vectors(tables: dict, tmp_path: Path):
    """They are not clipped, and a dataset's may be of any size."""
    pytest.importorskip("ganzoo_benchmarks")
    tables |= {"dataset": {"name": "ring", "count": 64}, "generator": {"name": "mlp"}, "discriminator": {"name": "mlp"}}
    trained = api.run(tables, ["run.steps=1"])
    for form in ("safetensors", "hub"):
        card = (export_run(trained, tmp_path / form, form) / "README.md").read_text()  # type: ignore[arg-type]
        assert "# a tensor\n" in card
        assert "[−1, 1]" not in card


def test_the_card_of_a_second_generator_has_no_scores_of_the_first(tmp_path: Path):
    pytest.importorskip("ganzoo_translation")
    tables = tables_of(
        "cyclegan",
        tmp_path,
        networks={"generator_back": {"name": "resnet_translator", "width": 4, "blocks": 1}},
        evaluation={"every": 4, "samples": 10, "metrics": ["l1"], "real": {"pairing": "aligned"}},
    )
    path = api.run(tables).path
    for network, scored in (("generator", True), ("generator_back", False)):
        trained = api.load_run(path, network=network)
        assert ("l1" in trained.scores()["last"]) == ("l1" in trained._repr_html_()) == scored
        card = (export_run(trained, tmp_path / network, "safetensors") / "README.md").read_text()
        assert ("| l1 |" in card) == scored
        assert "![Samples](samples.png)" in card, "of conditions: there are no latents"
    with pytest.raises(RequestError, match='the generator "resnet_translator" takes no labels'):
        trained.sample(1, labels=[0])
