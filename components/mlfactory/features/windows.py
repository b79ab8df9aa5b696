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


# Loops run over slices that start at zero: only then can the compiler prove that no index is negative and use SIMD.


@kernel
def _add_older(out: Floats, newer: Floats, older: Floats, weight: float) -> None:
    """Write newer[t] + weight * older[t - shift], where shift is the number of rows that ``older`` lacks."""
    shift = len(out) - len(older)
    out[:shift] = newer[:shift]
    tail, recent = out[shift:], newer[shift:]
    for t in range(len(older)):
        tail[t] = recent[t] + weight * older[t]


@kernel
def _add_before(out: Floats, older: Floats, weight: float) -> None:
    """Add weight * older[t - shift] to out[t], where shift is the number of rows that ``older`` lacks."""
    tail = out[len(out) - len(older) :]
    for t in range(len(older)):
        tail[t] += weight * older[t]


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
                _add_before(out[i], power[: max(n - length[i], 0)], decay ** length[i])
                length[i] += m
        if 2 * m <= top:
            _add_older(spare, power, power[: max(n - m, 0)], decay**m)
            power, spare = spare, power
        m *= 2
    return out


@kernel
def _draw_towards(out: Floats, older: Floats, share: float) -> None:
    """Move out[t] towards older[t - shift]: the mean of both blocks, exact where they are equal."""
    tail = out[len(out) - len(older) :]
    for t in range(len(older)):
        tail[t] += (older[t] - tail[t]) * share


@kernel
def _means(x: Floats, windows: Ints) -> Floats:
    n = len(x)
    out = np.empty((len(windows), n))
    length = np.zeros(len(windows), np.int64)
    power, spare = x.copy(), np.empty(n)
    m, top = 1, windows.max()
    while m <= top:
        for i in range(len(windows)):
            if windows[i] & m:
                if length[i] == 0:
                    out[i] = power
                else:
                    _draw_towards(out[i], power[: max(n - length[i], 0)], m / (length[i] + m))
                length[i] += m
        if 2 * m <= top:
            spare[:] = power
            _draw_towards(spare, power[: max(n - m, 0)], 0.5)
            power, spare = spare, power
        m *= 2
    return out


@kernel
def _join_highest(out: Floats, newer: Floats, older: Floats) -> None:
    shift = len(out) - len(older)
    out[:shift] = newer[:shift]
    tail, recent = out[shift:], newer[shift:]
    for t in range(len(older)):
        tail[t] = older[t] if older[t] > recent[t] else recent[t]


@kernel
def _highest(x: Floats, windows: Ints) -> Floats:
    n = len(x)
    out = np.empty((len(windows), n))
    power, spare = x.copy(), np.empty(n)
    m, top = 1, windows.max()
    while m <= top:
        for i in range(len(windows)):
            if m <= windows[i] < 2 * m:
                _join_highest(out[i], power, power[: max(n - (windows[i] - m), 0)])
        if 2 * m <= top:
            _join_highest(spare, power, power[: max(n - m, 0)])
            power, spare = spare, power
        m *= 2
    return out


@kernel
def _merge(a: Floats, b: Floats, out: Floats, k: int, m: int) -> None:
    """Merge mean and squares of the newest ``k`` rows (a) and the ``m`` rows before (b). Chan et al. (1983)."""
    n = a.shape[1]
    size = max(n - k, 0)
    share, cross = m / (k + m), k * m / (k + m)
    out[:, : n - size] = a[:, : n - size]
    a1, a2, b1, b2 = a[0, n - size :], a[1, n - size :], b[0, :size], b[1, :size]
    o1, o2 = out[0, n - size :], out[1, n - size :]
    for t in range(size):
        gap = b1[t] - a1[t]
        o1[t] = a1[t] + gap * share
        o2[t] = a2[t] + b2[t] + gap * gap * cross


@kernel
def _spread(x: Floats, windows: Ints) -> Floats:
    n = len(x)
    out = np.zeros((len(windows), 2, n))
    length = np.zeros(len(windows), np.int64)
    power, spare = np.zeros((2, n)), np.zeros((2, n))
    power[0] = x
    m, top = 1, windows.max()
    while m <= top:
        for i in range(len(windows)):
            if windows[i] & m:
                if length[i] == 0:
                    out[i] = power
                else:
                    _merge(out[i], power, spare, length[i], m)
                    out[i] = spare
                length[i] += m
        if 2 * m <= top:
            _merge(power, power, spare, m, m)
            power, spare = spare, power
        m *= 2
    for i in range(len(windows)):
        scale, row = 1.0 / (windows[i] - 1), out[i, 1]
        for t in range(n):
            row[t] = math.sqrt(row[t] * scale)
    return out


@kernel
def _merge_moments(a: Floats, b: Floats, out: Floats, k: int, m: int) -> None:
    """Merge the moments of the newest ``k`` rows (a) with those of the ``m`` rows before them (b). Pebay (2008)."""
    n = a.shape[1]
    size = max(n - k, 0)
    total = float(k + m)
    c2 = k * m / total
    c3 = k * m * (k - m) / total**2
    c4 = k * m * (k * k - k * m + m * m) / total**3
    f, g = k / total, m / total
    out[:, : n - size] = a[:, : n - size]
    cut = n - size
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
                    _merge_moments(out[i], power, spare, length[i], m)
                    out[i] = spare
                length[i] += m
        if 2 * m <= top:
            _merge_moments(power, power, spare, m, m)
            power, spare = spare, power
        m *= 2
    for i in range(len(windows)):
        _standardise(out[i], float(windows[i]))
    return out


@kernel
def _merge_pairs(a: Floats, b: Floats, out: Floats, k: int, m: int) -> None:
    """Merge means, squares and the cross product of two series, newest ``k`` rows (a) with the ``m`` before (b)."""
    n = a.shape[1]
    size = max(n - k, 0)
    cut = n - size
    share, cross = m / (k + m), k * m / (k + m)
    out[:, :cut] = a[:, :cut]
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
                    _merge_pairs(out[i], power, spare, length[i], m)
                    out[i] = spare
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
    return list(_means(x, _whole(windows)))


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
    raw = _spread(x, _whole(windows))
    return Spread(list(raw[:, 0]), list(raw[:, 1]))


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
    return Moments(*(list(raw[:, j]) for j in range(4)))


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
