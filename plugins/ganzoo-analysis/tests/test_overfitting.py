"""`ganzoo overfitting`: what it says of discriminators that memorize their images, and of those that cannot."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ganzoo_analysis.overfitting import logits, overfitting, ratio
from PIL import Image

from ganzoo import api
from ganzoo.errors import RequestError

Command = Callable[..., Any]
Tables = Callable[..., dict[str, Any]]

OTHERS = ("--set", "dataset.seed=1")
"""Of the same kind as the training images, and others."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tables_in: Tables) -> Path:
    return api.run(tables_in(tmp_path_factory.mktemp("trained"))).path


def learned(count: int, root: Path, tables_in: Tables) -> float:
    """The ratio after as many updates on so many images."""
    dense = {"name": "mlp", "hidden": [256, 256]}
    tables = tables_in(root, discriminator=dense, dataset={"count": count}, run={"steps": 300, "log_every": 100})
    found = overfitting(api.run(tables), overrides={"dataset.seed": 1})
    assert (found.step, found.training.count, found.unseen.count, found.generated.count) == (300, count, count, count)
    assert found.ratio is not None
    return found.ratio


@pytest.mark.slow
def test_a_discriminator_memorizes_few_images_and_not_many(tmp_path: Path, tables_in: Tables):
    pytest.importorskip("ganzoo_benchmarks")
    few, many = (learned(count, tmp_path / str(count), tables_in) for count in (16, 2000))
    assert few > 0.2
    assert abs(many) < 0.05


def test_the_ratio_is_that_of_the_paper():
    rng = torch.Generator().manual_seed(0)
    noise = torch.randn(500, generator=rng)
    noise -= noise.mean()
    assert ratio(noise + 2, noise + 2, noise - 2) == pytest.approx(0, abs=1e-5)
    assert ratio(noise + 2, noise - 1, noise - 2) == pytest.approx(0.75, abs=1e-5)
    assert ratio(noise + 2, noise - 2, noise - 2) == pytest.approx(1, abs=1e-5)
    assert ratio(noise, noise, noise) is None
    assert ratio(noise, noise - 1, noise + 3) is None


def test_of_an_export(tmp_path: Path, tables_in: Tables):
    """The discriminator was trained against raw weights, which an export need not have."""
    export_run = pytest.importorskip("ganzoo_export").export_run
    run = api.run(tables_in(tmp_path / "runs"), ["run.steps=1", "trainer.ema_decay=0.5"])
    of_average = export_run(run, tmp_path / "ema", discriminator=True)
    with pytest.raises(RequestError, match="an export with --weights raw --discriminator"):
        overfitting(api.load_run(of_average), overrides={"dataset.seed": 1})
    raw = export_run(run, tmp_path / "raw", weights="raw", discriminator=True)
    changes = {"dataset.seed": 1}
    assert overfitting(api.load_run(raw), overrides=changes) == overfitting(run, overrides=changes)


def test_what_it_prints(command: Command, trained: Path):
    ended = command("overfitting", trained, *OTHERS, "--json")
    told = json.loads(ended.out)
    assert (ended.code, told["step"]) == (0, 6)
    assert {told[name]["count"] for name in ("training", "unseen", "generated")} == {64}
    lines = command("overfitting", trained, *OTHERS).out.splitlines()
    group = told["unseen"]
    assert lines[1] == (
        f"64 unseen images: logits {group['mean']:.3g} ± {group['deviation']:.3g}, "
        f"mean probability {group['probability']:.3f}"
    )
    assert len(lines) == 4
    again = json.loads(command("overfitting", trained, *OTHERS, "--json").out)
    assert again == told
    fewer = json.loads(command("overfitting", trained, *OTHERS, "--count", "10", "--step", "3", "--json").out)
    assert (fewer["step"], fewer["generated"]["count"]) == (3, 10)


def test_logits_are_those_of_the_network(trained: Path):
    run = api.load_run(trained)
    found = overfitting(run, overrides={"dataset.seed": 1})
    images = torch.stack([torch.from_numpy(image.copy()) for image in run.training_set().images])
    with torch.inference_mode():
        said = run.discriminator(images.permute(0, 3, 1, 2).float() / 127.5 - 1)
        made = run.discriminator(run.sample(64, weights="raw"))
    assert found.training.mean == pytest.approx(said.mean().item(), abs=1e-4)
    assert found.training.deviation == pytest.approx(said.std().item(), abs=1e-4)
    assert found.training.probability == pytest.approx(said.sigmoid().mean().item(), abs=1e-4)
    assert found.generated.mean == pytest.approx(made.mean().item(), abs=1e-4)


def test_training_images_are_not_taken_for_unseen_ones(command: Command, trained: Path):
    """As of a dataset of which the run has a part: 64 of these 200."""
    ended = command("overfitting", trained, "--set", "dataset.count=200", "--json")
    assert "warning: 64 of 200 unseen images are training images too, and are left out" in ended.err
    told = json.loads(ended.out)
    assert told["unseen"]["count"] == 64
    run = api.load_run(trained)
    training, more = run.training_set(), run.open_dataset(overrides={"dataset.count": 200})[0]
    assert (training.images == more.images[:64]).all()
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    others = logits(run.discriminator, run.real_batch(more, order[order >= 64][:64], "discriminator"))
    assert told["unseen"]["mean"] == pytest.approx(others.mean().item())


def test_unseen_images_of_the_recipe(command: Command, tmp_path: Path, tables_in: Tables):
    tables = tables_in(tmp_path, evaluation={"held_out": {"seed": 1}}, run={"steps": 2}, loss={"name": "wasserstein"})
    run = api.run(tables).path
    told = json.loads(command("overfitting", run, "--json").out)
    assert told == json.loads(command("overfitting", run, *OTHERS, "--json").out)
    assert told["unseen"]["probability"] is None
    assert "probability" not in command("overfitting", run).out


def test_a_conditional_discriminator(command: Command, tmp_path: Path, tables_in: Tables):
    pytest.importorskip("ganzoo_networks")
    tables = tables_in(
        tmp_path,
        dataset={"image_size": 32},
        generator={"name": "projection", "width": 4, "latent_dim": 8},
        discriminator={"name": "projection", "width": 4},
        run={"steps": 2},
    )
    run = api.run(tables).path
    assert command("overfitting", run, *OTHERS).code == 0
    ended = command("overfitting", run, "--set", "dataset.num_classes=3", *OTHERS)
    assert ended.code == 2
    assert "the unseen images do not have the labels that the discriminator takes" in ended.err


def test_a_discriminator_of_patches_with_conditions(command: Command, tmp_path: Path):
    pytest.importorskip("ganzoo_translation")
    recipe = Path(__file__).parents[3] / "recipes" / "pix2pix_digits.toml"
    discs = {"name": "synthetic", "count": 16}
    short = {"run.steps": 2, "run.root": str(tmp_path), "dataset.source": discs, "trainer.batch_size": 4}
    trained = api.run(recipe, short)
    told = json.loads(command("overfitting", trained.path, "--set", "dataset.source.seed=1", "--json").out)
    seen = trained.real_batch(trained.training_set(), torch.arange(16), "discriminator")
    with torch.inference_mode():
        patches = trained.discriminator(seen.real, condition=seen.condition)
    assert patches[0].numel() > 1
    assert told["training"]["mean"] == pytest.approx(patches.mean().item(), abs=1e-4)


def test_vectors(command: Command, tmp_path: Path, tables_in: Tables):
    pytest.importorskip("ganzoo_benchmarks")
    dense = {"name": "mlp", "hidden": [8]}
    tables = tables_in(
        tmp_path, dataset={"name": "ring", "count": 80}, generator=dense, discriminator=dense, run={"steps": 2}
    )
    ended = command("overfitting", api.run(tables).path, "--set", "dataset.data_seed=1")
    assert ended.code == 0
    assert ended.out.startswith("80 training vectors: logits ")


def test_packs(command: Command, tmp_path: Path, tables_in: Tables):
    pytest.importorskip("ganzoo_trainers")
    run = api.run(tables_in(tmp_path, trainer={"name": "pacgan", "batch_size": 8}, run={"steps": 2})).path
    ended = command("overfitting", run, *OTHERS)
    assert ended.code == 2
    assert "the training images are 3×16×16, and the discriminator judges 6×16×16" in ended.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name images that it was not trained on: an option of the dataset by --set, or another --dataset"),
        (["--set", "dataset.count=64"], "the unseen images are those that it was trained on: name others"),
        (["--set", "run.seed=3"], "--set run.seed: only options of the dataset"),
        (["--set", "dataset.image_size=32"], "the unseen images are 3×32×32, and the discriminator judges 3×16×16"),
        (["--dataset", "image_folder", "--set", "dataset.root=nowhere"], "nowhere"),
        ([*OTHERS, "--count", "1"], "--count"),
        ([*OTHERS, "--step", "4"], "step 4"),
    ],
)
def test_wrong_requests(
    command: Command,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (16, 16)).save(tmp_path / "one.png")
    ended = command("overfitting", trained, *arguments)
    assert ended.code in (1, 2)
    assert message in ended.err
    assert "Traceback" not in ended.err
    assert ended.err.splitlines()[-1].startswith("error: ") or "Try" in ended.err
