"""Lints of the core: options of its components that work badly together.

R1 and the gradient penalty under bf16 or fp16 get no warning, since penalties are computed in fp32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from ganzoo.builtin.configs import GANTrainerConfig, WassersteinConfig
from ganzoo.components.schedule import Progress, schedules
from ganzoo.errors import Problem
from ganzoo.recipe.model import Recipe


def lint_recipe(recipe: Recipe) -> list[Problem | str]:
    """Warn of penalties on a critic with batch norm, an unbounded critic, too slow an EMA, jumps, and unscaled fp16."""
    return [*_penalties(recipe), *_critic(recipe), *_average(recipe), *_jumps(recipe), *_precision(recipe)]


def _penalties(recipe: Recipe) -> Iterator[Problem]:
    """Warn of a gradient penalty under batch norm: it needs independent images (arXiv 1704.00028, §4)."""
    for index, penalty in enumerate(recipe.penalties):
        if recipe.discriminator.mixes_batch and penalty.is_gradient_penalty:
            yield Problem(
                f"penalties.{index}",
                f'"{penalty.name}" limits the gradient of one image\'s logit, and batch norm in the discriminator '
                "makes every logit depend on the whole batch: take a discriminator without it, such as one with layer "
                "norm",
            )


def _critic(recipe: Recipe) -> Iterator[Problem]:
    bounded = recipe.penalties or recipe.discriminator.has_spectral_norm
    if isinstance(recipe.loss, WassersteinConfig) and not bounded:
        yield Problem(
            "loss",
            f'"{recipe.loss.name}" has no bound: nothing keeps the critic\'s logits from growing. Add a penalty on '
            f"its gradient, unless the discriminator is Lipschitz by itself",
        )


def _average(recipe: Recipe) -> Iterator[Problem]:
    """Warn of an EMA that is not kept, or longer than the run: it forgets its start in some 1 / (1 − decay) steps."""
    trainer, steps = recipe.trainer, recipe.run.steps
    if not isinstance(trainer, GANTrainerConfig):
        return
    if not trainer.ema_decay and trainer.ema_half_life is None:
        if trainer.ema_start:
            yield Problem("trainer.ema_start", "has no effect without an average: set trainer.ema_decay, such as 0.999")
        return
    if steps is None:
        return
    averaged, memory = steps - trainer.ema_start, 0.0
    if trainer.ema_decay:
        memory, told = 1 / (1 - trainer.ema_decay), f"a decay below {1 - 10 / (averaged + 10):.2g}"
    elif isinstance(trainer.ema_half_life, (int, float)) and not trainer.ema_ramp:  # a ramp shortens it at the start
        images = trainer.batch_size * trainer.batches_per_step
        memory = trainer.ema_half_life / images / math.log(2)
        told = f"a half-life below {images * averaged * math.log(2) / 10:.2g} images, or ema_ramp = 0.05,"
    if averaged <= 0:
        yield Problem(
            "trainer.ema_start",
            f"is {trainer.ema_start}, and the run has {steps} steps: the average of the generator never begins",
        )
    elif memory > averaged:
        yield Problem(
            "trainer.ema_decay" if trainer.ema_decay else "trainer.ema_half_life",
            f"is {trainer.ema_decay or trainer.ema_half_life}, which averages over {memory:.0f} steps, and the run has "
            f"{averaged} of them: samples will show the beginning; {told} suits so short a run",
        )


def _jumps(recipe: Recipe) -> Iterator[Problem]:
    """Warn of schedules between moments in different units, whose order depends on the length of the run."""
    trainer, steps = recipe.trainer, recipe.run.steps
    if steps is None:
        return
    start_of_run = Progress(0, steps, trainer.batch_size * trainer.batches_per_step)
    for path, schedule in schedules(recipe):
        if schedule.jumps(start_of_run):
            yield Problem(
                path,
                "jumps to its second value at once: its until comes before its start in this run "
                f"(step {start_of_run.steps(schedule.until):g} and step {start_of_run.steps(schedule.start):g})",
            )


def _precision(recipe: Recipe) -> Iterator[Problem]:
    """Warn of fp16 without loss scaling, where gradients below 6e-8 underflow."""
    if recipe.device.precision == "fp16" and not recipe.trainer.scales_loss:
        yield Problem(
            "device.precision",
            f'is "fp16", in which small gradients vanish, and the trainer "{recipe.trainer.name}" does not scale its '
            f'losses: take "bf16" or "fp32"',
        )
