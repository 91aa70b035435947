"""What the tests share: networks by name, kept to one thread, since the tensors are small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from plugin_fixtures import _no_fsync, _one_thread, _own_cache  # noqa: F401

from ganzoo.components.spec import DatasetInfo, ImageSpec, LabelSpec
from ganzoo.registry.plugin_manager import plugin_manager

DIGITS = tuple("0123456789")


@pytest.fixture
def make() -> Callable[..., Any]:
    """`make("generators", "cgan", size=16, width=4)`: the component of this name."""

    def build(kind: str, name: str, *, size: int = 32, channels: int = 3, **options: Any) -> Any:
        info = DatasetInfo(ImageSpec(channels, size, size), LabelSpec.classes(DIGITS))
        entry = getattr(plugin_manager().registries, kind)[name]
        config = entry.config(name=name, **options)
        config.check_info(info)
        return entry.load()(config, info=info)

    return build
