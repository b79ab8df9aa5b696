"""Compiled path-dependent indicators and filters; one segment at a time."""

import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.jit import kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Ints8 = NDArray[np.int8]
Ints32 = NDArray[np.int32]
Values = TypeVar("Values", Floats, NDArray[np.float32])

_CHUNK = 512
_UNITS = 2.0**52


@kernel
def parabolic_sar(high: Floats, low: Floats, start: Ints, step: float, limit: float) -> tuple[Floats, Floats]:
    """Stop level and side (1 long, -1 short) of the parabolic system, anew at every session.

    A session begins long, with the stop at its first low.

    Args:
        high: shape (n,).
        low: shape (n,).
        start: shape (n,); row of the first bar of each row's session.
        step: acceleration added at each new extreme.
        limit: largest acceleration.

    Source: Wilder (1978).
    """
    n = len(high)
    level, side = np.empty(n), np.empty(n)
    extreme, speed = 0.0, step
    for t in range(n):
        if start[t] == t or t == 0:
            level[t], side[t] = low[t], 1.0
            extreme, speed = high[t], step
            continue
        stop = level[t - 1] + speed * (extreme - level[t - 1])
        back = max(t - 2, start[t], 0)
        if side[t - 1] > 0:
            stop = min(stop, low[t - 1], low[back])
            if low[t] < stop:
                level[t], side[t] = extreme, -1.0
                extreme, speed = low[t], step
                continue
            if high[t] > extreme:
                extreme, speed = high[t], min(speed + step, limit)
        else:
            stop = max(stop, high[t - 1], high[back])
            if high[t] > stop:
                level[t], side[t] = extreme, 1.0
                extreme, speed = high[t], step
                continue
            if low[t] < extreme:
                extreme, speed = low[t], min(speed + step, limit)
        level[t], side[t] = stop, side[t - 1]
    return level, side


@kernel
def supertrend(high: Floats, low: Floats, close: Floats, reach: Floats, start: Ints) -> tuple[Floats, Floats]:
    """Trailing band and side (1 below the price, -1 above it), anew at every session.

    Args:
        high: shape (n,).
        low: shape (n,).
        close: shape (n,).
        reach: shape (n,); distance of the bands from the midpoint, in price units.
        start: shape (n,); row of the first bar of each row's session.

    Source: Seban (2009).
    """
    n = len(close)
    level, side = np.empty(n), np.empty(n)
    upper, lower = 0.0, 0.0
    for t in range(n):
        middle = low[t] + (high[t] - low[t]) / 2
        above, below = middle + reach[t], middle - reach[t]
        if start[t] == t or t == 0:
            upper, lower = above, below
            side[t] = 1.0 if close[t] >= middle else -1.0
        else:
            if above < upper or close[t - 1] > upper:
                upper = above
            if below > lower or close[t - 1] < lower:
                lower = below
            if side[t - 1] > 0:
                side[t] = -1.0 if close[t] < lower else 1.0
            else:
                side[t] = 1.0 if close[t] > upper else -1.0
        level[t] = lower if side[t] > 0 else upper
    return level, side


@kernel
def run_length(sign: Floats, limit: int) -> Floats:
    """Signed number of successive rows with the same sign, at most ``limit``; 0 where the sign is 0."""
    n = len(sign)
    out = np.zeros(n)
    for t in range(n):
        if sign[t] == 0.0:
            continue
        before = out[t - 1] if t > 0 and out[t - 1] * sign[t] > 0 else 0.0
        out[t] = min(max(before + sign[t], -float(limit)), float(limit))
    return out


@kernel
def normal_share(z: Floats) -> Floats:
    """Standard normal distribution function."""
    out = np.empty(len(z))
    for t in range(len(z)):
        out[t] = 0.5 * (1.0 + math.erf(z[t] / math.sqrt(2.0)))
    return out


@kernel
def a_trous(x: Floats, low: Floats, high: Floats, levels: int) -> Floats:
    """Causal undecimated wavelet transform: details of each level, then the approximation; shape (levels + 1, n).

    Detail j at row t is the sum over l of ``high[l] * approximation_{j-1}[t - 2^(j-1) l]``; rows before the start
    count as zero. Its support is ``(2^j - 1) (len(low) - 1) + 1`` rows.

    Args:
        x: shape (n,).
        low: low-pass taps, normalised to sum to one.
        high: high-pass taps.
        levels: number of scales.

    Source: Holschneider et al. (1989).
    """
    n = len(x)
    out = np.zeros((levels + 1, n))
    rough = x
    for j in range(levels):
        smooth, row = np.zeros(n), out[j]
        for start in range(0, n, _CHUNK):  # so that the sums stay in the first cache
            stop = min(start + _CHUNK, n)
            for tap in range(len(low)):
                first = max(start, tap << j)
                a, b = low[tap], high[tap]
                earlier = rough[first - (tap << j) : max(stop - (tap << j), first - (tap << j))]
                sums, differences = smooth[first:], row[first:]
                for t in range(len(earlier)):
                    sums[t] += a * earlier[t]
                    differences[t] += b * earlier[t]
        rough = smooth
    out[levels] = rough
    return out


@kernel
def histogram_codes(x: Floats, edges: Floats) -> Ints8:
    """Count the edges that do not exceed each value: its bin."""
    out = np.zeros(len(x), np.int8)
    for edge in edges:
        for t in range(len(x)):
            out[t] += x[t] >= edge
    return out


@kernel
def order_codes(x: Floats) -> Ints8:
    """Code of the order of three successive values, 0 to 7, of which 1 and 6 cannot occur; ties count as rising.

    Source: Bandt and Pompe (2002).
    """
    n = len(x)
    out = np.zeros(n, np.int8)
    first, middle, last, code = x[: n - 2], x[1 : n - 1], x[2:], out[2:]
    for t in range(n - 2):
        code[t] = 4 * (first[t] > middle[t]) + 2 * (middle[t] > last[t]) + (first[t] > last[t])
    return out


@kernel
def code_entropy(code: Ints8, codes: int, window: int) -> Floats:
    """Shannon entropy, in nats, of the codes in each trailing window, from counts that are whole numbers.

    Args:
        code: shape (n,); 0 to ``codes`` - 1.
        codes: number of codes.
        window: rows per window; a window that reaches before the start misses those rows.
    """
    # terms are whole multiples of a tiny unit: sums of them are exact, wherever the running sum begins
    term = np.zeros(window + 1, np.int64)
    for c in range(1, window + 1):
        term[c] = round(-(c / window) * math.log(c / window) * _UNITS)
    count = np.zeros(codes, np.int64)
    out = np.empty(len(code))
    total = 0
    for t in range(len(code)):
        new = code[t]
        total += term[count[new] + 1] - term[count[new]]
        count[new] += 1
        if t >= window:
            old = code[t - window]
            total += term[count[old] - 1] - term[count[old]]
            count[old] -= 1
        out[t] = total / _UNITS
    return out


@kernel
def session_extremes(high: Floats, low: Floats, start: Ints) -> tuple[Floats, Floats]:
    """Highest high and lowest low since the session open; ``start`` is the row of each session's first bar."""
    n = len(high)
    top, bottom = high.copy(), low.copy()
    for t in range(1, n):
        if start[t] != t:
            top[t] = max(top[t - 1], high[t])
            bottom[t] = min(bottom[t - 1], low[t])
    return top, bottom


@kernel
def session_total(values: Floats, start: Ints) -> Floats:
    """Sum since the session open; ``start`` is the row of each session's first bar."""
    out = values.copy()
    for t in range(1, len(values)):
        if start[t] != t:
            out[t] += out[t - 1]
    return out


@kernel
def last_closed(alignment: Ints32, first: int, closed: Ints, now: Ints) -> tuple[Ints, Ints, Floats]:
    """Row of the last closed ladder bar at each base bar, where its runs begin, and the minutes since it closed.

    Args:
        alignment: shape (n,); row in the ladder's table, negative where no bar has closed.
        first: row that counts as 0.
        closed: shape (ladder bars,); minute at which each closed.
        now: shape (n,); minute at which each base bar is known, on the same clock.

    Returns:
        -1 and 0 where no bar has closed; the runs end with the number of base bars.
    """
    n = len(alignment)
    last, begin, age = np.full(n, -1), np.empty(n + 1, np.int64), np.zeros(n)
    runs = 0
    for t in range(n):
        if alignment[t] >= 0:
            last[t] = alignment[t] - first
            age[t] = now[t] - closed[alignment[t]]
        if t == 0 or last[t] != last[t - 1]:
            begin[runs] = t
            runs += 1
    begin[runs] = n
    return last, begin[: runs + 1].copy(), age


@kernel
def bring(values: Values, last: Ints, begin: Ints) -> Values:
    """Value of the last closed ladder bar at each base bar; the final value where ``last`` is -1.

    Args:
        values: shape (ladder bars + 1,).
        last: shape (n,).
        begin: first base bar of each run of equal ``last``, then n.
    """
    out = np.empty(len(last), values.dtype)
    for run in range(len(begin) - 1):
        value, part = values[last[begin[run]]], out[begin[run] : begin[run + 1]]
        for t in range(len(part)):
            part[t] = value
    return out
