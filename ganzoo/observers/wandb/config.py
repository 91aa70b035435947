"""Options of the tracker on Weights & Biases."""

from __future__ import annotations

from typing import Literal

from ganzoo.components.options import TrackerConfig


class WandbConfig(TrackerConfig):
    """Tracking on Weights & Biases."""

    by_default = True

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """auto: WANDB_MODE if set, else online where a key is known, else offline; never a prompt."""
    project: str = "ganzoo"
    """Project on W&B."""
    entity: str | None = None
    """User or team; left out: the account's default."""
    group: str | None = None
    """Runs to be shown together; left out: the run's name, so that its seeds line up."""
    job_type: str = "train"
    """Kind of run within the group."""
    tags: tuple[str, ...] = ()
    """Tags beside those that ganzoo sets: the names of the parts."""
    checkpoints: Literal[False, True, "best", "all"] = False
    """Send checkpoints too, as artifacts. true: the last and, where `checkpoint.best` names a score, the best when the
    run has ended; "best": only that; "all": each when it is saved."""

    @property
    def enabled(self) -> bool:
        """Whether the mode is another than "disabled"."""
        return self.mode != "disabled"
