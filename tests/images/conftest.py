"""The images, built once for all tests that need a Docker engine."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def images() -> None:
    """Build what is missing; skip where no engine answers."""
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True).returncode:
        pytest.skip("no Docker engine answers")
    command = [sys.executable, str(REPOSITORY / "images" / "build.py")]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "components")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
