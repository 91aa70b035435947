"""Arrays that are mapped from a cache that others may write to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from killed import in_child

from ganzoo.components.spec import ImageSpec
from ganzoo.data.packed_dataset import _map


def test_objects_are_not_mapped(tmp_path: Path):
    """NumPy maps them, and dies when it follows what it takes for their addresses."""
    shape = (2, 4, 4, 3)
    np.save(tmp_path / "images.npy", np.ones(shape))
    data = (tmp_path / "images.npy").read_bytes().replace(b"'<f8'", b"'|O' ")
    (tmp_path / "images.npy").write_bytes(data)

    def look() -> None:
        with pytest.raises(ValueError, match="does not hold"):
            str(_map(tmp_path / "images.npy", {"shape": shape, "dtype": "O"}, ImageSpec(3, 4, 4)))

    assert in_child(look) == 0
