"""What errors say, and with which exit code a command ends by them."""

from __future__ import annotations

import inspect

import pytest

from ganzoo import errors
from ganzoo.errors import GanzooError, OutputError, Problem, RecipeError, RequestError, TrainingError

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, GanzooError)]


def test_problem_names_its_path():
    assert str(Problem("trainer.batch_size", "is 0")) == "trainer.batch_size: is 0"
    assert str(Problem("", "is not valid TOML")) == "is not valid TOML"


def test_recipe_error_lists_all_problems():
    problems = [Problem("run.steps", "is -1"), Problem("loss", "is missing")]
    error = RecipeError("my.toml", problems)
    assert str(error) == "my.toml: 2 problems\n  run.steps: is -1\n  loss: is missing"
    assert error.problems == problems
    assert str(RecipeError("my.toml", problems[:1])).startswith("my.toml: 1 problem\n")


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_wrong_requests_end_with_2_and_failures_with_1(cls: type[GanzooError]):
    assert cls.exit_code == (2 if issubclass(cls, RequestError) else 1)


def test_what_happens_in_a_run_is_a_failure():
    assert not issubclass(OutputError, RequestError)
    assert not issubclass(TrainingError, RequestError)
