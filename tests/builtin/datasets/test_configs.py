"""The options of the bundled datasets: cheap to import, sensible by default, and those of the classes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ganzoo.builtin.datasets import configs
from ganzoo.components.descriptions import descriptions

# What a recipe that names nothing but the dataset trains on: channels and image_size.
DEFAULTS = {
    "small_sets:Digits": (1, 32),
    "image_folder:ImageFolder": (3, 64),
    "small_sets:Synthetic": (3, 64),
}


@pytest.mark.parametrize(("place", "default"), DEFAULTS.items())
def test_defaults(place, default):
    module, _, name = place.partition(":")
    dataset = getattr(__import__(f"ganzoo.builtin.datasets.{module}", fromlist=[name]), name)
    config = dataset.Config()
    assert dataset.Config is getattr(configs, f"{name}Config")
    assert (config.channels, config.image_size) == default
    assert config.sample_spec().shape == (default[0], default[1], default[1])


def test_every_option_is_documented():
    for name in DEFAULTS:
        config = getattr(configs, f"{name.partition(':')[2]}Config")
        assert descriptions(config).keys() == config.model_fields.keys(), config.__name__


def test_the_options_need_neither_torch_nor_pil():
    code = (
        "import sys, ganzoo.builtin.datasets.configs; print([m for m in ('torch', 'PIL', 'numpy') if m in sys.modules])"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"
