"""Take what tells of the machine out of what is given away."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, TypeVar

from pydantic import BaseModel

from ganzoo.plugin import DatasetConfig, Recipe

T = TypeVar("T")


def without_folders(value: T) -> T:
    """Return options, at any depth, without the folders of datasets and of files.

    The `root` of a dataset gets its default, and of an absolute path the last part is kept.
    """
    changed: Any = value
    if isinstance(value, BaseModel):
        changes = {name: _without(name, getattr(value, name)) for name in type(value).model_fields}
        if isinstance(value, DatasetConfig):
            changes["root"] = type(value).model_fields["root"].get_default()
        changed = value.model_copy(update=changes)
    elif isinstance(value, Mapping):
        changed = {name: _without(name, each) for name, each in value.items() if name != "root"}
    elif isinstance(value, list | tuple):
        changed = type(value)(map(without_folders, value))
    elif isinstance(value, str):
        form = next((form for form in (PurePosixPath, PureWindowsPath) if form(value).is_absolute()), None)
        changed = (form(value).name if form else "") or value
    result: T = changed
    return result


def _without(name: str, value: Any) -> Any:
    return value if name == "classes" else without_folders(value)  # which may be called "/m/01g317"


def public_tables(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe's tables but for those of trackers, which need not be installed where the export is opened."""
    return {name: table for name, table in recipe.to_dict().items() if name != "tracking"}
