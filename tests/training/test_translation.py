"""Several networks, and generators with a condition, the whole way: pix2pix and CycleGAN."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ganzoo_export import export_run
from ganzoo_testing import ConformanceError, check_trainer
from PIL import Image
from safetensors.torch import load_file
from same import assert_same_checkpoint, rows
from torchrun import Ranks
from translation_runs import tables_of

import ganzoo
from ganzoo import api
from ganzoo.components.spec import DatasetInfo, VectorSpec
from ganzoo.errors import RecipeError, RequestError
from ganzoo.recipe.load import load_recipe
from ganzoo.registry.plugin_manager import plugin_manager
from ganzoo.sampling.trained_run import TrainedRun

RUNS = Path(__file__).parents[1] / "shared" / "translation_runs.py"
FOUR = ("generator", "generator_back", "discriminator", "discriminator_back")
Command = Callable[..., Any]
Tables = dict[str, Any]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TrainedRun]:
    root = tmp_path_factory.mktemp("trained")
    return {kind: ganzoo.run(tables_of(kind, root)) for kind in ("pix2pix", "cyclegan")}


def problems(tables: Tables) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(tables, plugin_manager())
    return str(caught.value)


# Recipes


def test_networks_that_the_trainer_does_not_have_are_told_with_those_it_has(tmp_path: Path):
    own = {"name": "unet", "width": 4}
    text = problems(tables_of("cyclegan", tmp_path, networks={"generator_bak": own, "discriminator": own}))
    assert (
        'networks.generator_bak: the trainer "cyclegan" has no such network, did you mean generator_back?; '
        "it trains: generator, discriminator, generator_back, discriminator_back" in text
    )
    assert "networks.discriminator: is in the wrong place: this network has the table [discriminator]" in text
    text = problems(tables_of("pix2pix", tmp_path, networks={"generator_back": own}))
    assert 'the trainer "pix2pix" has no such network' in text


def test_a_further_network_is_checked_like_the_first_of_its_kind(tmp_path: Path):
    wrong = {"generator_back": {"name": "unet", "widht": 4}, "discriminator_back": {"name": "unet"}}
    text = problems(tables_of("cyclegan", tmp_path, networks=wrong))
    assert "networks.generator_back.widht: there is no such key, did you mean width?" in text
    assert 'networks.discriminator_back.name: there is no discriminator back "unet"' in text


ENCODER = """
import torch

from ganzoo.plugin import DatasetInfo, GANTrainer, GANTrainerConfig, Generator, GeneratorConfig, VectorSpec, hookimpl


class EncoderConfig(GANTrainerConfig):
    @property
    def roles(self):
        return {**super().roles, "encoder": "generator"}

    def info_for(self, role, info):
        return DatasetInfo(VectorSpec(32)) if role == "encoder" else info


class Encoder(GANTrainer):
    Config = EncoderConfig


class Picky(Generator):
    "Notices only when it is built."

    def __init__(self, config, *, info):
        super().__init__(config, info=info)
        self.head = torch.nn.Linear(1, info.image.channels)

    def forward(self, latents):
        raise NotImplementedError


@hookimpl
def register_trainers(register):
    register("encoder", Encoder)


@hookimpl
def register_architectures(register):
    register("picky", Picky)
"""


@pytest.mark.parametrize("generator", ["dcgan", "picky"])
def test_a_network_that_has_no_table_is_told_with_the_table_to_add(tmp_path: Path, generator: str):
    (tmp_path / "encoder.py").write_text(ENCODER)
    tables = tables_of("pix2pix", tmp_path)
    tables |= {
        "plugins": {"files": [str(tmp_path / "encoder.py")]},
        "dataset": {"name": "synthetic", "image_size": 16, "count": 16},
        "generator": {"name": generator},
        "discriminator": {"name": "dcgan", "width": 4},
        "trainer": {"name": "encoder", "batch_size": 8},
    }
    wrong = f'networks.encoder: "{generator}" needs images, and the samples are vectors of 32 numbers'
    with pytest.raises(RecipeError) as caught:
        api.build(tables)
    assert f"{wrong} (the recipe has no such table, and takes that of [generator]: add [networks.encoder])" in str(
        caught.value
    )
    tables["networks"] = {"encoder": {"name": generator}}
    with pytest.raises(RecipeError) as caught:
        api.build(tables)
    assert wrong in str(caught.value)
    assert "no such table" not in str(caught.value)


CHECKS_WIDTHS = """
from ganzoo.plugin import GANTrainer, GANTrainerConfig, hookimpl


class WidthsConfig(GANTrainerConfig):
    @property
    def roles(self):
        return {**super().roles, "further": "generator"}

    def check_parts(self, parts):
        raise ValueError(", ".join(f"{role} {parts[role].width}" for role in self.roles) + f", {parts['loss'].name}")


class Widths(GANTrainer):
    Config = WidthsConfig


@hookimpl
def register_trainers(register):
    register("widths", Widths)
"""


def test_a_trainer_checks_all_of_its_networks_by_their_names(tmp_path: Path):
    (tmp_path / "widths.py").write_text(CHECKS_WIDTHS)
    tables = tables_of("pix2pix", tmp_path) | {
        "plugins": {"files": [str(tmp_path / "widths.py")]},
        "generator": {"name": "unet", "width": 4},
        "discriminator": {"name": "patchgan", "width": 5, "depth": 1},
        "loss": {"name": "hinge"},
        "trainer": {"name": "widths"},
    }
    assert "trainer: generator 4, discriminator 5, further 4, hinge" in problems(tables)
    own = {"networks": {"further": {"name": "unet", "width": 6}}}
    assert "trainer: generator 4, discriminator 5, further 6, hinge" in problems(tables | own)
    text = problems(tables | {"generator": {"name": "unet", "widht": 4}})
    assert "generator.widht" in text
    assert "trainer" not in text
    for wrong, path in ({"loss": {"name": "hinje"}}, "loss"), ({"penalties": [{"name": "r1", "wait": 1}]}, "penalties"):
        text = problems(tables | wrong)
        assert path in text
        assert "trainer" not in text


PAIRS = """
from dataclasses import replace

from ganzoo.plugin import GANTrainer, GANTrainerConfig, hookimpl


class PairsConfig(GANTrainerConfig):
    def info_for(self, role, info):
        return replace(info, condition=info.samples)


class Pairs(GANTrainer):
    Config = PairsConfig


@hookimpl
def register_trainers(register):
    register("pairs", Pairs)
"""


def test_networks_are_not_told_to_be_wrong_for_a_trainer_whose_options_are(tmp_path: Path):
    (tmp_path / "pairs.py").write_text(PAIRS)
    tables = tables_of("pix2pix", tmp_path) | {
        "plugins": {"files": [str(tmp_path / "pairs.py")]},
        "dataset": {"name": "synthetic", "image_size": 16, "count": 16},
        "trainer": {"name": "pairs"},
    }
    load_recipe(tables, plugin_manager())
    text = problems(tables | {"trainer": {"name": "pairs", "batch_sise": 3}})
    assert "trainer.batch_sise" in text
    assert "condition" not in text
    text = problems(tables | {"trainer": {"name": "adversarial", "batch_sise": 3}})
    assert "trainer.batch_sise" in text
    assert 'generator: "unet" needs a condition' in text


def test_a_further_network_has_options_of_its_own_or_those_of_the_first(tmp_path: Path):
    tables = tables_of("cyclegan", tmp_path, networks={"generator_back": {"name": "unet", "width": 6}})
    recipe, _ = load_recipe(tables, plugin_manager(), ["discriminator.width=5"])
    widths = [recipe.network(role).width for role in FOUR]
    assert widths == [4, 6, 5, 5]
    assert "discriminator_back" not in recipe.to_dict()["networks"]
    assert load_recipe(recipe.to_dict(), plugin_manager())[0].to_dict() == recipe.to_dict()
    assert "networks" not in load_recipe(tables_of("cyclegan", tmp_path), plugin_manager())[0].to_dict()
    networks = ganzoo.run(tables | {"run": {**tables["run"], "steps": 1}}).checkpoint
    assert len(networks.network("generator_back")["last.0.bias"]) == 1
    assert networks.network("generator_back")["downs.0.0.weight"].shape[0] == 6
    assert networks.network("generator")["downs.0.0.weight"].shape[0] == 4


def test_parts_that_need_a_condition_are_told_where_the_dataset_has_none(tmp_path: Path):
    tables = tables_of("pix2pix", tmp_path)
    tables["dataset"] = {"name": "synthetic", "image_size": 16, "channels": 1}
    text = problems(tables)
    for part in ('trainer: "pix2pix"', 'generator: "unet"', 'discriminator: "patchgan"'):
        assert f'{part} needs a condition, and the dataset "synthetic" has none' in text
    tables = tables_of("cyclegan", tmp_path)
    tables["dataset"] = {"name": "synthetic", "image_size": 16, "channels": 1}
    assert 'trainer: "cyclegan" translates images, and the dataset\'s conditions are none' in problems(tables)


def test_a_generator_without_latents_needs_a_condition(tables: Tables):
    tables["generator"]["latent_dim"] = 0
    assert 'generator.latent_dim: is 0, and "dcgan" takes no condition: all samples would be the same' in problems(
        tables
    )


# Training


def test_all_networks_are_trained_averaged_and_kept(trained: dict[str, TrainedRun]):
    path = trained["cyclegan"].path / "checkpoints"
    names = {file.stem for file in (path / "step_0000004").glob("*.safetensors")}
    assert names == {*FOUR, "generator_ema", "generator_back_ema"}
    for name in names:
        before, after = (load_file(path / f"step_{step:07d}" / f"{name}.safetensors") for step in (2, 4))
        assert any(not torch.equal(before[key], after[key]) for key in before), name
    row = rows(trained["cyclegan"].path)[-1]
    assert {f"loss/{name}" for name in (*FOUR, "cycle", "identity")} <= row.keys()


@pytest.mark.parametrize("kind", ["pix2pix", "cyclegan"])
def test_a_run_is_resumed_to_the_bit(trained: dict[str, TrainedRun], tmp_path: Path, kind: str):
    part = ganzoo.run(tables_of(kind, tmp_path, run={"steps": 2}))
    whole = api.resume(part.path, {"run.steps": 4})
    assert_same_checkpoint(*(run.path / "checkpoints/step_0000004" for run in (whole, trained[kind])))
    assert rows(whole.path) == rows(trained[kind].path)


@pytest.mark.slow
def test_two_processes_train_as_one(trained: dict[str, TrainedRun], tmp_path: Path):
    child = Ranks(2, RUNS, tmp_path)
    _, err = child.communicate(timeout=300)
    assert child.returncode == 0, err
    for kind, alone in trained.items():
        checkpoint = Path("checkpoints/step_0000004")
        files = sorted((alone.path / checkpoint).glob("*.safetensors"))
        assert len(files) == (6 if kind == "cyclegan" else 3)
        for file in files:
            ours, theirs = load_file(file), load_file(tmp_path / kind / "0001" / checkpoint / file.name)
            for key in ours:
                torch.testing.assert_close(
                    theirs[key], ours[key], rtol=1e-3, atol=1e-5, msg=f"{kind} {file.name} {key}"
                )


# Samples


def tiles(path: Path, columns: int) -> np.ndarray:
    """The images of a grid, (rows, columns, 16, 16), in [−1, 1]."""
    picture = np.asarray(Image.open(path).convert("L")).astype(float) / 127.5 - 1
    cut = [
        [picture[y : y + 16, x : x + 16] for x in range(2, 18 * columns, 18)] for y in range(2, len(picture) - 2, 18)
    ]
    return np.array(cut)


def test_grids_show_input_output_and_target_of_the_first_examples(trained: dict[str, TrainedRun]):
    run = trained["pix2pix"]
    packed = run.training_set()
    grid = tiles(run.path / "samples/step_0000004.png", 3)
    assert grid.shape[:2] == (5, 3)
    for index in range(5):
        condition, real = (np.asarray(each[index, :, :, 0]) / 127.5 - 1 for each in (packed.conditions, packed.images))
        output = run.images(torch.empty(1, 0), condition=torch.tensor(condition, dtype=torch.float32)[None, None])[0, 0]
        for shown, meant in zip(grid[index], (condition, output.numpy(), real), strict=True):
            assert np.abs(shown - meant).max() < 0.02
    assert tiles(trained["cyclegan"].path / "samples/step_0000004.png", 2).shape[1] == 2  # which has no targets


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "inputs"
    folder.mkdir()
    for name, size in (("one.png", (16, 16)), ("two.jpg", (40, 20))):
        Image.effect_noise(size, 60).convert("RGB").save(folder / name)
    (folder / "notes.txt").write_text("no image")
    return folder


def test_sample_from_images_makes_one_named_after_each(
    command: Command, trained: dict[str, TrainedRun], inputs: Path, tmp_path: Path
):
    run, out = trained["pix2pix"], tmp_path / "out"
    assert command("sample", run.path, "--input", inputs, "--out", out).code == 0
    assert sorted(file.name for file in out.iterdir()) == ["one.png", "two.png"]
    names, condition = api.read_inputs(run, inputs)
    assert (names, condition.shape) == (["one", "two"], (2, 1, 16, 16))
    images = run.sample(condition=condition)
    assert images.shape == (2, 1, 16, 16)
    shown = np.asarray(Image.open(out / "one.png")).astype(float) / 127.5 - 1
    assert np.abs(shown - images[0, 0].numpy()).max() < 0.02
    assert command("sample", run.path, "--input", inputs / "one.png", "--out", tmp_path / "grid.png").code == 0
    assert tiles(tmp_path / "grid.png", 2).shape[:2] == (1, 2)


def test_generators_with_latents_make_several_of_each_input(command: Command, inputs: Path, tmp_path: Path):
    run = ganzoo.run(tables_of("pix2pix", tmp_path / "runs", generator={"latent_dim": 1}, run={"steps": 1}))
    out = tmp_path / "out"
    assert command("sample", run.path, "--input", inputs, "--count", "2", "--out", out).code == 0
    assert sorted(file.name for file in out.iterdir()) == ["one_0.png", "one_1.png", "two_0.png", "two_1.png"]
    assert (out / "one_0.png").read_bytes() != (out / "one_1.png").read_bytes()
    ended = command("sample", run.path, "--input", inputs, "--count", f"{10**16}", "--out", tmp_path / "more")
    assert ended.code == 2
    assert f"{2 * 10**16} samples take " in ended.err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--input", "{inputs}", "--count", "2"], "--count 2: the generator draws no latents"),
        (["--input", "{inputs}/gone.png"], "gone.png: does not exist"),
        (["--input", "{inputs}/notes.txt"], "is no image, and no folder with images in it"),
        (["--network", "generator_bak"], "has no generator 'generator_bak', did you mean generator_back?"),
        (["--network", "discriminator"], "it has: generator, generator_back"),
    ],
)
def test_wrong_inputs_are_told(
    command: Command, trained: dict[str, TrainedRun], inputs: Path, tmp_path: Path, options: list[str], told: str
):
    options = [option.format(inputs=inputs) for option in options]
    ended = command("sample", trained["cyclegan"].path, *options, "--out", tmp_path / "new" / "out.png")
    assert ended.code == 2
    assert told in ended.err
    assert not (tmp_path / "new").exists()


def test_conditions_that_are_vectors_are_told(trained: dict[str, TrainedRun], inputs: Path):
    class OfVectors(TrainedRun):
        @property
        def info(self) -> DatasetInfo:
            return replace(super().info, condition=VectorSpec(6))

    of_images = trained["pix2pix"]
    run = OfVectors(of_images.directory, of_images.recipe, of_images.checkpoint, of_images.compute, of_images.manager)
    with pytest.raises(RequestError, match=r"takes no images, but vectors of 6 numbers: .* sample\(condition=…\)"):
        api.read_inputs(run, inputs)


def test_conditions_that_do_not_fit_are_told(trained: dict[str, TrainedRun]):
    with pytest.raises(RequestError, match=r"condition of shape \(2, 3, 16, 16\): must be \(N, 1, 16, 16\)"):
        trained["pix2pix"].sample(condition=torch.zeros(2, 3, 16, 16))


def test_the_way_back_takes_samples_and_makes_conditions(trained: dict[str, TrainedRun]):
    back = ganzoo.load_run(trained["cyclegan"].path, network="generator_back")
    assert back.info.condition == trained["cyclegan"].info.samples
    first = torch.tensor(back.training_set().images[:3].copy()).permute(0, 3, 1, 2) / 127.5 - 1
    assert torch.allclose(back.conditions(3), first)
    assert torch.equal(back.sample(3), back.sample(condition=first))
    assert not torch.equal(back.sample(condition=first), trained["cyclegan"].sample(condition=first))


def test_any_generator_is_exported_and_opened_again(trained: dict[str, TrainedRun], tmp_path: Path):
    back = ganzoo.load_run(trained["cyclegan"].path, network="generator_back")
    export_run(back, tmp_path / "export")
    assert (tmp_path / "export/generator_back_ema.safetensors").is_file()
    opened = ganzoo.load_run(tmp_path / "export")
    assert opened.network == "generator_back"
    assert torch.equal(opened.sample(3), back.sample(3))
    assert "for inputs of 1×16×16" in (tmp_path / "export/README.md").read_text()


@pytest.mark.slow
def test_a_generator_with_a_condition_and_no_latents_is_exported_as_onnx(
    trained: dict[str, TrainedRun], tmp_path: Path
):
    onnxruntime = pytest.importorskip("onnxruntime")
    run = trained["pix2pix"]
    export_run(run, tmp_path / "export", "onnx")
    session = onnxruntime.InferenceSession(tmp_path / "export/generator.onnx")
    condition = torch.rand(3, 1, 16, 16) * 2 - 1
    given = {"latents": np.zeros((3, 0), np.float32), "condition": condition.numpy()}
    (images,) = session.run(None, {each.name: given[each.name] for each in session.get_inputs()})
    assert np.abs(images - run.sample(condition=condition).numpy()).max() < 1e-4


def test_evaluation_draws_conditions_from_the_dataset(trained: dict[str, TrainedRun]):
    cycle = trained["cyclegan"]
    back = ganzoo.load_run(cycle.path, network="generator_back")
    scores = []
    for run in (cycle, back):
        found = ganzoo.evaluate(run, 50, overrides={"evaluation.metrics": ["diversity", "memorization"]})
        card = found.evaluations[0][0].card
        assert card.samples.labels == "conditions of real images"
        scores.append((card.real.packed, found.scores))
    assert scores[0] != scores[1]
    assert scores[1][0] == f"{scores[0][0]}-generator_back"


@pytest.mark.parametrize("kind", ["pix2pix", "cyclegan"])
def test_trainers_of_several_networks_keep_their_contract(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch):
    _, manager = load_recipe(tables_of(kind, tmp_path), plugin_manager())
    entry = manager.registries.trainers[kind]
    check_trainer(entry)
    monkeypatch.setattr(entry.load(), "networks", lambda self: dict(list(self.parts.networks.items())[1:]))
    with pytest.raises(ConformanceError, match="networks must give 'generator'"):
        check_trainer(entry)
