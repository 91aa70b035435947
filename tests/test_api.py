"""ganzoo from Python: run, open again, sample."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import ganzoo
from ganzoo import api
from ganzoo.components.network import Discriminator, Generator
from ganzoo.components.options import DiscriminatorConfig, GeneratorConfig
from ganzoo.errors import DeviceError, GanzooError, PluginError, RecipeError, RequestError, RunDirectoryError
from ganzoo.recipe.load import load_recipe
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.sampling.trained_run import TrainedRun

INTERRUPTED = """
import sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name in ("numpy._core", "numpy.core"):  # of NumPy 2 and 1
            sys.meta_path.remove(self)
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupting())
import ganzoo.api
"""


def test_ctrl_c_while_libraries_are_imported():
    """Torch ignores whatever happens while it imports numpy."""
    ended = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=False)
    assert ended.stderr.endswith("KeyboardInterrupt\n")
    assert ended.returncode != 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tables_in: Callable[[Path], dict]) -> TrainedRun:
    """A run that keeps an average of the generator's weights."""
    tables = tables_in(tmp_path_factory.mktemp("trained"))
    tables["trainer"]["ema_decay"] = 0.5
    tables["samples"]["every"] = 3
    return ganzoo.run(tables)


def test_run_directory_holds_what_the_documentation_says(trained: TrainedRun):
    files = {path.relative_to(trained.path).as_posix() for path in trained.path.rglob("*") if path.is_file()}
    assert files == {
        ".lock",
        "recipe.toml",
        "environment.json",
        "metrics.jsonl",
        "summary.json",
        "samples/step_0000003.png",
        "samples/step_0000006.png",
        *(
            f"checkpoints/step_000000{step}/{name}"
            for step in (3, 6)
            for name in (
                "generator.safetensors",
                "generator_ema.safetensors",
                "discriminator.safetensors",
                "state.pt",
                "manifest.json",
            )
        ),
    }


def test_what_is_run_is_what_is_opened(trained: TrainedRun):
    again = ganzoo.load_run(trained.path)
    assert again.recipe.to_dict() == trained.recipe.to_dict()
    assert again.metrics == trained.metrics
    assert torch.equal(again.sample(5), trained.sample(5))


def test_samples_are_decided_by_their_seed(trained: TrainedRun):
    images = trained.sample(9, seed=3)
    assert images.shape == (9, 3, 16, 16)
    assert images.dtype == torch.float32
    assert images.min() >= -1
    assert images.max() <= 1
    torch.manual_seed(99)
    assert torch.equal(images, trained.sample(9, seed=3))
    assert not torch.equal(images, trained.sample(9, seed=4))
    torch.testing.assert_close(images[:4], trained.sample(9, seed=3)[:4])


def test_many_samples_are_no_others_than_few(trained: TrainedRun):
    latents = trained.latents(150, seed=1)
    torch.testing.assert_close(trained.images(latents)[100:103], trained.images(latents[100:103]))


def test_weights_to_sample_from(trained: TrainedRun):
    images = {weights: trained.sample(4, weights=weights) for weights in ("auto", "ema", "raw")}
    assert torch.equal(images["auto"], images["ema"])
    assert not torch.equal(images["ema"], images["raw"])


def test_generator_is_a_module_in_evaluation(trained: TrainedRun):
    generator = trained.generator
    assert isinstance(generator, nn.Module)
    assert not generator.training
    kept = trained.checkpoint.network("generator_ema")
    assert all(torch.equal(value, kept[name]) for name, value in generator.state_dict().items())
    with torch.no_grad():
        images = generator(trained.latents(4))
    torch.testing.assert_close(images, trained.sample(4, batch_norm="running"))
    raw = trained.generator_with("raw")
    assert not torch.equal(next(raw.parameters()), next(trained.generator.parameters()))


def test_discriminator_judges(trained: TrainedRun):
    images = trained.sample(4)
    logits = trained.discriminator(images)
    assert logits.shape == (4,)
    assert [tuple(feature.shape) for feature in trained.discriminator.features(images)] == [(4, 4, 8, 8), (4, 8, 4, 4)]


def test_samples_can_be_trained_on(trained: TrainedRun):
    images = trained.sample(2).requires_grad_(True)
    trained.discriminator(images).sum().backward()
    assert images.grad is not None


def test_statistics_of_batch_norm_are_a_choice(trained: TrainedRun):
    assert torch.equal(trained.sample(4), trained.sample(4, batch_norm="running"))
    assert not torch.equal(trained.sample(4), trained.sample(4, batch_norm="batch"))


def test_opening_needs_no_data(trained: TrainedRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "empty"))
    ganzoo.load_run(trained.path).sample(1)
    assert not (tmp_path / "empty").exists()


def test_ema_that_was_not_kept(tables: dict):
    run = ganzoo.run(tables, ["run.steps=1"])
    with pytest.raises(RequestError, match="keeps no average of the weights"):
        run.sample(1, weights="ema")
    assert torch.equal(run.sample(1), run.sample(1, weights="raw"))


def test_labels_for_a_generator_that_takes_none(trained: TrainedRun):
    with pytest.raises(RequestError, match='the generator "dcgan" takes no labels'):
        trained.sample(2, labels=[1])


class ClassGenerator(Generator):
    """Paints each class in a brightness of its own."""

    class Config(GeneratorConfig):
        """Its options."""

        uses: ClassVar = frozenset({"labels"})

    def __init__(self, config: GeneratorConfig, *, info: Any) -> None:
        super().__init__(config, info=info)
        self.noise = nn.Parameter(torch.tensor(1e-4))

    def forward(self, latents: Tensor, *, labels: Tensor) -> Tensor:
        brightness = labels / self.info.num_classes + latents[:, 0] * self.noise
        return brightness[:, None, None, None].expand(-1, *self.info.image.shape).tanh()


class ClassDiscriminator(Discriminator):
    """Looks at brightness and class."""

    class Config(DiscriminatorConfig):
        """Its options."""

        uses: ClassVar = frozenset({"labels"})

    def __init__(self, config: DiscriminatorConfig, *, info: Any) -> None:
        super().__init__(config, info=info)
        self.embedding = nn.Embedding(info.num_classes, 1)

    def forward(self, images: Tensor, *, labels: Tensor) -> Tensor:
        return images.flatten(1).mean(1) * self.embedding(labels).flatten()

    def features(self, images: Tensor) -> list[Tensor]:
        return [images]


@pytest.fixture
def class_manager() -> PluginManager:
    class Plugin:
        @hookimpl
        def register_architectures(self, register: Any) -> None:
            register("class_net", ClassGenerator)
            register("class_net", ClassDiscriminator)

    manager = PluginManager()
    manager._register(Plugin(), "classes (classes 1.0)")
    return manager


def test_conditional_generator(tables: dict, class_manager: PluginManager):
    tables["generator"] = tables["discriminator"] = {"name": "class_net"}
    tables["dataset"]["num_classes"] = 4
    run = ganzoo.run(tables, manager=class_manager)

    def classes(**options: Any) -> list[int]:
        brightness = run.sample(**options).flatten(1).mean(1).atanh() * 4
        return [round(value) for value in brightness.tolist()]

    assert classes(count=6) == [0, 1, 2, 3, 0, 1]
    assert classes(count=5, labels=[2]) == [2, 2, 2, 2, 2]
    assert classes(count=5, labels=[3, 1]) == [3, 1, 3, 1, 3]
    assert classes(count=3, labels=["hue 3", "1"]) == [3, 1, 3]
    for wrong in ([4], [-1], []):
        with pytest.raises(RequestError, match=r"indices from 0 to 3|name at least one class"):
            run.sample(2, labels=wrong)


def test_recipe_can_be_a_file_tables_or_a_recipe(
    tables: dict, recipe_file: Callable[[dict], Path], manager: PluginManager
):
    tables["run"]["steps"] = 2
    path = recipe_file(tables)
    runs = [ganzoo.run(recipe) for recipe in (path, str(path), tables, load_recipe(path, manager)[0])]
    runs.append(ganzoo.run(path, ["run.seed=8"]))
    images = [run.sample(2) for run in runs]
    assert all(torch.equal(images[0], other) for other in images[1:4])
    assert not torch.equal(images[0], images[4])
    assert runs[4].recipe.run.seed == 8


def test_resolved_recipe_of_a_run_repeats_it(tables: dict):
    first = ganzoo.run(tables)
    second = ganzoo.run(first.path / "recipe.toml")
    assert second.path.name == "0002"
    for name in ("generator.safetensors", "discriminator.safetensors"):
        assert (first.checkpoint.path / name).read_bytes() == (second.checkpoint.path / name).read_bytes()


def test_a_run_in_its_two_halves_is_the_same(tables: dict, trained: TrainedRun):
    tables["trainer"]["ema_decay"], tables["samples"]["every"] = 0.5, 3
    built = api.build(tables)
    assert (built.step, built.total_steps) == (0, 6)
    with pytest.raises(PluginError, match="is no hook"):
        api.train(built, [type("Wrong", (), {"step_ende": hookimpl(lambda self: None)})()])
    halves = api.train(built)
    assert halves.path == built.directory.path
    assert torch.equal(halves.sample(4), trained.sample(4))


def test_observers_are_gone_after_a_run(tables: dict, manager: PluginManager):
    before = manager.pluggy.get_plugins()
    ganzoo.run(tables, ["run.steps=1"], manager=manager)
    assert manager.pluggy.get_plugins() == before
    with pytest.raises(GanzooError):
        ganzoo.run(tables, ["trainer.generator_optimizer={name='sgd', lr=9e18, weight_decay=9e18}"], manager=manager)
    assert manager.pluggy.get_plugins() == before


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize("setting", [torch.no_grad, torch.inference_mode, partial(default_dtype, torch.float64)])
def test_what_the_caller_has_set_in_torch_changes_nothing(tables: dict, trained: TrainedRun, setting: Any):
    tables["trainer"]["ema_decay"], tables["samples"]["every"] = 0.5, 3
    with setting():
        before = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype()
        run = ganzoo.run(tables, ["checkpoint.every=3"])
        opened = ganzoo.load_run(run.path)
        samples = opened.sample(4)
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype()) == before
    assert torch.equal(samples, trained.sample(4))


def test_wrong_requests(tables: dict, tmp_path: Path):
    with pytest.raises(RecipeError, match="recipe: 1 problem"):
        ganzoo.run(tables, ["run.steps=0"])
    with pytest.raises(RunDirectoryError, match="there is no such run directory"):
        ganzoo.load_run(tmp_path / "gone")
    with pytest.raises(RunDirectoryError):
        ganzoo.resume(tmp_path)


def test_images_are_read_up_to_max_pixels(trained: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # PIL refuses more than twice as many
    Image.new("RGB", (20, 20)).save(tmp_path / "scan.png")
    with pytest.raises(RequestError, match=r"scan\.png: cannot be read: .*400 pixels"):
        api.read_images(trained, tmp_path)
    for most, message in ((400, None), (399, "cannot be read")):
        dataset = trained.recipe.dataset.model_copy(update={"max_pixels": most})
        run = replace(trained, recipe=trained.recipe.model_copy(update={"dataset": dataset}))
        with pytest.raises(RequestError, match=message) if message else nullcontext():
            assert api.read_images(run, tmp_path)[0] == ["scan"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_accelerator_that_is_not_there(trained: TrainedRun):
    with pytest.raises(DeviceError, match='"cuda" is not there'):
        ganzoo.load_run(trained.path, accelerator="cuda")


def test_names_of_the_package():
    assert dir(ganzoo) == sorted(ganzoo.__all__)  # which notebooks complete
    for name in ganzoo.__all__:
        assert getattr(ganzoo, name) is not None
    assert ganzoo.TrainedRun is TrainedRun
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        _ = ganzoo.trian  # type: ignore[attr-defined]
