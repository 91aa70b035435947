"""Every component that is installed keeps its contract: to register one is to have it tested."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import date
from math import prod
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pytest
import torch
from ganzoo_testing import (
    ConformanceError,
    check_component,
    check_export,
    check_trainer,
    components_of,
    describe,
    small_options,
)
from ganzoo_testing.conformance import CONTRACTS, Contract, check_config, contract_of
from ganzoo_testing.fixtures import TinyDiscriminator
from PIL import Image
from pydantic import Field, field_serializer, model_validator
from torch import Tensor, nn
from torch.nn.functional import softplus
from typer.testing import CliRunner

from ganzoo.builtin.configs import GANTrainerConfig
from ganzoo.builtin.datasets import Synthetic
from ganzoo.builtin.gan_trainer import GANTrainer
from ganzoo.cli.main import app
from ganzoo.components.dataset import Batch, Dataset, FakeBatch
from ganzoo.components.loss import Loss
from ganzoo.components.metric import Metric, MetricInputs
from ganzoo.components.network import Generator
from ganzoo.components.observer import Observer
from ganzoo.components.options import (
    DiscriminatorConfig,
    GeneratorConfig,
    ImageDatasetConfig,
    LossConfig,
    OptimizerConfig,
    PenaltyConfig,
)
from ganzoo.components.penalty import Penalty, PenaltyStep
from ganzoo.components.schedule import Scheduled
from ganzoo.components.spec import DatasetInfo, UnfitDataError, VectorSpec
from ganzoo.components.trainer import TrainingParts
from ganzoo.components.world import World
from ganzoo.errors import DataError, PluginError
from ganzoo.registry.kinds import KINDS
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.registry.registry import Entry

REGISTRIES = PluginManager().registries
ENTRIES = [entry for registry in REGISTRIES.all() for entry in registry]


@pytest.mark.parametrize("entry", ENTRIES, ids=describe)
def test_component(entry: Entry) -> None:
    try:
        check_component(entry)
    except DataError as error:
        pytest.skip(str(error))


@pytest.mark.slow
@pytest.mark.parametrize("entry", list(REGISTRIES.generators), ids=describe)
def test_export(entry: Entry) -> None:
    check_export(entry)


def test_there_is_a_contract_for_every_kind_of_component() -> None:
    assert {each.kind: each.config for each in CONTRACTS} == {kind.name: kind.config for kind in KINDS}
    assert contract_of(Entry("mine", "module:Mine", LossConfig, "tests")).kind == "loss"


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.kind)
def test_the_base_class_of_a_kind_has_its_options(contract: Contract) -> None:
    assert getattr(contract.base, "Config", contract.base) is contract.config


class Blind(TinyDiscriminator):
    """Has a layer that it does not use."""

    def __init__(self, config: DiscriminatorConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        self.unused = nn.Linear(2, 2)


class LabelConfig(DiscriminatorConfig):
    """Asks for labels."""

    uses: ClassVar[frozenset[str]] = frozenset({"labels"})


class IgnoresLabels(TinyDiscriminator):
    """Takes labels and does nothing with them."""

    Config = LabelConfig

    def forward(self, images: Tensor, *, labels: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(images)


class ConditionConfig(DiscriminatorConfig):
    """Asks for conditions."""

    uses: ClassVar[frozenset[str]] = frozenset({"condition"})


class IgnoresConditions(TinyDiscriminator):
    """Takes conditions and does nothing with them."""

    Config = ConditionConfig

    def forward(self, images: Tensor, *, condition: Tensor) -> Tensor:  # type: ignore[override]
        assert condition.shape == images.shape
        return super().forward(images)


class Probabilities(TinyDiscriminator):
    """Gives probabilities, by a function and not by a layer."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).sigmoid()


class InPlace(TinyDiscriminator):
    """Changes the images it is given."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.mul_(0.5))


class MixesSilently(TinyDiscriminator):
    """Has batch norm, and its options do not say so."""

    def __init__(self, config: DiscriminatorConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        self.norm = nn.BatchNorm2d(info.image.channels)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(self.norm(images))


class Raises(TinyDiscriminator):
    """Is built for images of another size."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ torch.ones(7, 1)


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (Blind, "no gradient reaches unused.weight, unused.bias: use it in forward, do not make it, or freeze it"),
        (IgnoresLabels, "takes labels and gives the same for others: use them, or leave them out of `uses`"),
        (IgnoresConditions, "takes condition and gives the same for others: use them, or leave them out of `uses`"),
        (Probabilities, "gives numbers between 0 and 1 whatever its weights are: losses want logits"),
        (MixesSilently, "has batch norm, so that logits depend on the whole minibatch: let `mixes_batch`"),
        (InPlace, "forward(samples) → logits (4, …): it changes in place what it is given"),
        (Raises, "forward(samples) → logits (4, …): it raises RuntimeError: mat1 and mat2 shapes"),
        (nn.Linear, "its class does not derive from Discriminator"),
        ("no_such_module:Blind", "cannot be imported"),
    ],
)
def test_what_is_wrong_is_told_with_the_name_of_the_component(target: type | str, told: str) -> None:
    entry = Entry("blind", target, getattr(target, "Config", DiscriminatorConfig), "tests")
    with pytest.raises(ConformanceError, match=r"^discriminator blind of the plugin tests: ") as raised:
        check_component(entry)
    assert told in str(raised.value)


class Deaf(Observer):
    """Marks no method as a hook."""


def test_every_kind_is_told_by_its_name() -> None:
    with pytest.raises(ConformanceError, match=r"^observer mine of the plugin tests: hears of no event"):
        check_component(entry_of(Deaf))


class Miscounts(Metric):
    """Names a count of classes that it does not give."""

    needs = frozenset({"pixels"})
    directions: ClassVar = {"kinds": "higher"}
    class_count = "classes"

    def compute(self, inputs: MetricInputs) -> dict[str, float]:
        return {"kinds": 1.0}


def test_a_metric_that_counts_classes_names_one_of_its_values() -> None:
    with pytest.raises(ConformanceError, match='class_count is "classes", which directions does not have'):
        check_component(entry_of(Miscounts))


@pytest.mark.parametrize("given", ["labels", "targets", "held_out"])
def test_a_metric_is_also_given_what_not_every_generator_has(given: str) -> None:
    class OfConditions(Metric):
        needs = frozenset({"pixels"})
        directions: ClassVar = {}

        def compute(self, inputs: MetricInputs) -> dict[str, float]:
            return {} if getattr(inputs, given) is None else {"of_conditions": 1.0}

    with pytest.raises(ConformanceError, match="gives of_conditions, which directions does not have"):
        check_component(entry_of(OfConditions))


class Misspelled(GANTrainer):
    """Means to override `generator_loss`."""

    def generator_los(self, real_logits: Tensor | None, fake_logits: Tensor) -> Tensor:
        return self.discriminator_losses(fake_logits)

    def discriminator_losses(self, logits: Tensor) -> Tensor:
        return logits.mean()


def test_a_method_that_nearly_overrides_one_is_told() -> None:
    with pytest.raises(ConformanceError, match="its method generator_los is not called: generator_loss, which it res"):
        check_trainer(entry_of(Misspelled))


class Detached(Loss):
    """Gives numbers."""

    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Any:
        return (fake_logits - real_logits).mean().item()

    def generator_loss(self, real_logits: Tensor | None, fake_logits: Tensor) -> Tensor:
        return -fake_logits.mean()


def test_a_loss_that_is_a_number_is_told() -> None:
    with pytest.raises(ConformanceError, match="discriminator_loss gives a float, without a gradient: give a tensor"):
        check_component(entry_of(Detached))


class DistanceConfig(LossConfig):
    """A loss that compares the minibatches of real and generated samples, and has no logit of a sample."""

    mixes_batch: ClassVar[bool] = True


class Distance(Loss):
    """The energy distance of two sets of critic outputs (arXiv 1705.10743): the same with both exchanged."""

    Config = DistanceConfig
    needs_real_logits = True

    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return -self.generator_loss(real_logits, fake_logits)

    def generator_loss(self, real_logits: Tensor | None, fake_logits: Tensor) -> Tensor:
        assert real_logits is not None
        within = [self.mean_distance(each, each) for each in (real_logits, fake_logits)]
        return 2 * self.mean_distance(real_logits, fake_logits) - within[0] - within[1]

    def mean_distance(self, rows: Tensor, others: Tensor) -> Tensor:
        ours, theirs = (each.reshape(len(each), -1) for each in (rows, others))
        return ((ours[:, None] - theirs).square().sum(-1) + 1e-6).sqrt().mean()


class Wrong(Distance):
    """Brings the critic's outputs of real and generated samples together, and the samples apart."""

    def generator_loss(self, real_logits: Tensor | None, fake_logits: Tensor) -> Tensor:
        return -super().generator_loss(real_logits, fake_logits)


def test_a_distance_of_two_minibatches_is_a_loss() -> None:
    check_component(entry_of(Distance))
    with pytest.raises(ConformanceError, match="discriminator_loss rises as the discriminator tells real"):
        check_component(entry_of(Wrong))


class Forgets(GANTrainer):
    """Moves by the gradient of its own process alone."""

    def __init__(self, config: GANTrainerConfig, *, parts: TrainingParts) -> None:
        super().__init__(config, parts=replace(parts, world=World()))


class Thaws(GANTrainer):
    """Sets `requires_grad` of a network and so ends what `init.freeze` began."""

    def update_generator(self, batch: Batch, fake: FakeBatch | None = None) -> dict[str, Tensor]:
        metrics = super().update_generator(batch, fake)
        self.parts.discriminator.requires_grad_(True)
        return metrics


class Restless(Synthetic):
    """Gives other images each time it is opened."""

    def open(self) -> Any:
        return [(Image.fromarray(np.random.default_rng().integers(0, 255, (16, 16, 3), np.uint8)), 0)] * 16


class SeedsNumPy(Synthetic):
    """Seeds NumPy's global generator before it draws."""

    def open(self) -> Any:
        np.random.seed(0)
        return [(np.random.randint(0, 255, (16, 16, 3)).astype(np.uint8), 0) for _ in range(16)]


class SeedsPython(Synthetic):
    """Seeds Python's global generator, and draws nothing."""

    def open(self) -> Any:
        random.seed(0)
        return super().open()


class DrawsFromNumPy(Synthetic):
    """Draws from NumPy's global generator, which does no harm to others."""

    def open(self) -> Any:
        np.random.rand(700)
        return super().open()


class Draws(Penalty):
    """Draws from the global random numbers."""

    def discriminator_term(self, step: PenaltyStep) -> Tensor:
        return step.fake_logits.mean() * torch.rand(())


class Counts(Penalty):
    """Has a term that depends on how often it was taken."""

    def __init__(self, config: PenaltyConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        self.register_buffer("taken", torch.zeros(()))

    def discriminator_term(self, step: PenaltyStep) -> Tensor:
        self.taken += 1
        return step.fake_logits.square().mean() * self.taken


class CountsElsewhere(torch.optim.SGD):
    """Takes smaller steps with time, and does not save how many it has taken."""

    taken = 0

    def step(self, closure: Any = None) -> Any:
        self.taken += 1
        self.param_groups[0]["lr"] = 0.1 / self.taken
        return super().step(closure)


class CountsElsewhereConfig(OptimizerConfig):
    """An optimizer that cannot go on."""

    def build(self, parameters: Any) -> torch.optim.Optimizer:
        return CountsElsewhere(parameters, lr=float(self.lr))


class EncoderConfig(GANTrainerConfig):
    """Has a third network, which turns samples into the latents of the first."""

    code: int = 16

    @property
    def roles(self) -> Any:
        return {**super().roles, "encoder": "generator"}

    def info_for(self, role: str, info: DatasetInfo) -> DatasetInfo:
        code = VectorSpec(self.code)
        return {
            "generator": info,
            "discriminator": DatasetInfo(info.samples, info.labels, code),
            "encoder": DatasetInfo(code, condition=info.samples),
        }[role]

    def batch_for(self, role: str, batch: Batch) -> Batch:
        return Batch(batch.real, condition=batch.real) if role == "encoder" else batch

    def check_parts(self, parts: Any) -> None:
        if parts["generator"].latent_dim != self.code:
            raise ValueError(f"generator.latent_dim must be {self.code}")


class Encodes(GANTrainer):
    """Lets the discriminator judge pairs of a sample and its code, as in BiGAN (arXiv 1605.09782)."""

    Config = EncoderConfig

    def encoded(self, batch: Batch) -> Batch:
        seen = self.config.batch_for("encoder", batch)
        return replace(batch, condition=self.generate(seen, "encoder").samples)

    def discriminator_objective(self, batch: Batch, fake: FakeBatch) -> Any:
        with torch.no_grad():
            pairs = self.encoded(batch)
        return super().discriminator_objective(pairs, replace(fake, condition=fake.latents))

    def generator_objective(self, batch: Batch, fake: FakeBatch) -> Any:
        pairs = self.encoded(batch)
        loss, metrics = super().generator_objective(pairs, replace(fake, condition=fake.latents))
        return loss + self.logits(pairs.real, pairs).mean(), metrics


def test_a_trainer_of_networks_for_codes_is_tested() -> None:
    check_trainer(entry_of(Encodes))


RECONSTRUCTS = """
from math import prod

from ganzoo.plugin import Discriminator, DiscriminatorConfig, GANTrainer, GANTrainerConfig, hookimpl
from torch import nn


class AutoencoderConfig(DiscriminatorConfig):
    '''Judges by the error of a reconstruction.'''


class Autoencoder(Discriminator):
    Config = AutoencoderConfig

    def __init__(self, config, *, info):
        super().__init__(config, info=info)
        self.dense = nn.Linear(prod(info.samples.shape), prod(info.samples.shape))

    def forward(self, samples):
        return -(self.dense(samples.flatten(1)) - samples.flatten(1)).abs()

    def features(self, samples):
        return [self.dense(samples.flatten(1))]


class EnergyConfig(GANTrainerConfig):
    '''Trains with the difference of energies.'''

    def check_parts(self, parts):
        if parts["loss"].name != "wasserstein":
            raise ValueError('needs loss.name = "wasserstein"')
        if parts["discriminator"].name != NAME:
            raise ValueError("needs an autoencoder")


class Energy(GANTrainer):
    Config = EnergyConfig


@hookimpl
def register_architectures(register):
    register("reconstructs", Autoencoder)


@hookimpl
def register_trainers(register):
    register("energy", Energy)
"""


def test_a_trainer_is_tested_with_the_loss_and_the_network_of_its_plugin_that_it_asks_for(tmp_path: Path) -> None:
    for name in ("reconstructs", "dcgan"):
        file = tmp_path / f"{name}.py"
        file.write_text(RECONSTRUCTS.replace("NAME", repr(name)))
        manager = PluginManager().with_files([file])
        entry = manager.registries.trainers["energy"]
        if name == "reconstructs":
            check_component(entry, manager)
        else:
            with pytest.raises(ConformanceError, match="every loss: needs loss"):
                check_component(entry, manager)


class OnVectorsConfig(GeneratorConfig):
    """Takes vectors alone."""

    def check_info(self, info: DatasetInfo) -> None:
        if not isinstance(info.samples, VectorSpec):
            raise ValueError("needs vectors")


class OnVectors(Generator):
    """A dense layer."""

    Config = OnVectorsConfig

    def __init__(self, config: Any, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        given = sum(spec.size for spec in (info.condition,) if isinstance(spec, VectorSpec))
        given += len(info.labels.names) if info.labels and "labels" in self.uses else 0
        self.dense = nn.Linear(config.latent_dim + given, prod(info.samples.shape))

    def forward(self, latents: Tensor, **inputs: Tensor) -> Tensor:  # type: ignore[override]
        samples: Tensor = self.dense(torch.cat([latents, *inputs.values()], 1))
        return samples.tanh().reshape(-1, *self.info.samples.shape)


class FromVectorsConfig(GeneratorConfig):
    """Takes conditions that are vectors."""

    uses: ClassVar[frozenset[str]] = frozenset({"condition"})

    def check_info(self, info: DatasetInfo) -> None:
        if not isinstance(info.condition, VectorSpec):
            raise ValueError("needs conditions that are vectors")


class FromVectors(OnVectors):
    """Makes images of embeddings."""

    Config = FromVectorsConfig


class FromValuesConfig(GeneratorConfig):
    """Takes attributes or continuous labels."""

    uses: ClassVar[frozenset[str]] = frozenset({"labels"})
    refused: ClassVar[tuple[str, ...]] = ("classes",)

    def check_info(self, info: DatasetInfo) -> None:
        if info.labels and info.labels.kind in self.refused:
            raise ValueError(f"needs other labels, and these are {info.labels}")


class FromValues(OnVectors):
    """Makes images of attributes."""

    Config = FromValuesConfig


class FromContinuousConfig(FromValuesConfig):
    """Takes continuous labels."""

    refused = ("classes", "attributes")


class FromContinuous(OnVectors):
    """Makes images of continuous labels."""

    Config = FromContinuousConfig


class RefusesNothingConfig(GeneratorConfig):
    """Takes labels of any kind, it says."""

    uses: ClassVar[frozenset[str]] = frozenset({"labels"})


class RefusesNothing(OnVectors):
    """Is built for continuous labels."""

    Config = RefusesNothingConfig


@pytest.mark.parametrize("cls", [OnVectors, FromVectors, FromValues, FromContinuous])
def test_networks_are_tested_on_the_data_that_they_are_for(cls: type[Generator]) -> None:
    check_component(entry_of(cls))


def test_a_network_that_accepts_data_which_it_cannot_take_is_told_of_them() -> None:
    with pytest.raises(ConformanceError, match=r"it raises .*, for data that `check_info` accepts \(.*10 classes\)$"):
        check_component(entry_of(RefusesNothing))


def entry_of(cls: Any) -> Entry:
    return Entry("mine", cls, cls.Config, "tests")


def test_a_trainer_that_does_not_average_over_the_world_is_told() -> None:
    with pytest.raises(ConformanceError, match="by the gradient of one process: average gradients over all of them"):
        check_trainer(entry_of(Forgets))


def test_a_trainer_that_moves_frozen_parameters_is_told() -> None:
    with pytest.raises(ConformanceError, match=r"moves discriminator\.\S+, which is frozen, as init.freeze keeps para"):
        check_trainer(entry_of(Thaws))


def test_a_dataset_that_differs_between_two_opens_is_told() -> None:
    with pytest.raises(ConformanceError, match="sample 0 differs between two calls of open"):
        check_component(entry_of(Restless))


@pytest.mark.parametrize(("cls", "told"), [(SeedsNumPy, "NumPy's"), (SeedsPython, "Python's")])
def test_a_dataset_that_seeds_a_global_generator_is_told(cls: type[Dataset], told: str) -> None:
    before = random.getstate(), np.random.get_state()[1].tolist()
    with pytest.raises(ConformanceError, match=f"seeds {told} global generator, so that every run of it starts alike"):
        check_component(entry_of(cls))
    check_component(entry_of(DrawsFromNumPy))
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


class TallConfig(ImageDatasetConfig):
    """Takes two numbers as the size, and no single one."""

    image_size: tuple[int, int] = (24, 1)


class Tall(Dataset):
    """Images of one column."""

    Config = TallConfig

    def fingerprint(self) -> Any:
        return ()

    def open(self) -> Any:
        return [(np.full((24, 1, 3), index, np.uint8), None) for index in range(9)]


class LargeConfig(ImageDatasetConfig):
    """Takes large images alone."""

    image_size: int = Field(default=64, ge=32)


class BoundConfig(TallConfig):
    """Takes one size, which is not the default."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.image_size != (8, 2):
            raise ValueError("must be 8×2")
        return self


class SuitedConfig(BoundConfig):
    """Says so."""

    small_options: ClassVar = {"image_size": (8, 2)}


def test_options_shrink_where_the_config_lets_them() -> None:
    for config in (TallConfig, LargeConfig, SuitedConfig):
        check_component(Entry("mine", Tall, config, "tests"))
    assert small_options(Entry("mine", Tall, ImageDatasetConfig, "tests")).image_size == 16
    assert small_options(Entry("mine", Tall, LargeConfig, "tests")).image_size == 64


def test_a_config_that_refuses_the_options_of_the_check_is_told() -> None:
    with pytest.raises(ConformanceError, match=r"must be 8×2\. Give the config a class attribute small_options"):
        check_component(Entry("mine", Tall, BoundConfig, "tests"))
    with pytest.raises(ConformanceError, match="image_size: Value error, is 8; must be"):
        check_component(Entry("mine", Tall, LargeConfig, "tests"), image_size=8)


class WhenConfig(LossConfig):
    """Writes an option in another form than it reads."""

    when: date = date(2020, 1, 1)

    @field_serializer("when")
    def _write(self, when: date) -> int:
        return when.year


def test_an_option_that_does_not_come_back_from_a_recipe_is_told() -> None:
    with pytest.raises(ConformanceError, match="its config does not come back from a recipe: when: "):
        check_component(Entry("mine", Careless, WhenConfig, "tests"))


class FromConfig(LossConfig):
    """Has an option whose key in a recipe is no name in Python."""

    from_: float = Field(default=0.5, alias="from")
    """Where it begins."""


def test_an_option_may_have_an_alias() -> None:
    check_config(Entry("mine", Careless, FromConfig, "tests"))


class Balances(Loss):
    """Keeps a weight from call to call, as BEGAN's trainer does."""

    weight: Tensor = torch.tensor(0.5)

    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        real, fake = softplus(-real_logits).mean(), softplus(fake_logits).mean()
        self.weight = self.weight + 0.5 * (real - fake).detach()
        return real + self.weight * fake

    def generator_loss(self, real_logits: Tensor | None, fake_logits: Tensor) -> Tensor:
        return softplus(-fake_logits).mean()


class Counted(Balances):
    """Falls with each call."""

    weight = torch.tensor(1.0)

    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return softplus(-real_logits).mean() + softplus(fake_logits).mean()

    def generator_loss(self, real_logits: Tensor | None, fake_logits: Tensor) -> Tensor:
        self.weight = self.weight / 2
        return softplus(-fake_logits).mean() * self.weight


class RandomTargets(Counted):
    """Draws a target at each call, from random numbers that a resumed run goes on with."""

    def generator_loss(self, real_logits: Tensor | None, fake_logits: Tensor) -> Tensor:
        return softplus(-fake_logits).mean() * (0.9 + 0.1 * torch.rand(()))


@pytest.mark.parametrize(("cls", "method"), [(Balances, "discriminator_loss"), (Counted, "generator_loss")])
def test_a_loss_with_a_state_is_told(cls: type[Loss], method: str) -> None:
    check_component(entry_of(RandomTargets))
    with pytest.raises(ConformanceError, match=f"{method} gives another value for the same logits: a loss keeps not"):
        check_component(entry_of(cls))


def test_penalties_with_a_state_pass_and_those_that_draw_elsewhere_do_not() -> None:
    check_component(entry_of(Counts))
    with pytest.raises(ConformanceError, match=r"other values for the same rng: draw with `generator=step\.rng`"):
        check_component(entry_of(Draws))


class Strong(Penalty):
    """Logs an option, which without a schedule is a number."""

    class Config(PenaltyConfig):
        """Its options."""

        strength: Scheduled[float] = 0.1
        """How strong."""

    def discriminator_term(self, step: PenaltyStep) -> Tensor:
        return self.option("strength") * step.fake_logits.square().mean()

    def metrics(self) -> dict[str, Tensor]:
        return {"strength": self.option("strength")}


class Unlogged(Strong):
    """Logs a value of each sample."""

    def metrics(self) -> dict[str, Tensor]:
        return {"each": torch.zeros(3)}


class Reseeds(Strong):
    """Seeds the process's random numbers."""

    def discriminator_term(self, step: PenaltyStep) -> Tensor:
        torch.manual_seed(3)
        return super().discriminator_term(step)


def test_what_a_penalty_logs_is_a_scalar_and_it_leaves_the_seed_alone() -> None:
    check_component(entry_of(Strong))
    with pytest.raises(ConformanceError, match='the metric "each" must be a scalar'):
        check_component(entry_of(Unlogged))
    with pytest.raises(ConformanceError, match="seeds torch's global generator, so that every run"):
        check_component(entry_of(Reseeds))


def test_an_optimizer_that_cannot_go_on_is_told() -> None:
    entry = Entry("mine", CountsElsewhereConfig, CountsElsewhereConfig, "tests")
    with pytest.raises(ConformanceError, match="goes on differently from a saved state: keep all of it in"):
        check_component(entry)


class Careless(Loss):
    """Fails where it is built."""

    def __init__(self, config: LossConfig, *, info: DatasetInfo) -> None:
        raise self.error

    error: Exception = KeyError("here")
    discriminator_loss = generator_loss = staticmethod(torch.add)  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UnfitDataError("needs vectors"), r"^loss mine of the plugin tests: needs vectors$"),
        (KeyError("here"), "^loss mine of the plugin tests: raises KeyError: 'here'$"),
    ],
)
def test_any_error_of_a_component_is_told_with_its_name(
    error: Exception, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Careless, "error", error)
    with pytest.raises(ConformanceError, match=told):
        check_component(entry_of(Careless))


class ScheduledConfig(LossConfig):
    """Lets the loss change over a run."""

    margins: tuple[Scheduled[float], Scheduled[float]] = (1.0, 1.0)
    """For real and for generated samples."""


def test_a_schedule_where_nothing_follows_it_is_told() -> None:
    with pytest.raises(ConformanceError, match="the options margins take a schedule, and only penalties, trainers"):
        check_component(Entry("mine", RandomTargets, ScheduledConfig, "tests"))


class RenamedConfig(OptimizerConfig):
    """Calls an option otherwise than torch does."""

    mu: Scheduled[float] = 0.9
    """Momentum."""

    def build(self, parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=float(self.lr), momentum=float(self.mu))  # type: ignore[arg-type]


def test_an_optimizer_whose_groups_lack_a_scheduled_option_is_told() -> None:
    with pytest.raises(ConformanceError, match='mu takes a schedule, and param_groups have no "mu"'):
        check_component(Entry("mine", RenamedConfig, RenamedConfig, "tests"))


def test_plugin_files_are_tested_from_the_command_line(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text(FILE)
    bad.write_text(FILE.replace("softplus(-fake_logits)", "softplus(fake_logits)"))
    passed = CliRunner().invoke(app, ["test-plugin", str(good)])
    assert (passed.exit_code, passed.stdout) == (0, "conforms loss smooth\n")
    assert passed.stderr == "conforming: 1 of 1\n"
    failed = CliRunner().invoke(app, ["test-plugin", str(bad)])
    assert failed.exit_code == 1
    assert "fails    loss smooth of the plugin bad.py" in failed.stdout
    assert "generator_loss rises as generated images get higher logits: turn its sign" in failed.stdout


PENALTY = """
from math import prod

from torch import nn
from ganzoo.plugin import Generator, GeneratorConfig, Penalty, PenaltyConfig, hookimpl


class MappedConfig(GeneratorConfig):
    "A dense generator with a mapping."


class Mapped(Generator):
    Config = MappedConfig

    def __init__(self, config, *, info):
        super().__init__(config, info=info)
        self.mapping = nn.Linear(config.latent_dim, 8)
        self.output = nn.Linear(8, prod(info.samples.shape))

    def forward(self, latents):
        return self.output(self.mapping(latents)).tanh().reshape(-1, *self.info.samples.shape)


class SmallStylesConfig(PenaltyConfig):
    "The mean square of what a mapping gives."


class SmallStyles(Penalty):
    Config = SmallStylesConfig

    def setup(self, generator, discriminator):
        if not hasattr(generator, "mapping"):
            raise ValueError("needs a generator with a mapping")

    def generator_term(self, step):
        return step.generator.mapping(step.latents).square().mean()


@hookimpl
def register_architectures(register):
    register("mapped", Mapped)


@hookimpl
def register_losses(register):
    register("small_styles", SmallStyles)
"""


def test_a_penalty_of_a_plugin_file_is_tested_with_the_generators_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "mapped.py").write_text(PENALTY)
    ended = CliRunner().invoke(app, ["test-plugin", str(tmp_path / "mapped.py")])
    assert ended.stdout == "conforms generator mapped\nconforms penalty small_styles\n"
    assert ended.stderr == "conforming: 2 of 2\n"


def test_a_distribution_has_its_name_however_it_is_written() -> None:
    assert components_of("Ganzoo_DCGAN") == components_of("ganzoo-dcgan") != []


def test_commands_and_hooks_are_tested_from_the_command_line(tmp_path: Path) -> None:
    good, untyped, missing, empty = (tmp_path / f"{name}.py" for name in ("good", "untyped", "missing", "empty"))
    good.write_text(COMMAND.format(place="good:count", type="int"))
    untyped.write_text(COMMAND.format(place="untyped:count", type="int | str"))
    missing.write_text(COMMAND.format(place="missing:cuont", type="int"))
    empty.write_text("from ganzoo.plugin import hookimpl\n@hookimpl\ndef register_losses(register): pass\n")
    passed = CliRunner().invoke(app, ["test-plugin", str(good)])
    assert (passed.exit_code, passed.stdout) == (0, "conforms command count\nconforms hook step_ended\n")
    assert passed.stderr == "conforming: 2 of 2\n"
    failed = CliRunner().invoke(app, ["test-plugin", str(untyped)])
    assert failed.exit_code == 1
    assert "fails    command count of the plugin untyped.py" in failed.stdout
    assert "typer makes no command of" in failed.stdout
    failed = CliRunner().invoke(app, ["test-plugin", str(missing)])
    assert failed.exit_code == 1
    assert 'fails    the command "count" of the plugin missing.py' in failed.stdout
    with pytest.raises(PluginError, match=r"empty\.py: nothing to check: it has no component, no command"):
        CliRunner().invoke(app, ["test-plugin", str(empty)], catch_exceptions=False)


COMMAND = """
from ganzoo.plugin import hookimpl


def count(top: {type} = None) -> None:
    "Count."


@hookimpl
def register_commands(register):
    register("count", "{place}", help="Count.")


@hookimpl
def step_ended(run, step):
    pass
"""
FILE = """
from torch.nn.functional import softplus

from ganzoo.plugin import Loss, hookimpl


class Smooth(Loss):
    def discriminator_loss(self, real_logits, fake_logits):
        return softplus(-real_logits).mean() + softplus(fake_logits).mean()

    def generator_loss(self, real_logits, fake_logits):
        return softplus(-fake_logits).mean()


@hookimpl
def register_losses(register):
    register("smooth", Smooth)
"""
