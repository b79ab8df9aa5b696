"""Intermediates that several feature groups share, computed once per segment."""

import numpy as np

from mlfactory.features import kernels
from mlfactory.features import windows as w
from mlfactory.features.segment import Floats, Ints, Segment, shared

RETURN_WINDOWS = (5, 10, 20, 60, 120)
"""Windows of ``return_moments``, in its row order."""
EXTREMES = (9, 14, 20, 26, 52, 60, 120)


@shared
def log_close(x: Segment) -> Floats:
    """Logarithm of the close."""
    return np.log(x.close)


@shared
def log_open(x: Segment) -> Floats:
    """Logarithm of the open."""
    return np.log(x.open)


@shared
def log_high(x: Segment) -> Floats:
    """Logarithm of the high."""
    return np.log(x.high)


@shared
def log_low(x: Segment) -> Floats:
    """Logarithm of the low."""
    return np.log(x.low)


@shared
def log_body(x: Segment) -> Floats:
    """Logarithm of close over open."""
    return log_close(x) - log_open(x)


@shared
def log_gap(x: Segment) -> Floats:
    """Logarithm of the open over the close before."""
    return log_open(x) - w.lag(log_close(x), 1)


@shared
def midpoint(x: Segment) -> Floats:
    """Middle of high and low."""
    out: Floats = x.low + (x.high - x.low) / 2
    return out


@shared
def log_midpoint(x: Segment) -> Floats:
    """Logarithm of the middle of high and low."""
    out: Floats = np.log(midpoint(x))
    return out


@shared
def log_return(x: Segment) -> Floats:
    """Log return from the bar before; zero at the first row."""
    return w.difference(log_close(x))


@shared
def change(x: Segment) -> Floats:
    """Change of the close from the bar before, in price units; zero at the first row."""
    return w.difference(x.close)


@shared
def direction(x: Segment) -> Floats:
    """Sign of the change of the close."""
    out: Floats = np.sign(change(x))
    return out


@shared
def path(x: Segment) -> Floats:
    """Absolute change of the close."""
    out: Floats = np.abs(change(x))
    return out


@shared
def return_moments(x: Segment) -> w.Moments:
    """Four moments of the log returns over ``RETURN_WINDOWS``."""
    return w.moments(log_return(x), *RETURN_WINDOWS)


def return_std(x: Segment, window: int) -> Floats:
    """Sample standard deviation of the log returns."""
    return return_moments(x).std[RETURN_WINDOWS.index(window)]


def return_mean(x: Segment, window: int) -> Floats:
    """Mean of the log returns."""
    return return_moments(x).mean[RETURN_WINDOWS.index(window)]


@shared
def return_size(x: Segment) -> Floats:
    """Absolute log return."""
    out: Floats = np.abs(log_return(x))
    return out


@shared
def size_spread(x: Segment) -> w.Spread:
    """Mean and standard deviation of absolute log returns over 60 bars."""
    return w.spread(return_size(x), 60)


@shared
def return_products(x: Segment, window: int, rows: int) -> Floats:
    """Sum of products of log returns with those ``rows`` bars earlier, about their means."""
    move, mean = log_return(x), return_mean(x, window)
    return w.products(move, move, mean, mean, window, rows)


@shared
def span(x: Segment) -> Floats:
    """High minus low, in price units."""
    return x.high - x.low


@shared
def log_range(x: Segment) -> Floats:
    """Logarithm of high over low."""
    return log_high(x) - log_low(x)


@shared
def true_range(x: Segment) -> Floats:
    """Range that includes the close before, in price units; the plain range at the first row."""
    before = w.lag(x.close, 1)
    before[:1] = x.close[:1]
    return np.maximum(x.high, before) - np.minimum(x.low, before)


@shared
def typical(x: Segment) -> Floats:
    """Mean of high, low and close, measured from the close so that a flat bar gives the close itself."""
    return x.close + ((x.high - x.close) + (x.low - x.close)) / 3


@shared
def _extremes(x: Segment) -> tuple[list[Floats], list[Floats]]:
    return w.maxima(x.high, *EXTREMES), w.minima(x.low, *EXTREMES)


def extremes(x: Segment, window: int) -> tuple[Floats, Floats]:
    """Highest high and lowest low of one of the windows ``EXTREMES``."""
    high, low = _extremes(x)
    return high[EXTREMES.index(window)], low[EXTREMES.index(window)]


def position(value: Floats, low: Floats, high: Floats, empty: float = 0.5) -> Floats:
    """Place of ``value`` between ``low`` (0) and ``high`` (1); ``empty`` where they coincide."""
    return w.ratio(value - low, high - low, empty)


@shared
def wilder_range(x: Segment, period: int) -> Floats:
    """Average true range with Wilder's weights, in price units."""
    return w.decayed_mean(true_range(x), 1 / period)


@shared
def ema_distance(x: Segment, period: int) -> Floats:
    """Close minus its exponential average, in price units."""
    return w.ema_gap(x.close, period, change(x))


@shared
def session_start(x: Segment) -> Ints:
    """Row of the first bar of each row's session."""
    starts = np.zeros(len(x), np.int64)
    for rows in x.sessions():
        starts[rows] = rows.start
    return starts


@shared
def session_volume(x: Segment) -> Floats:
    """Volume since the session open."""
    return kernels.session_total(x.volume, session_start(x))


@shared
def log_volume(x: Segment) -> Floats:
    """Logarithm of 1 plus volume."""
    return np.log(1 + x.volume)


@shared
def volume_spread(x: Segment) -> w.Spread:
    """Mean and standard deviation of volume over 5, 20 and 60 bars."""
    return w.spread(x.volume, 5, 20, 60)


@shared
def signed_volume(x: Segment) -> Floats:
    """Volume with the sign of the bar's return; zero where the price stood still."""
    out: Floats = x.volume * direction(x)
    return out
