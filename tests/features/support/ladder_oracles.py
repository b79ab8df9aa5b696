"""An independent definition of every ladder column: bars resampled by pandas, closed forms on them, joined by time."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from oracles import Frame, Series, over

from mlfactory.common.bars import Bars


def ladder_of(bars: Bars, step: int) -> Frame:
    """Closed bars of a step, anchored at the session open, with the minute at which each is known."""
    frame = pd.DataFrame({name: getattr(bars, name) for name in ("open", "high", "low", "close", "volume")})
    frame["session"] = bars.session
    frame["known"] = np.minimum(
        bars.session_open + ((bars.minute - bars.session_open) // step + 1) * step, bars.session_close
    )
    frame["opened"] = bars.session_open
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum", "opened": "first"}
    table = frame.groupby(["session", "known"], as_index=False).agg(how)
    return table[table.known <= bars.minute[-1] + bars.bar_minutes]


def with_definitions(f: Frame) -> Frame:
    """Add what several indicators need."""
    f = f.copy()
    f["lc"] = np.log(f.close)
    f["r"] = f.lc.diff()
    f["span"] = f.high - f.low
    before = f.close.shift()
    f["tr"] = np.maximum(f.high, before) - np.minimum(f.low, before)
    f["move"] = f.close.diff()
    f["place"] = over(2 * f.close - f.high - f.low, f.span)
    return f


def directional(f: Frame) -> Series:
    rise, fall = f.high.diff(), -f.low.diff()
    up = rise.where((rise > fall) & (rise > 0), 0)
    down = fall.where((fall > rise) & (fall > 0), 0)
    return 100 * (up - down).rolling(14).sum() / f.tr.rolling(14).sum()


def donchian(f: Frame) -> Series:
    high, low = f.high.rolling(20).max(), f.low.rolling(20).min()
    return (f.close - low) / (high - low)


def slope(f: Frame) -> Series:
    mean = f.close.rolling(10).mean()
    return np.log(mean / mean.shift(10))


INDICATORS: dict[str, Callable[[Frame], Series]] = {
    "return_1": lambda f: f.r,
    "return_5": lambda f: f.lc.diff(5),
    "return_t_20": lambda f: f.r.rolling(20).mean() / f.r.rolling(20).std() * np.sqrt(20),
    "hvol_20": lambda f: f.r.rolling(20).std(),
    "close_to_sma_20": lambda f: f.close / f.close.rolling(20).mean() - 1,
    "sma_slope_10": slope,
    "rsi_14": lambda f: 100 * f.move.clip(lower=0).rolling(14).sum() / f.move.abs().rolling(14).sum(),
    "atr_14_pct": lambda f: f.tr.rolling(14).mean() / f.close,
    "bb_position": lambda f: 0.5 + (f.close - f.close.rolling(20).mean()) / f.close.rolling(20).std() / 4,
    "clv": lambda f: f.place,
    "range_ratio_20": lambda f: f.span / f.span.rolling(20).mean(),
    "body": lambda f: np.log(f.close / f.open),
    "efficiency_10": lambda f: f.close.diff(10).abs() / f.move.abs().rolling(10).sum(),
    "donchian_position_20": donchian,
    "di_balance_14": directional,
    "volume_ratio_20": lambda f: f.volume / f.volume.rolling(20).mean(),
    "cmf_20": lambda f: (f.place * f.volume).rolling(20).sum() / f.volume.rolling(20).sum(),
    "high": lambda f: f.high,
    "low": lambda f: f.low,
    "sma_20": lambda f: f.close.rolling(20).mean(),
}
BASE = ("price_to_close", "age")
"""Columns that compare the ladder with the row's own bar."""


def ladder_column(bars: Bars, name: str, step: int) -> Series:
    """Compute a ladder column at every base row."""
    table = with_definitions(ladder_of(bars, step))
    if name in INDICATORS:
        table["value"] = INDICATORS[name](table)
    else:
        table["value"] = table.lc if name == "price_to_close" else table.known
    rows = pd.DataFrame({"known": bars.minute + bars.bar_minutes})
    last = pd.merge_asof(rows, table[["known", "value", "session"]], on="known")
    if name == "price_to_close":
        return np.log(Series(bars.close)) - last.value
    return _open_minutes(bars, last) if name == "age" else last.value


def _open_minutes(bars: Bars, last: Frame) -> Series:
    """Minutes of trading between the close of the last ladder bar and the row's, sessions end to end."""
    days = pd.DataFrame(
        {"session": bars.session, "opened": bars.session_open, "closed": bars.session_close}
    ).drop_duplicates()
    before = (days.closed - days.opened).cumsum() - (days.closed - days.opened)
    offset = dict(zip(days.session, before - days.opened, strict=True))
    now = bars.minute + bars.bar_minutes + np.array([offset[s] for s in bars.session])
    return now - (last.value + last.session.map(offset))
