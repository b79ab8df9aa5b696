"""When a market is open: sessions, breaks and the open minutes between two instants."""

import datetime
import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.bars import DAY_MINUTES, Instrument, Ints
from mlfactory.common.errors import InputError

_MARGIN_DAYS: Final = 10  # longer than any run of days without a session


@dataclass(frozen=True)
class Schedule:
    """Sessions in order of time; arrays of shape (sessions,), all but ``date`` in minutes since the epoch."""

    date: Ints
    """days since the epoch"""
    open: Ints
    close: Ints
    break_start: Ints
    """equals ``break_end`` where the session has no break"""
    break_end: Ints

    def __len__(self) -> int:
        return len(self.date)

    def since(self, date: int) -> "Schedule":
        """Drop the sessions before ``date``, in days since the epoch."""
        later = self.date >= date
        return Schedule(*(value[later] for value in vars(self).values()))

    def latest(self, minute: Ints) -> Ints:
        """Number of the session that opened last at each minute; -1 before the first."""
        return np.searchsorted(self.open, minute, side="right").astype(np.int64) - 1

    def is_open(self, minute: Ints) -> NDArray[np.bool_]:
        """Whether the market trades in each minute."""
        number = self.latest(minute)
        inside = (number >= 0) & (minute < self.close[number])
        return inside & ~((minute >= self.break_start[number]) & (minute < self.break_end[number]))

    def elapsed(self, minute: Ints) -> Ints:
        """Open minutes from the first session's open until each instant."""
        length = self.close - self.open - (self.break_end - self.break_start)
        before = np.concatenate([[0], np.cumsum(length)])
        number = self.latest(minute)
        held = np.clip(minute, self.open[number], self.close[number])
        rest = np.clip(held, self.break_start[number], self.break_end[number]) - self.break_start[number]
        return np.asarray(np.where(number < 0, 0, before[number] + held - self.open[number] - rest))

    def open_minutes(self) -> Ints:
        """Every minute in which the market trades, in order of time."""
        total = self.close - self.open
        first = np.repeat(np.cumsum(total) - total, total)
        minute = np.repeat(self.open, total) + np.arange(int(total.sum())) - first
        return np.asarray(minute[self.is_open(minute)])


def schedule(instrument: Instrument, first_minute: int, last_minute: int) -> Schedule:
    """List the sessions that cover two instants, with a margin on both sides.

    Raises:
        InputError: the calendar is unknown.

    Source: pandas_market_calendars; a market that never closes has one session per UTC day.
    """
    first, last = first_minute // DAY_MINUTES - _MARGIN_DAYS, last_minute // DAY_MINUTES + _MARGIN_DAYS
    if instrument.continuous:
        date = np.arange(first, last + 1)
        start, end = date * DAY_MINUTES, (date + 1) * DAY_MINUTES
        return Schedule(date, start, end, end, end)
    return _from_library(instrument, first, last)


def _from_library(instrument: Instrument, first: int, last: int) -> Schedule:
    import pandas_market_calendars  # slow to import, and needless for a market that never closes

    known = pandas_market_calendars.get_calendar_names()
    if instrument.calendar not in known:
        raise InputError(
            f"instrument {instrument.symbol}: calendar {instrument.calendar!r} is not in "
            f"pandas_market_calendars; known: {', '.join(sorted(known))}"
        )
    calendar = pandas_market_calendars.get_calendar(
        instrument.calendar, open_time=_clock(instrument.open_time), close_time=_clock(instrument.close_time)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the library's own use of pandas
        table = calendar.schedule(_date(first), _date(last))
    names = ["market_open", "market_close", "break_start", "break_end"]
    date, *instants = (
        column.to_numpy(copy=True).astype("datetime64[m]").astype(np.int64)
        for column in (table.index, *(table[name].dt.tz_localize(None) for name in names if name in table))
    )
    opened, closed = instants[:2]
    pause = instants[2:] or [closed, closed]
    # an early close moves the break onto the close: its ends then lie outside or coincide
    break_start, break_end = (np.clip(edge, opened, closed) for edge in pause)
    return Schedule(date // DAY_MINUTES, opened, closed, break_start, np.maximum(break_start, break_end))


def _clock(text: str) -> datetime.time | None:
    return datetime.time.fromisoformat(text) if text else None


def _date(days: int) -> datetime.date:
    return datetime.date(1970, 1, 1) + datetime.timedelta(days=days)


def segment_numbers(
    schedule: Schedule, minute: Ints, bar_minutes: int, max_gap_minutes: int
) -> tuple[Ints, Ints]:
    """Number the runs of bars between which no more than ``max_gap_minutes`` of open market are missing.

    Breaks and closed hours count nothing, so they are bridged.

    Returns:
        the segment of each bar, and the open minutes missing before each bar (0 at the first); shape (n,) each.
    """
    missing = np.zeros(len(minute), np.int64)
    ends = np.minimum(minute[:-1] + bar_minutes, minute[1:])
    missing[1:] = schedule.elapsed(minute[1:]) - schedule.elapsed(ends)
    return np.cumsum(missing > max_gap_minutes).astype(np.int64), missing
