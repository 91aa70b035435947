"""Tensors to PNG files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from safetensors import SafetensorError

from ganzoo.errors import OutputError
from ganzoo.sampling.image_io import (
    density_plot,
    grid,
    grid_beside,
    save_gif,
    save_picture,
    save_single_images,
    save_tensors,
    shown_bands,
)


def images(count: int, channels: int = 3) -> torch.Tensor:
    """Image i is of one gray, from −1 to 1 over the images."""
    return torch.linspace(-1, 1, count).reshape(count, 1, 1, 1).expand(count, channels, 4, 4)


@pytest.mark.parametrize(
    ("count", "columns", "shape"), [(4, None, (14, 14)), (5, None, (14, 20)), (6, 6, (8, 38)), (1, None, (4, 4))]
)
def test_grid_is_nearly_square(count: int, columns: int | None, shape: tuple[int, int]):
    assert grid(torch.zeros(count, 3, 4, 4), columns).shape[-2:] == shape


def test_grid_maps_minus_one_to_black_and_one_to_white(tmp_path: Path):
    save_picture(grid(images(4)), tmp_path / "grid.png")
    pixels = np.asarray(Image.open(tmp_path / "grid.png"))
    assert pixels.shape == (14, 14, 3)
    assert [pixels[row, column, 0] for row in (3, 9) for column in (3, 9)] == [0, 85, 170, 255]


def test_values_beyond_the_range_are_clipped_and_not_wrapped(tmp_path: Path):
    save_single_images(torch.tensor([-3.0, 3.0]).reshape(2, 1, 1, 1).expand(2, 3, 4, 4), tmp_path)
    assert [np.asarray(Image.open(tmp_path / f"000{i}.png")).max() for i in range(2)] == [0, 255]


@pytest.mark.parametrize("channels", [1, 3])
def test_single_images_are_numbered_in_order(tmp_path: Path, channels: int):
    save_single_images(images(3, channels), tmp_path)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["0000.png", "0001.png", "0002.png"]
    pixels = [np.asarray(Image.open(file)) for file in files]
    assert {p.shape[:2] for p in pixels} == {(4, 4)}
    assert [int(p.max()) for p in pixels] in ([0, 127, 255], [0, 128, 255])


def test_picture_that_cannot_be_written(tmp_path: Path):
    with pytest.raises(OutputError, match="cannot be written"):
        save_picture(grid(images(4)), tmp_path / "gone" / "grid.png")


def test_tensors_that_cannot_be_written(tmp_path: Path):
    resource = pytest.importorskip("resource")  # a limit on the size of files takes the place of a full disk
    path = tmp_path / "latents.safetensors"
    save_tensors({"latents": torch.zeros(8)}, path)
    before, content = resource.getrlimit(resource.RLIMIT_FSIZE), path.read_bytes()
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
        with pytest.raises(OutputError, match=r"latents\.safetensors: cannot be written: .*File too large"):
            save_tensors({"latents": torch.zeros(10_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert {each: each.read_bytes() for each in tmp_path.iterdir()} == {path: content}


def test_tensors_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(OutputError, match=r"latents\.safetensors: the disk is full: make room there"):
        save_tensors({"latents": torch.zeros(8)}, tmp_path / "latents.safetensors")
    assert not list(tmp_path.iterdir())


def test_points_are_drawn_where_they_lie_and_over_the_real_ones():
    corners = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]]).repeat(50, 1)
    alone, both = density_plot(corners[:2], corners), density_plot(corners, corners)
    lower, upper = (alone[:, half] for half in (slice(256, 512), slice(0, 256)))
    assert (lower[2] - lower[0]).max() > 0.5  # blue
    assert (upper[2] == upper[0]).all()  # gray
    assert (upper < 1).any()
    assert (both[2] - both[0]).flatten().count_nonzero() == 4 * 4 * 4


def test_density_shows_and_what_is_not_finite_or_far_off_does_no_harm():
    points = torch.tensor([[0.0, 0.0]] * 30 + [[1.0, 1.0], [torch.nan, 0.0], [torch.inf, 1.0], [1e30, 0.0]])
    picture = density_plot(points, torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    assert picture.shape == (3, 512, 512)
    assert picture.isfinite().all()
    assert len(picture.flatten(1).T.unique(dim=0)) == 4  # background, many points, one over a real one, one at the edge
    assert (density_plot(torch.full((3, 2), torch.nan)) == 1).all()


def test_one_real_point_far_off_does_not_shrink_the_others():
    real = torch.rand(1000, 2, generator=torch.Generator().manual_seed(0))
    alone = density_plot(real, real)
    with_one = density_plot(real, torch.cat([real, torch.full((1, 2), 1000.0)]))
    drawn, apart = ((picture < 1).any(0) for picture in (alone, with_one))
    assert int(drawn.sum()) == pytest.approx(int(apart.sum()), rel=0.05)
    for edge in (drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1]):  # a margin around them
        assert not edge.any()


def test_colors_go_by_the_root_of_the_number_of_points():
    picture = density_plot(torch.tensor([[0.0, 0.0]] * 4 + [[1.0, 1.0]]))
    many, few, white = sorted(picture.flatten(1).T.unique(dim=0).tolist())
    assert white == [1.0, 1.0, 1.0]
    share = [(1 - f) / (1 - m) for f, m in zip(few, many, strict=True)]
    assert share == pytest.approx([0.25 + 0.75 / 2] * 3)


@pytest.mark.parametrize(("channels", "shown"), [(1, 1), (2, 1), (3, 3), (4, 4), (5, 3), (13, 3)])
def test_channels_that_a_picture_shows(channels: int, shown: int):
    samples = torch.rand(2, channels, 4, 4)
    assert shown_bands(samples).equal(samples[:, :shown])


def test_groups_beside_each_other_are_nearly_square():
    """Sixteen pairs, three to a row: 6 columns and 6 rows of 4 pixels, 2 between them."""
    assert grid_beside(torch.zeros(16, 3, 4, 4), torch.zeros(16, 3, 4, 4)).shape == (3, 6 * 6 + 2, 6 * 6 + 2)


def test_animations_go_on_without_end(tmp_path: Path):
    save_gif([Image.new("RGB", (4, 4), (shade, 0, 0)) for shade in (0, 99)], tmp_path / "a.gif", milliseconds=70)
    with Image.open(tmp_path / "a.gif") as animation:
        assert (animation.info["loop"], animation.info["duration"], animation.n_frames) == (0, 70, 2)


def test_bands_of_outputs_beside_conditions():
    outputs = torch.rand(2, 6, 4, 4) * 2 - 1
    shown = grid_beside(torch.ones(2, 1, 4, 4), outputs, bands=[5, 4, 3])
    assert shown.shape[0] == 3
    assert torch.allclose(shown[:, 2:6, 8:12], (outputs[0, [5, 4, 3]] + 1) / 2)
