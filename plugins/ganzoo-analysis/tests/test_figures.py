"""Figures: every image where it belongs, in its own colors, enlarged where it is small."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ganzoo_analysis.figures import GAP, LINE_HEIGHT, PANEL_GAP, Panel, draw, save_animation, save_figure
from PIL import Image


def plain(values: list[float], channels: int = 1, side: int = 50) -> torch.Tensor:
    return torch.tensor(values)[:, None, None, None].expand(-1, channels, side, side)


def test_images_in_rows():
    pixels = np.asarray(draw([Panel(plain([-1, -0.5, 0, 1]), 2)]))
    assert pixels.shape == (2 * 52 + GAP, 2 * 52 + GAP, 3)
    levels = [int(pixels[row, column, 0]) for row in (20, 80) for column in (20, 80)]
    assert levels == [0, 64, 128, 255]
    assert (pixels[:GAP] == 255).all()


def test_small_images_are_enlarged_pixel_by_pixel():
    image = torch.tensor([[-1.0, 1.0], [1.0, -1.0]])[None, None]
    pixels = np.asarray(draw([Panel(image, 1)]))[GAP:-GAP, GAP:-GAP, 0]
    assert pixels.shape == (48, 48)
    assert (pixels[:24, :24] == 0).all()
    assert (pixels[:24, 24:] == 255).all()


def test_panels_with_words():
    left, right = Panel(plain([0, 0]), 1, "left", ["1", "2"]), Panel(plain([1], channels=3), 1, "a title that is long")
    pixels = np.asarray(draw([left, right]))
    assert pixels.shape[0] == LINE_HEIGHT + 2 * (52 + LINE_HEIGHT) + GAP
    assert pixels.shape[1] > 2 * (52 + GAP) + PANEL_GAP  # the title has room
    assert (pixels[:LINE_HEIGHT, :52].min(), pixels[LINE_HEIGHT + 52 :][:LINE_HEIGHT, :52].min()) < (
        100,
        100,
    )


def test_values_beyond_the_range_are_cut():
    assert np.asarray(draw([Panel(plain([3]), 1)]))[20, 20, 0] == 255


def test_files_say_how_they_were_made(tmp_path):
    panel = Panel(plain([0]), 1)
    save_figure([panel], tmp_path / "a.png", about={"seed": 3})
    save_animation([panel, Panel(plain([1]), 1)], tmp_path / "a.gif", about={"seed": 3})
    with Image.open(tmp_path / "a.png") as picture, Image.open(tmp_path / "a.gif") as animation:
        assert picture.info["ganzoo:seed"] == "3"
        assert animation.info["comment"] == b"ganzoo:seed 3"
        assert animation.n_frames == 2


def test_captions_go_with_images():
    with pytest.raises(AssertionError):
        draw([Panel(plain([0, 1]), 1, captions=["one"])])
