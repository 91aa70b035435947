"""PacGAN: a literal step of the paper's with packs, for images and vectors, any loss and any penalty."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from same import assert_same_checkpoint
from tiny_recipe import tiny_recipe
from torch import Tensor, nn
from torch.nn.functional import softplus

import ganzoo
from ganzoo.components.dataset import Batch
from ganzoo.components.network import Discriminator, Generator
from ganzoo.components.options import DiscriminatorConfig, GeneratorConfig, PenaltyConfig
from ganzoo.components.penalty import Penalty, PenaltyStep
from ganzoo.components.spec import DatasetInfo, ImageSpec, VectorSpec
from ganzoo.components.trainer import TrainingParts
from ganzoo.components.world import World
from ganzoo.errors import RecipeError, RequestError
from ganzoo.registry.plugin_manager import plugin_manager

SHAPES = [ImageSpec(3, 4, 4), VectorSpec(2)]
BATCH = 6
SGD = {"name": "sgd", "lr": 0.1}


class MLPGenerator(Generator):
    def __init__(self, info: DatasetInfo) -> None:
        super().__init__(GeneratorConfig(latent_dim=5), info=info)
        self.net = nn.Sequential(nn.Linear(5, 16), nn.Softplus(), nn.Linear(16, prod(info.samples.shape)))

    def forward(self, latents: Tensor) -> Tensor:  # type: ignore[override]
        return self.net(latents).reshape(-1, *self.info.samples.shape)


class MLPDiscriminator(Discriminator):
    def __init__(self, info: DatasetInfo) -> None:
        super().__init__(DiscriminatorConfig(), info=info)
        self.net = nn.Sequential(nn.Linear(prod(info.samples.shape), 16), nn.Softplus(), nn.Linear(16, 1))

    def forward(self, samples: Tensor) -> Tensor:  # type: ignore[override]
        return self.net(samples.flatten(1)).flatten()

    def features(self, samples: Tensor) -> list[Tensor]:
        return [self.net[0](samples.flatten(1))]


def component(kind: str, name: str, info: DatasetInfo, **options: Any) -> Any:
    entry = getattr(plugin_manager().registries, kind)[name]
    return entry.load()(entry.config.model_validate({"name": name, **options}), info=info)


def trainer_of(
    shape: Any,
    name: str = "pacgan",
    loss: str = "non_saturating",
    penalties: Any = None,
    world: Any = None,
    **more: Any,
) -> Any:
    info = DatasetInfo(shape)
    entry = plugin_manager().registries.trainers[name]
    options = {"batch_size": BATCH, "generator_optimizer": SGD, "discriminator_optimizer": SGD, **more}
    config = entry.config.model_validate({"name": name, **options})
    torch.manual_seed(0)
    networks = {
        "generator": MLPGenerator(info),
        "discriminator": MLPDiscriminator(config.info_for("discriminator", info)),
    }
    parts = TrainingParts(
        networks=networks,
        loss=component("losses", loss, info),
        penalties={name: component("penalties", name, info, **each) for name, each in (penalties or {}).items()},
        rng=torch.Generator().manual_seed(1),
        autocast=nullcontext,
        total_steps=10,
        world=world or World(),
    )
    return entry.load()(config, parts=parts)


def real_batch(shape: Any, seed: int = 2, count: int = BATCH) -> Tensor:
    return torch.rand(count, *shape.shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def side_by_side(samples: Tensor, count: int) -> Tensor:
    """Packs, one by one: sample 0 beside 1, 2 beside 3, …"""
    return torch.stack([torch.cat(list(samples[i : i + count])) for i in range(0, len(samples), count)])


@pytest.mark.parametrize("packing", [2, 3])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_steps_are_the_papers(shape: Any, packing: int) -> None:
    """Two steps: real packs against generated ones, both networks by the binary cross-entropy of packs."""
    trainer = trainer_of(shape, packing=packing)
    generator, discriminator = (copy.deepcopy(trainer.parts.networks[name]) for name in ("generator", "discriminator"))
    rng = torch.Generator().manual_seed(1)
    for step in range(2):
        real = real_batch(shape, step)
        metrics = trainer.train_step(Batch(real))
        fake = generator(torch.randn(BATCH, 5, generator=rng))
        real_logits = discriminator(side_by_side(real, packing))
        fake_logits = discriminator(side_by_side(fake.detach(), packing))
        assert real_logits.shape == (BATCH // packing,)
        loss = (softplus(-real_logits).mean() + softplus(fake_logits).mean()) / 2
        torch.testing.assert_close(metrics["loss/discriminator"], loss.detach())
        descend(discriminator, loss)
        loss = softplus(-discriminator(side_by_side(fake, packing))).mean()
        torch.testing.assert_close(metrics["loss/generator"], loss.detach())
        descend(generator, loss)
    for name, expected in (("generator", generator), ("discriminator", discriminator)):
        ours = dict(trainer.parts.networks[name].named_parameters())
        for key, weight in expected.named_parameters():
            torch.testing.assert_close(ours[key], weight, atol=1e-6, rtol=1e-5)


def descend(network: nn.Module, loss: Tensor) -> None:
    weights = list(network.parameters())
    with torch.no_grad():
        for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            weight -= 0.1 * gradient


def test_packs_of_one_are_adversarial_to_the_bit() -> None:
    ours, theirs = trainer_of(SHAPES[0], packing=1), trainer_of(SHAPES[0], "adversarial")
    for trainer in (ours, theirs):
        trainer.train_step(Batch(real_batch(SHAPES[0])))
    for network in ("generator", "discriminator"):
        for ours_now, theirs_now in zip(
            ours.parts.networks[network].parameters(), theirs.parts.networks[network].parameters(), strict=True
        ):
            assert ours_now.equal(theirs_now)


def test_packs_of_one_keep_their_labels(tmp_path: Path) -> None:
    tables = recipe(tmp_path / "packs")
    for role in ("generator", "discriminator"):
        tables[role] = {"name": "cgan", "width": 4}
    tables["trainer"]["packing"] = 1
    packs = ganzoo.run(tables, ["run.steps=2"])
    plain = ganzoo.run(
        {**tables, "trainer": {"name": "adversarial", "batch_size": 8}}, ["run.steps=2", f"run.root={tmp_path}/plain"]
    )
    for network in ("generator", "discriminator"):
        ours, theirs = (run.checkpoint.network(network) for run in (packs, plain))
        assert all(ours[key].equal(theirs[key]) for key in theirs)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("update", ["joint", "separate"])
@pytest.mark.parametrize("loss", plugin_manager().registries.losses.names())
def test_any_loss_trains_on_packs(loss: str, update: str, shape: Any) -> None:
    trainer = trainer_of(shape, loss=loss, packing=2, discriminator_update=update)
    before = copy.deepcopy(dict(trainer.parts.networks["generator"].named_parameters()))
    metrics = trainer.train_step(Batch(real_batch(shape)))
    assert all(value.isfinite() for value in metrics.values())
    after = dict(trainer.parts.networks["generator"].named_parameters())
    assert any(not after[key].equal(value) for key, value in before.items())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_gradient_penalty_is_of_the_gradient_at_a_whole_pack(shape: Any) -> None:
    trainer = trainer_of(shape, packing=3, penalties={"r1": {"weight": 1.0}})
    discriminator = copy.deepcopy(trainer.parts.discriminator)
    real = real_batch(shape)
    metrics = trainer.train_step(Batch(real))
    packs = side_by_side(real, 3).requires_grad_()
    (slope,) = torch.autograd.grad(discriminator(packs).sum(), packs)
    torch.testing.assert_close(metrics["penalty/r1"], slope.flatten(1).square().sum(1).mean() / 2)


@pytest.mark.parametrize("penalty", ["gradient_penalty", "dragan", "feature_matching", "r2", "weight_clipping"])
def test_penalties_train_on_packs(penalty: str) -> None:
    trainer = trainer_of(SHAPES[0], packing=2, penalties={penalty: {}, "instance_noise": {}})
    assert all(value.isfinite() for value in trainer.train_step(Batch(real_batch(SHAPES[0]))).values())


def test_single_samples_are_augmented() -> None:
    trainer = trainer_of(ImageSpec(3, 8, 8), packing=2, penalties={"diff_augment": {"translation": 0.5}})
    images = torch.rand(4, 3, 8, 8)
    state = trainer.parts.rng.get_state()
    packs = trainer.augment(trainer.pack(images))
    trainer.parts.rng.set_state(state)
    expected = trainer.parts.penalties["diff_augment"].transform_images(images, trainer.parts.rng)
    torch.testing.assert_close(packs, side_by_side(expected, 2))
    torch.testing.assert_close(trainer.unpack(packs), expected)


def test_penalties_augment_single_samples_too() -> None:
    trainer = trainer_of(ImageSpec(3, 8, 8), packing=2, penalties={"diff_augment": {"translation": 0.5}})
    images, seen = torch.rand(BATCH, 3, 8, 8), []

    class Augmenting(Penalty):
        def discriminator_term(self, step: PenaltyStep) -> None:
            seen.append(step.augment(step.unaugmented_real))

    step = trainer.discriminator_step(Batch(images), trainer.generate(Batch(images)).detach(), {})
    state = trainer.parts.rng.get_state()
    penalty = Augmenting(PenaltyConfig(), info=trainer.parts.generator.info)
    trainer.penalty_terms("discriminator", step, {"augmenting": penalty})
    trainer.parts.rng.set_state(state)
    expected = trainer.parts.penalties["diff_augment"].transform_images(images, trainer.parts.rng)
    torch.testing.assert_close(seen, [side_by_side(expected, 2)])


def recipe(folder: Path, **changes: Any) -> dict[str, Any]:
    trainer = {"name": "pacgan", "packing": 2, "batch_size": 8}
    return tiny_recipe(
        folder, **{"trainer": trainer, "penalties": [{"name": "diff_augment"}, {"name": "r1"}], **changes}
    )


def test_a_run_resumes_to_the_bit_and_its_discriminator_is_wider_by_its_first_layer(tmp_path: Path) -> None:
    whole = ganzoo.run(recipe(tmp_path / "whole"))
    broken = ganzoo.run(recipe(tmp_path / "broken"), ["run.steps=3"])
    resumed = ganzoo.resume(broken.path, ["run.steps=6"])
    last = "checkpoints/step_0000006"
    assert_same_checkpoint(whole.path / last, resumed.path / last)
    plain = ganzoo.run(recipe(tmp_path / "plain"), ["trainer.packing=1", "run.steps=1"])
    shapes = [
        {key: tuple(each.shape) for key, each in run.discriminator.state_dict().items()} for run in (plain, whole)
    ]
    assert {key: (shapes[0][key], shapes[1][key]) for key in shapes[0] if shapes[0][key] != shapes[1][key]} == {
        "blocks.0.0.weight": ((4, 3, 4, 4), (4, 6, 4, 4))
    }
    assert whole.sample(2).shape == (2, 3, 16, 16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trainer": {"name": "pacgan", "packing": 3, "batch_size": 8}}, "batch_size must be a multiple of packing"),
        (
            {"discriminator": {"name": "cgan", "width": 4}, "generator": {"name": "cgan", "width": 4}},
            'packs samples of different labels, and "cgan" (discriminator) wants one label for each',
        ),
        (
            {"generator": {"name": "cgan"}, "penalties": [{"name": "auxiliary_classifier"}]},
            '"auxiliary_classifier" (penalties.0) wants one label for each',
        ),
        (
            {"generator": {"name": "infogan"}, "penalties": [{"name": "mutual_information"}]},
            'penalties.0: "mutual_information" reads the codes of each sample, and the discriminator judges packs',
        ),
    ],
)
def test_what_cannot_be_packed_is_told(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as raised:
        ganzoo.run(recipe(tmp_path, **changes))
    assert message in str(raised.value)


def test_penalties_of_images_take_packs_as_several(tmp_path: Path) -> None:
    """ADA counts the images of a pack; reconstruction rebuilds all of them, with three channels each."""
    penalties = [{"name": "ada", "target": -1, "ramp_images": 1000, "adjust_every": 1}, {"name": "reconstruction"}]
    run = ganzoo.run(recipe(tmp_path, dataset={"image_size": 16, "channels": 3}, penalties=penalties), ["run.steps=2"])
    batch_size = run.recipe.trainer.batch_size
    assert run.metrics[-1]["penalty/ada_probability"] == pytest.approx(2 * batch_size / 1000)
    assert run.metrics[-1]["penalty/reconstruction"] > 0


def test_micro_batches_hold_whole_groups_of_packs(tmp_path: Path) -> None:
    trainer = {"name": "pacgan", "packing": 2, "batch_size": 16, "micro_batch_size": 4, "fake_batch": "fresh"}
    discriminator = {"name": "sngan", "width": 4, "minibatch_stddev": 4}
    with pytest.raises(RecipeError, match="compares the samples of groups, which take 8: set it to a multiple of 8"):
        ganzoo.run(recipe(tmp_path, trainer=trainer, discriminator=discriminator))


def test_a_process_has_whole_packs_and_groups() -> None:
    world = World()
    world.world_size = 3
    with pytest.raises(RequestError, match="each process takes 2 samples at a time, which are no whole groups of 6"):
        trainer_of(SHAPES[0], packing=6, world=world)


def test_a_label_free_discriminator_goes_with_a_conditional_generator(tmp_path: Path) -> None:
    assert ganzoo.run(recipe(tmp_path, generator={"name": "cgan", "width": 4}), ["run.steps=1"]).sample(2).shape[0] == 2


@pytest.mark.parametrize("own_update", [True, False])
def test_a_penalty_of_the_generator_has_the_labels_of_its_latents(tmp_path: Path, own_update: bool) -> None:
    small = {"latent_dim": 8, "style_dim": 8, "channel_base": 64, "max_channels": 8}
    tables = recipe(
        tmp_path,
        generator={"name": "stylegan2", "conditional": True, **small},
        penalties=[{"name": "path_length", "interval": 1, "own_update": own_update}],
    )
    run = ganzoo.run(tables, ["run.steps=1", "run.log_every=1"])
    (row,) = run.directory.read_metrics()
    assert row["penalty/path_length_generator"] > 0
