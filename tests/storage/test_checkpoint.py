"""Checkpoints: that a resumed run is the unbroken one to the bit, and that damage is noticed."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from same import assert_same_checkpoint, differences, state_of

from ganzoo import api
from ganzoo.errors import CheckpointError, Interrupted, OutputError, RequestError, RunDirectoryError, TrainingError
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.sampling.trained_run import TrainedRun
from ganzoo.storage import checkpoint as checkpoint_module
from ganzoo.storage.checkpoint import (
    checkpoint_folders,
    latest_checkpoint,
    load_network,
    open_checkpoint,
    write_checkpoint,
)


def silent(text: str) -> None:
    raise AssertionError(f"unexpected warning: {text}")


@pytest.fixture
def eventful(tables: dict) -> dict:
    """A recipe in which much is random and much has a memory."""
    tables["dataset"] |= {"count": 20, "horizontal_flip": True}
    tables["trainer"] |= {
        "ema_decay": 0.9,
        "ema_start": 2,
        "discriminator_steps": 2,
        "fake_batch": "fresh",
        "generator_optimizer": {"name": "adam", "amsgrad": True},
        "discriminator_optimizer": {"name": "rmsprop", "momentum": 0.5},
    }
    tables["penalties"] = [{"name": "gradient_penalty", "interval": 2}, {"name": "r1"}]
    return tables


def test_run_in_two_parts_is_the_unbroken_run_to_the_bit(eventful: dict):
    whole = api.run(eventful)
    broken = api.run(eventful, ["run.steps=3"])
    assert broken.path != whole.path
    resumed = api.resume(broken.path, ["run.steps=6"])
    assert resumed.path == broken.path
    assert resumed.checkpoint.step == whole.checkpoint.step == 6
    assert whole.checkpoint.networks() == ["discriminator", "generator", "generator_ema"]
    assert_same_checkpoint(whole.checkpoint.path, resumed.checkpoint.path)
    assert_same_rows(whole, resumed, skip={3})


def assert_same_rows(whole: TrainedRun, resumed: TrainedRun, skip: set[int]) -> None:
    """The figures of both are the same, but for time and for the last step of the first part."""

    def rows(run: TrainedRun) -> list[dict[str, Any]]:
        timed = ("seconds", "images_per_second")
        return [{k: v for k, v in row.items() if k not in timed} for row in run.metrics if row["step"] not in skip]

    assert rows(whole) == rows(resumed)
    assert [row["step"] for row in whole.metrics] == [2, 4, 6]
    steps = [row["step"] for row in resumed.metrics]
    assert len(set(steps)) == len(steps)


def test_linear_fall_of_the_learning_rate_goes_on(tables: dict):
    for network in ("generator", "discriminator"):
        tables["trainer"][f"{network}_optimizer"] = {"name": "adam", "lr": {"from": 2e-4, "to": 0.0, "start": 0.5}}
    whole = api.run(tables)
    (whole.path / "checkpoints/step_0000006/generator.safetensors").unlink()
    last = state_of(whole.path / "checkpoints/step_0000006")
    resumed = api.resume(whole.path)
    assert differences(last, state_of(resumed.checkpoint.path)) == []
    rates = [row["lr/generator"] for row in resumed.metrics]
    assert rates == pytest.approx([2e-4, 2e-4, 2e-4 / 3])


def test_resume_goes_on_where_a_signal_stopped_it(tables: dict):
    class Stopping:
        @hookimpl
        def step_ended(self, step: int) -> None:
            if step == 4:
                signal.raise_signal(signal.SIGTERM)

    whole = api.run(tables)
    manager = PluginManager()
    manager.pluggy.register(Stopping())
    with pytest.raises(Interrupted):
        api.run(tables, manager=manager)
    path = whole.path.with_name("0002")
    assert latest_checkpoint(path / "checkpoints", silent).step == 4
    resumed = api.resume(path)
    assert_same_checkpoint(whole.checkpoint.path, resumed.checkpoint.path)
    assert_same_rows(whole, resumed, skip=set())


@pytest.fixture
def trained(tables: dict) -> TrainedRun:
    """Six steps with checkpoints of the third and the sixth."""
    return api.run(tables)


FILES = ("generator.safetensors", "discriminator.safetensors", "state.pt", "manifest.json")


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_damage_to_any_file_is_noticed_and_the_earlier_checkpoint_taken(trained: TrainedRun):
    folder = trained.directory.checkpoints
    assert [path.name for path in checkpoint_folders(folder)] == ["step_0000003", "step_0000006"]
    newest = folder / "step_0000006"
    assert sorted(file.name for file in newest.iterdir()) == sorted(FILES)
    for name in FILES:
        whole = (newest / name).read_bytes()
        for harm in (flip_a_bit, Path.unlink, lambda path: path.write_bytes(b""), cut_short):
            harm(newest / name)
            with pytest.raises(CheckpointError, match=name):
                open_checkpoint(newest)
            warnings: list[str] = []
            assert latest_checkpoint(folder, warnings.append).step == 3
            (warning,) = warnings
            assert str(newest / name) in warning
            assert "the checkpoint of step 3 is taken instead" in warning
            (newest / name).write_bytes(whole)
    assert latest_checkpoint(folder, silent).step == 6


def test_a_checkpoint_that_is_removed_while_it_is_read(trained: TrainedRun):
    """The process that trains removes old checkpoints; who opened one before reads it to the end."""
    expected = {name: trained.checkpoint.network(name) for name in trained.checkpoint.networks()}
    opened = api.load_run(trained.path)
    shutil.rmtree(opened.checkpoint.path)
    for name in opened.checkpoint.networks():
        torch.testing.assert_close(opened.checkpoint.network(name), expected[name], rtol=0, atol=0)
    assert opened.sample(1).shape == (1, 3, 16, 16)


def test_a_checkpoint_that_is_removed_before_it_is_opened(trained: TrainedRun, monkeypatch: pytest.MonkeyPatch):
    """Newer ones have come since they were listed: the newest of those is taken, without a warning."""
    folder = trained.directory.checkpoints
    stale = folder / "step_0000004"
    monkeypatch.setattr(checkpoint_module, "checkpoint_folders", lambda folder: next(listings))
    listings = iter([[stale], checkpoint_folders(folder)])
    warnings: list[str] = []
    assert latest_checkpoint(folder, warnings.append).step == 6
    assert warnings == []


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def test_every_bit_of_the_manifest_counts(trained: TrainedRun):
    manifest = trained.checkpoint.path / "manifest.json"
    text = manifest.read_text()
    for change in (('"step": 6', '"step": 7'), ("16", "32"), ("0.1.0", "0.2.0"), ("state.pt", "state.pf")):
        assert change[0] in text
        manifest.write_text(text.replace(*change))
        with pytest.raises(CheckpointError):
            open_checkpoint(trained.checkpoint.path)


def test_checkpoint_of_a_later_format_is_told(trained: TrainedRun):
    from ganzoo.storage.manifest import write_checksummed

    path = trained.checkpoint.path / "manifest.json"
    manifest = json.loads(path.read_text()) | {"format": 99}
    del manifest["manifest_sha256"]
    write_checksummed(path, manifest)
    with pytest.raises(CheckpointError, match="has format 99; this ganzoo reads format 2"):
        open_checkpoint(trained.checkpoint.path)


def test_all_checkpoints_damaged(trained: TrainedRun):
    for path in checkpoint_folders(trained.directory.checkpoints):
        flip_a_bit(path / "generator.safetensors")
    with pytest.raises(CheckpointError) as caught:
        api.load_run(trained.path)
    assert "no checkpoint is whole" in str(caught.value)
    assert str(caught.value).count("generator.safetensors: is damaged") == 2


def test_no_checkpoint_at_all(tables: dict):
    with pytest.raises(TrainingError):
        api.run(tables, ["trainer.generator_optimizer={name='sgd', lr=9e18}", "checkpoint.every=1000"])
    run = Path(tables["run"]["root"]) / "tiny/0001"
    with pytest.raises(CheckpointError, match="there is no checkpoint: the run ended before the first one was saved"):
        api.load_run(run)


def test_resume_from_an_earlier_checkpoint_repeats_the_steps_after_it(
    trained: TrainedRun, capsys: pytest.CaptureFixture[str]
):
    newest = trained.checkpoint.path
    before = {name: (newest / name).read_bytes() for name in FILES}
    rows = [(row["step"], row["loss/generator"]) for row in trained.metrics]
    flip_a_bit(newest / "generator.safetensors")
    resumed = api.resume(trained.path)
    assert "warning: " in capsys.readouterr().err
    for name in FILES[:2]:
        assert (newest / name).read_bytes() == before[name]
    assert [(row["step"], row["loss/generator"]) for row in resumed.metrics] == rows


def test_only_the_latest_are_kept(tables: dict):
    run = api.run(tables, ["checkpoint.every=1", "checkpoint.keep=3"])
    names = sorted(path.name for path in run.directory.checkpoints.iterdir())
    assert names == ["step_0000004", "step_0000005", "step_0000006"]


def test_what_a_killed_process_left_is_removed(trained: TrainedRun):
    left_over = trained.directory.checkpoints / ".step_0000007.partial"
    left_over.mkdir()
    (left_over / "generator.safetensors").write_bytes(b"half")
    api.resume(trained.path, ["run.steps=9"])
    names = sorted(path.name for path in trained.directory.checkpoints.iterdir())
    assert names == ["step_0000006", "step_0000009"]


def test_checkpoints_are_in_the_order_of_their_steps(tmp_path: Path):
    for name in ("step_10000000", "step_9999999", "step_0000003", ".step_0000004.partial", "step_x", "step_5_copy"):
        (tmp_path / name).mkdir()
    assert [path.name for path in checkpoint_folders(tmp_path)] == ["step_0000003", "step_9999999", "step_10000000"]


def test_weights_of_another_type_are_refused(trained: TrainedRun, tmp_path: Path):
    halves = {name: tensor.half() for name, tensor in trained.checkpoint.network("generator").items()}
    path = write_checkpoint(tmp_path, 6, {"generator": halves}, info=trained.info, plugin_versions={})
    with pytest.raises(
        CheckpointError, match=r"generator does not fit the recipe: .* is .*float16.*, and must be .*float32"
    ):
        load_network(trained.generator, open_checkpoint(path), "generator")


def test_complete_run_cannot_be_resumed(trained: TrainedRun):
    with pytest.raises(RequestError, match=r"is complete at step 6; to go on, ask for more with --set run\.steps=…"):
        api.resume(trained.path)


def test_complete_run_of_so_many_epochs_says_so(tables: dict):
    del tables["run"]["steps"]
    tables["run"]["epochs"] = 0.5
    run = api.run(tables)
    assert run.checkpoint.step == 4
    with pytest.raises(RequestError, match=r"--set run\.epochs=…"):
        api.resume(run.path)
    assert api.resume(run.path, ["run.epochs=0.6"]).checkpoint.step == 5


@pytest.mark.parametrize(
    ("override", "error", "told"),
    [
        ("generator.width=8", CheckpointError, "generator does not fit the recipe"),
        ("trainer.ema_decay=0.9", CheckpointError, "holds no generator_ema; it has: discriminator, generator"),
        ("dataset.channels=1", RunDirectoryError, "the dataset has changed since"),
        ("dataset.num_classes=3", RunDirectoryError, "the dataset has changed since"),
        ("trainer.generator_optimizer={name='sgd'}", CheckpointError, "generator_optimizer is another one now"),
        ("trainer.discriminator_optimizer.amsgrad=true", CheckpointError, "discriminator_optimizer is another one now"),
    ],
)
def test_resume_with_another_recipe_is_refused(trained: TrainedRun, override: str, error: type, told: str):
    recipe, metrics = (trained.path / "recipe.toml").read_text(), trained.directory.metrics.read_text()
    with pytest.raises(error, match=told) as caught:
        api.resume(trained.path, ["run.steps=8", override])
    assert str(caught.value).endswith(f" `ganzoo run` with --set init.from={trained.path} begins anew from its weights")
    assert (trained.path / "recipe.toml").read_text() == recipe
    assert trained.directory.metrics.read_text() == metrics


def test_resume_with_other_options_takes_them(trained: TrainedRun):
    resumed = api.resume(
        trained.path,
        ["run.steps=8", "trainer.generator_optimizer.lr=1e-5", "trainer.discriminator_optimizer.betas=[0.0, 0.9]"],
    )
    rates = {row["step"]: (row["lr/generator"], row["lr/discriminator"]) for row in resumed.metrics}
    assert rates[6] == pytest.approx((2e-4, 2e-4))
    assert rates[8] == pytest.approx((1e-5, 2e-4))
    state = state_of(resumed.checkpoint.path)["trainer"]
    assert state["optimizers"]["discriminator"]["optimizer"]["param_groups"][0]["betas"] == (0.0, 0.9)
    assert resumed.recipe.to_dict()["trainer"]["generator_optimizer"]["lr"] == 1e-5


def test_weights_that_are_not_finite_are_not_saved(tables: dict):
    """Between two log points nobody looks at the losses, and a run could only go on from rubbish."""
    tables["checkpoint"]["every"] = 1
    tables["run"]["log_every"] = 1000
    with pytest.raises(TrainingError, match=r"step \d: .* not finite any more"):
        api.run(tables, ["trainer.generator_optimizer={name='sgd', lr=9e18}", "run.steps=20"])
    folder = Path(tables["run"]["root"]) / "tiny/0001/checkpoints"
    if checkpoint_folders(folder):
        checkpoint = latest_checkpoint(folder, silent)
        assert all(tensor.isfinite().all() for tensor in checkpoint.network("generator").values())


@pytest.mark.parametrize("too_large", ["generator.safetensors", "state.pt"])
def test_disk_that_fills_up_while_a_checkpoint_is_written(tables: dict, too_large: str):
    """Whichever file does not fit, the run ends with that error and the checkpoint before is whole."""
    resource = pytest.importorskip("resource")  # a limit on the size of files takes the place of a full disk
    whole = api.run(tables)
    sizes = {path.name: path.stat().st_size for path in whole.checkpoint.path.iterdir()}
    assert sizes["state.pt"] > sizes["generator.safetensors"] > 8192
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    class Limiting:
        @hookimpl
        def step_ended(self, step: int) -> None:
            if step == 4:
                resource.setrlimit(resource.RLIMIT_FSIZE, (sizes[too_large] - 1000, before[1]))

    manager = PluginManager()
    manager.pluggy.register(Limiting())
    try:
        with pytest.raises(OutputError, match="0002/checkpoints: cannot be written"):
            api.run(tables, manager=manager)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    folder = whole.path.with_name("0002") / "checkpoints"
    assert [path.name for path in folder.iterdir()] == ["step_0000003"]
    assert latest_checkpoint(folder, silent).step == 3
    assert api.resume(folder.parent).checkpoint.step == 6
