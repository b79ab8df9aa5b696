"""One run of the pipeline on this machine: a child process executes it, this one shows progress and logs."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import uuid
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from mlfactory.common.artifacts import read_json
from mlfactory.common.errors import InputError
from mlfactory_pipelines.local import DOCKER, RUN_LABEL, Request, ask
from mlfactory_pipelines.progress import Display, Finished, activity, stage_line

LAST_LINES = 12
_INPUT_ERROR = f"{InputError.__module__}.{InputError.__name__}: "
_GRACE_S = 3.0
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_RUNNER = re.compile(r"\d\d:\d\d:\d\d\.\d{3} - |-{20,}$|[~^ ]+$")
"""Lines in a task's output that say nothing about it: the runner's own, and underlining in tracebacks."""


class StageFailed(Exception):
    """A stage ended with an error that is no fault of the input."""

    def __init__(self, task: str, lines: list[str]) -> None:
        super().__init__(task)
        self.task, self.lines = task, lines


class Interrupted(Exception):
    """The user or the system asked the run to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass
class Task:
    """What is known of a task that ended well."""

    outputs: dict[str, Path]
    cached: bool
    wall_s: float
    """from its start to its end as the runner sees it: own work, interpreter and imports"""
    timings: dict[str, Any] = field(default_factory=dict)
    """what the stage wrote about itself"""


def execute(request: Request, log: Path, display: Display) -> dict[str, Task]:
    """Execute the pipeline and return its tasks by name, in the order in which they ended.

    Raises:
        InputError: a stage refused its input.
        StageFailed: a stage ended with another error.
        Interrupted: SIGINT or SIGTERM arrived; every process of the run has ended.
    """
    with log.open("a", encoding="utf-8") as stream, _child(request) as child, display.shown():
        reader = _Reader(stream, display)
        for line in child.stdout or ():
            reader.read(line)
        child.wait()
    if reader.failed or not reader.done:
        _raise(reader)
    return reader.tasks


@contextmanager
def _child(request: Request) -> Iterator[subprocess.Popen[str]]:
    """Start the process that runs kfp.local, in a group of its own; nothing of it is left afterwards."""
    request = replace(request, run_id=uuid.uuid4().hex)
    # kfp leaves a folder per step and, when it is stopped, its workspace: they go with this one
    with tempfile.TemporaryDirectory(prefix="mlfactory-") as temporary, _signals_raise():
        child = subprocess.Popen(
            [sys.executable, "-u", "-m", "mlfactory_pipelines.local"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "TMPDIR": temporary},
            start_new_session=True,
        )
        try:
            assert child.stdin is not None
            child.stdin.write(ask(request))
            child.stdin.flush()  # it stays open: its end tells the child that nobody waits any more
            yield child
        finally:
            _end(child)
            if request.runner == DOCKER:
                _end_containers(request.run_id)


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into ``Interrupted``; later ones are ignored."""

    def stop(number: int, _: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(number)

    before = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _end(child: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        child.wait(_GRACE_S)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


def _end_containers(run_id: str) -> None:
    import docker

    client = docker.from_env()
    for container in client.containers.list(filters={"label": f"{RUN_LABEL}={run_id}"}):
        with suppress(docker.errors.APIError):
            container.kill()
    client.close()


class _Reader:
    """Takes the child's lines apart: text to the log, events to the display."""

    def __init__(self, log: TextIO, display: Display) -> None:
        self.log, self.display = log, display
        self.tasks: dict[str, Task] = {}
        self.failed: list[str] = []
        self.done = False
        self.lines: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=200))

    def read(self, line: str) -> None:
        """Handle one line."""
        try:
            event = json.loads(line)
            handle = getattr(self, f"_{event.pop('kind')}")
        except (ValueError, KeyError, TypeError, AttributeError):  # not ours: a library wrote past sys.stdout
            event, handle = {"task": "", "text": line.rstrip("\n")}, self._text
        handle(**event)

    def _text(self, task: str, text: str) -> None:
        text = _COLOUR.sub("", text).rstrip()
        self.log.write(f"{task or 'kfp'}: {text}\n")
        self.log.flush()
        if text and not _RUNNER.match(text.strip()):
            self.lines[task].append(text.strip())
        if what := activity(text):
            self.display.doing(task, what)

    def _start(self, task: str) -> None:
        self.display.doing(task)

    def _end(self, task: str, ok: bool, cached: bool, seconds: float, outputs: dict[str, str]) -> None:
        if not ok:
            self.failed.append(task)
            return
        paths = {name: Path(path) for name, path in outputs.items()}
        own = read_json(paths["timings"])
        self.tasks[task] = Task(paths, cached, seconds, own)
        self.display.finished(Finished(task, own["line"], own["seconds"], own["peak_mib"], cached))

    def _done(self, ok: bool) -> None:
        self.done = ok


def _raise(reader: _Reader) -> None:
    task = reader.failed[0] if reader.failed else ""
    lines = [line for line in reader.lines[task] if stage_line(line) is None]
    errors = [line for line in lines if line.startswith(_INPUT_ERROR)]
    if errors and reader.failed:
        raise InputError(errors[-1].removeprefix(_INPUT_ERROR))
    raise StageFailed(task or "the pipeline", lines[-LAST_LINES:])
