"""ONNX exports: the same images as torch's, for batches of any size, or a reason why not."""

from __future__ import annotations

import builtins
import json
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from ganzoo_export import export_run
from ganzoo_export.onnx_model import onnx_model
from torch import Tensor

from ganzoo import api
from ganzoo.components.network import Generator
from ganzoo.components.spec import DatasetInfo, ImageSpec, LabelSpec
from ganzoo.errors import CheckpointError, RequestError
from ganzoo.registry.plugin_manager import PluginManager, plugin_manager
from ganzoo.registry.registry import Entry
from ganzoo.sampling.generate import generate

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def run_onnx(content: bytes | Path, **inputs: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(
        content if isinstance(content, bytes) else str(content), providers=["CPUExecutionProvider"]
    )
    (images,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    return torch.from_numpy(images)


@pytest.mark.slow
def test_images_are_those_of_the_run(tables: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    trained = api.run(tables, ["trainer.ema_decay=0.5"])
    capsys.readouterr()
    out = export_run(trained, tmp_path / "given", "onnx")
    assert capsys.readouterr() == ("", "")
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "export.json",
        "generator.onnx",
        "recipe.toml",
        "samples.png",
    ]
    for count in (1, 3, 100):
        latents = trained.latents(count, seed=count)
        images = run_onnx(out / "generator.onnx", latents=latents)
        torch.testing.assert_close(images, trained.images(latents), atol=1e-4, rtol=0)
    report = json.loads((out / "export.json").read_text())["onnx"]
    assert report["largest_difference"].keys() == {"1", "2", "7", "64"}
    assert max(report["largest_difference"].values()) <= 1e-4
    readme = (out / "README.md").read_text()
    code = readme.split("```python\n")[1].split("```")[0].replace('"generator.onnx"', repr(str(out / "generator.onnx")))
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["images"].shape == (64, 3, 16, 16)
    with pytest.raises(CheckpointError, match="is an ONNX export, for onnxruntime"):
        api.load_export(out)

    with pytest.raises(RequestError, match="statistics of each batch"):
        export_run(trained, tmp_path / "batch", "onnx", batch_norm="batch")
    assert not (tmp_path / "batch").exists()


@pytest.mark.slow
def test_latents_of_another_prior_are_given(tables: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """InfoGAN's begin with codes, of which the normal numbers that others take are no examples."""
    pytest.importorskip("ganzoo_networks")
    tables["generator"] = {"name": "infogan", "width": 4, "latent_dim": 8, "categorical": [3], "continuous": 1}
    trained = api.run(tables, ["run.steps=1"])
    out = export_run(trained, tmp_path / "given", "onnx")
    monkeypatch.chdir(out)
    readme, names = Path("README.md").read_text(), {}
    exec(readme.split("```python\n")[1].split("```")[0], names)
    torch.testing.assert_close(torch.from_numpy(names["images"]), trained.sample(64), atol=1e-4, rtol=0)
    assert numpy.load("latents.npy").shape == (1024, 8)
    assert "latents.npy" in json.loads(Path("export.json").read_text())["files"]
    assert "not those of a standard normal distribution" in readme


@pytest.mark.slow
def test_standing_statistics_are_those_of_sampling(tables: dict, tmp_path: Path):
    trained = api.run(tables, ["samples.batch_norm=standing"])
    out = export_run(trained, tmp_path / "given", "onnx")
    latents = trained.latents(5)
    torch.testing.assert_close(
        run_onnx(out / "generator.onnx", latents=latents), trained.images(latents), atol=1e-4, rtol=0
    )
    assert (trained.images(latents) - trained.images(latents, batch_norm="running")).abs().max() > 1e-3


class Noisy(Generator):
    """Draws noise of its own, as StyleGAN does."""

    def __init__(self, config: Any, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        self.layer = torch.nn.Linear(config.latent_dim, 3 * 8 * 8)

    def forward(self, latents: Tensor) -> Tensor:
        images = self.layer(latents).view(-1, 3, 8, 8)
        return torch.tanh(images + torch.randn_like(images))


class Choosy(Noisy):
    """Asks its latents for the way, which no graph of a file can follow."""

    def forward(self, latents: Tensor) -> Tensor:
        images = self.layer(latents).view(-1, 3, 8, 8)
        return torch.tanh(images) if latents.sum() > 0 else -torch.tanh(images)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "text"), [(Noisy, "differs from torch by up to"), (Choosy, "cannot be turned into ONNX by torch")]
)
def test_what_cannot_be_faithful_is_refused(kind: type[Generator], text: str):
    generator = kind(kind.Config(name="x", latent_dim=4), info=DatasetInfo(ImageSpec(3, 8, 8)))
    with pytest.raises(RequestError, match=text):
        onnx_model(generator, "auto", "runs/x")


def test_libraries_that_are_missing(tables: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    trained, real = api.run(tables), builtins.__import__

    def absent(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "onnxscript":
            raise ModuleNotFoundError("No module named 'onnxscript'", name="onnxscript")
        return real(name, *arguments, **options)

    monkeypatch.delitem(sys.modules, "onnxscript", raising=False)
    monkeypatch.setattr(builtins, "__import__", absent)
    told = r'needs onnxscript, which is not installed: pip install "\./plugins/ganzoo-export\[onnx\]"'
    with pytest.raises(RequestError, match=told):
        export_run(trained, tmp_path / "given", "onnx")


def small(entry: Entry) -> Generator:
    """A generator of this kind with few weights, for the first size of images that it can make."""
    for channels, side in ((3, 32), (3, 64), (1, 28), (3, 28)):
        image = ImageSpec(channels, side, side)
        info = DatasetInfo(image, LabelSpec.classes("abcdefghij"), condition=image)
        fields = entry.config.model_fields
        narrow = {"width": 8, "channel_base": 256, "max_channels": 16, "style_dim": 16}
        for few in ({**narrow, "latent_dim": 16}, narrow):  # some have latents of one size alone
            try:
                config = entry.config(name=entry.name, **{key: few[key] for key in few if key in fields})
                config.check_info(info)
                generator: Generator = entry.load()(config, info=info)
                return generator.eval()
            except ValueError:
                continue
    raise AssertionError(f"{entry.name}: makes none of these images")


@pytest.mark.slow
@pytest.mark.parametrize("name", plugin_manager().registries.generators.names())
def test_every_registered_generator(name: str, manager: PluginManager):
    generator = small(manager.registries.generators[name])
    latents = generator.sample_latents(6, torch.Generator().manual_seed(1))
    labels = torch.arange(6) if "labels" in generator.uses else None
    condition = torch.rand(6, *generator.info.samples.shape) * 2 - 1 if "condition" in generator.uses else None
    norms = [child for child in generator.modules() if isinstance(child, torch.nn.modules.batchnorm._BatchNorm)]
    if norms and not any(norm.track_running_stats for norm in norms):
        with pytest.raises(RequestError, match="batch norms keep no statistics"):
            onnx_model(generator, "auto", name)
        return
    content, report = onnx_model(generator, "auto", name)
    given = {"latents": latents, "labels": labels, "condition": condition}
    inputs = {name: value for name, value in given.items() if value is not None}
    expected = generate(generator, latents, labels, condition)  # the generator itself is still whole
    assert numpy.abs((run_onnx(content, **inputs) - expected).numpy()).max() <= 1e-4
    assert max(report["largest_difference"].values()) <= 1e-4


class Counting(Noisy):
    """Takes the size of the batch as a number, as many do."""

    def forward(self, latents: Tensor) -> Tensor:
        return torch.tanh(self.layer(latents)).view(len(latents), 3, 8, 8)


@pytest.mark.slow
def test_a_generator_that_counts_its_latents():
    generator = Counting(Counting.Config(name="x", latent_dim=4), info=DatasetInfo(ImageSpec(3, 8, 8)))
    content, _ = onnx_model(generator, "auto", "runs/x")
    latents = torch.randn(5, 4)
    torch.testing.assert_close(run_onnx(content, latents=latents), generator(latents), atol=1e-4, rtol=0)


@pytest.mark.slow
def test_convolutions_with_weights_for_each_image(manager: PluginManager):
    """ONNX has no groups as many as images; the file computes them in the other form."""
    entry = manager.registries.generators["stylegan2"]
    few = {"latent_dim": 4, "style_dim": 8, "channel_base": 64, "max_channels": 8, "modulation": "grouped"}
    generator = entry.load()(entry.config(name="stylegan2", **few), info=DatasetInfo(ImageSpec(1, 8, 8))).eval()
    content, _ = onnx_model(generator, "auto", "runs/x")
    latents = torch.randn(5, 4)
    expected = generate(generator, latents)
    torch.testing.assert_close(run_onnx(content, latents=latents), expected, atol=1e-4, rtol=0)
