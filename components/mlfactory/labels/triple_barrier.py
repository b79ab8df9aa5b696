"""The first barrier that a long and a short trade touch, with costs in price units on both.

Bar t gives the signal; both trades fill at the same price, after it. The profit barrier lies
``take_profit`` ATR plus the round-trip cost away from the fill, the stop ``stop_loss`` ATR; the ATR is the
one known at the close of bar t.

Source: Lopez de Prado (2018), Advances in Financial Machine Learning, ch. 3; costs, fills at a gap, and the
separate exits of long and short are additions.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.bars import Bars, Floats, Ints
from mlfactory.common.jit import kernel
from mlfactory.labels.params import Barrier

Int8s = NDArray[np.int8]
Int32s = NDArray[np.int32]
Bools = NDArray[np.bool_]

LONG: Final = 0
SHORT: Final = 1
SIDES: Final = ("long", "short")
PROFIT: Final = 1
STOP: Final = -1
TIME: Final = 0
UNKNOWN: Final = -1
_OPEN: Final = 2
"""touch of a trade whose exit is not known: still open, or two touches whose order cannot be told"""

_STOP_FIRST, _INVALID, _NEAREST = 0, 1, 2
POLICIES: Final = {"stop_first": _STOP_FIRST, "invalid": _INVALID, "nearest": _NEAREST}

_UPPER, _LOWER, _NEITHER, _BOTH = 1, -1, 0, 2
_SIGNS: Final = (1, -1)
_BLOCK_BITS: Final = 4
_BLOCK: Final = 1 << _BLOCK_BITS


@dataclass(frozen=True)
class Outcome:
    """What became of the two trades of every bar; arrays have shape (n,), or (n, 2) for long and short."""

    label: Int8s
    """1: the long trade reaches its profit barrier; -1: the short one does; 0: neither, or invalid"""
    valid: Bools
    end: Int32s
    """last bar that the row's outcome depends on: the later end of the two trades; -1 where invalid"""
    open_until: Int32s
    """the same, but where the outcome is not known, the last bar over which a trade of the row was followed; -1 where
    no trade was opened"""
    side_end: Int32s
    touch: Int8s
    """1 profit, -1 stop, 0 time limit"""
    fill: Floats
    """price of the exit"""
    net: Floats
    """price move in the trade's favour less the round-trip cost, over the entry price"""
    mae: Floats
    """largest move against the trade while it is open, over the entry price, not negative"""
    mfe: Floats
    """largest move in its favour, likewise"""


def true_range_mean(bars: Bars, window: int) -> Floats:
    """Average the true range over the last ``window`` bars of the segment, in price units.

    A simple mean, so that the value depends on ``window + 1`` bars and on nothing before them; Wilder's
    average would remember the start of the file.

    Returns:
        shape (n,); NaN in the first ``window`` bars of each segment

    Source: Wilder (1978), New Concepts in Technical Trading Systems (the true range).
    """
    return _true_range_mean(bars.high, bars.low, bars.close, bars.row_in_segment, window)


@kernel
def _true_range_mean(high: Floats, low: Floats, close: Floats, row: Ints, window: int) -> Floats:
    n = len(close)
    reach = np.empty(n)
    out = np.empty(n)
    for t in range(n):
        reach[t] = high[t] - low[t]
        if row[t] > 0:
            reach[t] = max(high[t], close[t - 1]) - min(low[t], close[t - 1])
        total = 0.0
        if row[t] >= window:
            for i in range(t - window + 1, t + 1):  # afresh per bar: a running sum would depend on its start
                total += reach[i]
        out[t] = total / window if row[t] >= window else np.nan
    return out


def triple_barrier(
    bars: Bars,
    unit: Floats,
    cost: Floats,
    barrier: Barrier,
    *,
    policy: str = "stop_first",
    max_gap: int = 30,
    at_close: bool = False,
) -> Outcome:
    """Follow the long and the short trade of every bar to their ends.

    A bar that opens at or beyond a barrier fills at its open, which also settles the order when its range
    holds both barriers. A row is invalid, not 0, where unit or cost is not known or not positive, where the
    entry bar is missing or opens more than ``max_gap`` minutes after bar t closes, where a trade is still
    open at the end of its segment or of the data, and, under the policy ``invalid``, where the order of two
    touches cannot be told.

    When both trades reach their profit barrier the earlier one gives the label. In one and the same bar
    their order is ambiguous like that of a profit and a stop: ``stop_first`` gives 0 (no trade can be
    counted on), ``invalid`` no label, ``nearest`` the side whose barrier is nearer to that bar's open (0 at
    equal distance).

    Args:
        bars: n bars.
        unit: shape (n,); price units per ATR, known at the close of each bar.
        cost: shape (n,); round-trip cost of a trade signalled at each bar, in price units.
        barrier: distances in ATR and the time limit.
        policy: ``stop_first``, ``invalid`` or ``nearest``.
        max_gap: minutes.
        at_close: fill at the close of bar t instead of the open of t+1.
    """
    n, code = len(bars), POLICIES[policy]
    entry = bars.close if at_close else np.append(bars.open[1:], np.nan)
    limit = _limits(bars, (unit > 0) & (cost >= 0), barrier.max_bars, max_gap)
    series = (bars.open, bars.high, bars.low, bars.close, _block_extremes(bars))
    side_end, touch, money = np.empty((2, n), np.int32), np.empty((2, n), np.int8), np.empty((4, 2, n))
    for side, sign in enumerate(_SIGNS):
        out = (side_end[side], touch[side], money[:, side])
        _follow(
            series,
            (entry, limit, unit, cost),
            (barrier.take_profit, barrier.stop_loss, barrier.max_bars),
            (sign, code),
            out,
        )
    open_until = side_end.max(axis=0)
    label, valid = _first_wins(touch)
    both = np.flatnonzero(valid & (touch == PROFIT).all(axis=0))
    reward = barrier.take_profit * unit[both] + cost[both]
    order = _order(side_end[:, both], bars.open, entry[both] + reward, entry[both] - reward, code)
    label[both], valid[both] = np.where(order == _BOTH, 0, order), order != _BOTH
    blank = np.flatnonzero(~valid)
    label[blank], side_end[:, blank], touch[:, blank], money[:, :, blank] = 0, UNKNOWN, TIME, np.nan
    end = np.maximum(side_end[LONG], side_end[SHORT])
    return Outcome(label, valid, end, open_until, side_end.T, touch.T, *(values.T for values in money))


def _limits(bars: Bars, priced: Bools, max_bars: int, max_gap: int) -> Ints:
    """Last bar that the trades of each bar may see; -1 where none can be opened."""
    last = np.empty(len(bars), np.int64)
    for rows in bars.segments():
        last[rows] = rows.stop - 1
    bar = np.arange(len(bars))
    wait = np.diff(bars.minute, append=bars.minute[-1:]) - bars.bar_minutes
    opened = priced & (bar < last) & (wait <= max_gap)
    return np.where(opened, np.minimum(bar + max_bars, last), UNKNOWN)


def _block_extremes(bars: Bars) -> Floats:
    """Highest high and lowest low of each whole block of bars, so that quiet ones are passed in one step."""
    whole = len(bars) // _BLOCK * _BLOCK
    high, low = (values[:whole].reshape(-1, _BLOCK) for values in (bars.high, bars.low))
    return np.column_stack([high.max(axis=1), low.min(axis=1)])


# Within a loop, a tuple of arrays would cost an atomic reference count per call: there they go one by one.


@kernel
def _pass_quiet(high: Floats, low: Floats, blocks: Floats, levels: Any, bar: int, limit: int) -> Any:
    """Go on to the first bar that reaches a barrier, or beyond the limit; give it and the extremes before."""
    upper, lower = levels
    highest, lowest = -np.inf, np.inf
    while bar <= limit:
        block = bar >> _BLOCK_BITS
        whole = bar & (_BLOCK - 1) == 0 and bar + _BLOCK <= limit + 1
        if whole and blocks[block, 0] < upper and blocks[block, 1] > lower:
            highest, lowest = max(highest, blocks[block, 0]), min(lowest, blocks[block, 1])
            bar += _BLOCK
            continue
        stop = min(limit, bar | (_BLOCK - 1))
        while bar <= stop:
            if high[bar] >= upper or low[bar] <= lower:
                return bar, highest, lowest
            highest, lowest = max(highest, high[bar]), min(lowest, low[bar])
            bar += 1
    return bar, highest, lowest


@kernel
def _nearer(price: float, upper: float, lower: float, otherwise: int) -> int:
    """Name the barrier that is nearer to a price; ``otherwise`` at equal distance."""
    if upper - price == price - lower:
        return otherwise
    return _UPPER if upper - price < price - lower else _LOWER


@kernel
def _touched(opened: float, high: float, low: float, levels: Any, rules: Any) -> Any:
    """Tell which barrier a bar reaches, and the fill."""
    upper, lower = levels
    sign, policy = rules
    if opened >= upper or opened <= lower:
        return (_UPPER if opened >= upper else _LOWER), opened
    which = _UPPER if high >= upper else _LOWER
    if high >= upper and low <= lower:
        if policy == _INVALID:
            return _BOTH, opened
        which = _nearer(opened, upper, lower, -sign) if policy == _NEAREST else -sign
    return which, (upper if which == _UPPER else lower)


@kernel
def _follow(series: Any, per_bar: Any, distance: Any, rules: Any, out: Any) -> None:
    """Follow the long (sign 1) or short (-1) trade of every bar; ``end`` is -1 where none can be opened."""
    opened, high, low, close, blocks = series
    entry, limit, unit, cost = per_bar
    take_profit, stop_loss, max_bars = distance
    sign = rules[0]
    end, touch, money = out
    for t in range(len(limit)):
        end[t], touch[t], price, last = UNKNOWN, _OPEN, entry[t], limit[t]
        if last == UNKNOWN:
            continue
        reward, risk = take_profit * unit[t] + cost[t], stop_loss * unit[t]
        levels = (price + reward, price - risk) if sign > 0 else (price + risk, price - reward)
        bar, highest, lowest = _pass_quiet(high, low, blocks, levels, t + 1, last)
        which, fill = _NEITHER, close[last]
        if bar <= last:
            which, fill = _touched(opened[bar], high[bar], low[bar], levels, rules)
            # of the bar that ends the trade, only the open and the fill are sure to have come before the exit
            highest, lowest = max(highest, opened[bar], fill), min(lowest, opened[bar], fill)
        end[t] = min(bar, last)
        timed_out = which == _NEITHER and last == t + max_bars
        if timed_out or which in (_UPPER, _LOWER):
            below, above = max(price - lowest, 0.0) / price, max(highest - price, 0.0) / price
            touch[t] = which * sign
            money[0, t] = fill
            money[1, t] = (sign * (fill - price) - cost[t]) / price
            money[2, t] = below if sign > 0 else above
            money[3, t] = above if sign > 0 else below


def _first_wins(touch: Int8s) -> tuple[Int8s, Bools]:
    """Label each row by the trade that reaches its profit barrier, and tell which rows have both exits known."""
    valid = (touch != _OPEN).all(axis=0)
    won = touch == PROFIT
    return won[LONG].astype(np.int8) - won[SHORT].astype(np.int8), valid


def _order(end: Int32s, opened: Floats, upper: Floats, lower: Floats, policy: int) -> Int8s:
    """Tell which trade wins first where both do: 1 long, -1 short, 0 neither, ``_BOTH`` where no label can be given.

    Args:
        end: shape (2, rows); bar in which the long and the short trade reach their profit barrier.
        opened: shape (bars,)
        upper: shape (rows,); profit barrier of the long trade.
        lower: shape (rows,); profit barrier of the short trade.
        policy: what holds when both are reached in one bar that opens between them.
    """
    up, down = upper - opened[end[LONG]], opened[end[LONG]] - lower
    nearer = np.sign(down - up)
    between = (up > 0) & (down > 0)
    in_one_bar = {_STOP_FIRST: 0, _INVALID: _BOTH, _NEAREST: nearer}[policy]
    tied = np.where(between, in_one_bar, nearer)
    first: Int8s = np.where(end[LONG] == end[SHORT], tied, np.sign(end[SHORT] - end[LONG])).astype(np.int8)
    return first


def sign_timeouts(outcome: Outcome) -> Outcome:
    """Label 1 or -1 also where that trade reaches the time limit with a gain after costs."""
    neither = outcome.valid & (outcome.label == 0)
    gains = neither[:, None] & (outcome.touch == TIME) & (outcome.net > 0)
    label = outcome.label + gains[:, LONG] - gains[:, SHORT]
    return replace(outcome, label=label.astype(np.int8))
