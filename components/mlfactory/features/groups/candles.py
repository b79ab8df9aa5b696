"""Candlestick shapes and patterns: 1 bullish, -1 bearish, 0 absent. A flat bar forms no pattern.

"Long" and "small" bodies compare with the mean body of the ten bars before. Definitions follow Nison (1991).
"""

import numpy as np
from numpy.typing import NDArray

from mlfactory.features import inputs
from mlfactory.features import windows as w
from mlfactory.features.registry import feature
from mlfactory.features.segment import Floats, Segment, shared

NISON = "Nison (1991)"
Mask = NDArray[np.bool_]


@shared
def _body(x: Segment) -> Floats:
    return np.abs(x.close - x.open)


@shared
def _usual_body(x: Segment) -> Floats:
    return w.lag(w.mean(_body(x), 10), 1)


@shared
def _side(x: Segment) -> Floats:
    return np.sign(x.close - x.open)


@shared
def _long(x: Segment) -> Mask:
    return _body(x) > _usual_body(x)


@shared
def _shadows(x: Segment) -> tuple[Floats, Floats]:
    return x.high - np.maximum(x.open, x.close), np.minimum(x.open, x.close) - x.low


def _before(mask: Mask, rows: int = 1) -> Mask:
    return w.lag(mask.astype(float), rows) > 0


def _signed(bullish: Mask, bearish: Mask) -> Floats:
    return bullish.astype(float) - bearish


@feature({"body_ratio": 1, "upper_shadow": 1, "lower_shadow": 1}, unit="share, 0 to 1")
def shape(x: Segment) -> list[Floats]:
    """Body, upper and lower shadow over the bar's range; 0 for a flat bar."""
    upper, lower = _shadows(x)
    return [w.ratio(part, inputs.span(x)) for part in (_body(x), upper, lower)]


@feature({"body_size_10": 11}, unit="ratio")
def body_size(x: Segment) -> Floats:
    """Body over the mean body of the ten bars before; 1 if those are flat."""
    return w.ratio(_body(x), _usual_body(x), 1.0)


@feature({"doji": 1}, unit="0, 1", source=NISON)
def doji(x: Segment) -> Floats:
    """Body at most a tenth of the range."""
    return ((_body(x) <= 0.1 * inputs.span(x)) & (inputs.span(x) > 0)).astype(float)


@feature({"marubozu": 11}, unit="-1, 0, 1", source=NISON)
def marubozu(x: Segment) -> Floats:
    """Long body that fills at least nine tenths of the range."""
    return _side(x) * (_long(x) & (_body(x) >= 0.9 * inputs.span(x)))


@feature({"hammer": 6, "shooting_star": 6}, unit="0, 1", source=NISON)
def pins(x: Segment) -> list[Floats]:
    """Long shadow below after a fall of five bars, long shadow above after a rise.

    Long is two bodies; the other shadow is below a fifth of the range.
    """
    upper, lower = _shadows(x)
    moved = x.close - w.lag(x.close, 5)
    fifth, body = 0.2 * inputs.span(x), _body(x)
    hammer = (lower >= 2 * body) & (upper < fifth) & (moved < 0)
    star = (upper >= 2 * body) & (lower < fifth) & (moved > 0)
    return [hammer.astype(float), star.astype(float)]


@feature({"engulfing": 2}, unit="-1, 0, 1", source=NISON)
def engulfing(x: Segment) -> Floats:
    """Body that covers the opposite body before it and is larger."""
    turned = _side(x) * w.lag(_side(x), 1) < 0
    top, bottom = np.maximum(x.open, x.close), np.minimum(x.open, x.close)
    covers = (top >= w.lag(top, 1)) & (bottom <= w.lag(bottom, 1)) & (_body(x) > w.lag(_body(x), 1))
    return _side(x) * (turned & covers)


@feature({"harami": 12}, unit="-1, 0, 1", source=NISON)
def harami(x: Segment) -> Floats:
    """Small opposite body inside the long body before it."""
    top, bottom = np.maximum(x.open, x.close), np.minimum(x.open, x.close)
    inside = (top <= w.lag(top, 1)) & (bottom >= w.lag(bottom, 1)) & (_body(x) < w.lag(_body(x), 1))
    turned = _side(x) * w.lag(_side(x), 1) < 0
    return _side(x) * (inside & turned & _before(_long(x)))


@feature({"piercing": 12}, unit="-1, 0, 1", source=NISON)
def piercing(x: Segment) -> Floats:
    """After a long body, an opposite one that closes beyond its middle but not beyond its open (dark cloud: -1)."""
    opened, closed = w.lag(x.open, 1), w.lag(x.close, 1)
    middle = opened + (closed - opened) / 2
    long = _before(_long(x))
    up = (closed < opened) & (x.close > x.open) & (x.close > middle) & (x.close < opened) & long
    down = (closed > opened) & (x.close < x.open) & (x.close < middle) & (x.close > opened) & long
    return _signed(up, down)


@feature({"star": 13}, unit="-1, 0, 1", source=NISON)
def star(x: Segment) -> Floats:
    """Morning (1) or evening star (-1): a long body, a small one, and one back beyond the first one's middle."""
    opened, closed = w.lag(x.open, 2), w.lag(x.close, 2)
    middle = opened + (closed - opened) / 2
    small = _before(_body(x) < 0.5 * _usual_body(x))
    long = _before(_long(x), 2)
    up = long & small & (closed < opened) & (x.close > x.open) & (x.close > middle)
    down = long & small & (closed > opened) & (x.close < x.open) & (x.close < middle)
    return _signed(up, down)


@feature({"three_soldiers": 4}, unit="-1, 0, 1", source=NISON)
def soldiers(x: Segment) -> Floats:
    """Three rising bodies with rising closes (1), or three falling ones (-1)."""
    side = _side(x)
    same = (side == w.lag(side, 1)) & (side == w.lag(side, 2))
    moved = inputs.direction(x)
    onward = (moved == side) & (w.lag(moved, 1) == side) & (w.lag(moved, 2) == side)
    out: Floats = side * (same & onward)
    return out


@feature({"inside_bar": 2, "outside_bar": 2}, unit="0, 1; -1, 0, 1")
def nested_bars(x: Segment) -> list[Floats]:
    """Range within the one before; and range beyond it on both ends, with the sign of the body."""
    high, low = w.lag(x.high, 1), w.lag(x.low, 1)
    inside = (x.high <= high) & (x.low >= low) & (inputs.span(x) < w.lag(inputs.span(x), 1))
    outside = (x.high > high) & (x.low < low)
    return [inside.astype(float), _side(x) * outside]


@feature({"tweezer": 2}, unit="-1, 0, 1", source=NISON)
def tweezer(x: Segment) -> Floats:
    """Equal lows after a falling and a rising body (1), equal highs after a rising and a falling body (-1)."""
    before = w.lag(_side(x), 1)
    bottom = (x.low == w.lag(x.low, 1)) & (before < 0) & (_side(x) > 0)
    top = (x.high == w.lag(x.high, 1)) & (before > 0) & (_side(x) < 0)
    return _signed(bottom, top)


@feature({"pressure_10": 10}, unit="share, -1 to 1")
def shadow_pressure(x: Segment) -> Floats:
    """Lower minus upper shadows of ten bars over their ranges; 0 if flat."""
    upper, lower = _shadows(x)
    return w.ratio(w.total(lower - upper, 10), w.total(inputs.span(x), 10))
