"""The nine-step ladder against pandas: what it holds, and the prices that it brings to every row."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.conftest import TOY, make_bars

from mlfactory.common.bars import Bars, Instrument, timestamps
from mlfactory.common.ladder import NONE
from mlfactory.mtf.aligned import aligned
from mlfactory.mtf.bins import FIELDS, build

pytestmark = pytest.mark.slow
ROWS = 1_000_000
STEPS = [1, 5, 10, 15, 20, 25, 30, 45, 60]
HOW = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
SideBySide = Callable[..., tuple[Any, Any]]


@pytest.fixture(scope="module")
def bars() -> Bars:
    always = Instrument(**{**TOY.model_dump(), "calendar": "24/7"})
    return make_bars(ROWS, hole=False, instrument=always)


def resampled(bars: Bars) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Per step, its table by the time of closing and the time of closing of each row; bars are their own table."""
    rows = pd.DataFrame({"known": timestamps(bars.close_minute)})
    frame = pd.DataFrame({name: getattr(bars, name) for name in HOW}, index=timestamps(bars.minute))
    for step in STEPS:
        if step == bars.bar_minutes:
            table = frame.set_axis(rows["known"])
        else:
            table = (
                frame.resample(f"{step}min", origin="epoch", label="right").agg(HOW).dropna(subset=["open"])
            )
        table.index = table.index.astype(rows["known"].dtype)
        yield table, rows


def prices_by_pandas(bars: Bars, out: np.ndarray) -> np.ndarray:
    for k, (table, rows) in enumerate(resampled(bars)):
        joined = pd.merge_asof(rows, table, left_on="known", right_index=True)
        for j, name in enumerate(FIELDS):
            out[:, k, j] = joined[name]
    return out


def tables_by_pandas(bars: Bars) -> list[tuple[pd.DataFrame, pd.Series]]:
    out = []
    for table, rows in resampled(bars):
        at = pd.DataFrame({"at": np.arange(len(table))}, index=table.index)
        out.append((table, pd.merge_asof(rows, at, left_on="known", right_index=True)["at"]))
    return out


def test_prices_at_every_row(side_by_side: SideBySide, bars: Bars) -> None:
    mine, theirs = (np.zeros((ROWS, len(STEPS), len(FIELDS)), np.float32) for _ in range(2))
    side_by_side(
        "nine steps x OHLCV at every row, float32, both into memory at hand, equal",
        lambda: aligned(bars, STEPS, mine),
        lambda: prices_by_pandas(bars, theirs),
        (ROWS, ROWS),
    )
    np.testing.assert_array_equal(mine, theirs)


def test_tables_and_alignment(side_by_side: SideBySide, bars: Bars) -> None:
    ours, theirs = side_by_side(
        "nine ladder tables and each row's place in them, equal",
        lambda: build(bars, STEPS),
        lambda: tables_by_pandas(bars),
        (ROWS, ROWS),
    )
    for step, (table, at) in zip(STEPS, theirs, strict=True):
        np.testing.assert_array_equal(ours.column(step), at.fillna(NONE))
        for name in FIELDS:
            np.testing.assert_array_equal(
                getattr(ours.tables[step], name), table[name][: len(ours.tables[step])]
            )


def test_ladder_of_sessions(benchmark: Any) -> None:
    bars = make_bars(100_000)
    build(bars, STEPS)
    benchmark(build, bars, STEPS)
