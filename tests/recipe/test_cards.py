"""Cards of recipes: what their headers say to expect is what was measured, and what the results page says."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ganzoo.errors import RequestError
from ganzoo.recipe.card import RecipeCard, read_card

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.toml"))
Command = Callable[..., Any]


@pytest.fixture(scope="module")
def cards() -> dict[str, Any]:
    """The figures, and the functions of the program that writes them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        module = runpy.run_path(str(ROOT / "benchmarks" / "cards.py"))
    return module | {"cards": json.loads(module["CARDS"].read_text(encoding="utf-8"))}


def test_every_header_says_what_was_measured(cards: dict[str, Any]):
    assert sorted(cards["cards"]) == [path.stem for path in RECIPES]
    for path in RECIPES:
        figures, text = cards["cards"][path.stem], path.read_text(encoding="utf-8")
        assert cards["with_line"](text, cards["expectation"](figures)) == text, "python benchmarks/cards.py write"
        card = read_card(path)
        assert card.command == f"ganzoo run recipes/{path.name}"
        assert card.machine == figures["machine"]
        assert (card.score, card.step) == (figures.get("score"), figures.get("step"))
        assert (card.value is None) == ("value" not in figures)
        assert card.value is None or card.value == pytest.approx(figures["value"], rel=5e-3)


def test_the_results_page_has_the_same_figures(cards: dict[str, Any]):
    text = cards["PAGE"].read_text(encoding="utf-8")
    assert cards["with_table"](text, cards["cards"]) == text, "python benchmarks/cards.py write"
    assert cards["table"](cards["cards"]) in text
    assert all(f"`{name}`" in cards["table"](cards["cards"]) for name in cards["cards"])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "# expect: fd_classifier 5.01 at step 2,000; 2 min on 2 CPU cores; 0.8 GB\n",
            {"score": "fd_classifier", "value": 5.01, "step": 2000, "time": "2 min", "machine": "2 CPU cores",
             "memory": "0.8 GB"},
        ),
        ("# expect: score not measured; 1.5 h on one CPU core; memory not measured\n",
         {"time": "1.5 h", "machine": "one CPU core"}),
        ("# expect: not measured; for one GPU\n", {"machine": "one GPU"}),
        ("", {}),
    ],
)  # fmt: skip
def test_the_command_shows_it(line: str, expected: dict[str, Any], tmp_path: Path, command: Command):
    path = tmp_path / "mine.toml"
    path.write_text(f"# What this is for,\n# in two lines.\n{line}#   ganzoo run mine.toml\n[run]\n# no header\n")
    card = RecipeCard("What this is for,\nin two lines.", "ganzoo run mine.toml", **expected)
    assert read_card(path) == card
    assert json.loads(command("recipe", "show", path, "--card", "--json").out)["command"] == "ganzoo run mine.toml"
    shown = command("recipe", "show", path, "--card").out
    assert shown.startswith("What this is for,\nin two lines.\n\ncommand  ganzoo run mine.toml\n")
    assert shown.count("not measured") == 3 - len({"score", "time", "memory"} & expected.keys())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[run]\n", "has no card: a recipe says what to expect in the comment at its top"),
        ("# expect: soon\n[run]\n", 'the line "# expect: soon" has another form than "fd_classifier'),
    ],
)
def test_no_card(text: str, message: str, tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(RequestError, match=message):
        read_card(path)


def test_a_card_in_another_encoding(tmp_path: Path):
    path = tmp_path / "latin.toml"
    path.write_bytes("# Digits.\n# Données\n".encode("latin-1"))
    with pytest.raises(RequestError, match=r"cannot be read: line 2 has the byte 0xe9 .* save it as UTF-8"):
        read_card(path)


def test_changes_and_a_card_do_not_go_together(command: Command):
    told = command("recipe", "show", RECIPES[0], "--card", "--set", "run.steps=3")
    assert "--card: shows what was measured of the recipe as it is: leave out --set" in told.err
