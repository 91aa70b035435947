"""Runs calls in processes side by side, as small trainings on one large GPU gain from."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any


def number_of_jobs(text: str) -> int:
    """Return the number of calls at a time that a command line asks for.

    Raises:
        ArgumentTypeError: it is no whole number from 1.
    """
    if not (text.isdecimal() and int(text)):
        raise ArgumentTypeError(f"{text!r}: must be a whole number from 1")
    return int(text)


def run_side_by_side(function: Callable[..., None], calls: Iterable[tuple[Any, ...]], processes: int) -> None:
    """Call a function of a module with each tuple of arguments, in order, so many at a time.

    Each call has a process of its own, except where there is to be one at a time. The first error is raised once the
    calls that have begun are over.
    """
    if processes == 1:
        for arguments in calls:
            function(*arguments)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        begun = [pool.submit(function, *arguments) for arguments in calls]
        try:
            for each in begun:
                each.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
