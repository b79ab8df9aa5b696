"""Compiled path-dependent indicators and filters; one segment at a time."""

import math

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.jit import kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


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
def a_trous(x: Floats, low: Floats, high: Floats, levels: int) -> tuple[Floats, Floats]:
    """Causal undecimated wavelet transform: details of shape (levels, n) and the last approximation.

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
    detail = np.zeros((levels, n))
    rough = x.copy()
    for j in range(levels):
        smooth, row = np.zeros(n), detail[j]
        for tap in range(len(low)):
            shift = min(tap << j, n)
            a, b = low[tap], high[tap]
            earlier, sums, differences = rough[: n - shift], smooth[shift:], row[shift:]
            for t in range(n - shift):
                sums[t] += a * earlier[t]
                differences[t] += b * earlier[t]
        rough = smooth
    return detail, rough
