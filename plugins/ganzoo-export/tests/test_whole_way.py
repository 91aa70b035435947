"""From a recipe to somebody else: run, resume, evaluate, export, open and sample by commands, the same bits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image, ImageChops

import ganzoo


def same_pictures(first: Path, second: Path) -> bool:
    with Image.open(first) as one, Image.open(second) as other:
        return (
            one.size == other.size and ImageChops.difference(one.convert("RGB"), other.convert("RGB")).getbbox() is None
        )


@pytest.mark.slow
def test_the_same_bits_at_the_end_of_the_way(
    tables: dict,
    recipe_file: Callable[[dict], Path],
    command: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    pytest.importorskip("onnxscript")
    monkeypatch.chdir(tmp_path)

    def done(*arguments: str | Path) -> str:
        ended = command(*arguments)
        assert ended.code == 0, ended.err
        return str(ended.out)

    tables["trainer"]["ema_decay"] = 0.5
    recipe = recipe_file(tables)
    whole = Path(done("run", recipe, "--set", "run.name=whole").splitlines()[-1])
    part = Path(done("run", recipe, "--set", "run.steps=3").splitlines()[-1])
    done("resume", part, "--set", "run.steps=6")
    done("sample", whole, "--seed", "5", "--out", "whole.png")
    done("sample", part, "--seed", "5", "--out", "part.png")
    assert same_pictures(Path("whole.png"), Path("part.png"))

    done("evaluate", part, "--samples", "50")
    (first, *_) = json.loads((part / "evaluation.json").read_text())
    exports = {form: Path(f"given-{form}") for form in ("safetensors", "hub", "onnx")}
    for form, out in exports.items():
        assert done("export", part, "--out", out, "--format", form).strip() == str(out)
    front = yaml.safe_load((exports["hub"] / "README.md").read_text().split("---\n")[1])
    scores = {one["type"]: one["value"] for result in front["model-index"][0]["results"] for one in result["metrics"]}
    assert scores.items() >= first["scores"].items()

    expected = ganzoo.load_run(part).sample(9, seed=5)
    latents = ganzoo.load_run(part).latents(9, seed=5)
    shutil.rmtree(part.parent)
    shutil.rmtree(whole.parent)
    for form in ("safetensors", "hub"):
        done("sample", exports[form], "--seed", "5", "--out", f"{form}.png")
        assert same_pictures(Path("whole.png"), Path(f"{form}.png"))
        assert torch.equal(ganzoo.load_export(exports[form]).sample(9, seed=5), expected)
        again = Path(f"again-{form}")
        done("export", exports[form], "--out", again)
        assert torch.equal(ganzoo.load_export(again).sample(9, seed=5), expected)

    import onnxruntime

    session = onnxruntime.InferenceSession(exports["onnx"] / "generator.onnx", providers=["CPUExecutionProvider"])
    (images,) = session.run(None, {"latents": latents.numpy()})
    torch.testing.assert_close(torch.from_numpy(images), expected, atol=1e-4, rtol=0)
