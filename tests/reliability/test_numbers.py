"""Numbers gone wrong: the update is not made, nobody waits for the device to know, and the moment is kept."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from ganzoo import api
from ganzoo.builtin.losses import NonSaturating
from ganzoo.components.dataset import Batch
from ganzoo.components.observer import RunView
from ganzoo.errors import DivergedError
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.registry.registry import Registrar
from ganzoo.storage.checkpoint import latest_checkpoint
from ganzoo.training import optimizer_step as descent
from ganzoo.training.build import build_run

BAD_STEP = 3
OPTIMIZERS = ("adam", "adamw", "nadam", "radam", "adamax", "sgd", "rmsprop")


class Turning(NonSaturating):
    """A loss that is `value` from the third call of the one, or of the other, network on."""

    network = "discriminator"
    value = math.nan
    calls = 0

    def _turn(self, network: str, loss: Tensor) -> Tensor:
        if network != self.network:
            return loss
        type(self).calls += 1
        # The constant leaves the gradient finite: only the loss itself tells.
        return loss if type(self).calls != BAD_STEP else loss + self.value

    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return self._turn("discriminator", super().discriminator_loss(real_logits, fake_logits))

    def generator_loss(self, real_logits: Tensor | None, fake_logits: Tensor) -> Tensor:
        return self._turn("generator", super().generator_loss(real_logits, fake_logits))


class Witness:
    """Holds on to the run, and spoils the gradient of one layer in step 3 if it is told of one."""

    run: RunView
    error: BaseException | None = None

    def __init__(self, layer: str = "", value: float = math.inf) -> None:
        self.layer = layer
        self.value = value

    @hookimpl
    def run_started(self, run: RunView) -> None:
        self.run = run
        if self.layer:
            network, _, name = self.layer.partition(".")
            parameter = dict(run.networks[network].named_parameters())[name]
            parameter.register_hook(lambda g: torch.full_like(g, self.value) if run.step == BAD_STEP - 1 else None)

    @hookimpl
    def run_failed(self, error: BaseException) -> None:
        self.error = error

    def weights(self) -> dict[str, Tensor]:
        return weights(self.run)


def weights(run: RunView) -> dict[str, Tensor]:
    networks = run.networks
    return {f"{n}.{key}": p.detach().clone() for n in networks for key, p in networks[n].named_parameters()}


@pytest.fixture
def attempt(tables: dict) -> Callable[..., Witness]:
    """Train with what is to go wrong; returns who saw it."""

    def train(witness: Witness, *overrides: str, loss: type | None = None) -> Witness:
        manager = PluginManager()
        if loss is not None:
            Registrar((manager.registries.losses,), "test")("turning", loss, config=loss.Config)
            tables["loss"] = {"name": "turning"}
        manager.pluggy.register(witness)
        with pytest.raises(DivergedError) as caught:
            api.run(tables, ["run.log_every=100", "checkpoint.every=2", *overrides], manager=manager)
        assert witness.error is caught.value
        return witness

    return train


def turning(network: str, value: float) -> type:
    return type("ThisTurning", (Turning,), {"network": network, "value": value, "calls": 0})


def trained_for(tables: dict, steps: int, *overrides: str) -> dict[str, Tensor]:
    """The weights after so many steps of the run in which nothing goes wrong."""
    witness = Witness()
    manager = PluginManager()
    manager.pluggy.register(witness)
    api.run(tables | {"loss": {"name": "non_saturating"}}, [f"run.steps={steps}", *overrides], manager=manager)
    return witness.weights()


def assert_equal(ours: dict[str, Tensor], theirs: dict[str, Tensor], part: str = "") -> None:
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if name.startswith(part) and not torch.equal(ours[name], theirs[name])] == []


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_optimizer_makes_the_bad_update_nor_any_after_it(tables: dict, attempt: Callable[..., Witness], name: str):
    options = [f"trainer.{network}_optimizer={{name = '{name}'}}" for network in ("generator", "discriminator")]
    witness = attempt(Witness("discriminator.blocks.0.0.weight"), *options)
    assert witness.run.step == 4  # nobody looked before the checkpoint
    assert_equal(witness.weights(), trained_for(tables, BAD_STEP - 1, *options))
    assert all(weight.isfinite().all() for weight in witness.weights().values())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_loss_that_is_no_number(tables: dict, attempt: Callable[..., Witness], network: str, value: float):
    witness = attempt(Witness(), loss=turning(network, value))
    assert str(witness.error).startswith(f"step 3: the loss of the {network} ({value}) is not finite any more")
    assert_equal(witness.weights(), trained_for(tables, BAD_STEP - 1), "generator")
    # The generator comes second: by then the discriminator has made its good update of the same step.
    assert_equal(witness.weights(), trained_for(tables, 2 if network == "discriminator" else 3), "discriminator")


@pytest.mark.slow
@pytest.mark.parametrize(
    "layer", ["generator.blocks.0.0.weight", "generator.blocks.1.1.weight", "discriminator.blocks.1.0.weight"]
)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_layer_with_the_bad_gradient_is_named(attempt: Callable[..., Witness], layer: str, value: float):
    error = str(attempt(Witness(layer, value)).error)
    assert error.startswith(f"step 3: the gradient of {layer} (norm {value}) is not finite any more")


def test_of_many_bad_gradients_the_one_nearest_to_the_loss_is_named(attempt: Callable[..., Witness]):
    class Spoiling(Witness):
        @hookimpl
        def run_started(self, run: RunView) -> None:
            self.run = run
            block = run.networks["generator"].blocks[1]  # type: ignore[index]
            block.register_full_backward_hook(
                lambda module, gradients, _: tuple(g * math.nan if run.step == 2 else g for g in gradients)
            )

    error = str(attempt(Spoiling()).error)
    assert error.startswith("step 3: the gradient of generator.blocks.0.1.bias (norm nan, 3 of ")


def test_clipping_does_not_hide_an_infinite_gradient(tables: dict, attempt: Callable[..., Witness]):
    clip = "trainer.generator_grad_clip=1.0"
    witness = attempt(Witness("generator.blocks.0.0.weight"), clip)
    assert "the gradient of generator.blocks.0.0.weight (norm inf) is" in str(witness.error)
    assert_equal(witness.weights(), trained_for(tables, BAD_STEP - 1, clip), "generator")


def test_last_good_checkpoint_stays_and_loads(attempt: Callable[..., Witness]):
    witness = attempt(Witness("generator.blocks.0.0.weight"))
    path = witness.run.directory.path
    assert [folder.name for folder in (path / "checkpoints").iterdir()] == ["step_0000002"]
    assert latest_checkpoint(path / "checkpoints", pytest.fail).step == 2
    assert api.load_run(path).sample(4).isfinite().all()
    assert json.loads((path / "summary.json").read_text())["status"] == "failed"


def test_moment_is_kept_and_can_be_had_again(tables: dict, attempt: Callable[..., Witness], parse: Any):
    tables["dataset"]["horizontal_flip"] = True
    tables["trainer"]["discriminator_steps"] = 2
    witness = attempt(Witness("generator.blocks.0.0.weight"))
    kept = witness.run.directory.path / "failure/step_0000003.pt"
    assert str(kept) in str(witness.error)
    assert kept.with_suffix(".txt").read_text() == f"{witness.error}\n"
    moment = torch.load(kept, weights_only=True)
    assert sorted(moment) == ["images", "labels", "networks", "rng", "step"]
    assert moment["images"].shape == (16, 3, 16, 16)

    built = build_run(parse(tables), PluginManager(), warn=pytest.fail)
    for _ in range(BAD_STEP - 1):
        built.trainer.train_step(built.loader.next())
        built.step += 1
    batch = built.loader.next()
    assert torch.equal(moment["images"], batch.real)
    assert torch.equal(moment["rng"], built.trainer.parts.rng.get_state())
    for name, network in built.trainer.networks().items():
        network.load_state_dict(moment["networks"][name])
    built.trainer.parts.rng.set_state(moment["rng"])
    Witness("generator.blocks.0.0.weight").run_started(built)
    built.trainer.train_step(Batch(moment["images"], moment["labels"]))
    failure = built.trainer.failure()
    assert failure is not None
    assert str(witness.error).startswith(f"step 3: {failure.what}")


def test_moment_that_cannot_be_kept_does_not_hide_the_error(attempt: Callable[..., Witness]):
    class Blocking(Witness):
        @hookimpl
        def run_started(self, run: RunView) -> None:
            super().run_started(run)
            (run.directory.path / "failure").write_text("in the way")

    error = str(attempt(Blocking("generator.blocks.0.0.weight")).error)
    assert error.startswith("step 3: the gradient of generator")
    assert "the minibatch could not be kept: " in error


@contextmanager
def counting_fetches() -> Iterator[list[str]]:
    """Whatever takes a value out of a tensor, and on a GPU would wait for it, but for torch's own code."""
    import sys

    fetched: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for method in ("item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__", "__index__"):

            def counted(tensor: Tensor, *a: Any, _method: str = method, _original: Any = None, **k: Any) -> Any:
                caller = sys._getframe(1).f_code.co_filename
                if "/torch/" not in caller:
                    fetched.append(f"{caller}: {_method}")
                return _original(tensor, *a, **k)

            counted.__kwdefaults__["_original"] = getattr(Tensor, method)
            patch.setattr(Tensor, method, counted)
        yield fetched


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_nothing_is_fetched_between_two_log_points(tables: dict, parse: Any, optimizer: str):
    tables["trainer"] |= {
        "ema_decay": 0.9,
        "generator_grad_clip": 1.0,
        "generator_optimizer": {"name": optimizer},
        "discriminator_optimizer": {"name": optimizer},
    }
    tables["penalties"] = [{"name": "gradient_penalty"}, {"name": "r1", "interval": 2}]
    built = build_run(parse(tables), PluginManager(), warn=pytest.fail)
    with counting_fetches() as fetched:
        for _ in range(5):
            built.trainer.train_step(built.loader.next())
        assert fetched == []
        assert built.trainer.failure() is None
        assert len(fetched) == 1


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_gpu_is_never_waited_for_between_two_log_points(tables: dict, parse: Any, optimizer: str):
    tables["device"]["accelerator"] = "cuda"
    options = {"name": optimizer}
    tables["trainer"] |= {"ema_decay": 0.9, "generator_optimizer": options, "discriminator_optimizer": options}
    built = build_run(parse(tables), PluginManager(), warn=pytest.fail)
    built.trainer.train_step(built.loader.next())
    batches = [built.loader.next() for _ in range(3)]
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in batches:
            built.trainer.train_step(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_guard_changes_no_figure(tables: dict, monkeypatch: pytest.MonkeyPatch):
    """A run trains to the same bit as with bare optimizers."""
    guarded = {name: trained_for(tables, 6, *options(name)) for name in ("adam", "rmsprop")}
    monkeypatch.setattr(descent.OptimizerStep, "_move", lambda self: self.optimizer.step())
    for name, ours in guarded.items():
        assert_equal(ours, trained_for(tables, 6, *options(name)))


def options(name: str) -> list[str]:
    return [f"trainer.{network}_optimizer={{name = '{name}'}}" for network in ("generator", "discriminator")]
