"""Starting from weights: what is taken from a run or an export, what begins anew, and what does not train."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ganzoo_export import export_run
from same import assert_same_checkpoint, rows
from torch import Tensor
from translation_runs import tables_of

import ganzoo
from ganzoo.errors import RecipeError
from ganzoo.recipe.load import parse_recipe
from ganzoo.recipe.model import Recipe
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.sampling.trained_run import TrainedRun
from ganzoo.storage.checkpoint import open_checkpoint, write_checkpoint
from ganzoo.training.build import build_run
from ganzoo.training.run import Run

Tables = dict[str, Any]
Weights = dict[str, Tensor]
Start = Callable[..., Run]

BLOCK = "discriminator.blocks.1"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, tables_in: Callable[[Path], Tables]) -> TrainedRun:
    """A trained run with an average of its generator."""
    tables = tables_in(tmp_path_factory.mktemp("source"))
    tables["trainer"] |= {"ema_decay": 0.5, "generator_optimizer": {"name": "adam", "lr": 0.01}}
    return ganzoo.run(tables)


@pytest.fixture
def start(tables: Tables, source: TrainedRun, manager: PluginManager, parse: Callable[..., Recipe]) -> Start:
    """Build a run of another seed that starts from `source`, and takes no step."""

    def start(*overrides: str, **changes: Tables) -> Run:
        recipe = parse(tables | changes, "run.seed=8", f"init.from={source.path}", *overrides)
        return build_run(recipe, manager, warn=pytest.fail, initial=source.checkpoint)

    return start


def same(ours: Weights, theirs: Weights) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def told(run: Run | TrainedRun) -> dict[str, Any]:
    """What `init.json` says of each network."""
    networks: dict[str, Any] = json.loads((run.directory.path / "init.json").read_text())["networks"]
    return networks


def figures(told: dict[str, Any]) -> dict[str, tuple[int, int]]:
    return {part: (each["tensors"], each["values"]) for part, each in told.items() if part != "weights"}


class TestTaking:
    @pytest.mark.parametrize(
        ("weights", "taken"), [("auto", "generator_ema"), ("ema", "generator_ema"), ("raw", "generator")]
    )
    def test_all_tensors_of_networks_that_are_alike(self, start: Start, source: TrainedRun, weights: str, taken: str):
        run = start(f"init.weights={weights}", "trainer.ema_decay=0.9")
        networks = {name: network.state_dict() for name, network in run.trainer.networks().items()}
        assert same(networks["generator"], source.checkpoint.network(taken))
        assert same(networks["generator_ema"], networks["generator"]), "the average begins with what was taken"
        assert same(networks["discriminator"], source.checkpoint.network("discriminator"))
        assert told(run)["generator"]["weights"] == taken
        assert figures(told(run)["discriminator"]) == {"taken": (10, 870), "began_anew": (0, 0), "left_over": (0, 0)}

    def test_of_the_networks_that_are_named(self, start: Start, source: TrainedRun):
        run = start('init.networks=["discriminator"]')
        assert same(run.networks["discriminator"].state_dict(), source.checkpoint.network("discriminator"))
        assert not same(run.networks["generator"].state_dict(), source.checkpoint.network("generator_ema"))
        assert told(run).keys() == {"discriminator"}

    def test_at_a_larger_size_the_layers_that_fit(self, start: Start, source: TrainedRun, tables: Tables):
        run = start("dataset.image_size=32")
        here, there = run.networks["discriminator"].state_dict(), source.checkpoint.network("discriminator")
        found = told(run)["discriminator"]
        assert all(torch.equal(here[name], there[name]) for name in found["taken"]["shapes"])
        # The convolutions of 3·4·16 and 4·8·16 weights, a bias of 4 and of 1, and a batch norm of 8: 4·8 and its count.
        assert figures(found) == {"taken": (9, 742), "began_anew": (7, 2369), "left_over": (1, 128)}
        assert found["began_anew"]["shapes"]["head.0.weight"] == "1×16×4×4"
        assert found["left_over"]["shapes"] == {"head.0.weight": "1×8×4×4"}
        assert figures(told(run)["generator"])["taken"] == (0, 0), "the generator is wider at each of its layers"

    def test_at_a_smaller_size_too(self, tables: Tables):
        tables["generator"]["max_channels"] = 8
        large = ganzoo.run(tables, ["dataset.image_size=32"])
        small = ganzoo.run(tables, [f"init.from={large.path}"])
        assert figures(told(small)["generator"]) == {
            "taken": (12, 8 * 8 * 16 * 2 + 2 * 33),
            "began_anew": (2, 8 * 3 * 16 + 3),
            "left_over": (8, 8 * 8 * 16 + 33 + 8 * 3 * 16 + 3),
        }

    def test_what_does_not_fit_is_as_in_a_run_without(self, start: Start, tables: Tables, parse: Callable[..., Recipe]):
        run = start("dataset.image_size=32")
        fresh = build_run(
            parse(tables, "dataset.image_size=32", "run.seed=8"), PluginManager(), warn=pytest.fail
        ).networks["discriminator"]
        here, alone = run.networks["discriminator"].state_dict(), fresh.state_dict()
        assert all(torch.equal(here[name], alone[name]) for name in told(run)["discriminator"]["began_anew"]["shapes"])

    def test_buffers_of_a_module_together_or_not_at_all(self, tables: Tables, start: Start):
        """Of a wider batch norm not even the count of batches, which has no size, is taken."""
        run = start("discriminator.width=8", 'init.networks=["discriminator"]', "discriminator.max_channels=8")
        assert "blocks.1.1.num_batches_tracked" in told(run)["discriminator"]["taken"]["shapes"]
        with pytest.raises(RecipeError, match="no weight has the name and shape"):
            start("generator.width=8", "discriminator.width=16")

    def test_a_table_is_shown(self, start: Start, capsys: pytest.CaptureFixture[str]):
        start("dataset.image_size=32")
        shown = capsys.readouterr().err
        assert "network" in shown
        assert ["discriminator", "9", "(742)", "7", "(2.37k)", "1", "(128)"] in [x.split() for x in shown.splitlines()]


CONDITIONAL = {"generator": {"name": "cgan", "width": 4}, "discriminator": {"name": "cgan", "width": 4}}


class TestClasses:
    def test_a_conditional_run_starts_from_an_unconditional_one(self, start: Start, source: TrainedRun):
        run = start(**CONDITIONAL)
        found = told(run)
        assert [*found["generator"]["began_anew"]["shapes"]] == ["blocks.0.0.weight"]
        assert [*found["discriminator"]["began_anew"]["shapes"]] == ["blocks.0.0.weight"]
        here, there = run.networks["generator"].state_dict(), source.checkpoint.network("generator_ema")
        assert torch.equal(here["blocks.1.0.weight"], there["blocks.1.0.weight"])

    def test_and_the_other_way_round(self, tables: Tables):
        conditional = ganzoo.run({**tables, **CONDITIONAL})
        plain = ganzoo.run(tables, [f"init.from={conditional.path}", "generator.latent_dim=8"])
        assert figures(told(plain)["discriminator"])["began_anew"] == (1, 4 * 3 * 16)

    def test_another_number_of_classes(self, tables: Tables):
        tables |= {name: {"name": "projection", "width": 4} for name in ("generator", "discriminator")}
        tables["dataset"]["image_size"] = 32
        ten = ganzoo.run(tables, ["run.steps=1"])
        four = ganzoo.run(tables, ["run.steps=1", "dataset.num_classes=4", f"init.from={ten.path}"])
        anew = told(four)["discriminator"]["began_anew"]["shapes"]
        assert set(anew) == {f"classes.parametrizations.weight.{name}" for name in ("original", "0._u", "0._v")}, (
            "the vectors of spectral norm belong to their weight"
        )
        assert anew["classes.parametrizations.weight.original"].startswith("4×")
        assert any("embedding" in name or "gain" in name for name in told(four)["generator"]["began_anew"]["shapes"])


class TestSeveralNetworks:
    def test_each_takes_weights_by_its_name(self, tmp_path: Path):
        first = ganzoo.run(tables_of("cyclegan", tmp_path))
        frozen = {"init.freeze": ["generator_back.downs.0", "discriminator_back.blocks.0"]}
        wanted = {"init.from": str(first.path), "init.networks": ["generator_back", "discriminator_back"]}
        second = ganzoo.run(tables_of("cyclegan", tmp_path), frozen | wanted)
        assert {name: each["weights"] for name, each in told(second).items()} == {
            "generator_back": "generator_back_ema",
            "discriminator_back": "discriminator_back",
        }
        before, after = first.checkpoint.network("generator_back_ema"), second.checkpoint.network("generator_back")
        weights = {key for key in before if key.endswith("weight")}
        assert {key for key in weights if torch.equal(before[key], after[key])} == {"downs.0.0.weight"}

    def test_those_that_the_source_lacks_begin_anew(self, tmp_path: Path):
        first = ganzoo.run(tables_of("pix2pix", tmp_path))
        second = ganzoo.run(tables_of("cyclegan", tmp_path), {"init.from": str(first.path)})
        assert told(second).keys() == {"generator", "discriminator"}


class TestSources:
    def test_a_path_is_relative_to_the_working_directory_and_a_step_is_chosen(
        self, tables: Tables, source: TrainedRun, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.chdir(source.path.parent)
        run = ganzoo.run(tables, ["init.from=0001", "init.step=3", "run.steps=1"])
        assert json.loads((run.path / "init.json").read_text())["step"] == 3
        assert run.recipe.init.source == "0001"
        assert ganzoo.run(run.path / "recipe.toml").recipe.init == run.recipe.init

    def test_an_export(self, tables: Tables, source: TrainedRun, tmp_path: Path):
        export_run(source, tmp_path / "export", discriminator=True)
        assert "[init]\nfrom" not in (tmp_path / "export" / "recipe.toml").read_text()
        run = ganzoo.run(tables, [f"init.from={tmp_path / 'export'}"])
        assert figures(told(run)["generator"])["began_anew"] == (0, 0)
        assert told(run).keys() == {"generator", "discriminator"}
        export_run(run, tmp_path / "again")
        assert "from =" not in (tmp_path / "again" / "recipe.toml").read_text(), "a local path is private"

    def test_nothing_of_the_source_but_weights_is_read(self, tables: Tables, source: TrainedRun, tmp_path: Path):
        foreign = tmp_path / "foreign"
        shutil.copytree(source.path, foreign)
        (foreign / "plugins").mkdir()
        (foreign / "plugins" / "trap.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\n")
        (foreign / "recipe.toml").write_text('[plugins]\nfiles = ["plugins/trap.py"]\n')
        for checkpoint in (foreign / "checkpoints").iterdir():
            (checkpoint / "state.pt").write_bytes((source.checkpoint.path / "state.pt").read_bytes())
        run = ganzoo.run(tables, [f"init.from={foreign}"])
        assert figures(told(run)["generator"])["began_anew"] == (0, 0)
        assert not (tmp_path / "sprung").exists()


class TestTraining:
    def test_goes_on_to_the_bit_without_the_source(self, tables: Tables, source: TrainedRun, tmp_path: Path):
        kept = tmp_path / "kept"
        shutil.copytree(source.path, kept)
        tables["trainer"]["ema_decay"] = 0.9
        whole = ganzoo.run(tables, [f"init.from={kept}", f'init.freeze=["{BLOCK}"]', "checkpoint.keep=3"]).path
        part = whole.with_name("part")
        shutil.copytree(whole, part)
        shutil.rmtree(part / "checkpoints/step_0000006")
        shutil.rmtree(kept)
        ganzoo.resume(part)
        assert_same_checkpoint(whole / "checkpoints/step_0000006", part / "checkpoints/step_0000006")
        assert rows(part) == rows(whole)
        assert (whole / "init.json").read_bytes() == (part / "init.json").read_bytes()

    @pytest.mark.parametrize("kept", [9, 2])
    def test_before_its_first_checkpoint_it_begins_from_the_source_again(
        self, tables: Tables, source: TrainedRun, tmp_path: Path, kept: int
    ):
        origin = shutil.copytree(source.path, tmp_path / "origin")
        whole = ganzoo.run(tables, [f"init.from={origin}", "checkpoint.every=6"]).path
        part = whole.with_name("part")
        shutil.copytree(whole, part)
        shutil.rmtree(part / "checkpoints")
        (part / "checkpoints").mkdir()
        (part / "summary.json").unlink()
        more = {"run.steps": source.checkpoint.step + 3, "checkpoint.keep": kept, "checkpoint.every": 1}
        ganzoo.resume(origin, more, accept_changes=True)
        if kept == 2:  # without the checkpoint that was begun with
            with pytest.raises(RecipeError, match=f"no checkpoint of step {source.checkpoint.step}"):
                ganzoo.resume(part)
            return
        ganzoo.resume(part)
        assert_same_checkpoint(whole / "checkpoints/step_0000006", part / "checkpoints/step_0000006")

    @pytest.mark.parametrize("trainer", ["adversarial", "unrolled"])
    def test_frozen_modules_stay_and_the_others_move(self, tables: Tables, source: TrainedRun, trainer: str):
        tables["trainer"] = {"name": trainer, "batch_size": 8, "ema_decay": 0.9}
        frozen = (BLOCK, "generator.blocks.0")
        run = ganzoo.run(tables, [f"init.from={source.path}", f"init.freeze={json.dumps(frozen)}", "run.steps=3"])
        run = ganzoo.resume(run.path, {"run.steps": 6})
        for name, there in (("discriminator", "discriminator"), ("generator", "generator_ema")):
            before, after = source.checkpoint.network(there), run.checkpoint.network(name)
            stayed = {key for key in before if torch.equal(before[key], after[key])}
            inside = {key for key in before if f"{name}.{key}".startswith(tuple(f"{each}." for each in frozen))}
            assert stayed == inside, "of the others even the counts of batch norms move"
            assert len(inside) == 6
        average = run.checkpoint.network("generator_ema")
        assert all(torch.equal(average[key], after[key]) for key in inside)
        for name, parameters in (("generator", 8), ("discriminator", 7)):
            state = run.checkpoint.state()["trainer"]["optimizers"][name]["optimizer"]["state"]
            assert len(state) == parameters - 3, "no state for the convolution and the norm of a frozen block"

    def test_clipping_leaves_frozen_weights(self, tables: Tables, source: TrainedRun):
        tables["penalties"] = [{"name": "weight_clipping", "limit": 0.001}]
        run = ganzoo.run(tables, [f"init.from={source.path}", f"init.freeze={json.dumps([BLOCK])}"])
        before, after = source.checkpoint.network("discriminator"), run.checkpoint.network("discriminator")
        assert torch.equal(before["blocks.1.0.weight"], after["blocks.1.0.weight"])
        assert after["blocks.0.0.weight"].abs().max() <= 0.001 < after["blocks.1.0.weight"].abs().max()

    def test_freezing_works_without_a_source(self, tables: Tables):
        first, last = (
            ganzoo.run(tables, [f"init.freeze={json.dumps([BLOCK])}", f"run.steps={steps}"]).checkpoint
            for steps in (1, 6)
        )
        assert torch.equal(*(each.network("discriminator")["blocks.1.0.weight"] for each in (first, last)))
        assert not torch.equal(*(each.network("discriminator")["blocks.0.0.weight"] for each in (first, last)))


def refusal(tables: Tables, *overrides: str) -> str:
    with pytest.raises(RecipeError) as error:
        ganzoo.run(tables, overrides)
    runs = Path(tables["run"]["root"])
    assert not runs.exists() or not [*runs.glob("tiny/*")], "an error leaves no run directory"
    (problem,) = error.value.problems
    return str(problem)


class TestErrors:
    @pytest.mark.parametrize(
        ("path", "message"),
        [
            (
                "discriminator.block.1",
                "did you mean discriminator.blocks.1?; in discriminator there are: discriminator",
            ),
            ("discriminator.blocks.7", "in discriminator.blocks there are: discriminator.blocks.0, discriminator.blo"),
            ("discriminator.blocks.1.2", "in discriminator.blocks.1 there are: discriminator.blocks.1.0, discrimin"),
            ("critic", 'init.freeze: "critic" leads to no parameter; the networks are: generator, discriminator'),
            ("discriminator", "freezes every parameter of the discriminator: leave some of them to train"),
        ],
    )
    def test_of_freezing(self, tables: Tables, path: str, message: str):
        assert message in refusal(tables, f'init.freeze=["{path}"]')

    def test_of_names(self, tables: Tables, source: TrainedRun, tmp_path: Path):
        start = f"init.from={source.path}"
        assert 'no network "generater", did you mean generator?; it has' in refusal(
            tables, start, 'init.networks=["generater"]'
        )
        export_run(source, tmp_path / "export", weights="raw")
        export = f"init.from={tmp_path / 'export'}"
        assert 'holds no network "discriminator"; it has: generator' in refusal(
            tables, export, 'init.networks=["discriminator"]'
        )
        assert "init.weights" in refusal(tables, export, "init.weights=ema")
        assert "leave step out" in refusal(tables, export, "init.step=6")

    def test_of_sources(self, tables: Tables, source: TrainedRun, tmp_path: Path):
        assert f"{tmp_path}/no: there is no such run directory" in refusal(tables, f"init.from={tmp_path}/no")
        assert "runs in it: 0001" in refusal(tables, f"init.from={source.path.parent}")
        assert "`ganzoo import`" in refusal(tables, f"init.from={source.path}/recipe.toml")
        assert "those of 3, 6" in refusal(tables, f"init.from={source.path}", "init.step=4")
        damaged = tmp_path / "damaged"
        shutil.copytree(source.path, damaged)
        for file in damaged.glob("checkpoints/*/generator.safetensors"):
            file.write_bytes(file.read_bytes()[:-1] + b"?")
        assert "is damaged" in refusal(tables, f"init.from={damaged}")

    def test_where_nothing_fits(self, tables: Tables, source: TrainedRun):
        said = refusal(tables, f"init.from={source.path}", "generator.width=6", "discriminator.width=6")
        assert "discriminator: blocks.0.0.weight has shape (4, 3, 4, 4) there and (6, 3, 4, 4) here" in said
        named = 'init.networks=["generator"]'
        assert "generator: " in refusal(tables, f"init.from={source.path}", "generator.width=6", named)

    def test_of_values_that_are_no_numbers(self, tables: Tables, source: TrainedRun, tmp_path: Path):
        broken = tmp_path / "broken"
        shutil.copytree(source.path, broken)
        networks = {name: source.checkpoint.network(name) for name in source.checkpoint.networks()}
        networks["discriminator"]["blocks.0.0.weight"][0] = torch.nan
        write_checkpoint(broken / "checkpoints", 6, networks, info=source.checkpoint.info, plugin_versions={})
        assert open_checkpoint(broken / "checkpoints" / "step_0000006").step == 6
        assert "discriminator: blocks.0.0.weight holds values that are not finite" in refusal(
            tables, f"init.from={broken}"
        )

    def test_options_without_a_source(self, tables: Tables, manager: PluginManager):
        with pytest.raises(RecipeError, match="init: step and networks say what to take, and from is missing"):
            parse_recipe(tables, manager, ["init.step=3", 'init.networks=["generator"]'])
