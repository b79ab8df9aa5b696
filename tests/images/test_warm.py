"""A rehearsal at build time reaches every kernel of its stage."""

import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "components" / "mlfactory"


def stages_with_kernels() -> list[str]:
    files = (file for file in PACKAGE.rglob("*.py") if "\n@kernel" in file.read_text(encoding="utf-8"))
    return sorted({file.relative_to(PACKAGE).parts[0] for file in files})


LOOK = """
import importlib, sys
from numba.core.dispatcher import Dispatcher
stage = sys.argv[1]
importlib.import_module(f"mlfactory.{stage}.warm").warm()
modules = [module for name, module in sys.modules.items() if name.startswith(f"mlfactory.{stage}.")]
kernels = {value for module in modules for value in vars(module).values() if isinstance(value, Dispatcher)}
reached, waiting = set(), [kernel for kernel in kernels if kernel.signatures]
while waiting:
    kernel = waiting.pop()
    if kernel not in reached:
        reached.add(kernel)
        function = kernel.py_func  # what it calls is compiled into it, and loaded from the cache with it
        called = [function.__globals__.get(name) for name in function.__code__.co_names]
        waiting += [value for value in called if isinstance(value, Dispatcher)]
sys.exit(", ".join(sorted(kernel.__name__ for kernel in kernels - reached)) or None)
"""


@pytest.mark.parametrize("stage", stages_with_kernels())
def test_a_rehearsal_compiles_every_kernel_of_its_stage(stage: str) -> None:
    environment = {"PYTHONPATH": str(PACKAGE.parent), "PATH": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LOOK, stage], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
