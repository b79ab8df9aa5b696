"""Bars of several timeframes in one pass, and for every row the last of each that has closed."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.bars import PRICES, Bars, Floats, Ints
from mlfactory.common.errors import InputError
from mlfactory.common.jit import kernel
from mlfactory.common.ladder import NONE, Ladder, LadderBars

FIELDS: Final = (*PRICES, "volume")
NEVER: Final = np.iinfo(np.int64).max


class Runs(NamedTuple):
    """Stretches of bars that no bin crosses, sessions of a segment; arrays of shape (runs,)."""

    stop: Ints
    """row after the last"""
    anchor: Ints
    """where bins start"""
    limit: Ints
    """where the last one is cut"""
    shift: Ints
    """what to add to a minute to read the clock that runs only inside sessions"""
    segment: Ints
    after: Ints
    """where the next run of the same segment begins: at its session's open, or before it with a bar; else ``NEVER``"""


class Bins(NamedTuple):
    """Bars of one step, the unfinished included; arrays of shape (bins,), but ``stop``."""

    start: Ints
    known: Ints
    session_known: Ints
    segment: Ints
    last: Ints
    """row of the last bar"""
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    stop: Ints
    """shape (runs,): bin after the last one of each run"""


def usable(steps: Sequence[int], bar_minutes: int) -> tuple[list[int], list[str]]:
    """Split the wanted steps into those that the bars can give, ascending, and notes on the others.

    Raises:
        InputError: a step is not a multiple of the bars' own, or none is left.
    """
    wanted = sorted(set(steps))
    kept = [step for step in wanted if step >= bar_minutes]
    fit = [step for step in kept if step % bar_minutes == 0]
    if odd := sorted({*kept} - {*fit}):
        listed = ", ".join(map(str, fit)) or "none"
        raise InputError(
            f"mtf.steps holds {odd[0]}: bars of {bar_minutes} minutes give multiples of {bar_minutes}; of "
            f"{wanted} that is {listed}"
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
    runs = runs_of(bars)
    base, shift = _base(bars, runs)
    folded = {bars.bar_minutes: base}
    on_grid = bars_are_bins(bars.minute, runs, bars.bar_minutes)
    tables = {}
    alignment = np.empty((len(steps), len(bars)), np.int32)
    for step, column in zip(steps, alignment, strict=True):
        if step == bars.bar_minutes and on_grid:
            column[:] = np.arange(len(bars), dtype=np.int32)
            tables[step] = _table(base, np.zeros(0, np.int64))
            continue
        # bins of a step are whole in those of its multiples: anchored and cut at the same instants
        source = folded[max(finer for finer in folded if step % finer == 0)]
        bins = _room(source, runs, step)
        unfinished = _fold(source, (bars.minute, bars.bar_minutes), runs, step, (bins, column))
        folded[step] = _filled(bins)
        tables[step] = _table(folded[step], unfinished)
    close = bars.close_minute
    return Ladder(tuple(steps), tables, alignment.T, close, close + shift, bars.bar_minutes)


def runs_of(bars: Bars) -> Runs:
    """Cut bars where no bin may cross: at the ends of segments and, unless the market never closes, of sessions."""
    always = bars.instrument.continuous
    stop = _ends(bars.segment if always else bars.session, bars.segment)
    segment, session = bars.segment[stop - 1], bars.session[stop - 1]
    if always:
        anchor, shift = np.zeros_like(stop), np.zeros_like(stop)
        limit = np.full_like(stop, NEVER)
    else:
        anchor, limit = bars.session_open[stop - 1], bars.session_close[stop - 1]
        # a session that two segments share counts once
        fresh = np.diff(session, prepend=session[:1] - 1) != 0
        shift = np.cumsum(np.where(fresh, limit - anchor, 0)) - limit
    begin = np.minimum(anchor[1:], bars.minute[stop[:-1]])
    after = np.append(np.where(segment[1:] == segment[:-1], begin, NEVER), [NEVER] * (len(stop) > 0))
    return Runs(stop, anchor, limit, shift, segment, after)


@kernel
def _ends(session: Ints, segment: Ints) -> Ints:
    """Find the rows after which session or segment changes; return the row after each."""
    n, count = len(session), 0
    out = np.empty(n, np.int64)
    for i in range(1, n + 1):
        if i == n or session[i] != session[i - 1] or segment[i] != segment[i - 1]:
            out[count] = i
            count += 1
    return out[:count].copy()


@kernel
def bars_are_bins(minute: Ints, runs: Runs, bar_minutes: int) -> bool:
    """Tell whether each bar is a bin of its own: it starts where one does and ends before the next bar."""
    first = 0
    for run in range(len(runs.stop)):
        for i in range(first, runs.stop[run]):
            if bar_minutes > 1 and (minute[i] - runs.anchor[run]) % bar_minutes != 0:
                return False
            if i > 0 and minute[i] - minute[i - 1] < bar_minutes:
                return False
        first = runs.stop[run]
    return True


def _base(bars: Bars, runs: Runs) -> tuple[Bins, Ints]:
    """Take the bars themselves as bins, with each row's shift to the clock of the sessions."""
    shift, close = np.repeat(runs.shift, np.diff(runs.stop, prepend=0)), bars.close_minute
    bins = Bins(
        start=bars.minute,
        known=close,
        session_known=close + shift,
        segment=bars.segment,
        last=np.arange(len(bars)),
        open=bars.open,
        high=bars.high,
        low=bars.low,
        close=bars.close,
        volume=bars.volume,
        stop=runs.stop,
    )
    return bins, shift


def _room(source: Bins, runs: Runs, step: int) -> Bins:
    """Allocate as many bins as there can be: those that a run spans, and one more at either end and at its limit."""
    begin = np.append(0, source.stop[:-1])
    spans = (source.start[source.stop - 1] - source.start[begin]) // step + 3
    size = int(np.minimum(spans, source.stop - begin).sum())
    room = np.empty((10, size))  # one block: the system hands out large ones in large pages
    times = dict(zip(Bins._fields[:5], room[:5].view(np.int64), strict=True))
    return Bins(**times, **dict(zip(FIELDS, room[5:], strict=True)), stop=np.empty_like(runs.stop))


def _filled(bins: Bins) -> Bins:
    count = int(bins.stop[-1])
    columns = {name: getattr(bins, name)[:count] for name in Bins._fields[:-1]}
    return Bins(**columns, stop=bins.stop)


@kernel
def _fold(  # noqa: PLR0915  (a call inside the loop would copy every array's descriptor)
    source: Bins, rows: tuple[Ints, int], runs: Runs, step: int, out: tuple[Bins, NDArray[np.int32]]
) -> Ints:
    """Fold finer bins, or bars, into bins of ``step`` minutes, and write the last closed one of each row.

    Args:
        source: whose bins are whole in those of ``step``.
        rows: open minutes of the bars, shape (n,), and their length.
        runs: of the bars.
        step: minutes.
        out: the bins to write, and the alignment, shape (n,), which counts closed bins alone.

    Returns:
        Positions of the bins that have not closed when their segment ends.
    """
    bins, alignment = out
    minute, bar_minutes = rows
    unfinished = np.zeros(len(runs.stop), np.bool_)
    i, at, done, closed, count = 0, 0, 0, NONE, 0  # the next source, bin and row; the last closed bin
    for run in range(len(runs.stop)):
        stop, edge = source.stop[run], NEVER
        while i < stop:
            bins.start[at], edge = bin_span(source.start[i], edge, step, runs.anchor[run], runs.limit[run])
            high, low, volume = source.high[i], source.low[i], source.volume[i]
            bins.open[at] = source.open[i]
            i += 1
            while i < stop and source.start[i] < edge:
                high, low = max(high, source.high[i]), min(low, source.low[i])
                volume += source.volume[i]
                i += 1
            bins.high[at], bins.low[at], bins.volume[at] = high, low, volume
            bins.close[at] = source.close[i - 1]
            row, close = source.last[i - 1], minute[source.last[i - 1]] + bar_minutes
            after = minute[row + 1] if i < stop else runs.after[run]
            known = bin_known(edge, close, after)
            seen = row if known <= close else row + 1
            bins.last[at], bins.segment[at] = row, runs.segment[run]
            bins.known[at], bins.session_known[at] = known, known + runs.shift[run]
            alignment[done:seen] = closed
            done = seen
            unfinished[run] = seen > row and after == NEVER
            closed, count = (closed, count) if unfinished[run] else (count, count + 1)
            at += 1
        bins.stop[run] = at
        if runs.after[run] == NEVER:
            alignment[done : runs.stop[run]] = closed
            done, closed = runs.stop[run], NONE
    return bins.stop[unfinished] - 1


@kernel
def bin_span(begin: int, edge: int, step: int, anchor: int, limit: int) -> tuple[int, int]:
    """Find where the bin of a bar starts and ends; ``edge`` is where the bin before it ended."""
    zero = anchor if begin < limit else limit  # trades after the close have bins of their own, from there on
    if not (edge <= begin and begin < edge + step):  # else it is the next bin: no division needed
        edge = zero + (begin - zero) // step * step
    end = edge + step
    return edge, limit if begin < limit < end else end


@kernel
def bin_known(edge: int, close: int, after: int) -> int:
    """Tell when a bin is known.

    A bar that reaches over the end of its bin holds the bin back until it closes. A bin of trades after a session's
    close ends where the next session opens, if no clock has ended it by then.

    Args:
        edge: where it ends by the calendar.
        close: when its last bar closes; a row sees bins that are known by then.
        after: where the next bar opens or, after the last one of a session, the next session; ``NEVER`` after the
            last one of a segment.
    """
    return min(max(edge, close), after)


def _table(bins: Bins, unfinished: Ints) -> LadderBars:
    """Leave out the bins that never close; without copying where only the last one is such."""
    count = len(bins.start)
    at: slice | Ints = slice(count - len(unfinished))
    if unfinished.size and unfinished[0] < count - 1:
        at = np.delete(np.arange(count), unfinished)
    return LadderBars(**{field.name: getattr(bins, field.name)[at] for field in fields(LadderBars)})
