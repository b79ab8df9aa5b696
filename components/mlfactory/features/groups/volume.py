"""Traded volume: how much, on which side, and where. Left out by name for a series without volume.

A window without volume has ratio 1, imbalance 0 and z-score 0.
"""

import numpy as np

from mlfactory.features import inputs, kernels
from mlfactory.features import windows as w
from mlfactory.features.registry import feature
from mlfactory.features.segment import Floats, Segment, Setting, shared

USUAL = (5, 20, 60)


@feature({f"volume_ratio_{k}": k for k in USUAL}, unit="ratio", needs_volume=True)
def volume_ratio(x: Segment) -> list[Floats]:
    """Volume over its mean of k bars."""
    return [w.ratio(x.volume, mean, 1.0) for mean in inputs.volume_spread(x).mean]


@feature({f"volume_zscore_{k}": k for k in (20, 60)}, unit="standard deviations", needs_volume=True)
def volume_zscore(x: Segment) -> list[Floats]:
    """Volume against its mean and standard deviation."""
    mean, std = inputs.volume_spread(x)
    return [w.ratio(x.volume - mean[i], std[i]) for i in (1, 2)]


@feature({"log_volume": 1}, unit="log contracts", needs_volume=True)
def log_volume(x: Segment) -> Floats:
    """Logarithm of 1 plus volume."""
    return inputs.log_volume(x)


@feature({"volume_trend_5_60": 60, "volume_variation_60": 60}, unit="ratio", needs_volume=True)
def volume_course(x: Segment) -> list[Floats]:
    """Mean volume of 5 bars over that of 60, and standard deviation over mean of 60."""
    mean, std = inputs.volume_spread(x)
    return [w.ratio(mean[0], mean[2], 1.0), w.ratio(std[2], mean[2])]


@feature(
    {f"obv_{k}": k + 1 for k in (20, 60)}, unit="share, -1 to 1", source="Granville (1963)", needs_volume=True
)
def on_balance(x: Segment) -> list[Floats]:
    """On-balance volume of the window over its total volume."""
    signed, total = w.sums(inputs.signed_volume(x), 20, 60), w.sums(x.volume, 20, 60)
    return [w.ratio(a, b) for a, b in zip(signed, total, strict=True)]


@feature({"cmf_20": 20}, unit="share, -1 to 1", source="Chaikin (1980s)", needs_volume=True)
def money_flow(x: Segment) -> Floats:
    """Chaikin money flow: volume weighted by the close location value, over volume."""
    place = w.ratio((x.close - x.low) - (x.high - x.close), inputs.span(x))
    return w.ratio(w.total(place * x.volume, 20), w.total(x.volume, 20))


@feature({f"price_volume_corr_{k}": k + 1 for k in (20, 60)}, unit="correlation", needs_volume=True)
def price_volume_correlation(x: Segment) -> list[Floats]:
    """Correlation of log return and volume."""
    out = []
    for k in (20, 60):
        mean, std = (part[USUAL.index(k)] for part in inputs.volume_spread(x))
        co = w.products(inputs.log_return(x), x.volume, inputs.return_mean(x, k), mean, k)
        out.append(w.scaled_products(co, inputs.return_std(x, k), std, k))
    return out


@feature({"abs_return_volume_corr_60": 61}, unit="correlation", source="Karpoff (1987)", needs_volume=True)
def size_volume_correlation(x: Segment) -> Floats:
    """Correlation of absolute log return and volume, 60 bars."""
    size, volume = inputs.size_spread(x), inputs.volume_spread(x)
    co = w.products(inputs.return_size(x), x.volume, size.mean[0], volume.mean[2], 60)
    return w.scaled_products(co, size.std[0], volume.std[2], 60)


@feature({"volume_autocorr_lag1": 61}, unit="correlation", needs_volume=True)
def volume_autocorrelation(x: Segment) -> Floats:
    """Correlation of 60 volumes with those one bar earlier."""
    mean, std = (part[USUAL.index(60)] for part in inputs.volume_spread(x))
    return w.scaled_products(w.products(x.volume, x.volume, mean, mean, 60, 1), std, std, 60, 1)


@feature(
    {"force_13": w.ema_memory(13) + 1}, unit="log price per bar", source="Elder (1993)", needs_volume=True
)
def force(x: Segment) -> Floats:
    """Force index: exponential average of return times volume, over the average of volume."""
    top = w.decayed_mean(inputs.log_return(x) * x.volume, 2 / 14)
    return w.ratio(top, w.decayed_mean(x.volume, 2 / 14))


@feature({"ease_14": 28}, unit="ratio", source="Arms (1996)", needs_volume=True)
def ease_of_movement(x: Segment) -> Floats:
    """Mean over 14 bars of midpoint return times range ratio over volume ratio; a bar without volume counts 0."""
    mean = w.mean(x.volume, 14)
    relative = w.ratio(mean, x.volume)
    width = w.ratio(inputs.span(x), w.mean(inputs.span(x), 14))
    moved = w.difference(inputs.log_midpoint(x))
    return w.mean(1e4 * moved * width * np.minimum(relative, 100.0), 14)


@shared
def _vwap(x: Segment) -> Floats:
    # measured from the session's first open, so that a still price averages to itself
    start = inputs.session_start(x)
    anchor = x.open[start]
    money = kernels.session_total((inputs.typical(x) - anchor) * x.volume, start)
    out: Floats = anchor + w.ratio(money, inputs.session_volume(x))
    return out


def _level(setting: Setting) -> dict[str, int]:
    return {"vwap": setting.session_bars}


def _distance(setting: Setting) -> dict[str, int]:
    return {"price_to_vwap": setting.session_bars}


def _share(setting: Setting) -> dict[str, int]:
    return {"session_obv": setting.session_bars + 1}


@feature(_level, unit="price", level=True, needs_volume=True)
def vwap(x: Segment) -> Floats:
    """Volume-weighted typical price since the session open; the open before the first trade."""
    return _vwap(x)


@feature(_distance, unit="ratio minus 1", needs_volume=True)
def price_to_vwap(x: Segment) -> Floats:
    """Close over the session's volume-weighted price, minus 1."""
    out: Floats = (x.close - _vwap(x)) / _vwap(x)
    return out


@feature(_share, unit="share, -1 to 1", needs_volume=True)
def session_balance(x: Segment) -> Floats:
    """On-balance volume since the session open over the volume traded since."""
    signed = kernels.session_total(inputs.signed_volume(x), inputs.session_start(x))
    return w.ratio(signed, inputs.session_volume(x))


@feature({"price_to_vwma_20": 20}, unit="ratio minus 1", needs_volume=True)
def price_to_weighted(x: Segment) -> Floats:
    """Close over the volume-weighted mean of 20 closes, minus 1; 0 without volume."""
    co = w.pairs(x.close, x.volume, 20)
    # weighted mean = mean + covariance / mean volume
    mean = co.mean_x[0] + w.ratio(co.xy[0], 20 * co.mean_y[0])
    return (x.close - mean) / mean


@feature({"up_volume_share_20": 21}, unit="share, 0 to 1", needs_volume=True)
def up_volume(x: Segment) -> Floats:
    """Share of the volume of 20 bars traded in rising bars; 0.5 without volume."""
    rising = x.volume * (inputs.change(x) > 0)
    return w.ratio(w.total(rising, 20), w.total(x.volume, 20), 0.5)


@feature({"volume_rank_120": 120}, unit="share, 0 to 1", needs_volume=True)
def volume_rank(x: Segment) -> Floats:
    """Share of the 119 bars before with less volume; ties count half."""
    return w.rank(x.volume, 120)
