"""Show a run on stderr: a bar on a terminal, plain lines elsewhere; stdout is for results."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic

from rich.progress import Progress

from ganzoo.components.observer import Alert, RunView
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.runtime.output import output_error
from ganzoo.storage.summary import best_and_last
from ganzoo.terminal import has_bar, progress_bar, say
from ganzoo.text import count, counted, duration, number

LINE_SECONDS = 1.0
"""Least time between two plain lines of a run."""

_LOSS = "loss/"
_SHORT = {"discriminator": "D", "generator": "G"}
_OUTPUTS = {
    "probability/real": "D(x)",
    "probability/fake": "D(G(z))",
    "logits/real": "D(x)",
    "logits/fake": "D(G(z))",
}


class ConsoleObserver:
    """Shows the step, losses, discriminator outputs, speed and time left."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._lost = False
        self._started = monotonic()
        self._first_step = 0
        self._last_line = float("-inf")
        self._unseen = ""
        self._scored = False
        self._figures = ""
        self._logged: dict[str, float] = {}

    @hookimpl
    def run_started(self, run: RunView) -> None:
        """Print the device, dataset and network sizes, and open the bar."""
        sizes = {role: sum(p.numel() for p in run.networks[role].parameters()) for role in run.recipe.trainer.roles}
        told = ", ".join(f"{_SHORT.get(role, role)} {count(size)}" for role, size in sizes.items())
        say(
            f"{run.directory}: {run.compute_description}; {len(run.dataset)} samples of {run.info.samples}; "
            f"{told} parameters"
        )
        if run.resumed_from is not None:
            say(f"goes on from step {run.resumed_from} of {run.total_steps}")
        self._started, self._first_step = monotonic(), run.step
        if has_bar():
            self._bar = progress_bar("step {task.completed:.0f}/{task.total:.0f}")
            self._bar.add_task("", total=run.total_steps, completed=run.step, figures="")
            self._bar.start()

    @hookimpl
    def step_ended(self, run: RunView, step: int, metrics: Mapping[str, float] | None) -> None:
        """Move the bar, or print a line where one is due."""
        if metrics is not None:
            logged = "  ".join(f"{name} {number(value)}" for name, value in self._logged.items())
            seconds = (monotonic() - self._started) / max(1, step - self._first_step) * (run.total_steps - step)
            self._figures = "  ".join(filter(None, (describe(metrics), logged, f"left {duration(seconds)}")))
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=step, figures=self._figures)
        elif metrics is not None:
            self._unseen = f"step {step}/{run.total_steps}  {self._figures}"
            if run.ending or monotonic() - self._last_line >= LINE_SECONDS:
                self._print_unseen()
        self._tell_lost_output(run, step)

    @hookimpl
    def figures_logged(self, figures: Mapping[str, float]) -> None:
        """Show what observers logged, from the next log point on."""
        self._logged |= figures

    @hookimpl
    def metrics_evaluated(self, step: int, scores: Mapping[str, float]) -> None:
        """Print the scores."""
        self._scored = True
        told = "  ".join(f"{name} {number(value)}" for name, value in scores.items())
        say(f"step {step}  {told or 'no scores: no metric suits these samples'}")

    @hookimpl
    def alert_raised(self, step: int, alert: Alert) -> None:
        """Print the problem and what to try."""
        say(f"step {step}: {alert.text}; try {alert.remedy}", "alert: ")

    @hookimpl
    def run_ended(self, run: RunView) -> None:
        """Close the bar and print how the run ended; the command prints the error."""
        if self._bar is not None:
            self._bar.stop()
            self._unseen = f"step {run.step}/{run.total_steps}  {self._figures}" if self._figures else ""
        self._print_unseen()
        self._say_scores(run)
        status, took = run.status, duration(monotonic() - self._started)
        if status in ("complete", "reached"):
            say(f"complete: {counted(run.step - self._first_step, 'step')} in {took}")
            self._say_target(run)
        elif status == "interrupted":
            say(f"interrupted at step {run.step} of {run.total_steps}: {run.directory.command('resume')}")
        else:
            say(f"failed at step {run.step} of {run.total_steps}, after {took}")
        self._tell_lost_output(run, run.step)

    def _tell_lost_output(self, run: RunView, step: int) -> None:
        """Note in the metrics, once, that nothing more can be shown."""
        error = output_error()
        if error is not None and not self._lost:
            self._lost = True
            text = f"the output cannot be written and is switched off: {error.strerror or error}"
            run.fire("alert_raised", step=step, alert=Alert("output_lost", text, "metrics.jsonl, which goes on"))

    def _say_scores(self, run: RunView) -> None:
        """Print the best and the last value of each score."""
        if not self._scored:
            return
        scores = best_and_last(run.directory.read_metrics(), run.directory.score_directions())
        for which, values in scores.items():
            shown = (f"{name} {number(each['value'])} (step {each['step']})" for name, each in values.items())
            if values:
                say(f"{which} scores: {', '.join(shown)}")

    def _say_target(self, run: RunView) -> None:
        """Print whether the target was reached, and after how much training."""
        target = run.recipe.run.target
        if target is None:
            return
        if run.time_to_target is None:
            say(f"not reached: {target}, in {number(run.seconds)} s of training")
        else:
            after = f"{number(run.time_to_target)} s of training, without evaluation, samples and checkpoints"
            say(f"reached: {target} at step {run.step}, after {after}")

    def _print_unseen(self) -> None:
        if self._unseen:
            say(self._unseen)
            self._unseen, self._last_line = "", monotonic()


def describe(metrics: Mapping[str, float]) -> str:
    """Format losses, discriminator outputs and speed, as far as the trainer gives them."""
    losses = {name.removeprefix(_LOSS): value for name, value in metrics.items() if name.startswith(_LOSS)}
    parts = []
    if losses:
        parts.append("loss " + " ".join(f"{_SHORT.get(name, name)} {number(value)}" for name, value in losses.items()))
    parts += [f"{label} {number(metrics[key])}" for key, label in _OUTPUTS.items() if key in metrics]
    if "images_per_second" in metrics:
        parts.append(f"{number(metrics['images_per_second'])} images/s")
    return "  ".join(parts)
