"""Inversion: what it finds and writes, that its files serve as points, in both spaces, and what it refuses."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ganzoo_analysis import inversion, latent_space
from ganzoo_analysis.latent_commands import points
from ganzoo_analysis.points import points_of
from ganzoo_dcgan.stacks import StackedGenerator
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

import ganzoo
from ganzoo import api
from ganzoo.errors import RequestError
from ganzoo.sampling.trained_run import TrainedRun

Command = Callable[..., Any]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tables_in: Callable[[Path], dict]) -> TrainedRun:
    return api.run(tables_in(tmp_path_factory.mktemp("trained")), ["run.steps=2"])


@pytest.fixture
def pictures(trained: TrainedRun, tmp_path: Path) -> Path:
    """Three images that the generator makes, of a seed that the search does not begin at."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, image in zip(("a", "b", "c"), trained.sample(3, seed=77), strict=True):
        pixels = (image.permute(1, 2, 0) * 127.5 + 127.5).round().byte().numpy()
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def styled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives every generator of blocks an intermediate space: three times the latents."""
    forward = StackedGenerator.forward

    def to_style(self: StackedGenerator, latents: Tensor) -> Tensor:
        return 3 * latents

    def from_style(self: StackedGenerator, styles: Tensor) -> Tensor:
        return forward(self, styles / 3)

    monkeypatch.setattr(StackedGenerator, "to_style", to_style, raising=False)
    monkeypatch.setattr(StackedGenerator, "from_style", from_style, raising=False)


@pytest.mark.slow
def test_finds_what_the_generator_can_make(trained: TrainedRun):
    images = trained.sample(3, seed=77)
    begin = inversion.invert(trained, images, steps=0)
    found = inversion.invert(trained, images, steps=300)
    # the untrained generator's images hardly differ, so that the search is held against where it began
    assert (found.distances < 0.1 * begin.distances).all()
    assert found.names == ["0", "1", "2"]
    torch.testing.assert_close(found.distances, (images - found.reconstructions).flatten(1).norm(dim=1))
    torch.testing.assert_close(trained.images(found.points), found.reconstructions)
    again = inversion.invert(trained, images, steps=300)
    assert again.points.equal(found.points)


@pytest.mark.parametrize("rate", [0.05, 3.0])
def test_the_nearest_point_of_a_descent_by_adam_with_a_cosine_rate(trained: TrainedRun, rate: float):
    """With the larger rate the search leaves a near point again."""
    images, candidates, steps = trained.sample(3, seed=77), trained.latents(512, 5), 6
    with torch.no_grad():
        drawn = trained.images(candidates)
    points = candidates[torch.cdist(images.flatten(1), drawn.flatten(1)).argmin(1)].requires_grad_()
    generator = trained.generator_with("auto").eval()
    adam = torch.optim.Adam([points])
    path, errors = [], []
    for step in range(steps + 1):
        error = (generator(points) - images).square().mean((1, 2, 3))
        path.append(points.detach().clone())
        errors.append(error.detach())
        adam.param_groups[0]["lr"] = rate * candidates.std().item() * (1 + math.cos(math.pi * step / steps)) / 2
        (points.grad,) = torch.autograd.grad(error.sum(), points)
        adam.step()
    nearest = torch.stack(errors).argmin(0)
    assert (nearest == steps).all() == (rate < 1)
    found = inversion.invert(trained, images, steps=steps, rate=rate, seed=5)
    torch.testing.assert_close(found.points, torch.stack(path)[nearest, range(3)], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(trained.images(found.points), found.reconstructions)


def test_an_image_does_not_depend_on_the_others(trained: TrainedRun, monkeypatch: pytest.MonkeyPatch):
    images = trained.sample(3, seed=77)
    together = inversion.invert(trained, images, steps=5)
    monkeypatch.setattr(inversion, "AT_ONCE", 2)
    apart, told = [], []
    apart = inversion.invert(trained, images, steps=5, progress=told.append)
    torch.testing.assert_close(apart.points, together.points)
    assert told == list(range(1, 11))
    assert inversion.rounds(3) == 2


def test_the_command_writes_pairs_and_points(command: Command, trained: TrainedRun, pictures: Path, tmp_path: Path):
    out = tmp_path / "found"
    ended = command("invert", trained.path, "--images", pictures, "--out", out, "--steps", "20")
    assert ended.code == 0
    *lines, last = ended.out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["a", "b", "c"]
    assert last == str(out)
    assert sorted(path.name for path in out.iterdir()) == [f"{n}.{s}" for n in "abc" for s in ("png", "safetensors")]
    (name, latents), *others = load_file(out / "b.safetensors").items()
    assert (name, latents.shape, others) == ("latents", (1, 8), [])
    with Image.open(out / "b.png") as picture:
        assert picture.info["ganzoo:image"] == "b"
        assert picture.info["ganzoo:distance"] == lines[1].partition(": ")[2]
    before = {path: path.read_bytes() for path in out.iterdir()}
    again = command("invert", trained.path, "--images", pictures, "--out", out)
    assert again.code == 2
    assert "--overwrite" in again.err
    assert before == {path: path.read_bytes() for path in out.iterdir()}
    rest = ("--out", out, "--steps", "20", "--overwrite")
    assert command("invert", trained.path, "--images", pictures, *rest).code == 0
    assert load_file(out / "b.safetensors")["latents"].equal(latents)
    assert all(path.read_bytes() == content for path, content in before.items() if path.suffix == ".png")


@pytest.mark.parametrize("rate", ["inf", "nan", "1e39"])
def test_a_rate_beyond_all_numbers(command: Command, trained: TrainedRun, pictures: Path, tmp_path: Path, rate: str):
    ended = command("invert", trained.path, "--images", pictures, "--out", tmp_path / "found", "--rate", rate)
    assert ended.code == 2
    assert "Invalid value for '--rate'" in ended.err


@pytest.mark.parametrize("space", ["latents", "styles"])
def test_its_files_serve_as_points(
    command: Command, trained: TrainedRun, pictures: Path, tmp_path: Path, styled: None, space: str
):
    out = tmp_path / "found"
    written = ("--out", out, "--steps", "3", "--space", space)
    assert command("invert", trained.path, "--images", pictures, *written).code == 0
    a, b, c = (out / f"{name}.safetensors" for name in "abc")
    assert list(load_file(a)) == [space]
    walks = latent_space.interpolate(trained, start=[a, 3], end=[b, c], steps=3)
    torch.testing.assert_close(walks.latents[0, 0], load_file(a)[space][0])
    torch.testing.assert_close(walks.latents[1, -1], load_file(c)[space][0])
    torch.testing.assert_close(walks.latents[1, 0], trained.latents(100)[3] * (3 if space == "styles" else 1))
    if space == "styles":  # walks through them are straight
        torch.testing.assert_close(walks.latents[:, 1], (walks.latents[:, 0] + walks.latents[:, -1]) / 2)
    scale = 3 if space == "styles" else 1
    expected = trained.images(walks.latents.flatten(0, 1) / scale).view_as(walks.images)
    torch.testing.assert_close(walks.images, expected, atol=1e-5, rtol=1e-4)
    for name, arguments in {
        "interpolate": ["--from", f"3,{a}", "--to", f"{b},{c}"],
        "arithmetic": ["--a", f"{a},1", "--b", f"{b},2", "--c", f"3,{c}"],
        "direction": ["--left", a, "--right", f"4,{b}"],
    }.items():
        ended = command(name, trained.path, "--out", tmp_path / f"{name}.png", *arguments)
        assert (ended.code, ended.err) == (0, "")


def test_files_of_points_may_have_commas_in_their_names():
    a, b = Path("found/ann, bob.safetensors"), Path("3,7.safetensors")
    assert points("--a", f"{a},./{b}, 3,-4,{a},./{b}") == [a, b, 3, -4, a, b]
    for wrong in ("found/ann,3", "3,", f"{a},", "3,,4"):
        with pytest.raises(RequestError, match=r"--a.*give whole numbers with commas"):
            points("--a", wrong)


@pytest.fixture(scope="module")
def unbounded(tmp_path_factory: pytest.TempPathFactory, tables_in: Callable[..., dict]) -> TrainedRun:
    """A run of StyleGAN2, whose images are not bounded, with an average."""
    small = {"latent_dim": 8, "style_dim": 8, "channel_base": 64, "max_channels": 8}
    trainer = {"name": "adversarial", "batch_size": 8, "ema_decay": 0.5}
    tables = tables_in(
        tmp_path_factory.mktemp("unbounded"), generator={"name": "stylegan2", **small}, trainer=trainer, penalties=[]
    )
    return api.run(tables, ["run.steps=2"])


@pytest.mark.parametrize("space", [None, "latents"])
@pytest.mark.parametrize("weights", ["raw", "ema"])
def test_the_distance_is_that_of_the_image_that_is_written(
    unbounded: TrainedRun, tmp_path: Path, weights: Any, space: Any
):
    """Whatever the generator makes beyond [−1, 1], and by the mapping of the weights that were asked for."""
    images = torch.full((1, *unbounded.info.image.shape), 0.98)
    found = inversion.invert(unbounded, images, steps=3, space=space, weights=weights)
    assert found.space == (space or "styles")
    assert found.reconstructions.abs().max() == 1
    torch.testing.assert_close(found.distances, (images - found.reconstructions).flatten(1).norm(dim=1))
    begin = inversion.invert(unbounded, images, steps=0, space=space, weights=weights)
    assert (found.distances <= begin.distances).all()
    sampled = unbounded.images(unbounded.latents(512), weights=weights)
    torch.testing.assert_close(torch.cdist(images.flatten(1), sampled.flatten(1)).min(1).values, begin.distances)
    found.save(tmp_path)
    walks = latent_space.interpolate(unbounded, start=[tmp_path / "0.safetensors"], end=[3], steps=2, weights=weights)
    torch.testing.assert_close(walks.images[0, :1], found.reconstructions)
    torch.testing.assert_close(walks.images[0, 1:], unbounded.images(unbounded.latents(100)[3:4], weights=weights))


def test_latents_and_styles_meet_in_styles(trained: TrainedRun, tmp_path: Path, styled: None):
    save_file({"latents": torch.ones(2, 8)}, tmp_path / "z.safetensors")
    save_file({"styles": torch.ones(1, 8)}, tmp_path / "w.safetensors")
    (both, grid), space = points_of(trained, [[tmp_path / "z.safetensors", tmp_path / "w.safetensors"], [7]])
    assert space == "styles"
    assert both.equal(torch.cat([torch.full((2, 8), 3.0), torch.ones(1, 8)]))
    assert grid.equal(3 * trained.latents(100)[[7]])


def test_refuses_what_has_no_point(
    command: Command, trained: TrainedRun, pictures: Path, tmp_path: Path, tables_in: Callable[..., dict]
):
    conditional = ganzoo.run(
        tables_in(tmp_path, generator={"name": "cgan", "width": 4, "latent_dim": 8}), ["run.steps=1"]
    )
    save_file({"latents": torch.ones(1, 9)}, tmp_path / "nine.safetensors")
    save_file({"weights": torch.ones(1, 8)}, tmp_path / "other.safetensors")
    save_file({"styles": torch.ones(1, 8)}, tmp_path / "styles.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    out = ["--out", tmp_path / "new"]
    os.mkfifo(tmp_path / "pipe.safetensors")
    walk = ["interpolate", trained.path, "--out", tmp_path / "new.png", "--to", "3", "--from"]
    for arguments, message in (
        (["invert", trained.path, "--images", tmp_path / "none", *out], "does not exist"),
        (["invert", trained.path, "--images", pictures, "--out", tmp_path / "a.png"], "give a folder"),
        (["invert", trained.path, "--images", pictures, *out, "--space", "styles"], 'generator "dcgan" has no styles'),
        (["invert", trained.path, "--images", pictures, *out, "--batch-norm", "batch"], "depends on the others"),
        (["invert", trained.path, "--images", pictures, *out, "--label", "1"], "takes no labels"),
        (["invert", conditional.path, "--images", pictures, *out], "the generator is conditional: give a label"),
        ([*walk, tmp_path / "nine.safetensors"], "holds latents of shape (9,), and the generator of"),
        ([*walk, tmp_path / "other.safetensors"], "holds no latents and no styles"),
        ([*walk, tmp_path / "styles.safetensors"], 'the generator "dcgan" has no styles'),
        ([*walk, tmp_path / "broken.safetensors"], "is no file of points"),
        ([*walk, tmp_path / "gone.safetensors"], "is no file of points"),
        ([*walk, tmp_path / "pipe.safetensors"], "is no file of points: it is missing, or something else than a file"),
    ):
        ended = command(*arguments)
        assert ended.code == 2, arguments
        assert message in ended.err
        assert len(ended.err.splitlines()) == 1
    assert not (tmp_path / "new.png").exists()
    labelled = inversion.invert(conditional, conditional.sample(2, labels=[1]), steps=2, label=1)
    assert labelled.points.shape == (2, 8)
    with pytest.raises(RequestError, match="is conditional"):
        inversion.invert(conditional, conditional.sample(2), steps=2)
