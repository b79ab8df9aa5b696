"""The estimate of a fit's memory, against what the kernel counts."""

import subprocess
import sys
from pathlib import Path

import pytest

from mlfactory.common.predictions import COMBINERS
from mlfactory.models.registry import models

TABULAR = [
    name for name, info in models().items() if info.input == "tabular" and info.family not in COMBINERS
]
ROWS, COLUMNS = 60_000, 300
PROGRAM = """
import sys
import numpy as np
from mlfactory.models.registry import load_model

name, rows, columns = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
kind = load_model(name)
few = {"rounds": 5, "trees": 10, "max_iterations": 5}
model = kind(**{key: value for key, value in few.items() if hasattr(kind, key)})
rng = np.random.default_rng(0)


def draw(n):
    return rng.normal(size=(n, columns)).astype("f4"), rng.integers(0, 3, n).astype("i1"), np.ones(n)


def status(key):
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith(key))


model.fit(*draw(500))  # loads the library
sample = draw(rows)
before = status("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
model.fit(*sample)
print(status("VmHWM") - before, sum(model.memory_estimate(rows, columns).values()) - 4 * rows * columns)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", TABULAR)
def test_a_fit_takes_no_more_than_its_estimate_and_not_much_less(name: str) -> None:
    """Besides the rows themselves; what is small beside them may be overestimated."""
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, name, str(ROWS), str(COLUMNS)]
    here = {"PYTHONPATH": str(Path(__file__).parents[2] / "components"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=here)
    used, estimated = map(int, done.stdout.split()[-2:])
    table = 4 * ROWS * COLUMNS
    assert used <= estimated + 0.15 * table
    assert estimated <= 2 * used + 0.5 * table


@pytest.mark.parametrize("name", TABULAR)
def test_the_estimate_grows_with_rows_and_columns(name: str) -> None:
    from mlfactory.models.registry import load_model

    model = load_model(name)()
    small = sum(model.memory_estimate(10_000, 100).values())
    assert sum(model.memory_estimate(20_000, 100).values()) > small
    assert sum(model.memory_estimate(10_000, 200).values()) > small
