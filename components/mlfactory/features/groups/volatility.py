"""Dispersion of prices, in log-price units per bar unless said otherwise (never annualised).

A window without movement has zero volatility; ratios of two volatilities are then 1.
"""

import numpy as np

from mlfactory.features import inputs
from mlfactory.features import windows as w
from mlfactory.features.registry import feature
from mlfactory.features.segment import Floats, Segment, shared

ATR = (7, 14, 21)
CLOSE = (10, 20, 60, 120)
RANGE = (20, 60)
LOG4 = float(np.log(4.0))


@feature({f"atr_{k}": w.wilder_memory(k) + 1 for k in ATR}, unit="price", source="Wilder (1978)", level=True)
def atr(x: Segment) -> list[Floats]:
    """Average true range, Wilder's average."""
    return [inputs.wilder_range(x, k) for k in ATR]


@feature({f"atr_pct_{k}": w.wilder_memory(k) + 1 for k in ATR}, unit="ratio", source="Wilder (1978)")
def atr_pct(x: Segment) -> list[Floats]:
    """Average true range over the close."""
    return [inputs.wilder_range(x, k) / x.close for k in ATR]


@shared
def _bands(x: Segment) -> w.Spread:
    return w.spread(x.close, 20, 60)


@feature({"bb_upper": 20, "bb_lower": 20}, unit="price", source="Bollinger (2001)", level=True)
def bollinger_bands(x: Segment) -> list[Floats]:
    """Mean of 20 closes plus and minus two standard deviations."""
    mean, std = _bands(x).mean[0], _bands(x).std[0]
    return [mean + 2 * std, mean - 2 * std]


@feature({"bb_width": 20}, unit="ratio", source="Bollinger (2001)")
def bollinger_width(x: Segment) -> Floats:
    """Distance of the bands over their middle."""
    return 4 * _bands(x).std[0] / _bands(x).mean[0]


@feature(
    {"bb_position": 20, "close_zscore_60": 60},
    unit="band widths; standard deviations",
    source="Bollinger (2001)",
)
def bollinger_position(x: Segment) -> list[Floats]:
    """Close between the bands (0 lower, 1 upper, 0.5 if flat), and its distance from the mean of 60 in deviations."""
    mean, std = _bands(x)
    return [0.5 + w.ratio(x.close - mean[0], 4 * std[0]), w.ratio(x.close - mean[1], std[1])]


KELTNER = w.wilder_memory(10) + 1


@feature({"kc_upper": KELTNER, "kc_lower": KELTNER}, unit="price", source="Raschke (1990s)", level=True)
def keltner_channel(x: Segment) -> list[Floats]:
    """Exponential average of 20 closes plus and minus two average true ranges of 10."""
    middle, reach = x.close - inputs.ema_distance(x, 20), 2 * inputs.wilder_range(x, 10)
    return [middle + reach, middle - reach]


@feature({"kc_position": KELTNER}, unit="channel widths", source="Raschke (1990s)")
def keltner_position(x: Segment) -> Floats:
    """Close inside the Keltner channel: 0 lower edge, 1 upper edge, 0.5 if flat."""
    return 0.5 + w.ratio(inputs.ema_distance(x, 20), 4 * inputs.wilder_range(x, 10))


@feature({"squeeze": KELTNER}, unit="ratio", source="Carter (2005)")
def squeeze(x: Segment) -> Floats:
    """Width of the Bollinger bands over that of the Keltner channel; below 1 the bands lie inside. 1 if flat."""
    return w.ratio(_bands(x).std[0], inputs.wilder_range(x, 10), 1.0)


@feature({f"hvol_{k}": k + 1 for k in CLOSE}, unit="log price per bar")
def close_volatility(x: Segment) -> list[Floats]:
    """Standard deviation of log returns."""
    return [inputs.return_std(x, k) for k in CLOSE]


@shared
def _parkinson(x: Segment) -> list[Floats]:
    return [np.sqrt(square / (2 * LOG4)) for square in w.means(inputs.log_range(x) ** 2, *RANGE)]


@feature({f"parkinson_{k}": k for k in RANGE}, unit="log price per bar", source="Parkinson (1980)")
def parkinson(x: Segment) -> list[Floats]:
    """Range volatility."""
    return _parkinson(x)


@feature({f"garman_klass_{k}": k for k in RANGE}, unit="log price per bar", source="Garman and Klass (1980)")
def garman_klass(x: Segment) -> list[Floats]:
    """Range and open-to-close volatility."""
    variance = 0.5 * inputs.log_range(x) ** 2 - (LOG4 - 1) * inputs.log_body(x) ** 2
    return [np.sqrt(np.maximum(mean, 0.0)) for mean in w.means(variance, *RANGE)]


@shared
def _rogers_satchell(x: Segment) -> list[Floats]:
    high, low, opened, closed = (
        part(x) for part in (inputs.log_high, inputs.log_low, inputs.log_open, inputs.log_close)
    )
    # clipped: rounding makes a few terms smaller than zero by one unit in the last place
    means = w.means((high - opened) * (high - closed) + (low - opened) * (low - closed), *RANGE)
    return [np.maximum(mean, 0.0) for mean in means]


@feature(
    {f"rogers_satchell_{k}": k for k in RANGE}, unit="log price per bar", source="Rogers and Satchell (1991)"
)
def rogers_satchell(x: Segment) -> list[Floats]:
    """Range volatility that a drift does not bias."""
    return [np.sqrt(variance) for variance in _rogers_satchell(x)]


@feature({f"yang_zhang_{k}": k + 1 for k in RANGE}, unit="log price per bar", source="Yang and Zhang (2000)")
def yang_zhang(x: Segment) -> list[Floats]:
    """Volatility from gaps, bodies and ranges, with the weights of least variance."""
    gap = w.spread(inputs.log_gap(x), *RANGE).std
    body = w.spread(inputs.log_body(x), *RANGE).std
    share = [0.34 / (1.34 + (k + 1) / (k - 1)) for k in RANGE]
    within = _rogers_satchell(x)
    return [np.sqrt(gap[i] ** 2 + k * body[i] ** 2 + (1 - k) * within[i]) for i, k in enumerate(share)]


@feature({"hvol_ratio_10_60": 61, "hvol_ratio_20_120": 121}, unit="ratio")
def volatility_ratios(x: Segment) -> list[Floats]:
    """Short over long close volatility; 1 where the long one is zero."""
    pairs = ((10, 60), (20, 120))
    return [w.ratio(inputs.return_std(x, a), inputs.return_std(x, b), 1.0) for a, b in pairs]


@feature({"range_to_close_20": 21}, unit="ratio")
def range_to_close(x: Segment) -> Floats:
    """Parkinson over close volatility: above 1 the bars swing without getting anywhere. 1 if flat."""
    return w.ratio(_parkinson(x)[0], inputs.return_std(x, 20), 1.0)


@feature({"vol_of_vol_60": 80}, unit="ratio")
def volatility_of_volatility(x: Segment) -> Floats:
    """Standard deviation over mean of the 20-bar close volatility, 60 bars; 0 if flat."""
    mean, std = w.spread(inputs.return_std(x, 20), 60)
    return w.ratio(std[0], mean[0])


@feature({"hvol_rank_120": 140}, unit="share, 0 to 1")
def volatility_rank(x: Segment) -> Floats:
    """Share of the 119 bars before with a smaller 20-bar close volatility; ties count half."""
    return w.rank(inputs.return_std(x, 20), 120)


@feature(
    {"downside_share_60": 61},
    unit="share, 0 to 1",
    source="Barndorff-Nielsen, Kinnebrock and Shephard (2010)",
)
def downside_share(x: Segment) -> Floats:
    """Share of the squared returns of 60 bars that fell; 0.5 if flat."""
    squares = inputs.log_return(x) ** 2
    fallen = w.total(squares * (inputs.log_return(x) < 0), 60)
    return w.ratio(fallen, w.total(squares, 60), 0.5)


@feature({"jump_share_60": 62}, unit="share, 0 to 1", source="Barndorff-Nielsen and Shephard (2004)")
def jump_share(x: Segment) -> Floats:
    """Part of the realised variance of 60 bars that bipower variation does not explain; 0 if flat."""
    size = np.abs(inputs.log_return(x))
    bipower = (np.pi / 2) * w.total(size * w.lag(size, 1), 60)
    realised = w.total(size**2, 60)
    return np.maximum(w.ratio(realised - bipower, realised), 0.0)


@feature({"ewma_vol_94": w.memory(0.06) + 1}, unit="log price per bar", source="RiskMetrics (1996)")
def ewma_volatility(x: Segment) -> Floats:
    """Root of the exponential average of squared returns, decay 0.94."""
    return np.sqrt(w.decayed_mean(inputs.log_return(x) ** 2, 0.06))


@feature({"ulcer_60": 119}, unit="log price", source="Martin and McCann (1989)")
def ulcer(x: Segment) -> Floats:
    """Root mean square drawdown from the highest close of 60 bars."""
    fall = inputs.log_close(x) - w.highest(inputs.log_close(x), 60)
    return np.sqrt(w.mean(fall**2, 60))


@feature({"atr_ratio_7_21": w.wilder_memory(21) + 1}, unit="ratio")
def range_expansion(x: Segment) -> Floats:
    """Average true range of 7 over that of 21; 1 if flat."""
    return w.ratio(inputs.wilder_range(x, 7), inputs.wilder_range(x, 21), 1.0)
