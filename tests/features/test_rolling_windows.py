"""Window statistics equal pandas, are exact where pandas is not, and have the same bits wherever the series starts."""

import math

import numpy as np
import pandas as pd
import pytest
import talib

from mlfactory.features import windows as w

WINDOWS = (1, 2, 3, 7, 8, 20, 60, 100)
EVERY_WINDOW = pytest.mark.parametrize("k", WINDOWS)
LONG_WINDOW = pytest.mark.parametrize("k", [k for k in WINDOWS if k > 3])


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.random.default_rng(0).standard_t(3, 900) * 5 + 100


@pytest.fixture(scope="module")
def y(x: np.ndarray) -> np.ndarray:
    return np.random.default_rng(1).normal(size=900) + 0.1 * x


STATISTICS = {
    "sum": lambda x, y, k: w.total(x, k),
    "mean": lambda x, y, k: w.mean(x, k),
    "highest": lambda x, y, k: w.highest(x, k),
    "lowest": lambda x, y, k: w.lowest(x, k),
    "std": lambda x, y, k: w.spread(x, k).std[0],
    "skew": lambda x, y, k: w.moments(x, k).skew[0],
    "kurt": lambda x, y, k: w.moments(x, k).kurt[0],
    "correlation": lambda x, y, k: w.correlation(x, y, k),
    "slope": lambda x, y, k: w.pairs(x, y, k).slope[0],
    "deviation": lambda x, y, k: w.deviation(x, w.mean(x, k), k),
    "rank": lambda x, y, k: w.rank(x, k),
}
PANDAS = {
    "sum": lambda x, y, k: x.rolling(k).sum(),
    "mean": lambda x, y, k: x.rolling(k).mean(),
    "highest": lambda x, y, k: x.rolling(k).max(),
    "lowest": lambda x, y, k: x.rolling(k).min(),
    "std": lambda x, y, k: x.rolling(k).std(),
    "skew": lambda x, y, k: x.rolling(k).skew(),
    "kurt": lambda x, y, k: x.rolling(k).kurt(),
    "correlation": lambda x, y, k: x.rolling(k).corr(y),
    "slope": lambda x, y, k: x.rolling(k).cov(y) / y.rolling(k).var(),
    "deviation": lambda x, y, k: x.rolling(k).apply(lambda v: np.abs(v - v.mean()).mean(), raw=True),
    "rank": lambda x, y, k: (x.rolling(k).rank() - 1) / (k - 1),
}
EVERY_STATISTIC = pytest.mark.parametrize("name", list(STATISTICS))


@EVERY_STATISTIC
@LONG_WINDOW
def test_a_statistic_equals_pandas(name: str, k: int, x: np.ndarray, y: np.ndarray) -> None:
    expected = PANDAS[name](pd.Series(x), pd.Series(y), k).to_numpy(dtype=float, copy=True)
    np.testing.assert_allclose(STATISTICS[name](x, y, k)[k - 1 :], expected[k - 1 :], rtol=1e-9, atol=1e-9)


@EVERY_STATISTIC
@LONG_WINDOW
@pytest.mark.parametrize("first", [1, 64, 317])
def test_a_statistic_has_the_same_bits_wherever_the_series_starts(
    name: str, k: int, first: int, x: np.ndarray, y: np.ndarray
) -> None:
    whole, part = STATISTICS[name](x, y, k), STATISTICS[name](x[first:], y[first:], k)
    np.testing.assert_array_equal(whole[first + k - 1 :], part[k - 1 :])


@EVERY_WINDOW
def test_sums_of_several_windows_equal_each_alone(k: int, x: np.ndarray) -> None:
    np.testing.assert_array_equal(w.sums(x, *WINDOWS)[WINDOWS.index(k)], w.total(x, k))
    np.testing.assert_array_equal(w.maxima(x, *WINDOWS)[WINDOWS.index(k)], w.highest(x, k))


@pytest.mark.parametrize("value", [0.1, 4123.75, 1e-7, 5210.123456])
@LONG_WINDOW
def test_a_still_stretch_after_wild_values_is_exactly_still(value: float, k: int) -> None:
    x = np.r_[np.random.default_rng(2).normal(1e6, 1e5, 300), np.full(300, value)]
    still = slice(300 + k, None)
    assert (w.mean(x, k)[still] == value).all()
    assert (w.spread(x, k).std[0][still] == 0).all()
    assert (w.moments(x, k).skew[0][still] == 0).all()
    assert (w.correlation(x, np.arange(600.0), k)[still] == 0).all()
    assert (w.deviation(x, w.mean(x, k), k)[still] == 0).all()
    assert (w.ema_gap(x, k)[300 + w.ema_memory(k) + 1 :] == 0).all()


def test_a_running_sum_would_not_be_still() -> None:
    x = np.r_[np.random.default_rng(2).normal(1e6, 1e5, 300), np.full(300, 0.1)]
    assert (talib.SMA(x, 20)[330:] != 0.1).any()


@pytest.mark.parametrize("period", [2, 9, 26, 50])
def test_an_exponential_average_forgets_one_part_in_a_million(period: int, x: np.ndarray) -> None:
    keep = 1 - 2 / (period + 1)
    assert keep ** w.ema_memory(period) <= w.FORGOTTEN < keep ** (w.ema_memory(period) // 2)
    long = np.tile(x, 3)
    expected = talib.EMA(long, period)
    ours = long - w.ema_gap(long, period)
    np.testing.assert_allclose(ours[2000:], expected[2000:], atol=1e-4 * x.std())


@pytest.mark.parametrize("period", [7, 14, 28])
def test_wilders_average_equals_pandas(period: int, x: np.ndarray) -> None:
    long = np.tile(np.abs(x), 3)
    expected = pd.Series(long).ewm(alpha=1 / period, adjust=False).mean().to_numpy(dtype=float, copy=True)
    np.testing.assert_allclose(w.decayed_mean(long, 1 / period)[2000:], expected[2000:], rtol=1e-5)


def test_an_exponential_average_by_hand() -> None:
    # weights 1/2, 1/4, 1/8, ... up to 2^-32, normalised
    x = np.r_[np.zeros(40), 8.0, 0.0, 4.0]
    assert w.decayed_mean(x, 0.5)[-1] == pytest.approx(4 / 2 + 0 / 4 + 8 / 8, rel=1e-6)
    assert w.ema_gap(x, 3)[-1] == pytest.approx(4 - 3, rel=1e-6)


def test_a_ratio_is_defined_where_the_denominator_is_zero() -> None:
    np.testing.assert_array_equal(w.ratio(np.array([1.0, 2.0]), np.array([0.0, 4.0]), 9.0), [9.0, 0.5])


def test_ties_count_half_in_a_rank() -> None:
    assert w.rank(np.array([1.0, 3.0, 2.0, 2.0]), 4)[-1] == pytest.approx((1 + 0.5) / 3)


@pytest.mark.parametrize("n", [0, 1, 5])
def test_a_series_shorter_than_the_window_does_not_fail(n: int) -> None:
    x = np.arange(float(n))
    for values in (
        w.total(x, 20),
        w.mean(x, 20),
        w.highest(x, 20),
        w.spread(x, 20).std[0],
        w.moments(x, 20).kurt[0],
        w.correlation(x, x, 20),
        w.rank(x, 20),
        w.decayed_mean(x, 0.1),
    ):
        assert values.shape == (n,)
        assert np.isfinite(values).all()
    assert math.isclose(w.total(np.arange(5.0), 20)[-1], 10.0)
