"""The costly window statistics of the features against what a user would call for each bar, at the stated tolerance."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pywt
from tests.conftest import make_bars

from mlfactory.features import kernels
from mlfactory.features import windows as w
from mlfactory.features.compute import BLOCK
from mlfactory.features.groups import autocorrelation, moments, wavelets
from mlfactory.features.registry import Feature
from mlfactory.features.segment import Segment

pytestmark = pytest.mark.slow
ROWS = 1_000_000
SOME = 500
"""Bars that an anchor handles where it takes milliseconds for each."""
LAGS = autocorrelation.LAGS
SideBySide = Callable[..., tuple[Any, Any]]


@pytest.fixture(scope="module")
def segment() -> Segment:
    return Segment(make_bars(ROWS, hole=False), {}, {})


def column(segment: Segment, feature: Any, halo: int) -> np.ndarray:
    """Compute a column of a single result as the stage does: block by block, nothing shared with other columns."""
    declared: Feature = feature.__feature__
    out = np.empty(len(segment), np.float32)
    for start in range(0, len(segment), BLOCK):
        first = max(start - halo, 0)
        part = Segment(segment.bars[first : start + BLOCK], {}, {})
        out[start : start + BLOCK] = declared.compute(part)[start - first :]
    return out


def entropy_of(scaled: np.ndarray) -> float:
    counts, _ = np.histogram(scaled, [-np.inf, *moments.EDGES, np.inf])
    share = counts[counts > 0] / len(scaled)
    return float(-(share * np.log(share)).sum() / np.log(7))


def test_entropy_against_rolling_apply(side_by_side: SideBySide, segment: Segment) -> None:
    move = pd.Series(np.log(segment.close)).diff()
    scaled = (move / move.rolling(60).std()).fillna(0).to_numpy(copy=True)
    some = pd.Series(scaled[1000 - SOME - 59 : 1000])
    edges = np.array(moments.EDGES)
    ours, theirs = side_by_side(
        "entropy of 60 values in 7 bins against rolling.apply, 1e-12",
        lambda: kernels.code_entropy(kernels.histogram_codes(scaled, edges), 7, 60) / np.log(7),
        lambda: some.rolling(60).apply(entropy_of, raw=True),
        (ROWS, SOME),
    )
    np.testing.assert_allclose(ours[1000 - SOME : 1000], theirs[-SOME:], atol=1e-12)


def hurst_of(close: np.ndarray) -> float:
    price = np.log(close)
    sizes = [np.abs(price[k:] - price[:-k])[-120:].mean() for k in (1, 2, 4, 8, 16)]
    return float(np.polyfit(np.log((1, 2, 4, 8, 16)), np.log(sizes), 1)[0])


def test_hurst_against_rolling_apply(side_by_side: SideBySide, segment: Segment) -> None:
    some = pd.Series(segment.close[1000 - SOME - 135 : 1000])
    ours, theirs = side_by_side(
        "Hurst exponent of 120 bars against rolling.apply, 1e-6",
        lambda: column(segment, autocorrelation.hurst, 136),
        lambda: some.rolling(136).apply(hurst_of, raw=True),
        (ROWS, SOME),
    )
    np.testing.assert_allclose(ours[1000 - SOME : 1000], theirs[-SOME:], atol=1e-6)


def test_autocorrelation_against_rolling_corr(side_by_side: SideBySide, segment: Segment) -> None:
    move = np.diff(np.log(segment.close), prepend=np.log(segment.close[0]))
    series = pd.Series(move)

    def ours() -> np.ndarray:
        out = np.empty((len(LAGS), ROWS), np.float32)
        for start in range(0, ROWS, BLOCK):
            first = max(start - 20 - max(LAGS), 0)
            part = move[first : start + BLOCK]
            mean, std = (values[0] for values in w.spread(part, 20))
            for column, k in zip(out, LAGS, strict=True):
                co = w.products(part, part, mean, mean, 20, k)
                column[start : start + BLOCK] = w.scaled_products(co, std, std, 20, k)[start - first :]
        return out

    mine, theirs = side_by_side(
        "autocorrelation of 20 returns at 4 lags against rolling.corr, 1e-6",
        ours,
        lambda: [series.rolling(20).corr(series.shift(k)) for k in LAGS],
        (ROWS, ROWS),
    )
    for column, expected in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(column[100:], expected[100:], atol=1e-6)


def test_wavelets_against_the_stationary_transform_per_bar(
    side_by_side: SideBySide, segment: Segment
) -> None:
    move = np.diff(np.log(segment.close), prepend=np.log(segment.close[0]))
    delays = [(2**j - 1) * 4 for j in (1, 2, 3, 4)]

    def per_bar() -> np.ndarray:
        out = np.empty((5, SOME))
        for i, row in enumerate(range(1000 - SOME, 1000)):
            bands = pywt.swt(move[row - 255 : row + 1], "db4", level=4, norm=True)[::-1]
            # the newest coefficient that the end of the window does not wrap into
            out[:4, i] = [bands[j][1][255 - delay] for j, delay in enumerate(delays)]
            out[4, i] = bands[3][0][255 - delays[3]]
        return out

    def ours() -> np.ndarray:
        out = np.empty((5, ROWS))
        for start in range(0, ROWS, BLOCK):
            first = max(start - 106, 0)
            out[:, start : start + BLOCK] = wavelets.transform(move[first : start + BLOCK])[
                :, start - first :
            ]
        return out

    mine, theirs = side_by_side(
        "db4 coefficients of 4 levels against PyWavelets per bar, window 256, 1e-12",
        ours,
        per_bar,
        (ROWS, SOME),
    )
    # PyWavelets looks forward from its row: the value at row t belongs to t, known `delay` bars after the centre
    for band, expected in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(band[1000 - SOME : 1000], expected, atol=1e-12)
