"""Where the price stands inside its bar, its session and its recent range."""

from mlfactory.features import inputs, kernels
from mlfactory.features import windows as w
from mlfactory.features.registry import feature
from mlfactory.features.segment import Floats, Segment, Setting

RANGES = (20, 60, 120)
SPANS = (5, 20, 60)


@feature({"hl_ratio": 1, "co_ratio": 1}, unit="ratio minus 1")
def bar_ratios(x: Segment) -> list[Floats]:
    """High over low, and close over open, minus 1."""
    return [(x.high - x.low) / x.low, (x.close - x.open) / x.open]


@feature({"clv": 1}, unit="share, -1 to 1")
def clv(x: Segment) -> Floats:
    """Close location value: 1 at the high, -1 at the low, 0 for a flat bar."""
    return w.ratio((x.close - x.low) - (x.high - x.close), inputs.span(x))


@feature({"open_location": 1}, unit="share, -1 to 1")
def open_location(x: Segment) -> Floats:
    """Place of the open: 1 at the high, -1 at the low, 0 for a flat bar."""
    return w.ratio((x.open - x.low) - (x.high - x.open), inputs.span(x))


@feature({"close_to_typical": 1}, unit="ratio minus 1")
def close_to_typical(x: Segment) -> Floats:
    """Close over the mean of high, low and close, minus 1."""
    out: Floats = (x.close - inputs.typical(x)) / inputs.typical(x)
    return out


@feature({"midpoint_return": 2}, unit="log price")
def midpoint_return(x: Segment) -> Floats:
    """Log return of the bar's midpoint: the bounce between bid and ask largely cancels."""
    return w.difference(inputs.log_midpoint(x))


@feature({f"drawdown_{k}": k for k in RANGES}, unit="log price")
def drawdown(x: Segment) -> list[Floats]:
    """Close against the highest close of the window; at most 0."""
    return [inputs.log_close(x) - top for top in w.maxima(inputs.log_close(x), *RANGES)]


@feature({f"runup_{k}": k for k in RANGES}, unit="log price")
def runup(x: Segment) -> list[Floats]:
    """Close against the lowest close of the window; at least 0."""
    return [inputs.log_close(x) - bottom for bottom in w.minima(inputs.log_close(x), *RANGES)]


@feature({f"range_ratio_{k}": k for k in SPANS}, unit="ratio")
def range_ratio(x: Segment) -> list[Floats]:
    """Bar range over its mean in the window; 1 where every range is zero."""
    usual = w.means(inputs.span(x), *SPANS)
    return [w.ratio(inputs.span(x), mean, 1.0) for mean in usual]


@feature({"true_range_pct": 2}, unit="ratio")
def true_range_pct(x: Segment) -> Floats:
    """True range over the close."""
    return inputs.true_range(x) / x.close


def _session(setting: Setting) -> dict[str, int]:
    names = ("session_position", "session_range_pct", "session_drawdown")
    return dict.fromkeys(names, setting.session_bars)


@feature(_session, unit="ratio")
def session_range(x: Segment) -> list[Floats]:
    """Place in the session's range so far (0.5 if flat), that range over the close, and close over its high minus 1."""
    high, low = kernels.session_extremes(x.high, x.low, inputs.session_start(x))
    return [inputs.position(x.close, low, high), (high - low) / x.close, (x.close - high) / high]
