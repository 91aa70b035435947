from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ganzoo.errors import Interrupted
from ganzoo.observers.samples import SampleWriter, fixed_samples, write_animation
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.sampling.image_io import grid_step, grids
from ganzoo.training.loop import train
from ganzoo.training.run import Run


class Listener:
    def __init__(self) -> None:
        self.heard: list[tuple[int, Tensor]] = []

    @hookimpl
    def samples_ready(self, step: int, images: Tensor) -> None:
        self.heard.append((step, images))


def paint(folder: Path, step: int, gray: int, size: tuple[int, int] = (16, 16)) -> Path:
    path = folder / f"step_{step:07d}.png"
    Image.new("RGB", size, (gray, 255 - gray, 0)).save(path)
    return path


def names(run: Run) -> list[str]:
    return sorted(path.name for path in run.directory.samples.iterdir())


def test_grids_on_schedule_and_the_film_of_them(build, manager) -> None:
    run, listener = build("run.steps=25"), Listener()
    run.events.register_standard([SampleWriter(), listener])
    train(run)
    assert names(run) == ["evolution.gif", "step_0000010.png", "step_0000020.png", "step_0000025.png"]
    with Image.open(run.directory.samples / "step_0000025.png") as picture:
        assert picture.size == (3 * (8 + 2) + 2, 3 * (8 + 2) + 2)
        pixels = np.asarray(picture.convert("RGB"))
    step, images = listener.heard[-1]
    assert step == 25
    assert images.shape == (9, 3, 8, 8)
    assert not images.is_inference()
    first = ((images[0] / 2 + 0.5) * 255).permute(1, 2, 0).numpy()
    assert np.abs(pixels[2:10, 2:10] - first).max() <= 1
    with Image.open(run.directory.samples / "evolution.gif") as animation:
        assert animation.n_frames == 3
        assert animation.size == picture.size
        assert animation.info["loop"] == 0
        durations = []
        for frame in range(animation.n_frames):
            animation.seek(frame)
            durations.append(animation.info["duration"])
    assert durations == [200, 200, 2000]


def test_about_twenty_grids_by_default(build, manager, tables) -> None:
    del tables["samples"]["every"]
    run = build("run.steps=50", "samples.count=1")
    run.events.register_standard([SampleWriter()])
    train(run)
    assert [grid_step(path) for path in grids(run.directory.samples)] == [*range(3, 50, 3), 50]


def test_no_film_where_none_is_wanted(build, manager) -> None:
    run = build("samples.gif=false")
    run.events.register_standard([SampleWriter()])
    train(run)
    assert "evolution.gif" not in names(run)


@pytest.mark.parametrize("batch_norm", ["running", "batch"])
def test_sampling_leaves_no_trace_in_training(build, batch_norm: str) -> None:
    run = build(f"samples.batch_norm={batch_norm}")
    generator = run.trainer.parts.generator
    generator.noise = 0.1  # drawn from the global random number generator, as a plugin may
    generator.train()
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    state = torch.get_rng_state(), random.getstate(), run.trainer.parts.rng.get_state()
    first, again = fixed_samples(run), fixed_samples(run)
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), state[0])
    assert random.getstate() == state[1]
    assert torch.equal(run.trainer.parts.rng.get_state(), state[2])
    assert all(module.training for module in generator.modules())
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())
    assert all(parameter.grad is None for parameter in generator.parameters())
    assert not first.requires_grad


def test_a_watched_run_ends_with_the_same_weights(build, manager) -> None:
    weights = []
    for observers in ([], [SampleWriter()]):
        run = build("samples.every=1")
        run.events.register_standard(observers)
        train(run)
        weights.append(run.trainer.parts.generator.layer.weight.detach().clone())
    assert torch.equal(*weights)


def test_a_resumed_run_makes_later_grids_again_and_films_all(build) -> None:
    run, writer = build(), SampleWriter()
    for step, gray in ((10, 0), (20, 80), (30, 160)):
        paint(run.directory.samples, step, gray, (32, 32))
    run.resumed_from = run.step = 20
    writer.run_started(run)
    assert names(run) == ["step_0000010.png", "step_0000020.png"]
    run.step = 30
    writer.step_ended(run, 30)
    writer.run_ended(run)
    with Image.open(run.directory.samples / "evolution.gif") as animation:
        assert animation.n_frames == 3


def test_an_interrupted_run_leaves_the_film_to_the_part_that_ends_it(build, manager) -> None:
    class Stop:
        @hookimpl
        def step_ended(self, step: int) -> None:
            if step == 22:
                run.stop_signal = 2

    run = build()
    run.events.register_standard([SampleWriter(), Stop()])
    with pytest.raises(Interrupted):
        train(run)
    assert names(run) == ["step_0000010.png", "step_0000020.png"]


def test_long_films_are_thinned_evenly_with_both_ends(tmp_path: Path) -> None:
    paths = [paint(tmp_path, step, step) for step in range(250)]
    write_animation(paths, tmp_path / "animation.gif")
    with Image.open(tmp_path / "animation.gif") as animation:
        assert animation.n_frames == 100
        assert animation.convert("RGB").getpixel((0, 0)) == (0, 255, 0)
        animation.seek(99)
        assert animation.convert("RGB").getpixel((0, 0)) == (249, 6, 0)


def test_pictures_that_do_not_fit_are_left_out(tmp_path: Path, capsys) -> None:
    paths = [paint(tmp_path, step, 60 * step) for step in range(4)]
    paths[1].write_bytes(paths[1].read_bytes()[:60])
    paint(tmp_path, 2, 120, (24, 24))
    write_animation(paths, tmp_path / "animation.gif")
    with Image.open(tmp_path / "animation.gif") as animation:
        assert animation.n_frames == 2
    assert "step_0000001.png: cannot be read and is left out of evolution.gif" in capsys.readouterr().err


def test_large_grids_make_a_film_of_bounded_size(tmp_path: Path) -> None:
    write_animation([paint(tmp_path, step, step, (3000, 1500)) for step in (1, 100)], tmp_path / "animation.gif")
    with Image.open(tmp_path / "animation.gif") as animation:
        assert animation.size == (1024, 512)


def test_a_folder_that_takes_no_pictures_costs_a_line_and_no_step(build, manager, capsys) -> None:
    run, listener = build(), Listener()
    run.directory.samples.rmdir()
    run.directory.samples.write_text("a file in place of the folder")
    run.events.register_standard([SampleWriter(), listener])
    train(run)
    assert run.step == 40
    assert [step for step, _ in listener.heard] == [10, 20, 30, 40]
    err = capsys.readouterr().err
    assert err.count("warning: samples are missing") == 1
    assert "step_0000010.png: cannot be written" in err
