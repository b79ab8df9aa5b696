"""Bars and folders that every area's tests share."""

import builtins
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mlfactory.common.bars import DAY_MINUTES, Bars, Instrument

SHARED = Path(__file__).resolve().parents[2] / "shared"
TOY = Instrument(
    symbol="TOY",
    tick_size=0.25,
    tick_value=1.25,
    commission_ticks=0.5,
    slippage_ticks=0.25,
    half_spread_ticks=0.25,
    calendar="CME_Equity",
)


def make_bars(n: int, seed: int = 0, *, hole: bool = True, instrument: Instrument = TOY) -> Bars:
    """Draw ``n`` one-minute bars of 23-hour sessions, some absent; with ``hole`` a segment starts at 60 %."""
    rng = np.random.default_rng(seed)
    minute, session = [], []
    day = 19_723  # a Monday
    while len(minute) < n:
        if (day + 3) % 7 < 5:  # no session is dated Saturday or Sunday
            start = (day - 1) * DAY_MINUTES + 23 * 60  # opens 23:00 UTC on the eve
            traded = start + np.flatnonzero(rng.random(23 * 60) > 0.02)
            minute.extend(traded.tolist())
            session.extend([day] * len(traded))
        day += 1
    minutes, sessions = np.array(minute[:n]), np.array(session[:n])
    volatility = np.exp(np.cumsum(rng.normal(0, 0.02, n)) * 0.3)
    close = 4000 * np.exp(np.cumsum(rng.normal(0, 2e-4, n) * np.clip(volatility, 0.3, 3)))
    close = np.round(close / instrument.tick_size) * instrument.tick_size
    opened = np.r_[close[0], close[:-1]] + instrument.tick_size * rng.integers(-1, 2, n)
    reach = instrument.tick_size * rng.integers(0, 5, (2, n))
    segment = np.zeros(n, np.int64)
    if hole:
        segment[int(n * 0.6) :] = 1
    return Bars(
        minute=minutes,
        open=opened,
        high=np.maximum(opened, close) + reach[0],
        low=np.minimum(opened, close) - reach[1],
        close=close,
        volume=rng.integers(0, 400, n).astype(float),
        session=sessions,
        session_open=(sessions - 1) * DAY_MINUTES + 23 * 60,
        session_close=sessions * DAY_MINUTES + 22 * 60,
        segment=segment,
        bar_minutes=1,
        instrument=instrument,
    )


@pytest.fixture(scope="session")
def bars() -> Bars:
    return make_bars(6000)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("the shared bar series are not on this machine")
    return folder


@pytest.fixture(autouse=True)
def _print_is_restored() -> Iterator[None]:
    saved = builtins.print  # kfp.local may leave it wrapped after parallel tasks
    yield
    builtins.print = saved
