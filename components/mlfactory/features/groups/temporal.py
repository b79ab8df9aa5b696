"""Where the bar stands in its session and in the week, from the exchange's calendar, which is known in advance."""

import functools

import numpy as np

from mlfactory.common.bars import DAY_MINUTES
from mlfactory.features.registry import feature
from mlfactory.features.segment import Floats, Ints, Segment

WEEKDAYS = 7


@functools.lru_cache(maxsize=64)
def _points(period: int) -> tuple[Floats, Floats]:
    angle = 2 * np.pi * np.arange(period) / period
    return np.sin(angle), np.cos(angle)


def _circle(place: Ints, period: int) -> list[Floats]:
    """Sine and cosine of a whole number on a circle of ``period`` points."""
    at = (
        place - place // period * period
    )  # numpy divides whole numbers several times faster than it takes remainders
    return [values[at] for values in _points(period)]


@feature({"minutes_since_open": 1}, unit="minutes")
def since_open(x: Segment) -> Floats:
    """Minutes from the session open to the open of the bar."""
    return (x.bars.minute - x.bars.session_open).astype(float)


@feature({"log_minutes_to_close": 1}, unit="log minutes")
def to_close(x: Segment) -> Floats:
    """Logarithm of 1 plus the minutes from the bar's close to the session's close."""
    left = x.bars.session_close - x.bars.close_minute
    out: Floats = np.log(1.0 + np.maximum(left, 0))
    return out


@feature({"session_sin": 1, "session_cos": 1}, unit="-1 to 1")
def session_phase(x: Segment) -> list[Floats]:
    """Progress through the session as a point on a circle."""
    elapsed, out = x.bars.minute - x.bars.session_open, np.empty((2, len(x)))
    for rows in x.sessions():
        length = int(x.bars.session_close[rows.start] - x.bars.session_open[rows.start])
        out[:, rows] = _circle(elapsed[rows], length)
    return list(out)


@feature({"hour_sin": 1, "hour_cos": 1}, unit="-1 to 1")
def hour(x: Segment) -> list[Floats]:
    """Time of day in UTC as a point on a circle."""
    return _circle(x.bars.minute, DAY_MINUTES)


@feature({"minute_sin": 1, "minute_cos": 1}, unit="-1 to 1")
def minute(x: Segment) -> list[Floats]:
    """Minute of the hour as a point on a circle."""
    return _circle(x.bars.minute, 60)


@feature({"day_of_week_sin": 1, "day_of_week_cos": 1}, unit="-1 to 1")
def day_of_week(x: Segment) -> list[Floats]:
    """Weekday of the session's date as a point on a circle; Monday at angle 0."""
    return _circle(x.bars.session + 3, WEEKDAYS)


@feature({"log_idle_minutes": 2}, unit="log minutes")
def idle(x: Segment) -> Floats:
    """Logarithm of 1 plus the minutes without a bar before this one: halts, breaks and minutes without trades."""
    idle = np.diff(x.bars.minute, prepend=x.bars.minute[:1] - x.bars.bar_minutes) - x.bars.bar_minutes
    out: Floats = np.log(1.0 + np.maximum(idle, 0))
    return out
