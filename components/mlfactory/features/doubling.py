"""Statistics over trailing windows by doubling, all windows of a series in one pass over it.

The statistic of 2m rows is the merge of two statistics of m rows, and that of any window the merge of the powers of
two that it is made of. Rows go through all the merges in chunks that stay inside the processor's first cache; each
power keeps the tail that the next chunk reads.
"""

import functools
import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.jit import kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SUM: Final = 0
MEAN: Final = 1
HIGHEST: Final = 2
LOWEST: Final = 3
SPREAD: Final = 4
MOMENTS: Final = 5
PAIRS: Final = 6
TREND: Final = 7
_ROWS: Final = (1, 1, 1, 1, 2, 4, 5, 3)
"""Statistics that each kind carries: means first, then sums of powers or products about them."""

_CHUNK: Final = 1024
"""Rows that pass through the merges at a time: three buffers of them fit into the first cache."""
_RESULT: Final = -1


# Loops run over slices that start at zero: only then can the compiler prove that no index is negative and use SIMD.


@kernel
def _merge_one(kind: int, a: Floats, b: Floats, out: Floats, weight: float) -> None:
    """Join sums (``weight`` decays the older), means (``weight`` is the share of the older) or extremes."""
    size = len(out)
    a, b = a[:size], b[:size]
    if kind == SUM:
        for t in range(size):
            out[t] = a[t] + weight * b[t]
    elif kind == MEAN:
        for t in range(size):
            out[t] = a[t] + (b[t] - a[t]) * weight  # exact where both are equal
    elif kind == HIGHEST:
        for t in range(size):
            out[t] = b[t] if b[t] > a[t] else a[t]
    else:
        for t in range(size):
            out[t] = b[t] if b[t] < a[t] else a[t]


@kernel
def _merge_spread(x: Floats, out: Floats, at: tuple[int, int, int, int], k: int, m: int) -> None:
    """Join means and squares about them. Chan, Golub and LeVeque (1983)."""
    i, j, o, size = at
    share, cross = m / (k + m), k * m / (k + m)
    a1, a2, b1, b2 = x[0, i : i + size], x[1, i : i + size], x[0, j : j + size], x[1, j : j + size]
    o1, o2 = out[0, o : o + size], out[1, o : o + size]
    for t in range(size):
        gap = b1[t] - a1[t]
        o1[t] = a1[t] + gap * share
        o2[t] = a2[t] + b2[t] + gap * gap * cross


@kernel
def _merge_moments(x: Floats, out: Floats, at: tuple[int, int, int, int], k: int, m: int) -> None:
    """Join means and sums of the second to fourth power about them. Pebay (2008)."""
    i, j, o, size = at
    total = float(k + m)
    c2 = k * m / total
    c3 = k * m * (k - m) / total**2
    c4 = k * m * (k * k - k * m + m * m) / total**3
    f, g = k / total, m / total
    a1, a2, a3, a4 = x[0, i : i + size], x[1, i : i + size], x[2, i : i + size], x[3, i : i + size]
    b1, b2, b3, b4 = x[0, j : j + size], x[1, j : j + size], x[2, j : j + size], x[3, j : j + size]
    o1, o2, o3, o4 = out[0, o : o + size], out[1, o : o + size], out[2, o : o + size], out[3, o : o + size]
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
def _merge_pairs(x: Floats, out: Floats, at: tuple[int, int, int, int], k: int, m: int) -> None:
    """Join means of two series, their squares and their product about the means. Chan, Golub and LeVeque (1983)."""
    i, j, o, size = at
    share, cross = m / (k + m), k * m / (k + m)
    for s in range(2):
        a1, b1, o1 = x[s, i : i + size], x[s, j : j + size], out[s, o : o + size]
        a2, b2, o2 = x[2 + s, i : i + size], x[2 + s, j : j + size], out[2 + s, o : o + size]
        for t in range(size):
            d = b1[t] - a1[t]
            o1[t] = a1[t] + d * share
            o2[t] = a2[t] + b2[t] + d * d * cross
    ax, ay, axy = x[0, i : i + size], x[1, i : i + size], x[4, i : i + size]
    bx, by, bxy = x[0, j : j + size], x[1, j : j + size], x[4, j : j + size]
    oxy = out[4, o : o + size]
    for t in range(size):
        oxy[t] = axy[t] + bxy[t] + (bx[t] - ax[t]) * (by[t] - ay[t]) * cross


@kernel
def _merge_trend(x: Floats, out: Floats, at: tuple[int, int, int, int], k: int, m: int) -> None:
    """Join means, squares and products with time about the means; the time between the halves' middles is known."""
    i, j, o, size = at
    share, cross, product = m / (k + m), k * m / (k + m), k * m / 2
    a1, a2, a3 = x[0, i : i + size], x[1, i : i + size], x[2, i : i + size]
    b1, b2, b3 = x[0, j : j + size], x[1, j : j + size], x[2, j : j + size]
    o1, o2, o3 = out[0, o : o + size], out[1, o : o + size], out[2, o : o + size]
    for t in range(size):
        d = b1[t] - a1[t]
        o1[t] = a1[t] + d * share
        o2[t] = a2[t] + b2[t] + d * d * cross
        o3[t] = a3[t] + b3[t] - d * product


@kernel
def _merge(
    kind: int, x: Floats, out: Floats, at: tuple[int, int, int, int], k: int, m: int, weight: float
) -> None:
    """Join the statistics of the last k rows with those of the m rows before them.

    Args:
        kind: which statistics.
        x: shape (statistics, columns).
        out: shape (statistics, columns).
        at: first column in ``x`` of the newer rows and of the older ones, first column in ``out``, and how many.
        k: rows of the newer.
        m: rows of the older.
        weight: of the older, for sums and means.
    """
    if kind == SPREAD:
        _merge_spread(x, out, at, k, m)
    elif kind == MOMENTS:
        _merge_moments(x, out, at, k, m)
    elif kind == PAIRS:
        _merge_pairs(x, out, at, k, m)
    elif kind == TREND:
        _merge_trend(x, out, at, k, m)
    else:
        i, j, o, size = at
        _merge_one(kind, x[0, i : i + size], x[0, j : j + size], out[0, o : o + size], weight)


@kernel
def _standardise(raw: Floats, start: int, stop: int, w: float) -> None:
    """Turn sums of powers about the mean into deviation, skewness and excess kurtosis, with sample corrections."""
    c3, c4, c5 = w * math.sqrt(w - 1) / (w - 2), (w - 1) * (w + 1) * w / ((w - 2) * (w - 3)), 3 * (w - 1) ** 2
    c5 /= (w - 2) * (w - 3)
    m2, m3, m4 = raw[1, start:stop], raw[2, start:stop], raw[3, start:stop]
    for t in range(stop - start):
        square = m2[t] if m2[t] > 0.0 else 1.0
        moved = 1.0 if m2[t] > 0.0 else 0.0
        m3[t] = moved * c3 * m3[t] / (square * math.sqrt(square))
        m4[t] = moved * (c4 * m4[t] / (square * square) - c5)
        m2[t] = math.sqrt(m2[t] / (w - 1))


@kernel
def _finish(kind: int, out: Floats, start: int, stop: int, window: int, scale: float) -> None:
    if kind == SPREAD:
        square = out[1, start:stop]
        for t in range(stop - start):
            square[t] = math.sqrt(square[t] / (window - 1))
    elif kind == MOMENTS:
        _standardise(out, start, stop, float(window))
    elif scale != 1.0:
        total = out[0, start:stop]
        for t in range(stop - start):
            total[t] *= scale


@kernel
def _apply(
    kind: int, x: Floats, out: Floats, at: tuple[int, int, int, int], k: int, m: int, weight: float
) -> None:
    """Merge the start of a series: its first ``k`` rows have nothing older and keep the newer part alone."""
    i, j, o, size = at
    alone = min(k, size)
    for s in range(out.shape[0]):
        out[s, o : o + alone] = x[s, i : i + alone]
    if alone < size:
        _merge(kind, x, out, (i + alone, j + alone, o + alone, size - alone), k, m, weight)


@kernel
def _slide(x: Floats, first: int, head: int, tail: int) -> None:
    """Move the last ``tail`` columns before ``head`` to ``first``."""
    for s in range(x.shape[0]):
        to, source = x[s, first : first + tail], x[s, head - tail : head]
        for t in range(tail):
            to[t] = source[t]


@kernel
def _run(
    kind: int, series: Floats, ops: Ints, weights: Floats, place: Ints, scale: float, out: Floats
) -> None:
    """Fill ``out`` chunk by chunk.

    Args:
        kind: which statistics.
        series: shape (series, n).
        ops: shape (merges, 6): buffers of the newer and the older rows and of the result, rows of each, window.
        weights: shape (merges,).
        place: shape (buffers + 1, 2): first column of each buffer in the scratch space, and rows of its tail.
        scale: factor of the finished sums.
        out: shape (windows, statistics, n).
    """
    given, n = series.shape
    x = np.zeros((out.shape[1], place[-1, 0]))
    head = place[:-1, 0] + place[:-1, 1]
    for start in range(0, n, _CHUNK):
        size = min(_CHUNK, n - start)
        for s in range(given):
            x[s, head[0] : head[0] + size] = series[s, start : start + size]
        window = 0
        for e in range(len(ops)):
            a, b, c, k, m = ops[e, 0], ops[e, 1], ops[e, 2], ops[e, 3], ops[e, 4]
            target, to = (out[window], start) if c == _RESULT else (x, head[c])
            at = (head[a], head[b] - k, to, size)
            if start < k:
                _apply(kind, x, target, at, k - start, m, weights[e])
            else:
                _merge(kind, x, target, at, k, m, weights[e])
            if c == _RESULT:
                _finish(kind, target, start, start + size, ops[e, 5], scale)
                window += 1
        for c in range(len(head)):
            head[c] += size if place[c, 1] else 0
            if head[c] + _CHUNK > place[c + 1, 0]:
                _slide(x, place[c, 0], head[c], place[c, 1])
                head[c] = place[c, 0] + place[c, 1]


def _window_ops(window: int, spare: int, *, overlap: bool) -> list[tuple[int, int, int, int, int, int]]:
    """List the merges that make a window of the powers of two; ``spare`` and the next buffer hold what is between."""
    top = window.bit_length() - 1
    if window == 1:
        return [(0, 0, _RESULT, 1 << 62, 0, 1)]  # nothing is older: the row itself
    if window == 1 << top:
        return [(top - 1, top - 1, _RESULT, window // 2, window // 2, window)]
    if overlap:
        return [(top, top, _RESULT, window - (1 << top), 1 << top, window)]
    bits = [j for j in range(top + 1) if window >> j & 1]
    ops, newer, length = [], bits[0], 1 << bits[0]
    for number, j in enumerate(bits[1:]):
        target = _RESULT if j == top else spare + number % 2
        ops.append((newer, j, target, length, 1 << j, window))
        newer, length = target, length + (1 << j)
    return ops


@functools.cache
def _plan(kind: int, windows: tuple[int, ...], keep: float) -> tuple[Ints, Floats, Ints]:
    tops = [w.bit_length() - 1 - (w & (w - 1) == 0) for w in windows]
    levels = max(*tops, 0) + 1
    ops = [(j, j, j + 1, 1 << j, 1 << j, 0) for j in range(levels - 1)]
    for window in windows:
        ops += _window_ops(window, levels, overlap=kind in (HIGHEST, LOWEST))
    weights = [keep ** op[3] if kind == SUM else op[4] / (op[3] + op[4]) for op in ops]
    # a long tail moves to the front of its buffer once in three tails, a short one after every chunk
    sizes = [((1 << j) + max(_CHUNK, 2 << j), 1 << j) for j in range(levels)] + [(_CHUNK, 0)] * 2
    first = np.cumsum([0, *(size for size, _ in sizes)])
    place = np.stack([first, [*(tail for _, tail in sizes), 0]], axis=1)
    return np.array(ops), np.array(weights, dtype=float), place


def doubled(
    kind: int, series: Sequence[Floats], windows: Sequence[int], keep: float = 1.0, scale: float = 1.0
) -> Floats:
    """Compute the statistics of every window.

    Args:
        kind: ``SUM``, ``MEAN``, ``HIGHEST``, ``LOWEST``; ``SPREAD``: mean, sample deviation; ``MOMENTS``: mean, sample
            deviation, skewness, excess kurtosis; ``PAIRS`` of two series: their means, and sums of squares of the
            first, of the second, and of products about the means; ``TREND``: mean, sum of squares about it, and of
            products with the row number about the means.
        series: one array, or two for ``PAIRS``, shape (n,).
        windows: rows per window.
        keep: what a sum keeps of a value per row.
        scale: factor of the sums.

    Returns:
        shape (windows, statistics, n).
    """
    x = (
        np.ascontiguousarray(np.stack(series), dtype=float)
        if len(series) > 1
        else np.ascontiguousarray(series[0], dtype=float)[None]
    )
    out = np.empty((len(windows), _ROWS[kind], x.shape[1]))
    ops, weights, place = _plan(kind, tuple(windows), keep)
    _run(kind, x, ops, weights, place, scale, out)
    return out
