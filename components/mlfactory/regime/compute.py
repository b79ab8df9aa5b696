"""All regime columns of a series, each from bars strictly before its row."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.bars import Bars, Floats
from mlfactory.common.errors import InputError
from mlfactory.regime import states, walk
from mlfactory.regime.params import Params

LAG = 1
"""bars between the last bar that a regime has seen and the row that it is written to"""

Columns = dict[str, NDArray[np.float32]]
Core = Callable[[Bars, Params], dict[str, Floats]]


def lookbacks(params: Params, bar_minutes: int) -> dict[str, int]:
    """Bars, up to and including the row, that hold everything a column's value needs.

    It depends on nothing else, unless ``walk.unbounded`` names it.
    """
    model = walk.bars_needed(params, bar_minutes)
    needed = {**states.bars_needed(params), **dict.fromkeys(walk.names(params), model)}
    return {name: bars + LAG for name, bars in needed.items()}


def unlagged(bars: Bars, params: Params) -> dict[str, Floats]:
    """Compute the rows of one segment from bars up to and including their own; NaN during warm-up."""
    columns = {**states.states(bars, params), **walk.walk_forward(bars, params)}
    for name, lookback in lookbacks(params, bars.bar_minutes).items():
        columns[name][: lookback - LAG - 1] = np.nan
    return columns


def lag_once(column: Floats) -> Floats:
    """Write the value of each bar of a segment to the next row: the one place where regimes are lagged."""
    return np.concatenate([np.full(min(LAG, len(column)), np.nan), column[:-LAG]])


def compute(bars: Bars, params: Params, core: Core = unlagged) -> Columns:
    """Compute all columns; row t uses bars strictly before t; NaN during the warm-up of each segment.

    Args:
        bars: shape (n,).
        params: windows and thresholds.
        core: the columns of one segment, each row including its own bar.

    Raises:
        InputError: a price is not positive, or a column is not finite after its warm-up.
    """
    check_positive(bars)
    out = {name: np.full(len(bars), np.nan, np.float32) for name in lookbacks(params, bars.bar_minutes)}
    for rows in bars.segments():
        for name, column in core(bars[rows], params).items():
            out[name][rows] = lag_once(column)
    return out


def check_positive(bars: Bars) -> None:
    """Refuse prices that have no logarithm.

    Raises:
        InputError: the first such bar.
    """
    wrong = np.flatnonzero(~(np.minimum(bars.low, bars.close) > 0))
    if wrong.size:
        i = int(wrong[0])
        when = np.datetime64(int(bars.minute[i]), "m")
        raise InputError(f"the bar of {when} has a low of {bars.low[i]}: regimes need positive prices")


def check_finite(bars: Bars, columns: Columns, lookback: dict[str, int]) -> None:
    """Refuse a column with gaps after the warm-up of a segment.

    Raises:
        InputError: the column and the first bar without a value.
    """
    age = bars.row_in_segment
    for name, column in columns.items():
        missing = np.flatnonzero((age >= lookback[name] - 1) & ~np.isfinite(column))
        if missing.size:
            when = np.datetime64(int(bars.minute[missing[0]]), "m")
            raise InputError(f"{name} has no value at {when}, after its warm-up of {lookback[name]} bars")
