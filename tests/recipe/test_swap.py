"""Another part in the place of one: what is kept of the old one's options, what is left out, and what is said of it."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field, PositiveInt

import ganzoo
from ganzoo.components.options import LossConfig, Options
from ganzoo.errors import RecipeError
from ganzoo.recipe.load import load_recipe, parse_recipe
from ganzoo.recipe.model import Recipe
from ganzoo.recipe.overrides import Overrides
from ganzoo.registry.kinds import KINDS
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.sweeps.plan import make_plan

Tables = dict[str, Any]
Command = Callable[..., Any]
Load = Callable[..., tuple[Recipe, list[str]]]

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture
def load(manager: PluginManager) -> Load:
    """Load a shipped recipe, or tables, with overrides; give the notes too."""

    def load(source: str | Tables, overrides: Overrides) -> tuple[Recipe, list[str]]:
        notes: list[str] = []
        source = RECIPES / f"{source}.toml" if isinstance(source, str) else source
        return load_recipe(source, manager, overrides, note=notes.append)[0], notes

    return load


def problems(load: Load, source: str | Tables, overrides: Overrides) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load(source, overrides)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("recipe", "override", "note"),
    [
        ("wgan_gp_digits", "discriminator.name=sngan", 'discriminator: "sngan" has no norm: left out'),
        ("sagan_digits", "generator.name=dcgan", 'generator: "dcgan" has no attention_size: left out'),
        (
            "dcgan_celeba",
            "trainer.generator_optimizer.name=rmsprop",
            'trainer.generator_optimizer: "rmsprop" has no betas: left out',
        ),
        (
            "wgan_gp_digits",
            "penalties.0.name=weight_clipping",
            'penalties.0: "weight_clipping" does not take weight as the recipe has it: left out',
        ),
    ],
)
def test_options_that_the_new_part_lacks_are_left_out_and_named(load: Load, recipe: str, override: str, note: str):
    assert load(recipe, [override])[1] == [note]


def test_what_both_parts_have_stays(load: Load):
    recipe, _ = load("wgan_gp_digits", {"discriminator.name": "sngan"})
    assert recipe.discriminator.width == 32
    recipe, notes = load("wgan_gp_digits", {"penalties.0.name": "r1"})
    assert (recipe.penalties[0].weight, notes) == (10.0, [])
    recipe, _ = load("dcgan_celeba", {"trainer.discriminator_optimizer.name": "sgd"})
    assert (recipe.trainer.generator_optimizer.name, recipe.trainer.discriminator_optimizer.lr) == ("adam", 2e-4)


def test_a_resolved_recipe_keeps_what_the_new_part_has(load: Load):
    resolved = load("lsgan_digits", {"trainer.generator_optimizer.lr": 1e-3})[0]
    recipe, notes = load(resolved.to_dict(), ["loss.name=hinge", "trainer.generator_optimizer.name=sgd"])
    assert recipe.trainer.generator_optimizer.model_dump() == {
        "name": "sgd",
        "lr": 1e-3,
        "weight_decay": 0.0,
        "momentum": 0.0,
        "nesterov": False,
    }
    assert notes == [
        'loss: "hinge" has no real_target, fake_target, generator_target: left out',
        'trainer.generator_optimizer: "sgd" has no betas, eps, amsgrad: left out',
    ]


def test_what_the_overrides_set_is_never_left_out(load: Load):
    key = "trainer.generator_optimizer"
    told = problems(load, "dcgan_celeba", [f"{key}.name=rmsprop", f"{key}.betas=[0.0, 0.9]"])
    assert [each.split(": ")[0] for each in told] == [f"{key}.betas"]
    assert told[0].endswith("it is an option of adam, adamax, adamw, lion, nadam, …")
    told = problems(load, "dcgan_celeba", {"discriminator.norm": "batch", "discriminator.name": "sagan"})
    assert [each.split(": ")[0] for each in told] == ["discriminator.norm"]
    told = problems(load, "stylegan2_mnist", ["generator.name=dcgan", "generator.sampling.truncation=0.7"])
    assert [each.split(": ")[0] for each in told] == ["generator.sampling"]


def test_mistakes_of_the_file_stay_errors_where_nothing_is_swapped(load: Load, tables: Tables):
    tables["generator"]["widht"] = tables["run"]["stepz"] = 3
    overrides = ["generator.name=dcgan", "run.name=other", "trainer.batch_size=4"]
    assert [each.split(": ")[0] for each in problems(load, tables, overrides)] == ["run.stepz", "generator.widht"]


@pytest.mark.slow
def test_a_table_that_overrides_make_is_of_the_part_that_is_the_default(load: Load):
    for path in RECIPES.glob("*.toml"):
        recipe, notes = load(path.stem, ["trainer.generator_optimizer.lr=1e-5"])
        assert (recipe.trainer.generator_optimizer.lr, notes) == (1e-5, [])


def test_words_of_the_command_line_are_text_where_the_option_is(load: Load):
    for word in ("2024", "1_000", "1e3", "True", "2024-01-01", "inf"):
        assert load("dcgan_digits", [f"run.name={word}"])[0].run.name == word
    assert load("dcgan_digits", ["dataset.root=2024", "device.compile=True"])[0].dataset.root == "2024"
    assert load("dcgan_digits", ["device.compile=True", "samples.gif=False"])[0].device.compile is True
    assert "run.name: is 2024: input should be a valid string" in problems(load, "dcgan_digits", {"run.name": 2024})
    assert "run.seed: is" in problems(load, "dcgan_digits", ['run.seed="1"'])[0]


def test_lists_of_extractors(load: Load, tables: Tables):
    tables["evaluation"] = {"extractors": [{"name": "inception"}, {"name": "torchvision", "model": "resnet50"}]}
    recipe, notes = load(tables, ["evaluation.extractors.1.name=classifier"])
    assert [each.name for each in recipe.evaluation.extractors] == ["inception", "classifier"]
    assert notes == ['evaluation.extractors.1: "classifier" has no model: left out']


def test_other_images_of_evaluation_are_of_the_new_dataset(load: Load, tables: Tables):
    tables["dataset"] = {"name": "cifar10", "split": "train", "image_size": 16}
    tables["evaluation"] = {"real": {"split": "test"}, "held_out": {"split": "test", "root": "other"}}
    recipe, notes = load(tables, ["dataset.name=digits"])
    assert notes == ['dataset: "digits" has no split, evaluation.real.split, evaluation.held_out.split: left out']
    assert (recipe.evaluation.real, recipe.evaluation.held_out) == ({}, {"root": "other"})
    told = problems(load, tables, ["dataset.name=digits", "evaluation.real.split=test"])
    assert told[0].startswith("evaluation.real.split: there is no such key")
    assert load(tables, ["dataset.name=svhn"])[1] == []


class Inner(Options):
    a: int = 1


class OldConfig(LossConfig):
    number: float = 2.5
    pair: tuple[float, ...] = (1.0, 2.0, 3.0)
    inner: dict[str, int] = Field(default_factory=dict)
    either: str = "x"


class NewConfig(LossConfig):
    number: int = 2
    pair: tuple[float, float] = (0.0, 1.0)
    inner: Inner = Inner()
    either: PositiveInt | Literal["y"] = "y"
    needed: int


def test_values_that_the_new_part_does_not_take_are_left_out(tables: Tables):
    manager = PluginManager()
    manager.registries.losses.register("old", "no:where", OldConfig, "test")
    manager.registries.losses.register("new", "no:where", NewConfig, "test")
    for pair in ([1.0], [1.0, 2.0, 3.0]):
        tables["loss"] = {"name": "old", "number": 2.5, "pair": pair, "inner": {"a": 2, "b": 3}, "either": "x"}
        notes: list[str] = []
        recipe = parse_recipe(tables, manager, {"loss.name": "new", "loss.needed": 3}, note=notes.append)
        assert notes == [
            'loss: "new" does not take number, pair, either as the recipe has it: left out',
            'loss: "new" has no inner.b: left out',
        ]
        assert recipe.loss.model_dump() == NewConfig(name="new", needed=3, inner=Inner(a=2)).model_dump()
    with pytest.raises(RecipeError, match=r"loss\.needed: is missing: this key is required$"):
        parse_recipe(tables, manager, {"loss.name": "new"}, note=notes.append)
    with pytest.raises(RecipeError, match=r"loss\.number: is 1\.5: input should be a valid integer$"):
        parse_recipe(tables, manager, {"loss.name": "new", "loss.needed": 3, "loss.number": 1.5}, note=notes.append)


def test_run_and_resume_say_it_once(command: Command, recipe_file: Callable[[Tables], Path], tables: Tables):
    tables["loss"] = {"name": "least_squares", "real_target": 0.9}
    tables["discriminator"]["norm"] = "layer"
    ended = command("run", recipe_file(tables), "--set", "discriminator.name=dcgan_dense", "--set", "run.steps=2")
    assert ended.code == 0, ended.err
    assert "has no" not in ended.err
    ended = command("run", recipe_file(tables), "--set", "discriminator.name=sngan", "--set", "run.steps=2")
    assert ended.err.count('warning: discriminator: "sngan" has no norm: left out') == 1
    run = Path(ended.out.splitlines()[-1])
    ended = command("resume", run, "--set", "loss.name=hinge", "--set", "run.steps=4")
    assert ended.err.count('warning: loss: "hinge" has no real_target, fake_target, generator_target: left out') == 1
    assert tomllib.loads((run / "recipe.toml").read_text())["loss"] == {"name": "hinge"}


def test_python_calls_swap_too(tables: Tables, capfd: pytest.CaptureFixture[str]):
    tables["penalties"] = [{"name": "gradient_penalty", "target": 0.5}]
    trained = ganzoo.run(tables, {"penalties.0.name": "r1", "run.steps": 2})
    r1 = {"name": "r1", "weight": 10.0, "interval": 1, "own_update": False, "at": "unaugmented"}
    assert trained.recipe.penalties[0].model_dump() == r1
    assert capfd.readouterr().err.count('warning: penalties.0: "r1" has no target: left out') == 1


def test_sweeps_swap_what_is_set_and_what_is_varied(tables: Tables, manager: PluginManager):
    tables["discriminator"]["norm"] = "layer"
    tables["loss"] = {"name": "least_squares", "real_target": 0.9}
    vary = {"loss.name": ["least_squares", "hinge"]}
    plan = make_plan(tables, vary, 1, ["discriminator.name=sngan", "run.name=2024"], manager)
    assert plan.warnings == [
        'discriminator: "sngan" has no norm: left out',
        'loss: "hinge" has no real_target: left out (in hinge)',
    ]
    assert plan.tables["discriminator"] == {"name": "sngan", "width": 4}
    assert plan.tables["run"]["name"] == "2024"
    assert [variant.recipe.loss.name for variant in plan.variants] == ["least_squares", "hinge"]
    with pytest.raises(RecipeError, match=r"loss\.fake_target: .*in hinge"):
        make_plan(tables, vary, 1, ["loss.fake_target=0.1"], manager)


@pytest.mark.parametrize(
    ("recipe", "override", "note"),
    [
        ("cyclegan_digits", "generator.name=cgan", 'generator: "cgan" does not take latent_dim'),
        ("cyclegan_digits", "generator.name=infogan", 'generator: "infogan" does not take latent_dim'),
        ("cyclegan_digits", "dataset.name=two_domains", 'dataset: "two_domains" does not take evaluation.real.pairing'),
    ],
)
def test_values_that_are_wrong_only_in_the_new_place_are_left_out(
    manager: PluginManager, recipe: str, override: str, note: str
):
    tables, notes = load_recipe(RECIPES / f"{recipe}.toml", manager)[0].to_dict(), list[str]()
    with suppress(RecipeError):  # the labels that cgan and infogan want
        parse_recipe(tables, manager, [override], note=notes.append)
    assert any(each.startswith(note) for each in notes), notes


ASKED_FOR = (
    "cannot make", "needs images", "needs labels", "needs a condition", "attention_size", "has no layers for",
    "halves images", "whose conditions", "the dataset's conditions are none", "Adam", "wants one label for each",
    "needs a generator", "judges pairs", "is there before", "micro_batch_size does not go with",
    "instance norm over single pixels",
)  # fmt: skip


@pytest.mark.slow
def test_every_part_takes_the_place_of_every_other(manager: PluginManager):
    """Only what samples, labels, conditions or other parts ask for may be wrong: nothing that the old part left."""
    walked: set[tuple[str, str, str]] = set()
    for path in sorted(RECIPES.glob("*.toml")):
        tables = load_recipe(path, manager)[0].to_dict()
        for place, old, names in _places(tables, manager):
            for new in names:
                if (place, old, new) in walked:
                    continue
                walked.add((place, old, new))
                for problem in _told(tables, manager, {f"{place}.name": new}):
                    assert not problem.startswith(f"{place}.") or problem.endswith("this key is required"), (
                        f"{path.name}: {place}.name={new}: {problem}"
                    )
                    assert any(each in problem for each in (*ASKED_FOR, "this key is required")), problem
    assert len(walked) > 500


def _places(tables: Tables, manager: PluginManager) -> Iterator[tuple[str, str, list[str]]]:
    recipe = parse_recipe(tables, manager)
    for kind in KINDS:
        if kind.keyed:  # the key of the table is the name
            continue
        for place, config in kind.configs(recipe).items():
            yield place, config.name, getattr(manager.registries, kind.plural).names()
    for place in ("generator_optimizer", "discriminator_optimizer"):
        yield f"trainer.{place}", tables["trainer"][place]["name"], manager.registries.optimizers.names()


def _told(tables: Tables, manager: PluginManager, overrides: Overrides) -> list[str]:
    try:
        parse_recipe(tables, manager, overrides, note=lambda _: None)
    except RecipeError as error:
        return [str(problem) for problem in error.problems]
    return []
