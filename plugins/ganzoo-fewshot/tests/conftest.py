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

sys.path.insert(0, str(Path(__file__).parent))  # for the transcriptions in `literal_fewshot`
DIGITS = tuple("0123456789")


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
    """`make("generators", "fastgan", size=64, width=4)`: the component of this name."""

    def build(kind: str, name: str, *, size: int = 64, channels: int = 3, **options: Any) -> Any:
        info = DatasetInfo(ImageSpec(channels, size, size), LabelSpec.classes(DIGITS))
        entry = getattr(plugin_manager().registries, kind)[name]
        config = entry.config(name=name, **options)
        config.check_info(info)
        return entry.load()(config, info=info)

    return build
