"""Oscillators. A price that stands still reads as the neutral value of each scale."""

import numpy as np

from mlfactory.features import inputs
from mlfactory.features import windows as w
from mlfactory.features.registry import feature
from mlfactory.features.segment import Floats, Segment, shared

RSI = (7, 14, 28)
MACD_ROWS = w.ema_memory(26) + 1
SIGNAL_ROWS = MACD_ROWS + w.ema_memory(9) - 1
TSI_ROWS = w.ema_memory(25) + w.ema_memory(13)
TRIX_ROWS = 3 * w.ema_memory(15) - 1


@shared
def _rise(x: Segment) -> Floats:
    out: Floats = np.maximum(inputs.change(x), 0.0)
    return out


@shared
def _rsi(x: Segment, period: int) -> Floats:
    rise, size = w.decayed_mean(_rise(x), 1 / period), w.decayed_mean(inputs.path(x), 1 / period)
    return w.ratio(100 * rise, size, 50.0)


@feature({f"rsi_{k}": w.wilder_memory(k) + 1 for k in RSI}, unit="0 to 100", source="Wilder (1978)")
def rsi(x: Segment) -> list[Floats]:
    """Relative strength index, Wilder's averages; 50 where the price stood still."""
    return [_rsi(x, k) for k in RSI]


@feature({"rsi_14_zone": w.wilder_memory(14) + 1}, unit="-1, 0, 1", source="Wilder (1978)")
def rsi_zone(x: Segment) -> Floats:
    """1 above 70, -1 below 30, else 0."""
    return (_rsi(x, 14) > 70).astype(float) - (_rsi(x, 14) < 30)


@feature({"stoch_rsi_14": w.wilder_memory(14) + 14}, unit="0 to 100", source="Chande and Kroll (1994)")
def stochastic_rsi(x: Segment) -> Floats:
    """Place of the 14-bar index inside its own range of 14 bars; 50 where the range is zero."""
    index = _rsi(x, 14)
    return 100 * inputs.position(index, w.lowest(index, 14), w.highest(index, 14))


@shared
def _macd(x: Segment) -> tuple[Floats, Floats]:
    line = inputs.ema_distance(x, 26) - inputs.ema_distance(x, 12)
    return line, w.decayed_mean(line, 2 / 10)


@feature(
    {"macd_pct": MACD_ROWS, "macd_signal_pct": SIGNAL_ROWS, "macd_hist_pct": SIGNAL_ROWS},
    unit="ratio",
    source="Appel (1979)",
)
def macd(x: Segment) -> list[Floats]:
    """Average of 12 minus average of 26, its 9-bar signal line and their difference, over the close."""
    line, signal = _macd(x)
    return [line / x.close, signal / x.close, (line - signal) / x.close]


@feature({"macd_cross": SIGNAL_ROWS + 1}, unit="-1, 0, 1", source="Appel (1979)")
def macd_cross(x: Segment) -> Floats:
    """1 at the bar where the line rises above its signal, -1 where it falls below, else 0."""
    line, signal = _macd(x)
    above = (line > signal).astype(float)
    return above - w.lag(above, 1)


@feature(
    {"stoch_k": 14, "stoch_d": 16, "stoch_zone": 14}, unit="0 to 100; zone -1, 0, 1", source="Lane (1957)"
)
def stochastic(x: Segment) -> list[Floats]:
    """Place of the close in the range of 14 bars (50 if flat), its mean of 3, and the zone above 80 or below 20."""
    high, low = inputs.extremes(x, 14)
    fast = 100 * inputs.position(x.close, low, high)
    return [fast, w.mean(fast, 3), (fast > 80).astype(float) - (fast < 20)]


@feature({"williams_r_60": 60}, unit="-100 to 0", source="Williams (1973)")
def williams_r(x: Segment) -> Floats:
    """Distance of the close from the high of 60 bars, over the range; -50 if flat."""
    high, low = inputs.extremes(x, 60)
    return 100 * w.ratio(x.close - high, high - low, -0.5)


@feature({"cci_20": 20, "cci_60": 60}, unit="index", source="Lambert (1980)")
def cci(x: Segment) -> list[Floats]:
    """Commodity channel index: typical price against its mean, over 0.015 mean deviations; 0 if flat."""
    price = inputs.typical(x)
    means = w.means(price, 20, 60)
    return [
        w.ratio(price - mean, 0.015 * w.deviation(price, mean, k))
        for k, mean in zip((20, 60), means, strict=True)
    ]


@feature({"mfi_14": 15}, unit="0 to 100", source="Quong and Soudack (1989)", needs_volume=True)
def mfi(x: Segment) -> Floats:
    """Money flow index: share of dollar volume in bars of rising typical price; 50 where there was none."""
    price = inputs.typical(x)
    moved = w.difference(price)
    still = 1e-12 * price  # the mean of three prices is rounded
    flow = price * x.volume
    rise, fall = (w.total(flow * (way > still), 14) for way in (moved, -moved))
    return w.ratio(100 * rise, rise + fall, 50.0)


@feature({"tsi_25_13": TSI_ROWS}, unit="-100 to 100", source="Blau (1991)")
def tsi(x: Segment) -> Floats:
    """True strength index: change smoothed twice over absolute change smoothed twice; 0 if flat."""
    move = inputs.change(x)
    signed = w.decayed_mean(w.decayed_mean(move, 2 / 26), 2 / 14)
    size = w.decayed_mean(w.decayed_mean(inputs.path(x), 2 / 26), 2 / 14)
    return w.ratio(100 * signed, size)


@feature({"ultosc_7_14_28": 29}, unit="0 to 100", source="Williams (1985)")
def ultimate_oscillator(x: Segment) -> Floats:
    """Buying pressure over true range at 7, 14 and 28 bars, weights 4, 2, 1; 50 where the range is zero."""
    pressure = x.close - np.minimum(x.low, w.lag(x.close, 1))
    bought, ranged = w.sums(pressure, 7, 14, 28), w.sums(inputs.true_range(x), 7, 14, 28)
    parts = [w.ratio(a, b, 0.5) for a, b in zip(bought, ranged, strict=True)]
    return (100 / 7) * (4 * parts[0] + 2 * parts[1] + parts[2])


@feature({"cmo_20": 21}, unit="-100 to 100", source="Chande and Kroll (1994)")
def chande_momentum(x: Segment) -> Floats:
    """Net change over the sum of absolute changes, 20 bars; 0 if flat."""
    move = inputs.change(x)
    return w.ratio(100 * w.total(move, 20), w.total(inputs.path(x), 20))


@feature({"trix_15": TRIX_ROWS}, unit="basis points per bar", source="Hutson (1983)")
def trix(x: Segment) -> Floats:
    """Change of the triple exponential average (15) of the log close."""
    smooth = inputs.log_return(x)
    for _ in range(3):
        smooth = w.decayed_mean(smooth, 2 / 16)
    return 1e4 * smooth


@feature({"awesome_5_34": 34}, unit="ratio", source="Williams (1998)")
def awesome(x: Segment) -> Floats:
    """Mean midpoint of 5 bars minus that of 34, over the close."""
    fast, slow = w.means(inputs.midpoint(x), 5, 34)
    return (fast - slow) / x.close


@feature({"close_rank_60": 60}, unit="share, 0 to 1")
def close_rank(x: Segment) -> Floats:
    """Share of the 59 closes before that lie below the close; ties count half."""
    return w.rank(x.close, 60)


@feature({f"acceleration_{k}": 2 * k + 1 for k in (5, 20)}, unit="log price")
def acceleration(x: Segment) -> list[Floats]:
    """Log return of the last k bars minus that of the k bars before."""
    price = inputs.log_close(x)
    return [w.difference(w.difference(price, k), k) for k in (5, 20)]
