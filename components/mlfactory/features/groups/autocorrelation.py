"""Memory of returns and of their size. A window without variance counts as uncorrelated."""

import numpy as np

from mlfactory.features import inputs
from mlfactory.features import windows as w
from mlfactory.features.registry import feature
from mlfactory.features.segment import Floats, Segment

LAGS = (1, 2, 5, 10)
RATIOS = (2, 5, 10)
HURST_LAGS = (1, 2, 8, 16)
"""Lags of the regression that the slope depends on; the one between them, 4, has no weight."""


@feature({f"return_autocorr_lag{k}": 20 + k + 1 for k in LAGS}, unit="correlation")
def autocorrelation(x: Segment) -> list[Floats]:
    """Correlation of 20 log returns with those k bars earlier."""
    return [_autocorrelation(x, 20, k) for k in LAGS]


@feature({f"return_autocorr_60_lag{k}": 60 + k + 1 for k in (1, 5)}, unit="correlation")
def slow_autocorrelation(x: Segment) -> list[Floats]:
    """Correlation of 60 log returns with those k bars earlier."""
    return [_autocorrelation(x, 60, k) for k in (1, 5)]


def _autocorrelation(x: Segment, window: int, rows: int) -> Floats:
    std = inputs.return_std(x, window)
    return w.scaled_products(inputs.return_products(x, window, rows), std, std, window, rows)


@feature({f"abs_return_autocorr_lag{k}": 60 + k + 1 for k in (1, 5)}, unit="correlation")
def clustering(x: Segment) -> list[Floats]:
    """Correlation of 60 absolute log returns with those k bars earlier."""
    size, (mean, std) = inputs.return_size(x), (part[0] for part in inputs.size_spread(x))
    products = [w.products(size, size, mean, mean, 60, k) for k in (1, 5)]
    return [w.scaled_products(co, std, std, 60, k) for co, k in zip(products, (1, 5), strict=True)]


@feature({f"variance_ratio_{k}": 120 + k for k in RATIOS}, unit="ratio", source="Lo and MacKinlay (1988)")
def variance_ratio(x: Segment) -> list[Floats]:
    """Variance of k-bar returns over k times that of one-bar returns, 120 bars; 1 if flat."""
    price, single = inputs.log_close(x), inputs.return_std(x, 120) ** 2
    several = [w.spread(w.difference(price, k), 120).std[0] ** 2 / k for k in RATIOS]
    return [w.ratio(variance, single, 1.0) for variance in several]


@feature({"hurst_120": 120 + max(HURST_LAGS)}, unit="exponent", source="Mandelbrot and Van Ness (1968)")
def hurst(x: Segment) -> Floats:
    """Growth exponent of the mean absolute price change over 1, 2, 4, 8 and 16 bars, 120 bars; 0.5 if flat."""
    price = inputs.log_close(x)
    one, two, eight, sixteen = (w.total(w.moved(price, k), 120) for k in HURST_LAGS)
    # least squares over five lags weigh their logarithms -2, -1, 0, 1 and 2 tenths: one logarithm of a product
    growth = w.ratio(eight * sixteen**2, two * one**2)
    return 0.1 * np.log2(np.where(growth > 0, growth, 32.0))


@feature({"sign_persistence_60": 62}, unit="share, -1 to 1")
def sign_persistence(x: Segment) -> Floats:
    """Mean product of the signs of successive changes, 60 bars."""
    sign = inputs.direction(x)
    return w.total(sign * w.lag(sign, 1), 60) / 60


@feature({"leverage_60": 62}, unit="correlation", source="Black (1976)")
def leverage(x: Segment) -> Floats:
    """Correlation of absolute returns with the signed return one bar earlier, 60 bars."""
    size, mean, std = inputs.size_spread(x), inputs.return_mean(x, 60), inputs.return_std(x, 60)
    co = w.products(inputs.return_size(x), inputs.log_return(x), size.mean[0], mean, 60, 1)
    return w.scaled_products(co, size.std[0], std, 60, 1)
