"""Which class is which: in the order of numbers, by name or index, said, and in what is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from labeled_values import train_values
from PIL import Image

from ganzoo import api
from ganzoo.components.spec import LabelSpec
from ganzoo.errors import RequestError
from ganzoo.sampling.trained_run import TrainedRun

Command = Callable[..., Any]
NETWORKS = {"generator": {"name": "cgan", "latent_dim": 4}, "discriminator": {"name": "cgan"}}


def folders(root: Path, names: list[str]) -> Path:
    """Two gray images in each."""
    for index, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for image in range(2):
            Image.new("L", (16, 16), 20 * index + image).save(root / name / f"{image}.png")
    return root


def train(place: Path, tables: dict[str, Any], names: list[str]) -> TrainedRun:
    images = folders(place / "images", names)
    tables["dataset"] = {
        "name": "image_folder", "root": str(images), "image_size": 16, "channels": 1, "labels": "folders"
    }  # fmt: skip
    return api.run(tables | NETWORKS, ["run.steps=1", "samples.every=1", "trainer.batch_size=4"])


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory, tables_in: Callable[[Path], dict]) -> TrainedRun:
    place = tmp_path_factory.mktemp("numbered")
    return train(place, tables_in(place), [str(number) for number in range(12)])


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory, tables_in: Callable[[Path], dict]) -> TrainedRun:
    place = tmp_path_factory.mktemp("named")
    return train(place, tables_in(place), ["cat", "Hund & Katze", "zebra"])


def test_a_number_is_the_folder_of_that_name(command: Command, numbered: TrainedRun, tmp_path: Path):
    assert numbered.info.class_names == tuple(map(str, range(12)))
    out = tmp_path / "images"
    ended = command("sample", numbered.path, "--labels", "2,10", "--count", "3", "--out", out)
    assert (ended.code, ended.out, ended.err) == (0, f"{out}\n", "classes, in turn: 2, 10\n")
    assert sorted(file.name for file in out.iterdir()) == ["0000_2.png", "0001_10.png", "0002_2.png"]
    made = numbered.images(numbered.latents(3), torch.tensor([2, 10, 2]))
    for index, file in enumerate(sorted(out.iterdir())):
        with Image.open(file) as picture:
            assert np.abs(np.asarray(picture) - (made[index, 0].numpy() + 1) * 127.5).max() <= 1
            assert picture.info["ganzoo:class"] == ["2", "10", "2"][index]


def test_names_are_said_with_their_indices(command: Command, named: TrainedRun, tmp_path: Path):
    ended = command("sample", named.path, "--labels", "zebra,0", "--count", "2", "--out", tmp_path / "a")
    assert ended.err == "classes, in turn: 2 = zebra, 0 = Hund & Katze\n"
    assert sorted(file.name for file in (tmp_path / "a").iterdir()) == ["0000_zebra.png", "0001_Hund-Katze.png"]
    ended = command("sample", named.path, "--out", tmp_path / "grid.png")
    assert ended.err == "classes, in turn: 0 = Hund & Katze, 1 = cat, 2 = zebra\n"
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.info["ganzoo:classes"] == "0 = Hund & Katze, 1 = cat, 2 = zebra"


@pytest.mark.parametrize(
    ("labels", "told"),
    [("zebr", "did you mean zebra?"), ("3", "or indices from 0 to 2"), ("²", 'there is no "²"'), ("", 'no ""')],
)
def test_a_class_that_is_not_there(command: Command, named: TrainedRun, tmp_path: Path, labels: str, told: str):
    ended = command("sample", named.path, "--labels", labels, "--out", tmp_path / "a.png")
    assert ended.code == 2
    assert told in ended.err.replace("\n", " ")
    assert not (tmp_path / "a.png").exists()


def test_a_number_that_is_no_name_among_numbers_is_no_index():
    labels = LabelSpec("classes", ("0", "2", "10"))
    assert [labels.index("10"), labels.index("2"), labels.index(2)] == [2, 1, 2]
    with pytest.raises(ValueError, match=r'there is no "1" .*give names \(0, 2, 10\)$'):
        labels.index("1")


def test_what_is_said_moves_no_cursor_and_is_short():
    labels = LabelSpec("classes", ("a\x1b[2Jb\n", *(f"n{index}" for index in range(999))))
    assert labels.told([0]) == "0 = a [2Jb "
    assert labels.told(range(1000)).endswith("19 = n18, … (1000 classes)")


def test_grids_of_a_run_and_its_page_say_their_classes(command: Command, named: TrainedRun, tmp_path: Path):
    with Image.open(named.path / "samples" / "step_0000001.png") as picture:
        assert picture.info["ganzoo:classes"] == "0 = Hund & Katze, 1 = cat, 2 = zebra"
    assert command("compare", named.path, "--out", tmp_path / "page.html").code == 0
    page = (tmp_path / "page.html").read_text()
    assert "classes, in turn: 0 = Hund &amp; Katze, 1 = cat, 2 = zebra" in page


def test_an_export_knows_its_classes(command: Command, named: TrainedRun, tmp_path: Path):
    assert command("export", named.path, "--out", tmp_path / "export").code == 0
    exported = api.load_export(tmp_path / "export")
    assert exported.told_classes(["zebra", 1]) == "2 = zebra, 1 = cat"
    assert "3 classes (0 = Hund &amp; Katze, 1 = cat, 2 = zebra)" in (tmp_path / "export" / "README.md").read_text()


@pytest.fixture(scope="module", params=["attributes", "continuous"])
def of_values(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tables_in: Callable[[Path], dict]
) -> TrainedRun:
    place = tmp_path_factory.mktemp(request.param)
    return train_values(place, tables_in(place), request.param)


def test_values_are_given_by_a_tensor_and_taken_in_turn(of_values: TrainedRun):
    values = torch.tensor([[0.5, 1.0], [0.0, 0.25]])
    made = of_values.sample(3, labels=values)
    assert torch.equal(made, of_values.images(of_values.latents(3), values[[0, 1, 0]]))
    assert torch.equal(made, of_values.sample(3, labels=values.tolist()))
    assert not torch.equal(made, of_values.sample(3))


def test_values_are_given_on_the_command_line(command: Command, of_values: TrainedRun, tmp_path: Path):
    options = ("--trust", "--labels", "-0.5,1", "--labels", "0,.25", "--count", "3", "--out")
    ended = command("sample", of_values.path, *options, tmp_path / "a.npy")
    assert (ended.code, ended.err) == (0, "labels, in turn: -0.5,1; 0,.25 (smile, hat)\n")
    made = of_values.sample(3, labels=torch.tensor([[-0.5, 1.0], [0.0, 0.25]]))
    assert np.array_equal(np.load(tmp_path / "a.npy"), made.numpy())
    assert command("sample", of_values.path, *options, tmp_path / "a.png").code == 0
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.info["ganzoo:labels"] == "-0.5,1; 0,.25 (smile, hat)"


@pytest.mark.parametrize("labels", ["smile", "0", "0,1,0", "0,x", "0,nan", "0,1e99", ""])
def test_what_are_no_values_is_told(command: Command, of_values: TrainedRun, tmp_path: Path, labels: str):
    ended = command("sample", of_values.path, "--trust", "--labels", labels, "--out", tmp_path / "a.png")
    assert ended.code == 2
    told = f"labels: these are {of_values.info.labels} (smile, hat): give 2 numbers for each sample, with commas"
    assert f"{told} between, and --labels again for the next one" in " ".join(ended.err.split())
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize(
    "labels", [torch.zeros(4), torch.zeros(0, 2), torch.zeros(2, 3), [0, 1], ["cat"], [[0], [0, 1]]]
)
def test_numbers_of_another_shape_are_told(of_values: TrainedRun, labels: Any):
    with pytest.raises(RequestError, match=r"give 2 numbers for each sample.*tensor \(N, 2\)"):
        of_values.sample(4, labels=labels)


def test_classes_may_be_a_tensor_of_indices_or_given_one_by_one(command: Command, named: TrainedRun, tmp_path: Path):
    assert torch.equal(named.sample(3, labels=torch.tensor([2, 0])), named.sample(3, labels=["zebra", 0]))
    with pytest.raises(RequestError, match=r'there is no "0\.5"'):
        named.sample(3, labels=torch.tensor([0.5]))
    options = ("--labels", "zebra,0", "--labels", "cat", "--out", tmp_path / "a.png")
    assert command("sample", named.path, *options).err == "classes, in turn: 2 = zebra, 0 = Hund & Katze, 1 = cat\n"


@pytest.mark.parametrize("change", ["more", "gone"])
def test_labels_of_a_dataset_that_has_changed(
    command: Command, tables_in: Callable[[Path], dict], tmp_path: Path, change: str
):
    """They no longer fit the generator, which takes others; an export has no need of them."""
    trained = train_values(tmp_path, tables_in(tmp_path), "attributes")
    images = tmp_path / "images"
    table = images / "labels.csv"
    if change == "more":
        header, *rows = table.read_text().split("\n")
        table.write_text("\n".join([f"{header},scarf", *(f"{row},{index % 2}" for index, row in enumerate(rows))]))
        told = "the dataset has changed since: its labels were 2 attributes, and are 3 attributes; bring it back"
    else:
        images.rename(tmp_path / "elsewhere")
        told = f"{images} does not exist: set dataset.root to the folder with your images"
    ended = command("sample", trained.path, "--trust", "--out", tmp_path / "a.png")
    assert ended.code == 2
    assert told in ended.err
    assert "or give labels (--labels)" in ended.err
    assert command("sample", trained.path, "--trust", "--labels", "0,1", "--out", tmp_path / "a.png").code == 0
    assert command("export", trained.path, "--trust", "--out", tmp_path / "export").code == 0
    card = (tmp_path / "export" / "README.md").read_text()
    assert "trained.sample(64, labels=[[0, 0]])" in card
    opened = api.load_export(tmp_path / "export", trust_plugins=True)
    assert opened.sample(64, labels=[[0, 0]]).shape == (64, 1, 16, 16)
