"""Regimes with fixed thresholds equal their definitions, and their bits depend on their window alone."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import real_bars
import talib
from tests.conftest import make_bars

from mlfactory.common.bars import Bars
from mlfactory.regime.params import Params
from mlfactory.regime.states import HURST_LAGS, adx, band, hurst, states, volatility_rank
from mlfactory.regime.windows import decayed_sum, log, moving_sum, rank, wilder, wilder_bars

LENGTHS = pytest.mark.parametrize("width", [1, 2, 7, 50, 100, 187])


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(1).lognormal(0, 3, 5000)


@LENGTHS
def test_a_moving_sum_equals_the_exact_sum(noise: np.ndarray, width: int) -> None:
    ours = moving_sum(noise, width)
    assert np.isnan(ours[: width - 1]).all()
    for i in (width - 1, width, 2047, 2048, 2049, 4999):
        exact = math.fsum(noise[i - width + 1 : i + 1])
        assert ours[i] == pytest.approx(exact, rel=1e-14)


@LENGTHS
@pytest.mark.parametrize("first", [1, 13, 2048, 3001])
def test_window_statistics_have_the_same_bits_wherever_the_series_starts(
    noise: np.ndarray, width: int, first: int
) -> None:
    for whole, part in (
        (moving_sum(noise, width), moving_sum(noise[first:], width)),
        (decayed_sum(noise, width, 0.93), decayed_sum(noise[first:], width, 0.93)),
        (rank(noise, width), rank(noise[first:], width)),
        (log(noise), log(noise[first:])),
    ):
        np.testing.assert_array_equal(whole[first + width - 1 :], part[width - 1 :])


def test_a_running_sum_would_depend_on_the_start(noise: np.ndarray) -> None:
    whole, part = (pd.Series(x).rolling(50).sum().to_numpy(copy=True) for x in (noise, noise[13:]))
    assert (whole[13 + 49 :] != part[49:]).any()


@LENGTHS
def test_rank_equals_pandas_and_averages_ties(noise: np.ndarray, width: int) -> None:
    coarse = np.round(np.log(noise))
    np.testing.assert_allclose(
        rank(coarse, width), pd.Series(coarse).rolling(width).rank(pct=True), rtol=1e-15
    )


def test_a_gap_reaches_only_the_windows_that_hold_it(noise: np.ndarray) -> None:
    x = noise.copy()
    x[100] = np.nan
    for values in (moving_sum(x, 20), decayed_sum(x, 20, 0.9)):
        np.testing.assert_array_equal(np.flatnonzero(np.isnan(values)), [*range(19), *range(100, 120)])


@LENGTHS
def test_a_decayed_sum_equals_its_definition(noise: np.ndarray, width: int) -> None:
    ours, weights = decayed_sum(noise, width, 0.93), 0.93 ** np.arange(width)
    for i in (width - 1, 2047, 2048, 4999):
        assert ours[i] == pytest.approx(weights @ noise[i - width + 1 : i + 1][::-1], rel=1e-13)


def test_wilders_smoothing_leaves_out_a_millionth() -> None:
    assert wilder_bars(14) == 187  # (13/14)^187 < 1e-6 < (13/14)^186
    impulse = np.r_[np.zeros(200), 1.0, np.zeros(400)]
    response = wilder(impulse, 14)[200:]
    assert response.sum() == pytest.approx(1)
    np.testing.assert_allclose(response[:187], (1 / 14) * (13 / 14) ** np.arange(187), rtol=2e-6)
    assert not response[187:].any()


def series(name: str, folder: Path) -> Bars:
    return {
        "toy": lambda: make_bars(3000, hole=False),
        "ES": lambda: real_bars.es(folder, slice(3000)),
        "BTC": lambda: real_bars.btc(folder, slice(3000)),
    }[name]()


@pytest.fixture(scope="module", params=["toy", "ES", "BTC"])
def real(request: pytest.FixtureRequest) -> Bars:
    folder = Path() if request.param == "toy" else request.getfixturevalue("shared_data")
    return series(request.param, folder)


def test_adx_equals_ta_lib_after_its_warm_up(real: Bars) -> None:
    ours, theirs = adx(real, 14), talib.ADX(real.high, real.low, real.close, 14)
    np.testing.assert_allclose(ours[800:], theirs[800:], atol=1e-3)  # out of 100; both cut an endless memory
    assert np.isnan(ours[: 2 * 187 - 1]).all()
    assert np.isfinite(ours[2 * 187 - 1 :]).all()


def test_volatility_rank_equals_ta_lib_and_pandas(real: Bars) -> None:
    ours = volatility_rank(real, 14, 100)
    atr = pd.Series(talib.ATR(real.high, real.low, real.close, 14) / real.close)
    theirs = atr.rolling(100).rank(pct=True).to_numpy(copy=True)
    differ = np.abs(ours[800:] - theirs[800:]) > 1e-9
    assert differ.mean() < 0.01  # only where two averages are equal to a millionth
    np.testing.assert_allclose(ours[800:], theirs[800:], atol=0.02)


def naive_hurst(close: np.ndarray, window: int) -> np.ndarray:
    out = np.full(len(close), np.nan)
    for i in range(window - 1, len(close)):
        x = np.log(close[i - window + 1 : i + 1])
        spread = [np.mean((x[k:] - x[:-k]) ** 2) for k in HURST_LAGS]
        if max(spread) == 0:
            out[i] = 0.5
            continue
        spread = np.maximum(spread, 1e-12 * max(spread))
        out[i] = np.clip(np.polyfit(np.log(HURST_LAGS), np.log(spread), 1)[0] / 2, 0, 1)
    return out


def test_hurst_equals_its_definition(real: Bars) -> None:
    np.testing.assert_allclose(hurst(real.close, 100), naive_hurst(real.close, 100), atol=1e-9)


def test_hurst_tells_trends_from_noise_from_reversals() -> None:
    rng = np.random.default_rng(3)
    steps = rng.normal(0, 1e-3, 4000)
    walk = np.exp(np.cumsum(steps))
    line = np.exp(1e-3 * np.arange(4000.0))
    pinned = np.exp(steps)
    assert np.nanmean(hurst(walk, 100)) == pytest.approx(0.5, abs=0.05)
    assert np.nanmin(hurst(line, 100)) > 0.99
    assert np.nanmean(hurst(pinned, 100)) < 0.05


FLAT = np.full(150, 5.0)


@pytest.mark.parametrize("close", [FLAT, np.tile([5.0, 5.25], 150), np.r_[FLAT, FLAT + 1]])
def test_hurst_is_defined_for_flat_alternating_and_jumping_prices(close: np.ndarray) -> None:
    exponent = hurst(close, 100)[99:]
    assert np.isfinite(exponent).all()
    assert exponent.min() >= 0
    assert exponent.max() <= 1


def test_band_cuts_in_three_and_keeps_gaps() -> None:
    value = np.array([0.1, 0.25, 0.5, 0.75, 0.9, np.nan])
    np.testing.assert_array_equal(band(value, 0.25, 0.75), [0, 1, 1, 1, 2, np.nan])


def test_the_states_follow_from_their_measures() -> None:
    bars, params = make_bars(2000, hole=False), Params()
    columns = states(bars, params)
    ranked, exponent = columns["regime_volatility_rank"], columns["regime_hurst"]
    np.testing.assert_array_equal(columns["regime_volatility"], band(ranked, 0.25, 0.75))
    np.testing.assert_array_equal(columns["regime_structure"], band(exponent, 0.4, 0.6))
    average = pd.Series(bars.close).rolling(50).mean()
    trending = adx(bars, 14) > 25
    expected = np.where(trending, np.sign(bars.close - average), 0)
    np.testing.assert_array_equal(columns["regime_trend"][374:], expected[374:])
    assert set(np.unique(columns["regime_trend"][374:])) == {-1, 0, 1}
    code = 9 * columns["regime_volatility"] + 3 * (columns["regime_trend"] + 1) + columns["regime_structure"]
    np.testing.assert_array_equal(columns["regime_composite"], code)


def test_bars_that_never_move_have_the_middle_regime() -> None:
    bars = make_bars(600, hole=False)
    flat = replace(bars, **{name: np.full(600, 100.0) for name in ("open", "high", "low", "close")})
    last = {name: column[-1] for name, column in states(flat, Params()).items()}
    assert last["regime_volatility"] == 1
    assert last["regime_trend"] == 0
    assert last["regime_hurst"] == 0.5
    assert last["regime_composite"] == 13
