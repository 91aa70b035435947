"""A training state whose parts are not those of the run: refused in words, whatever code would have taken it."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from killed import in_child
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ganzoo import api
from ganzoo.components.network import Discriminator
from ganzoo.components.options import DiscriminatorConfig
from ganzoo.components.spec import DatasetInfo, ImageSpec
from ganzoo.errors import CheckpointError, GanzooError
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.storage.checkpoint import Checkpoint
from ganzoo.storage.manifest import MANIFEST, file_sha256, write_checksummed
from ganzoo.storage.run_directory import RunDirectory
from ganzoo.storage.safe_load import load_tensors

Tables = dict[str, Any]
State = dict[str, Any]
STEP = "checkpoints/step_0000006"
ATTACKS: dict[str, tuple[Callable[[State], object], str]] = {}


def attack(told: str) -> Callable[[Callable[[State], object]], Callable[[State], object]]:
    def register(act: Callable[[State], object]) -> Callable[[State], object]:
        ATTACKS[act.__name__] = (act, told)
        return act

    return register


def moments(state: State) -> State:
    """The state of the first weight of the generator; it is (8, 64, 4, 4) of fp32."""
    values: State = next(iter(state["trainer"]["optimizers"]["generator"]["optimizer"]["state"].values()))
    return values


def groups(state: State) -> State:
    found: State = state["trainer"]["optimizers"]["generator"]["optimizer"]
    return found


FIRST = "generator_optimizer: generator."


@attack(FIRST)
def moment_that_is_too_short(state: State) -> None:
    moments(state)["exp_avg"] = torch.zeros(3)


@attack(FIRST)
def moment_of_as_many_values_in_another_shape(state: State) -> None:
    moments(state)["exp_avg"] = moments(state)["exp_avg"].flatten()


@attack(FIRST)
def moment_of_another_type(state: State) -> None:
    moments(state)["exp_avg_sq"] = moments(state)["exp_avg_sq"].half()


@attack(FIRST)
def moment_that_is_a_number(state: State) -> None:
    moments(state)["exp_avg"] = 0.0


@attack("state.pt: cannot be read: ")
def moment_that_repeats_one_value(state: State) -> None:
    moments(state)["exp_avg"] = torch.zeros(1).expand(moments(state)["exp_avg"].shape)


@attack("state.pt: cannot be read: ")
def moment_that_is_sparse(state: State) -> None:
    moments(state)["exp_avg"] = torch.zeros(moments(state)["exp_avg"].shape).to_sparse()


@attack("state.pt: cannot be read: ")
def moment_without_values(state: State) -> None:
    moments(state)["exp_avg"] = torch.zeros(moments(state)["exp_avg"].shape, device="meta")


@attack(FIRST)
def moment_that_is_left_out(state: State) -> None:
    del moments(state)["exp_avg"]


@attack(FIRST)
def moment_too_many(state: State) -> None:
    moments(state)["max_exp_avg_sq"] = torch.zeros(3)


@attack(FIRST)
def steps_of_many_values(state: State) -> None:
    moments(state)["step"] = torch.zeros(10_000)


@attack("generator_optimizer has a state for a.b")
def state_of_a_weight_that_is_not_there(state: State) -> None:
    groups(state)["state"]["a.b"] = {}


@attack("generator_optimizer is of other parameters than now, a.b among them")
def optimizer_of_a_weight_that_is_not_there(state: State) -> None:
    groups(state)["param_groups"][0]["params"].append("a.b")


@attack("does not fit the recipe")
def optimizer_of_numbers_in_place_of_names(state: State) -> None:
    count = len(groups(state)["param_groups"][0]["params"])
    groups(state)["param_groups"][0]["params"] = list(range(count))


@attack("random.numpy.2 is of type str")
def numpy_at_no_place(state: State) -> None:
    state["random"]["numpy"][2] = "1"


@attack("random.numpy.2 is 1000000000")
def numpy_beyond_its_memory(state: State) -> None:
    state["random"]["numpy"][2] = 10**9


@attack("random.numpy.2 is negative")
def numpy_before_its_memory(state: State) -> None:
    state["random"]["numpy"][2] = -(10**9)


@attack("random.numpy.1 is a tensor (3,) of int64")
def numpy_with_three_words(state: State) -> None:
    state["random"]["numpy"][1] = torch.zeros(3, dtype=torch.int64)


@attack("random.torch is a tensor (3,) of uint8")
def torch_with_three_bytes(state: State) -> None:
    state["random"]["torch"] = torch.zeros(3, dtype=torch.uint8)


@attack("random.torch is a tensor (5056,) of float32")
def torch_of_another_type(state: State) -> None:
    state["random"]["torch"] = state["random"]["torch"].float()


@attack("random.trainer is of type str")
def trainer_with_text(state: State) -> None:
    state["random"]["trainer"] = "text"


@attack("random.trainer has 624 numbers left after 624")
def trainer_beyond_its_memory(state: State) -> None:
    """Torch checks each of the two, and draws the next numbers from what lies behind the generator."""
    words = state["random"]["trainer"]
    words[8:12] = torch.tensor([624], dtype=torch.int32).view(torch.uint8)
    words[16:24] = torch.tensor([624]).view(torch.uint8)


@attack("random.python.2 is of type str")
def python_with_text(state: State) -> None:
    version, words, _ = state["random"]["python"]
    state["random"]["python"] = (version, words, "text")


@attack("position is of type float")
def position_between_two_images(state: State) -> None:
    state["position"] = 1.5


@attack("position is of type float")
def position_without_end(state: State) -> None:
    state["position"] = math.inf


@attack("position is of type str")
def position_of_text(state: State) -> None:
    state["position"] = "48"


@attack("position is of type bool")
def position_that_is_true(state: State) -> None:
    state["position"] = True


@attack("position is negative")
def position_before_the_first_image(state: State) -> None:
    state["position"] = -1


@attack("position is beyond any count")
def position_of_400_digits(state: State) -> None:
    state["position"] = 10**400


@attack("trainer.steps is of type float")
def steps_that_are_half(state: State) -> None:
    state["trainer"]["steps"] = 2.5


@attack("trainer.steps is negative")
def steps_before_the_first(state: State) -> None:
    state["trainer"]["steps"] = -6


@attack("trainer.ema_updates.generator is of type str")
def updates_of_text(state: State) -> None:
    state["trainer"]["ema_updates"]["generator"] = "6"


@attack("latest_metrics.loss/generator is a tensor (3,) of float32")
def metric_of_three_values(state: State) -> None:
    state["latest_metrics"]["loss/generator"] = torch.zeros(3)


@attack("seconds is nan")
def seconds_that_are_no_number(state: State) -> None:
    state["seconds"] = math.nan


@attack("seconds is of type str")
def seconds_of_text(state: State) -> None:
    state["seconds"] = "1"


@attack("seconds is negative")
def seconds_before_the_start(state: State) -> None:
    state["seconds"] = -1.0


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tables_in: Callable[[Path], Tables]) -> Path:
    """A run of six steps."""
    tables = tables_in(tmp_path_factory.mktemp("state"))
    tables["trainer"]["ema_decay"] = 0.5
    return api.run(tables).path


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    shutil.rmtree(shutil.copytree(trained, tmp_path / "run") / "checkpoints/step_0000003")
    return tmp_path / "run"


def seal(folder: Path) -> None:
    """Give a checkpoint a manifest that fits what is in it: sums keep out mishaps, not people."""
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["manifest_sha256"]
    manifest["files"] = {name: file_sha256(folder / name) for name in manifest["files"]}
    write_checksummed(folder / MANIFEST, manifest)


def resumed(run: Path) -> str:
    """Go on in a process of its own, which may die of it; returns the error's text."""
    said = run.with_name("said")

    def resume() -> None:
        try:
            api.resume(run, ["run.steps=9"])
        except GanzooError as error:
            said.write_text(str(error))
        else:
            said.write_text("")

    assert in_child(resume) == 0
    return said.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
def test_state_that_is_not_the_runs_is_refused(name: str, run: Path):
    act, told = ATTACKS[name]
    state = torch.load(run / STEP / "state.pt", weights_only=True)
    act(state)
    torch.save(state, run / STEP / "state.pt")
    seal(run / STEP)
    text = resumed(run)
    assert told in text
    assert "\n" not in text


def test_state_that_was_left_alone_is_taken(run: Path):
    seal(run / STEP)
    assert resumed(run) == ""


def test_state_without_seconds_goes_on_from_the_last_row_of_metrics(run: Path):
    """Checkpoints of earlier versions have none."""
    state = torch.load(run / STEP / "state.pt", weights_only=True)
    del state["seconds"]
    torch.save(state, run / STEP / "state.pt")
    seal(run / STEP)
    last = RunDirectory(run).read_metrics()[-1]["seconds"]
    assert resumed(run) == ""
    assert RunDirectory(run).read_json("summary.json")["seconds"] > last > 0


@pytest.mark.parametrize("network", ["generator", "generator_ema", "discriminator"])
def test_weights_of_another_type_are_refused(run: Path, network: str):
    """Torch converts them without a word: a network of halves, or of whole numbers, goes on."""
    weights = load_file(run / STEP / f"{network}.safetensors")
    name = next(key for key, value in weights.items() if value.is_floating_point())
    save_file(weights | {name: weights[name].half()}, run / STEP / f"{network}.safetensors")
    seal(run / STEP)
    text = resumed(run)
    assert f"{network} does not fit the recipe: {name} is a tensor" in text
    assert "of float16" in text


def test_weights_that_are_cut_off_are_refused(run: Path):
    """They are read through a memory map, beyond whose file a process dies."""
    file = run / STEP / "generator.safetensors"
    whole = file.read_bytes()

    def cut() -> None:
        info = DatasetInfo(ImageSpec(3, 16, 16))
        checkpoint = Checkpoint(run / STEP, 6, info, frozenset({file.name}))
        for length in {0, 7, 8, 100, *range(len(whole) // 20, len(whole), len(whole) // 20), len(whole) - 1}:
            file.write_bytes(whole[:length])
            with pytest.raises(CheckpointError, match=r"generator\.safetensors: cannot be read"):
                checkpoint.network("generator")

    assert in_child(cut) == 0


ODD: dict[str, Callable[[], Tensor]] = {
    "expanded": lambda: torch.zeros(1).expand(10**12),
    "sparse": lambda: torch.eye(3).to_sparse(),
    "csr": lambda: torch.eye(3).to_sparse_csr(),
    "meta": lambda: torch.zeros(3, device="meta"),
    "quantized": lambda: torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ODD)
def test_files_give_tensors_that_are_stored_value_by_value(tmp_path: Path, kind: str):
    content: list[Any] = [{"a": (torch.zeros(2), ODD[kind]())}]
    content.append(content)
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(ValueError, match="has a tensor that is not stored value by value"):
        load_tensors(tmp_path / "x.pt")


class TwoConfig(DiscriminatorConfig):
    """Options of two layers of the same shape."""


class Two(Discriminator):
    """Two layers of the same shape, one registered before the other."""

    Config = TwoConfig
    order = ("one", "other")

    def __init__(self, config: TwoConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        for name in self.order:
            self.add_module(name, nn.Linear(16, 16))

    def forward(self, images: Tensor, **_: Any) -> Tensor:
        logits: Tensor = self.features(images)[-1].mean(1)
        return logits

    def features(self, images: Tensor) -> list[Tensor]:
        one = self.get_submodule("one")(images.mean((1, 2)))
        return [one, self.get_submodule("other")(one.tanh())]


class Swapped(Two):
    """The same layers in another order, as another release may list them."""

    order = ("other", "one")


def with_two(network: type[Discriminator]) -> PluginManager:
    manager = PluginManager()
    manager.registries.discriminators.register("two", network, TwoConfig, "tests")
    return manager


def test_layers_in_another_order_keep_their_moments(tables: Tables):
    tables["discriminator"] = {"name": "two"}
    whole = api.run(tables, manager=with_two(Two)).path
    part = shutil.copytree(whole, whole.with_name("part"))
    shutil.rmtree(part / STEP)
    api.resume(part, manager=with_two(Swapped))
    for name in ("generator", "discriminator"):
        ours, theirs = (load_file(run / STEP / f"{name}.safetensors") for run in (whole, part))
        assert all(torch.equal(ours[key], theirs[key]) for key in {**ours, **theirs})
    states = [load_tensors(run / STEP / "state.pt")["trainer"]["optimizers"]["discriminator"] for run in (whole, part)]
    ours, theirs = (state["optimizer"]["state"] for state in states)
    assert ours.keys() == theirs.keys() == {f"discriminator.{n}.{k}" for n in Two.order for k in ("weight", "bias")}
    for name, values in ours.items():
        assert all(torch.equal(values[key], theirs[name][key]) for key in values)
    assert not torch.equal(ours["discriminator.one.weight"]["exp_avg"], ours["discriminator.other.weight"]["exp_avg"])
