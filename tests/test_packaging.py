"""What pip would install of each distribution: the wheel is built, and looked into."""

from __future__ import annotations

import configparser
import contextlib
import email
import tomllib
import zipfile
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
DISTRIBUTIONS = [ROOT, *sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))]


@dataclass(frozen=True)
class Wheel:
    """A distribution's project table and its built wheel."""

    folder: Path
    project: dict[str, Any]
    archive: zipfile.ZipFile

    @property
    def names(self) -> set[str]:
        return {name for name in self.archive.namelist() if not name.endswith("/")}

    def information(self, name: str) -> str:
        (path,) = [each for each in self.names if each.endswith(f".dist-info/{name}")]
        return self.archive.read(path).decode()

    @property
    def metadata(self) -> Message:
        return email.message_from_string(self.information("METADATA"))

    @property
    def package(self) -> str:
        return "ganzoo" if self.folder == ROOT else self.project["name"].replace("-", "_")


@pytest.fixture(scope="module", params=DISTRIBUTIONS, ids=lambda folder: folder.name if folder != ROOT else "core")
def wheel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Wheel:
    folder: Path = request.param
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    target = tmp_path_factory.mktemp("wheels")
    build = pytest.importorskip("hatchling.build")
    with contextlib.chdir(folder):  # from where pip calls it
        path = target / build.build_wheel(str(target))
    return Wheel(folder, project, zipfile.ZipFile(path))


def test_has_every_module_and_nothing_else(wheel: Wheel) -> None:
    source = {
        path.relative_to(wheel.folder).as_posix()
        for path in (wheel.folder / wheel.package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in wheel.names if ".dist-info/" not in name} == source


def test_is_typed(wheel: Wheel) -> None:
    assert f"{wheel.package}/py.typed" in wheel.names


def test_has_its_entry_points(wheel: Wheel) -> None:
    parsed = configparser.ConfigParser()
    parsed.read_string(wheel.information("entry_points.txt"))
    assert dict(parsed["ganzoo"]) == wheel.project["entry-points"]["ganzoo"]
    for module in parsed["ganzoo"].values():
        assert f"{module.replace('.', '/')}.py" in wheel.names
    if wheel.folder == ROOT:
        assert dict(parsed["console_scripts"]) == {"ganzoo": "ganzoo.__main__:main"}


def test_says_what_it_is(wheel: Wheel) -> None:
    metadata = wheel.metadata
    assert metadata["Name"] == wheel.project["name"]
    assert metadata["Version"] == wheel.project["version"]
    assert metadata["Summary"] == wheel.project["description"]
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata.get_payload().strip() == (wheel.folder / "README.md").read_text(encoding="utf-8").strip()


def test_has_its_license(wheel: Wheel) -> None:
    assert wheel.metadata["License-Expression"] == "MIT"
    if wheel.folder == ROOT:
        assert "Permission is hereby granted" in wheel.information("licenses/LICENSE")


def test_asks_for_nothing_of_the_taken_name(wheel: Wheel) -> None:
    requirements = wheel.metadata.get_all("Requires-Dist") or []
    assert not any(requirement.startswith("ganzoo ") or requirement == "ganzoo" for requirement in requirements)
    assert wheel.folder == ROOT or any(requirement.startswith("ganzoo-core") for requirement in requirements)
