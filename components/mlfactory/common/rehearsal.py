"""Toy artifacts with which an image rehearses its stage when it is built, so that every kernel is compiled by then."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from mlfactory.common.artifacts import provenance, write_table
from mlfactory.common.bars import DAY_MINUTES, Bars, Instrument, timestamps, write_bars
from mlfactory.common.ladder import Ladder, LadderBars, write_ladder

STEPS = (1, 5, 15, 60)
_FIRST_DAY = 19_723  # any Monday


@contextmanager
def folder() -> Iterator[Path]:
    """Yield an empty folder that goes with the block."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def write_toy_bars(path: Path, rows: int = 12_000) -> Bars:
    """Write a ``bars`` table: a random walk of one-minute bars around the clock, in two segments."""
    rng = np.random.default_rng(0)
    close = 4000 + np.round(4 * np.cumsum(rng.normal(0, 0.5, rows))) / 4
    opened = np.r_[close[0], close[:-1]]
    reach = 0.25 * rng.integers(0, 5, (2, rows))
    minute = _FIRST_DAY * DAY_MINUTES + np.arange(rows)
    minute[rows // 2 :] += 3 * 60
    session = minute // DAY_MINUTES
    toy = Instrument(
        symbol="TOY",
        tick_size=0.25,
        tick_value=1,
        commission_ticks=0.5,
        slippage_ticks=0.25,
        half_spread_ticks=0.25,
        calendar="24/7",
    )
    bars = Bars(
        minute=minute,
        open=opened,
        high=np.maximum(opened, close) + reach[0],
        low=np.minimum(opened, close) - reach[1],
        close=close,
        volume=rng.integers(0, 400, rows).astype(np.float64),
        session=session,
        session_open=session * DAY_MINUTES,
        session_close=(session + 1) * DAY_MINUTES,
        segment=(np.arange(rows) >= rows // 2).astype(np.int64),
        bar_minutes=1,
        instrument=toy,
    )
    write_bars(path, bars, provenance("bars", "common", {}, {}))
    return bars


def write_toy_regime(path: Path, bars: Bars) -> None:
    """Write a ``regime`` table of one column."""
    frame = pd.DataFrame({"timestamp": timestamps(bars.minute), "toy": np.zeros(len(bars), np.float32)})
    write_table(path, frame, provenance("regime", "common", {}, {}, lookback={"toy": 1}))


def write_toy_ladder(path: Path, bars: Bars) -> None:
    """Write an ``mtf`` folder whose ladder bars are every ``step``-th bar."""
    tables = {}
    alignment = np.empty((len(bars), len(STEPS)), np.int32)
    for k, step in enumerate(STEPS):
        at = np.arange(step - 1, len(bars), step)
        known = bars.close_minute[at]
        prices = {name: getattr(bars, name)[at] for name in ("open", "high", "low", "close", "volume")}
        tables[step] = LadderBars(
            start=known - step, known=known, session_known=known, segment=bars.segment[at], **prices
        )
        last = np.searchsorted(at, np.arange(len(bars)), side="right") - 1
        here = (last >= 0) & (bars.segment[at[last]] == bars.segment)
        alignment[:, k] = np.where(here, last, -1)
    ladder = Ladder(STEPS, tables, alignment, bars.close_minute, bars.close_minute, bars.bar_minutes)
    write_ladder(path, ladder, provenance("mtf", "common", {}, {}))
