"""What pix2pix and CycleGAN minimize, in which order, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ganzoo_translation.random_crop import enlarged_and_cropped
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import ganzoo
from ganzoo.errors import DivergedError, RecipeError, RequestError
from ganzoo.plugin import Batch
from ganzoo.recipe.load import load_recipe
from ganzoo.recipe.validate import lint
from ganzoo.registry.plugin_manager import plugin_manager
from ganzoo.runtime.distributed import DistributedWorld
from ganzoo.training.build import build_run

Tables = dict[str, Any]


def tables_of(kind: str, root: Path, **changes: Any) -> Tables:
    pairs = kind == "pix2pix"
    tables: Tables = {
        "run": {"name": kind, "seed": 3, "steps": 4, "log_every": 1, "root": str(root)},
        "device": {"accelerator": "cpu", "precision": "fp32"},
        "dataset": {
            "name": "derived_pairs",
            "image_size": 16,
            "condition": ["outline"] if pairs else ["rotate"],
            "pairing": "aligned" if pairs else "unpaired",
            "limit": 40,
        },
        "generator": {"name": "unet", "width": 4, "norm": "instance"}
        if pairs
        else {"name": "resnet_translator", "width": 4, "blocks": 1},
        "discriminator": {"name": "patchgan", "width": 4, "depth": 2, "norm": "instance", "conditional": pairs},
        "loss": {"name": "non_saturating" if pairs else "least_squares"},
        "trainer": {"name": kind, "batch_size": 4},
        "samples": {"every": 4, "count": 4, "gif": False},
        "checkpoint": {"every": 2, "keep": 4},
        "tracking": {"wandb": {"mode": "disabled"}},
    }
    for name, table in changes.items():
        tables[name] = {**tables.get(name, {}), **table} if isinstance(table, dict) else table
    return tables


def trainer_of(tables: Tables) -> tuple[Any, Batch]:
    recipe, manager = load_recipe(tables, plugin_manager())
    run = build_run(recipe, manager, warn=lambda _: None)
    return run.trainer, run.loader.next()


def test_pix2pix_minimizes_the_published_objectives(tmp_path: Path) -> None:
    """½(BCE of real + BCE of fake) for D, BCE + 100 · L1 for G, both logits of (condition, image)."""
    trainer, batch = trainer_of(tables_of("pix2pix", tmp_path))
    networks = trainer.parts.networks
    fake = trainer.generate(batch)
    real_logits = networks["discriminator"](batch.real, condition=batch.condition)
    fake_logits = networks["discriminator"](fake.samples, condition=batch.condition)
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    ones, zeros = torch.ones_like(real_logits), torch.zeros_like(real_logits)
    meant = (bce(real_logits, ones) + bce(fake_logits, zeros)) / 2
    torch.testing.assert_close(trainer.discriminator_objective(batch, fake.detach())[0], meant)
    meant = bce(fake_logits, ones) + 100 * torch.nn.functional.l1_loss(fake.samples, batch.real)
    torch.testing.assert_close(trainer.generator_objective(batch, fake)[0], meant)


def test_cyclegan_minimizes_the_published_objectives_up_to_no_factor(tmp_path: Path) -> None:
    """(D_B(G(a)) − 1)² + (D_A(F(b)) − 1)² + 10 · cycles + 5 · identities; ½ of both squares for each D."""
    trainer, batch = trainer_of(tables_of("cyclegan", tmp_path))
    names = ("generator", "generator_back", "discriminator", "discriminator_back")
    to_b, to_a, of_b, of_a = (trainer.parts.networks[name] for name in names)
    a, b, none = batch.condition, batch.real, torch.empty(4, 0)
    assert a is not None

    def g(images: Tensor) -> Tensor:
        return to_b(none, condition=images)

    def f(images: Tensor) -> Tensor:
        return to_a(none, condition=images)

    l1 = torch.nn.functional.l1_loss
    meant = (of_b(g(a)) - 1).square().mean() + (of_a(f(b)) - 1).square().mean()
    meant = meant + 10 * (l1(f(g(a)), a) + l1(g(f(b)), b)) + 5 * (l1(g(b), b) + l1(f(a), a))
    fake = trainer.generate(batch)
    torch.testing.assert_close(trainer.generator_objective(batch, fake)[0], meant)
    meant = ((of_b(b) - 1).square().mean() + of_b(g(a)).square().mean()) / 2
    meant = meant + ((of_a(a) - 1).square().mean() + of_a(f(b)).square().mean()) / 2
    torch.testing.assert_close(trainer.discriminator_objective(batch, fake.detach())[0], meant)


def test_cyclegan_updates_both_generators_first_on_images_that_the_discriminators_then_see(tmp_path: Path) -> None:
    trainer, batch = trainer_of(tables_of("cyclegan", tmp_path))
    seen: list[str] = []

    def noting(role: str, step: Callable[..., None]) -> Callable[..., None]:
        return lambda *given, **more: seen.append(role) or step(*given, **more)

    for role, each in trainer.optimizer_steps.items():
        each.step = noting(role, each.step)
    before = trainer.generate(batch)
    trainer.train_step(batch)
    assert seen == ["generator", "discriminator"]
    torch.testing.assert_close(trainer.pools[""].images, before.samples.detach())
    assert not torch.equal(trainer.generate(batch).samples, before.samples)


@pytest.mark.parametrize(("loss", "times"), [("least_squares", 1), ("relativistic_pairing", 2)])
def test_cyclegans_generators_learn_from_real_images_logits_where_the_loss_needs_them(
    tmp_path: Path, loss: str, times: int
) -> None:
    pytest.importorskip("ganzoo_objectives")
    trainer, batch = trainer_of(tables_of("cyclegan", tmp_path, loss={"name": loss}))
    judged: list[str] = []
    for name in ("discriminator", "discriminator_back"):
        trainer.parts.networks[name].register_forward_hook(lambda *_, name=name: judged.append(name))
    trainer.generator_objective(batch, trainer.generate(batch))
    assert judged == ["discriminator"] * times + ["discriminator_back"] * times


def test_cyclegan_takes_as_many_updates_as_asked_for(tmp_path: Path) -> None:
    options = {"generator_steps": 3, "discriminator_steps": 2}
    trainer, batch = trainer_of(tables_of("cyclegan", tmp_path, trainer=options))
    seen: list[str] = []
    for role, each in trainer.optimizer_steps.items():
        each.step = lambda *given, role=role, step=each.step, **more: seen.append(role) or step(*given, **more)
    trainer.train_step(batch)
    assert seen == ["generator"] * 3 + ["discriminator"] * 2


def test_cyclegan_resumes_with_the_pools_of_both_domains(tmp_path: Path) -> None:
    (trainer, batch), (resumed, _) = (trainer_of(tables_of("cyclegan", tmp_path)) for _ in range(2))
    trainer.train_step(batch)
    resumed.load_state_dict(trainer.state_dict())
    assert not torch.equal(trainer.pools[""].images, trainer.pools["_back"].images)
    for ending, pool in trainer.pools.items():
        assert torch.equal(resumed.pools[ending].images, pool.images)


def test_cyclegan_takes_penalties_of_each_discriminator_at_its_own_images(tmp_path: Path) -> None:
    plain, batch = trainer_of(tables_of("cyclegan", tmp_path))
    trainer, _ = trainer_of(tables_of("cyclegan", tmp_path, penalties=[{"name": "r1", "weight": 3.0}]))
    networks, fake = trainer.parts.networks, trainer.generate(batch).detach()
    found, metrics = trainer.discriminator_objective(batch, fake)
    assert {name for name in metrics if "/real" in name} == {"logits/real", "logits/real_back"}, "of least_squares"
    terms = []
    for name, images in (("discriminator", batch.real), ("discriminator_back", batch.condition)):
        images = images.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(networks[name](images).sum(), images)
        terms.append(1.5 * gradient.square().sum((1, 2, 3)).mean())
    torch.testing.assert_close(torch.stack([metrics["penalty/r1"], metrics["penalty/r1_back"]]), torch.stack(terms))
    torch.testing.assert_close(found - sum(terms), plain.discriminator_objective(batch, fake)[0])
    run = ganzoo.run(tables_of("cyclegan", tmp_path, penalties=[{"name": "r1"}, {"name": "r2"}], run={"steps": 2}))
    assert run.metrics[-1]["penalty/r2_back"] > 0


def test_cyclegan_clips_the_weights_of_both_critics(tmp_path: Path) -> None:
    clipping = [{"name": "weight_clipping", "limit": 0.01}]
    trainer, batch = trainer_of(tables_of("cyclegan", tmp_path, loss={"name": "wasserstein"}, penalties=clipping))
    trainer.train_step(batch)
    for name in ("discriminator", "discriminator_back"):
        assert max(weight.abs().max() for weight in trainer.parts.networks[name].parameters()) <= 0.01


def test_all_that_cyclegans_discriminators_see_is_augmented(tmp_path: Path) -> None:
    """Cut-out places are exactly 0, which neither pixels of 8 bits nor a tanh are."""
    cutout = [{"name": "diff_augment", "policies": ["cutout"]}]
    trainer, batch = trainer_of(tables_of("cyclegan", tmp_path, penalties=cutout))
    seen: list[Tensor] = []
    for network in trainer.parts.discriminators.values():
        network.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    trainer.train_step(batch)
    assert len(seen) == 6
    assert all((images == 0).flatten(1).any(1).all() for images in seen)


def test_enlarged_images_are_cropped_at_the_given_places() -> None:
    images = torch.linspace(-1, 1, 40).expand(3, 2, 40, 40)  # brighter to the right
    places = torch.tensor([[0.0, 0.0], [0.5, 0.5], [0.99, 0.99]])
    cropped = enlarged_and_cropped(images, 1.25, places)
    assert cropped.shape == images.shape
    means = cropped.mean((1, 2, 3))
    assert means[0] == pytest.approx(-0.2, abs=0.02)  # the left four fifths
    assert means[1] == pytest.approx(0.0, abs=0.03)
    assert means[2] == pytest.approx(0.2, abs=0.02)
    assert torch.equal(cropped[:, 0], cropped[:, 1])
    assert cropped.abs().max() <= 1


def test_crops_lie_as_far_down_and_right_as_their_places_say() -> None:
    """Of 50 pixels, 40 from the 11 places 0 to 10 on; the ramps rise by 1/50 a pixel, down and to the right."""
    ramp = (torch.arange(40) + 0.5) / 40
    images = torch.stack([ramp[:, None].expand(40, 40), ramp[None].expand(40, 40)])
    places = torch.tensor([[0.0, 0.95], [0.5, 0.0], [0.999, 0.3]])
    cropped = enlarged_and_cropped(images.expand(3, -1, -1, -1), 1.25, places)
    middle = cropped[:, :, 15:25, 15:25].mean((2, 3))  # far from the edges, where bicubic is not straight
    expected = (20 + torch.tensor([[0.0, 10.0], [5.0, 0.0], [10.0, 3.0]])) / 50
    torch.testing.assert_close(middle, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("kind", ["pix2pix", "cyclegan"])
def test_each_image_is_cropped_at_a_place_of_its_own(tmp_path: Path, kind: str) -> None:
    trainer, batch = trainer_of(tables_of(kind, tmp_path, trainer={"enlarge": 1.5}))
    same = batch.real[:1].expand_as(batch.real)
    seen: list[Batch] = []
    trainer.discriminator_objective = noting(trainer.discriminator_objective, seen)
    trainer.train_step(Batch(same, None, same))
    for images in (seen[0].real, seen[0].condition):
        assert images is not None
        assert len(images.unique(dim=0)) > 1


def test_pairs_are_cropped_alike_and_domains_each_on_its_own(tmp_path: Path) -> None:
    for kind, alike in (("pix2pix", True), ("cyclegan", False)):
        trainer, batch = trainer_of(tables_of(kind, tmp_path, trainer={"enlarge": 1.5}))
        seen: list[Batch] = []
        trainer.discriminator_objective = noting(trainer.discriminator_objective, seen)
        trainer.train_step(Batch(batch.real, None, batch.real))
        assert not torch.equal(seen[0].real, batch.real)
        assert torch.equal(seen[0].real, seen[0].condition) == alike


@pytest.mark.parametrize("kind", ["pix2pix", "cyclegan"])
@pytest.mark.parametrize("options", [{"discriminator_steps": 2}, {"micro_batch_size": 2, "fake_batch": "fresh"}])
def test_crops_are_those_of_one_process_in_each_of_two(tmp_path: Path, kind: str, options: Tables) -> None:
    """A process has half of each minibatch of a step, and of each micro-batch."""
    tables = tables_of(kind, tmp_path, trainer={"enlarge": 1.5, **options})
    trainer, batch = trainer_of(tables)
    whole, parts = trainer.cropped(batch), torch.arange(len(batch)).reshape(2, 2, -1)  # parts, processes, samples
    for rank in range(2):
        trainer, _ = trainer_of(tables)
        trainer.parts = replace(trainer.parts, world=DistributedWorld(rank, 2, rank, 2))
        own = parts[:, rank].flatten()
        found = trainer.cropped(batch.map(lambda rows, own=own: rows[own]))
        assert torch.equal(found.real, whole.real[own])
        assert torch.equal(found.condition, whole.condition[own])


def noting(method: Callable[..., Any], seen: list[Batch]) -> Callable[..., Any]:
    return lambda batch, *given: seen.append(batch) or method(batch, *given)


def test_the_rate_falls_linearly_over_the_second_half(tmp_path: Path) -> None:
    for kind in ("pix2pix", "cyclegan"):
        run = ganzoo.run(tables_of(kind, tmp_path, run={"steps": 8}))
        for role in ("generator", "discriminator"):
            rates = [row[f"lr/{role}"] for row in run.metrics if f"lr/{role}" in row]
            assert rates == pytest.approx([2e-4] * 5 + [1.5e-4, 1e-4, 5e-5])


@pytest.mark.parametrize("kind", ["pix2pix", "cyclegan"])
def test_it_trains_on_several_minibatches_in_a_step_and_with_fresh_images(tmp_path: Path, kind: str) -> None:
    options = {"discriminator_steps": 2, "generator_steps": 2, "fake_batch": "fresh", "micro_batch_size": 2}
    run = ganzoo.run(tables_of(kind, tmp_path, trainer=options, run={"steps": 2}))
    assert run.metrics[-1]["step"] == 2


def test_a_pool_of_another_size_takes_what_it_holds(tmp_path: Path) -> None:
    part = ganzoo.run(tables_of("cyclegan", tmp_path, run={"steps": 2}))
    whole = ganzoo.resume(part.path, {"run.steps": 4, "trainer.pool_size": 3})
    assert whole.checkpoint.state()["trainer"]["pools"]["pool"].shape == (3, 1, 16, 16)


class Waits(TorchDispatchMode):
    """Notes the operations that wait for a device, since their result, or its shape, has to be known on the host."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        masked = func._schema.name.startswith("aten::index") and any(
            each is not None and each.dtype == torch.bool for each in (args[1] if isinstance(args[1], list) else [])
        )
        if masked or func._schema.name in ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select"):
            self.found.append(func._schema.name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", ["pix2pix", "cyclegan"])
def test_the_minibatch_of_a_step_that_diverged_is_kept_whole(tmp_path: Path, kind: str) -> None:
    diverging = {"generator_optimizer": {"name": "sgd", "lr": 1e18}}
    with pytest.raises(DivergedError) as caught:
        ganzoo.run(tables_of(kind, tmp_path, trainer=diverging))
    (kept,) = tmp_path.rglob("failure/*.pt")
    moment = torch.load(kept, weights_only=True)
    recipe, manager = load_recipe(tables_of(kind, tmp_path), plugin_manager())
    loader = build_run(recipe, manager, warn=lambda _: None).loader
    batch = [loader.next() for _ in range(caught.value.step)][-1]
    assert batch.condition is not None
    assert torch.equal(moment["images"], batch.real)
    assert torch.equal(moment["condition"], batch.condition)


@pytest.mark.parametrize("kind", ["pix2pix", "cyclegan"])
def test_a_step_does_not_wait_for_the_device(tmp_path: Path, kind: str) -> None:
    # Momentum, since Adam counts its steps in numbers on the CPU.
    sgd = {name: {"name": "sgd"} for name in ("generator_optimizer", "discriminator_optimizer")}
    trainer, batch = trainer_of(
        tables_of(kind, tmp_path, trainer=sgd | ({} if kind == "pix2pix" else {"pool_size": 6}))
    )
    trainer.train_step(batch)
    with Waits() as waits:
        for _ in range(3):
            trainer.train_step(batch)
        assert waits.found == []
        torch.arange(3)[torch.arange(3) > 1].sum().item()
    assert waits.found


# Recipes


def problems(tables: Tables) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(tables, plugin_manager())
    return str(caught.value)


def test_what_cyclegan_cannot_train_is_told(tmp_path: Path) -> None:
    text = problems(tables_of("cyclegan", tmp_path, discriminator={"conditional": True}))
    assert '"patchgan" (discriminator) judges pairs: set conditional = false' in text
    with pytest.raises(RequestError, match='"adaptive_augment" keeps what it learns of one generator or discriminator'):
        trainer_of(tables_of("cyclegan", tmp_path, penalties=[{"name": "adaptive_augment"}]))
    trainer_of(tables_of("cyclegan", tmp_path, penalties=[{"name": "diff_augment"}]))
    own = [{"name": "r1", "own_update": True}]
    assert '"r1" (penalties.0): set own_update = false' in problems(tables_of("cyclegan", tmp_path, penalties=own))
    assert "schedule" in problems(tables_of("cyclegan", tmp_path, trainer={"schedule": "discriminator_first"}))


@pytest.mark.parametrize("size", [1, 2, 4])
def test_images_of_a_whole_minibatch_are_not_judged_in_parts(tmp_path: Path, size: int) -> None:
    reused = tables_of("cyclegan", tmp_path, trainer={"micro_batch_size": size})
    assert 'micro_batch_size needs fake_batch = "fresh"' in problems(reused)


@pytest.mark.parametrize("size", [1, 2])
def test_the_parts_of_cyclegans_minibatch_add_up_to_it(tmp_path: Path, size: int) -> None:
    sgd = {name: {"name": "sgd", "lr": 0.01} for name in ("generator_optimizer", "discriminator_optimizer")}
    found = []
    for number, options in enumerate(({}, {"micro_batch_size": size})):
        trainer, batch = trainer_of(
            tables_of(
                "cyclegan", tmp_path / str(number), trainer=sgd | {"fake_batch": "fresh", "pool_size": 0} | options
            )
        )
        trainer.train_step(batch)
        weights = [each for network in trainer.parts.networks.values() for each in network.parameters()]
        found.append(torch.cat([each.detach().flatten() for each in weights]))
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-7)


def test_the_images_that_the_pools_give_do_not_depend_on_the_micro_batches(tmp_path: Path) -> None:
    """Of 4 images and a pool of 6, the second step's first two fill it, and only the others may be exchanged."""
    sgd = {name: {"name": "sgd", "lr": 1e-4} for name in ("generator_optimizer", "discriminator_optimizer")}
    found = []
    for size in (4, 2, 1):
        options = sgd | {"fake_batch": "fresh", "pool_size": 6, "micro_batch_size": size}
        trainer, batch = trainer_of(tables_of("cyclegan", tmp_path, trainer=options))
        seen: list[Tensor] = []
        for network in trainer.parts.discriminators.values():
            network.register_forward_pre_hook(lambda _, given, seen=seen: seen.append(given[0].flatten(1).mean(1)))
        for _ in range(4):
            trainer.train_step(batch)
        found.append((*(pool.images for pool in trainer.pools.values()), torch.cat(seen).sort().values))
    for others in found[1:]:
        for images, whole in zip(others, found[0], strict=True):
            torch.testing.assert_close(images, whole, rtol=0, atol=1e-3)


def test_an_identity_term_needs_domains_of_one_shape(tmp_path: Path) -> None:
    for kind in ("a", "b"):
        (tmp_path / kind).mkdir()
    pairs = {"name": "image_pairs", "root": str(tmp_path), "pairing": "unpaired", "folders": ["a", "b"]}
    tables = tables_of("cyclegan", tmp_path)
    tables["dataset"] = {**pairs, "image_size": 16, "channels": 3, "condition_channels": 1}
    assert "these are of 1×16×16 and 3×16×16: set trainer.identity_weight = 0" in problems(tables)
    load_recipe(tables, plugin_manager(), {"trainer.identity_weight": 0.0})


@pytest.mark.parametrize(
    ("kind", "changes", "told"),
    [
        ("pix2pix", {}, None),
        ("cyclegan", {}, None),
        ("pix2pix", {"discriminator": {"conditional": False}}, "does not see the input"),
        ("pix2pix", {"dataset": {"pairing": "unpaired"}}, 'is "unpaired", and pix2pix brings outputs close'),
        ("cyclegan", {"trainer": {"batch_size": 16}}, "is 16: CycleGAN is trained with 1 to 8 images"),
        ("cyclegan", {"dataset": {"condition": ["invert"]}}, "of which the other domain is the negative: set it to 0"),
    ],
)
def test_lints(tmp_path: Path, kind: str, changes: Tables, told: str | None) -> None:
    tables = tables_of(kind, tmp_path, **changes)
    del tables["dataset"]["limit"]  # of which another lint tells
    recipe, manager = load_recipe(tables, plugin_manager())
    found = [str(each) for each in lint(recipe, manager)]
    assert (not found) if told is None else (len(found) == 1 and told in found[0])
