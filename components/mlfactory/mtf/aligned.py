"""Prices of the last closed bar of every step at every row, in one pass over the rows and without any table."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.bars import Bars, Floats, Ints
from mlfactory.common.jit import kernel
from mlfactory.mtf.bins import FIELDS, NEVER, Runs, bars_are_bins, bin_known, bin_span, runs_of

Floats32 = NDArray[np.float32]
_WIDTH: Final = len(FIELDS)


class _Growing(NamedTuple):
    """The unfinished bin of every step that has to be folded; arrays of shape (steps,)."""

    step: Ints
    source: Ints
    """position of the finer step whose bins it is made of, -1 where it is made of bars"""
    edge: Ints
    """where it ends by the calendar"""
    open: Floats
    high: Floats
    low: Floats
    volume: Floats


def aligned(bars: Bars, steps: Sequence[int], out: Floats32 | None = None) -> Floats32:
    """Bring open, high, low, close and volume of each step's last closed bar to every row.

    The bars are those of ``bins.build``, at the rows where its alignment has them; NaN where none has closed.

    Args:
        bars: shape (n,).
        steps: minutes, ascending, each a multiple of ``bars.bar_minutes``.
        out: memory to write to, C-contiguous; a caller that repeats itself saves the price of fresh memory.

    Returns:
        Shape (n, steps, 5), in the order of ``FIELDS``.
    """
    runs = runs_of(bars)
    own = steps[0] == bars.bar_minutes and bars_are_bins(bars.minute, runs, bars.bar_minutes)
    if out is None:
        out = np.empty((len(bars), len(steps), _WIDTH), np.float32)
    columns = (bars.open, bars.high, bars.low, bars.close, bars.volume)
    _stream((bars.minute, bars.bar_minutes), columns, runs, _growing(steps[own:]), out.reshape(len(bars), -1))
    return out


def _growing(steps: Sequence[int]) -> _Growing:
    k = len(steps)
    source = [max((j for j in range(i) if steps[i] % steps[j] == 0), default=-1) for i in range(k)]
    return _Growing(
        np.array(steps, np.int64),
        np.array(source, np.int64),
        np.full(k, NEVER),
        *(np.empty(k) for _ in range(4)),
    )


@kernel
def _stream(  # noqa: C901, PLR0915  (a call inside the loop would copy every array's descriptor)
    rows: tuple[Ints, int], columns: tuple[Floats, ...], runs: Runs, bins: _Growing, out: Floats32
) -> None:
    """Fill ``out``, shape (n, columns); columns beyond those of ``bins`` come first: the row's own prices."""
    minute, bar_minutes = rows
    opens, highs, lows, closes, volumes = columns
    step, source, edge, opened, high, low, volume = bins
    steps, roots = len(step), np.flatnonzero(source < 0)
    seen, late = np.full(_WIDTH * steps, np.nan, np.float32), np.zeros(steps, np.bool_)
    own = out.shape[1] - len(seen)
    run, stop, nearest = -1, 0, NEVER
    for i in range(len(minute)):
        opens_run = i == stop
        if opens_run:
            run += 1
            stop, anchor, limit = runs.stop[run], runs.anchor[run], runs.limit[run]
        if opens_run or minute[i] >= nearest:
            nearest = NEVER
            for s in range(steps):
                if opens_run or minute[i] >= edge[s]:
                    if late[s]:
                        _show(seen, s, opened[s], high[s], low[s], closes[i - 1], volume[s])
                    before = NEVER if opens_run else edge[s]
                    edge[s] = bin_span(minute[i], before, step[s], anchor, limit)[1]
                    opened[s], high[s], low[s], volume[s] = opens[i], -np.inf, np.inf, 0.0
                    late[s] = False
                nearest = min(nearest, edge[s])
        for j in range(len(roots)):
            s = roots[j]
            high[s], low[s] = max(high[s], highs[i]), min(low[s], lows[i])
            volume[s] += volumes[i]
        ends_run = i + 1 == stop
        if ends_run or minute[i + 1] >= nearest:
            close = minute[i] + bar_minutes
            after = runs.after[run] if ends_run else minute[i + 1]
            for s in range(steps):
                k = source[s]
                if k >= 0 and (ends_run or after >= edge[k]):
                    high[s], low[s] = max(high[s], high[k]), min(low[s], low[k])
                    volume[s] += volume[k]
                if ends_run or after >= edge[s]:
                    late[s] = bin_known(edge[s], close, after) > close
                    if not late[s]:
                        _show(seen, s, opened[s], high[s], low[s], closes[i], volume[s])
        row = out[i]
        if own > 0:
            row[0], row[1], row[2], row[3], row[4] = opens[i], highs[i], lows[i], closes[i], volumes[i]
        rest = row[own:]
        for j in range(len(seen)):
            rest[j] = seen[j]
        if ends_run and runs.after[run] == NEVER:
            seen[:], late[:] = np.nan, False


@kernel
def _show(seen: Floats32, s: int, o: float, h: float, low: float, c: float, v: float) -> None:
    at = _WIDTH * s
    seen[at], seen[at + 1], seen[at + 2], seen[at + 3], seen[at + 4] = o, h, low, c, v
