"""Direction and strength of trends, channels and trailing stops.

Indicators with a state (SAR, Supertrend) begin anew at every session open. Without movement, strength is 0 and a
place in a channel is 0.5.
"""

import numpy as np
import talib

from mlfactory.features import inputs, kernels
from mlfactory.features import windows as w
from mlfactory.features.registry import feature
from mlfactory.features.segment import Floats, Segment, Setting, shared

ATR = 10
DI = w.wilder_memory(14) + 1
ADX = DI + w.wilder_memory(14) - 1


@shared
def _directional(x: Segment, period: int) -> tuple[Floats, Floats, Floats]:
    rise, fall = x.high - w.lag(x.high, 1), w.lag(x.low, 1) - x.low
    up, down = np.maximum(rise, 0.0) * (rise > fall), np.maximum(fall, 0.0) * (fall > rise)
    true = inputs.wilder_range(x, period)
    plus = w.ratio(100 * w.decayed_mean(up, 1 / period), true)
    minus = w.ratio(100 * w.decayed_mean(down, 1 / period), true)
    adx = w.decayed_mean(w.ratio(100 * np.abs(plus - minus), plus + minus), 1 / period)
    return plus, minus, adx


@feature({"plus_di_14": DI, "minus_di_14": DI, "adx_14": ADX}, unit="0 to 100", source="Wilder (1978)")
def directional(x: Segment) -> list[Floats]:
    """Directional indicators and their average index, Wilder's averages."""
    return list(_directional(x, 14))


@feature({"adx_14_strong": ADX}, unit="-1, 0, 1", source="Wilder (1978)")
def strong_trend(x: Segment) -> Floats:
    """Sign of the directional difference where the index exceeds 25, else 0."""
    plus, minus, adx = _directional(x, 14)
    return np.sign(plus - minus) * (adx > 25)


@feature({"aroon_down_25": 26, "aroon_up_25": 26}, unit="0 to 100", source="Chande (1995)")
def aroon(x: Segment) -> list[Floats]:
    """Age of the lowest low and of the highest high of 25 bars: 100 is the last bar."""
    if len(x) < 26:
        return [np.zeros(len(x)), np.zeros(len(x))]
    return list(talib.AROON(x.high, x.low, timeperiod=25))


@feature({"vortex_plus_14": 15, "vortex_minus_14": 15}, unit="ratio", source="Botes and Siepman (2010)")
def vortex(x: Segment) -> list[Floats]:
    """Movement from the last low to the high, and from the last high to the low, over true range; 1 if flat."""
    true = w.total(inputs.true_range(x), 14)
    up, down = np.abs(x.high - w.lag(x.low, 1)), np.abs(x.low - w.lag(x.high, 1))
    return [w.ratio(w.total(move, 14), true, 1.0) for move in (up, down)]


@feature({"choppiness_14": 15}, unit="0 to 100", source="Dreiss (1993)")
def choppiness(x: Segment) -> Floats:
    """Path length over range of 14 bars, on a log scale: 100 is a price that goes nowhere; 100 if flat."""
    path = w.total(inputs.true_range(x), 14)
    high, low = inputs.extremes(x, 14)
    reach = high - low
    out: Floats = 100 * np.log(w.ratio(path, reach, 14.0).clip(1.0, None)) / np.log(14.0)
    return out


@feature({"linreg_slope_20": 20, "linreg_slope_60": 60}, unit="log price per bar")
def regression_slope(x: Segment) -> list[Floats]:
    """Slope of the regression line through the log closes."""
    return _regression(x).slope


@feature({"linreg_r2_20": 20, "linreg_r2_60": 60}, unit="share, 0 to 1")
def regression_fit(x: Segment) -> list[Floats]:
    """Share of the variance of the log closes that the line explains; 0 if flat."""
    return _regression(x).fit


@feature({"linreg_gap_20": 20, "linreg_gap_60": 60}, unit="log price")
def regression_gap(x: Segment) -> list[Floats]:
    """Log close minus the end of its regression line."""
    found = _regression(x)
    ends = [
        mean + slope * half for mean, slope, half in zip(found.mean, found.slope, (9.5, 29.5), strict=True)
    ]
    return [inputs.log_close(x) - end for end in ends]


@shared
def _regression(x: Segment) -> w.Trend:
    return w.trend(inputs.log_close(x), 20, 60)


@feature(
    {"donchian_upper_20": 20, "donchian_lower_20": 20}, unit="price", source="Donchian (1960s)", level=True
)
def donchian_channel(x: Segment) -> list[Floats]:
    """Highest high and lowest low of 20 bars."""
    return list(inputs.extremes(x, 20))


@feature(
    {"donchian_position_20": 20, "donchian_position_120": 120},
    unit="share, 0 to 1",
    source="Donchian (1960s)",
)
def donchian_position(x: Segment) -> list[Floats]:
    """Place of the close in the channel."""
    return [inputs.position(x.close, low, high) for high, low in (inputs.extremes(x, k) for k in (20, 120))]


@feature({"donchian_width_20": 20, "donchian_width_60": 60}, unit="ratio", source="Donchian (1960s)")
def donchian_width(x: Segment) -> list[Floats]:
    """Width of the channel over the close."""
    return [(high - low) / x.close for high, low in (inputs.extremes(x, k) for k in (20, 60))]


@feature({"breakout_20": 21, "breakout_60": 61}, unit="-1, 0, 1", source="Donchian (1960s)")
def breakout(x: Segment) -> list[Floats]:
    """1 when the close exceeds every high of the k bars before, -1 when it undercuts every low."""
    out = []
    for k in (20, 60):
        high, low = inputs.extremes(x, k)
        out.append((x.close > w.lag(high, 1)).astype(float) - (x.close < w.lag(low, 1)))
    return out


@feature({"tenkan_gap": 9, "kijun_gap": 26, "cloud_gap": 78}, unit="ratio", source="Hosoda (1969)")
def ichimoku(x: Segment) -> list[Floats]:
    """Close against the midpoints of 9 and 26 bars and against the middle of the cloud drawn 26 bars ago."""
    fast, medium, slow = (
        low + (high - low) / 2 for high, low in (inputs.extremes(x, k) for k in (9, 26, 52))
    )
    cloud = w.lag((fast + medium) / 4 + slow / 2, 26)
    return [(x.close - fast) / x.close, (x.close - medium) / x.close, (x.close - cloud) / x.close]


@feature({"mass_25": w.ema_memory(9) * 2 + 23}, unit="sum of ratios", source="Dorsey (1992)")
def mass(x: Segment) -> Floats:
    """Mass index: sum over 25 bars of the average range over its own average; 25 if flat."""
    single = w.decayed_mean(inputs.span(x), 2 / 10)
    return w.total(w.ratio(single, w.decayed_mean(single, 2 / 10), 1.0), 25)


@feature({"streak_20": 21}, unit="bars, -20 to 20")
def streak(x: Segment) -> Floats:
    """Signed number of successive rises or falls, at most 20; 0 where the price stood still."""
    return kernels.run_length(inputs.direction(x), 20)


@shared
def _sar(x: Segment) -> tuple[Floats, Floats]:
    found: tuple[Floats, Floats] = kernels.parabolic_sar(x.high, x.low, inputs.session_start(x), 0.02, 0.2)
    return found


@shared
def _supertrend(x: Segment) -> tuple[Floats, Floats]:
    reach = 3 * w.mean(inputs.true_range(x), ATR)
    found: tuple[Floats, Floats] = kernels.supertrend(x.high, x.low, x.close, reach, inputs.session_start(x))
    return found


def _stops(setting: Setting) -> dict[str, int]:
    return {"sar": setting.session_bars, "supertrend": setting.session_bars + ATR}


def _sar_columns(setting: Setting) -> dict[str, int]:
    return {"sar_gap": setting.session_bars, "sar_side": setting.session_bars}


def _supertrend_columns(setting: Setting) -> dict[str, int]:
    return dict.fromkeys(("supertrend_gap", "supertrend_side"), setting.session_bars + ATR)


@feature(_stops, unit="price", level=True)
def stops(x: Segment) -> list[Floats]:
    """Levels of the parabolic stop and of the Supertrend band."""
    return [_sar(x)[0], _supertrend(x)[0]]


@feature(_sar_columns, unit="ratio; -1, 1", source="Wilder (1978)")
def sar(x: Segment) -> list[Floats]:
    """Distance of the close from the parabolic stop over the close, and side of the position."""
    level, side = _sar(x)
    return [(x.close - level) / x.close, side]


@feature(_supertrend_columns, unit="ratio; -1, 1", source="Seban (2009)")
def supertrend(x: Segment) -> list[Floats]:
    """Distance of the close from a band of 3 mean true ranges of 10 bars, over the close, and its side."""
    level, side = _supertrend(x)
    return [(x.close - level) / x.close, side]
