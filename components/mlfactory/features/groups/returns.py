"""Returns over several horizons, as they are and against their own dispersion."""

import numpy as np

from mlfactory.features import inputs
from mlfactory.features import windows as w
from mlfactory.features.registry import feature
from mlfactory.features.segment import Floats, Segment, Setting

HORIZONS = (1, 2, 3, 5, 10, 15, 20, 30, 60, 120)
DRIFTS = (10, 20, 60, 120)
SIGNS = (10, 20, 60)


@feature({f"log_return_{k}": k + 1 for k in HORIZONS}, unit="log price")
def log_returns(x: Segment) -> list[Floats]:
    """Log return over k bars."""
    price = inputs.log_close(x)
    return [w.difference(price, k) for k in HORIZONS]


@feature({f"return_t_{k}": k + 1 for k in DRIFTS}, unit="t statistic")
def drift(x: Segment) -> list[Floats]:
    """Mean log return over its standard error; zero where the price stood still."""
    found = inputs.return_moments(x)
    rows = [inputs.RETURN_WINDOWS.index(k) for k in DRIFTS]
    return [w.ratio(found.mean[i], found.std[i]) * np.sqrt(k) for i, k in zip(rows, DRIFTS, strict=True)]


@feature({f"return_z_{k}": k + 1 for k in (20, 60)}, unit="standard deviations")
def surprise(x: Segment) -> list[Floats]:
    """Last log return against the mean and standard deviation of the window; zero without variance."""
    found = inputs.return_moments(x)
    rows = [inputs.RETURN_WINDOWS.index(k) for k in (20, 60)]
    return [w.ratio(inputs.log_return(x) - found.mean[i], found.std[i]) for i in rows]


@feature({f"up_share_{k}": k + 1 for k in SIGNS}, unit="share, -1 to 1")
def up_share(x: Segment) -> list[Floats]:
    """Share of rising bars minus share of falling bars."""
    return [rise / k for rise, k in zip(w.sums(inputs.direction(x), *SIGNS), SIGNS, strict=True)]


@feature({"max_return_60": 61, "min_return_60": 61}, unit="log price")
def largest_returns(x: Segment) -> list[Floats]:
    """Largest and smallest one-bar return of the last 60 bars."""
    move = inputs.log_return(x)
    return [w.highest(move, 60), w.lowest(move, 60)]


@feature({"open_gap": 2}, unit="log price")
def open_gap(x: Segment) -> Floats:
    """Open against the close before."""
    return inputs.log_gap(x)


def _session(setting: Setting) -> dict[str, int]:
    return {"session_return": setting.session_bars}


def _gap(setting: Setting) -> dict[str, int]:
    return {"session_gap": setting.session_bars + 1}


@feature(_session, unit="log price")
def session_return(x: Segment) -> Floats:
    """Close against the first open of the session."""
    out: Floats = inputs.log_close(x) - inputs.log_open(x)[inputs.session_start(x)]
    return out


@feature(_gap, unit="log price")
def session_gap(x: Segment) -> Floats:
    """First open of the session against the last close of the session before."""
    start = inputs.session_start(x)
    out: Floats = inputs.log_open(x)[start] - inputs.log_close(x)[np.maximum(start - 1, 0)]
    return out
