"""Boxes drawn on images of the numbered grid, and the generator's maps that fire within them (paper, fig. 6)."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Unpack

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from ganzoo.plugin import RequestError, TrainedRun, read_text
from ganzoo.sampling.generate import BATCH_SIZE, batch_norm_used
from ganzoo_analysis import filters
from ganzoo_analysis.latent_space import images_of, require_latents
from ganzoo_analysis.points import CELLS, SamplingOptions

COLUMNS = ("cell", "left", "top", "right", "bottom")


class Box(NamedTuple):
    """Part of the image in a cell: pixels from `left` and `top` to before `right` and `bottom`."""

    cell: int
    left: int
    top: int
    right: int
    bottom: int


def read_boxes(path: Path) -> list[Box]:
    """Read the boxes of a CSV file with the columns `cell,left,top,right,bottom`; the head may be left out.

    Raises:
        RequestError: it cannot be read, or a line is no box; the text names the line.
    """
    try:
        lines = list(csv.reader(read_text(path).splitlines()))
    except (OSError, ValueError) as error:
        raise RequestError(f"--boxes {path}: cannot be read: {error}") from error
    boxes = []
    for number, line in enumerate(lines, start=1):
        words = [word.strip() for word in line]
        if not any(words) or (number == 1 and tuple(words) == COLUMNS):
            continue
        if len(words) != len(COLUMNS) or not all(word.isdecimal() for word in words):
            raise RequestError(f"--boxes {path}:{number}: give {','.join(COLUMNS)}, whole numbers such as 3,8,4,16,12")
        boxes.append(Box(*map(int, words)))
    return boxes


def maps_within(
    run: TrainedRun, boxes: Sequence[Box], layer: int, *, seed: int = 0, **options: Unpack[SamplingOptions]
) -> list[int]:
    """Return the maps of a generator layer that fire within boxes on images of the numbered grid.

    As in the paper, a logistic regression of a position's responses tells positions within a box from as many random
    others of the same images; the maps that it gives a weight above 0 are returned.

    Args:
        run: a trained run.
        boxes: on the images of the numbered grid of the same seed and options.
        layer: index of a convolution of the generator, in the order in which it runs them.
        seed: of the grid, and of the random positions.
        options: label, weights, batch_norm.

    Raises:
        RequestError: there is no such layer, a box is not on an image, or all positions are within boxes, or none is.
    """
    require_latents(run)
    generator = run.generator_with(options.get("weights", "auto"))
    layers = filters.generator_layers(generator)
    filters.check_maps(layers, layer, [])
    _, height, width = run.image.shape
    for box in boxes:
        if not (box.cell < CELLS and box.left < box.right <= width and box.top < box.bottom <= height):
            raise RequestError(
                f"the box {','.join(map(str, box))} is on no image: cells are numbered from 0 to {CELLS - 1}, and "
                f"images are {width} pixels wide and {height} high"
            )
    made: list[Tensor] = []
    hook = layers[layer].output.register_forward_hook(lambda _, __, output: made.append(output.float().cpu()))
    try:
        with filters.eager():
            images_of(run, run.latents(CELLS, seed), options)
    finally:
        hook.remove()
    mode = options.get("batch_norm") or run.recipe.samples.batch_norm
    count = -(-CELLS // BATCH_SIZE) * BATCH_SIZE if batch_norm_used(generator, mode) == "batch" else CELLS
    maps = torch.cat(made)[-count:][:CELLS]  # standing statistics are taken first, and full batches are padded
    rows, columns = maps.shape[2:] if maps.ndim == 4 else (1, 1)
    within = torch.zeros(CELLS, rows, columns, dtype=torch.bool)
    for box in boxes:
        top, bottom = box.top * rows // height, -(-box.bottom * rows // height)
        left, right = box.left * columns // width, -(-box.right * columns // width)
        within[box.cell, top:bottom, left:right] = True
    cells = sorted({box.cell for box in boxes})
    responses = maps.reshape(CELLS, -1, rows, columns).permute(0, 2, 3, 1)[cells]
    inside, outside = (responses[mask].numpy() for mask in (within[cells], ~within[cells]))
    if not len(inside) or not len(outside):
        which = "every" if len(inside) else "no"
        raise RequestError(
            f"layer {layer} has maps of {rows}×{columns}, and {which} position of them is in a box: draw other boxes, "
            "or take a later layer"
        )
    others = np.random.default_rng(seed).permutation(len(outside))[: len(inside)]
    found = LogisticRegression(max_iter=1000).fit(
        np.concatenate([inside, outside[others]]), np.repeat([1, 0], [len(inside), len(others)])
    )
    return np.flatnonzero(found.coef_[0] > 0).tolist()
