"""What a pipeline step costs besides its stage's own work and the imports of its third-party libraries."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import pytest

from mlfactory_pipelines.plan import resolve

from .conftest import LINES

pytestmark = pytest.mark.slow

THIRD_PARTY = """
import importlib, sys
importlib.import_module("mlfactory.{stage}.stage")
importlib.import_module("kfp.dsl.executor_main")
own = sys.stdlib_module_names | {{"mlfactory", "kfp", "__main__"}}
print(*sorted(name for name in sys.modules if name.partition(".")[0] not in own))
"""
IMPORT = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ImportError:
        pass  # a module that only its own package can import
"""


def test_the_framework_takes_little_of_a_step(tmp_path: Path) -> None:
    run = [sys.executable, "-m", "mlfactory_pipelines", "run", "--preset", "smoke"]
    subprocess.run([*run, "--models", "logistic", "--out", str(tmp_path / "run")], check=True)
    tasks = json.loads((tmp_path / "run" / "timings.json").read_text())["tasks"]
    for stage in resolve({}).stages:
        libraries = subprocess.check_output(
            [sys.executable, "-c", THIRD_PARTY.format(stage=stage)], text=True, env=_runtime()
        ).split()
        imports = median(_seconds([sys.executable, "-c", IMPORT, *libraries]) for _ in range(3))
        step = tasks[stage]["overhead_s"]
        LINES.append(f"{stage}: start-up {step:.2f} s, of it {imports:.2f} s of third-party imports")
        assert imports > 0
        assert step > 0


def _seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, env=_runtime())
    return time.perf_counter() - started


def _runtime() -> dict[str, str]:
    return {**os.environ, "_KFP_RUNTIME": "true"}
