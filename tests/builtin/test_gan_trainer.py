"""The adversarial trainer against a loop written by hand, and what it leaves behind."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ganzoo.builtin.gan_trainer import GANTrainer
from ganzoo.builtin.losses import NonSaturating
from ganzoo.builtin.penalties import R1, R2, GradientPenalty
from ganzoo.components.dataset import Batch, FakeBatch
from ganzoo.components.network import Discriminator, Generator
from ganzoo.components.options import PenaltyConfig
from ganzoo.components.penalty import Penalty, PenaltyStep
from ganzoo.components.spec import DatasetInfo, ImageSpec
from ganzoo.components.trainer import TrainingParts
from ganzoo.components.world import World
from ganzoo.errors import RecipeError, RequestError, TrainingError
from ganzoo.recipe.model import Recipe
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.runtime.device import Compute
from ganzoo.runtime.random_state import seed_everything
from ganzoo.training.build import build_networks, build_run

FACTS = DatasetInfo(ImageSpec(3, 16, 16))
BATCH = 8

Make = Callable[..., GANTrainer]


@pytest.fixture
def make(tables: dict, parse: Callable[..., Recipe], manager: PluginManager) -> Make:
    """A trainer: `make(discriminator_steps=2, penalties={…})`."""

    def build(
        *,
        penalties: Mapping[str, Penalty] | None = None,
        autocast: Callable[[], Any] = nullcontext,
        total_steps: int = 10,
        **options: Any,
    ) -> GANTrainer:
        tables["trainer"] = {"name": "adversarial", "batch_size": BATCH, **options}
        recipe = parse(tables)
        seed_everything(0)
        networks = build_networks(recipe, manager, FACTS, Compute(torch.device("cpu"), "fp32", ""))
        parts = TrainingParts(
            networks=networks,
            loss=NonSaturating(NonSaturating.Config(), info=FACTS),
            rng=torch.Generator().manual_seed(5),
            autocast=autocast,
            penalties=penalties or {},
            total_steps=total_steps,
        )
        return GANTrainer(recipe.trainer, parts=parts)  # type: ignore[arg-type]

    return build


def batches(trainer: GANTrainer, steps: int) -> list[Batch]:
    rng = torch.Generator().manual_seed(9)
    count = BATCH * trainer.config.batches_per_step
    return [Batch(torch.rand(count, 3, 16, 16, generator=rng) * 2 - 1) for _ in range(steps)]


@dataclass
class ByHand:
    """The textbook loop: no freezing, no reuse of graphs across updates, plain torch."""

    generator: Generator
    discriminator: Discriminator
    rng: torch.Generator
    optimizer: type[torch.optim.Optimizer]
    options: dict[str, Any]

    def __post_init__(self) -> None:
        self.g = self.optimizer(self.generator.parameters(), **self.options)
        self.d = self.optimizer(self.discriminator.parameters(), **self.options)
        self.discriminator_gradients: list[Tensor] = []

    @classmethod
    def of(
        cls, trainer: GANTrainer, optimizer: type[torch.optim.Optimizer] = torch.optim.Adam, **options: Any
    ) -> ByHand:
        generator, discriminator = copy.deepcopy((trainer.parts.generator, trainer.parts.discriminator))
        rng = torch.Generator()
        rng.set_state(trainer.parts.rng.get_state())
        return cls(generator, discriminator, rng, optimizer, options or {"lr": 2e-4, "betas": (0.5, 0.999)})

    def noise(self) -> Tensor:
        return torch.randn(BATCH, 8, generator=self.rng)

    def update_discriminator(self, real: Tensor, z: Tensor, *, separate: bool = False, running: bool = False) -> None:
        with torch.no_grad():
            fake = copy.deepcopy(self.generator).eval()(z) if running else self.generator(z)
        real_part = lambda: cross_entropy(self.discriminator(real), 1) / 2  # noqa: E731
        fake_part = lambda: cross_entropy(self.discriminator(fake), 0) / 2  # noqa: E731
        for loss in (real_part, fake_part) if separate else (lambda: real_part() + fake_part(),):
            self.d.zero_grad()
            loss().backward()
            self.d.step()
        self.discriminator_gradients = [p.grad.clone() for p in self.discriminator.parameters()]

    def update_generator(self, z: Tensor, *, statistics_gathered: bool = False) -> float:
        buffers = copy.deepcopy(dict(self.generator.named_buffers()))
        loss = cross_entropy(self.discriminator(self.generator(z)), 1)
        self.g.zero_grad()
        loss.backward()
        self.g.step()
        if statistics_gathered:  # these latents have been through the generator before
            for name, buffer in self.generator.named_buffers():
                buffer.copy_(buffers[name])
        return loss.item()


def cross_entropy(logits: Tensor, target: int) -> Tensor:
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def assert_same(trainer: GANTrainer, hand: ByHand, *, discriminator_statistics: bool = True) -> None:
    expected = hand.generator.state_dict()
    for name, value in trainer.parts.generator.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6, msg=f"generator {name}")
    expected = hand.discriminator.state_dict()
    for name, value in trainer.parts.discriminator.state_dict().items():
        if discriminator_statistics or ("running" not in name and "tracked" not in name):
            torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6, msg=f"discriminator {name}")
    assert torch.equal(trainer.parts.rng.get_state(), hand.rng.get_state())


def test_one_update_of_each_on_one_minibatch(make: Make):
    trainer = make()
    hand = ByHand.of(trainer)
    for batch in batches(trainer, 3):
        metrics = trainer.train_step(batch)
        z = hand.noise()
        hand.update_discriminator(batch.real, z)
        loss = hand.update_generator(z, statistics_gathered=True)
        assert metrics["loss/generator"].item() == pytest.approx(loss, rel=1e-5)
    assert_same(trainer, hand)


def test_fresh_fakes_for_the_generator(make: Make):
    trainer = make(fake_batch="fresh")
    hand = ByHand.of(trainer)
    for batch in batches(trainer, 3):
        trainer.train_step(batch)
        hand.update_discriminator(batch.real, hand.noise())
        hand.update_generator(hand.noise())
    assert_same(trainer, hand)


def test_two_discriminator_updates_each_on_its_own_minibatch(make: Make):
    trainer = make(discriminator_steps=2)
    hand = ByHand.of(trainer)
    for batch in batches(trainer, 3):
        assert len(batch) == 16
        trainer.train_step(batch)
        for real in batch.real.chunk(2):
            z = hand.noise()
            hand.update_discriminator(real, z)
        hand.update_generator(z, statistics_gathered=True)
    assert_same(trainer, hand)


def test_order_of_the_dcgan_authors(make: Make):
    trainer = make(schedule="alternate_minibatches", discriminator_steps=2)
    hand = ByHand.of(trainer)
    for batch in batches(trainer, 3):
        assert len(batch) == 24
        trainer.train_step(batch)
        _, *reals = batch.real.chunk(3)
        hand.update_generator(hand.noise())
        for real in reals:
            hand.update_discriminator(real, hand.noise())
    assert_same(trainer, hand)


def test_separate_updates_on_real_and_fake(make: Make):
    trainer = make(discriminator_update="separate", fake_batch="fresh", fake_statistics="running")
    hand = ByHand.of(trainer)
    for batch in batches(trainer, 3):
        trainer.train_step(batch)
        hand.update_discriminator(batch.real, hand.noise(), separate=True, running=True)
        hand.update_generator(hand.noise())
    assert_same(trainer, hand, discriminator_statistics=False)


def test_separate_updates_are_refused_where_they_would_leave_out_an_objective(make: Make):
    class OneTermMore(GANTrainer):
        def discriminator_objective(self, batch, fake):
            objective, metrics = super().discriminator_objective(batch, fake)
            return objective + self.logits(batch.real, batch).square().mean(), metrics

    class Both(OneTermMore):
        def learn_from_real_first(self, batch, fake):
            return self.discriminator_objective(batch, fake)

    trainer = make(discriminator_update="separate")
    Both(trainer.config, parts=trainer.parts)
    with pytest.raises(RequestError, match='discriminator_update: set it to "joint"'):
        OneTermMore(trainer.config, parts=trainer.parts)
    OneTermMore(make().config, parts=trainer.parts)


@pytest.mark.parametrize(
    ("options", "updates"),
    [({}, 1), ({"discriminator_steps": 2}, 2), ({"discriminator_update": "separate"}, 2), ({"own_update": True}, 2)],
    ids=str,
)
def test_weights_are_clipped_after_every_update_of_the_discriminator(make: Make, options: dict, updates: int):
    class Halving(Penalty):
        @torch.no_grad()
        def after_discriminator_step(self, discriminator: Discriminator) -> None:
            for parameter in discriminator.parameters():
                parameter.div_(2)

    own = {"r1": R1(R1.Config(weight=0.0, own_update=True), info=FACTS)} if options == {"own_update": True} else {}
    still = {"discriminator_optimizer": {"name": "sgd", "lr": 1e-12}}
    trainer = make(
        penalties={"halving": Halving(PenaltyConfig(), info=FACTS), **own}, **still, **({} if own else options)
    )
    before = [parameter.detach().clone() for parameter in trainer.parts.discriminator.parameters()]
    trainer.train_step(*batches(trainer, 1))
    for parameter, first in zip(trainer.parts.discriminator.parameters(), before, strict=True):
        torch.testing.assert_close(parameter.detach(), first / 2**updates)


@pytest.mark.parametrize("update", ["joint", "separate"])
def test_the_discriminator_sees_augmented_images_alone(make: Make, update: str):
    class Darkening(Penalty):
        def transform_images(self, images: Tensor, rng: torch.Generator) -> Tensor:
            return images / 4

    trainer = make(
        discriminator_update=update,
        fake_batch="fresh",
        penalties={"darkening": Darkening(PenaltyConfig(), info=FACTS)},
    )
    seen: list[float] = []
    trainer.parts.discriminator.register_forward_pre_hook(lambda _, given: seen.append(given[0].abs().max().item()))
    trainer.train_step(*batches(trainer, 1))
    assert len(seen) == (3 if update == "joint" else 4)
    assert max(seen) <= 0.25


def test_other_optimizers_and_weight_decay(make: Make):
    options = {"lr": 0.05, "momentum": 0.5, "weight_decay": 0.01}
    trainer = make(generator_optimizer={"name": "sgd", **options}, discriminator_optimizer={"name": "sgd", **options})
    hand = ByHand.of(trainer, torch.optim.SGD, **options)
    for batch in batches(trainer, 3):
        trainer.train_step(batch)
        z = hand.noise()
        hand.update_discriminator(batch.real, z)
        hand.update_generator(z, statistics_gathered=True)
    assert_same(trainer, hand)


def test_discriminator_gathers_no_gradient_from_the_generators_update(make: Make):
    trainer = make()
    hand = ByHand.of(trainer)
    (batch,) = batches(trainer, 1)
    trainer.train_step(batch)
    hand.update_discriminator(batch.real, hand.noise())
    for parameter, expected in zip(trainer.parts.discriminator.parameters(), hand.discriminator_gradients, strict=True):
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-5, atol=1e-6)


def test_everything_is_trainable_after_a_step(make: Make):
    trainer = make()
    frozen = next(trainer.parts.discriminator.parameters())
    frozen.requires_grad_(False)
    before = frozen.clone()
    trainer.train_step(batches(trainer, 1)[0])
    assert all(parameter.requires_grad for parameter in trainer.parts.generator.parameters())
    assert [p.requires_grad for p in trainer.parts.discriminator.parameters()].count(False) == 1
    assert torch.equal(frozen, before)


def test_frozen_discriminator_thaws_after_an_error(make: Make):
    class Failing(Penalty):
        def generator_term(self, step: PenaltyStep) -> Tensor:
            raise RuntimeError("no")

    trainer = make(penalties={"failing": Failing(PenaltyConfig(), info=FACTS)})
    with pytest.raises(RuntimeError, match="no"):
        trainer.train_step(batches(trainer, 1)[0])
    assert all(parameter.requires_grad for parameter in trainer.parts.discriminator.parameters())


@pytest.mark.parametrize(
    ("change", "given"),
    [
        (lambda samples: samples[..., :-1], f"({BATCH}, 3, 16, 15)"),
        (lambda samples: samples[1:], f"({BATCH - 1}, 3, 16, 16)"),
        (lambda samples: (samples, samples), "a tuple"),
    ],
)
def test_samples_of_a_wrong_shape_are_told_and_not_trained_on(make: Make, change: Callable[[Tensor], Any], given: str):
    trainer = make()
    forward = trainer.parts.generator.forward
    trainer.parts.generator.forward = lambda latents: change(forward(latents))
    with pytest.raises(TrainingError) as error:
        trainer.train_step(Batch(torch.rand(BATCH, 3, 16, 16)))
    assert str(error.value).startswith(f'generator: "dcgan" returns {given}; make its forward return')


@pytest.mark.parametrize(
    ("change", "given"),
    [
        (lambda logits: logits[1:], f"({BATCH - 1},)"),
        (lambda logits: logits.mean(), "a Tensor"),
        (lambda logits: {"logits": logits}, "a dict"),
        (lambda logits: None, "a NoneType"),
    ],
)
def test_logits_of_a_wrong_number_are_told_and_not_trained_on(make: Make, change: Callable[[Tensor], Any], given: str):
    trainer = make()
    forward = trainer.parts.discriminator.forward
    trainer.parts.discriminator.forward = lambda samples: change(forward(samples))
    with pytest.raises(TrainingError) as error:
        trainer.train_step(Batch(torch.rand(BATCH, 3, 16, 16)))
    told = f'discriminator: "dcgan" returns {given}; make its forward return a tensor of shape ({BATCH}, …), a'
    assert str(error.value).startswith(told)


def test_metrics_are_detached_scalars(make: Make):
    trainer = make()
    metrics = trainer.train_step(batches(trainer, 1)[0]) | trainer.expensive_metrics()
    assert sorted(metrics) == [
        "gradient_norm/discriminator",
        "gradient_norm/generator",
        "loss/discriminator",
        "loss/generator",
        "lr/discriminator",
        "lr/generator",
        "probability/fake",
        "probability/real",
    ]
    for value in metrics.values():
        assert value.shape == ()
        assert not value.requires_grad
        assert value.dtype == torch.float32


@pytest.mark.parametrize(("start", "copies"), [(0, 1), (3, 3)])
def test_average_of_the_generator(make: Make, start: int, copies: int):
    """A copy up to step `ema_start` (and after the first step), then decay · average + (1 − decay) · weights.

    The decay of statistics is no more than (1 + n) / (10 + n) after n updates.
    """
    trainer = make(ema_decay=0.75, ema_start=start)
    average: dict[str, Tensor] = {}
    for number, batch in enumerate(batches(trainer, 5), start=1):
        trainer.train_step(batch)
        now = {k: v.clone() for k, v in trainer.parts.generator.state_dict().items() if v.is_floating_point()}
        decay = {k: (1 + number - copies) / (10 + number - copies) if "running" in k else 0.75 for k in now}
        average = now if number <= copies else {k: decay[k] * average[k] + (1 - decay[k]) * now[k] for k in now}
    kept = trainer.networks()["generator_ema"].state_dict()
    assert "blocks.0.1.running_var" in average
    for name, value in average.items():
        torch.testing.assert_close(kept[name], value)
    assert not torch.equal(kept["blocks.0.0.weight"], trainer.parts.generator.state_dict()["blocks.0.0.weight"])


def test_no_average_unless_asked_for(make: Make):
    assert set(make().networks()) == {"generator", "discriminator"}


def test_gradient_clipping(make: Make):
    free = make()
    (batch,) = batches(free, 1)
    free.train_step(batch)
    norm = gradient_norm(free.parts.generator)
    clipped = make(generator_grad_clip=norm / 10)
    clipped.train_step(batch)
    assert clipped.expensive_metrics()["gradient_norm/generator"].item() == pytest.approx(norm, rel=1e-4)
    assert gradient_norm(clipped.parts.generator) == pytest.approx(norm / 10, rel=1e-4)
    loose = make(generator_grad_clip=norm * 10, discriminator_grad_clip=1e-3)
    loose.train_step(batch)
    assert gradient_norm(loose.parts.discriminator) == pytest.approx(1e-3, rel=1e-3)
    assert loose.expensive_metrics()["gradient_norm/discriminator"] > 1e-3


def test_gradient_norms_are_those_of_the_last_updates(make: Make):
    trainer = make(discriminator_steps=3)
    trainer.train_step(batches(trainer, 1)[0])
    for name in ("generator", "discriminator"):
        measured = trainer.expensive_metrics()[f"gradient_norm/{name}"].item()
        assert measured == pytest.approx(gradient_norm(trainer.networks()[name]), rel=1e-5)


def test_gradient_norms_leave_out_the_parameters_of_penalties(make: Make):
    trainer = make(penalties={"recording": Recording(PenaltyConfig(weight=100.0))})
    trainer.train_step(*batches(trainer, 1))
    measured = trainer.expensive_metrics()["gradient_norm/discriminator"].item()
    assert measured == pytest.approx(gradient_norm(trainer.parts.discriminator), rel=1e-5)


def gradient_norm(network: nn.Module) -> float:
    return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]).norm().item()


def test_learning_rates_fall_to_zero(make: Make):
    trainer = make(
        total_steps=8,
        generator_optimizer={"name": "adam", "lr": {"from": 0.4, "to": 0.0, "start": 0.5}},
        discriminator_optimizer={"name": "adam", "lr": {"from": 0.8, "to": 0.0, "start": 0.5}},
    )
    rates = [trainer.train_step(batch) for batch in batches(trainer, 8)]
    expected = [0.4, 0.4, 0.4, 0.4, 0.4, 0.3, 0.2, 0.1]
    assert [m["lr/generator"].item() for m in rates] == pytest.approx(expected)
    assert [m["lr/discriminator"].item() for m in rates] == pytest.approx([2 * lr for lr in expected])


def test_bf16_computes_in_bf16_and_keeps_losses_and_weights_in_fp32(make: Make):
    seen: list[torch.dtype] = []

    class Witness(Penalty):
        def discriminator_term(self, step: PenaltyStep) -> Tensor | None:
            seen.extend([step.fake_logits.dtype, step.real_logits.dtype, step.fake.dtype])
            return None

    computed: list[torch.dtype] = []
    trainer = make(
        autocast=lambda: torch.autocast("cpu", torch.bfloat16),
        penalties={"w": Witness(PenaltyConfig(), info=FACTS)},
    )
    hand = ByHand.of(trainer)
    hook = trainer.parts.discriminator.register_forward_hook(lambda m, i, out: computed.append(out.dtype))
    (batch,) = batches(trainer, 1)
    metrics = trainer.train_step(batch)
    hook.remove()
    assert set(seen) == {torch.float32}
    assert set(computed) == {torch.bfloat16}
    assert {p.dtype for p in trainer.parts.generator.parameters()} == {torch.float32}
    z = hand.noise()
    hand.update_discriminator(batch.real, z)
    assert metrics["loss/generator"].item() == pytest.approx(hand.update_generator(z), rel=0.02)


def test_r1_loses_nothing_to_bf16(make: Make):
    """It is computed in fp32, so that a recipe with both needs no warning."""
    terms = []
    for autocast in (nullcontext, lambda: torch.autocast("cpu", torch.bfloat16)):
        trainer = make(autocast=autocast, penalties={"r1": R1(R1.Config(), info=FACTS)})
        terms.append(trainer.train_step(*batches(trainer, 1))["penalty/r1"].item())
    assert terms[0] > 0
    assert terms[0] == pytest.approx(terms[1], rel=1e-6)


class TwoDiscriminators(GANTrainer):
    """Both judge every sample, and their logits stand side by side."""

    def logits(self, samples: Tensor, beside: Batch | FakeBatch, role: str = "discriminator") -> Tensor:
        each = (super(TwoDiscriminators, self).logits(samples, beside, name) for name in self.parts.discriminators)
        return torch.stack(list(each), 1)


@pytest.mark.parametrize("at", ["unaugmented", "augmented"])
@pytest.mark.parametrize("cls", [R1, R2, GradientPenalty])
def test_penalties_on_gradients_reach_every_discriminator_in_either_precision(
    make: Make, cls: type[Penalty], at: str
) -> None:
    terms = []
    for autocast in (nullcontext, lambda: torch.autocast("cpu", torch.bfloat16)):
        one = make(autocast=autocast, penalties={"it": cls(cls.Config(at=at), info=FACTS)})
        second = build_second(one.parts.discriminator)
        trainer = TwoDiscriminators(one.config, parts=replace(one.parts, networks=one.parts.networks | second))
        (batch,) = batches(trainer, 1)
        fake = FakeBatch(batch.real.flip(0), torch.zeros(BATCH, 8))
        trainer.begin_step()
        penalties = trainer.penalties.due("discriminator")
        step = trainer.discriminator_step(batch, fake, penalties)
        (term,) = trainer.penalty_terms("discriminator", step, penalties).values()
        term.backward()
        terms.append(term.item())
        assert all(gradient_norm(network) > 0 for network in trainer.parts.discriminators.values())
        assert step.logits(batch.real).shape == (BATCH, 2)
    assert terms[0] == pytest.approx(terms[1], rel=1e-6)


def build_second(first: Discriminator) -> dict[str, Discriminator]:
    """Return a discriminator like the first with other weights."""
    second = copy.deepcopy(first)
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.mul_(-0.5)
    return {"second": second}


class Recording(Penalty):
    """Adds `value` times its own parameter to both losses, and darkens every image."""

    def __init__(self, config: PenaltyConfig, value: float = 1.0) -> None:
        super().__init__(config, info=FACTS)
        self.value = value
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.calls: list[str] = []

    def transform_images(self, images: Tensor, rng: torch.Generator) -> Tensor:
        self.calls.append("transform")
        return images * 0.5

    def discriminator_term(self, step: PenaltyStep) -> Tensor:
        self.calls.append("discriminator_term")
        assert step.real_logits is not None
        torch.testing.assert_close(step.logits(step.real), step.real_logits)
        assert not step.fake.requires_grad
        return self.value * self.scale

    def generator_term(self, step: PenaltyStep) -> Tensor:
        self.calls.append("generator_term")
        assert step.fake.requires_grad
        assert step.real.abs().max() <= 0.5, "real images are as dark as the discriminator sees them"
        return self.value * self.scale.detach()

    def after_discriminator_step(self, discriminator: Discriminator) -> None:
        self.calls.append("after")

    def metrics(self) -> dict[str, Tensor]:
        return {"scale": self.scale}


def test_penalty_takes_part_in_both_updates(make: Make):
    penalty = Recording(PenaltyConfig(weight=3.0))
    trainer = make(
        penalties={"recording": penalty},
        discriminator_steps=2,
        discriminator_optimizer={"name": "sgd", "lr": 0.1},
    )
    (batch,) = batches(trainer, 1)
    metrics = trainer.train_step(batch)
    update = ["transform", "transform", "discriminator_term", "after"]
    assert penalty.calls == [*update, *update, "transform", "transform", "generator_term"]
    # Two updates of a parameter whose gradient is weight · value = 3.
    assert penalty.scale.item() == pytest.approx(2.0 - 2 * 0.1 * 3)
    assert metrics["penalty/recording"].item() == pytest.approx(3 * 1.7)
    assert metrics["penalty/recording_generator"].item() == pytest.approx(3 * 1.4)
    assert metrics["penalty/recording_scale"].item() == pytest.approx(1.4)
    assert not any(value.requires_grad for value in metrics.values())
    assert set(trainer.networks()) == {"generator", "discriminator", "penalty_recording"}


def test_lazy_penalty_comes_every_nth_step_n_times_as_strong(make: Make):
    penalty = Recording(PenaltyConfig(weight=0.5, interval=3), value=0.0)
    lazy = Recording(PenaltyConfig(weight=0.5, interval=3))
    lazy.scale.requires_grad_(False)
    trainer = make(penalties={"zero": penalty, "lazy": lazy})
    shown = [trainer.train_step(batch).get("penalty/lazy") for batch in batches(trainer, 7)]
    assert [None if value is None else value.item() for value in shown] == [3.0, None, None, 3.0, None, None, 3.0]


def test_penalties_add_up(make: Make, manager: PluginManager):
    """The discriminator's step is that of loss + 2 · R1 + 3 · R2."""
    penalties = {
        name: manager.registries.penalties[name].load()(
            manager.registries.penalties[name].config(name=name, weight=weight), info=FACTS
        )
        for name, weight in (("r1", 2.0), ("r2", 3.0))
    }
    sgd = {"name": "sgd", "lr": 0.1}
    trainer = make(penalties=penalties, discriminator_optimizer=sgd)
    hand = ByHand.of(trainer, torch.optim.SGD, lr=0.1)
    (batch,) = batches(trainer, 1)
    metrics = trainer.train_step(batch)
    fake = hand.generator(hand.noise()).detach().requires_grad_(True)
    real = batch.real.clone().requires_grad_(True)
    discriminator = hand.discriminator
    loss = (cross_entropy(discriminator(real), 1) + cross_entropy(discriminator(fake), 0)) / 2
    total, terms = loss, []
    for images, weight in ((real, 2.0), (fake, 3.0)):
        (gradient,) = torch.autograd.grad(discriminator(images).sum(), images, create_graph=True)
        terms.append(weight / 2 * gradient.square().sum() / BATCH)
        total = total + terms[-1]
    total.backward()
    hand.d.step()
    assert metrics["loss/discriminator"].item() == pytest.approx(loss.item(), rel=1e-5)
    assert metrics["penalty/r1"].item() == pytest.approx(terms[0].item(), rel=1e-4)
    assert metrics["penalty/r2"].item() == pytest.approx(terms[1].item(), rel=1e-4)
    for ours, theirs in zip(trainer.parts.discriminator.parameters(), discriminator.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_state_is_plain_and_brings_everything_back(make: Make):
    options = {
        "ema_decay": 0.9,
        "ema_start": 1,
        "generator_optimizer": {"name": "adam", "lr": {"from": 2e-4, "to": 0.0}},
    }
    trainer = make(**options)
    first, second, third = batches(trainer, 3)
    trainer.train_step(first)
    trainer.train_step(second)
    networks = {name: copy.deepcopy(network.state_dict()) for name, network in trainer.networks().items()}
    file = io.BytesIO()
    torch.save(trainer.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    noise = trainer.parts.rng.get_state()

    again = make(**options)
    for name, network in again.networks().items():
        network.load_state_dict(networks[name])
    again.load_state_dict(state)
    again.parts.rng.set_state(noise)
    metrics = trainer.train_step(third)
    assert {k: v.item() for k, v in again.train_step(third).items()} == {k: v.item() for k, v in metrics.items()}
    for name, network in trainer.networks().items():
        for key, value in network.state_dict().items():
            assert torch.equal(value, again.networks()[name].state_dict()[key]), f"{name} {key}"


def test_running_statistics_need_fresh_fakes(make: Make):
    with pytest.raises(RecipeError, match=r'trainer: .* needs fake_batch = "fresh"'):
        make(fake_statistics="running")


@pytest.mark.parametrize("loss", ["non_saturating", "hinge", "least_squares", "wasserstein", "relativistic_pairing"])
def test_maps_of_logits_train_the_networks(tables: dict, parse: Any, manager: PluginManager, loss: str):
    """The metrics are those of the mean over all patches."""
    tables |= {
        "discriminator": {"name": "patchgan", "width": 4, "depth": 1},
        "loss": {"name": loss},
        "penalties": [{"name": "r1"}, {"name": "adaptive_augment"}],
    }
    run = build_run(parse(tables), manager, warn=print)
    trainer, batch = run.trainer, run.loader.next()
    assert isinstance(trainer, GANTrainer)
    side = batch.real.shape[-1] // 2 - 2
    with torch.no_grad():
        logits = trainer.logits(batch.real, batch)
    assert logits.shape == (len(batch), 1, side, side)
    metrics = trainer.train_step(batch)
    if loss == "non_saturating":
        assert metrics["probability/real"].item() == pytest.approx(logits.sigmoid().mean().item(), rel=1e-4)
    else:  # a critic's logits are no probabilities' under sigmoid
        assert metrics["logits/real"].item() == pytest.approx(logits.mean().item(), rel=1e-4)
        assert not any(name.startswith("probability/") for name in metrics)
    assert all(value.isfinite() and value.ndim == 0 for value in metrics.values())


class Halving(Penalty):
    """Darkens every image by a random factor, the same for all."""

    def transform_images(self, images: Tensor, rng: torch.Generator) -> Tensor:
        return images * torch.rand((), generator=rng)


@pytest.mark.parametrize("at", ["unaugmented", "augmented"])
@pytest.mark.parametrize("bf16", [False, True])
def test_r1_differentiates_through_the_augmentation(make: Make, at: str, bf16: bool):
    """A darkening by a makes the gradient at the image a times as large; draws come real first."""
    autocast = (lambda: torch.autocast("cpu", torch.bfloat16)) if bf16 else nullcontext
    penalties = {"half": Halving(PenaltyConfig(), info=FACTS), "r1": R1(R1.Config(at=at, weight=1.0), info=FACTS)}
    trainer = make(penalties=penalties, autocast=autocast)
    hand = ByHand.of(trainer)
    (batch,) = batches(trainer, 1)
    term = trainer.train_step(batch)["penalty/r1"].item()
    hand.noise()
    factor = torch.rand((), generator=hand.rng)
    seen = (batch.real * factor).requires_grad_(True)
    (gradient,) = torch.autograd.grad(hand.discriminator(seen).sum(), seen)
    expected = gradient.square().sum() / BATCH / 2 * (factor**2 if at == "unaugmented" else 1)
    assert term == pytest.approx(expected.item(), rel=1e-4)


def test_r1_and_r2_take_no_logits_of_their_own_but_one_gradient_each(make: Make):
    counts = []
    for names in ((), ("r1",), ("r1", "r2")):
        classes = {"r1": R1, "r2": R2}
        trainer = make(penalties={name: classes[name](classes[name].Config(), info=FACTS) for name in names})
        calls: list[int] = []
        trainer.parts.discriminator.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        trainer.train_step(*batches(trainer, 1))
        counts.append(len(calls))
    assert counts == [3, 3, 3], "real, fake, and fake for the generator"


def test_penalties_know_the_time(make: Make):
    seen = []

    class Watching(Penalty):
        def discriminator_term(self, step: PenaltyStep) -> None:
            seen.append((step.step.item(), step.images_seen.item(), step.total_steps))
            assert torch.equal(step.unaugmented_real, batch.real)
            torch.testing.assert_close(step.real, batch.real / 2)
            torch.testing.assert_close(step.augment(step.unaugmented_fake), step.fake)

        def transform_images(self, images: Tensor, rng: torch.Generator) -> Tensor:
            return images / 2

    trainer = make(penalties={"watching": Watching(PenaltyConfig(), info=FACTS)}, total_steps=7)
    for batch in batches(trainer, 3):
        trainer.train_step(batch)
    assert seen == [(0, 0, 7), (1, BATCH, 7), (2, 2 * BATCH, 7)]


def r1_of(discriminator: Discriminator, real: Tensor, weight: float) -> Tensor:
    images = real.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(images).sum(), images, create_graph=True)
    return weight / 2 * gradient.square().sum() / BATCH


def test_weights_of_penalties_follow_their_schedule(make: Make):
    config = R1.Config(weight={"from": 8.0, "to": 2.0, "until": "3 steps"})
    trainer = make(penalties={"r1": R1(config, info=FACTS)}, discriminator_optimizer={"name": "sgd", "lr": 1e-6})
    first, *others = (trainer.train_step(batches(trainer, 1)[0])["penalty/r1"].item() for _ in range(5))
    assert [each / first for each in others] == pytest.approx([6 / 8, 4 / 8, 2 / 8, 2 / 8], rel=1e-2)


def test_betas_and_rates_follow_their_schedule(make: Make):
    """Against Adam whose options are set by hand before each step."""
    rate, beta = {"from": 4e-4, "to": 0.0, "until": "4 steps"}, {"from": 0.9, "to": 0.5, "until": "2 steps"}
    options = {"name": "adam", "lr": rate, "betas": [0.5, beta]}
    trainer = make(generator_optimizer=options, discriminator_optimizer=options)
    hand = ByHand.of(trainer)
    by_step = [(4e-4, 0.9), (3e-4, 0.7), (2e-4, 0.5)]
    for batch, (lr, second) in zip(batches(trainer, 3), by_step, strict=True):
        for optimizer in (hand.g, hand.d):
            optimizer.param_groups[0].update(lr=lr, betas=(0.5, second))
        trainer.train_step(batch)
        z = hand.noise()
        hand.update_discriminator(batch.real, z)
        hand.update_generator(z, statistics_gathered=True)
    assert_same(trainer, hand)


def test_two_generator_updates_the_second_on_new_images(make: Make):
    trainer = make(generator_steps=2)
    hand = ByHand.of(trainer)
    for batch in batches(trainer, 3):
        trainer.train_step(batch)
        z = hand.noise()
        hand.update_discriminator(batch.real, z)
        hand.update_generator(z, statistics_gathered=True)
        hand.update_generator(hand.noise())
    assert_same(trainer, hand)


def test_a_lazy_penalty_in_an_update_of_its_own(make: Make):
    """StyleGAN2's: c = 2/3 for every second step, the term twice as strong, after the main update."""
    config = R1.Config(weight=4.0, interval=2, own_update=True)
    trainer = make(penalties={"r1": R1(config, info=FACTS)})
    hand = ByHand.of(trainer)
    hand.d = torch.optim.Adam(
        hand.discriminator.parameters(), lr=2e-4 * 2 / 3, betas=(0.5 ** (2 / 3), 0.999 ** (2 / 3))
    )
    for number, batch in enumerate(batches(trainer, 4)):
        metrics = trainer.train_step(batch)
        z = hand.noise()
        hand.update_discriminator(batch.real, z)
        if number % 2 == 0:
            hand.generator(hand.noise())
            term = 2 * r1_of(hand.discriminator, batch.real, 4.0)
            hand.d.zero_grad()
            (term + 0 * hand.discriminator(batch.real).sum()).backward()  # as in StyleGAN2: no parameter is left out
            hand.d.step()
            assert metrics["penalty/r1"].item() == pytest.approx(term.item(), rel=1e-4)
        hand.update_generator(z)
        assert metrics["lr/discriminator"].item() == pytest.approx(2e-4 * 2 / 3)
        assert metrics["lr/generator"].item() == pytest.approx(2e-4)
    for name, value in trainer.parts.discriminator.named_parameters():
        torch.testing.assert_close(value, dict(hand.discriminator.named_parameters())[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("clip", [None, 0.01])
def test_micro_batches_add_up_to_the_minibatch(make: Make, tables: dict, clip: float | None):
    """The same weights as by hand on whole minibatches, from networks that judge and make each image alone."""
    tables["generator"]["norm"] = tables["discriminator"]["norm"] = "none"
    sgd = {"name": "sgd", "lr": 0.1}
    options: dict[str, Any] = {"fake_batch": "fresh", "generator_optimizer": sgd, "discriminator_optimizer": sgd}
    trainer = make(
        micro_batch_size=2, discriminator_grad_clip=clip, penalties={"r1": R1(R1.Config(), info=FACTS)}, **options
    )
    whole = make(discriminator_grad_clip=clip, penalties={"r1": R1(R1.Config(), info=FACTS)}, **options)
    for batch in batches(trainer, 3):
        metrics, expected = trainer.train_step(batch), whole.train_step(batch)
        assert metrics.keys() == expected.keys()
        for name, value in metrics.items():
            assert value.item() == pytest.approx(expected[name].item(), rel=1e-4, abs=1e-6), name
    assert_same_weights(trainer, whole)


def assert_same_weights(trainer: GANTrainer, other: GANTrainer) -> None:
    for name, network in trainer.networks().items():
        for key, value in network.state_dict().items():
            torch.testing.assert_close(value, other.networks()[name].state_dict()[key], rtol=1e-4, atol=1e-6)


GROUPS = {"name": "sngan", "width": 4, "minibatch_stddev": 4}
IN_PARTS: dict[str, Any] = {"fake_batch": "fresh"}


@pytest.mark.parametrize(
    ("discriminator", "group"),
    [
        (GROUPS, 4),
        (GROUPS | {"minibatch_stddev": 32}, 8),
        ({"name": "stylegan2", "channel_base": 128, "max_channels": 8}, 4),
        ({"name": "sngan", "width": 4}, 1),
        ({"name": "stylegan2", "channel_base": 128, "max_channels": 8, "minibatch_stddev": 0}, 1),
    ],
)
def test_micro_batches_hold_whole_groups(tables: dict, parse: Callable[..., Recipe], discriminator: dict, group: int):
    """Minibatch standard deviation compares the images of a group: a smaller one is another network."""
    tables["discriminator"] = discriminator
    for size in (1, 2, 4, 8):
        tables["trainer"] = {"name": "adversarial", "batch_size": BATCH, "micro_batch_size": size, **IN_PARTS}
        if size % group:
            told = rf'"{discriminator["name"]}" \(discriminator\) compares .* set it to a multiple of {group}, or'
            with pytest.raises(RecipeError, match=told):
                parse(tables)
        else:
            assert parse(tables)


def test_each_process_takes_whole_groups(make: Make, tables: dict):
    tables["discriminator"] = GROUPS
    trainer = make(micro_batch_size=4, **IN_PARTS)
    world = World()
    world.world_size = 2
    with pytest.raises(RequestError, match=r"takes 2 samples at a time, .* set it to a multiple of 8, for 2 processes"):
        GANTrainer(trainer.config, parts=replace(trainer.parts, world=world))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"micro_batch_size": 3, "fake_batch": "fresh"}, "micro_batch_size must divide batch_size, which is 8"),
        ({"micro_batch_size": 4}, 'micro_batch_size needs fake_batch = "fresh"'),
        ({"micro_batch_size": 4, "fake_batch": "fresh"}, r'does not go with "dcgan" \(discriminator\)'),
        ({"ema_decay": 0.9, "ema_half_life": 100}, "leave out ema_half_life, or set ema_decay = 0"),
        ({"ema_ramp": 0.1}, "set ema_half_life too"),
    ],
)
def test_options_that_do_not_go_together(make: Make, options: dict, message: str):
    with pytest.raises(RecipeError, match=message):
        make(**options)


def test_average_by_half_life_with_a_ramp(make: Make):
    """Half of it goes in 32 images, but in no more than half of the images so far; batch norm's figures are copied."""
    trainer = make(ema_half_life=32, ema_ramp=0.5, ema_buffers="copy")
    average: dict[str, Tensor] = {}
    for number, batch in enumerate(batches(trainer, 12)):
        trainer.train_step(batch)
        half_life = min(32, 0.5 * number * BATCH)
        decay = 0.5 ** (BATCH / half_life) if half_life else 0.0
        now = {name: value.detach().clone() for name, value in trainer.parts.generator.named_parameters()}
        average = {name: decay * average.get(name, value) + (1 - decay) * value for name, value in now.items()}
    ema = trainer.networks()["generator_ema"]
    for name, value in ema.named_parameters():
        torch.testing.assert_close(value, average[name])
    for ours, theirs in zip(ema.buffers(), trainer.parts.generator.buffers(), strict=True):
        assert torch.equal(ours, theirs)
