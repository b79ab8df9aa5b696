"""Folds side by side: a process each, where the container has more than one core."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Final, TypeVar

from mlfactory.common.errors import InputError
from mlfactory.common.machine import cores

WORKERS: Final = "MLF_FOLD_WORKERS"
"""Environment variable: folds fitted at once; one per core where it is unset."""
_Result = TypeVar("_Result")
_held: list[Callable[[int], object]] = []


class ProcessDied(RuntimeError):
    """A process ended without a word."""


def wanted() -> int:
    """Folds to fit at once.

    Raises:
        InputError: ``MLF_FOLD_WORKERS`` is no positive whole number.
    """
    stated = os.environ.get(WORKERS, "")
    if stated and (not stated.isdigit() or int(stated) < 1):
        raise InputError(f"{WORKERS} is {stated!r}; expected a whole number, at least 1")
    return int(stated) if stated else cores()


def side_by_side(work: Callable[[int], _Result], items: Sequence[int], workers: int) -> Iterator[_Result]:
    """Call ``work`` for every item, in forked processes if there are several, and give the results in order.

    The results are the same for any number of workers as long as ``work`` depends on its item alone.

    Args:
        work: inherited by the processes; its results are pickled, not what it holds.
        items: such as the numbers of folds.
        workers: processes at most; 1 works in this process.

    Raises:
        ProcessDied: a process was killed.
    """
    if min(workers, len(items)) < 2:
        yield from map(work, items)
        return
    with ProcessPoolExecutor(
        min(workers, len(items)), multiprocessing.get_context("fork"), initializer=_hold, initargs=(work,)
    ) as pool:
        futures = [pool.submit(_call, item) for item in items]
        try:
            for future in futures:
                yield future.result()  # type: ignore[misc]
        except BrokenProcessPool:
            raise ProcessDied(
                f"a process that fitted a fold was killed: out of memory? {WORKERS} states how many fit at once"
            ) from None


def _hold(work: Callable[[int], object]) -> None:
    _held[:] = [work]


def _call(item: int) -> object:
    return _held[0](item)
