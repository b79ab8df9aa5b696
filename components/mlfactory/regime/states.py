"""Regimes with fixed thresholds: volatility, trend, structure, and their combination."""

import math
from typing import Final

import numpy as np

from mlfactory.common.bars import Bars, Floats
from mlfactory.common.jit import kernel
from mlfactory.regime.params import Params
from mlfactory.regime.windows import log, moving_sum, rank, wilder, wilder_bars

HURST_LAGS: Final = (2, 3, 5, 8, 13, 20)
"""bars between the prices whose distance is measured, evenly spaced on the log axis"""
_FLAT: Final = 0.5  # Hurst exponent of a price that does not move: neither trending nor reverting


def volatility_rank(bars: Bars, period: int, window: int) -> Floats:
    """Rank the average true range relative to price among the last ``window`` bars; (0, 1], shape (n,)."""
    true_range = np.maximum(bars.high[1:], bars.close[:-1]) - np.minimum(bars.low[1:], bars.close[:-1])
    average = wilder(np.concatenate([[np.nan], true_range]), period)
    return rank(average / bars.close, window)


def adx(bars: Bars, period: int) -> Floats:
    """Average directional index, 0 to 100, shape (n,); 0 where no bar moved. Wilder (1978)."""
    up, down = np.diff(bars.high, prepend=np.nan), -np.diff(bars.low, prepend=np.nan)
    plus = _from_second(np.where((up > down) & (up > 0), up, 0.0), period)
    minus = _from_second(np.where((down > up) & (down > 0), down, 0.0), period)
    total = plus + minus
    moved = np.where(total > 0, total, 1.0)
    index = np.where(np.isnan(total), np.nan, 100 * np.abs(plus - minus) / moved)
    return wilder(index, period)


def _from_second(movement: Floats, period: int) -> Floats:
    """Smooth a movement, which the first bar does not have."""
    movement[:1] = np.nan
    return wilder(movement, period)


def hurst(close: Floats, window: int) -> Floats:
    """Hurst exponent of log prices, clipped to [0, 1]; 0.5 where the price stood still; shape (n,).

    Half the slope of log mean squared price change over k bars against log k (structure function of order 2).
    """
    level = log(close)
    spread = np.full((len(HURST_LAGS), len(close)), np.nan)
    for row, lag in zip(spread, HURST_LAGS, strict=True):
        change = level[lag:] - level[:-lag]
        row[lag:] = moving_sum(change * change, window - lag) / (window - lag)
    centred = np.log(HURST_LAGS) - np.log(HURST_LAGS).mean()
    return _half_slope(spread, centred / (centred**2).sum())


@kernel
def _half_slope(spread: Floats, slopes: Floats) -> Floats:
    lags, n = spread.shape
    out, widest = np.zeros(n), spread[0].copy()
    for k in range(1, lags):
        for i in range(n):
            widest[i] = max(widest[i], spread[k, i])
    for k in range(lags):
        for i in range(n):
            # a price that only alternates has no spread at even lags
            out[i] += 0.5 * slopes[k] * math.log(max(spread[k, i], 1e-12 * widest[i]))
    for i in range(n):
        if widest[i] > 0:
            out[i] = min(max(out[i], 0.0), 1.0)
        else:
            out[i] = _FLAT if widest[i] == 0 else np.nan
    return out


def band(value: Floats, low: float, high: float) -> Floats:
    """Cut a value in three: 0 below ``low``, 2 above ``high``, 1 between; NaN stays."""
    return np.where(np.isnan(value), np.nan, 1.0 + (value > high) - (value < low))


def states(bars: Bars, params: Params) -> dict[str, Floats]:
    """Compute the columns of one segment, each row from bars up to and including its own; NaN during warm-up.

    ``regime_composite`` numbers the 27 combinations: 9 x volatility + 3 x (trend + 1) + structure.
    """
    ranked = volatility_rank(bars, params.atr_period, params.volatility_window)
    volatility = band(ranked, params.low_quantile, params.high_quantile)
    average = moving_sum(bars.close, params.average_bars) / params.average_bars
    strength = adx(bars, params.adx_period)
    trend = np.where(strength > params.adx_threshold, np.sign(bars.close - average), 0.0)
    trend = np.where(np.isnan(strength + average), np.nan, trend)
    exponent = hurst(bars.close, params.hurst_window)
    structure = band(exponent, params.hurst_low, params.hurst_high)
    return {
        "regime_volatility": volatility,
        "regime_volatility_rank": ranked,
        "regime_trend": trend,
        "regime_structure": structure,
        "regime_hurst": exponent,
        "regime_composite": 9 * volatility + 3 * (trend + 1) + structure,
    }


def bars_needed(params: Params) -> dict[str, int]:
    """Count the bars, up to and including its own, that each value depends on."""
    volatility = wilder_bars(params.atr_period) + params.volatility_window
    trend = max(2 * wilder_bars(params.adx_period), params.average_bars)
    return {
        "regime_volatility": volatility,
        "regime_volatility_rank": volatility,
        "regime_trend": trend,
        "regime_structure": params.hurst_window,
        "regime_hurst": params.hurst_window,
        "regime_composite": max(volatility, trend, params.hurst_window),
    }
