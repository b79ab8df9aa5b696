"""Columns equal their closed forms in pandas, TA-Lib's indicators, PyWavelets' transform, and cases by hand."""

from collections.abc import Callable
from dataclasses import replace

import feature_chain as chain
import numpy as np
import pandas as pd
import pytest
import pywt
import real_bars
import talib
from tests.conftest import make_bars

from mlfactory.common.bars import Bars
from mlfactory.features import kernels
from mlfactory.features.groups import wavelets

GROUPS = ("returns", "price", "moving_averages", "momentum", "volatility", "moments", "autocorrelation")
MORE = ("volume", "trend", "microstructure", "candles", "temporal", "wavelets")
Series = pd.Series
Oracle = Callable[[pd.DataFrame], Series]


def frame_of(bars: Bars) -> pd.DataFrame:
    frame = pd.DataFrame({k: getattr(bars, k) for k in ("open", "high", "low", "close", "volume")})
    frame["lc"] = np.log(frame.close)
    frame["r"] = frame.lc.diff()
    frame["typical"] = (frame.high + frame.low + frame.close) / 3
    frame["span"] = frame.high - frame.low
    frame["session"] = bars.session
    before = frame.close.shift()
    frame["tr"] = np.maximum(frame.high, before) - np.minimum(frame.low, before)
    return frame


def _talib(name: str, *columns: str, **options: int) -> Oracle:
    def compute(f: pd.DataFrame) -> Series:
        return Series(getattr(talib, name)(*(f[c].to_numpy(float, copy=True) for c in columns), **options))

    return compute


def _zscore(x: Series, k: int) -> Series:
    return (x - x.rolling(k).mean()) / x.rolling(k).std()


def _yang_zhang(f: pd.DataFrame) -> Series:
    gap, body = np.log(f.open / f.close.shift()), np.log(f.close / f.open)
    high, low = np.log(f.high / f.open), np.log(f.low / f.open)
    k = 0.34 / (1.34 + 21 / 19)
    rs = (high * (high - body) + low * (low - body)).rolling(20).mean()
    return np.sqrt(gap.rolling(20).var() + k * body.rolling(20).var() + (1 - k) * rs)


def _corwin_schultz(f: pd.DataFrame) -> Series:
    beta = (np.log(f.high / f.low) ** 2).rolling(2).sum()
    gamma = np.log(f.high.rolling(2).max() / f.low.rolling(2).min()) ** 2
    c = 3 - 2 * np.sqrt(2)
    alpha = (np.sqrt(2 * beta) - np.sqrt(beta)) / c - np.sqrt(gamma / c)
    return (2 * (np.exp(alpha) - 1) / (1 + np.exp(alpha))).clip(lower=0).rolling(20).mean()


def _kyle(f: pd.DataFrame) -> Series:
    flow = f.volume * np.sign(f.close.diff())
    return 1e3 * f.r.rolling(20).cov(flow) / flow.rolling(20).var()


def _vwap(f: pd.DataFrame) -> Series:
    money = (f.typical * f.volume).groupby(f.session).cumsum()
    return f.close / (money / f.volume.groupby(f.session).cumsum()) - 1


def _obv(f: pd.DataFrame) -> Series:
    return (np.sign(f.close.diff()) * f.volume).rolling(20).sum() / f.volume.rolling(20).sum()


def _roll(f: pd.DataFrame) -> Series:
    return 2 * np.sqrt((-f.r.rolling(20).cov(f.r.shift())).clip(lower=0))


def _mfi(f: pd.DataFrame) -> Series:
    # TA-Lib compares rounded means of three prices and so calls some ties moves
    moved, flow = (f.high + f.low + f.close).round(6).diff(), f.typical * f.volume
    rise, fall = flow.where(moved > 0, 0).rolling(14).sum(), flow.where(moved < 0, 0).rolling(14).sum()
    return 100 * rise / (rise + fall)


def _trix(f: pd.DataFrame) -> Series:
    smooth = f.lc
    for _ in range(3):
        smooth = smooth.ewm(span=15, adjust=False).mean()
    return 1e4 * smooth.diff()


ORACLES: dict[str, tuple[Oracle, float]] = {
    "log_return_10": (lambda f: f.lc.diff(10), 1e-9),
    "return_t_20": (lambda f: f.r.rolling(20).mean() / f.r.rolling(20).std() * np.sqrt(20), 1e-6),
    "return_z_60": (lambda f: _zscore(f.r, 60), 1e-6),
    "up_share_20": (lambda f: np.sign(f.r).rolling(20).mean(), 1e-7),
    "clv": (lambda f: ((2 * f.close - f.high - f.low) / f.span).where(f.span > 0, 0), 1e-6),
    "drawdown_60": (lambda f: np.log(f.close / f.close.rolling(60).max()), 1e-9),
    "price_to_sma_50": (lambda f: f.close / f.close.rolling(50).mean() - 1, 1e-8),
    "price_to_ema_21": (lambda f: f.close / f.close.ewm(span=21, adjust=False).mean() - 1, 1e-7),
    "price_to_wma_20": (lambda f: f.close / _talib("WMA", "close", timeperiod=20)(f) - 1, 1e-8),
    "rsi_14": (_talib("RSI", "close", timeperiod=14), 1e-3),
    "stoch_k": (
        lambda f: Series(talib.STOCHF(*(f[c].to_numpy(float) for c in ("high", "low", "close")), 14)[0]),
        1e-5,
    ),
    "williams_r_60": (_talib("WILLR", "high", "low", "close", timeperiod=60), 1e-5),
    "cci_20": (_talib("CCI", "high", "low", "close", timeperiod=20), 1e-3),
    "mfi_14": (_mfi, 1e-4),
    "cmo_20": (lambda f: 100 * f.close.diff(20) / f.close.diff().abs().rolling(20).sum(), 1e-4),
    "ultosc_7_14_28": (_talib("ULTOSC", "high", "low", "close"), 1e-4),
    "trix_15": (_trix, 1e-4),
    "macd_pct": (lambda f: Series(talib.MACD(f.close.to_numpy(float))[0]) / f.close, 1e-8),
    "macd_hist_pct": (lambda f: Series(talib.MACD(f.close.to_numpy(float))[2]) / f.close, 1e-8),
    "atr_14": (_talib("ATR", "high", "low", "close", timeperiod=14), 1e-4),
    "bb_upper": (lambda f: f.close.rolling(20).mean() + 2 * f.close.rolling(20).std(), 1e-3),
    "bb_position": (lambda f: 0.5 + _zscore(f.close, 20) / 4, 1e-6),
    "hvol_60": (lambda f: f.r.rolling(60).std(), 1e-9),
    "parkinson_20": (
        lambda f: np.sqrt((np.log(f.high / f.low) ** 2).rolling(20).mean() / (4 * np.log(2))),
        1e-9,
    ),
    "yang_zhang_20": (_yang_zhang, 1e-9),
    "return_skew_60": (lambda f: f.r.rolling(60).skew(), 1e-6),
    "return_kurt_60": (lambda f: f.r.rolling(60).kurt(), 1e-5),
    "return_autocorr_lag5": (lambda f: f.r.rolling(20).corr(f.r.shift(5)), 1e-6),
    "variance_ratio_5": (lambda f: f.lc.diff(5).rolling(120).var() / 5 / f.r.rolling(120).var(), 1e-6),
    "volume_ratio_20": (lambda f: f.volume / f.volume.rolling(20).mean(), 1e-5),
    "volume_zscore_60": (lambda f: _zscore(f.volume, 60), 1e-5),
    "obv_20": (_obv, 1e-6),
    "price_to_vwap": (_vwap, 1e-7),
    "adx_14": (_talib("ADX", "high", "low", "close", timeperiod=14), 2e-2),
    "plus_di_14": (_talib("PLUS_DI", "high", "low", "close", timeperiod=14), 1e-3),
    "aroon_up_25": (lambda f: Series(talib.AROON(f.high.to_numpy(float), f.low.to_numpy(float), 25)[1]), 0.0),
    "linreg_slope_20": (_talib("LINEARREG_SLOPE", "lc", timeperiod=20), 1e-9),
    "linreg_gap_20": (lambda f: f.lc - _talib("LINEARREG", "lc", timeperiod=20)(f), 1e-8),
    "donchian_width_20": (lambda f: (f.high.rolling(20).max() - f.low.rolling(20).min()) / f.close, 1e-8),
    "amihud_20": (lambda f: _illiquidity(f).rolling(20).mean(), 1e-9),
    "roll_spread_20": (_roll, 1e-9),
    "corwin_schultz_20": (_corwin_schultz, 1e-9),
    "kyle_lambda_20": (_kyle, 1e-7),
    "efficiency_20": (lambda f: f.close.diff(20).abs() / f.close.diff().abs().rolling(20).sum(), 1e-6),
}


def _illiquidity(f: pd.DataFrame) -> Series:
    return (1e6 * f.r.abs() / (f.close * f.volume)).where(f.volume > 0, 0)


SERIES = ("toy", "es", "spy")


@pytest.fixture(scope="module", params=SERIES)
def computed(request: pytest.FixtureRequest) -> tuple[pd.DataFrame, chain.Table]:
    if request.param == "toy":
        bars = make_bars(4000, hole=False)
    else:
        folder = request.getfixturevalue("shared_data")
        bars = getattr(real_bars, request.param)(folder, slice(40_000, 44_000))
        bars = replace(bars, segment=np.zeros(len(bars), np.int64))
    return frame_of(bars), chain.table(bars, groups=(*GROUPS, *MORE))


@pytest.mark.parametrize("name", list(ORACLES))
def test_a_column_equals_its_independent_definition(
    name: str, computed: tuple[pd.DataFrame, chain.Table]
) -> None:
    frame, found = computed
    oracle, tolerance = ORACLES[name]
    # TA-Lib's smoothing starts at the first bar: compare once it has forgotten it
    ours, theirs = (
        np.asarray(values, dtype=float)[1500:] for values in (found[name], oracle(frame).to_numpy(copy=True))
    )
    clear = np.isfinite(theirs)
    assert clear.mean() > 0.95
    np.testing.assert_allclose(ours[clear], theirs[clear], rtol=2e-6, atol=max(tolerance, 1e-12))


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
