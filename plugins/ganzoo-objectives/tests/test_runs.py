"""Whole runs with these parts: each trains, logs what it should, and resumes to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_recipe import tiny_recipe
from torch import Tensor

import ganzoo
from ganzoo.errors import RecipeError
from ganzoo.recipe.load import parse_recipe
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.training.build import build_run

LOSSES = ["relativistic_average", "relativistic_pairing", "label_smoothing"]
PENALTIES = ["weight_clipping", "dragan", "feature_matching", "instance_noise", "diff_augment", "adaptive_augment"]


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Four steps of built-in parts and the plain GAN's networks on made-up images."""
    pytest.importorskip("ganzoo_dcgan")
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    return tiny_recipe(tmp_path, run={"steps": 4, "log_every": 1}, dataset={"count": 32})


def test_all_are_registered_by_their_place(manager: PluginManager) -> None:
    for registry, names in ((manager.registries.losses, LOSSES), (manager.registries.penalties, PENALTIES)):
        for name in names:
            assert isinstance(registry[name].target, str)
            assert registry[name].load().Config is registry[name].config.__bases__[0]


def test_all_train_together(tables: dict[str, Any], manager: PluginManager) -> None:
    tables["penalties"] = [{"name": name} for name in PENALTIES]
    for loss in LOSSES:
        tables["loss"] = {"name": loss}
        metrics = ganzoo.run(tables, ["run.steps=1"], manager=manager).metrics[-1]
        logged = {key.removeprefix("penalty/") for key in metrics if key.startswith("penalty/")}
        assert logged == {
            "dragan",
            "feature_matching_generator",
            "instance_noise_sigma",
            "adaptive_augment_probability",
            "adaptive_augment_mean_sign",
        }


def test_noise_and_augmentation_resume_to_the_bit(tables: dict[str, Any], manager: PluginManager) -> None:
    tables["penalties"] = [
        {"name": "instance_noise", "sigma": {"from": 0.1, "to": 0, "until": "5 steps"}},
        {"name": "adaptive_augment", "ramp_images": 64, "adjust_every": 3, "target": -0.5},
    ]
    whole = ganzoo.run(tables, manager=manager)
    broken = ganzoo.run(tables, ["run.steps=2"], manager=manager)
    resumed = ganzoo.resume(broken.path, ["run.steps=4"])
    assert whole.checkpoint.step == resumed.checkpoint.step == 4
    names = sorted(path.name for path in whole.checkpoint.path.glob("*.safetensors"))
    assert "penalty_adaptive_augment.safetensors" in names
    for name in names:
        ours, theirs = (load_file(run.checkpoint.path / name) for run in (whole, resumed))
        assert ours.keys() == theirs.keys()
        assert all(ours[key].equal(theirs[key]) for key in ours), name
    last = whole.metrics[-1]
    assert last["penalty/instance_noise_sigma"] == pytest.approx(0.1 * 2 / 5)
    assert last["penalty/adaptive_augment_probability"] > 0
    keys = [key for key in last if key.startswith(("loss/", "penalty/"))]
    assert [last[key] for key in keys] == [resumed.metrics[-1][key] for key in keys]


def test_critic_of_a_run_is_clipped(tables: dict[str, Any], manager: PluginManager) -> None:
    tables["loss"] = {"name": "wasserstein"}
    tables["penalties"] = [{"name": "weight_clipping", "limit": 0.015}]
    trained = ganzoo.run(tables, ["run.steps=2", "trainer.discriminator_steps=2"], manager=manager)
    assert max(parameter.abs().max().item() for parameter in trained.discriminator.parameters()) <= 0.015


def test_a_layer_that_is_not_there_is_told_before_training(tables: dict[str, Any], manager: PluginManager) -> None:
    tables["penalties"] = [{"name": "feature_matching", "layer": 9}]
    parse_recipe(tables, manager)
    with pytest.raises(RecipeError, match=r"has layer = 9; this discriminator has the layers 0 to 1"):
        ganzoo.run(tables, manager=manager)


@pytest.mark.parametrize("discriminator", ["cgan", "dcgan_authors_mnist", "patchgan"])
def test_feature_matching_compares_features_with_their_labels_and_conditions(
    tables: dict[str, Any], manager: PluginManager, discriminator: str
) -> None:
    """What the discriminator sees when it judges, and not images of unknown class or condition."""
    for plugin in ("ganzoo_networks", "ganzoo_translation"):
        pytest.importorskip(plugin)
    tables["penalties"] = [{"name": "feature_matching", "layer": 0}]
    tables["discriminator"] = {"name": discriminator, "width": 4}
    tables["generator"] = {"name": "cgan", "width": 4, "latent_dim": 8}
    if discriminator == "dcgan_authors_mnist":
        tables["dataset"] |= {"image_size": 28, "channels": 1}
        tables["generator"] = {"name": discriminator, "width": 4, "latent_dim": 8}
    if discriminator == "patchgan":
        tables["dataset"] = {"name": "derived_pairs", "image_size": 16}
        tables["generator"] = {"name": "unet", "width": 4}
        tables["discriminator"] |= {"depth": 2, "conditional": True}
    recipe = parse_recipe(tables, manager)
    run = build_run(recipe, manager, warn=lambda _: None)
    batch, network = run.loader.next(), run.trainer.parts.discriminator
    fake = run.trainer.generate(batch)
    first: list[Tensor] = []
    network.blocks[0].register_forward_hook(lambda module, given, maps: first.append(maps.mean(0)))
    for samples in (batch.real, fake.samples):
        network(samples, **network.inputs(batch.labels, batch.condition))
    term = run.trainer.generator_objective(batch, fake)[1]["penalty/feature_matching_generator"]
    torch.testing.assert_close(term, (first[1] - first[0]).square().mean().detach(), rtol=1e-4, atol=1e-7)
