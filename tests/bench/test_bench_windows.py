"""Batches, memory and matrices side by side: gathers from resident tables against items, copies and Parquet."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tests.bench.conftest import LINES
from torch.utils.data import DataLoader, Dataset, SubsetRandomSampler

from mlfactory.common.artifacts import provenance, read_matrix, write_matrix, write_table
from mlfactory.common.multi_resolution import MultiResolutionDataset
from mlfactory.common.windows import Windows
from mlfactory.models import loop
from mlfactory.models.protocol import Sample
from mlfactory.models.torch_dataset import Item, WindowDataset

pytestmark = pytest.mark.slow

ROWS, STEPS, BATCH = 1_000_000, 60, 1024
TIMEFRAMES = (1, 5, 10, 15, 20, 25, 30, 45, 60)
Side = Callable[..., tuple[Any, Any]]


def three() -> Windows:
    table = np.random.default_rng(0).normal(size=(ROWS, 8)).astype(np.float32)
    return Windows(table, np.arange(STEPS - 1, ROWS), STEPS)


def four() -> MultiResolutionDataset:
    rng = np.random.default_rng(0)
    sizes = [ROWS // minutes for minutes in TIMEFRAMES]
    table = (8 + 1e-4 * rng.normal(size=(sum(sizes), 4))).astype(np.float32)
    first = np.cumsum([0, *sizes])[:-1]
    rows = np.arange(STEPS * TIMEFRAMES[-1], ROWS)
    ends = np.stack([rows // m - 1 + at for m, at in zip(TIMEFRAMES, first, strict=True)], axis=1)
    return MultiResolutionDataset(
        table, ends.astype(np.int32), np.full(ends.shape, 1e-4, np.float32), STEPS, TIMEFRAMES
    )


def small() -> MultiResolutionDataset:
    """Ten windows of two steps in one timeframe."""
    ends = np.arange(2, 12, dtype=np.int32)[:, None]
    return MultiResolutionDataset(np.ones((20, 4), np.float32), ends, np.ones((10, 1), np.float32), 2, (1,))


class Items(Dataset[tuple[torch.Tensor, ...]]):
    """Window, class and weight per item, cut from the same tables as a plain ``Dataset`` does it."""

    def __init__(self, data: WindowDataset) -> None:
        self.data = data
        self.y = torch.from_numpy(data.y.astype(np.int64))
        self.weight = torch.from_numpy(data.weight)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, item: int) -> tuple[torch.Tensor, ...]:
        data, reach = self.data.windows, STEPS - 1
        if isinstance(data, Windows):
            end = data.ends[item]
            window = data.table[end - reach : end + 1]
        else:
            window = np.stack([data.table[end - reach : end + 1] for end in data.ends[item]])
            window -= window[:, -1:, 3:4].copy()
            window /= data.scale[item][:, None, None]
        return torch.from_numpy(window), self.y[item], self.weight[item]


@pytest.mark.parametrize("shape", ["3D", "4D"])
def test_batches(side_by_side: Side, shape: str) -> None:
    windows = three() if shape == "3D" else four()
    rng = np.random.default_rng(1)
    y, weight = rng.integers(0, 3, len(windows)).astype(np.int8), rng.random(len(windows))
    data = WindowDataset(windows, y, weight / weight.mean())  # as the loop scales them
    rounds = [rng.integers(0, len(data), BATCH) for _ in range(20)]
    orders = [torch.from_numpy(which) for which in rounds]
    recipe = loop.Recipe(1, 1, BATCH, 1e-3, 0.0, 1.0, 0, "bench", accelerator=False)
    resident = loop._Data.of(Sample(windows, y, weight), torch.device("cpu"), recipe)

    def ours() -> Item:
        for which in orders:
            batch = resident(which)
        return batch

    def anchor() -> list[torch.Tensor]:
        loader = DataLoader(Items(data), BATCH, sampler=SubsetRandomSampler(np.concatenate(rounds)))
        for batch in loader:
            last = batch
        return last

    torch.set_num_threads(1)
    size = " x ".join(map(str, resident(orders[0])[0].shape))
    target = 25 if shape == "3D" else 12
    what = (
        f"{shape} batches of the training loop ({size}) against DataLoader over __getitem__, target {target}x"
    )
    side_by_side(
        what, ours, anchor, (len(rounds) * BATCH,) * 2, rounds=9, unit="windows", clock=time.process_time
    )
    some = rounds[0][:5]
    expected = [Items(data)[int(item)] for item in some]
    for got, want in zip(
        resident(torch.from_numpy(some)), map(torch.stack, zip(*expected, strict=True)), strict=True
    ):
        assert torch.equal(got, want)


MEMORY = """
import sys
import numpy as np
from tests.bench.test_bench_windows import BATCH, four, small, three
from mlfactory.common.batches import gather

def held(what):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(what)) / 1024

gather(small(), np.arange(3))  # the kernel is loaded
before = held("VmRSS")
data = three() if sys.argv[1] == "3D" else four()
loaded = held("VmRSS") - before
rng, batch = np.random.default_rng(0), None
for _ in range(200):
    which = rng.integers(0, len(data), BATCH)
    batch = data.gather(which) if sys.argv[1] == "3D" else gather(data, which, batch)
flat = sum(getattr(data, name, np.empty(0)).nbytes for name in ("table", "ends", "scale")) / 2**20
copies = len(data) * batch[0].nbytes / 2**20
print(flat, held("VmRSS") - before, copies)
"""


@pytest.mark.parametrize("shape", ["3D", "4D"])
def test_memory(shape: str) -> None:
    command = [sys.executable, "-c", MEMORY, shape]
    root = Path(__file__).parents[2]
    paths = ":".join([str(root), str(root / "components")])
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": paths, "NUMBA_NUM_THREADS": "1"},
    )
    flat, held, copies = map(float, done.stdout.split())
    LINES.append(
        f"memory of {shape} windows at {ROWS:,} rows: {held:,.0f} MiB for flat tables of {flat:,.0f} MiB "
        f"({held / flat:.2f}x); as copies {copies:,.0f} MiB"
    )
    assert held < 1.2 * flat


def test_matrix_read(side_by_side: Side, tmp_path: Path) -> None:
    rows, columns = 200_000, 200
    values = np.random.default_rng(0).normal(size=(columns, rows)).astype(np.float32)
    frame = pd.DataFrame({f"c{j}": column for j, column in enumerate(values)})
    write_matrix(tmp_path / "matrix", dict(frame.items()), provenance("m", "dataset", {}, {}))
    write_table(tmp_path / "table.parquet", frame, provenance("t", "dataset", {}, {}))

    def ours() -> float:
        return float(read_matrix(tmp_path / "matrix", "m").values.sum())

    def anchor() -> float:
        return float(pd.read_parquet(tmp_path / "table.parquet").to_numpy().sum())

    mine, theirs = side_by_side(
        f"matrix of {rows:,} x {columns} read, all bytes touched, against pandas read_parquet",
        ours, anchor, (rows, rows), unit="rows",
    )  # fmt: skip
    assert mine == pytest.approx(theirs, rel=1e-3)
