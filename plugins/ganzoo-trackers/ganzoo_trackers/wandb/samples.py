"""Samples of a run as a table on W&B, an image a row with its label."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from ganzoo.plugin import LabelSpec, RunView
from ganzoo.sampling.image_io import as_image, shown_bands
from ganzoo_trackers.wandb.lineage import FOLDER

if TYPE_CHECKING:
    import wandb

TABLE = "samples/table"
MOST_ROWS = 64


def sample_table(run: RunView, images: Tensor) -> dict[str, wandb.Table]:
    """Return the first samples (N, C, H, W) as a table, under the name of its panel; empty for samples of other kinds.

    Each image is sent once, without loss, so that a table weighs about as much as the grid of the same samples.
    """
    import wandb

    if images.ndim != 4:
        return {}
    shown = shown_bands(images[:MOST_ROWS], run.recipe.samples.bands)
    examples = run.fixed_examples(len(shown))
    labels, spec = run.fixed_labels(len(shown)) if examples is None else examples.labels, run.info.labels
    table = wandb.Table(columns=["sample", *(["label"] if labels is not None and spec is not None else []), "image"])
    for number, image in enumerate(shown):
        told = [label_text(labels[number], spec)] if labels is not None and spec is not None else []
        table.add_data(number, *told, wandb.Image(as_image((image / 2 + 0.5).clamp(0, 1))))
    return {TABLE: table}


@contextmanager
def staged(tracked: wandb.Run) -> Iterator[None]:
    """While open, have W&B stage the images of tables in the run directory, unless the user says where.

    Elsewhere they would be missing where an offline run is copied to a machine that uploads it.
    """
    name = "WANDB_DATA_DIR"
    if name in os.environ:
        yield
        return
    os.environ[name] = str(Path(tracked.dir).resolve().parent / FOLDER)
    try:
        yield
    finally:
        os.environ.pop(name, None)


def label_text(label: Tensor, spec: LabelSpec) -> str:
    """Return a label in words: the name of a class, the attributes that are set, or each value with its name."""
    if spec.kind == "classes":
        return spec.names[int(label)]
    pairs = list(zip(spec.names, label.tolist(), strict=True))
    if spec.kind == "attributes":
        return ", ".join(name for name, value in pairs if value)
    return ", ".join(f"{name} {value:.4g}" for name, value in pairs)
