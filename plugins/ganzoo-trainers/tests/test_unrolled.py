"""The unrolled trainer against steps written out by hand, and its place among the contracts."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from ganzoo_trainers.functional_optimizers import AdamSteps
from tiny_recipe import tiny_recipe
from torch import Tensor, nn
from torch.nn import functional as F

import ganzoo
from ganzoo.components.dataset import Batch
from ganzoo.components.network import Discriminator, Generator
from ganzoo.components.options import DiscriminatorConfig, GeneratorConfig
from ganzoo.components.spec import DatasetInfo, ImageSpec
from ganzoo.components.trainer import TrainingParts
from ganzoo.components.world import World
from ganzoo.errors import RecipeError, RequestError
from ganzoo.plugin import AdamConfig
from ganzoo.registry.plugin_manager import plugin_manager

Tables = dict[str, Any]

FACTS = DatasetInfo(ImageSpec(1, 2, 2))
SGD = {"name": "sgd", "lr": 0.5}


torch.set_num_threads(1)  # the tensors are small: threads would mostly wait for each other


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GANZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


class TinyGenerator(Generator):
    def __init__(self) -> None:
        super().__init__(GeneratorConfig(latent_dim=3), info=FACTS)
        self.layer = nn.Linear(3, 4)

    def forward(self, latents: Tensor) -> Tensor:
        return self.layer(latents).tanh().view(-1, 1, 2, 2)


class TinyDiscriminator(Discriminator):
    def __init__(self, norm: bool = False) -> None:
        super().__init__(DiscriminatorConfig(), info=FACTS)
        self.inner = nn.Linear(4, 5, bias=not norm)
        self.norm = nn.BatchNorm1d(5) if norm else nn.Identity()
        self.outer = nn.Linear(5, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.outer(self.norm(self.inner(images.flatten(1))).tanh()).flatten()

    def features(self, images: Tensor) -> list[Tensor]:
        return []


def build(
    name: str,
    discriminator: nn.Module,
    generator: nn.Module,
    penalties: Tables | None = None,
    *,
    loss: str = "non_saturating",
    world: World | None = None,
    **options: Any,
) -> Any:
    registries = plugin_manager().registries
    options = {"batch_size": 8, "generator_optimizer": SGD, "discriminator_optimizer": SGD, **options}
    config = registries.trainers[name].config(name=name, **options)
    losses = registries.losses[loss]
    parts = TrainingParts(
        networks={"generator": copy.deepcopy(generator), "discriminator": copy.deepcopy(discriminator)},
        loss=losses.load()(losses.config(name=loss), info=FACTS),
        penalties={
            name: (entry := registries.penalties[name]).load()(entry.config(name=name, **options), info=FACTS)
            for name, options in (penalties or {}).items()
        },
        rng=torch.Generator().manual_seed(3),
        autocast=nullcontext,
        world=world or World(),
    )
    return registries.trainers[name].load()(config, parts=parts)


@pytest.fixture
def networks() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return TinyGenerator(), TinyDiscriminator()


@pytest.fixture
def batch() -> Batch:
    return Batch(torch.rand(8, 1, 2, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1)


def weights(network: nn.Module) -> list[Tensor]:
    return [value.detach().clone() for value in network.state_dict().values()]


def test_without_unrolled_steps_it_is_the_plain_trainer(networks: Any, batch: Batch) -> None:
    generator, discriminator = networks
    plain = build("adversarial", discriminator, generator)
    unrolled = build("unrolled", discriminator, generator, unrolled_steps=0)
    for _ in range(3):
        first, second = plain.train_step(batch), unrolled.train_step(batch)
        assert {k: v.item() for k, v in first.items()} == {k: v.item() for k, v in second.items()}
    for one, other in zip(plain.networks().values(), unrolled.networks().values(), strict=True):
        assert all(a.equal(b) for a, b in zip(weights(one), weights(other), strict=True))


OBJECTIVES: dict[str, tuple[Any, Any]] = {
    "non_saturating": (
        lambda real, fake: (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2,
        lambda real, fake: F.softplus(-fake).mean(),
    ),
    "minimax": (
        lambda real, fake: (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2,
        lambda real, fake: real.sigmoid().log().mean() + (1 - fake.sigmoid()).log().mean(),
    ),
    "hinge": (
        lambda real, fake: (1 - real).relu().mean() + (1 + fake).relu().mean(),
        lambda real, fake: -fake.mean(),
    ),
    "wasserstein": (
        lambda real, fake: fake.mean() - real.mean(),
        lambda real, fake: real.mean() - fake.mean(),
    ),
    "relativistic_pairing": (
        lambda real, fake: F.softplus(fake - real).mean(),
        lambda real, fake: F.softplus(real - fake).mean(),
    ),
}
"""The losses of the discriminator and of the generator, by the real and the generated images' logits."""


def by_hand(
    networks: tuple[nn.Module, nn.Module],
    batch: Batch,
    *,
    steps: int,
    update: str,
    lr: float,
    clip: float = math.inf,
    limit: float = math.inf,
    loss: str = "non_saturating",
) -> tuple[list[Tensor], list[Tensor]]:
    """Weights of both networks after one training step, written out for the tiny networks of this file."""
    generator, discriminator = copy.deepcopy(networks)
    norm = discriminator.inner.bias is None
    discriminator_loss, generator_loss = OBJECTIVES[loss]

    def judge(w: list[Tensor], images: Tensor) -> Tensor:
        inner = images.flatten(1) @ w[0].T
        if norm:
            mean, variance = inner.mean(0), inner.var(0, unbiased=False)
            inner = (inner - mean) / (variance + 1e-5).sqrt() * w[1] + w[2]
        else:
            inner = inner + w[1]
        return (inner.tanh() @ w[-2].T + w[-1]).flatten()

    def objective(w: list[Tensor], fake: Tensor) -> Tensor:
        return discriminator_loss(judge(w, batch.real), judge(w, fake))

    def move(w: list[Tensor], gradients: Any, moments: list[Any], step: int) -> list[Tensor]:
        norm = torch.cat([g.flatten() for g in gradients]).norm()
        gradients = [g * min(1, clip / norm) for g in gradients]
        if update == "gradient":
            return [(a - lr * g).clamp(-limit, limit) for a, g in zip(w, gradients, strict=True)]
        moved = []
        for i, (a, g) in enumerate(zip(w, gradients, strict=True)):
            mean, square = 0.5 * moments[i][0] + 0.5 * g, 0.9 * moments[i][1] + 0.1 * g**2
            moments[i] = mean, square
            moved.append(a - lr * mean / (1 - 0.5**step) / ((square / (1 - 0.9**step)).sqrt() + 1e-8))
            moved[i] = moved[i].clamp(-limit, limit)
        return moved

    fake = generator(generator.sample_latents(8, torch.Generator().manual_seed(3)))
    w = [parameter.detach().clone().requires_grad_(True) for parameter in discriminator.parameters()]
    moments: list[Any] = [(torch.zeros_like(a), torch.zeros_like(a)) for a in w]
    w = move(w, torch.autograd.grad(objective(w, fake.detach()), w), moments, 1)
    kept = [a.detach().clone() for a in w]
    w = [a.detach().requires_grad_(True) for a in w]
    for step in range(steps):
        w = move(w, torch.autograd.grad(objective(w, fake), w, create_graph=True), moments, 2 + step)
    last = generator_loss(judge(w, batch.real), judge(w, fake))
    gradients = torch.autograd.grad(last, list(generator.parameters()))
    return [p.detach() - 0.5 * g for p, g in zip(generator.parameters(), gradients, strict=True)], kept


@pytest.mark.parametrize("norm", [False, True], ids=["without norm", "batch norm"])
@pytest.mark.parametrize("update", ["gradient", "adam"])
@pytest.mark.parametrize("steps", [1, 3])
def test_the_generators_update_is_one_written_out_by_hand(
    networks: Any, batch: Batch, steps: int, update: str, norm: bool
) -> None:
    torch.manual_seed(0)
    networks = networks[0], TinyDiscriminator(norm)
    lr = 0.3 if update == "gradient" else 0.02
    optimizer = {"name": "adam", "lr": lr, "betas": [0.5, 0.9]} if update == "adam" else {"name": "sgd", "lr": lr}
    trainer = build(
        "unrolled",
        networks[1],
        networks[0],
        unrolled_steps=steps,
        unrolled_update=update,
        discriminator_optimizer=optimizer,
    )
    trainer.train_step(batch)
    ours, theirs = by_hand(networks, batch, steps=steps, update=update, lr=lr)
    for actual, expected in zip(trainer.parts.generator.parameters(), ours, strict=True):
        torch.testing.assert_close(actual.detach(), expected, rtol=1e-4, atol=1e-6)
    for actual, expected in zip(trainer.parts.discriminator.parameters(), theirs, strict=True):
        torch.testing.assert_close(actual.detach(), expected, rtol=1e-4, atol=1e-6)
    assert all(parameter.requires_grad for parameter in trainer.parts.discriminator.parameters())


@pytest.mark.parametrize("loss", OBJECTIVES)
def test_the_real_term_of_a_loss_is_differentiated_too(networks: Any, batch: Batch, loss: str) -> None:
    """The logits of real images depend on the generator through the unrolled steps; the paper's f has their term."""
    options = {"unrolled_steps": 3, "unrolled_update": "gradient", "discriminator_optimizer": SGD | {"lr": 0.3}}
    trainer = build("unrolled", networks[1], networks[0], loss=loss, **options)
    trainer.train_step(batch)
    ours, _ = by_hand(networks, batch, steps=3, update="gradient", lr=0.3, loss=loss)
    for actual, expected in zip(trainer.parts.generator.parameters(), ours, strict=True):
        torch.testing.assert_close(actual.detach(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("update", ["gradient", "adam"])
@pytest.mark.parametrize(("clip", "limit"), [(0.05, math.inf), (1e3, math.inf), (math.inf, 0.2), (0.05, 0.2)])
def test_the_steps_ahead_clip_gradients_and_weights_as_the_discriminators_own(
    networks: Any, batch: Batch, clip: float, limit: float, update: str
) -> None:
    lr = 0.3 if update == "gradient" else 0.02
    trainer = build(
        "unrolled",
        networks[1],
        networks[0],
        {"weight_clipping": {"limit": limit}} if limit < math.inf else None,
        unrolled_steps=3,
        unrolled_update=update,
        discriminator_optimizer={"name": "adam", "lr": lr, "betas": [0.5, 0.9]}
        if update == "adam"
        else SGD | {"lr": lr},
        discriminator_grad_clip=clip if clip < math.inf else None,
    )
    trainer.train_step(batch)
    hands = by_hand(networks, batch, steps=3, update=update, lr=lr, clip=clip, limit=limit)
    for name, theirs in zip(("generator", "discriminator"), hands, strict=True):
        for actual, expected in zip(trainer.parts.networks[name].parameters(), theirs, strict=True):
            torch.testing.assert_close(actual.detach(), expected, rtol=1e-4, atol=1e-6)


def test_frozen_layers_stay_in_the_steps_ahead(networks: Any, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    networks[1].inner.requires_grad_(False)
    trainer = build("unrolled", networks[1], networks[0], unrolled_steps=2, unrolled_update="gradient")
    moved: list[set[str]] = []
    after = trainer.after_unrolled_step

    def note(discriminator: Any, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        moved.append({*weights})
        return after(discriminator, weights)

    monkeypatch.setattr(trainer, "after_unrolled_step", note)
    trainer.train_step(batch)
    assert moved == [{"discriminator.outer.weight", "discriminator.outer.bias"}] * 2


def test_the_steps_ahead_are_those_that_the_optimizer_would_take(networks: Any, batch: Batch) -> None:
    """Torch's Adam goes on as they do, by the rate and betas of the step, and with weight decay."""
    rate, beta = {"from": 0.08, "to": 0.0, "until": "4 steps"}, {"from": 0.9, "to": 0.5, "until": "4 steps"}
    adam = {"name": "adam", "lr": rate, "betas": [0.5, beta], "weight_decay": 0.3}
    trainer = build("unrolled", networks[1], networks[0], unrolled_steps=1, discriminator_optimizer=adam)
    for _ in range(3):
        trainer.train_step(batch)
    parameters = list(trainer.parts.discriminator.parameters())
    steps, ahead = trainer.unrolled_optimizer(parameters), weights(trainer.parts.discriminator)
    optimizer = trainer.optimizer_steps["discriminator"].optimizer
    for _ in range(2):
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        ahead = steps.step(ahead, [parameter.grad for parameter in parameters])
        optimizer.step()
    for actual, expected in zip(ahead, parameters, strict=True):
        torch.testing.assert_close(actual, expected.detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("before", [0, 2], ids=["first steps", "from moments"])
def test_the_gradient_of_adams_steps_is_that_of_their_differences(weight_decay: float, before: int) -> None:
    torch.manual_seed(0)
    parameter = nn.Parameter(torch.randn(3, 2, dtype=torch.float64))
    optimizer = torch.optim.Adam([parameter], betas=(0.5, 0.9))
    for _ in range(before):
        parameter.grad = torch.randn_like(parameter)
        optimizer.step()
    options = AdamConfig(name="adam", lr=0.1, betas=(0.5, 0.9), weight_decay=weight_decay)

    def moved(weight: Tensor, *gradients: Tensor) -> Tensor:
        steps = AdamSteps(options, 0.1, optimizer, [parameter])
        for gradient in gradients:
            (weight,) = steps.step([weight], [gradient])
        return weight

    values = [torch.randn(3, 2, dtype=torch.float64, requires_grad=True) for _ in range(4)]
    assert torch.autograd.gradcheck(moved, values)


def test_looking_ahead_changes_nothing_of_the_discriminator(networks: Any, batch: Batch) -> None:
    """Its weights and batch statistics are those of training without a look ahead, while the generator's differ."""
    torch.manual_seed(0)
    discriminator = TinyDiscriminator(norm=True)
    plain = build("adversarial", discriminator, networks[0])
    unrolled = build("unrolled", discriminator, networks[0], unrolled_steps=2, unrolled_update="gradient")
    for trainer in (plain, unrolled):
        trainer.train_step(batch)
    first, second = plain.parts.discriminator, unrolled.parts.discriminator
    assert all(a.equal(b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    # The plain update of the generator is one more look at a batch; the unrolled one leaves the statistics alone.
    assert second.norm.num_batches_tracked.item() == first.norm.num_batches_tracked.item() - 1
    ours, theirs = unrolled.parts.generator.layer.weight, plain.parts.generator.layer.weight
    assert not ours.allclose(theirs)


class Halving(World):
    """A world whose other process has gradients of 0."""

    def all_reduce_mean(self, value: Tensor) -> Tensor:
        return value / 2


def test_the_steps_ahead_are_by_the_mean_gradient_of_all_processes(networks: Any, batch: Batch) -> None:
    """Where the other process adds nothing, a step is as long as one at half the rate, and so is its gradient."""
    gradients = []
    for world, lr in ((Halving(), 0.6), (World(), 0.3)):
        options = {"unrolled_steps": 2, "unrolled_update": "gradient", "unrolled_lr": lr}
        trainer = build("unrolled", networks[1], networks[0], world=world, **options)
        loss, _ = trainer.generator_objective(batch, trainer.generate(batch))
        gradients.append(torch.autograd.grad(loss, list(trainer.parts.generator.parameters())))
    for actual, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("steps", [0, 5])
def test_looking_ahead_does_not_adapt_an_augmentation(tmp_path: Path, steps: int) -> None:
    """Its probability rises by the share of `ramp_images` that the discriminator really saw."""
    run = ganzoo.run(
        tiny_recipe(
            tmp_path,
            run={"steps": 5},
            trainer={"name": "unrolled", "batch_size": 10, "unrolled_steps": steps},
            penalties=[{"name": "adaptive_augment", "adjust_every": 1, "target": -1, "ramp_images": 1000}],
        )
    )
    assert run.metrics[-1]["penalty/adaptive_augment_probability"] == pytest.approx(5 * 10 / 1000)


def recipe(folder: Path) -> dict[str, Any]:
    return tiny_recipe(
        folder,
        run={"steps": 4},
        discriminator={"norm": "layer"},
        penalties=[{"name": "gradient_penalty"}],
        trainer={"name": "unrolled", "unrolled_steps": 2, "batch_size": 8},
        checkpoint={"every": 2},
    )


@pytest.mark.parametrize(
    ("steps", "norm", "allowed"),
    [
        (2, "batch", False), (2, "instance", False), (2, "none", True), (2, "layer", True), (0, "batch", True),
        (0, "instance", True),
    ],
)  # fmt: skip
def test_three_derivatives_of_batch_norm_are_refused(tmp_path: Path, steps: int, norm: str, allowed: bool) -> None:
    tables = recipe(tmp_path)
    tables["trainer"]["unrolled_steps"] = steps
    tables["discriminator"] = {"name": "dcgan", "width": 4, "norm": norm}
    tables["penalties"] = [{"name": "r1"}]
    if allowed:
        ganzoo.run(tables, ["run.steps=1"])
        return
    with pytest.raises(RecipeError, match=r'"r1" \(penalties.0\) twice more.*in place of "dcgan" \(discriminator\)'):
        ganzoo.run(tables)


def test_updates_that_are_not_unrolled_are_refused(tmp_path: Path) -> None:
    tables = recipe(tmp_path)
    tables["penalties"] = [{"name": "r1", "own_update": True}]
    with pytest.raises(RequestError, match=r'"r1" has updates of its own, .*: set own_update = false'):
        ganzoo.run(tables)
    tables["penalties"] = []
    with pytest.raises(RecipeError, match='images: set discriminator_update = "joint"'):
        ganzoo.run(tables, ["trainer.discriminator_update=separate"])
    tables["penalties"] = [{"name": "r1", "own_update": True}]
    ganzoo.run(tables, ["trainer.discriminator_update=separate", "trainer.unrolled_steps=0", "run.steps=1"])


def test_resumes_to_the_bit_penalties_included(tmp_path: Path) -> None:
    whole = ganzoo.run(recipe(tmp_path / "whole"))
    broken = ganzoo.run(recipe(tmp_path / "broken"), ["run.steps=2"])
    resumed = ganzoo.resume(broken.path, ["run.steps=4"])
    for network in ("generator", "discriminator"):
        file = f"checkpoints/step_0000004/{network}.safetensors"
        assert (whole.path / file).read_bytes() == (resumed.path / file).read_bytes()
