"""Bars of several timeframes in one pass, and for every row the last of each that has closed."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.bars import PRICES, Bars, Floats, Ints
from mlfactory.common.errors import InputError
from mlfactory.common.jit import kernel
from mlfactory.common.ladder import NONE, Ladder, LadderBars

_NEVER: Final = np.iinfo(np.int64).max

Prices = tuple[Floats, Floats, Floats, Floats, Floats]
"""open, high, low, close, volume"""


class Calendar(NamedTuple):
    """Where the bins of each row lie; arrays of shape (n,)."""

    anchor: Ints
    """where bins start"""
    limit: Ints
    """where the last one is cut"""
    run: Ints
    """changes wherever a bin must not continue"""


class Bins(NamedTuple):
    """Bars of one step, the unfinished included; arrays of shape (bins,)."""

    start: Ints
    known: Ints
    last: Ints
    """row of the last bar"""
    run: Ints
    """the calendar's run"""
    prices: Prices


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
    may use it from the first bar that closes then or later. Bins without a bar, and those that have not closed
    when their segment ends, are absent, so later bars never change a ladder bar already there.

    Args:
        bars: shape (n,).
        steps: minutes, ascending, each a multiple of ``bars.bar_minutes``.
    """
    calendar, close, shift = _calendar(bars), bars.close_minute, _session_shift(bars)
    prices = (bars.open, bars.high, bars.low, bars.close, bars.volume)
    base = Bins(bars.minute, bars.close_minute, np.arange(len(bars)), calendar.run, prices)
    folded = {bars.bar_minutes: base}
    on_grid = not ((bars.minute - calendar.anchor) % bars.bar_minutes).any()
    tables = {}
    alignment = np.empty((len(steps), len(bars)), np.int32)
    for step, column in zip(steps, alignment, strict=True):
        # bins of a step are whole in those of its multiples: anchored and cut at the same instants
        source = max(finer for finer in folded if step % finer == 0)
        if step > bars.bar_minutes or not on_grid:
            folded[step] = _fold(folded[source], calendar, step)
        kept = _align(folded[step], (bars.minute, close, bars.segment), column)
        tables[step] = _table(folded[step], kept, bars.segment, shift)
    return Ladder(tuple(steps), tables, alignment.T, close, close + shift, bars.bar_minutes)


def _table(bins: Bins, kept: NDArray[np.bool_], segment: Ints, shift: Ints) -> LadderBars:
    """Leave out the bins that have not closed when their segment ends."""
    at = slice(None) if kept.all() else kept
    last = bins.last[at]
    prices = {name: price[at] for name, price in zip((*PRICES, "volume"), bins.prices, strict=True)}
    return LadderBars(
        start=bins.start[at],
        known=bins.known[at],
        session_known=bins.known[at] + shift[last],
        segment=segment[last],
        **prices,
    )


def _calendar(bars: Bars) -> Calendar:
    changes = np.diff(bars.segment, prepend=bars.segment[:1]) != 0
    if bars.instrument.continuous:
        zeros = np.zeros(len(bars), np.int64)
        return Calendar(zeros, np.full(len(bars), _NEVER), np.cumsum(changes))
    changes |= np.diff(bars.session, prepend=bars.session[:1]) != 0
    return Calendar(bars.session_open, bars.session_close, np.cumsum(changes))


def _session_shift(bars: Bars) -> Ints:
    """What to add to a minute to read the clock that runs only inside sessions; shape (n,)."""
    if bars.instrument.continuous:
        return np.zeros(len(bars), np.int64)
    first = np.flatnonzero(np.diff(bars.session, prepend=bars.session[:1] - 1))
    length = bars.session_close[first] - bars.session_open[first]
    before = np.cumsum(length) - length
    rows = np.diff(np.append(first, len(bars)))
    return np.repeat(before, rows) - bars.session_open


def _fold(source: Bins, calendar: Calendar, step: int) -> Bins:
    """Fold finer bins, or bars, into bins of ``step`` minutes."""
    n = len(source.start)
    times = (np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64))
    prices = (np.empty(n), np.empty(n), np.empty(n), np.empty(n), np.empty(n))
    count = _fill(source, calendar, step, times, prices)
    start, known, last, run = (time[:count] for time in times)
    opened, high, low, close, volume = (price[:count] for price in prices)
    return Bins(start, known, last, run, (opened, high, low, close, volume))


@kernel
def _fill(source: Bins, calendar: Calendar, step: int, times: tuple[Ints, ...], prices: Prices) -> int:
    """Write the bins to the front of ``times`` (start, calendar end, last row, run) and ``prices``; count them."""
    start, known, last, runs = times
    opened, high, low, close, volume = prices
    opens, highs, lows, closes, volumes = source.prices
    at, here, edge = -1, -1, 0
    for i in range(len(source.start)):
        row, minute, run = source.last[i], source.start[i], source.run[i]
        if minute >= edge or run != here:
            at += 1
            limit = calendar.limit[row]
            # trades after the close have bins of their own, which start there
            zero = calendar.anchor[row] if minute < limit else limit
            if run != here or not edge <= minute < edge + step:  # else the next bin: no division needed
                edge = zero + (minute - zero) // step * step
            start[at] = edge
            edge += step
            if minute < limit < edge:
                edge = limit
            known[at], runs[at], here = edge, run, run
            opened[at], high[at], low[at], volume[at] = opens[i], highs[i], lows[i], volumes[i]
        else:
            high[at] = max(high[at], highs[i])
            low[at] = min(low[at], lows[i])
            volume[at] += volumes[i]
        last[at], close[at] = row, closes[i]
    return at + 1


@kernel
def _align(bins: Bins, rows: tuple[Ints, Ints, Ints], alignment: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Write the last closed bin of each row; tell which bins ever close; correct when odd bars are known.

    A bar that reaches over the end of its bin holds the bin back until it closes. Bins of trades after a session
    close, which no clock has ended, end where the segment's next bar opens.
    """
    minute, close, segment = rows
    n = len(minute)
    kept = np.ones(len(bins.last), np.bool_)
    done, closed, count = 0, NONE, 0  # rows written, the last closed bin, bins kept
    for j in range(len(bins.last)):
        row = bins.last[j]
        follows = row + 1 < n and segment[row + 1] == segment[row]
        known = max(bins.known[j], close[row])
        if follows:
            known = min(known, minute[row + 1])
        bins.known[j] = known
        seen = row if known <= close[row] else row + 1
        alignment[done:seen] = closed
        done = seen
        kept[j] = follows or seen == row
        if kept[j]:
            closed, count = count, count + 1
        if not follows:
            alignment[done : row + 1] = closed
            done, closed = row + 1, NONE
    return kept
