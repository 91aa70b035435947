"""What a recipe's errors say: all of them, each with its place and the cure."""

from __future__ import annotations

import copy
import datetime
import math
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, PositiveInt

from ganzoo.components.options import LossConfig, Options
from ganzoo.errors import Problem, RecipeError
from ganzoo.recipe.load import parse_recipe
from ganzoo.recipe.model import Recipe
from ganzoo.registry.plugin_manager import PluginManager

Tables = dict[str, Any]
Parse = Callable[..., Recipe]
GONE = object()


def changed(tables: Tables, path: str, value: Any) -> Tables:
    """A copy of `tables` with one key set, or taken out where the value is `GONE`."""
    tables = copy.deepcopy(tables)
    *way, key = path.split(".")
    place: Any = tables
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
    if value is GONE:
        del place[key]
    else:
        place[int(key) if isinstance(place, list) else key] = value
    return tables


def problems(parse: Parse, tables: Tables) -> list[Problem]:
    with pytest.raises(RecipeError) as caught:
        parse(tables)
    return caught.value.problems


ONE_PROBLEM: list[tuple[str, Any, str, str]] = [
    # what is set, to what, where the problem is, what it says
    ("run.stepz", 3, "run.stepz", "there is no such key, did you mean steps?; known: name, seed, steps"),
    ("los", {}, "los", "there is no such key, did you mean loss?"),
    ("generator.widht", 4, "generator.widht", "did you mean width?; known: name, latent_dim, width"),
    ("generator.init.std", 4, "generator.init.std", "known: weight_std, norm_mean, norm_std"),
    (
        "trainer.generator_optimizer",
        {"name": "adam", "momentum": 1},
        "trainer.generator_optimizer.momentum",
        "there is no such key; known: name, lr, weight_decay, betas, eps, amsgrad",
    ),
    ("tracking.wandb.projekt", "x", "tracking.wandb.projekt", "did you mean project?"),
    ("loss", {"name": "hinge", "margin": 1}, "loss.margin", "there is no such key; known: name"),
    ("generator.name", "dcgn", "generator.name", 'there is no generator "dcgn", did you mean dcgan?; installed: '),
    ("loss.name", "hing", "loss.name", 'there is no loss "hing", did you mean hinge?; installed: '),
    ("trainer.name", "adverserial", "trainer.name", "did you mean adversarial?"),
    ("dataset.name", "imagenet", "dataset.name", 'there is no dataset "imagenet"'),
    (
        "trainer.generator_optimizer",
        {"name": "adamm"},
        "trainer.generator_optimizer.name",
        'there is no generator optimizer "adamm", did you mean adam?; installed: adam, adamax',
    ),
    ("loss.name", GONE, "loss", "give it a name, one of hinge"),
    ("trainer.name", GONE, "trainer", "give it a name, one of adversarial"),
    ("loss", {}, "loss", "give it a name, one of hinge"),
    ("loss.name", 3, "loss.name", 'there is no loss "3"'),
    ("run.name", GONE, "run.name", "is missing: this key is required"),
    ("loss", GONE, "loss", "is missing: this table is required"),
    ("loss", "hinge", "loss", 'is "hinge", but must be a table: [loss]'),
    ("run", 3, "run", "is 3, but must be a table: [run]"),
    ("penalties", {"name": "r1"}, "penalties", "must be a list of tables: [[penalties]]"),
    ("penalties", ["r1"], "penalties.0", 'is "r1", but must be a table: [[penalties]], or { name = "r1" } in the list'),
    (
        "evaluation",
        {"extractors": ["nope"]},
        "evaluation.extractors.0",
        'is "nope", but must be a table: [[evaluation.extractors]], or { name = "classifier" } in the list',
    ),
    (
        "trainer.generator_optimizer",
        {"name": "adam", "betas": 0.5},
        "trainer.generator_optimizer.betas",
        "is 0.5, but must be a list in square brackets",
    ),
    ("trainer.batch_size", "64", "trainer.batch_size", 'is "64": input should be a valid integer'),
    ("trainer.batch_size", True, "trainer.batch_size", "is true: input should be a valid integer"),
    ("trainer.batch_size", 8.5, "trainer.batch_size", "is 8.5: input should be a valid integer"),
    ("trainer.batch_size", 0, "trainer.batch_size", "is 0: input should be greater than 0"),
    ("run.seed", -1, "run.seed", "is -1: input should be greater than or equal to 0"),
    ("run.name", "a/b", "run.name", 'is "a/b": '),
    ("run.name", "..", "run.name", 'is "..": '),
    ("run.name", 5, "run.name", "is 5: input should be a valid string"),
    ("samples.gif", "yes", "samples.gif", 'is "yes": input should be a valid boolean'),
    ("device.accelerator", "gpu", "device.accelerator", 'must be "auto", "cuda", "mps" or "cpu"'),
    ("device.precision", "bf61", "device.precision", "did you mean bf16?"),
    ("run.epochs", 2, "run", "give either steps or epochs, one of the two"),
    ("run.steps", GONE, "run", "give either steps or epochs, one of the two"),
    ("checkpoint.keep", 1, "checkpoint.keep", "is 1: input should be greater than or equal to 2"),
    ("trainer.ema_decay", 1.0, "trainer.ema_decay", "is 1.0: input should be less than 1"),
    ("trainer.ema_decay", math.nan, "trainer.ema_decay", "is nan: "),
    ("trainer.generator_grad_clip", math.inf, "trainer.generator_grad_clip", "is inf: "),
    (
        "trainer.generator_optimizer",
        {"name": "adam", "betas": [0.5, 1.0]},
        "trainer.generator_optimizer.betas.1",
        "is 1.0: input should be less than 1",
    ),
    (
        "trainer.generator_optimizer",
        {"name": "adam", "betas": [0.5]},
        "trainer.generator_optimizer.betas.1",
        "is missing",
    ),
    ("trainer.generator_optimizer", {"lr": 1e-4}, "trainer.generator_optimizer", "names no generator optimizer: "),
    ("trainer.generator_optimizer", {"name": "sgd", "lr": -1}, "trainer.generator_optimizer.lr", "is -1"),
    (
        "trainer.generator_optimizer",
        {"name": "adam", "lr": 1e300},
        "trainer.generator_optimizer.lr",
        "is 1e+300, beyond ±9.2e18: take a number nearer to 0",
    ),
    ("trainer", {"name": "unrolled", "unrolled_lr": 1e30}, "trainer.unrolled_lr", "is 1e+30, beyond ±9.2e18"),
    ("penalties", [{"name": "r1", "weight": {"from": 1, "to": 1e40}}], "penalties.0.weight.to", "is 1e+40, beyond"),
    ("dataset.value_range", [-1e39, 1], "dataset.value_range.0", "is -1e+39, beyond"),
    ("dataset.value_range", [0, math.inf], "dataset.value_range", 'is [0, inf]; must be [low, high] or "auto"'),
    ("dataset.classes", [-1], "dataset.classes.0", "is -1: input should be greater than or equal to 0"),
    ("dataset.classes", [], "dataset.classes", "is []: tuple should have at least 1 item"),
    ("penalties", [{"name": "r1"}, {"name": "r2", "wight": 3}], "penalties.1.wight", "did you mean weight?"),
    ("penalties", [{"name": "r1"}, {"name": "r3"}], "penalties.1.name", 'there is no penalty "r3"'),
    ("penalties", [{"weight": 3.0}], "penalties.0", "give it a name, one of "),
    ("evaluation", {"metrics": ["frechet", {}]}, "evaluation.metrics.1", "give it a name, one of class_accuracy, "),
    ("penalties", [{"name": "r1", "weight": -1.0}], "penalties.0.weight", "greater than or equal to 0"),
    ("plugins", {"requires": ["ganzoo-biggan"]}, "plugins.requires", '"ganzoo-biggan" is not installed'),
    ("plugins", {"requires": "ganzoo-dcgan"}, "plugins.requires", 'is "ganzoo-dcgan"'),
    ("plugins", {"requires": [3]}, "plugins.requires.0", "is 3: input should be a valid string"),
    ("plugins", {"requires": [{}]}, "plugins.requires.0", "is a table: input should be a valid string"),
    ("tracking.wandb.tags", "a", "tracking.wandb.tags", 'is "a", but must be a list in square brackets'),
    (
        "tracking.wandb.tags",
        "[a,b]",
        "tracking.wandb.tags",
        'is "[a,b]", but must be a list in square brackets, with quotes around each text; in a shell, put single ones',
    ),
    ("run.seed", datetime.date(2020, 1, 1), "run.seed", "2020-01-01"),
    ("dataset.channels", 0, "dataset.channels", "greater than 0"),
    ("dataset.image_size", [64], "dataset.image_size", "must be a whole number > 0, [height, width]"),
    (
        "evaluation",
        {"image_size": "big"},
        "evaluation.image_size",
        'is "big": input should be a valid integer or a list in square brackets',
    ),
    ("evaluation", {"image_size": math.nan}, "evaluation.image_size", "is nan: input should be a valid integer or a"),
    ("evaluation", {"image_size": {"x": 1}}, "evaluation.image_size", "is a table: input should be a valid integer or"),
    ("evaluation", {"image_size": 0}, "evaluation.image_size", "is 0: input should be greater than 0"),
    ("evaluation", {"image_size": [0, 3]}, "evaluation.image_size.0", "is 0: input should be greater than 0"),
    ("evaluation", {"image_size": [64]}, "evaluation.image_size.1", "is missing: this value is required"),
    ("evaluation", {"image_size": [1, 2, 3]}, "evaluation.image_size", "is [1, 2, 3]: tuple should have at most 2"),
    (
        "dataset.classes",
        [3, {"x": 1}],
        "dataset.classes.1",
        "is a table: input should be a valid string or a valid integer",
    ),
    ("lr", 1e-4, "lr", "; lr lives at trainer.generator_optimizer.lr and trainer.discriminator_optimizer.lr"),
    ("optimizer", {"lr": 1e-4}, "optimizer", "; lr lives at trainer.generator_optimizer.lr and trainer.disc"),
    ("generator.batch_size", 4, "generator.batch_size", "; batch_size lives at trainer.batch_size"),
    ("dataset.batch_size", 4, "dataset.batch_size", "there is no such key; known: "),  # not "image_size"
    (
        "samples.project",
        "p",
        "samples.project",
        "; project lives at tracking.trackio.project and tracking.wandb.project",
    ),
    (
        "penalties",
        [{"name": "r1", "target": 1.0}],
        "penalties.0.target",
        "; it is an option of ada, adaptive_augment, dragan",
    ),
    ("discriminator.attention_size", 8, "discriminator.attention_size", "; it is an option of sagan"),
]


@pytest.mark.parametrize(
    ("path", "value", "where", "told"), ONE_PROBLEM, ids=[f"{p}-{i}" for i, (p, *_) in enumerate(ONE_PROBLEM)]
)
def test_one_mistake_is_one_problem(tables: Tables, parse: Parse, path: str, value: Any, where: str, told: str):
    found = problems(parse, changed(tables, path, value))
    assert [problem.path for problem in found] == [where]
    assert told in found[0].message


def test_a_key_is_found_in_a_table_whose_own_name_is_wrong(tables: Tables, parse: Parse):
    wrong = changed(changed(tables, "trainer.name", "adversarail"), "dataset.batch_size", 4)
    messages = {problem.path: problem.message for problem in problems(parse, wrong)}
    assert messages["dataset.batch_size"].endswith("; batch_size lives at trainer.batch_size")
    assert "did you mean adversarial?" in messages["trainer.name"]


def test_a_union_of_a_plugin_is_told_as_one_option(tables: Tables):
    class Inner(Options):
        least: int

    class Odd(LossConfig):
        how: Literal["much", "little"] | Inner | tuple[int | str, ...] | bool = "much"

    manager = PluginManager()
    manager.registries.losses.register("odd", "nowhere:Odd", config=Odd, plugin="test")
    for how, where, told in (
        (
            "muhc",
            "loss.how",
            'is "muhc": input should be "much" or "little", a table, a list in square brackets or a v',
        ),
        ({"least": 1.5}, "loss.how.least", "is 1.5: input should be a valid integer"),
        ({}, "loss.how.least", "is missing"),
        ([2, [3]], "loss.how.1", "is [3]: input should be a valid integer or a valid string"),
    ):
        (found,) = problems(
            partial(parse_recipe, manager=manager), changed(tables, "loss", {"name": "odd", "how": how})
        )
        assert found.path == where
        assert told in found.message


class Square(Options):
    kind: Literal["square"] = "square"
    side: float = 1.0


class Circle(Options):
    kind: Literal["circle"] = "circle"
    radius: float = 1.0


class Drawn(LossConfig):
    shape: Annotated[Square | Circle, Field(discriminator="kind")] = Square()
    shapes: tuple[Square | Circle, ...] = ()
    squares: tuple[Square, ...] = ()


@pytest.mark.parametrize(
    ("options", "where", "told"),
    [
        ({"shape": {"kind": "circl"}}, "loss.shape", 'must have kind = "square" or kind = "circle"'),
        ({"shape": {"radius": 2.0}}, "loss.shape", 'must have kind = "square" or kind = "circle"'),
        ({"shape": {"kind": "circle", "side": 2.0}}, "loss.shape.side", "known: kind, radius"),
        ({"shapes": [{"kind": "circle", "side": 2.0}]}, "loss.shapes.0.side", "known: kind, radius"),
        ({"squares": [3]}, "loss.squares.0", "must be a table: [[loss.squares]], or { … } in the list"),
    ],
)
def test_tables_of_a_plugin_that_another_key_than_the_name_selects(
    tables: Tables, options: Tables, where: str, told: str
):
    manager = PluginManager()
    manager.registries.losses.register("drawn", "nowhere:Drawn", config=Drawn, plugin="test")
    (found,) = problems(partial(parse_recipe, manager=manager), changed(tables, "loss", {"name": "drawn", **options}))
    assert found.path == where
    assert told in found.message


def test_a_default_made_of_another_option_hides_no_mistake(tables: Tables):
    class Inner(Options):
        least: int = Field(default_factory=lambda others: 3)

    class Wide(LossConfig):
        width: PositiveInt = 4
        twice: int = Field(default_factory=lambda others: 2 * others["width"])
        inner: Inner = Field(default_factory=lambda others: Inner(least=others["width"]))

    manager = PluginManager()
    manager.registries.losses.register("wide", "nowhere:Wide", config=Wide, plugin="test")
    for options, where, told in (
        ({"widht": 3}, "loss.widht", "did you mean width?"),
        ({"width": 0}, "loss.width", "is 0: input should be greater than 0"),
        ({"inner": {"leats": 1}}, "loss.inner.leats", "did you mean least?"),
    ):
        changed_tables = changed(tables, "loss", {"name": "wide", **options})
        (found,) = problems(partial(parse_recipe, manager=manager), changed_tables)
        assert found.path == where
        assert told in found.message


def test_the_recipe_that_these_change_is_right(tables: Tables, parse: Parse):
    assert parse(tables).run.name == "tiny"


def test_every_mistake_is_told_at_once(tables: Tables, parse: Parse):
    tables["run"]["steps"] = "6"
    tables["generator"]["widht"] = 4
    tables["loss"]["name"] = "wgan"
    tables["penalties"] = [{"name": "r1"}, {"name": "r2", "interval": 0}]
    tables["trainer"] |= {"batch_size": -8, "discriminator_optimizer": {"name": "adam", "beta": 1}}
    tables["plugins"] = {"requires": ["ganzoo-nowhere"]}
    tables["what"] = 1
    del tables["discriminator"]
    found = problems(parse, tables)
    assert {problem.path for problem in found} == {
        "run.steps",
        "generator.widht",
        "loss.name",
        "penalties.1.interval",
        "trainer.batch_size",
        "trainer.discriminator_optimizer.beta",
        "plugins.requires",
        "what",
        "discriminator",
    }
    assert len(found) == 9


def test_checks_across_tables_come_with_the_others(tables: Tables, parse: Parse):
    """Of all tables that are right; those with a mistake are left out of them."""
    tables["run"]["stepz"] = tables["generator"]["widht"] = 3
    tables["dataset"]["image_size"] = 30
    tables["device"]["compile"] = True
    tables["penalties"] = [{"name": "r1", "wight": 3}, {"name": "auxiliary_classifier"}, {"name": "r2"}]
    tables["evaluation"] = {"real": {"splitt": "test"}}
    tables["tracking"]["wandb"]["checkpoints"] = "best"
    told = {problem.path: problem.message for problem in problems(parse, tables)}
    assert told.keys() == {
        "run.stepz",
        "generator.widht",
        "penalties.0.wight",
        "discriminator",
        "evaluation.real.splitt",
        "device.compile",
        "tracking.wandb.checkpoints",
    }
    assert told["discriminator"].startswith('"dcgan" cannot make 30 pixels')
    assert '"r2" (penalties.2)' in told["device.compile"]
    del tables["dataset"]
    assert {"dataset", "device.compile"} <= {problem.path for problem in problems(parse, tables)}


def test_every_mistake_in_other_images_is_told_at_its_place(tables: Tables, parse: Parse):
    tables["evaluation"] = {
        "real": {"limti": 3, "seed": "5", "channels": 1, "num_classes": 4},
        "held_out": {"limit": math.nan, "root": 3, "crop": "larges"},
    }
    told = {problem.path: problem.message for problem in problems(parse, tables)}
    assert told.keys() == {
        "evaluation.real.limti",
        "evaluation.real.seed",
        "evaluation.real.channels",
        "evaluation.held_out.limit",
        "evaluation.held_out.root",
        "evaluation.held_out.crop",
    }
    assert "there is no such key, did you mean limit?; known: name, root, " in told["evaluation.real.limti"]
    assert told["evaluation.real.seed"] == 'is "5": input should be a valid integer'
    assert told["evaluation.real.channels"] == "must be as in [dataset]: leave out"
    assert 'must be a whole number > 0, [height, width], "largest"' in told["evaluation.held_out.crop"]


def test_compiled_networks_have_no_second_derivatives(tables: Tables, parse: Parse):
    compiled = changed(tables, "device.compile", True)
    assert parse(compiled).device.compile
    for name in ("r1", "r2", "gradient_penalty", "dragan"):
        (problem,) = problems(parse, changed(compiled, "penalties", [{"name": name}]))
        assert problem.path == "device.compile"
        assert f'"{name}" (penalties.0)' in problem.message
    assert parse(changed(compiled, "penalties", [{"name": "diff_augment"}, {"name": "feature_matching"}])).penalties
    unrolled = changed(compiled, "trainer", {"name": "unrolled", "batch_size": 8})
    assert '"unrolled" (trainer)' in problems(parse, unrolled)[0].message
    assert parse(changed(unrolled, "trainer.unrolled_steps", 0)).device.compile


def test_unknown_name_says_which_distribution_should_bring_it(tables: Tables, parse: Parse):
    tables["plugins"] = {"requires": ["ganzoo-biggan"]}
    tables["generator"] = {"name": "biggan"}
    paths = {problem.path: problem.message for problem in problems(parse, tables)}
    assert "the recipe expects it from ganzoo-biggan" in paths["generator.name"]
    assert '"ganzoo-biggan" is not installed' in paths["plugins.requires"]


def test_required_plugin_that_is_there(tables: Tables, parse: Parse):
    for spelling in ("ganzoo-dcgan", "ganzoo-core", "Ganzoo_DCGAN"):
        tables["plugins"] = {"requires": [spelling]}
        assert parse(tables).plugins.requires == (spelling,)


def test_sizes_that_dcgan_cannot_make(tables: Tables, parse: Parse):
    found = problems(parse, changed(tables, "dataset.image_size", 48))
    assert [problem.path for problem in found] == ["generator", "discriminator"]
    for problem in found:
        assert problem.message.startswith('"dcgan" cannot make 48 pixels')
        assert "16, 32, 64, 128, 256" in problem.message


def test_sizes_that_dcgan_dense_cannot_make(tables: Tables, parse: Parse):
    tables["generator"] = tables["discriminator"] = {"name": "dcgan_dense"}
    found = problems(parse, changed(tables, "dataset.image_size", 40))
    assert [problem.path for problem in found] == ["generator", "discriminator"]
    assert all("such as 32 or 48" in problem.message for problem in found)
    found = problems(parse, changed(tables, "dataset.image_size", 8))
    assert all(problem.message.endswith("such as 16") for problem in found)
    assert parse(changed(tables, "dataset.image_size", 48)).dataset.image_size == 48


def test_long_values_are_shown_in_short(tables: Tables, parse: Parse):
    (problem,) = problems(parse, changed(tables, "run.seed", "7" * 1000))
    assert len(problem.message) < 200
