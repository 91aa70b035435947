"""Style mixing, the mean style, path length, and whole runs: resumed, and in two processes."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ganzoo_stylegan.configs import PathLengthConfig
from ganzoo_stylegan.path_length import PathLength
from ganzoo_testing import check_component, components_of, describe
from ganzoo_testing.fixtures import tiny_networks
from torch import Tensor
from torchrun import Ranks

from ganzoo import api
from ganzoo.components.penalty import PenaltyStep
from ganzoo.components.world import World
from ganzoo.errors import RecipeError
from ganzoo.recipe.load import load_recipe
from ganzoo.registry.plugin_manager import plugin_manager
from ganzoo.runtime.distributed import DistributedWorld
from ganzoo.training.build import build_run

SMALL = {"latent_dim": 8, "style_dim": 8, "channel_base": 64, "max_channels": 8}
ENTRIES = components_of("ganzoo-stylegan")


@pytest.mark.parametrize("entry", ENTRIES, ids=describe)
def test_components_keep_their_contracts(entry: Any) -> None:
    check_component(entry)


def test_conditional_generators_and_discriminators_use_the_labels() -> None:
    registries = plugin_manager().registries
    for registry in (registries.generators, registries.discriminators):
        check_component(registry["stylegan2"], conditional=True)


def test_the_output_may_be_the_tanh_of_the_papers(make: Any) -> None:
    linear, bounded = (make("generators", output=output, **SMALL).eval() for output in ("linear", "tanh"))
    bounded.load_state_dict(linear.state_dict())
    latents = torch.randn(4, 8)
    assert linear(latents).abs().max() > 1
    assert torch.equal(bounded(latents), linear(latents).tanh())
    assert (linear.bounded, bounded.bounded) == (False, True)


def test_with_style_mixing_later_layers_have_another_style(make: Any) -> None:
    generator = make("generators", size=64, style_mixing=0.6, **SMALL)
    styles = generator.layer_styles(torch.randn(400, 8)).detach()
    same = (styles == styles[:, :1]).all(2)
    mixed = ~same.all(1)
    assert float(mixed.float().mean()) == pytest.approx(0.6, abs=0.08)
    assert same[:, 0].all()
    begins = same.sum(1)[mixed]
    assert begins.min() == 1
    assert begins.max() == generator.num_styles - 1
    assert (same.cumprod(1) == same).all()  # once another style begins, it stays
    assert (generator.eval().layer_styles(torch.randn(20, 8)).std(1) == 0).all()


def test_with_style_mixing_of_1_every_image_has_two_styles(make: Any) -> None:
    styles = make("generators", size=8, style_mixing=1.0, **SMALL).layer_styles(torch.randn(200, 8))
    assert (styles[:, 0] != styles[:, -1]).any(1).all()


def test_without_style_mixing_all_layers_have_one_style(make: Any) -> None:
    generator = make("generators", preset="cifar", **SMALL)
    styles = generator.layer_styles(torch.randn(20, 8)).detach()
    assert torch.equal(styles, styles[:, :1].expand_as(styles))


def test_the_mean_style_follows_the_minibatches(make: Any) -> None:
    generator, latents = make("generators", style_mixing=0.0, **SMALL), torch.randn(6, 8)
    mean = generator.mapping(latents).mean(0)
    for _ in range(3):
        generator(latents)
    assert torch.allclose(generator.mean_style, mean * (1 - 0.995**3), atol=1e-7)
    before = generator.mean_style.clone()
    generator.eval()(latents)
    assert torch.equal(generator.mean_style, before)


class Doubling(World):
    """A world whose other processes have three times the values of this one."""

    def all_reduce_mean(self, value: Tensor) -> Tensor:
        return value * 2


def test_the_mean_style_is_that_of_all_processes(make: Any) -> None:
    generator, latents = make("generators", **SMALL), torch.randn(6, 8)
    generator.world = Doubling()
    generator(latents)
    assert torch.allclose(generator.mean_style, generator.mapping(latents).mean(0) * 0.01, atol=1e-7)


def test_noise_is_drawn_in_training_and_fixed_in_evaluation(make: Any) -> None:
    generator, latents = make("generators", style_mixing=0.0, **SMALL), torch.randn(3, 8)
    with torch.no_grad():
        for layer in generator.layers:
            layer.noise_strength.fill_(1)
        assert not torch.equal(generator(latents), generator(latents))
        generator.eval()
        assert torch.equal(generator(latents), generator(latents))


def step_of(generator: Any, latents: Tensor, seed: int = 3) -> PenaltyStep:
    images = generator(latents)
    return PenaltyStep(
        generator=generator,
        discriminator=tiny_networks(16)[1],
        real=images,
        fake=images,
        unaugmented_real=images,
        unaugmented_fake=images,
        latents=latents,
        labels=None,
        condition=None,
        real_logits=None,
        fake_logits=torch.zeros(len(images)),
        rng=torch.Generator().manual_seed(seed),
    )


@pytest.mark.slow
def test_path_length_is_the_length_of_the_jacobian_on_half_the_minibatch(make: Any) -> None:
    generator, latents = make("generators", style_mixing=0.0, **SMALL), torch.randn(6, 8)
    penalty = PathLength(PathLengthConfig(name="path_length"), info=generator.info)
    term = penalty.generator_term(step_of(generator, latents))

    # Independently: the whole Jacobian of each image by its styles, times the same random images.
    noise = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(3)) / 16
    lengths = []
    for latent, image in zip(latents[:3], noise, strict=True):
        styles = generator.layer_styles(latent[None]).detach()
        jacobian = torch.autograd.functional.jacobian(generator.synthesize, styles)[0, :, :, :, 0]
        product = torch.einsum("chw,chwld->ld", image, jacobian)
        lengths.append(product.square().sum(1).mean().sqrt())
    found = torch.stack(lengths)
    mean = 0.01 * found.mean()
    assert float(penalty.mean_length) == pytest.approx(float(mean), rel=1e-4)
    assert float(term.detach()) == pytest.approx(float((found - mean).square().mean()), rel=1e-4)
    term.backward()
    assert all(p.grad is not None for name, p in generator.named_parameters() if "weight" in name)


def test_the_mean_path_length_is_that_of_all_processes(make: Any) -> None:
    generator, latents, means = make("generators", style_mixing=0.0, **SMALL), torch.randn(6, 8), []
    for world in (World(), Doubling()):
        penalty = PathLength(PathLengthConfig(), info=generator.info)
        penalty.generator_term(replace(step_of(generator, latents), world=world))
        means.append(penalty.mean_length.item())
    assert means[1] == pytest.approx(2 * means[0], rel=1e-4)


def test_path_length_of_a_generator_whose_mapping_is_frozen(tmp_path: Path) -> None:
    options = tables(
        tmp_path, penalties=[{"name": "path_length", "interval": 1}], init={"freeze": ["generator.mapping"]}
    )
    options["run"] |= {"steps": 1, "log_every": 1}
    (row,) = api.run(options).directory.read_metrics()
    assert row["penalty/path_length_generator"] > 0


def test_path_length_refuses_a_generator_without_styles(tmp_path: Path) -> None:
    options = tables(tmp_path, penalties=[{"name": "path_length"}], generator={"name": "dcgan"})
    with pytest.raises(RecipeError, match=r'penalties\.0: "path_length" needs a generator with styles: "stylegan2"'):
        load_recipe(options, plugin_manager())


def tables(root: Path, name: str = "run", **changes: Any) -> dict[str, Any]:
    """Nine steps with everything: conditional, mixing, path length, R1 and ADA, which starts to augment at once."""
    return {
        "run": {"name": name, "seed": 7, "steps": 9, "log_every": 3, "root": str(root)},
        "device": {"accelerator": "cpu", "precision": "fp32"},
        "dataset": {"name": "synthetic", "image_size": 16, "count": 24, "num_classes": 3},
        "generator": {"name": "stylegan2", "conditional": True, **SMALL},
        "discriminator": {"name": "stylegan2", "conditional": True, "channel_base": 64, "max_channels": 8},
        "loss": {"name": "non_saturating", "discriminator_terms": "sum"},
        "penalties": [
            {"name": "r1", "weight": 0.1, "interval": 4, "own_update": True},
            {"name": "path_length", "interval": 3},
            {"name": "ada", "target": -1.0, "ramp_images": 100},
        ],
        "trainer": {
            "name": "adversarial",
            "batch_size": 8,
            "fake_batch": "fresh",
            "ema_half_life": 500,
            "ema_ramp": 0.5,
            "ema_buffers": "copy",
            "generator_optimizer": {"name": "adam", "lr": 2.5e-3, "betas": [0.0, 0.99]},
            "discriminator_optimizer": {"name": "adam", "lr": 2.5e-3, "betas": [0.0, 0.99]},
        },
        "samples": {"every": 100, "count": 4, "gif": False},
        "checkpoint": {"every": 5, "keep": 9},
        "tracking": {"wandb": {"mode": "disabled"}},
        **changes,
    }


def same_files(ours: Path, theirs: Path) -> None:
    names = sorted(file.name for file in ours.glob("*.safetensors"))
    assert "penalty_ada.safetensors" in names
    assert "penalty_path_length.safetensors" in names
    assert [name for name in names if (ours / name).read_bytes() != (theirs / name).read_bytes()] == []


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole = api.run(tables(tmp_path, "whole"))
    assert whole.metrics[-1]["penalty/ada_probability"] > 0.2
    shutil.copytree(whole.path, tmp_path / "broken")
    for left in (tmp_path / "broken" / "checkpoints").glob("*9*"):
        shutil.rmtree(left)
    resumed = api.resume(tmp_path / "broken")
    same_files(resumed.checkpoint.path, whole.checkpoint.path)
    ours, theirs = (torch.load(run.checkpoint.path / "state.pt", weights_only=True) for run in (resumed, whole))
    for name in ("generator", "discriminator"):
        for ours_of, theirs_of in zip(
            *(state["trainer"]["optimizers"][name]["optimizer"]["state"].values() for state in (ours, theirs)),
            strict=True,
        ):
            assert all(torch.equal(ours_of[key], theirs_of[key]) for key in ours_of)


@pytest.mark.slow
def test_rates_are_corrected_for_lazy_terms_and_the_mean_is_in_the_average(tmp_path: Path) -> None:
    run = api.run(tables(tmp_path))
    last = run.metrics[-1]
    assert last["lr/discriminator"] == pytest.approx(2.5e-3 * 4 / 5)
    assert last["lr/generator"] == pytest.approx(2.5e-3 * 3 / 4)
    raw, average = run.generator_with("raw"), run.generator_with("ema")
    assert torch.equal(raw.mean_style, average.mean_style)
    assert not torch.equal(raw.constant, average.constant)


def test_path_length_neither_generates_nor_judges_images_for_nothing(tmp_path: Path) -> None:
    """An update of its own synthesizes its part of the minibatch once."""
    options = tables(tmp_path, penalties=[{"name": "path_length", "interval": 1}])
    recipe, manager = load_recipe(options, plugin_manager())
    run = build_run(recipe, manager, warn=lambda _: None)
    trainer, batch, counts = run.trainer, run.loader.next(), {"G": [], "D": []}
    parts = trainer.parts
    parts.generator.layers[0].register_forward_hook(lambda _, given, __: counts["G"].append(len(given[0])))
    parts.discriminator.register_forward_hook(lambda _, given, __: counts["D"].append(len(given[0])))
    trainer.train_step(batch)
    assert counts == {"G": [8, 8, 4], "D": [8, 8, 8]}  # images for each network; those of path length


@pytest.mark.slow
def test_two_processes_train_the_same_networks_as_one_at_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    script = tmp_path / "train.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from pathlib import Path\nimport ganzoo\nfrom test_training import first_step, tables\n"
        f"root = Path({str(tmp_path / 'two')!r})\n"
        "ganzoo.run(tables(root, 'whole'))\nganzoo.run(first_step(root))\n"
    )
    child = Ranks(2, script)
    _, err = child.communicate(timeout=300)
    assert child.returncode == 0, err[-3000:]  # the weights are compared at each log point
    whole = api.load_run(tmp_path / "two" / "whole" / "0001")
    assert whole.metrics[-1]["penalty/ada_probability"] > 0.2
    two, one = api.load_run(tmp_path / "two" / "first" / "0001"), api.run(first_step(tmp_path / "one"))
    ours, theirs = two.generator_with("raw").state_dict(), one.generator_with("raw").state_dict()
    assert float(ours["mean_style"].abs().max()) > 1e-4
    for key in (key for key in ours if "noise" not in key):  # whose gradient is the noise
        assert torch.allclose(ours[key], theirs[key], atol=1e-6), key
    assert two.metrics[-1]["penalty/ada_probability"] == one.metrics[-1]["penalty/ada_probability"]


def first_step(root: Path) -> dict[str, Any]:
    """One step, which does not depend on noise, of strength 0 at first; with SGD, whose step is no sign of rounding."""
    options = tables(root, "first")
    options["run"] |= {"steps": 1, "log_every": 1}
    options["generator"] |= {"style_mixing": 0.0}
    options["discriminator"] |= {"minibatch_stddev": 0}
    options["penalties"] = [{"name": "ada", "target": -1.0, "adjust_every": 1}]
    for name in ("generator", "discriminator"):
        options["trainer"][f"{name}_optimizer"] = {"name": "sgd", "lr": 0.01}
    return options


def test_half_a_minibatch_is_one_image_at_least(make: Any) -> None:
    generator = make("generators", **SMALL)
    penalty = PathLength(PathLengthConfig(), info=generator.info)
    step = step_of(generator, torch.randn(1, 8))
    assert penalty.generator_term(replace(step)).isfinite()


def test_mixed_styles_begin_as_those_of_the_image(make: Any) -> None:
    generator, latents = make("generators", style_mixing=1.0, **SMALL), torch.randn(50, 8)
    assert torch.equal(generator.layer_styles(latents)[:, 0], generator.mapping(latents))


def test_both_styles_of_an_image_have_its_label(make: Any) -> None:
    """Where the latents have no effect, the second style is the first."""
    generator = make("generators", style_mixing=1.0, conditional=True, **SMALL)
    with torch.no_grad():
        generator.mapping.layers[0].weight[:, :8] = 0
    styles = generator.layer_styles(torch.randn(20, 8), torch.arange(20) % 10).detach()
    torch.testing.assert_close(styles, styles[:, :1].expand_as(styles))
    assert not styles[0].allclose(styles[1])


def test_styles_of_zero_leave_all_channels_as_they_are_at_first(make: Any) -> None:
    generator = make("generators", **SMALL)
    for layer in (*generator.layers, *generator.to_image):
        assert torch.equal(layer.affine(torch.zeros(2, 8)), torch.ones(2, layer.weight.shape[1]))


def test_noise_is_one_map_for_all_channels_and_another_for_each_image(make: Any) -> None:
    layer = make("generators", **SMALL).layers[-1]
    features, styles = torch.randn(6, layer.weight.shape[1], 16, 16), torch.randn(6, 8)
    with torch.no_grad():
        layer.noise_strength.fill_(0.3)
        layer.bias.fill_(50.0)  # where LeakyReLU is straight
        added = (layer(features, styles, "random") - layer(features, styles, "none")) / (0.3 * 2**0.5)
    torch.testing.assert_close(added, added[:, :1].expand_as(added), atol=1e-3, rtol=0)
    maps = added[:, 0].flatten(1)
    assert maps.std().item() == pytest.approx(1, abs=0.1)
    assert torch.corrcoef(maps).fill_diagonal_(0).abs().max() < 0.3


def test_activations_are_kept_within_their_limit_times_the_gain(make: Any) -> None:
    kinds = ("generators", "discriminators")
    networks = [make(kind, activation_limit=0.25, channel_base=64, max_channels=8) for kind in kinds]
    found = {}
    for network in networks:
        for name, module in network.named_modules():
            module.register_forward_hook(lambda _, __, out, name=name: found.update({name: out.abs().max().item()}))
            if isinstance(bias := getattr(module, "bias", None), Tensor):
                torch.nn.init.ones_(bias)  # beyond it
    networks[1](networks[0](torch.randn(8, 512)))
    convolutions = [*(f"layers.{i}" for i in range(5)), *(f"blocks.{i}.conv0" for i in range(2)), "conv"]
    for name in (*convolutions, *(f"to_image.{i}" for i in range(3)), "from_image"):
        assert found[name] == pytest.approx(0.25), name
    for name in ("blocks.0.conv1", "blocks.1.conv1"):
        assert found[name] == pytest.approx(0.25 * 0.5**0.5), name


def test_path_length_is_that_of_the_first_half_and_its_labels(make: Any) -> None:
    """√ of the mean over the layers of ‖Jᵀy‖², with y of N(0, 1) over the root of the number of pixels."""
    generator = make("generators", style_mixing=0.0, conditional=True, **SMALL)
    latents, labels = torch.randn(6, 8), torch.tensor([3, 1, 4, 5, 9, 2])
    plain = step_of(make("generators", style_mixing=0.0, **SMALL), latents)
    penalty = PathLength(PathLengthConfig(), info=generator.info)
    noise = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(3)) / 16
    mean = 0.0
    for _ in range(2):
        rng = torch.Generator().manual_seed(3)
        term = penalty.generator_term(replace(plain, generator=generator, labels=labels, rng=rng))
        styles = generator.layer_styles(latents[:3], labels[:3]).detach()
        _, product = torch.autograd.functional.vjp(generator.synthesize, styles, noise)
        lengths = product.square().sum(2).mean(1).sqrt()
        mean = 0.99 * mean + 0.01 * lengths.mean().item()
        assert penalty.mean_length.item() == pytest.approx(mean, rel=1e-4)
        assert term.item() == pytest.approx((lengths - mean).square().mean().item(), rel=1e-4)


def test_path_length_has_the_authors_figures() -> None:
    config = PathLengthConfig()
    figures = (config.weight, config.interval, config.own_update, config.decay, config.batch_share)
    assert figures == (2.0, 4, True, 0.01, 0.5)


class Part(DistributedWorld):
    """One of some processes with this minibatch, whose lengths and styles have a mean of 0."""

    def __init__(self, rank: int, world_size: int, *whole: Tensor) -> None:
        super().__init__(rank, world_size, rank, world_size)
        self.whole = whole

    def all_gather(self, rows: Tensor) -> Tensor:
        return next(each for each in self.whole if each.shape[1:] == rows.shape[1:])

    def all_reduce_mean(self, value: Tensor) -> Tensor:
        return torch.zeros_like(value)


def test_path_length_is_of_the_same_images_with_any_number_of_processes(make: Any) -> None:
    """Two processes with their halves of the minibatch take the first half of all, and not of each."""
    generator = make("generators", style_mixing=0.0, conditional=True, **SMALL)
    plain = make("generators", style_mixing=0.0, **SMALL)
    latents, labels, terms = torch.randn(8, 8), torch.arange(8), {}
    for world in (Part(0, 1, latents, labels), Part(0, 2, latents, labels), Part(1, 2, latents, labels)):
        own = slice(world.rank * (count := 8 // world.world_size), (world.rank + 1) * count)
        step = replace(step_of(plain, latents[own]), generator=generator, labels=labels[own], world=world)
        with world.sharded_rng(step.rng, count):
            term = PathLength(PathLengthConfig(), info=generator.info).generator_term(step)
        terms.setdefault(world.world_size, []).append(term.item())
    assert sum(terms[2]) / 2 == pytest.approx(terms[1][0], rel=1e-4)
