"""A run that is stopped and resumed ends with the bits of the unbroken one, whatever its options and its data."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dataset_files import celeba_names, gray_jpeg, write_cifar10, write_lsun, write_mnist, write_svhn
from PIL import Image
from same import assert_same_checkpoint, rows
from torch import Tensor, nn

from ganzoo import api
from ganzoo.components.network import Discriminator
from ganzoo.components.options import PenaltyConfig
from ganzoo.components.penalty import Penalty, PenaltyStep
from ganzoo.components.spec import DatasetInfo
from ganzoo.recipe.load import load_recipe, read_toml
from ganzoo.registry.plugin_manager import PluginManager

STEPS = 7
Tables = dict[str, Any]


class MovingConfig(PenaltyConfig):
    """Options of a penalty that remembers."""


class Moving(Penalty):
    """Has everything that a penalty may have: a parameter, a buffer, noise from every generator."""

    Config = MovingConfig

    def __init__(self, config: MovingConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def transform_images(self, images: Tensor, rng: torch.Generator) -> Tensor:
        noise = torch.randn(images.shape, generator=rng, device=rng.device)
        return images + 0.01 * noise + 0.01 * torch.randn_like(images)

    def discriminator_term(self, step: PenaltyStep) -> Tensor:
        assert step.real_logits is not None
        with torch.no_grad():
            self.mean.mul_(0.9).add_(step.real_logits.mean(), alpha=0.1)
            self.seen += len(step.real)
        return self.scale * (step.real_logits.mean() - self.mean).square() * (random.random() + np.random.rand())

    def after_discriminator_step(self, discriminator: Discriminator) -> None:
        with torch.no_grad():
            for parameter in discriminator.parameters():
                parameter.clamp_(-0.5, 0.5)


@pytest.fixture(scope="module")
def manager() -> PluginManager:
    """The installed plugins, and one of this file's own."""
    manager = PluginManager()
    manager.registries.penalties.register("moving", Moving, MovingConfig, "tests")
    return manager


@pytest.fixture
def tables(tmp_path: Path, tables_in: Callable[[Path], Tables]) -> Tables:
    """Seven steps over 20 images, each step saved; no epoch ends with a step."""
    tables = tables_in(tmp_path)
    tables["run"] |= {"steps": STEPS, "log_every": 1}
    tables["dataset"]["count"] = 20
    tables["checkpoint"] = {"every": 1, "keep": STEPS}
    return tables


def assert_resumes_to_the_bit(tables: Tables, manager: PluginManager, stops: tuple[int, ...]) -> Path:
    """Train once without a break; then go on from each of `stops` with nothing but what had been there by then."""
    whole = api.run(tables, manager=manager).path
    steps = tables["run"]["steps"]
    for stop in stops:
        part = whole.with_name(f"{stop}")
        shutil.copytree(whole, part)
        for step in range(stop + 1, steps + 1):
            shutil.rmtree(part / f"checkpoints/step_{step:07d}")
        disturb()
        api.resume(part, manager=manager)
        assert_same_checkpoint(whole / f"checkpoints/step_{steps:07d}", part / f"checkpoints/step_{steps:07d}")
        assert rows(part) == rows(whole)
    return whole


def disturb() -> None:
    """Leave every global random number generator elsewhere than the run left it."""
    random.random()
    np.random.rand(3)
    torch.rand(5)


ADAM = {"name": "adam", "lr": 1e-3}

OPTIONS: dict[str, Tables] = {
    "defaults": {},
    "fresh": {"fake_batch": "fresh"},
    "alternate": {"schedule": "alternate_minibatches"},
    "separate": {"discriminator_update": "separate"},
    "three_discriminator_steps": {"discriminator_steps": 3, "batch_size": 6},
    "two_in_turn": {"discriminator_steps": 2, "schedule": "alternate_minibatches", "batch_size": 6},
    "running_statistics": {"fake_batch": "fresh", "fake_statistics": "running"},
    "separate_and_fresh": {"discriminator_update": "separate", "fake_batch": "fresh", "discriminator_steps": 2},
    "rates_fall_from_the_start": {"generator_optimizer": {**ADAM, "lr": {"from": 1e-3, "to": 0.0}}},
    "rates_fall_from_the_middle": {"generator_optimizer": {**ADAM, "lr": {"from": 1e-3, "to": 0.0, "start": 0.5}}},
    "scheduled_betas": {
        "discriminator_optimizer": {**ADAM, "betas": [0.0, {"from": 0.9, "to": 0.99, "shape": "cosine"}]}
    },
    "average_by_half_life": {
        "ema_half_life": {"from": 0, "to": 40, "until": "24 images"},
        "ema_ramp": 0.5,
        "ema_buffers": "copy",
    },
    "two_generator_steps": {"generator_steps": 2},
    "two_generator_steps_in_turn": {"generator_steps": 2, "schedule": "alternate_minibatches"},
    "average": {"ema_decay": 0.9},
    "average_that_begins_late": {"ema_decay": 0.9, "ema_start": 4},
    "clipped_gradients": {"generator_grad_clip": 0.1, "discriminator_grad_clip": 0.1},
    "amsgrad": {"generator_optimizer": {**ADAM, "amsgrad": True}, "discriminator_optimizer": {**ADAM, "amsgrad": True}},
    "adamw": {"generator_optimizer": {"name": "adamw", "weight_decay": 0.1}},
    "nadam_and_radam": {"generator_optimizer": {"name": "nadam"}, "discriminator_optimizer": {"name": "radam"}},
    "adamax_and_sgd": {
        "generator_optimizer": {"name": "adamax"},
        "discriminator_optimizer": {"name": "sgd", "lr": 0.01, "momentum": 0.9, "nesterov": True},
    },
    "rmsprop": {"discriminator_optimizer": {"name": "rmsprop", "momentum": 0.5, "centered": True}},
}

PENALTIES: dict[str, list[Tables]] = {
    "every_second_step": [{"name": "gradient_penalty", "interval": 2}, {"name": "r1", "interval": 3}],
    "two_of_a_kind": [{"name": "r2"}, {"name": "r2", "weight": 0.1, "interval": 2}],
    "own_updates": [
        {"name": "r1", "interval": 2, "own_update": True, "weight": {"from": 2, "to": 1}},
        {"name": "r2", "interval": 3, "own_update": True},
    ],
    "with_a_memory": [{"name": "moving"}, {"name": "moving", "interval": 2}],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["defaults", "two_in_turn"])
def test_after_every_step(tables: Tables, manager: PluginManager, name: str):
    tables["trainer"] |= OPTIONS[name]
    assert_resumes_to_the_bit(tables, manager, tuple(range(1, STEPS)))


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_options_of_the_trainer(tables: Tables, manager: PluginManager, name: str):
    tables["trainer"] |= OPTIONS[name]
    assert_resumes_to_the_bit(tables, manager, (1, 4))


@pytest.mark.slow
@pytest.mark.parametrize("name", PENALTIES)
def test_penalties(tables: Tables, manager: PluginManager, name: str):
    tables["penalties"] = PENALTIES[name]
    whole = assert_resumes_to_the_bit(tables, manager, (1, 4))
    if name == "with_a_memory":
        files = {path.name for path in (whole / f"checkpoints/step_{STEPS:07d}").iterdir()}
        assert {"penalty_moving.safetensors", "penalty_moving-2.safetensors"} < files


@pytest.mark.slow
def test_micro_batches(tables: Tables, manager: PluginManager):
    tables["trainer"] |= {"micro_batch_size": tables["trainer"]["batch_size"] // 2, "fake_batch": "fresh"}
    tables["discriminator"]["norm"] = "none"
    tables["penalties"] = [{"name": "gradient_penalty", "interval": 2, "own_update": True}]
    assert_resumes_to_the_bit(tables, manager, (1, 4))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["defaults", "separate", "average"])
def test_bf16(tables: Tables, manager: PluginManager, name: str):
    tables["device"]["precision"] = "bf16"
    tables["trainer"] |= OPTIONS[name]
    tables["penalties"] = [{"name": "gradient_penalty"}]
    assert_resumes_to_the_bit(tables, manager, (1, 4))


def folder_of_images(root: Path) -> Tables:
    generator = np.random.default_rng(0)
    for number in range(20):
        path = root / "pictures" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (18, 20, 3), dtype=np.uint8)).save(path)
    return {"name": "image_folder", "root": str(root / "pictures"), "labels": "folders"}


def pairs_of_images(root: Path) -> Tables:
    folder_of_images(root)
    return {"name": "image_pairs", "root": str(root / "pictures"), "pairing": "side_by_side"}


def mnist(root: Path) -> Tables:
    write_mnist(root, train=20)
    return {"name": "mnist", "root": str(root), "download": False}


def fashion_mnist(root: Path) -> Tables:
    write_mnist(root, "FashionMNIST", train=20)
    return {"name": "fashion_mnist", "root": str(root), "download": False}


def cifar10(root: Path) -> Tables:
    write_cifar10(root)
    return {"name": "cifar10", "root": str(root), "download": False}


def svhn(root: Path) -> Tables:
    write_svhn(root, count=20)
    return {"name": "svhn", "root": str(root), "download": False}


def celeba(root: Path) -> Tables:
    folder = root / "img_align_celeba"
    folder.mkdir()
    for number, name in enumerate(celeba_names(20), start=1):
        (folder / name).write_bytes(gray_jpeg(12 * number))
    return {"name": "celeba", "root": str(folder), "download": False}


def lsun(root: Path) -> Tables:
    pytest.importorskip("lmdb")
    write_lsun(root, "bedroom_train", tuple(range(0, 240, 12)))
    return {"name": "lsun", "root": str(root), "scenes": ["bedroom_train"]}


def stacked_mnist(root: Path) -> Tables:
    write_mnist(root, train=20)
    return {"name": "stacked_mnist", "root": str(root), "download": False, "split": "train", "count": 20}


DATASETS: dict[str, Callable[[Path], Tables]] = {
    "digits": lambda root: {"name": "digits"},
    "synthetic": lambda root: {"name": "synthetic", "count": 20},
    "image_folder": folder_of_images,
    "image_pairs": pairs_of_images,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "cifar10": cifar10,
    "svhn": svhn,
    "celeba": celeba,
    "lsun": lsun,
    "stacked_mnist": stacked_mnist,
    "ring": lambda root: {"name": "ring", "count": 20},
    "grid": lambda root: {"name": "grid", "count": 50},
    "derived_pairs": lambda root: {"name": "derived_pairs", "source": {"name": "synthetic", "count": 20}},
    "two_domains": lambda root: {"name": "two_domains", "source": {"name": "synthetic", "count": 20}},
}


@pytest.fixture
def small_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """CelebA is whole with twenty faces, and files need not have the sums of the real ones."""
    monkeypatch.setattr("ganzoo_datasets.celeba.COMPLETE", 20)
    for module in ("cifar", "svhn"):
        monkeypatch.setattr(
            f"torchvision.datasets.{module}.check_integrity", lambda path, md5=None: Path(path).is_file()
        )


def test_every_dataset_has_its_case(manager: PluginManager):
    assert {entry.name for entry in manager.registries.datasets} == set(DATASETS)


@pytest.mark.slow
@pytest.mark.parametrize("flip", [False, True], ids=["as_they_are", "mirrored"])
@pytest.mark.parametrize("name", DATASETS)
def test_datasets(tables: Tables, manager: PluginManager, tmp_path: Path, name: str, flip: bool, small_sets: None):
    tables["dataset"] = DATASETS[name](tmp_path)
    if name in {"ring", "grid"}:
        if flip:
            pytest.skip("points have no mirror image")
        tables["generator"], tables["discriminator"] = {"name": "mlp"}, {"name": "mlp"}
    else:
        tables["dataset"] |= {"image_size": 16, "horizontal_flip": flip}
    assert_resumes_to_the_bit(tables, manager, (1, 4))


RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*_digits.toml"))


@pytest.mark.slow
@pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])
def test_recipes(path: Path, tables: Tables, manager: PluginManager):
    """Every network, loss, penalty and trainer that has a recipe of small images."""
    (recipe, _), of_path = load_recipe(path, manager), read_toml(path)
    tables["run"]["steps"] = 4
    tables["dataset"] |= {"image_size": recipe.dataset.sample_spec().height, "channels": 1, "count": 64}
    if recipe.dataset.condition_spec() is not None:
        size = {name: tables["dataset"].pop(name) for name in ("image_size", "channels")}
        tables["dataset"] = {**of_path["dataset"], **size, "source": tables["dataset"]}
    for name in ("generator", "discriminator"):
        narrow = {"width": 4} if "width" in type(getattr(recipe, name)).model_fields else {}
        tables[name] = of_path[name] | narrow
    tables |= {name: of_path[name] for name in ("loss", "penalties") if name in of_path}
    tables["trainer"] = of_path["trainer"] | {"batch_size": 4}
    assert_resumes_to_the_bit(tables, manager, (2,))


def test_a_run_that_was_stopped_before_its_first_checkpoint_begins_anew(
    tables: Tables, manager: PluginManager, capsys: pytest.CaptureFixture[str]
):
    whole = api.run(tables, manager=manager).path
    part = whole.with_name("9")
    shutil.copytree(whole, part)
    shutil.rmtree(part / "checkpoints")
    (part / "checkpoints").mkdir()
    (part / "summary.json").unlink()
    metrics = (part / "metrics.jsonl").read_text().splitlines(keepends=True)
    (part / "metrics.jsonl").write_text(metrics[0] + metrics[1][:20])  # the row of step 2 is torn
    capsys.readouterr()
    api.resume(part, manager=manager)
    assert "goes on from step 0 of 7" in capsys.readouterr().err
    assert_same_checkpoint(whole / f"checkpoints/step_{STEPS:07d}", part / f"checkpoints/step_{STEPS:07d}")
    assert rows(part) == rows(whole)


def test_a_run_that_has_lost_its_checkpoints_does_not_begin_anew(tables: Tables, manager: PluginManager):
    from ganzoo.errors import CheckpointError

    run = api.run(tables, manager=manager).path
    shutil.rmtree(run / "checkpoints")
    metrics = (run / "metrics.jsonl").read_bytes()
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        api.resume(run, manager=manager)
    assert (run / "metrics.jsonl").read_bytes() == metrics
