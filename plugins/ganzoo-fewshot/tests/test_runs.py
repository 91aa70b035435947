"""Whole runs: resumed to the bit, in two processes, sampled where the classifier's weights are gone."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import torch
from literal_fewshot import two_processes
from literal_fewshot.two_processes import CASES, recipe, train_all
from safetensors.torch import load_file
from torchrun import Ranks
from torchvision.models import shufflenet_v2_x0_5

import ganzoo
from ganzoo.errors import CheckpointError, DataError, RequestError
from ganzoo.recipe.load import load_recipe
from ganzoo.registry.plugin_manager import plugin_manager
from ganzoo.training.build import build_run


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_resumes_to_the_bit(tmp_path: Path, case: str) -> None:
    noisy = ["generator.noise=true"]
    whole = ganzoo.run(recipe(tmp_path / "whole", case), noisy)
    broken = ganzoo.run(recipe(tmp_path / "broken", case), [*noisy, "run.steps=2"])
    resumed = ganzoo.resume(broken.path, ["run.steps=4"])
    files = sorted((whole.path / "checkpoints/step_0000004").glob("*.safetensors"))
    assert len(files) >= 3
    for file in files:
        assert file.read_bytes() == (resumed.path / file.relative_to(whole.path)).read_bytes()


@pytest.mark.slow
def test_two_processes_train_what_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    child = Ranks(2, Path(two_processes.__file__), tmp_path / "joint")
    _, err = child.communicate(timeout=600)
    assert child.returncode == 0, err
    train_all(tmp_path / "alone")
    for case in CASES:
        alone, joint = tmp_path / "alone" / case / "0001", tmp_path / "joint" / case / "0001"
        rows = [
            [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (alone, joint)
        ]
        # FastGAN's norms over a few maps magnify rounding from step to step: its weights get a wider margin.
        for one, other, margin in zip(*rows, (1e-4, 1e-3), strict=False):
            losses = {name: value for name, value in one.items() if name.startswith(("loss/", "penalty/"))}
            assert len(losses) >= 2
            assert {name: other[name] for name in losses} == pytest.approx(losses, rel=margin, abs=margin)
        margin = {"fastgan": 5e-3, "projected": 1e-5}[case]
        for file in sorted((alone / "checkpoints/step_0000002").glob("*.safetensors")):
            theirs = load_file(joint / file.relative_to(alone))
            for name, tensor in load_file(file).items():
                torch.testing.assert_close(theirs[name], tensor, rtol=margin, atol=margin, msg=f"{file.stem}: {name}")


@pytest.mark.slow
def test_a_run_is_sampled_without_the_classifier_and_resumed_with_the_same_alone(tmp_path: Path) -> None:
    file = tmp_path / "mine.pth"
    torch.save(shufflenet_v2_x0_5(weights=None).state_dict(), file)
    tables = recipe(tmp_path, "projected")
    tables["discriminator"] = {**tables["discriminator"], "weights": str(file)}
    run = ganzoo.run(tables, ["run.steps=2"])
    size = (run.path / "checkpoints/step_0000002/discriminator.safetensors").stat().st_size
    assert size < file.stat().st_size
    torch.save(shufflenet_v2_x0_5(weights=None).state_dict(), file)
    with pytest.raises(CheckpointError, match="was trained on other weights of shufflenet_v2_x0_5"):
        ganzoo.resume(run.path, ["run.steps=4"])
    file.unlink()
    again = ganzoo.load_run(run.path)
    assert again.sample(2).shape == (2, 3, 64, 64)
    with pytest.raises(DataError, match="is neither a file nor a name of the weights of shufflenet_v2_x0_5"):
        _ = again.discriminator


def test_the_gradient_at_generated_images_of_two_scales_is_refused(tmp_path: Path) -> None:
    """Beside the large images the discriminator sees small ones, which R2 would leave out."""
    tables = recipe(tmp_path, "fastgan", penalties=[{"name": "r1"}, {"name": "r2"}])
    with pytest.raises(
        RequestError, match=r'"r2" differentiates at .* leave it out, or set generator\.small_output = f'
    ):
        build_run(*load_recipe(tables, plugin_manager()), warn=lambda _: None)
    tables["generator"]["small_output"] = False
    build_run(*load_recipe(tables, plugin_manager()), warn=lambda _: None)
