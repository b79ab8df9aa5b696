"""Statistics over trailing windows whose value depends on the window's rows alone, bit for bit.

Windows are built by doubling (see ``doubling``). The order of the additions is therefore the same at every row,
whatever came before: a constant stretch has exactly zero variance, a window of zeros sums to exactly zero, and feeding
only the last ``window`` rows gives the same bits as feeding all.
Running sums have none of these properties. Near the start, where a window is incomplete, the rows that exist are
used; the runner masks them.

Exponential averages are cut where the forgotten weight falls to one in a million, which makes their memory finite.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.jit import kernel
from mlfactory.features.doubling import HIGHEST, LOWEST, MEAN, MOMENTS, PAIRS, SPREAD, SUM, TREND, doubled

Floats = NDArray[np.float64]

FORGOTTEN = 1e-6
"""Weight of the history that an exponential average leaves out."""


_CHUNK = 512
"""Rows that are compared with a whole window while they are in the processor's first cache."""


@kernel
def _deviation(x: Floats, centre: Floats, window: int) -> Floats:
    n = len(x)
    out = np.zeros(n)
    for start in range(0, n, _CHUNK):
        stop = min(start + _CHUNK, n)
        for k in range(min(window, stop)):
            first = max(start, k)
            earlier, level, total = x[first - k : stop - k], centre[first:stop], out[first:stop]
            for t in range(stop - first):
                total[t] += abs(earlier[t] - level[t])
    return out / window


@kernel
def _below(x: Floats, window: int) -> Floats:
    n = len(x)
    out = np.zeros(n)
    for start in range(0, n, _CHUNK):
        stop = min(start + _CHUNK, n)
        for k in range(1, min(window, stop)):
            first = max(start, k)
            earlier, now, count = x[first - k : stop - k], x[first:stop], out[first:stop]
            for t in range(stop - first):
                count[t] += (0.5 if earlier[t] < now[t] else 0.0) + (0.5 if earlier[t] <= now[t] else 0.0)
    return out / (window - 1)


@kernel
def _products(x: Floats, y: Floats, rows: int) -> Floats:
    n = len(x)
    cut = min(rows, n)
    out = np.empty(n)
    for t in range(cut):
        out[t] = x[t] * y[0]
    newer, older, rest = x[cut:], y[: n - cut], out[cut:]
    for t in range(n - cut):
        rest[t] = newer[t] * older[t]
    return out


@kernel
def _about_means(total: Floats, mean_x: Floats, mean_y: Floats, window: int, rows: int) -> None:
    cut = min(rows, len(total))
    for t in range(cut):
        total[t] -= window * mean_x[t] * mean_y[0]
    rest, newer, older = total[cut:], mean_x[cut:], mean_y[: len(total) - cut]
    for t in range(len(rest)):
        rest[t] -= window * newer[t] * older[t]


@kernel
def _share(co: float, size: float) -> float:
    return min(max(co / size, -1.0), 1.0) if size != 0.0 else 0.0


@kernel
def _correlated(co: Floats, std_x: Floats, std_y: Floats, window: int, rows: int) -> Floats:
    cut = min(rows, len(co))
    out = np.empty(len(co))
    for t in range(cut):
        out[t] = _share(co[t], (window - 1) * std_x[t] * std_y[0])
    rest, summed, newer, older = out[cut:], co[cut:], std_x[cut:], std_y[: len(co) - cut]
    for t in range(len(rest)):
        rest[t] = _share(summed[t], (window - 1) * newer[t] * older[t])
    return out


@kernel
def _moved(x: Floats, rows: int) -> Floats:
    n = len(x)
    cut = min(rows, n)
    out = np.empty(n)
    for t in range(cut):
        out[t] = abs(x[t] - x[0])
    newer, older, rest = x[cut:], x[: n - cut], out[cut:]
    for t in range(n - cut):
        rest[t] = abs(newer[t] - older[t])
    return out


@kernel
def _without_tail(gap: Floats, x: Floats, rows: int, tail: float) -> Floats:
    """Take the change over ``rows`` rows out of ``gap``, in place."""
    cut = min(rows, len(x))
    first, newer, older, rest = x[:1], x[cut:], x[: len(x) - cut], gap[cut:]
    for t in range(cut):
        gap[t] -= tail * (x[t] - first[0])
    for t in range(len(newer)):
        rest[t] -= tail * (newer[t] - older[t])
    return gap


@kernel
def _ratio(a: Floats, b: Floats, empty: float) -> Floats:
    out = np.empty(len(a))
    for t in range(len(a)):
        out[t] = a[t] / b[t] if b[t] != 0.0 else empty
    return out


def ratio(a: Floats, b: Floats, empty: float = 0.0) -> Floats:
    """Divide ``a`` by ``b``; ``empty`` where ``b`` is zero."""
    out: Floats = _ratio(a, b, empty)
    return out


def sums(x: Floats, *windows: int) -> list[Floats]:
    """Sum the last ``windows[i]`` rows."""
    return list(doubled(SUM, [x], windows)[:, 0])


def total(x: Floats, window: int) -> Floats:
    """Sum the last ``window`` rows."""
    return sums(x, window)[0]


def means(x: Floats, *windows: int) -> list[Floats]:
    """Average the last ``windows[i]`` rows. A constant stretch averages to its own value."""
    return list(doubled(MEAN, [x], windows)[:, 0])


def mean(x: Floats, window: int) -> Floats:
    """Average the last ``window`` rows."""
    return means(x, window)[0]


def maxima(x: Floats, *windows: int) -> list[Floats]:
    """Largest of the last ``windows[i]`` rows."""
    return list(doubled(HIGHEST, [x], windows)[:, 0])


def minima(x: Floats, *windows: int) -> list[Floats]:
    """Smallest of the last ``windows[i]`` rows."""
    return list(doubled(LOWEST, [x], windows)[:, 0])


def highest(x: Floats, window: int) -> Floats:
    """Largest of the last ``window`` rows."""
    return maxima(x, window)[0]


def lowest(x: Floats, window: int) -> Floats:
    """Smallest of the last ``window`` rows."""
    return minima(x, window)[0]


class Spread(NamedTuple):
    """Mean and sample standard deviation (n - 1); one array per window."""

    mean: list[Floats]
    std: list[Floats]


def spread(x: Floats, *windows: int) -> Spread:
    """Average and standard deviation of the last ``windows[i]`` rows."""
    found = doubled(SPREAD, [x], windows)
    return Spread(*(list(found[:, j]) for j in range(2)))


class Moments(NamedTuple):
    """Mean, sample standard deviation, skewness and excess kurtosis; one array per window."""

    mean: list[Floats]
    std: list[Floats]
    skew: list[Floats]
    kurt: list[Floats]


def moments(x: Floats, *windows: int) -> Moments:
    """Four moments of the last ``windows[i]`` rows, skewness and kurtosis with the usual sample corrections.

    They are the estimators of ``pandas.Series.rolling(w).skew()`` and ``.kurt()``; zero where the variance is zero.
    """
    found = doubled(MOMENTS, [x], windows)
    return Moments(*(list(found[:, j]) for j in range(4)))


class Pairs(NamedTuple):
    """Joint statistics of two series, sums of products about the means; one array per window."""

    mean_x: list[Floats]
    mean_y: list[Floats]
    xx: list[Floats]
    yy: list[Floats]
    xy: list[Floats]

    @property
    def correlation(self) -> list[Floats]:
        """Pearson's correlation; zero where either series is constant."""
        parts = zip(self.xx, self.yy, self.xy, strict=True)
        return [np.clip(ratio(xy, np.sqrt(xx) * np.sqrt(yy)), -1.0, 1.0) for xx, yy, xy in parts]

    @property
    def slope(self) -> list[Floats]:
        """Least-squares slope of x on y; zero where y is constant."""
        return [ratio(xy, yy) for xy, yy in zip(self.xy, self.yy, strict=True)]


def pairs(x: Floats, y: Floats, *windows: int) -> Pairs:
    """Joint statistics of the last ``windows[i]`` rows of two series."""
    found = doubled(PAIRS, [x, y], windows)
    return Pairs(*(list(found[:, j]) for j in range(5)))


class Trend(NamedTuple):
    """Regression of a series on the row number; one array per window."""

    mean: list[Floats]
    slope: list[Floats]
    """per row"""
    fit: list[Floats]
    """share of the variance that the line explains; 0 where the series is constant"""


def trend(x: Floats, *windows: int) -> Trend:
    """Fit a line to the last ``windows[i]`` rows by least squares."""
    found = doubled(TREND, [x], windows)
    times = [k * (k * k - 1) / 12 for k in windows]  # squares of the row numbers about their mean
    slope = [raw[2] / time for raw, time in zip(found, times, strict=True)]
    fit = [ratio(raw[2] * line, raw[1]) for raw, line in zip(found, slope, strict=True)]
    return Trend(list(found[:, 0]), slope, fit)


def products(x: Floats, y: Floats, x_mean: Floats, y_mean: Floats, window: int, rows: int = 0) -> Floats:
    """Sum, over a window, the products of ``x`` and of ``y`` ``rows`` rows earlier, about their means.

    For series that vary about zero or by no less than a millionth of their mean; others need ``pairs``.

    Args:
        x: shape (n,).
        y: shape (n,).
        x_mean: mean of ``x`` over the window.
        y_mean: mean of ``y`` over the window.
        window: rows of the window.
        rows: how far ``y`` lags behind.
    """
    out = total(_products(x, y, rows), window)
    _about_means(out, x_mean, y_mean, window, rows)
    return out


def scaled_products(co: Floats, x_std: Floats, y_std: Floats, window: int, rows: int = 0) -> Floats:
    """Turn what ``products`` gives into Pearson's correlation; zero where either series is constant.

    Args:
        co: shape (n,); sums of products about the means.
        x_std: standard deviation of the first series over the window.
        y_std: standard deviation of the second, which is taken ``rows`` rows earlier.
        window: rows of the window.
        rows: how far the second series lags behind.
    """
    out: Floats = _correlated(co, x_std, y_std, window, rows)
    return out


def moved(x: Floats, rows: int) -> Floats:
    """Distance from the value ``rows`` rows earlier."""
    out: Floats = _moved(x, rows)
    return out


def correlation(x: Floats, y: Floats, window: int) -> Floats:
    """Pearson's correlation of the last ``window`` rows; zero where either series is constant."""
    return pairs(x, y, window).correlation[0]


def deviation(x: Floats, centre: Floats, window: int) -> Floats:
    """Mean distance of the last ``window`` rows from ``centre[t]``."""
    out: Floats = _deviation(x, centre, window)
    return out


def rank(x: Floats, window: int) -> Floats:
    """Share of the ``window - 1`` rows before t that lie below ``x[t]``; ties count half."""
    out: Floats = _below(x, window)
    return out


def lag(x: Floats, rows: int) -> Floats:
    """Value ``rows`` rows earlier; the first value before the start."""
    out = np.empty_like(x)
    out[:rows] = x[0]
    out[rows:] = x[: max(len(x) - rows, 0)]
    return out


def difference(x: Floats, rows: int = 1) -> Floats:
    """Change from the value ``rows`` rows earlier; from the first value before there is one."""
    out = np.empty_like(x)
    cut = min(rows, len(x))
    np.subtract(x[:cut], x[:1], out=out[:cut])
    np.subtract(x[cut:], x[: len(x) - cut], out=out[cut:])
    return out


def memory(alpha: float) -> int:
    """Rows of an exponential average with weight ``alpha``: the power of two after which ``FORGOTTEN`` remains."""
    return 1 << math.ceil(math.log2(math.log(FORGOTTEN) / math.log1p(-alpha)))


def ema_memory(period: int) -> int:
    """Rows of ``ema_gap`` and of a mean with the weight of an EMA; one more is needed for its first difference."""
    return memory(2 / (period + 1))


def wilder_memory(period: int) -> int:
    """Rows of Wilder's average."""
    return memory(1 / period)


def decayed_mean(x: Floats, alpha: float) -> Floats:
    """Exponential average over the last ``memory(alpha)`` rows, weights (1 - alpha)^k normalised to one."""
    rows, keep = memory(alpha), 1 - alpha
    out: Floats = doubled(SUM, [x], [rows], keep, alpha / (1 - keep**rows))[0, 0]
    return out


def ema_gap(x: Floats, period: int, change: Floats | None = None) -> Floats:
    """Distance of ``x`` from its exponential average, summed from differences: exactly zero on a constant stretch.

    Needs ``ema_memory(period) + 1`` rows.

    Args:
        x: shape (n,).
        period: its weight is 2 / (period + 1).
        change: ``x`` minus the row before and zero at the first, where it is at hand.
    """
    alpha = 2 / (period + 1)
    rows, keep = memory(alpha), 1 - alpha
    tail = keep**rows
    moved = difference(x) if change is None else change
    decayed = doubled(SUM, [moved], [rows], keep, keep / (1 - tail))[0, 0]
    out: Floats = _without_tail(decayed, x, rows, tail / (1 - tail))
    return out
