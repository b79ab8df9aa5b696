"""Statistics over trailing windows whose value depends on the window's rows alone, bit for bit.

Windows are built by doubling: the statistic of 2m rows is the merge of two statistics of m rows. The order of the
additions is therefore the same at every row, whatever came before: a constant stretch has exactly zero variance, a
window of zeros sums to exactly zero, and feeding only the last ``window`` rows gives the same bits as feeding all.
Running sums have none of these properties. Near the start, where a window is incomplete, the rows that exist are
used; the runner masks them.

Exponential averages are cut where the forgotten weight falls to one in a million, which makes their memory finite.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.jit import kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FORGOTTEN = 1e-6
"""Weight of the history that an exponential average leaves out."""


@kernel
def _sums(x: Floats, windows: Ints, decay: float) -> Floats:
    n = len(x)
    out = np.zeros((len(windows), n))
    length = np.zeros(len(windows), np.int64)
    power, spare = x.copy(), np.empty(n)
    m, top = 1, windows.max()
    while m <= top:
        for i in range(len(windows)):
            if windows[i] & m:
                shift = length[i]
                weight, row = decay**shift, out[i]
                for t in range(shift, n):
                    row[t] += weight * power[t - shift]
                length[i] += m
        weight = decay**m
        if 2 * m <= top:
            spare[: min(m, n)] = power[: min(m, n)]
            for t in range(m, n):
                spare[t] = power[t] + weight * power[t - m]
            power, spare = spare, power
        m *= 2
    return out


@kernel
def _highest(x: Floats, windows: Ints) -> Floats:
    n = len(x)
    out = np.empty((len(windows), n))
    power, spare = x.copy(), np.empty(n)
    m, top = 1, windows.max()
    while m <= top:
        for i in range(len(windows)):
            if m <= windows[i] < 2 * m:
                shift = min(windows[i] - m, n)
                row = out[i]
                row[:shift] = power[:shift]
                for t in range(shift, n):
                    row[t] = max(power[t], power[t - shift])
        if 2 * m <= top:
            spare[: min(m, n)] = power[: min(m, n)]
            for t in range(m, n):
                spare[t] = max(power[t], power[t - m])
            power, spare = spare, power
        m *= 2
    return out


@kernel
def _spread(x: Floats, windows: Ints) -> tuple[Floats, Floats]:
    n = len(x)
    mean, m2 = np.empty((len(windows), n)), np.empty((len(windows), n))
    length = np.zeros(len(windows), np.int64)
    p1, p2, q1, q2 = x.copy(), np.zeros(n), np.empty(n), np.empty(n)
    m, top = 1, windows.max()
    while m <= top:
        for i in range(len(windows)):
            if windows[i] & m:
                k = length[i]
                if k == 0:
                    mean[i], m2[i] = p1, p2
                else:
                    share, cross = m / (k + m), k * m / (k + m)
                    r1, r2 = mean[i], m2[i]
                    for t in range(k, n):
                        gap = p1[t - k] - r1[t]
                        r1[t] += gap * share
                        r2[t] += p2[t - k] + gap * gap * cross
                length[i] += m
        if 2 * m <= top:
            q1[: min(m, n)], q2[: min(m, n)] = p1[: min(m, n)], p2[: min(m, n)]
            for t in range(m, n):
                gap = p1[t - m] - p1[t]
                q1[t] = p1[t] + gap * 0.5
                q2[t] = p2[t] + p2[t - m] + gap * gap * (m * 0.5)
            p1, p2, q1, q2 = q1, q2, p1, p2
        m *= 2
    return mean, m2


@kernel
def _merge_moments(a: Floats, b: Floats, out: Floats, k: int, m: int) -> None:
    """Merge the moments of the newest ``k`` rows (a) with those of the ``m`` rows before them (b). Pebay (2008)."""
    n = a.shape[1]
    total = float(k + m)
    c2 = k * m / total
    c3 = k * m * (k - m) / total**2
    c4 = k * m * (k * k - k * m + m * m) / total**3
    f, g = k / total, m / total
    for t in range(min(k, n)):
        out[0, t], out[1, t], out[2, t], out[3, t] = a[0, t], a[1, t], a[2, t], a[3, t]
    for t in range(k, n):
        d = b[0, t - k] - a[0, t]
        a2, b2, a3, b3 = a[1, t], b[1, t - k], a[2, t], b[2, t - k]
        dd = d * d
        out[0, t] = a[0, t] + d * g
        out[1, t] = a2 + b2 + dd * c2
        out[2, t] = a3 + b3 + dd * d * c3 + 3.0 * d * (f * b2 - g * a2)
        out[3, t] = (
            a[3, t]
            + b[3, t - k]
            + dd * dd * c4
            + 6.0 * dd * (f * f * b2 + g * g * a2)
            + 4.0 * d * (f * b3 - g * a3)
        )


@kernel
def _moments(x: Floats, windows: Ints) -> Floats:
    n = len(x)
    out = np.zeros((len(windows), 4, n))
    length = np.zeros(len(windows), np.int64)
    power, spare = np.zeros((4, n)), np.zeros((4, n))
    power[0] = x
    m, top = 1, windows.max()
    while m <= top:
        for i in range(len(windows)):
            if windows[i] & m:
                if length[i] == 0:
                    out[i] = power
                else:
                    _merge_moments(out[i], power, out[i], length[i], m)
                length[i] += m
        if 2 * m <= top:
            _merge_moments(power, power, spare, m, m)
            power, spare = spare, power
        m *= 2
    return out


@kernel
def _merge_pairs(a: Floats, b: Floats, out: Floats, k: int, m: int) -> None:
    """Merge means, squares and the cross product of two series. Chan, Golub and LeVeque (1983)."""
    n = a.shape[1]
    share, cross = m / (k + m), k * m / (k + m)
    for t in range(min(k, n)):
        for j in range(5):
            out[j, t] = a[j, t]
    for t in range(k, n):
        d, e = b[0, t - k] - a[0, t], b[1, t - k] - a[1, t]
        out[0, t] = a[0, t] + d * share
        out[1, t] = a[1, t] + e * share
        out[2, t] = a[2, t] + b[2, t - k] + d * d * cross
        out[3, t] = a[3, t] + b[3, t - k] + e * e * cross
        out[4, t] = a[4, t] + b[4, t - k] + d * e * cross


@kernel
def _pairs(x: Floats, y: Floats, windows: Ints) -> Floats:
    n = len(x)
    out = np.zeros((len(windows), 5, n))
    length = np.zeros(len(windows), np.int64)
    power, spare = np.zeros((5, n)), np.zeros((5, n))
    power[0], power[1] = x, y
    m, top = 1, windows.max()
    while m <= top:
        for i in range(len(windows)):
            if windows[i] & m:
                if length[i] == 0:
                    out[i] = power
                else:
                    _merge_pairs(out[i], power, out[i], length[i], m)
                length[i] += m
        if 2 * m <= top:
            _merge_pairs(power, power, spare, m, m)
            power, spare = spare, power
        m *= 2
    return out


@kernel
def _deviation(x: Floats, centre: Floats, window: int) -> Floats:
    n = len(x)
    out = np.zeros(n)
    for k in range(window):
        for t in range(k, n):
            out[t] += abs(x[t - k] - centre[t])
    return out / window


@kernel
def _below(x: Floats, window: int) -> Floats:
    n = len(x)
    out = np.zeros(n)
    for k in range(1, window):
        for t in range(k, n):
            out[t] += (x[t - k] < x[t]) + 0.5 * (x[t - k] == x[t])
    return out / (window - 1)


@kernel
def _ratio(a: Floats, b: Floats, empty: float) -> Floats:
    out = np.empty(len(a))
    for t in range(len(a)):
        out[t] = a[t] / b[t] if b[t] != 0.0 else empty
    return out


def _whole(windows: Sequence[int]) -> Ints:
    return np.array(windows, np.int64)


def ratio(a: Floats, b: Floats, empty: float = 0.0) -> Floats:
    """Divide ``a`` by ``b``; ``empty`` where ``b`` is zero."""
    out: Floats = _ratio(a, b, empty)
    return out


def sums(x: Floats, *windows: int) -> list[Floats]:
    """Sum the last ``windows[i]`` rows."""
    return list(_sums(x, _whole(windows), 1.0))


def total(x: Floats, window: int) -> Floats:
    """Sum the last ``window`` rows."""
    return sums(x, window)[0]


def means(x: Floats, *windows: int) -> list[Floats]:
    """Average the last ``windows[i]`` rows. A constant stretch averages to its own value."""
    return list(_spread(x, _whole(windows))[0])


def mean(x: Floats, window: int) -> Floats:
    """Average the last ``window`` rows."""
    return means(x, window)[0]


def maxima(x: Floats, *windows: int) -> list[Floats]:
    """Largest of the last ``windows[i]`` rows."""
    return list(_highest(x, _whole(windows)))


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
    centre, m2 = _spread(x, _whole(windows))
    return Spread(list(centre), list(np.sqrt(m2 / (_whole(windows)[:, None] - 1))))


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
    raw = _moments(x, _whole(windows))
    m1, m2, m3, m4 = (raw[:, j] for j in range(4))
    n = _whole(windows)[:, None].astype(float)
    safe = np.where(m2 > 0, m2, 1.0)
    skew = n * np.sqrt(n - 1) / (n - 2) * m3 / (safe * np.sqrt(safe))
    kurt = (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * n * m4 / (safe * safe) - 3 * (n - 1))
    std = np.sqrt(m2 / (n - 1))
    return Moments(*(list(v) for v in (m1, std, np.where(m2 > 0, skew, 0.0), np.where(m2 > 0, kurt, 0.0))))


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
    raw = _pairs(x, y, _whole(windows))
    return Pairs(*(list(raw[:, j]) for j in range(5)))


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
    out: Floats = _sums(x, _whole([rows]), keep)[0]
    return out * (alpha / (1 - keep**rows))


def ema_gap(x: Floats, period: int) -> Floats:
    """Distance of ``x`` from its exponential average, summed from differences: exactly zero on a constant stretch.

    Needs ``ema_memory(period) + 1`` rows.
    """
    alpha = 2 / (period + 1)
    rows, keep = memory(alpha), 1 - alpha
    change = np.diff(x, prepend=x[:1])
    tail = keep**rows
    decayed = _sums(change, _whole([rows]), keep)[0]
    out: Floats = (keep * decayed - tail * (x - lag(x, rows))) / (1 - tail)
    return out
