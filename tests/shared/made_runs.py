"""Run directories as training leaves them, made in a moment, for comparisons."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from PIL import Image

from ganzoo.evaluation.protocol import Card

MakeRun = Callable[..., Path]


def card(step: int = 40, seed: int = 0, samples: int = 2000, digest: str = "abc123", **more: Any) -> Card:
    """A protocol card."""
    return Card.model_validate(
        {
            "extractor": {"name": "classifier", "digest": digest, "features": 128},
            "real": {"dataset": "digits", "images": 1797, "available": 1797, "shape": "1×32×32", "pixels": "crc32:1"},
            "samples": {
                "images": samples,
                "weights": "ema",
                "batch_norm": "running",
                "precision": "fp32",
                "seed": seed,
                **more,
            },
            "run": "somewhere",
            "step": step,
        }
    )


def directions(scores: Iterable[str]) -> dict[str, str]:
    """What the metrics say: copies and diversity rank nothing, recall is better where it is higher."""
    ways = {
        "confidence": "none",
        "copies": "none",
        "memorization": "none",
        "diversity": "none",
        "recall": "higher",
        "precision": "higher",
    }
    return {name: ways.get(name.partition("_")[0], "lower") for name in scores}


@pytest.fixture
def make_card() -> Callable[..., Card]:
    return card


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """A run directory `runs/<name>/<number>`; `scores` by step are evaluated by `cards`, or by one card."""

    def make(
        name: str = "a",
        seed: int = 0,
        *,
        scores: dict[int, dict[str, float]] | None = None,
        made_by: Callable[[int], Card] = card,
        status: str = "complete",
        error: str = "",
        pictures: bool = False,
        rows: int = 4,
        root: Path = tmp_path / "runs",
        environment: dict[str, Any] | None = None,
        **options: Any,
    ) -> Path:
        parent = root / name
        parent.mkdir(parents=True, exist_ok=True)
        path = parent / f"{len(list(parent.iterdir())) + 1:04d}"
        (path / "samples").mkdir(parents=True)
        recipe: dict[str, Any] = {
            "run": {"name": name, "seed": seed, "steps": 40, "root": str(root), "log_every": 10},
            "dataset": {"name": "digits", "image_size": 32},
            "generator": {"name": "dcgan", "latent_dim": 8},
            "discriminator": {"name": "dcgan"},
            "loss": {"name": "hinge"},
            "trainer": {"name": "adversarial", "batch_size": 8},
            "samples": {"count": 16},
        }
        for key, value in options.items():
            table, _, option = key.partition("__")
            recipe.setdefault(table, {})[option] = value
        (path / "recipe.toml").write_text(tomli_w.dumps(recipe))
        rng = random.Random(f"{name}{seed}")
        steps = [max(1, round(40 * (index + 1) / rows)) for index in range(rows)]
        lines = [
            {
                "step": step,
                "epoch": step / 10,
                "seconds": step * 0.1,
                "loss/generator": 1 + rng.random() / step,
                "loss/discriminator": 0.7 - rng.random() / 10,
                "images_per_second": 100 + rng.random(),
            }
            for step in steps
        ]
        (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        summary = {
            "status": status,
            "steps": 40 if status == "complete" else 10,
            "total_steps": 40,
            "seconds": 60.0 + seed,
            "images_per_second": {"median": 100.0 + seed, "last": 100.0},
        }
        if error:
            summary["error"] = error
        if status != "unfinished":
            (path / "summary.json").write_text(json.dumps(summary))
        (path / "environment.json").write_text(json.dumps({"device": "cpu", "threads": 1, **(environment or {})}))
        if scores:
            entries = [
                {
                    "step": step,
                    "scores": values,
                    "directions": directions(values),
                    "card": made_by(step).model_dump(mode="json"),
                }
                for step, values in scores.items()
            ]
            (path / "evaluation.json").write_text(json.dumps(entries))
        if pictures:
            frames = [grid(rng) for _ in range(3)]
            frames[-1].save(path / "samples" / "step_0000040.png")
            frames[0].save(path / "samples" / "evolution.gif", save_all=True, append_images=frames[1:])
        return path

    return make


def grid(rng: random.Random) -> Image.Image:
    """Something like a grid of 16 samples."""
    picture = Image.new("L", (138, 138))
    for place in range(16):
        left, top = 2 + 34 * (place % 4), 2 + 34 * (place // 4)
        small = Image.frombytes("L", (8, 8), rng.randbytes(64)).resize((32, 32), Image.Resampling.BICUBIC)
        picture.paste(small, (left, top))
    return picture


@pytest.fixture
def make_grid() -> Callable[[random.Random], Image.Image]:
    return grid
