"""Directions of scores that observers of a test report without evaluating anything."""

from __future__ import annotations

from ganzoo.components.metric import Direction
from ganzoo.evaluation.evaluation_log import Evaluation, add_evaluations
from ganzoo.storage.run_directory import RunDirectory


def note_directions(directory: RunDirectory, **directions: Direction) -> None:
    """Add an evaluation of step 0 without scores, whose metrics say which values are better."""
    card = {
        "extractor": {"name": "none"},
        "real": {"dataset": "none", "images": 1, "available": 1, "shape": "", "pixels": ""},
        "samples": {"images": 1, "weights": "raw", "batch_norm": "none", "precision": "fp32", "seed": 0},
        "run": "",
        "step": 0,
    }
    found = Evaluation.model_validate({"step": 0, "scores": {}, "directions": directions, "card": card})
    add_evaluations(directory, [found])
