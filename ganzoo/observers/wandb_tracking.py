"""Shows a run on Weights & Biases, online or in a file to upload later; never costs the run a step."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Literal

from ganzoo.engine.pictures import grid
from ganzoo.hookspecs import hookimpl
from ganzoo.observers.console import parameters, say, warn
from ganzoo.observers.metrics_log import SCORE, finite, status_of
from ganzoo.observers.samples import GIF
from ganzoo.observers.wandb_key import key_is_known

if TYPE_CHECKING:
    import wandb
    from torch import Tensor

    from ganzoo.engine.run import Run

START_SECONDS = 10.0
"""How long a server may take to accept a run, before the run is tracked offline."""
FINISH_SECONDS = 45.0
"""How long the last rows may take to reach the server; whatever does not stays on disk, for `wandb sync`."""
STOP_SECONDS = 2.0
"""The same where the run was told to stop: whoever told it may not wait much longer."""

RECORD = "wandb.json"
EXIT_CODES = {"complete": 0, "failed": 1, "interrupted": 255}
"""255 together with "preempting" is how W&B tells a run that will go on from one that failed."""

# Values of WANDB_MODE; any other is taken as none.
MODES = {"online": "online", "run": "online", "offline": "offline", "dryrun": "offline", "disabled": "disabled"}


class WandbTracker:
    """Sends the recipe, metrics, scores, grids and the film of a run to W&B.

    Every row goes under its step, and charts have "step" as their axis. Whatever fails on the way to W&B
    is said once and forgotten: `metrics.jsonl` is the truth, this is a view of it.
    """

    def __init__(self) -> None:
        self._tracked: wandb.Run | None = None
        self._step = 0
        self._error: BaseException | None = None
        self._warned = False

    @hookimpl
    def run_started(self, run: Run) -> None:
        """Begin tracking, or go on with what an earlier part of the run began."""
        self._step = run.step
        try:
            self._tracked = start(run)
        except Exception as error:
            warn(f"W&B: tracking is off: {first_line(error)}; the metrics are in {run.directory.metrics}")

    @hookimpl
    def step_ended(self, step: int, metrics: Mapping[str, float] | None) -> None:
        """Send the figures of a log point."""
        if metrics is not None:
            self._log(step, finite(metrics))

    @hookimpl
    def samples_ready(self, step: int, images: Tensor) -> None:
        """Send a grid of samples."""
        if self._tracked is not None:
            import wandb
            from torchvision.transforms.functional import to_pil_image

            with self._surviving():
                picture = wandb.Image(to_pil_image(grid(images)), caption=f"step {step}")
                self._log(step, {"samples/grid": picture})

    @hookimpl
    def metrics_evaluated(self, step: int, scores: Mapping[str, float]) -> None:
        """Send scores."""
        self._log(step, {SCORE + name: value for name, value in finite(scores).items()})

    @hookimpl
    def run_failed(self, error: BaseException) -> None:
        """Remember what the run ended by."""
        self._error = error

    @hookimpl
    def run_ended(self, run: Run) -> None:
        """Send the film, and let W&B finish with the exit code that tells how the run ended."""
        tracked, self._tracked, status = self._tracked, None, status_of(run, self._error)
        if tracked is None:
            return
        import wandb

        film = run.directory.samples / GIF
        with self._surviving():
            if run.recipe.samples.gif and film.is_file():
                tracked.log({"samples/evolution": wandb.Video(film), "step": self._step}, step=self._step)
            tracked.summary["status"] = status
            if status == "interrupted":
                tracked.mark_preempting()
        with self._surviving():
            try:
                finish(tracked, EXIT_CODES[status], STOP_SECONDS if status == "interrupted" else None)
            except TimeoutError:
                files = Path(tracked.dir).parent
                warn(f"W&B: the server does not take the last rows; upload them with: wandb sync {files}")

    def _log(self, step: int, row: Mapping[str, Any]) -> None:
        if self._tracked is not None:
            # W&B drops a row that comes after one of a later step, such as scores that took their time.
            self._step = max(step, self._step)
            with self._surviving():
                self._tracked.log({**row, "step": self._step}, step=self._step)

    @contextmanager
    def _surviving(self) -> Iterator[None]:
        """Have what fails inside said once, and go on."""
        try:
            yield
        except Exception as error:
            if not self._warned:
                warn(f"W&B: something is missing there, the run goes on: {first_line(error)}")
            self._warned = True


def start(run: Run) -> wandb.Run | None:
    """The W&B run to send to: online, or offline where that is asked for or all there is; None: disabled.

    Raises:
        Exception: of any kind: W&B cannot even write into the run directory.
    """
    mode: str | None = run.recipe.tracking.wandb.mode
    if mode == "auto":
        mode = MODES.get(os.environ.get("WANDB_MODE", ""))
    if mode == "disabled":
        return None
    folder = run.directory.path / "wandb"
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass  # writable; where it is not, W&B would quietly take the system's temporary folder
    # W&B's reports on itself go to the same server, and delay the exit where that does not answer.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    problem = ""
    if mode != "offline" and key_is_known():
        before = set(folder.iterdir())
        try:
            tracked = _begin(run, "online")
            say(f"W&B: {tracked.url}")
            return tracked
        except Exception as error:
            problem = first_line(error)
            _forget_attempt(set(folder.iterdir()) - before)
    elif mode == "online":
        problem = "no API key is known here, `wandb login` keeps one"
    tracked = _begin(run, "offline")
    files = folder / f"offline-run-*-{tracked.id}*"  # one of each part, where the run was resumed
    parts = list(folder.glob(files.name))
    hint = f"upload it with: wandb sync {parts[0] if len(parts) == 1 else files}"
    if problem:
        warn(f"W&B: the run is tracked offline: {problem}; {hint}")
    else:
        say(f"W&B: the run is tracked offline; {hint}")
    return tracked


def finish(tracked: wandb.Run, exit_code: int, seconds: float | None) -> None:
    """End a run; in `seconds`, where W&B's own limit is not short enough.

    Raises:
        TimeoutError: the server has not taken everything by then.
    """
    errors: list[Exception] = []

    def end() -> None:
        try:
            tracked.finish(exit_code=exit_code)
        except Exception as error:
            errors.append(error)

    ending = Thread(target=end, daemon=True)
    ending.start()
    ending.join(seconds)
    if ending.is_alive() or errors:
        raise errors[0] if errors else TimeoutError


def describe(run: Run) -> dict[str, Any]:
    """What W&B shows as the config: the whole resolved recipe, and the facts that it was run with."""
    parts, image = run.trainer.parts, run.facts.image
    facts = {
        "device": str(run.compute.device),
        "precision": run.compute.precision,
        "image": list(image.shape),
        "classes": run.facts.num_classes,
        "images": len(run.feed.pack),
        "generator_parameters": parameters(parts.generator),
        "discriminator_parameters": parameters(parts.discriminator),
        "plugins": dict(run.plugin_versions),
    }
    return {**run.recipe.to_dict(), "facts": facts}


def tags(run: Run) -> list[str]:
    """The names of the parts and the seed, and what the recipe adds; W&B takes 64 characters of each."""
    recipe = run.recipe
    components = (
        recipe.generator,
        recipe.discriminator,
        recipe.loss,
        *recipe.penalties,
        recipe.dataset,
        recipe.trainer,
    )
    names = [*(part.name for part in components), f"seed:{recipe.run.seed}", *recipe.tracking.wandb.tags]
    return list(dict.fromkeys(name[:64] for name in names if name))


def first_line(error: BaseException) -> str:
    """What an error says in short, or its kind where it says nothing."""
    lines = str(error).splitlines()
    return lines[0] if lines and lines[0] != "<no message>" else type(error).__name__


def _begin(run: Run, mode: Literal["online", "offline"]) -> wandb.Run:
    import wandb

    options, record = run.recipe.tracking.wandb, _read_record(run)
    folder = run.directory.path.resolve()
    wandb.setup(wandb.Settings(silent=True))
    tracked = wandb.init(
        project=options.project,
        entity=options.entity,
        dir=folder,
        id=record.get("id"),
        name=f"{run.recipe.run.name}/{folder.name}",
        group=options.group or run.recipe.run.name,
        job_type=options.job_type,
        tags=tags(run),
        config=describe(run),
        allow_val_change=True,
        mode=mode,
        resume="allow" if record.get("id") and mode == "online" else None,
        reinit="create_new",  # leaves alone a run that the calling program has of its own
        settings=wandb.Settings(
            silent=True,
            console="off",
            symlink=False,
            save_code=False,
            disable_code=True,
            disable_git=True,
            label_disable=True,
            init_timeout=START_SECONDS,
            finish_timeout=FINISH_SECONDS,
            finish_timeout_raises=True,
        ),
    )
    try:
        tracked.define_metric("step", hidden=True)
        tracked.define_metric("*", step_metric="step")
        tracked.define_metric(f"{SCORE}*", step_metric="step", summary="min,max,last")
        tracked.save(folder / "recipe.toml", base_path=folder, policy="now")
        values = {
            "id": tracked.id,
            "mode": mode,
            "project": tracked.project,
            "entity": tracked.entity or options.entity,
            "path": str(Path(tracked.dir).resolve().parent.relative_to(folder)),
            "url": tracked.url,
        }
        run.directory.write_json(RECORD, values)
    except Exception:
        tracked.finish(exit_code=1)
        raise
    return tracked


def _read_record(run: Run) -> dict[str, Any]:
    """What an earlier part of the run wrote down; nothing where there is none or it cannot be read."""
    try:
        record = json.loads((run.directory.path / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _forget_attempt(leftovers: set[Path]) -> None:
    """Free the id of a run that could not be started, and remove its files: they hold nothing to upload."""
    import wandb

    if wandb.run is None:  # else the calling program has a run of its own, which must not be ended
        wandb.teardown()
    for path in leftovers:
        shutil.rmtree(path, ignore_errors=True)
