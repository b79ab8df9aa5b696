"""The command as a user runs it: a process of its own, in a folder of its own."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
Command = Callable[..., "subprocess.CompletedProcess[str]"]


def environment(temporary: Path, **more: str) -> dict[str, str]:
    """Environment of a command whose temporary files go to ``temporary``."""
    paths = os.pathsep.join([str(ROOT / "components"), str(ROOT / "pipelines")])
    return {**os.environ, "PYTHONPATH": paths, "TMPDIR": str(temporary), **more}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "mlfactory_pipelines", *map(str, arguments)]


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where commands put their temporary files: empty again when they are done."""
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="session")
def mlfactory(scratch: Path) -> Command:
    def call(*arguments: object, **more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command(*arguments),
            env=environment(scratch, **more),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    return call


def sets(pairs: Sequence[str]) -> list[str]:
    """Repeat ``--set`` for each assignment."""
    return [word for pair in pairs for word in ("--set", pair)]
