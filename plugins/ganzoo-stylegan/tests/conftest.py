"""What the tests share: networks by name, kept to one thread, since the tensors are small."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plugin_fixtures import _no_fsync, _one_thread, _own_cache  # noqa: F401

from ganzoo.components.spec import DatasetInfo, ImageSpec, LabelSpec
from ganzoo.registry.plugin_manager import plugin_manager

sys.path.insert(0, str(Path(__file__).parent))  # for the modules beside this one


@pytest.fixture
def make() -> Callable[..., Any]:
    """`make("generators", size=16, max_channels=8)`: StyleGAN2's generator."""

    def build(kind: str, *, size: int = 16, channels: int = 3, labels: int = 10, **options: Any) -> Any:
        info = DatasetInfo(ImageSpec(channels, size, size), LabelSpec.classes(map(str, range(labels))))
        entry = getattr(plugin_manager().registries, kind)["stylegan2"]
        config = entry.config(name="stylegan2", **options)
        config.check_info(info)
        return entry.load()(config, info=info)

    return build
