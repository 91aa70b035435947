"""The tutorial's state dict: imported networks compute the same, and nothing of a file is ever run."""

from __future__ import annotations

import io
import pickle
import tarfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from literal.trap import Trap
from literal.tutorial import TutorialDiscriminator, TutorialGenerator
from torch import nn

from ganzoo import api
from ganzoo.errors import RequestError
from ganzoo.sampling.trained_run import TrainedRun

State = dict[str, torch.Tensor]


@pytest.fixture
def bring(tmp_path: Path) -> Callable[..., TrainedRun]:
    return lambda source, *overrides, **options: api.import_run(source, tmp_path / "run", overrides, **options)


def trained(network: nn.Module) -> nn.Module:
    """With statistics, gains and biases like those after training."""
    torch.manual_seed(1)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias)
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
            layer.num_batches_tracked.fill_(12)
    return network.eval()


@pytest.fixture
def generator() -> nn.Module:
    return trained(TutorialGenerator())


@pytest.fixture
def discriminator() -> nn.Module:
    return trained(TutorialDiscriminator())


@pytest.fixture
def state(generator: nn.Module) -> State:
    return dict(generator.state_dict())


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    def write(content: Any, name: str = "weights.pt", **options: Any) -> Path:
        torch.save(content, tmp_path / name, **options)
        return tmp_path / name

    return write


def same_generator(run: TrainedRun, original: nn.Module) -> bool:
    latents = torch.randn(5, 7)
    with torch.no_grad():
        expected = original(latents[:, :, None, None])
        return torch.allclose(run.generator(latents), expected, atol=1e-5)


Wrapping = Callable[[nn.Module, nn.Module], Any]
WRAPPED: dict[str, Wrapping] = {
    "bare": lambda g, d: g.state_dict(),
    "of a bare Sequential": lambda g, d: g.main.state_dict(),
    "of several devices": lambda g, d: nn.DataParallel(g).state_dict(),
    "in a checkpoint": lambda g, d: {"epoch": 3, "generator": g.state_dict(), "noise": torch.randn(2, 7, 1, 1)},
    "deep in a checkpoint": lambda g, d: {"nets": {"G": {"state_dict": g.state_dict()}}, "losses": [1.0]},
    "beside optimizers": lambda g, d: {
        "netG": nn.DataParallel(g).state_dict(),
        "optimizerG": torch.optim.Adam(g.parameters()).state_dict(),
    },
    "as of Lightning": lambda g, d: {"state_dict": {f"generator.{k}": v for k, v in g.state_dict().items()}},
    "out of order": lambda g, d: OrderedDict(sorted(g.state_dict().items(), reverse=True)),
    "parameters": lambda g, d: {k: nn.Parameter(v, v.is_floating_point()) for k, v in g.state_dict().items()},
    "with its discriminator": lambda g, d: {"netG": g.state_dict(), "netD": d.state_dict()},
    "discriminator first": lambda g, d: {"a": d.state_dict(), "b": g.state_dict()},
    "both in one": lambda g, d: {
        **{f"G.{k}": v for k, v in g.state_dict().items()},
        **{f"D.{k}": v for k, v in d.state_dict().items()},
    },
}


@pytest.mark.parametrize("wrapping", WRAPPED)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before zip"])
def test_tutorials_networks_compute_the_same(
    generator: nn.Module,
    discriminator: nn.Module,
    save: Callable[..., Path],
    bring: Callable[..., TrainedRun],
    wrapping: str,
    zipped: bool,
):
    content = WRAPPED[wrapping](generator, discriminator)
    run = bring(save(content, "weights.tar", _use_new_zipfile_serialization=zipped))
    assert same_generator(run, generator)
    if "discriminator" in run.checkpoint.networks():
        images = torch.rand(5, 3, 64, 64) * 2 - 1
        with torch.no_grad():
            probabilities = torch.sigmoid(run.discriminator(images))
            assert torch.allclose(probabilities, discriminator(images).flatten(), atol=1e-5)
    assert ("discriminator" in run.checkpoint.networks()) == (
        wrapping in ("with its discriminator", "discriminator first", "both in one")
    )


def test_tutorials_recipe(
    generator: nn.Module, discriminator: nn.Module, save: Callable[..., Path], bring: Callable[..., TrainedRun]
):
    run = bring(save({"G": generator.state_dict(), "D": discriminator.state_dict()}))
    recipe = run.recipe.to_dict()
    assert (recipe["dataset"]["name"], recipe["dataset"]["image_size"]) == ("celeba", 64)
    assert recipe["generator"]["latent_dim"] == 7
    assert recipe["generator"]["width"] == 2
    assert recipe["discriminator"]["width"] == 4
    assert recipe["generator"]["edge_bias"] is recipe["discriminator"]["edge_bias"] is False
    assert run.about()["batch_norm"] == "running"


@pytest.mark.slow
def test_an_import_can_be_trained_on(
    generator: nn.Module, discriminator: nn.Module, save: Callable[..., Path], bring: Callable[..., TrainedRun]
):
    imported = bring(save({"G": generator.state_dict(), "D": discriminator.state_dict()}))
    changes = {
        "run.root": str(imported.path.parent / "runs"),
        "run.steps": 1,
        "dataset.name": "synthetic",
        "dataset.count": 8,
        "dataset.crop": "largest",
        "trainer.batch_size": 4,
        "trainer.generator_optimizer.lr": 1e-9,
        "device.accelerator": "cpu",
        "init.from": str(imported.path),
        "init.freeze": ["discriminator.blocks.0"],
    }
    trained = api.run(imported.path / "recipe.toml", changes)
    for name in ("generator", "discriminator"):
        before, after = imported.checkpoint.network(name), trained.checkpoint.network(name)
        assert before.keys() == after.keys()
        if name == "generator":
            weights = [key for key in before if key.endswith("weight")]
            assert all(torch.allclose(before[key], after[key], atol=1e-6) for key in weights)
        assert torch.equal(before["blocks.0.0.weight"], after["blocks.0.0.weight"]) is (name == "discriminator")


def test_full_width_is_that_of_the_tutorial(save: Callable[..., Path], bring: Callable[..., TrainedRun]):
    original = trained(TutorialGenerator(nz=100, ngf=64))
    run = bring(save(original.state_dict()))
    assert run.recipe.to_dict()["generator"]["width"] == 32
    latents = torch.randn(2, 100)
    with torch.no_grad():
        assert torch.allclose(run.generator(latents), original(latents[:, :, None, None]), atol=1e-5)


def test_gray_images(save: Callable[..., Path], bring: Callable[..., TrainedRun]):
    run = bring(save(trained(TutorialGenerator(nc=1)).state_dict()))
    assert run.sample(2).shape == (2, 1, 64, 64)


def test_biases_where_no_norm_follows(
    generator: nn.Module, save: Callable[..., Path], bring: Callable[..., TrainedRun]
):
    generator.main[12].bias = nn.Parameter(torch.tensor([0.1, -0.2, 0.3]))
    run = bring(save(generator.state_dict()))
    assert run.recipe.to_dict()["generator"]["edge_bias"] is True
    assert same_generator(run, generator)


def test_another_size_by_another_number_of_layers(save: Callable[..., Path], bring: Callable[..., TrainedRun]):
    original = trained(TutorialGenerator())
    del original.main[3:6]  # 32 → 16 channels
    original.main[3] = nn.ConvTranspose2d(32, 8, 4, 2, 1, bias=False)
    with pytest.raises(RequestError, match="must double from layer to layer"):
        bring(save(original.state_dict()))
    original.main[0] = nn.ConvTranspose2d(7, 16, 4, 1, 0, bias=False)
    original.main[1] = trained(nn.BatchNorm2d(16))
    original.main[3] = nn.ConvTranspose2d(16, 8, 4, 2, 1, bias=False)
    run = bring(save(original.state_dict()))
    assert run.sample(1).shape == (1, 3, 32, 32)
    assert same_generator(run, original)


def test_channels_may_stop_doubling(save: Callable[..., Path], bring: Callable[..., TrainedRun]):
    original = trained(TutorialGenerator())
    original.main[0] = nn.ConvTranspose2d(7, 16, 4, 1, 0, bias=False)
    original.main[1] = trained(nn.BatchNorm2d(16))
    original.main[3] = nn.ConvTranspose2d(16, 16, 4, 2, 1, bias=False)
    assert same_generator(bring(save(original.eval().state_dict())), original)


def test_counters_of_an_old_torch_may_be_missing(
    generator: nn.Module, state: State, save: Callable[..., Path], bring: Callable[..., TrainedRun]
):
    without = {key: value for key, value in state.items() if "num_batches" not in key}
    assert same_generator(bring(save(without)), generator)


def without(key: str) -> Callable[[State], Any]:
    return lambda state: {k: v for k, v in state.items() if k != key}


def having(key: str, change: Callable[[torch.Tensor], Any]) -> Callable[[State], Any]:
    return lambda state: {**state, key: change(state.get(key, torch.zeros(4)))}


UNFIT: dict[str, tuple[Callable[[State], Any], str]] = {
    "extra key": (having("fc.weight", lambda t: t), "keys that the tutorials' DCGAN does not have: fc.weight"),
    "extra value": (having("epoch", lambda t: 3), "does not have: epoch"),
    "extra bias": (having("main.0.bias", lambda t: torch.zeros(32)), "main.0.bias: is one too many"),
    "extra layer": (having("main.14.weight", lambda t: t), "must be convolution, batch norm"),
    "missing key": (without("main.4.running_var"), "main.4.running_var: is missing"),
    "missing gains": (without("main.4.weight"), "main.4.weight: is missing"),
    "missing layer": (without("main.0.weight"), "its layers are batch norm, convolution"),
    "missing end": (without("main.12.weight"), "is neither a generator"),
    "another kernel": (having("main.3.weight", lambda t: t[..., :3, :3]), "must have (32, 16, 4, 4)"),
    "another norm": (having("main.4.weight", lambda t: t[:5]), "has shape (5,), but must have (16,)"),
    "another width": (having("main.6.weight", lambda t: t[:, :5]), "has 4, 5, 16, 32 channels"),
    "half precision": (
        having("main.3.weight", lambda t: t.half()),
        "main.3.weight → generator.blocks.1.0.weight: is of",
    ),
    "double": (lambda state: {k: v.double() for k, v in state.items()}, "is of type torch.float64, but must be"),
    "not numbers": (having("main.3.weight", lambda t: t * torch.nan), "not finite numbers"),
    "other colors": (having("main.12.weight", lambda t: t[:, :2]), "is neither a generator"),
    "two generators": (
        lambda state: {"G": state, "G_ema": state},
        "several networks like a generator: G.main.*, G_ema",
    ),
    "no state dict": (lambda state: {"epoch": 3}, "holds no state dict with keys such as main.0.weight"),
    "a list": (lambda state: [state], "holds no state dict with keys such as main.0.weight"),
    "a tensor": (lambda state: torch.zeros(3), "holds no state dict with keys such as main.0.weight"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_unfit_state_dict_is_told(
    tmp_path: Path, state: State, save: Callable[..., Path], bring: Callable[..., TrainedRun], case: str
):
    change, told = UNFIT[case]
    with pytest.raises(RequestError) as caught:
        bring(save(change(state)))
    assert told in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_discriminator_alone_is_told(
    discriminator: nn.Module, save: Callable[..., Path], bring: Callable[..., TrainedRun]
):
    with pytest.raises(RequestError, match="a discriminator, but no generator"):
        bring(save(discriminator.state_dict()))


def test_networks_for_different_images_are_told(
    generator: nn.Module, save: Callable[..., Path], bring: Callable[..., TrainedRun]
):
    other = trained(TutorialDiscriminator(nc=1))
    with pytest.raises(RequestError, match=r"makes images of 3×64×64, the discriminator takes 1×64×64"):
        bring(save({"G": generator.state_dict(), "D": other.state_dict()}))


def test_odd_width_is_told(save: Callable[..., Path], bring: Callable[..., TrainedRun]):
    with pytest.raises(RequestError, match="5 channels before the last layer; must be even"):
        bring(save(TutorialGenerator(ngf=5).state_dict()))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before zip"])
def test_code_in_a_pickle_is_not_run(
    tmp_path: Path, state: State, save: Callable[..., Path], bring: Callable[..., TrainedRun], zipped: bool
):
    source = save({"generator": state, "trap": Trap(tmp_path / "ran")}, _use_new_zipfile_serialization=zipped)
    with pytest.raises(RequestError) as caught:
        bring(source)
    assert "holds more than tensors and plain values" in str(caught.value)
    assert "weights_only" not in str(caught.value), "torch's advice to load it unsafely is not passed on"
    assert not (tmp_path / "ran").exists()
    torch.load(source, weights_only=False)
    assert (tmp_path / "ran").exists(), "the trap works"


def test_whole_module_is_not_unpickled(
    generator: nn.Module, save: Callable[..., Path], bring: Callable[..., TrainedRun]
):
    with pytest.raises(RequestError, match="can save the state dict by itself"):
        bring(save(generator.main))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before zip"])
def test_damaged_file_is_told(state: State, save: Callable[..., Path], bring: Callable[..., TrainedRun], zipped: bool):
    source = save(state, _use_new_zipfile_serialization=zipped)
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    with pytest.raises(RequestError, match="is damaged, or not of torch"):
        bring(source)


def test_plain_pickle_and_tar_are_not_recognized(tmp_path: Path, bring: Callable[..., TrainedRun]):
    source = tmp_path / "weights.pkl"
    source.write_bytes(pickle.dumps(Trap(tmp_path / "ran")))
    with pytest.raises(RequestError, match="dcgan_tutorial: was not written by torch"):
        bring(source)
    with pytest.raises(RequestError, match="dcgan_tutorial: was not written by torch"):
        bring(source, importer="dcgan_tutorial")
    with tarfile.open(tmp_path / "weights.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("pickle"), io.BytesIO())
    with pytest.raises(RequestError, match="dcgan_tutorial: is a tar archive"):
        bring(tmp_path / "weights.tar")
    assert not (tmp_path / "ran").exists()
