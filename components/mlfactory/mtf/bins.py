"""Bars of several timeframes in one pass, and for every row the last of each that has closed."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.bars import PRICES, Bars, Floats, Ints
from mlfactory.common.errors import InputError
from mlfactory.common.jit import kernel
from mlfactory.common.ladder import NONE, Ladder, LadderBars

_NEVER: Final = np.iinfo(np.int64).max

Places = tuple[Ints, Ints, Ints]
Prices = tuple[Floats, Floats, Floats, Floats, Floats]


def usable(steps: Sequence[int], bar_minutes: int) -> tuple[list[int], list[str]]:
    """Split the wanted steps into those that the bars can give, ascending, and notes on the others.

    Raises:
        InputError: a step is not a multiple of the bars' own, or none is left.
    """
    wanted = sorted(set(steps))
    kept = [step for step in wanted if step >= bar_minutes]
    for step in kept:
        if step % bar_minutes:
            raise InputError(
                f"mtf.steps holds {step}: bars of {bar_minutes} minutes give multiples of {bar_minutes}"
            )
    if not kept:
        raise InputError(f"mtf.steps is {wanted}: no step is as long as a bar of {bar_minutes} minutes")
    small = [step for step in wanted if step < bar_minutes]
    return kept, [f"{step} min left out: the bars have {bar_minutes} minutes" for step in small]


def build(bars: Bars, steps: Sequence[int]) -> Ladder:
    """Fold bars into every step and align each row with the last closed bar of its segment.

    Bins start at the session open of each bar (in a market that never closes: at the epoch) and end after
    ``step`` minutes or at the session close. A bin is known when the calendar's clock reaches its end; a row
    may use it from the first bar that closes then or later. Bins without a bar, and those that have
    not closed when their segment ends, are absent, so later bars never change a ladder bar already there.

    Args:
        bars: shape (n,).
        steps: minutes, ascending, each a multiple of ``bars.bar_minutes``.
    """
    anchor, limit, run = _calendar(bars)
    room = _room(bars.minute, run, steps)
    offset = np.concatenate([[0], np.cumsum(room)]).astype(np.int64)
    alignment = np.empty((len(bars), len(steps)), np.int32)
    size = int(offset[-1])
    places: Places = (np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.int64))
    folded: Prices = (np.empty(size), np.empty(size), np.empty(size), np.empty(size), np.empty(size))
    times = (bars.minute, anchor, limit, run, bars.segment)
    prices = (bars.open, bars.high, bars.low, bars.close, bars.volume)
    shape = (np.asarray(steps, np.int64), offset, bars.bar_minutes)
    counts = _fold(times, prices, shape, places, folded, alignment)
    shift = _session_shift(bars)
    tables = {}
    for k, step in enumerate(steps):
        rows = slice(offset[k], offset[k] + counts[k])
        start, known, last = (place[rows].copy() for place in places)
        columns = {name: price[rows].copy() for name, price in zip((*PRICES, "volume"), folded, strict=True)}
        tables[step] = LadderBars(
            start=start, known=known, session_known=known + shift[last], segment=bars.segment[last], **columns
        )
    close = bars.close_minute
    return Ladder(tuple(steps), tables, alignment, close, close + shift, bars.bar_minutes)


def _calendar(bars: Bars) -> tuple[Ints, Ints, Ints]:
    """Where bins are anchored and cut, and a number that changes wherever a bin must not continue."""
    changes = np.diff(bars.segment, prepend=bars.segment[:1]) != 0
    if bars.instrument.continuous:
        zeros = np.zeros(len(bars), np.int64)
        return zeros, np.full(len(bars), _NEVER), np.cumsum(changes)
    changes |= np.diff(bars.session, prepend=bars.session[:1]) != 0
    return bars.session_open, bars.session_close, np.cumsum(changes)


def _room(minute: Ints, run: Ints, steps: Sequence[int]) -> list[int]:
    """Bound the number of bins per step, so that one allocation holds them."""
    first = np.flatnonzero(np.diff(run, prepend=run[:1] - 1))
    last = np.append(first[1:], len(run)) - 1
    span, bars = minute[last] - minute[first], last - first + 1
    # on each side of the session close: one bin more than whole steps in between, and one cut at its start
    return [int(np.minimum(bars, span // step + 4).sum()) for step in steps]


def _session_shift(bars: Bars) -> Ints:
    """What to add to a minute to read the clock that runs only inside sessions; shape (n,)."""
    if bars.instrument.continuous:
        return np.zeros(len(bars), np.int64)
    first = np.flatnonzero(np.diff(bars.session, prepend=bars.session[:1] - 1))
    length = bars.session_close[first] - bars.session_open[first]
    before = np.cumsum(length) - length
    rows = np.diff(np.append(first, len(bars)))
    return np.repeat(before, rows) - bars.session_open


@kernel
def _edges(minute: int, anchor: int, limit: int, step: int) -> tuple[int, int]:
    if minute >= limit:  # trades after the close have bins of their own, which start there
        anchor = limit
    start = anchor + (minute - anchor) // step * step
    end = start + step
    return start, limit if minute < limit < end else end


@kernel
def _fold(
    times: tuple[Ints, Ints, Ints, Ints, Ints],
    prices: Prices,
    shape: tuple[Ints, Ints, int],
    places: Places,
    folded: Prices,
    alignment: NDArray[np.int32],
) -> Ints:
    """Write the bins of step k from ``offset[k]`` on, and the alignment; return the bins per step."""
    minute, anchor, limit, run, segment = times
    steps, offset, bar_minutes = shape
    start, known, last = places
    n, m = alignment.shape
    current = offset[:-1] - 1  # the bin being filled
    first = offset[:-1].copy()  # the segment's first bin
    edge = np.zeros(m, np.int64)
    for i in range(n):
        close = minute[i] + bar_minutes
        fresh = i == 0 or run[i] != run[i - 1]
        if i > 0 and fresh and segment[i] != segment[i - 1]:
            _drop_open(current, first, known, minute[i - 1] + bar_minutes)
        elif i > 0 and fresh:
            _end_by(minute[i], current, first, known)
        for k in range(m):
            if fresh or minute[i] >= edge[k]:
                current[k] += 1
                at = current[k]
                start[at], edge[k] = _edges(minute[i], anchor[i], limit[i], steps[k])
                known[at] = edge[k]
                _open(prices, folded, i, at)
            else:
                at = current[k]
                _extend(prices, folded, i, at)
            last[at] = i
            known[at] = max(known[at], close)  # a bar that reaches over the end of its bin holds it back
            while at >= first[k] and known[at] > close:
                at -= 1
            alignment[i, k] = at - offset[k] if at >= first[k] else NONE
    _drop_open(current, first, known, minute[n - 1] + bar_minutes)
    return current - offset[:-1] + 1


@kernel
def _open(prices: Prices, folded: Prices, i: int, at: int) -> None:
    for column in range(5):
        folded[column][at] = prices[column][i]


@kernel
def _extend(prices: Prices, folded: Prices, i: int, at: int) -> None:
    folded[1][at] = max(folded[1][at], prices[1][i])
    folded[2][at] = min(folded[2][at], prices[2][i])
    folded[3][at] = prices[3][i]
    folded[4][at] += prices[4][i]


@kernel
def _end_by(minute: int, current: Ints, first: Ints, known: Ints) -> None:
    """End bins of trades after the close, which no clock has ended, where the next session begins."""
    for k in range(len(current)):
        if current[k] >= first[k] and known[current[k]] > minute:
            known[current[k]] = minute


@kernel
def _drop_open(current: Ints, first: Ints, known: Ints, close: int) -> None:
    """Forget a bin that the segment's last row does not see closed; start the next segment after the rest."""
    for k in range(len(current)):
        while current[k] >= first[k] and known[current[k]] > close:
            current[k] -= 1
        first[k] = current[k] + 1
