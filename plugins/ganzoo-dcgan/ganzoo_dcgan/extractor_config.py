"""The options of the extractor that this plugin brings."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import PositiveInt

from ganzoo.plugin import ExtractorConfig


class DiscriminatorFeaturesConfig(ExtractorConfig):
    """The discriminator of a trained run, the maps of all its layers max-pooled (arXiv 1511.06434, §5.1)."""

    run: str
    """The run directory; its discriminator must judge images of the same shape, and may be any plugin's."""
    grid: PositiveInt = 1
    """Side of the grid that maps are pooled to; the paper's probe uses 4, which gives too many features for a
    covariance."""

    small_options: ClassVar[dict[str, Any]] = {"run": "no-such-run"}
