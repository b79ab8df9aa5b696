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

_STOP_FIRST, _INVALID, _NEAREST = 0, 1, 2
POLICIES: Final = {"stop_first": _STOP_FIRST, "invalid": _INVALID, "nearest": _NEAREST}

_UPPER, _LOWER, _NEITHER, _BOTH = 1, -1, 0, 2


@dataclass(frozen=True)
class Outcome:
    """What became of the two trades of every bar; arrays have shape (n,), or (n, 2) for long and short."""

    label: Int8s
    """1: the long trade reaches its profit barrier; -1: the short one does; 0: neither, or invalid"""
    valid: Bools
    end: Int32s
    """last bar that the row's outcome depends on: the later end of the two trades; -1 where invalid"""
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
    holds both barriers. A row is invalid, not 0, where the unit is not known or not positive, where the
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
    n = len(bars)
    label, touch = np.zeros(n, np.int8), np.zeros((n, 2), np.int8)
    valid, end = np.zeros(n, np.bool_), np.full(n, UNKNOWN, np.int32)
    side_end, money = np.full((n, 2), UNKNOWN, np.int32), np.full((n, 2, 4), np.nan)
    last = np.empty(n, np.int64)
    for rows in bars.segments():
        last[rows] = rows.stop - 1
    _follow(
        (bars.open, bars.high, bars.low, bars.close),
        (last, bars.minute, unit, cost),
        (barrier.take_profit, barrier.stop_loss, barrier.max_bars),
        (POLICIES[policy], max_gap + bars.bar_minutes, at_close),
        (label, valid, end, side_end, touch, money),
    )
    return Outcome(label, valid, end, side_end, touch, *np.moveaxis(money, 2, 0))


@kernel
def _first_touch(prices: Any, upper: float, lower: float, first: int, last: int) -> Any:
    """Scan bars first..last; return the bar, what it touched, its fill, and the trade's extremes."""
    opened, high, low, close = prices
    highest, lowest = -np.inf, np.inf
    for i in range(first, last + 1):
        if opened[i] >= upper:
            return i, _UPPER, opened[i], max(highest, opened[i]), lowest
        if opened[i] <= lower:
            return i, _LOWER, opened[i], highest, min(lowest, opened[i])
        if high[i] >= upper or low[i] <= lower:
            # of the bar that ends the trade, only the open and the fill are sure to have come before the exit
            which = (
                _BOTH if high[i] >= upper and low[i] <= lower else (_UPPER if high[i] >= upper else _LOWER)
            )
            return i, which, np.nan, max(highest, opened[i]), min(lowest, opened[i])
        highest, lowest = max(highest, high[i]), min(lowest, low[i])
    return last, _NEITHER, close[last], highest, lowest


@kernel
def _nearer(price: float, upper: float, lower: float, otherwise: int) -> int:
    """Name the barrier that is nearer to a price; ``otherwise`` at equal distance."""
    if upper - price == price - lower:
        return otherwise
    return _UPPER if upper - price < price - lower else _LOWER


@kernel
def _exit(prices: Any, upper: float, lower: float, bars: Any, rules: Any) -> Any:
    """End one trade: first touch, with the policy where one bar reaches both barriers."""
    stop, policy = rules
    bar, which, fill, highest, lowest = _first_touch(prices, upper, lower, bars[0], bars[1])
    if which == _BOTH and policy == _INVALID:
        return bar, _BOTH, fill, highest, lowest
    if which == _BOTH:
        which = _nearer(prices[0][bar], upper, lower, stop) if policy == _NEAREST else stop
    if np.isnan(fill):
        fill = upper if which == _UPPER else lower
        highest, lowest = max(highest, fill), min(lowest, fill)
    return bar, which, fill, highest, lowest


@kernel
def _first_profit(end: Any, opened: Any, profit: Any, policy: int) -> int:
    """Label a row whose trades both reach their profit barrier; ``_BOTH`` where no label can be given."""
    bar = end[0]
    if end[0] != end[1]:
        return 1 if end[0] < end[1] else -1
    if opened[bar] >= profit[0] or opened[bar] <= profit[1]:  # the bar opens beyond one of them
        return 1 if opened[bar] >= profit[0] else -1
    if policy == _NEAREST:
        return _nearer(opened[bar], profit[0], profit[1], 0)
    return _BOTH if policy == _INVALID else 0


@kernel
def _trades(prices: Any, levels: Any, entry: float, cost: float, rules: Any, out: Any) -> bool:
    """Follow both trades of one row into ``out``; False where an end is not known."""
    upper, lower = levels
    first, limit, truncated, policy = rules
    side_end, touch, money = out
    for side in range(2):
        sign = 1 - 2 * side
        bar, which, fill, highest, lowest = _exit(
            prices, upper[side], lower[side], (first, limit), (-sign, policy)
        )
        if which == _BOTH or (which == _NEITHER and truncated):
            return False
        side_end[side], touch[side] = bar, which * sign
        below, above = max(entry - lowest, 0.0) / entry, max(highest - entry, 0.0) / entry
        money[side, 0] = fill
        money[side, 1] = (sign * (fill - entry) - cost) / entry
        money[side, 2] = below if side == 0 else above
        money[side, 3] = above if side == 0 else below
    return True


@kernel
def _follow(prices: Any, per_bar: Any, distance: Any, rules: Any, out: Any) -> None:
    """Fill the outcome of every bar; rows that stay untouched are invalid."""
    segment_last, minute, unit, cost = per_bar
    take_profit, stop_loss, max_bars = distance
    policy, longest_step, at_close = rules
    label, valid, end, side_end, touch, money = out
    upper, lower, profit = np.empty(2), np.empty(2), np.empty(2)
    for t in range(len(unit)):
        final = segment_last[t]
        if t >= final or not unit[t] > 0 or minute[t + 1] - minute[t] > longest_step:
            continue
        entry = prices[3][t] if at_close else prices[0][t + 1]
        reward, risk = take_profit * unit[t] + cost[t], stop_loss * unit[t]
        upper[0], lower[0] = entry + reward, entry - risk
        upper[1], lower[1] = entry + risk, entry - reward
        profit[0], profit[1] = upper[0], lower[1]
        limit = min(t + max_bars, final)
        followed = (t + 1, limit, limit < t + max_bars, policy)
        known = _trades(prices, (upper, lower), entry, cost[t], followed, (side_end[t], touch[t], money[t]))
        first = touch[t, 0] if touch[t, 0] == PROFIT else (-1 if touch[t, 1] == PROFIT else 0)
        if touch[t, 0] == PROFIT and touch[t, 1] == PROFIT:
            first = _first_profit(side_end[t], prices[0], profit, policy)
        if known and first != _BOTH:
            label[t], valid[t] = first, True
            end[t] = max(side_end[t, 0], side_end[t, 1])
        else:
            side_end[t], touch[t], money[t] = UNKNOWN, TIME, np.nan


def sign_timeouts(outcome: Outcome) -> Outcome:
    """Label 1 or -1 also where that trade reaches the time limit with a gain after costs."""
    neither = outcome.valid & (outcome.label == 0)
    gains = neither[:, None] & (outcome.touch == TIME) & (outcome.net > 0)
    label = outcome.label + gains[:, LONG] - gains[:, SHORT]
    return replace(outcome, label=label.astype(np.int8))
