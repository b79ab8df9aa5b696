"""The nine-step ladder against pandas, same tables and same alignment."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.conftest import TOY, make_bars

from mlfactory.common.bars import Bars, Instrument, timestamps
from mlfactory.common.ladder import NONE
from mlfactory.mtf.bins import build

pytestmark = pytest.mark.slow
STEPS = [1, 5, 10, 15, 20, 25, 30, 45, 60]
HOW = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
SideBySide = Callable[..., tuple[Any, Any]]


def by_pandas(bars: Bars) -> dict[int, tuple[pd.DataFrame, pd.Series]]:
    frame = pd.DataFrame({name: getattr(bars, name) for name in HOW}, index=timestamps(bars.minute))
    rows = pd.DataFrame({"known": timestamps(bars.close_minute)})
    out = {}
    for step in STEPS:
        table = frame.resample(f"{step}min", origin="epoch").agg(HOW).dropna(subset=["open"])
        known = pd.DataFrame({"known": table.index + pd.Timedelta(minutes=step), "at": np.arange(len(table))})
        out[step] = (
            table,
            pd.merge_asof(rows, known.astype({"known": rows["known"].dtype}), on="known")["at"],
        )
    return out


def test_ladder_against_resample_and_merge_asof(side_by_side: SideBySide) -> None:
    always = Instrument(**{**TOY.model_dump(), "calendar": "24/7"})
    bars = make_bars(1_000_000, hole=False, instrument=always)
    n = len(bars)
    ours, theirs = side_by_side(
        "nine-step ladder, equal", lambda: build(bars, STEPS), lambda: by_pandas(bars), (n, n)
    )
    for step in STEPS:
        table, at = theirs[step]
        np.testing.assert_array_equal(ours.column(step), at.fillna(NONE))
        np.testing.assert_array_equal(ours.tables[step].high, table["high"][: len(ours.tables[step])])


def test_ladder_of_sessions(benchmark: Any) -> None:
    bars = make_bars(100_000)
    build(bars, STEPS)
    benchmark(build, bars, STEPS)
