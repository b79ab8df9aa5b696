"""The bars of one contract as every stage sees them: arrays, session calendar, segments and instrument."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from mlfactory.common.artifacts import Provenance, read_table, write_table
from mlfactory.common.errors import InputError
from mlfactory.common.params import Params, parse

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PRICES: Final = ("open", "high", "low", "close")
COLUMNS: Final = ("timestamp", *PRICES, "volume")
"""What a user's file must hold."""
DAY_MINUTES: Final = 1440
_CLOCK: Final = r"^$|^([01]\d|2[0-3]):[0-5]\d$"


class Instrument(Params):
    """A contract: how prices convert to money, what a trade costs, and when it trades."""

    symbol: str
    root: str = ""
    """symbol of the entry that a contract such as NQH6 belongs to"""
    description: str = ""
    tick_size: float = Field(gt=0)
    """price units"""
    tick_value: float = Field(gt=0)
    """money per tick and contract"""
    currency: str = "USD"
    commission_ticks: float = Field(ge=0)
    """per round trip"""
    slippage_ticks: float = Field(ge=0)
    """per fill, in quiet markets"""
    half_spread_ticks: float = Field(ge=0)
    """per fill"""
    calendar: str
    """name in pandas_market_calendars; ``24/7`` trades without sessions"""
    open_time: str = Field(default="", pattern=_CLOCK)
    """HH:MM in the calendar's time zone that replaces its regular open; empty keeps it"""
    close_time: str = Field(default="", pattern=_CLOCK)
    """likewise for the regular close; early closes stay"""

    @property
    def continuous(self) -> bool:
        """Whether the market never closes: ladder bins are anchored to the epoch, not to a session open."""
        return self.calendar == "24/7"

    @property
    def round_trip_cost(self) -> float:
        """Commission, slippage and half spread of both fills, in price units."""
        ticks = self.commission_ticks + 2 * (self.slippage_ticks + self.half_spread_ticks)
        return ticks * self.tick_size


@dataclass(frozen=True)
class Bars:
    """One series of bars, sorted by time: arrays of shape (n,), times in minutes since the epoch."""

    minute: Ints
    """open time of the bar; it is known at ``minute + bar_minutes``"""
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    """NaN throughout when the source has none"""
    session: Ints
    """date of the session, in days since the epoch"""
    session_open: Ints
    session_close: Ints
    segment: Ints
    """runs of bars without a hole: 0, 1, 2, ...; nothing is computed across two of them"""
    bar_minutes: int
    instrument: Instrument

    def __len__(self) -> int:
        return len(self.minute)

    @property
    def close_minute(self) -> Ints:
        """The instant at which each bar is known."""
        return self.minute + self.bar_minutes

    @property
    def has_volume(self) -> bool:
        """Whether the source states volume."""
        return not bool(np.isnan(self.volume).all())

    def __getitem__(self, rows: slice) -> "Bars":
        """Cut consecutive rows; segments keep their numbers."""
        cut: dict[str, Any] = {
            name: value[rows] if isinstance(value, np.ndarray) else value
            for name, value in vars(self).items()
        }
        return Bars(**cut)

    def segments(self) -> list[slice]:
        """Row ranges of the segments, in order of time."""
        if not len(self):
            return []
        starts = np.flatnonzero(np.diff(self.segment, prepend=self.segment[0] - 1))
        return [slice(int(a), int(b)) for a, b in zip(starts, [*starts[1:], len(self)], strict=True)]

    @property
    def row_in_segment(self) -> Ints:
        """Bars since the segment began: 0 at its first bar."""
        out = np.empty(len(self), np.int64)
        for rows in self.segments():
            out[rows] = np.arange(rows.stop - rows.start)
        return out


def timestamps(minute: Ints) -> pd.DatetimeIndex:
    """Convert minutes since the epoch to UTC timestamps."""
    return pd.DatetimeIndex(minute.astype("datetime64[m]").astype("datetime64[us]"), tz="UTC")


def minutes(timestamp: pd.Series | pd.DatetimeIndex) -> Ints:
    """Convert UTC timestamps to whole minutes since the epoch, rounding down."""
    index = pd.DatetimeIndex(timestamp).tz_convert("UTC").tz_localize(None)
    return index.to_numpy(copy=True).astype("datetime64[m]").astype(np.int64)


def write_bars(path: Path, bars: Bars, facts: Provenance) -> None:
    """Write the ``bars`` artifact: six columns, each bar's session, and where segments start."""
    frame = pd.DataFrame(
        {
            "timestamp": timestamps(bars.minute),
            **{name: getattr(bars, name) for name in (*PRICES, "volume")},
            "session": bars.session,
            "session_open": timestamps(bars.session_open),
            "session_close": timestamps(bars.session_close),
            "segment_start": bars.row_in_segment == 0,
        }
    )
    about: dict[str, Any] = {"bar_minutes": bars.bar_minutes, "instrument": bars.instrument.model_dump()}
    write_table(path, frame, {**facts, **about})


def read_bars(path: Path) -> Bars:
    """Read the ``bars`` artifact.

    Raises:
        InputError: not the ``bars`` artifact, or it holds no rows.
    """
    frame, facts = read_table(path, "bars")
    if frame.empty:
        raise InputError(f"{path} holds no bars")
    starts = frame["segment_start"].to_numpy(copy=True)
    starts[0] = True
    return Bars(
        minute=minutes(frame["timestamp"]),
        **{name: frame[name].to_numpy(dtype=np.float64, copy=True) for name in (*PRICES, "volume")},
        session=frame["session"].to_numpy(dtype=np.int64, copy=True),
        session_open=minutes(frame["session_open"]),
        session_close=minutes(frame["session_close"]),
        segment=np.cumsum(starts).astype(np.int64) - 1,
        bar_minutes=int(facts["bar_minutes"]),
        instrument=parse(Instrument, facts["instrument"], "instrument"),
    )
