"""Work in a child process, so that a crash of any kind is a fact to report and not the end of the stage."""

import ctypes
import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlfactory.common.errors import InputError
from mlfactory.common.stage import single_threaded

_LONGEST = 2000  # characters kept of a message
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_LARGEST_KEPT, _KEPT = 1 << 30, (1 << 31) - 1  # bytes; the second is the largest int


@dataclass(frozen=True)
class Failure:
    """Why a child process did not finish."""

    type: str
    """name of the exception, or ``ProcessDied``"""
    message: str


def isolated(work: Callable[[], None], report: Path) -> Failure | None:
    """Run ``work`` in a forked child with one thread per library; None when it finished.

    The parent must not have started threads of a numerical library: a fork would copy their locks.

    Args:
        work: leaves its results in files.
        report: a file that does not exist; the child states its error there.

    Raises:
        InputError: raised in the child, raised again here.
    """
    process = multiprocessing.get_context("fork").Process(target=_guarded, args=(work, report))
    process.start()
    try:
        process.join()
    finally:
        if process.is_alive():  # interrupted while waiting
            process.kill()
            process.join()
    if process.exitcode == 0:
        return None
    if not report.exists():
        return Failure("ProcessDied", _describe(process.exitcode or 0))
    failure = Failure(**json.loads(report.read_text(encoding="utf-8")))
    if failure.type == InputError.__name__:
        raise InputError(failure.message)
    return failure


def _guarded(work: Callable[[], None], report: Path) -> None:
    os.environ.update(single_threaded())
    keep_freed_memory()
    try:
        work()
    except BaseException as error:
        message = str(error).strip()[:_LONGEST]
        facts = {"type": type(error).__name__, "message": message or type(error).__name__}
        report.write_text(json.dumps(facts), encoding="utf-8")
        if isinstance(error, InputError):
            os._exit(2)  # the parent raises it again: no traceback here
        raise


def keep_freed_memory() -> None:
    """Tell glibc to keep freed blocks for the next ones instead of giving them back to the kernel.

    A training step allocates and frees the same large blocks each time; without this, page faults take more than
    half of a small network's time.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
        library.mallopt(_TRIM_THRESHOLD, _KEPT)


def _describe(exitcode: int) -> str:
    if exitcode >= 0:
        return f"the fit ended with exit code {exitcode}"
    name = signal.Signals(-exitcode).name
    hint = ": out of memory?" if name == "SIGKILL" else ""
    return f"the fit was killed by {name}{hint}"
