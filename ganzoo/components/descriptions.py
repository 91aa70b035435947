"""Descriptions of options, read from the source on demand, so that commands start without that cost."""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import cache
from itertools import pairwise

from pydantic import BaseModel


def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """Return the description of each documented option of a class.

    The text is the `description` of its `Field`, or the string that stands under it: in the class itself,
    or else in the one that it inherits the option from.
    """
    texts = {name: text for base in reversed(model.__mro__) for name, text in _texts(base).items()}
    found = {name: field.description or texts.get(name) for name, field in model.model_fields.items()}
    return {name: text for name, text in found.items() if text}


@cache
def _texts(declares: type) -> dict[str, str]:
    """Return the string under each annotated name of a class; empty where the source cannot be read."""
    if declares.__module__.startswith(("pydantic.", "builtins")):
        return {}
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(declares))).body
    except (OSError, TypeError, SyntaxError):
        return {}
    lines = body[0].body if body and isinstance(body[0], ast.ClassDef) else []
    return {
        line.target.id: inspect.cleandoc(text.value.value)
        for line, text in pairwise(lines)
        if isinstance(line, ast.AnnAssign)
        and isinstance(line.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }
