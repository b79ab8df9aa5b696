"""Rolling statistics whose bits depend on their own window alone, wherever the series starts.

Running sums carry rounding from the first bar on; here each window is summed afresh in one fixed order, in
blocks whose inner loops are vectorised.
"""

import math

import numpy as np

from mlfactory.common.bars import Floats
from mlfactory.common.jit import kernel

_BLOCK = 2048  # rows whose partial sums stay in the first-level cache


@kernel
def moving_sum(x: Floats, width: int) -> Floats:
    """Sum the last ``width`` values, NaN before there are that many; shape (n,).

    Partial sums of 1, 2, 4, ... values are combined in a fixed tree, so the cost per value is O(log width).
    """
    n = len(x)
    out = np.full(n, np.nan)
    now, doubled = np.empty(_BLOCK + width), np.empty(_BLOCK + width)
    for begin in range(width - 1, n, _BLOCK):
        end = min(begin + _BLOCK, n)
        size = end - begin + width - 1
        now[:size] = x[begin - width + 1 : end]
        out[begin:end] = 0.0
        taken, span, rest = 0, 1, width
        while rest > 0:
            if rest & 1:
                shift = width - 1 - taken
                for i in range(end - begin):
                    out[begin + i] += now[shift + i]
                taken += span
            rest >>= 1
            if rest > 0:
                for i in range(span, size):
                    doubled[i] = now[i] + now[i - span]
                doubled[:span] = 0.0
                now, doubled = doubled, now
                span *= 2
    return out


@kernel
def weighted_sum(x: Floats, weights: Floats) -> Floats:
    """Sum the last values times ``weights``, the newest first; NaN before there are enough; shape (n,)."""
    n, width = len(x), len(weights)
    out = np.full(n, np.nan)
    for begin in range(width - 1, n, _BLOCK):
        end = min(begin + _BLOCK, n)
        out[begin:end] = 0.0
        for k in range(width):
            weight = weights[k]
            for i in range(begin, end):
                out[i] += weight * x[i - k]
    return out


@kernel
def rank(x: Floats, width: int) -> Floats:
    """Rank each value among the last ``width``, itself included, in (0, 1], ties averaged; shape (n,)."""
    n = len(x)
    out = np.full(n, np.nan)
    for i in range(width - 1, n):
        value, below, equal = x[i], 0, 0
        for j in range(i - width + 1, i + 1):
            below += x[j] < value
            equal += x[j] == value
        out[i] = (below + 0.5 * (equal + 1)) / width if equal else np.nan
    return out


def wilder_weights(period: int, remainder: float = 1e-6) -> Floats:
    """Weights of Wilder's smoothing, cut off where less than ``remainder`` is left; they sum to one."""
    decay = 1 - 1 / period
    weights = decay ** np.arange(math.ceil(math.log(remainder) / math.log(decay)))
    return np.asarray(weights / weights.sum(), dtype=np.float64)


@kernel
def log(x: Floats) -> Floats:
    """Natural logarithm value by value: numpy's vector form may differ in the last bit at a block's end."""
    out = np.empty_like(x)
    for i in range(len(x)):
        out[i] = math.log(x[i])
    return out
