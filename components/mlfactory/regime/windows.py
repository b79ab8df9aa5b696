"""Rolling statistics whose bits depend on their own window alone, wherever the series starts.

Running sums carry rounding from the first bar on; here each window is summed afresh in one fixed order, in
blocks whose inner loops are vectorised.
"""

import math

import numpy as np

from mlfactory.common.bars import Floats
from mlfactory.common.jit import kernel

_REMAINDER = 1e-6
_BLOCK = 2048  # rows whose partial sums stay in the first-level cache


def moving_sum(x: Floats, width: int) -> Floats:
    """Sum the last ``width`` values, NaN before there are that many; shape (n,)."""
    return decayed_sum(x, width, 1.0)


@kernel
def decayed_sum(x: Floats, width: int, decay: float) -> Floats:
    """Sum the last ``width`` values, each times ``decay`` to the power of its age, NaN before; shape (n,).

    Sums of 1, 2, 4, ... values are combined in a fixed tree, so the cost per value is O(log width).
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
                shift, weight = width - 1 - taken, decay**taken
                total, part = out[begin:end], now[shift : shift + end - begin]
                for i in range(len(total)):
                    total[i] += weight * part[i]
                taken += span
            rest >>= 1
            if rest > 0:
                weight = decay**span
                both, late, early = doubled[span:size], now[span:size], now[: size - span]
                for i in range(len(both)):
                    both[i] = late[i] + weight * early[i]
                doubled[:span] = 0.0
                now, doubled = doubled, now
                span *= 2
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


def wilder_bars(period: int) -> int:
    """Bars after which less than ``_REMAINDER`` of the weight of Wilder's smoothing is left."""
    return math.ceil(math.log(_REMAINDER) / math.log(1 - 1 / period))


def wilder(x: Floats, period: int) -> Floats:
    """Smooth as Wilder (1978) does, over ``wilder_bars`` values with weights that sum to one; shape (n,)."""
    decay, width = 1 - 1 / period, wilder_bars(period)
    return decayed_sum(x, width, decay) * ((1 - decay) / (1 - decay**width))


@kernel
def log(x: Floats) -> Floats:
    """Natural logarithm value by value: numpy's vector form may differ in the last bit at a block's end."""
    out = np.empty_like(x)
    for i in range(len(x)):
        out[i] = math.log(x[i])
    return out
