"""Wavelets equal PyWavelets' transform, a still price reads as neutral, and cases by hand."""

from dataclasses import replace

import feature_chain as chain
import numpy as np
import pandas as pd
import pytest
import pywt
from tests.conftest import make_bars

from mlfactory.common.bars import Bars
from mlfactory.features import kernels
from mlfactory.features.groups import wavelets


@pytest.mark.parametrize(("level", "name"), [(1, "db4"), (2, "db4"), (3, "db4"), (4, "db4"), (3, "haar")])
def test_a_causal_coefficient_is_the_stationary_one_some_bars_ago(level: int, name: str) -> None:
    x = np.random.default_rng(0).normal(size=512)
    taps = len(pywt.Wavelet(name).dec_lo)
    ours = wavelets.transform(x, level, name)
    swt = pywt.swt(x, name, level=level, norm=True, trim_approx=False)[0]
    delay = (2**level - 1) * taps // 2
    past = slice(wavelets.support(level, taps), None)
    for band, reference in ((ours[level - 1], swt[1]), (ours[level], swt[0])):
        np.testing.assert_allclose(band[past], np.roll(reference, delay)[past], atol=1e-12)


def test_haar_equals_the_stationary_transform_of_the_price() -> None:
    bars = make_bars(600, hole=False)
    found = chain.table(bars, groups=["wavelets"])
    detail = wavelets.transform(np.log(bars.close), 3, "haar")[2]
    np.testing.assert_allclose(np.abs(found["haar_4"][20:]), np.abs(detail[20:]), atol=1e-7)


def flat(n: int = 400) -> Bars:
    bars = make_bars(n, hole=False)
    still = np.full(n, 4000.1)
    return replace(bars, open=still, high=still, low=still, close=still, volume=np.zeros(n))


NEUTRAL = {
    **dict.fromkeys(("rsi_14", "stoch_k", "mfi_14", "ultosc_7_14_28"), 50.0),
    **dict.fromkeys(
        ("bb_position", "kc_position", "donchian_position_20", "close_rank_60", "hurst_120"), 0.5
    ),
    **dict.fromkeys(
        ("volume_ratio_20", "range_ratio_20", "variance_ratio_2", "squeeze", "vol_ratio_5_20"), 1.0
    ),
    **dict.fromkeys(
        ("clv", "cci_20", "macd_pct", "adx_14", "hvol_20", "yang_zhang_20", "price_to_ema_50"), 0.0
    ),
    **dict.fromkeys(("return_skew_60", "return_autocorr_lag1", "amihud_20", "vpin_50", "wave_close_d1"), 0.0),
    **dict.fromkeys(("return_entropy_60", "linreg_r2_20", "efficiency_20", "obv_20", "kyle_lambda_20"), 0.0),
}


@pytest.mark.parametrize("name", list(NEUTRAL))
def test_a_price_that_stands_still_without_volume_has_the_neutral_value(
    name: str, still: chain.Table
) -> None:
    assert still[name][-1] == NEUTRAL[name]


@pytest.fixture(scope="module")
def still() -> chain.Table:
    return chain.table(flat(2000), check=True)


def test_candle_patterns_by_hand() -> None:
    bars = make_bars(40, hole=False)
    shape = {k: np.full(40, 100.0) for k in ("open", "high", "low", "close")}
    shape["high"], shape["low"] = shape["high"] + 1, shape["low"] - 1
    for row, prices in {
        30: (100, 101, 97, 98),  # falls
        31: (97.5, 102, 97, 101),  # engulfs it
        32: (101, 101.2, 95, 100.9),  # long lower shadow
        33: (100, 100.5, 100, 100.5),  # inside
    }.items():
        for key, value in zip(("open", "high", "low", "close"), prices, strict=True):
            shape[key][row] = value
    found = chain.table(replace(bars, **shape), groups=["candles"])
    assert found["engulfing"][30:33].tolist() == [0, 1, 0]
    assert found["doji"][30:34].tolist() == [0, 0, 1, 0]
    assert found["inside_bar"][32:34].tolist() == [0, 1]
    assert found["body_ratio"][31] == pytest.approx(3.5 / 5)
    assert found["lower_shadow"][32] == pytest.approx(5.9 / 6.2)


def test_the_parabolic_stop_by_hand() -> None:
    high = np.array([10.0, 11, 12, 11, 9, 8, 20, 21])
    low = np.array([9.0, 10, 11, 10, 8, 7, 19, 20])
    start = np.array([0, 0, 0, 0, 0, 0, 6, 6])
    level, side = kernels.parabolic_sar(high, low, start, 0.02, 0.2)
    # long from 9; at row 4 the low breaks the stop: short from the highest high; row 6 opens a session
    np.testing.assert_allclose(level[:4], [9, 9, 9, 9.0 + 0.06 * 3])
    assert level[4:7].tolist() == [12, 12 - 0.02 * 4, 19]
    assert side.tolist() == [1, 1, 1, 1, -1, -1, 1, 1]


def test_supertrend_by_hand() -> None:
    close = np.array([10.0, 12, 14, 9, 8])
    reach = np.full(5, 2.0)
    level, side = kernels.supertrend(close + 1, close - 1, close, reach, np.zeros(5, np.int64))
    assert side.tolist() == [1, 1, 1, -1, -1]
    assert level.tolist() == [8, 10, 12, 11, 10]


def test_a_session_indicator_starts_anew_at_the_session_open() -> None:
    bars = make_bars(4000, hole=False)
    found = chain.table(bars, groups=["returns", "volume", "trend", "temporal", "price"])
    first = int(np.flatnonzero(np.diff(bars.session))[1]) + 1
    typical = (bars.high[first] + bars.low[first] + bars.close[first]) / 3
    assert found["vwap"][first] == pytest.approx(typical, rel=1e-7)
    assert found["session_return"][first] == pytest.approx(
        np.log(bars.close[first] / bars.open[first]), abs=1e-9
    )
    assert found["sar"][first] == np.float32(bars.low[first])
    assert found["session_gap"][first + 5] == pytest.approx(
        np.log(bars.open[first] / bars.close[first - 1]), abs=1e-9
    )
    assert found["minutes_since_open"][first] == bars.minute[first] - bars.session_open[first]


def test_a_ladder_column_is_the_last_closed_bar_of_the_step() -> None:
    bars = make_bars(3000, hole=False)
    found = chain.table(bars, groups=["mtf"])
    frame = pd.DataFrame(
        {"close": bars.close, "bin": (bars.minute - bars.session_open) // 15, "day": bars.session}
    )
    closes = frame.groupby(["day", "bin"]).close.last()
    row = int(np.flatnonzero(((bars.minute - bars.session_open) % 15 == 7) & (np.arange(3000) > 1500))[0])
    at = closes.index.get_loc((bars.session[row], frame.bin[row])) - 1  # the bin of the row is still open
    assert found["return_1_15m"][row] == pytest.approx(
        np.log(closes.iloc[at] / closes.iloc[at - 1]), abs=1e-8
    )
    window = closes.iloc[at - 19 : at + 1]
    assert found["close_to_sma_20_15m"][row] == pytest.approx(closes.iloc[at] / window.mean() - 1, abs=1e-8)
    assert found["age_15m"][row] == 8
    assert found["price_to_close_15m"][row] == pytest.approx(
        np.log(bars.close[row] / closes.iloc[at]), abs=1e-8
    )


def test_the_rsi_of_a_ladder_step_is_the_plain_mean_form() -> None:
    bars = make_bars(3000, hole=False)
    found = chain.table(bars, groups=["mtf"])
    frame = pd.DataFrame(
        {"close": bars.close, "bin": (bars.minute - bars.session_open) // 15, "day": bars.session}
    )
    change = frame.groupby(["day", "bin"]).close.last().diff()
    rise, fall = change.clip(lower=0).rolling(14).mean(), (-change).clip(lower=0).rolling(14).mean()
    row = int(np.flatnonzero(((bars.minute - bars.session_open) % 15 == 7) & (np.arange(3000) > 1500))[0])
    at = change.index.get_loc((bars.session[row], frame.bin[row])) - 1
    assert found["rsi_14_15m"][row] == pytest.approx(100 * rise.iloc[at] / (rise + fall).iloc[at], rel=1e-6)


def test_bulk_classification_by_hand() -> None:
    np.testing.assert_allclose(
        kernels.normal_share(np.array([0.0, 1.959964, -1.0])), [0.5, 0.975, 0.1586553], atol=1e-6
    )


def test_a_streak_is_counted_and_capped() -> None:
    sign = np.array([1.0, 1, 0, -1, -1, 1, *[1] * 30])
    out = kernels.run_length(sign, 20)
    assert out[:6].tolist() == [1, 2, 0, -1, -2, 1]
    assert out[-1] == 20
