"""The two datasets that need no files: scikit-learn's digits, and made-up discs."""

from __future__ import annotations

import colorsys
import os
import subprocess
import sys

import numpy as np
import pytest

from ganzoo.builtin.configs import DigitsConfig, SyntheticConfig
from ganzoo.builtin.datasets import Digits, Synthetic
from ganzoo.components.descriptions import descriptions
from ganzoo.data.packed_dataset import pack_dataset


# What a recipe that names nothing but the dataset trains on: channels and image_size.
@pytest.mark.parametrize(("dataset", "channels", "size"), [(Digits, 1, 32), (Synthetic, 3, 64)])
def test_defaults(dataset, channels, size):
    config = dataset.Config()
    assert (config.channels, config.image_size) == (channels, size)
    assert config.sample_spec().shape == (channels, size, size)
    assert descriptions(dataset.Config).keys() == dataset.Config.model_fields.keys()


@pytest.mark.parametrize("module", ["ganzoo.builtin.configs", "ganzoo_datasets.configs"])
def test_the_options_need_neither_torch_nor_pil(module):
    code = f"import sys, {module}; print([m for m in ('torch', 'PIL', 'numpy') if m in sys.modules])"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"


def test_digits_are_all_there_and_use_the_whole_range(tmp_path):
    packed = pack_dataset(Digits(DigitsConfig()), cache=tmp_path)
    assert packed.images.shape == (1797, 32, 32, 1)
    assert packed.info.class_names == tuple("0123456789")
    assert np.bincount(packed.labels).min() > 170
    assert packed.images.min() == 0
    assert packed.images.max() == 255


def test_digits_at_their_own_size_are_scikit_learns_numbers(tmp_path):
    from sklearn.datasets import load_digits

    packed = pack_dataset(Digits(DigitsConfig(image_size=8)), cache=tmp_path)
    assert np.array_equal(np.rint(packed.images[..., 0] / 255 * 16), load_digits().images)


def source(**options):
    dataset = Synthetic(SyntheticConfig(image_size=32, **options))
    dataset.prepare()
    return dataset.open()


def test_discs_are_repeatable_and_differ_by_seed():
    first, again, other = source(), source(), source(seed=-1)
    assert np.array_equal(first[5][0], again[5][0])
    assert not np.array_equal(first[5][0], other[5][0])
    assert not np.array_equal(first[5][0], first[15][0])


def test_a_larger_count_begins_with_the_same_images():
    assert np.array_equal(source(count=10)[7][0], source(count=1000)[7][0])


def test_the_class_decides_the_hue():
    images = source(num_classes=4)
    for index in range(8):
        image, label = images[index]
        assert label == index % 4
        disc = max(image.getcolors(), key=lambda entry: max(entry[1]))[1]
        hue = colorsys.rgb_to_hsv(*(value / 255 for value in disc))[0]
        assert abs(hue - label / 4) < 0.02


def test_discs_end_where_they_should():
    images = source(count=3)
    assert len(images) == 3
    with pytest.raises(IndexError):
        images[3]


def test_discs_as_a_pack(tmp_path):
    packed = pack_dataset(Synthetic(SyntheticConfig(image_size=16, count=20, num_classes=3)), cache=tmp_path)
    assert packed.images.shape == (20, 16, 16, 3)
    assert packed.info.class_names == ("hue 0", "hue 1", "hue 2")
    assert packed.labels.tolist() == [index % 3 for index in range(20)]
