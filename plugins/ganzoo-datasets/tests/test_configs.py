"""The options of the datasets: documented, and sensible by default."""

from __future__ import annotations

import pytest

from ganzoo.components.descriptions import descriptions
from ganzoo.registry.plugin_manager import plugin_manager

# What a recipe that names nothing but the dataset trains on: channels and image_size.
DEFAULTS = {
    "image_folder": (3, 64),
    "image_pairs": (3, 64),
    "mnist": (1, 28),
    "fashion_mnist": (1, 28),
    "cifar10": (3, 32),
    "svhn": (3, 32),
    "celeba": (3, 64),
    "lsun": (3, 64),
}


@pytest.mark.parametrize(("name", "default"), DEFAULTS.items())
def test_defaults(name: str, default: tuple[int, int]):
    entry = plugin_manager().registries.datasets[name]
    config = entry.config(name=name)
    assert isinstance(config, entry.load().Config)
    assert (config.channels, config.image_size) == default
    assert config.sample_spec().shape == (default[0], default[1], default[1])


@pytest.mark.parametrize("name", DEFAULTS)
def test_every_option_is_documented(name: str):
    config = plugin_manager().registries.datasets[name].load().Config
    assert descriptions(config).keys() == config.model_fields.keys()
