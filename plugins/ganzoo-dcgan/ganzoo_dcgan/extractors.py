"""The discriminator of a trained run as an extractor of features, pooled as the paper's probe pools them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack

import torch
import torch.nn.functional as F
from torch import Tensor

from ganzoo.plugin import DataError, Discriminator, Extractor, RunDirectoryError, StoredImages
from ganzoo_dcgan.batch_norm_calibration import calibrated_batch_norm, training_batches
from ganzoo_dcgan.extractor_config import DiscriminatorFeaturesConfig


class DiscriminatorFeatures(Extractor):
    """Pooled features of a discriminator, with batch norm calibrated on batches of the real images."""

    Config = DiscriminatorFeaturesConfig
    config: DiscriminatorFeaturesConfig

    @property
    def source(self) -> str:
        """The run, and the step of its checkpoint."""
        return f"{self.config.run}, step {self._step}"

    def prepare(self, real: StoredImages) -> None:
        """Load the run's discriminator and calibrate its batch norm.

        Raises:
            DataError: there is no such run, or its images are of another shape.
        """
        from ganzoo import api

        try:
            home = os.path.expanduser(self.config.run)  # noqa: PTH111 - Path's raises where there is no such user
            run = api.load_run(home, accelerator="cpu")
            with torch.random.fork_rng(devices=[]):  # a network is built with random weights first
                self.network: Discriminator = run.discriminator
        except RunDirectoryError as error:
            raise DataError(f'extractor "{self.config.name}": run: {error}') from error
        judged = self.network.info.image
        if judged != self.info.image:
            raise DataError(
                f'extractor "{self.config.name}": run {self.config.run}: its discriminator judges {judged}, and the '
                f"images are {self.info.image}: set evaluation.image_size, or name another run"
            )
        self._step = run.checkpoint.step
        # The statistics stay for as long as the network does, which is this extractor's alone.
        self._statistics = ExitStack()
        self._statistics.enter_context(calibrated_batch_norm(self.network, training_batches(real)))
        self.requires_grad_(False)

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Return features (N, D); with a grid of 1, D is the number of channels of all layers together."""
        maps = self.network.features(images.contiguous(memory_format=torch.channels_last))
        return torch.cat([self._pooled(one).flatten(1) for one in maps], 1).float()

    def settings(self) -> Mapping[str, int | float | str]:
        """Return the grid."""
        return {"grid": self.config.grid}

    def notes(self) -> Mapping[str, float | str]:
        """Return the run of the discriminator."""
        return {"run": self.config.run, "step": self._step}

    def _pooled(self, maps: Tensor) -> Tensor:
        if maps.ndim != 4:
            return maps
        grid = self.config.grid
        return F.adaptive_max_pool2d(maps, (min(grid, maps.shape[2]), min(grid, maps.shape[3])))
