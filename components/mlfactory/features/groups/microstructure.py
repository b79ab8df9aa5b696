"""Liquidity, spreads and order flow estimated from bars. A window without volume or movement reads as 0."""

import numpy as np

from mlfactory.features import inputs, kernels
from mlfactory.features import windows as w
from mlfactory.features.registry import feature
from mlfactory.features.segment import Floats, Segment, shared

EFFICIENCY = (10, 20, 60)
SQRT2 = float(np.sqrt(2.0))
CORWIN = 3 - 2 * SQRT2


@shared
def _illiquidity(x: Segment) -> Floats:
    return w.ratio(1e6 * np.abs(inputs.log_return(x)), x.close * x.volume)


@feature(
    {f"amihud_{k}": k + 1 for k in (10, 20, 60)},
    unit="log price per million of money",
    source="Amihud (2002)",
    needs_volume=True,
)
def amihud(x: Segment) -> list[Floats]:
    """Mean of absolute return over money traded; bars without volume count 0."""
    return w.means(_illiquidity(x), 10, 20, 60)


@feature({"amihud_ratio_10_60": 61}, unit="ratio", source="Amihud (2002)", needs_volume=True)
def amihud_ratio(x: Segment) -> Floats:
    """Illiquidity of 10 bars over that of 60; 1 if both are zero."""
    short, long = w.means(_illiquidity(x), 10, 60)
    return w.ratio(short, long, 1.0)


@feature({"roll_spread_20": 22, "roll_spread_60": 62}, unit="ratio", source="Roll (1984)")
def roll(x: Segment) -> list[Floats]:
    """Effective spread from the bounce between bid and ask: twice the root of minus the autocovariance, else 0."""
    return [_roll(x, k) for k in (20, 60)]


@shared
def _roll(x: Segment, window: int) -> Floats:
    bounced = inputs.return_products(x, window, 1) / (1 - window)
    return 2 * np.sqrt(np.maximum(bounced, 0.0))


@feature({"corwin_schultz_20": 21, "corwin_schultz_60": 61}, unit="ratio", source="Corwin and Schultz (2012)")
def corwin_schultz(x: Segment) -> list[Floats]:
    """Spread from the ranges of one and of two bars, negative estimates set to 0, mean of k bars."""
    square = inputs.log_range(x) ** 2
    beta = square + w.lag(square, 1)
    reach = w.highest(inputs.log_high(x), 2) - w.lowest(inputs.log_low(x), 2)
    alpha = (SQRT2 - 1) / CORWIN * np.sqrt(beta) - reach / np.sqrt(CORWIN)
    spread = 2 * np.tanh(np.maximum(alpha, 0.0) / 2)
    return w.means(spread, 20, 60)


@feature({"abdi_ranaldo_20": 21}, unit="ratio", source="Abdi and Ranaldo (2017)")
def abdi_ranaldo(x: Segment) -> Floats:
    """Spread from closes and the midpoints before and after them, mean of 20 bars."""
    middle = inputs.log_midpoint(x)
    price, before = w.lag(inputs.log_close(x), 1), w.lag(middle, 1)
    return 2 * np.sqrt(np.maximum(w.mean((price - before) * (price - middle), 20), 0.0))


@shared
def _flow(x: Segment) -> w.Spread:
    return w.spread(inputs.signed_volume(x), 20, 60)


@shared
def _impact(x: Segment, window: int) -> tuple[Floats, Floats]:
    """Sum of products of returns and signed volume about their means, and the deviation of the latter."""
    mean, std = (part[window > 20] for part in _flow(x))
    move = inputs.log_return(x)
    co = w.products(move, inputs.signed_volume(x), inputs.return_mean(x, window), mean, window)
    return co, std


@shared
def _slope(x: Segment, window: int) -> Floats:
    co, std = _impact(x, window)
    return w.ratio(co, (window - 1) * std**2)


@feature(
    {"kyle_lambda_20": 21, "kyle_lambda_60": 61},
    unit="log price per thousand contracts",
    source="Kyle (1985)",
    needs_volume=True,
)
def kyle(x: Segment) -> list[Floats]:
    """Slope of log returns on signed volume."""
    return [1e3 * _slope(x, k) for k in (20, 60)]


@feature({"flow_return_corr_60": 61}, unit="correlation", source="Kyle (1985)", needs_volume=True)
def flow_correlation(x: Segment) -> Floats:
    """Correlation of log returns and signed volume, 60 bars."""
    co, std = _impact(x, 60)
    return w.scaled_products(co, inputs.return_std(x, 60), std, 60)


@feature({"impact_20": 21}, unit="log price per usual bar", source="Kyle (1985)", needs_volume=True)
def impact(x: Segment) -> Floats:
    """Slope of log returns on signed volume times the mean volume of 20 bars."""
    return _slope(x, 20) * inputs.volume_spread(x).mean[1]


@feature({"imbalance": 1}, unit="share, -1 to 1")
def imbalance(x: Segment) -> Floats:
    """Body over range, signed; 0 for a flat bar."""
    return w.ratio(x.close - x.open, inputs.span(x))


@feature({"body_imbalance_20": 20}, unit="share, -1 to 1")
def body_imbalance(x: Segment) -> Floats:
    """Sum of bodies over sum of ranges, 20 bars."""
    return w.ratio(w.total(x.close - x.open, 20), w.total(inputs.span(x), 20))


@feature({"cum_imbalance_20": 20}, unit="share, -1 to 1", needs_volume=True)
def flow_imbalance(x: Segment) -> Floats:
    """Signed body over range, weighted by volume, 20 bars."""
    side = w.ratio(x.close - x.open, inputs.span(x))
    return w.ratio(w.total(side * x.volume, 20), w.total(x.volume, 20))


@feature({f"efficiency_{k}": k + 1 for k in EFFICIENCY}, unit="share, 0 to 1", source="Kaufman (1995)")
def efficiency(x: Segment) -> list[Floats]:
    """Net change over the length of the path."""
    path = w.sums(inputs.path(x), *EFFICIENCY)
    return [
        np.minimum(w.ratio(np.abs(x.close - w.lag(x.close, k)), total), 1.0)
        for k, total in zip(EFFICIENCY, path, strict=True)
    ]


@feature({"vol_ratio_5_20": 21}, unit="ratio")
def volatility_ratio(x: Segment) -> Floats:
    """Close volatility of 5 bars over that of 20; 1 if flat."""
    return w.ratio(inputs.return_std(x, 5), inputs.return_std(x, 20), 1.0)


@shared
def _bought(x: Segment) -> Floats:
    """Bought minus sold volume by bulk classification with the 60-bar deviation."""
    scaled = w.ratio(inputs.log_return(x), inputs.return_std(x, 60))
    out: Floats = x.volume * (2 * kernels.normal_share(scaled) - 1)
    return out


@feature(
    {"vpin_50": 110},
    unit="share, 0 to 1",
    source="Easley, Lopez de Prado and O'Hara (2012)",
    needs_volume=True,
)
def vpin(x: Segment) -> Floats:
    """Volume-synchronised probability of informed trading on bar volume: |bought - sold| over volume, 50 bars."""
    return w.ratio(w.total(np.abs(_bought(x)), 50), w.total(x.volume, 50))


@feature(
    {"bulk_flow_20": 80},
    unit="share, -1 to 1",
    source="Easley, Lopez de Prado and O'Hara (2012)",
    needs_volume=True,
)
def bulk_flow(x: Segment) -> Floats:
    """Bought minus sold volume over volume, bulk classification, 20 bars."""
    return w.ratio(w.total(_bought(x), 20), w.total(x.volume, 20))


@feature({"still_share_20": 21}, unit="share, 0 to 1", source="Lesmond, Ogden and Trzcinka (1999)")
def still_share(x: Segment) -> Floats:
    """Share of 20 bars whose close did not move."""
    return w.total((inputs.change(x) == 0).astype(float), 20) / 20


@feature({"reversal_20": 22}, unit="share, 0 to 1")
def reversals(x: Segment) -> Floats:
    """Share of 20 bars that moved against the bar before."""
    sign = inputs.direction(x)
    return w.total((sign * w.lag(sign, 1) < 0).astype(float), 20) / 20


@feature({"spread_to_range_20": 22}, unit="ratio", source="Roll (1984)")
def spread_to_range(x: Segment) -> Floats:
    """Roll's spread over the mean log range, 20 bars."""
    return w.ratio(_roll(x, 20), w.mean(inputs.log_range(x), 20))
