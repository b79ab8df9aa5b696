"""Averages of the close, the distance of the close from them, their slopes and their distance from each other.

Exponential averages are cut where the forgotten weight is one in a million (see ``windows``).
"""

import numpy as np

from mlfactory.features import inputs
from mlfactory.features import windows as w
from mlfactory.features.registry import feature
from mlfactory.features.segment import Floats, Segment, shared

SIMPLE = (10, 20, 50, 100, 200)
EXPONENTIAL = (9, 12, 21, 26, 50)
SLOPES = (20, 50, 200)
PAIRS = ((10, 50), (20, 100), (50, 200))


@shared
def _simple(x: Segment) -> list[Floats]:
    return w.means(x.close, *SIMPLE)


@feature({f"sma_{k}": k for k in SIMPLE}, unit="price", level=True)
def simple_average(x: Segment) -> list[Floats]:
    """Mean of the last k closes."""
    return _simple(x)


@feature({f"price_to_sma_{k}": k for k in SIMPLE}, unit="ratio minus 1")
def price_to_simple(x: Segment) -> list[Floats]:
    """Close over the mean of the last k closes, minus 1."""
    return [(x.close - mean) / mean for mean in _simple(x)]


@feature({f"ema_{k}": w.ema_memory(k) + 1 for k in EXPONENTIAL}, unit="price", level=True)
def exponential_average(x: Segment) -> list[Floats]:
    """Exponential average of the close, weight 2 / (k + 1)."""
    return [x.close - inputs.ema_distance(x, k) for k in EXPONENTIAL]


@feature({f"price_to_ema_{k}": w.ema_memory(k) + 1 for k in EXPONENTIAL}, unit="ratio minus 1")
def price_to_exponential(x: Segment) -> list[Floats]:
    """Close over its exponential average, minus 1."""
    gaps = [inputs.ema_distance(x, k) for k in EXPONENTIAL]
    return [gap / (x.close - gap) for gap in gaps]


@feature({f"sma_slope_{k}": k + k // 4 for k in SLOPES}, unit="log price")
def simple_slope(x: Segment) -> list[Floats]:
    """Log change of the mean of k closes over the last k / 4 bars."""
    means = [_simple(x)[SIMPLE.index(k)] for k in SLOPES]
    return [np.log(mean / w.lag(mean, k // 4)) for mean, k in zip(means, SLOPES, strict=True)]


@feature({f"sma_{fast}_to_{slow}": slow for fast, slow in PAIRS}, unit="ratio minus 1")
def simple_pairs(x: Segment) -> list[Floats]:
    """Fast mean over slow mean, minus 1."""
    mean = dict(zip(SIMPLE, _simple(x), strict=True))
    return [(mean[fast] - mean[slow]) / mean[slow] for fast, slow in PAIRS]


@feature({"ema_9_to_50": w.ema_memory(50) + 1}, unit="ratio minus 1")
def exponential_pair(x: Segment) -> Floats:
    """Exponential average of 9 bars over that of 50, minus 1."""
    fast, slow = inputs.ema_distance(x, 9), inputs.ema_distance(x, 50)
    return (slow - fast) / (x.close - slow)


@feature({"price_to_wma_20": 20, "price_to_hma_20": 23}, unit="ratio minus 1", source="Hull (2005)")
def weighted_averages(x: Segment) -> list[Floats]:
    """Close over the linearly weighted mean of 20 closes, and over the Hull average of 20, minus 1."""
    fast, slow = _weighted(x.close, 10, 20)
    (hull,) = _weighted(2 * fast - slow, 4)
    return [(x.close - slow) / slow, (x.close - hull) / hull]


def _weighted(values: Floats, *windows: int) -> list[Floats]:
    # the linearly weighted mean is the plain mean moved along the regression line
    mean, slope, _ = w.trend(values, *windows)
    return [m + s * ((k - 1) / 6) for m, s, k in zip(mean, slope, windows, strict=True)]


@feature({"ma_order": 200}, unit="-1, 0, 1")
def order(x: Segment) -> Floats:
    """1 when close, 50-bar and 200-bar mean fall in this order, -1 in the opposite order, else 0."""
    medium, slow = _simple(x)[2], _simple(x)[4]
    up = (x.close > medium) & (medium > slow)
    down = (x.close < medium) & (medium < slow)
    return up.astype(float) - down
