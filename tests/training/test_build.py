"""From a recipe to a run: seeds, facts, names, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from ganzoo.builtin.losses import NonSaturating
from ganzoo.components.loss import Loss
from ganzoo.components.network import Discriminator
from ganzoo.components.options import DiscriminatorConfig, LossConfig, PenaltyConfig
from ganzoo.components.penalty import Penalty
from ganzoo.components.spec import DatasetInfo
from ganzoo.errors import DataError, RecipeError
from ganzoo.recipe.load import parse_recipe
from ganzoo.recipe.overrides import apply_overrides
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.runtime.device import DTYPES, Compute
from ganzoo.training.build import build_run
from ganzoo.training.run import Run


@pytest.fixture
def build(tables: dict) -> Callable[..., Run]:
    def make(*overrides: str, manager: PluginManager | None = None) -> Run:
        manager = manager or PluginManager()
        return build_run(parse_recipe(apply_overrides(tables, overrides), manager), manager, warn=pytest.fail)

    return make


def weights(run: Run) -> torch.Tensor:
    networks = (run.trainer.parts.generator, run.trainer.parts.discriminator)
    return torch.cat([p.detach().flatten() for network in networks for p in network.parameters()])


def test_seed_decides_everything(build: Callable[..., Run]):
    first, second, other = build(), build(), build("run.seed=8")
    assert torch.equal(weights(first), weights(second))
    assert not torch.equal(weights(first), weights(other))
    batch, same, different = first.loader.next(), second.loader.next(), other.loader.next()
    assert torch.equal(batch.real, same.real)
    assert not torch.equal(batch.real, different.real)
    steps = [run.trainer.train_step(batch)["loss/generator"].item() for run in (first, second)]
    assert steps[0] == steps[1]


def test_only_fp16_scales_losses(build: Callable[..., Run], monkeypatch: pytest.MonkeyPatch):
    def scales(precision: str) -> bool:
        compute = Compute(torch.device("cpu"), precision, "as asked")
        monkeypatch.setattr("ganzoo.training.build.choose_compute", lambda *_: compute)
        return build().trainer.parts.loss_scaling

    assert {precision: scales(precision) for precision in DTYPES} == {"fp32": False, "bf16": False, "fp16": True}


@pytest.mark.parametrize(("length", "steps"), [("epochs=2", 5), ("epochs=1", 3), ("epochs=0.4", 1), ("steps=7", 7)])
def test_a_run_has_its_length_in_steps_rounded_up(build: Callable[..., Run], length: str, steps: int):
    assert build(f"run.{length}", "dataset.count=10", "trainer.batch_size=4").total_steps == steps


def test_seed_of_the_whole_process_does_not_matter(build: Callable[..., Run]):
    torch.manual_seed(1)
    first = weights(build())
    torch.manual_seed(2)
    assert torch.equal(first, weights(build()))


def test_fixed_latents_are_those_of_the_seed(build: Callable[..., Run]):
    first, second, other = build(), build("run.steps=50"), build("run.seed=8")
    assert torch.equal(first.fixed_latents(5), second.fixed_latents(5))
    assert first.fixed_latents(5).shape == (5, 8)
    assert not torch.equal(first.fixed_latents(5), other.fixed_latents(5))
    assert first.fixed_labels(5) is None


def test_networks_are_channels_last(build: Callable[..., Run]):
    convolutions = [m for m in build().trainer.parts.generator.modules() if isinstance(m, torch.nn.ConvTranspose2d)]
    assert all(c.weight.is_contiguous(memory_format=torch.channels_last) for c in convolutions)


def test_the_gradient_through_instance_norm_does_not_depend_on_its_order_in_memory(build: Callable[..., Run]):
    """Of one image, whose gradient is channels last, torch's kernel takes one place for another."""
    discriminator = build("discriminator.norm=instance").trainer.parts.discriminator
    (norm,) = (module for module in discriminator.modules() if isinstance(module, torch.nn.InstanceNorm2d))
    maps, weights = torch.randn(2, 1, norm.num_features, 4, 4, generator=torch.Generator().manual_seed(0))
    found = []
    for order in (torch.contiguous_format, torch.channels_last):
        given = maps.clone().requires_grad_(True)
        norm(given).backward(weights.contiguous(memory_format=order))
        found.append(given.grad)
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("placement", ["device", "host"])
def test_recipe_says_where_the_pixels_wait(build: Callable[..., Run], placement: str):
    assert build(f"dataset.placement={placement}").loader.placement == placement


def test_facts_reach_the_networks(build: Callable[..., Run]):
    run = build("dataset.channels=1", "dataset.image_size=32", "dataset.num_classes=3")
    assert run.info.image.shape == (1, 32, 32)
    assert run.info.class_names == ("hue 0", "hue 1", "hue 2")
    batch = run.loader.next()
    fake = run.trainer.parts.generator(run.fixed_latents(8))
    assert fake.shape == batch.real.shape == (8, 1, 32, 32)
    assert run.trainer.parts.discriminator(batch.real).shape == (8,)


@pytest.mark.slow
def test_request_that_cannot_be_served_leaves_no_folder(build: Callable[..., Run], tables: dict):
    with pytest.raises(DataError, match=r"the dataset has 64 images and trainer\.batch_size is 65"):
        build("trainer.batch_size=65")
    assert not Path(tables["run"]["root"]).exists()


class Counting(Penalty):
    """A penalty whose name has a dash."""

    class Config(PenaltyConfig):
        """Its options."""


class Labeled(Discriminator):
    """A discriminator that needs labels."""

    class Config(DiscriminatorConfig):
        """Its options."""

        uses: ClassVar = frozenset({"labels"})

    def forward(self, images: Any, *, labels: Any) -> Any:
        return images.flatten(1).sum(1) * labels

    def features(self, images: Any) -> Any:
        return []


class Fussy(Labeled):
    """A discriminator that finds out too late that it cannot judge such images."""

    class Config(DiscriminatorConfig):
        """Its options."""

    def __init__(self, config: DiscriminatorConfig, *, info: Any) -> None:
        raise ValueError(f"cannot judge {info.image}")


@pytest.fixture
def manager() -> PluginManager:
    class Plugin:
        @hookimpl
        def register_losses(self, register: Any) -> None:
            register("my-penalty", Counting)

        @hookimpl
        def register_architectures(self, register: Any) -> None:
            register("labeled", Labeled)
            register("fussy", Fussy)

    manager = PluginManager()
    manager._register(Plugin(), "mine (mine 1.0)")
    return manager


def test_penalties_of_one_name_are_numbered(build: Callable[..., Run], tables: dict, manager: PluginManager):
    tables["penalties"] = [
        {"name": name, "weight": float(weight)}
        for weight, name in enumerate(["r1", "my-penalty", "r1", "my-penalty", "r1", "r2"])
    ]
    penalties = build(manager=manager).trainer.parts.penalties
    assert {name: penalty.config.weight for name, penalty in penalties.items()} == {
        "r1": 0,
        "my-penalty": 1,
        "r1-2": 2,
        "my-penalty-2": 3,
        "r1-3": 4,
        "r2": 5,
    }


def test_component_that_does_not_fit_the_data_is_named(build: Callable[..., Run], tables: dict, manager: PluginManager):
    tables["discriminator"] = {"name": "fussy"}
    with pytest.raises(RecipeError, match='discriminator: "fussy" cannot judge 3×16×16'):
        build(manager=manager)


def test_conditional_network_needs_classes(
    build: Callable[..., Run], tables: dict, manager: PluginManager, tmp_path: Path
):
    from PIL import Image

    tables["discriminator"] = {"name": "labeled"}
    tables["dataset"] = {"name": "image_folder", "root": str(tmp_path / "pictures"), "image_size": 16}
    (tmp_path / "pictures").mkdir()
    for number in range(8):
        Image.new("RGB", (16, 16)).save(tmp_path / "pictures" / f"{number}.png")
    with pytest.raises(
        RecipeError, match='discriminator: "labeled" needs labels, and the dataset "image_folder" has none'
    ):
        build(manager=manager)


def test_environment_tells_what_ran(build: Callable[..., Run]):
    from ganzoo.training.run import describe_environment

    environment = describe_environment(build())
    assert environment["device"] == "cpu"
    assert environment["precision"] == "fp32"
    assert environment["torch"] == torch.__version__
    assert environment["images"] == 64
    assert environment["skipped_images"] == []
    assert {"ganzoo-core", "ganzoo-dcgan"} <= environment["plugins"].keys()


def test_averaged_weights_that_nothing_keeps_are_refused(build: Callable[..., Run]):
    with pytest.raises(RecipeError) as caught:
        build("trainer.ema_decay=0", "samples.weights=ema", "evaluation.weights=ema")
    assert [problem.path for problem in caught.value.problems] == ["samples.weights", "evaluation.weights"]
    assert "keeps no average of the weights: set trainer.ema_decay" in str(caught.value)
    assert build("trainer.ema_decay=0.9", "samples.weights=ema").weights_name("ema") == "ema"


class Untrained(Discriminator):
    """Its only layer is made by the first images."""

    Config = DiscriminatorConfig

    def features(self, samples: torch.Tensor) -> list[torch.Tensor]:
        self.head = torch.nn.Linear(samples[0].numel(), 1)
        return [self.head(samples.flatten(1))]

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        return self.features(samples)[0].flatten()


class Counted(Untrained):
    """It has an extra state that is no tensor."""

    def __init__(self, config: DiscriminatorConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        self.head = torch.nn.Linear(3, 1)

    def get_extra_state(self) -> dict[str, int]:
        return {"calls": 3}


class Lazy(Untrained):
    """Its layer takes its shape from the first images."""

    def __init__(self, config: DiscriminatorConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        self.head = torch.nn.LazyLinear(1)


class Expanded(Untrained):
    """A parameter has one value in memory for eight, which a fused optimizer writes beyond."""

    def __init__(self, config: DiscriminatorConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        self.scale = torch.nn.Parameter(torch.ones(1).expand(8))


class Masked(Untrained):
    """A buffer masks by −∞, as attention does."""

    def __init__(self, config: DiscriminatorConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        self.head = torch.nn.Linear(3, 1)
        self.register_buffer("mask", torch.full((2, 2), -torch.inf).triu(1))


class ExpandedPenalty(Penalty):
    """A buffer has one value in memory for eight."""

    def __init__(self, config: PenaltyConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        self.register_buffer("mean", torch.zeros(1).expand(8))


@pytest.mark.parametrize(
    ("network", "told"),
    [
        (Untrained, "has no parameter to train: make its layers in its constructor"),
        (Counted, "has _extra_state in its state_dict, and checkpoints keep tensors alone: make it a tensor"),
        (Lazy, "has head.weight without a shape, as lazy layers have it: give the layer its sizes"),
        (Expanded, "has scale, an expanded view whose values share memory: add .clone() to it"),
        (Masked, "has mask with values that are not finite: register it with persistent=False"),
    ],
)
def test_a_network_that_cannot_be_trained_or_kept_is_told_before_training(
    build: Callable[..., Run], network: type[Discriminator], told: str
):
    manager = PluginManager()
    manager.registries.discriminators.register("odd", network, config=network.Config, plugin="test")
    with pytest.raises(RecipeError) as error:
        build("discriminator={name='odd'}", manager=manager)
    assert [str(problem) for problem in error.value.problems] == [f'discriminator: "odd" {told}']


def test_a_penalty_that_cannot_be_kept_is_told_before_training(build: Callable[..., Run]):
    manager = PluginManager()
    manager.registries.penalties.register("odd", ExpandedPenalty, config=PenaltyConfig, plugin="test")
    with pytest.raises(RecipeError) as error:
        build("penalties=[{name='odd'}]", manager=manager)
    told = 'penalties.0: "odd" has mean, an expanded view whose values share memory: add .clone() to it'
    assert [str(problem) for problem in error.value.problems] == [told]


class LearnedLoss(NonSaturating):
    """Scales the logits by what it would learn, beside a module of torch's that learns nothing."""

    def __init__(self, config: LossConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        self.own = torch.nn.BCEWithLogitsLoss()
        self.scale = torch.nn.Linear(1, 1)


class LossModule(torch.nn.Module, NonSaturating):  # type: ignore[misc]
    """Is a module itself."""

    def __init__(self, config: LossConfig, *, info: DatasetInfo) -> None:
        torch.nn.Module.__init__(self)
        NonSaturating.__init__(self, config, info=info)
        self.scale = torch.nn.Parameter(torch.ones(()))


@pytest.mark.parametrize("loss", [LearnedLoss, LossModule])
def test_a_loss_with_parameters_that_nothing_would_train_is_refused(build: Callable[..., Run], loss: type[Loss]):
    manager = PluginManager()
    manager.registries.losses.register("odd", loss, config=NonSaturating.Config, plugin="test")
    with pytest.raises(RecipeError, match='loss: "odd" has parameters to train, and a loss keeps no'):
        build("loss={name='odd'}", manager=manager)


def test_a_loss_may_hold_a_frozen_network(build: Callable[..., Run]):
    class Plain(LearnedLoss):
        def __init__(self, config: LossConfig, *, info: DatasetInfo) -> None:
            super().__init__(config, info=info)
            self.scale.requires_grad_(False)

    manager = PluginManager()
    manager.registries.losses.register("odd", Plain, config=NonSaturating.Config, plugin="test")
    assert isinstance(build("loss={name='odd'}", manager=manager).trainer.parts.loss, Plain)
