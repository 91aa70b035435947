"""Facts about images."""

from __future__ import annotations

import pytest

from ganzoo.components.spec import DatasetInfo, ImageSpec, LabelSpec, square_size


def test_shape_is_that_of_a_tensor():
    spec = ImageSpec(channels=3, height=48, width=64)
    assert spec.shape == (3, 48, 64)
    assert str(spec) == "3×48×64"


def test_classes_are_counted():
    assert DatasetInfo(ImageSpec(1, 8, 8)).num_classes == 0
    assert DatasetInfo(ImageSpec(1, 8, 8), LabelSpec.classes(("cat", "dog"))).num_classes == 2


def test_labels_are_told_in_words():
    assert str(LabelSpec("continuous", ("angle",))) == "1 continuous value"
    assert [str(LabelSpec(kind, ("a", "b"))) for kind in ("classes", "attributes")] == ["2 classes", "2 attributes"]


def test_facts_compare_by_value():
    labels = LabelSpec.classes(("cat",))
    assert DatasetInfo(ImageSpec(1, 8, 8), labels) == DatasetInfo(ImageSpec(1, 8, 8), labels)
    assert DatasetInfo(ImageSpec(1, 8, 8)) != DatasetInfo(ImageSpec(3, 8, 8))


def test_square_size():
    assert square_size(ImageSpec(3, 64, 64)) == 64
    with pytest.raises(ValueError, match="48×64"):
        square_size(ImageSpec(3, 48, 64))
