"""Slices of the shared real series as ``Bars``, with sessions told by the clock alone or by the ingest stage."""

from pathlib import Path

import numpy as np
import pandas as pd

from mlfactory.common.bars import DAY_MINUTES, Bars, Instrument, minutes, read_bars
from mlfactory.ingest.stage import run as ingest

_COSTS = {"tick_value": 12.5, "commission_ticks": 0.3, "slippage_ticks": 0.2, "half_spread_ticks": 0.5}
ES = Instrument(symbol="ES", tick_size=0.25, calendar="CME_Equity", **_COSTS)
BTC = Instrument(symbol="BTCUSD", tick_size=0.01, calendar="24/7", **_COSTS)
SPY = Instrument(symbol="SPY", tick_size=0.01, calendar="NYSE", **_COSTS)


def es(folder: Path, rows: slice = slice(None)) -> Bars:
    """E-mini S&P 500, 5 minutes: sessions from 18:00 to 17:00 New York."""
    return _bars(folder / "es_5m_front.parquet", rows, ES, 5, (-6 * 60, 17 * 60))


def btc(folder: Path, rows: slice = slice(None)) -> Bars:
    """Bitcoin, 1 minute: never closes."""
    return _bars(folder / "btcusd_1m_2017_2018.parquet", rows, BTC, 1, (0, DAY_MINUTES))


def spy(folder: Path, rows: slice = slice(None)) -> Bars:
    """SPY, 1 minute: sessions from 9:30 to 16:00 New York, with some bars outside them."""
    return _bars(folder / "spy_1m.parquet", rows, SPY, 1, (9 * 60 + 30, 16 * 60))


def ingested(source: Path, rows: slice, symbol: str, place: Path) -> Bars:
    """Rows of a series through the ingest stage, which writes to ``place``."""
    pd.read_parquet(source).iloc[rows].to_parquet(place / "source.parquet")
    ingest(str(place / "source.parquet"), place / "bars", place / "quarantine", place / "report", symbol)
    return read_bars(place / "bars")


def _bars(path: Path, rows: slice, instrument: Instrument, bar_minutes: int, hours: tuple[int, int]) -> Bars:
    frame = pd.read_parquet(path).iloc[rows]
    zone = "UTC" if instrument.continuous else "America/New_York"
    local = frame["timestamp"].dt.tz_convert(zone).dt.tz_localize(None)
    date = (local - pd.Timedelta(minutes=min(hours[0], 0))).dt.normalize()
    opened, closed = (
        minutes((date + pd.Timedelta(minutes=m)).dt.tz_localize(zone).dt.tz_convert("UTC")) for m in hours
    )
    minute = minutes(frame["timestamp"])
    session = date.to_numpy(copy=True).astype("datetime64[D]").astype(np.int64)
    hole = (np.diff(minute, prepend=minute[0]) > 30 + bar_minutes) & (
        np.diff(session, prepend=session[0]) == 0
    )
    return Bars(
        minute=minute,
        **{
            name: frame[name].to_numpy(float, copy=True)
            for name in ("open", "high", "low", "close", "volume")
        },
        session=session,
        session_open=opened,
        session_close=closed,
        segment=np.cumsum(hole),
        bar_minutes=bar_minutes,
        instrument=instrument,
    )
