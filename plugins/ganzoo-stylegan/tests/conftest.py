"""What the tests share: networks by name, kept to one thread, since the tensors are small."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ganzoo.components.spec import DatasetInfo, ImageSpec, LabelSpec
from ganzoo.registry.plugin_manager import plugin_manager

sys.path.insert(0, str(Path(__file__).parent))  # for the modules beside this one


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GANZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


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
