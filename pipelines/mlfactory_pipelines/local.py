"""The process in which ``kfp.local`` executes a pipeline; it tells its parent about every task in JSON lines.

A process of its own, because kfp.local redirects logging, wraps ``print`` and cannot be interrupted between
its threads: the parent keeps the terminal and ends this process group to stop everything at once.

Lines have a ``kind``: ``start`` and ``end`` of a task, ``text`` printed inside one, and ``done``.
"""

import io
import json
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlfactory.common.stage import single_threaded
from mlfactory.train.workers import WORKERS
from mlfactory_pipelines.plan import Tree, resolve

SUBPROCESS, DOCKER = "subprocess", "docker"
RUN_LABEL = "mlfactory.run"
"""Label of the containers of one run."""


@dataclass(frozen=True)
class Request:
    """What the parent asks for."""

    tree: Tree
    arguments: dict[str, Any]
    """values of the pipeline's parameters"""
    root: str
    """folder of artifacts and cache"""
    runner: str = SUBPROCESS
    run_id: str = ""


def task_key(task: str, arguments: dict[str, Any]) -> str:
    """Name a task, with model and horizon where it is one of a loop: ``train-boosting/lightgbm_h20``."""
    job = arguments.get("job")
    return f"{task}/{job['model']}_h{int(job['horizon'])}" if isinstance(job, dict) else task


class Channel:
    """Lines to the parent, whole even when two threads write."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._lock = stream, threading.Lock()

    def send(self, kind: str, **facts: Any) -> None:
        """Send one line."""
        text = json.dumps({"kind": kind, **facts})
        with self._lock:
            self._stream.write(text + "\n")
            self._stream.flush()


class Tagged(io.TextIOBase):
    """Stands in for stdout: sends each line with the task of the thread that printed it."""

    def __init__(self, channel: Channel, here: threading.local) -> None:
        self._channel, self._here = channel, here

    def write(self, text: str) -> int:
        """Collect text until a line is whole."""
        *lines, rest = (getattr(self._here, "rest", "") + text).split("\n")
        self._here.rest = rest
        for line in lines:
            self._channel.send("text", task=getattr(self._here, "task", ""), text=line)
        return len(text)

    def writable(self) -> bool:
        """Whether one can write: always."""
        return True


def missing_outputs(component: Any, outputs: dict[str, Any]) -> list[str]:
    """List the declared output artifacts that a finished task did not leave on disk."""
    paths = {name: getattr(outputs.get(name), "path", "") for name in component.output_definitions.artifacts}
    return sorted(name for name, path in paths.items() if not path or not Path(path).exists())


def watch_tasks(channel: Channel, here: threading.local) -> None:
    """Hook the two functions of kfp.local that every task passes through.

    The outer one names the task for the parent. The inner one runs it where the cache does not have it; there
    a task fails whose outputs are not on disk: kfp's DockerRunner may report a failed container as finished.
    """
    from kfp.local import status, task_dispatcher
    from kfp.local.orchestrator import task_executor
    from kfp.local.orchestrator.orchestrator_utils import OrchestratorUtils

    execute: Callable[..., Any] = task_executor.execute_single_task
    run: Callable[..., Any] = task_dispatcher.run_single_task_implementation

    def named(**given: Any) -> Any:
        inputs = OrchestratorUtils.make_task_arguments(
            task_inputs_spec=given["task_spec"].inputs, io_store=given["io_store"]
        )
        key = task_key(given["task_name"], inputs)
        here.task, here.ran = key, False
        channel.send("start", task=key)
        started = time.perf_counter()
        ok, outputs = False, {}
        try:
            outputs, state = execute(**given)
            ok = state == status.Status.SUCCESS
            return outputs, state
        finally:
            channel.send(
                "end",
                task=key,
                ok=ok,
                cached=not here.ran,
                seconds=time.perf_counter() - started,
                outputs={name: artifact.path for name, artifact in sorted(outputs.items())},
            )
            here.task = ""

    def checked(**given: Any) -> Any:
        here.ran = True
        outputs, state = run(**given)
        if state == status.Status.SUCCESS and (absent := missing_outputs(given["component_spec"], outputs)):
            channel.send(
                "text", task=here.task, text=f"the task ended without its outputs {', '.join(absent)}"
            )
            return {}, status.Status.FAILURE
        return outputs, state

    task_executor.execute_single_task = named
    task_dispatcher.run_single_task_implementation = checked


def make_runner(request: Request) -> Any:
    """Make the runner: processes of this environment, or containers without network or rights."""
    from kfp import local

    if request.runner == SUBPROCESS:
        return local.SubprocessRunner(use_venv=False)
    return local.DockerRunner(
        network_mode="none",
        user=f"{os.getuid()}:0",
        read_only=True,
        tmpfs={"/tmp": ""},
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        labels={RUN_LABEL: request.run_id},
        environment={**_sharing(), "HOME": "/tmp"},
    )


def _sharing() -> dict[str, str]:
    """Environment of steps that run side by side on one machine: one core each."""
    return {**single_threaded(), WORKERS: os.environ.get(WORKERS, "1")}


def execute(request: Request, channel: Channel) -> bool:
    """Run the pipeline; true when every task finished."""
    here = threading.local()
    sys.stdout = Tagged(channel, here)
    os.environ.update(_sharing())
    warnings.simplefilter(
        "ignore"
    )  # kfp warns of image names, display names and settings that only a cluster heeds
    logging.getLogger().setLevel(logging.INFO)
    from kfp import local

    from mlfactory_pipelines.training import training_pipeline

    plan = resolve(request.tree)
    watch_tasks(channel, here)
    local.init(make_runner(request), pipeline_root=request.root, raise_on_error=True, enable_caching=True)
    try:
        training_pipeline(plan)(**request.arguments)
    except RuntimeError as error:  # the only way in which kfp.local reports a failed task
        channel.send("text", task="", text=str(error))
        return False
    return True


def _end_with_parent() -> None:
    """Kill this process group when the parent is gone: stdin then reaches its end."""
    sys.stdin.read()
    os.killpg(os.getpgid(0), signal.SIGKILL)


def main() -> None:
    """Read a request from stdin and execute it."""
    request = Request(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    channel = Channel(sys.stdout)
    channel.send("done", ok=execute(request, channel))
    os._exit(0)  # a daemon thread reads stdin; nothing is left to flush


def ask(request: Request) -> str:
    """Write a request as the line that ``main`` reads."""
    return json.dumps(asdict(request)) + "\n"


if __name__ == "__main__":
    main()
