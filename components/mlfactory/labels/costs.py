"""What a round trip costs at each bar, in price units."""

import numpy as np

from mlfactory.common.bars import Bars, Floats
from mlfactory.labels.params import Params
from mlfactory.labels.triple_barrier import true_range_mean


def round_trip(bars: Bars, unit: Floats, params: Params) -> Floats:
    """Price a round trip signalled at each bar: commission, slippage and half spread of both fills.

    Slippage is multiplied by ``params.volatile_slippage`` in bars whose ``unit`` is more than
    ``params.volatile_ratio`` times the mean true range of the last ``params.volatile_bars`` bars.

    Args:
        bars: n bars.
        unit: shape (n,); mean true range over the bars that set the barriers, in price units.
        params: the multiplier and its rule; 1 is no rule.

    Returns:
        shape (n,); NaN where the rule applies and its bars are not all in the segment
    """
    quiet = bars.instrument.round_trip_cost
    if params.volatile_slippage == 1:
        return np.full(len(bars), quiet)
    usual = true_range_mean(bars, params.volatile_bars)
    extra = 2 * bars.instrument.slippage_ticks * bars.instrument.tick_size * (params.volatile_slippage - 1)
    cost = np.where(unit > params.volatile_ratio * usual, quiet + extra, quiet)
    return np.where(np.isnan(usual), np.nan, cost)
