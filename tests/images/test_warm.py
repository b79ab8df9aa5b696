"""A rehearsal at build time reaches every kernel of its stage."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mlfactory.common.images import IMAGES

PACKAGE = Path(__file__).resolve().parents[2] / "components" / "mlfactory"


def files_with_kernels() -> list[Path]:
    return [file for file in PACKAGE.rglob("*.py") if "\n@kernel" in file.read_text(encoding="utf-8")]


def is_stage(folder: str) -> bool:
    return folder in {row.stage for row in IMAGES.values()}


def folder(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0]


def stages_with_kernels() -> list[str]:
    return sorted({folder(file) for file in files_with_kernels() if is_stage(folder(file))})


def importers(file: Path) -> set[Path]:
    """Files of the package that import ``file``, directly or through others."""
    found: set[Path] = set()
    waiting = [file]
    while waiting:
        parts = waiting.pop().relative_to(PACKAGE.parent).with_suffix("").parts
        module, package, name = ".".join(parts), ".".join(parts[:-1]), parts[-1]
        asks = re.compile(
            rf"(from|import) {re.escape(module)}\b|from {re.escape(package)} import .*\b{name}\b"
        )
        new = {
            file for file in PACKAGE.rglob("*.py") if asks.search(file.read_text(encoding="utf-8"))
        } - found
        found |= new
        waiting += new
    return found


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


def test_no_stage_runs_a_kernel_that_its_image_does_not_rehearse() -> None:
    shared = [file for file in files_with_kernels() if not is_stage(folder(file))]
    assert shared  # the batches of the torch Dataset: for training loops of one's own
    for file in shared:
        assert [str(user) for user in importers(file) if is_stage(folder(user))] == []


def test_importers_follow_imports_through_other_modules() -> None:
    users = {user.relative_to(PACKAGE).as_posix() for user in importers(PACKAGE / "regime" / "hmm.py")}
    assert {"regime/compute.py", "regime/stage.py", "regime/component.py"} <= users
