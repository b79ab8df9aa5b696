"""Statistics over trailing windows whose value depends on the window's rows alone, bit for bit.

Windows are built by doubling: the statistic of 2m rows is the merge of two statistics of m rows. The order of the
additions is therefore the same at every row, whatever came before: a constant stretch has exactly zero variance, a
window of zeros sums to exactly zero, and feeding only the last ``window`` rows gives the same bits as feeding all.
Running sums have none of these properties. Near the start, where a window is incomplete, the rows that exist are
used; the runner masks them.

Exponential averages are cut where the forgotten weight falls to one in a million, which makes their memory finite.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.jit import kernel

Floats = NDArray[np.float64]

FORGOTTEN = 1e-6
"""Weight of the history that an exponential average leaves out."""


# Loops run over slices that start at zero: only then can the compiler prove that no index is negative and use SIMD.
# A merge joins the statistics of ``k`` rows up to t (``a``) with those of the ``m`` rows before them (``b``) and writes
# them to ``out``, from row k on; each array has one row per statistic.


@kernel
def _merge_sum(a: Floats, b: Floats, out: Floats, k: int, weight: float) -> None:
    size = max(a.shape[1] - k, 0)
    cut = a.shape[1] - size
    newer, older, joined = a[0, cut:], b[0, :size], out[0, cut:]
    for t in range(size):
        joined[t] = newer[t] + weight * older[t]


@kernel
def _merge_mean(a: Floats, b: Floats, out: Floats, k: int, m: int) -> None:
    size = max(a.shape[1] - k, 0)
    cut = a.shape[1] - size
    share = m / (k + m)
    newer, older, joined = a[0, cut:], b[0, :size], out[0, cut:]
    for t in range(size):
        joined[t] = newer[t] + (older[t] - newer[t]) * share  # exact where both are equal


@kernel
def _merge_highest(a: Floats, b: Floats, out: Floats, k: int, m: int) -> None:
    size = max(a.shape[1] - k, 0)
    cut = a.shape[1] - size
    newer, older, joined = a[0, cut:], b[0, :size], out[0, cut:]
    for t in range(size):
        joined[t] = older[t] if older[t] > newer[t] else newer[t]


@kernel
def _merge_spread(a: Floats, b: Floats, out: Floats, k: int, m: int) -> None:
    """Mean and squares about it. Chan, Golub and LeVeque (1983)."""
    size = max(a.shape[1] - k, 0)
    cut = a.shape[1] - size
    share, cross = m / (k + m), k * m / (k + m)
    a1, a2, b1, b2 = a[0, cut:], a[1, cut:], b[0, :size], b[1, :size]
    o1, o2 = out[0, cut:], out[1, cut:]
    for t in range(size):
        gap = b1[t] - a1[t]
        o1[t] = a1[t] + gap * share
        o2[t] = a2[t] + b2[t] + gap * gap * cross


@kernel
def _merge_moments(a: Floats, b: Floats, out: Floats, k: int, m: int) -> None:
    """Mean and sums of the second to fourth power about it. Pebay (2008)."""
    size = max(a.shape[1] - k, 0)
    cut = a.shape[1] - size
    total = float(k + m)
    c2 = k * m / total
    c3 = k * m * (k - m) / total**2
    c4 = k * m * (k * k - k * m + m * m) / total**3
    f, g = k / total, m / total
    a1, a2, a3, a4 = a[0, cut:], a[1, cut:], a[2, cut:], a[3, cut:]
    b1, b2, b3, b4 = b[0, :size], b[1, :size], b[2, :size], b[3, :size]
    o1, o2, o3, o4 = out[0, cut:], out[1, cut:], out[2, cut:], out[3, cut:]
    for t in range(size):
        d = b1[t] - a1[t]
        dd = d * d
        p2, q2, p3, q3 = a2[t], b2[t], a3[t], b3[t]
        o1[t] = a1[t] + d * g
        o2[t] = p2 + q2 + dd * c2
        o3[t] = p3 + q3 + dd * d * c3 + 3.0 * d * (f * q2 - g * p2)
        o4[t] = (
            a4[t] + b4[t] + dd * dd * c4 + 6.0 * dd * (f * f * q2 + g * g * p2) + 4.0 * d * (f * q3 - g * p3)
        )


@kernel
def _merge_pairs(a: Floats, b: Floats, out: Floats, k: int, m: int) -> None:
    """Means of two series, their squares and their product about the means. Chan, Golub and LeVeque (1983)."""
    size = max(a.shape[1] - k, 0)
    cut = a.shape[1] - size
    share, cross = m / (k + m), k * m / (k + m)
    a1, a2, a3, a4, a5 = a[0, cut:], a[1, cut:], a[2, cut:], a[3, cut:], a[4, cut:]
    b1, b2, b3, b4, b5 = b[0, :size], b[1, :size], b[2, :size], b[3, :size], b[4, :size]
    o1, o2, o3, o4, o5 = out[0, cut:], out[1, cut:], out[2, cut:], out[3, cut:], out[4, cut:]
    for t in range(size):
        d, e = b1[t] - a1[t], b2[t] - a2[t]
        o1[t] = a1[t] + d * share
        o2[t] = a2[t] + e * share
        o3[t] = a3[t] + b3[t] + d * d * cross
        o4[t] = a4[t] + b4[t] + e * e * cross
        o5[t] = a5[t] + b5[t] + d * e * cross


@kernel
def _standardise(raw: Floats, w: float) -> None:
    """Turn sums of powers about the mean into deviation, skewness and excess kurtosis, with sample corrections."""
    c3, c4, c5 = w * math.sqrt(w - 1) / (w - 2), (w - 1) * (w + 1) * w / ((w - 2) * (w - 3)), 3 * (w - 1) ** 2
    c5 /= (w - 2) * (w - 3)
    m2, m3, m4 = raw[1], raw[2], raw[3]
    for t in range(raw.shape[1]):
        square = m2[t] if m2[t] > 0.0 else 1.0
        moved = 1.0 if m2[t] > 0.0 else 0.0
        m3[t] = moved * c3 * m3[t] / (square * math.sqrt(square))
        m4[t] = moved * (c4 * m4[t] / (square * square) - c5)
        m2[t] = math.sqrt(m2[t] / (w - 1))


Merge = Callable[[Floats, Floats, Floats, int, int], None]


def _doubled(single: Floats, windows: Sequence[int], merge: Merge) -> list[Floats]:
    """Statistics of every window, by merging blocks of 1, 2, 4, ... rows.

    Args:
        single: shape (statistics, n); the statistics of each row alone.
        windows: rows per window.
        merge: how the statistics of two adjacent blocks join.

    Returns:
        An array of shape (statistics, n) per window.
    """
    power, spare, scratch = single.copy(), np.empty_like(single), np.empty_like(single)
    out: list[Floats] = [single] * len(windows)
    m = 1
    while m <= max(windows):
        for i, window in enumerate(windows):
            length = window & (m - 1)  # rows merged so far: the lower bits of the window
            if window & m and not length:
                out[i] = power.copy()
            elif window & m:
                scratch[:, :length] = out[i][:, :length]
                merge(out[i], power, scratch, length, m)
                out[i], scratch = scratch, out[i]
        m *= 2
        if m <= max(windows):
            spare[:, : m // 2] = power[:, : m // 2]
            merge(power, power, spare, m // 2, m // 2)
            power, spare = spare, power
    return out


def _stacked(n_statistics: int, *series: Floats) -> Floats:
    out = np.zeros((n_statistics, len(series[0])))
    for row, values in zip(out, series, strict=False):
        row[:] = values
    return out


@kernel
def _deviation(x: Floats, centre: Floats, window: int) -> Floats:
    n = len(x)
    out = np.zeros(n)
    for k in range(min(window, n)):
        earlier, level, tail = x[: n - k], centre[k:], out[k:]
        for t in range(n - k):
            tail[t] += abs(earlier[t] - level[t])
    return out / window


@kernel
def _below(x: Floats, window: int) -> Floats:
    n = len(x)
    out = np.zeros(n)
    for k in range(1, min(window, n)):
        earlier, now, tail = x[: n - k], x[k:], out[k:]
        for t in range(n - k):
            tail[t] += (1.0 if earlier[t] < now[t] else 0.0) + (0.5 if earlier[t] == now[t] else 0.0)
    return out / (window - 1)


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


def _decayed(x: Floats, windows: Sequence[int], keep: float) -> list[Floats]:
    def merge(a: Floats, b: Floats, out: Floats, k: int, m: int) -> None:
        _merge_sum(a, b, out, k, keep**k)

    return [found[0] for found in _doubled(x[None], windows, merge)]


def sums(x: Floats, *windows: int) -> list[Floats]:
    """Sum the last ``windows[i]`` rows."""
    return _decayed(x, windows, 1.0)


def total(x: Floats, window: int) -> Floats:
    """Sum the last ``window`` rows."""
    return sums(x, window)[0]


def means(x: Floats, *windows: int) -> list[Floats]:
    """Average the last ``windows[i]`` rows. A constant stretch averages to its own value."""
    return [found[0] for found in _doubled(x[None], windows, _merge_mean)]


def mean(x: Floats, window: int) -> Floats:
    """Average the last ``window`` rows."""
    return means(x, window)[0]


def maxima(x: Floats, *windows: int) -> list[Floats]:
    """Largest of the last ``windows[i]`` rows."""
    return [found[0] for found in _doubled(x[None], windows, _merge_highest)]


def highest(x: Floats, window: int) -> Floats:
    """Largest of the last ``window`` rows."""
    return maxima(x, window)[0]


def lowest(x: Floats, window: int) -> Floats:
    """Smallest of the last ``window`` rows."""
    return -highest(-x, window)


class Spread(NamedTuple):
    """Mean and sample standard deviation (n - 1); one array per window."""

    mean: list[Floats]
    std: list[Floats]


def spread(x: Floats, *windows: int) -> Spread:
    """Average and standard deviation of the last ``windows[i]`` rows."""
    found = _doubled(_stacked(2, x), windows, _merge_spread)
    std = [np.sqrt(raw[1] / (k - 1)) for raw, k in zip(found, windows, strict=True)]
    return Spread([raw[0] for raw in found], std)


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
    found = _doubled(_stacked(4, x), windows, _merge_moments)
    for raw, k in zip(found, windows, strict=True):
        _standardise(raw, float(k))
    return Moments(*([raw[j] for raw in found] for j in range(4)))


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
    found = _doubled(_stacked(5, x, y), windows, _merge_pairs)
    return Pairs(*([raw[j] for raw in found] for j in range(5)))


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
    return _decayed(x, [rows], keep)[0] * (alpha / (1 - keep**rows))


def ema_gap(x: Floats, period: int) -> Floats:
    """Distance of ``x`` from its exponential average, summed from differences: exactly zero on a constant stretch.

    Needs ``ema_memory(period) + 1`` rows.
    """
    alpha = 2 / (period + 1)
    rows, keep = memory(alpha), 1 - alpha
    change = np.diff(x, prepend=x[:1])
    tail = keep**rows
    decayed = _decayed(change, [rows], keep)[0]
    out: Floats = (keep * decayed - tail * (x - lag(x, rows))) / (1 - tail)
    return out
