"""An independent definition of every base column: closed forms in pandas, TA-Lib indicators, PyWavelets transforms."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd
import pywt
import talib

from mlfactory.common.bars import Bars

Frame = pd.DataFrame
Series = pd.Series


@dataclass(frozen=True)
class Oracle:
    """How a column is computed another way, and how far the two may be apart."""

    compute: Callable[[Frame], Series]
    absolute: float = 1e-9
    """beside 2e-6 of the value, which is float32"""
    differ: float = 0.0
    """share of rows that may differ: a threshold decides a column, and an average is known to a millionth"""
    known: float = 0.95
    """share of rows on which the definition has a value at all"""


ORACLES: dict[str, Oracle] = {}


def say(name: str, compute: Callable[[Frame], Series], absolute: float = 1e-9, **rest: float) -> None:
    """Add the oracle of a column."""
    assert name not in ORACLES
    ORACLES[name] = Oracle(compute, absolute, **rest)


def frame_of(bars: Bars) -> Frame:
    """Bars as a frame, with what several definitions need."""
    f = pd.DataFrame({k: getattr(bars, k) for k in ("open", "high", "low", "close", "volume")})
    f["lc"] = np.log(f.close)
    f["r"] = f.lc.diff()
    f["sign"] = np.sign(f.close.diff())
    f["typical"] = (f.high + f.low + f.close) / 3
    f["span"] = f.high - f.low
    f["session"] = bars.session
    f["elapsed"] = bars.minute - bars.session_open
    f["length"] = bars.session_close - bars.session_open
    f["minute"] = bars.minute
    f["bar"] = bars.bar_minutes
    before = f.close.shift()
    f["tr"] = np.maximum(f.high, before) - np.minimum(f.low, before)
    f["body"] = (f.close - f.open).abs()
    f["side"] = np.sign(f.close - f.open)
    f["usual"] = f.body.rolling(10).mean().shift()
    return f


def over(top: Series, bottom: Series, empty: float = 0.0) -> Series:
    """Divide; ``empty`` where the denominator is zero."""
    return (top / bottom).where(bottom != 0, empty)


def ema(x: Series, period: int) -> Series:
    return x.ewm(span=period, adjust=False).mean()


def wilder(x: Series, period: int) -> Series:
    return x.ewm(alpha=1 / period, adjust=False).mean()


def by_talib(
    name: str, *columns: str, output: int | None = None, **options: int
) -> Callable[[Frame], Series]:
    """Call TA-Lib on columns of the frame."""

    def compute(f: Frame) -> Series:
        found = getattr(talib, name)(*(f[c].to_numpy(float, copy=True) for c in columns), **options)
        return Series(found if output is None else found[output])

    return compute


def zscore(x: Series, k: int) -> Series:
    return (x - x.rolling(k).mean()) / x.rolling(k).std()


def place(f: Frame, k: int) -> tuple[Series, Series]:
    return f.high.rolling(k).max(), f.low.rolling(k).min()


# Group returns.

for k in (1, 2, 3, 5, 10, 15, 20, 30, 60, 120):
    say(f"log_return_{k}", lambda f, k=k: f.lc.diff(k))
for k in (10, 20, 60, 120):
    say(f"return_t_{k}", lambda f, k=k: f.r.rolling(k).mean() / f.r.rolling(k).std() * np.sqrt(k), 1e-6)
for k in (20, 60):
    say(f"return_z_{k}", lambda f, k=k: zscore(f.r, k), 1e-6)
for k in (10, 20, 60):
    say(f"up_share_{k}", lambda f, k=k: f.sign.rolling(k).mean(), 1e-7)
say("max_return_60", lambda f: f.r.rolling(60).max())
say("min_return_60", lambda f: f.r.rolling(60).min())
say("open_gap", lambda f: np.log(f.open / f.close.shift()))
say("session_return", lambda f: np.log(f.close / f.groupby("session").open.transform("first")))


def session_gap(f: Frame) -> Series:
    last = f.groupby("session").close.last().shift()
    return np.log(f.groupby("session").open.transform("first") / f.session.map(last))


say("session_gap", session_gap)

# Group price.

say("hl_ratio", lambda f: f.high / f.low - 1)
say("co_ratio", lambda f: f.close / f.open - 1)
say("clv", lambda f: over(2 * f.close - f.high - f.low, f.span), 1e-6)
say("open_location", lambda f: over(2 * f.open - f.high - f.low, f.span), 1e-6)
say("close_to_typical", lambda f: f.close / f.typical - 1)
say("midpoint_return", lambda f: np.log((f.high + f.low) / (f.high + f.low).shift()))
for k in (20, 60, 120):
    say(f"drawdown_{k}", lambda f, k=k: np.log(f.close / f.close.rolling(k).max()))
    say(f"runup_{k}", lambda f, k=k: np.log(f.close / f.close.rolling(k).min()))
for k in (5, 20, 60):
    say(f"range_ratio_{k}", lambda f, k=k: f.span / f.span.rolling(k).mean(), 1e-6)
say("true_range_pct", lambda f: f.tr / f.close)


def session_range(f: Frame) -> tuple[Series, Series]:
    days = f.groupby("session")
    return days.high.cummax(), days.low.cummin()


def session_position(f: Frame) -> Series:
    high, low = session_range(f)
    return over(f.close - low, high - low, 0.5)


say("session_position", session_position, 1e-6)
say("session_range_pct", lambda f: (session_range(f)[0] - session_range(f)[1]) / f.close)
say("session_drawdown", lambda f: f.close / session_range(f)[0] - 1)

# Group moving averages.

for k in (10, 20, 50, 100, 200):
    say(f"sma_{k}", lambda f, k=k: f.close.rolling(k).mean(), 1e-3)
    say(f"price_to_sma_{k}", lambda f, k=k: f.close / f.close.rolling(k).mean() - 1, 1e-8)
for k in (9, 12, 21, 26, 50):
    say(f"ema_{k}", lambda f, k=k: ema(f.close, k), 1e-3)
    say(f"price_to_ema_{k}", lambda f, k=k: f.close / ema(f.close, k) - 1, 1e-7)


def sma_slope(f: Frame, k: int) -> Series:
    mean = f.close.rolling(k).mean()
    return np.log(mean / mean.shift(k // 4))


for k in (20, 50, 200):
    say(f"sma_slope_{k}", lambda f, k=k: sma_slope(f, k), 1e-8)
for a, b in ((10, 50), (20, 100), (50, 200)):
    say(
        f"sma_{a}_to_{b}",
        lambda f, a=a, b=b: f.close.rolling(a).mean() / f.close.rolling(b).mean() - 1,
        1e-8,
    )
say("ema_9_to_50", lambda f: ema(f.close, 9) / ema(f.close, 50) - 1, 1e-7)
say("price_to_wma_20", lambda f: f.close / by_talib("WMA", "close", timeperiod=20)(f) - 1, 1e-8)


def hull(f: Frame) -> Series:
    half, whole = (by_talib("WMA", "close", timeperiod=k)(f) for k in (10, 20))
    bent = (2 * half - whole).bfill()
    return f.close / Series(talib.WMA(bent.to_numpy(float, copy=True), timeperiod=4)) - 1


say("price_to_hma_20", hull, 1e-8)


def ma_order(f: Frame) -> Series:
    medium, slow = f.close.rolling(50).mean(), f.close.rolling(200).mean()
    falling = (f.close < medium) & (medium < slow)
    return ((f.close > medium) & (medium > slow)).astype(float) - falling.astype(float)


say("ma_order", ma_order, differ=1e-3)

# Group momentum. TA-Lib starts its smoothing at the first bar, which 1,500 bars forget

RSI14 = by_talib("RSI", "close", timeperiod=14)
for k in (7, 14, 28):
    say(f"rsi_{k}", by_talib("RSI", "close", timeperiod=k), 2e-3)
say(
    "rsi_14_zone",
    lambda f: (RSI14(f) > 70).astype(float) - (RSI14(f) < 30).astype(float),
    differ=1e-3,
)


def stochastic_rsi(f: Frame) -> Series:
    index = RSI14(f)
    low, high = index.rolling(14).min(), index.rolling(14).max()
    return 100 * (index - low) / (high - low)


say("stoch_rsi_14", stochastic_rsi, 2e-2)
say("macd_pct", lambda f: by_talib("MACD", "close", output=0)(f) / f.close, 1e-8)
say("macd_signal_pct", lambda f: by_talib("MACD", "close", output=1)(f) / f.close, 1e-8)
say("macd_hist_pct", lambda f: by_talib("MACD", "close", output=2)(f) / f.close, 1e-8)
say(
    "macd_cross",
    lambda f: (by_talib("MACD", "close", output=2)(f) > 0).astype(float).diff(),
    differ=4e-3,
)
STOCH = by_talib("STOCHF", "high", "low", "close", output=0, fastk_period=14)
say("stoch_k", STOCH, 1e-4)
say("stoch_d", lambda f: STOCH(f).rolling(3).mean(), 1e-4)
say("stoch_zone", lambda f: (STOCH(f) > 80).astype(float) - (STOCH(f) < 20).astype(float), differ=2e-3)
say("williams_r_60", by_talib("WILLR", "high", "low", "close", timeperiod=60), 1e-4)
for k in (20, 60):
    say(f"cci_{k}", by_talib("CCI", "high", "low", "close", timeperiod=k), 1e-3)


def mfi(f: Frame) -> Series:
    # TA-Lib compares rounded means of three prices and so calls some ties moves
    moved, flow = (f.high + f.low + f.close).round(6).diff(), f.typical * f.volume
    rise, fall = flow.where(moved > 0, 0).rolling(14).sum(), flow.where(moved < 0, 0).rolling(14).sum()
    return 100 * rise / (rise + fall)


say("mfi_14", mfi, 1e-4)


def tsi(f: Frame) -> Series:
    move = f.close.diff().fillna(0)
    return 100 * ema(ema(move, 25), 13) / ema(ema(move.abs(), 25), 13)


say("tsi_25_13", tsi, 1e-3)
say("ultosc_7_14_28", by_talib("ULTOSC", "high", "low", "close"), 1e-4)
say("cmo_20", lambda f: 100 * f.close.diff(20) / f.close.diff().abs().rolling(20).sum(), 1e-4)
say("trix_15", lambda f: 1e4 * ema(ema(ema(f.lc, 15), 15), 15).diff(), 1e-4)


def awesome(f: Frame) -> Series:
    middle = (f.high + f.low) / 2
    return (middle.rolling(5).mean() - middle.rolling(34).mean()) / f.close


say("awesome_5_34", awesome, 1e-8)
say("close_rank_60", lambda f: (f.close.rolling(60).rank() - 1) / 59, 1e-6)
for k in (5, 20):
    say(f"acceleration_{k}", lambda f, k=k: f.lc.diff(k).diff(k))

# Group volatility.

for k in (7, 14, 21):
    say(f"atr_{k}", by_talib("ATR", "high", "low", "close", timeperiod=k), 1e-4)
    say(
        f"atr_pct_{k}",
        lambda f, k=k: by_talib("ATR", "high", "low", "close", timeperiod=k)(f) / f.close,
        1e-8,
    )
say("bb_upper", lambda f: f.close.rolling(20).mean() + 2 * f.close.rolling(20).std(), 1e-3)
say("bb_lower", lambda f: f.close.rolling(20).mean() - 2 * f.close.rolling(20).std(), 1e-3)
say("bb_width", lambda f: 4 * f.close.rolling(20).std() / f.close.rolling(20).mean(), 1e-8)
say("bb_position", lambda f: 0.5 + zscore(f.close, 20) / 4, 1e-6)
say("close_zscore_60", lambda f: zscore(f.close, 60), 1e-5)
ATR10 = by_talib("ATR", "high", "low", "close", timeperiod=10)
say("kc_upper", lambda f: ema(f.close, 20) + 2 * ATR10(f), 1e-3)
say("kc_lower", lambda f: ema(f.close, 20) - 2 * ATR10(f), 1e-3)
say("kc_position", lambda f: 0.5 + (f.close - ema(f.close, 20)) / (4 * ATR10(f)), 1e-5)
say("squeeze", lambda f: f.close.rolling(20).std() / ATR10(f), 1e-5)
for k in (10, 20, 60, 120):
    say(f"hvol_{k}", lambda f, k=k: f.r.rolling(k).std())


def parkinson(f: Frame, k: int) -> Series:
    return np.sqrt((np.log(f.high / f.low) ** 2).rolling(k).mean() / (4 * np.log(2)))


def garman_klass(f: Frame, k: int) -> Series:
    term = np.log(f.high / f.low) ** 2 / 2 - (2 * np.log(2) - 1) * np.log(f.close / f.open) ** 2
    return np.sqrt(term.rolling(k).mean())


def rogers_satchell(f: Frame, k: int) -> Series:
    high, low, body = (np.log(f[name] / f.open) for name in ("high", "low", "close"))
    return np.sqrt((high * (high - body) + low * (low - body)).rolling(k).mean())


def yang_zhang(f: Frame, k: int) -> Series:
    gap, body = np.log(f.open / f.close.shift()), np.log(f.close / f.open)
    share = 0.34 / (1.34 + (k + 1) / (k - 1))
    within = rogers_satchell(f, k) ** 2
    return np.sqrt(gap.rolling(k).var() + share * body.rolling(k).var() + (1 - share) * within)


for k in (20, 60):
    for estimator in (parkinson, garman_klass, rogers_satchell, yang_zhang):
        say(f"{estimator.__name__}_{k}", lambda f, k=k, estimator=estimator: estimator(f, k), 1e-8)
for a, b in ((10, 60), (20, 120)):
    say(f"hvol_ratio_{a}_{b}", lambda f, a=a, b=b: f.r.rolling(a).std() / f.r.rolling(b).std(), 1e-5)
say("range_to_close_20", lambda f: parkinson(f, 20) / f.r.rolling(20).std(), 1e-5)


def vol_of_vol(f: Frame) -> Series:
    std = f.r.rolling(20).std()
    return std.rolling(60).std() / std.rolling(60).mean()


say("vol_of_vol_60", vol_of_vol, 1e-5)
say(
    "hvol_rank_120",
    lambda f: (f.r.rolling(20).std().round(15).rolling(120).rank() - 1) / 119,
    5e-3,
    differ=5e-3,
)


def downside_share(f: Frame) -> Series:
    return f.r.clip(upper=0).pow(2).rolling(60).sum() / f.r.pow(2).rolling(60).sum()


def jump_share(f: Frame) -> Series:
    size = f.r.abs()
    bipower = np.pi / 2 * (size * size.shift()).rolling(60).sum()
    return (1 - bipower / f.r.pow(2).rolling(60).sum()).clip(lower=0)


say("downside_share_60", downside_share, 1e-5)
say("jump_share_60", jump_share, 1e-5)
say("ewma_vol_94", lambda f: np.sqrt((f.r**2).fillna(0).ewm(alpha=0.06, adjust=False).mean()), 1e-8)
say(
    "ulcer_60",
    lambda f: np.sqrt((np.log(f.close / f.close.rolling(60).max()) ** 2).rolling(60).mean()),
    1e-8,
)
say("atr_ratio_7_21", lambda f: wilder(f.tr.bfill(), 7) / wilder(f.tr.bfill(), 21), 1e-4)

# Group moments.

for k in (20, 60, 120):
    say(f"return_skew_{k}", lambda f, k=k: f.r.rolling(k).skew(), 1e-5)
    say(f"return_kurt_{k}", lambda f, k=k: f.r.rolling(k).kurt(), 1e-4)


def windows_of(x: Series, k: int) -> np.ndarray:
    """Shape (n, k): the trailing window of every row, NaN before the start."""
    padded = np.r_[np.full(k - 1, np.nan), x.to_numpy(float)]
    return np.lib.stride_tricks.sliding_window_view(padded, k)


def mad_ratio(f: Frame) -> Series:
    rows = windows_of(f.r, 60)
    distance = np.abs(rows - rows.mean(axis=1, keepdims=True)).mean(axis=1)
    return Series(distance / rows.std(axis=1, ddof=1))


def tail_ratio(f: Frame) -> Series:
    gain, loss = f.r.rolling(60).max().clip(lower=0), (-f.r).rolling(60).max().clip(lower=0)
    return (gain - loss) / (gain + loss)


def shares_entropy(symbols: Series, largest: int) -> Series:
    """Entropy of the symbols in windows of 60, over the entropy of ``largest`` equally frequent ones."""
    out = np.zeros(len(symbols))
    for symbol in np.unique(symbols):
        share = (symbols == symbol).rolling(60).mean().round(9)
        out -= np.where(share > 0, share * np.log(np.where(share > 0, share, 1)), 0)
    return Series(out / np.log(largest))


def entropy(f: Frame) -> Series:
    std = f.r.rolling(60).std()
    scaled = over(f.r, std).fillna(0)
    return shares_entropy(
        pd.cut(scaled, [-np.inf, -1.5, -0.75, -0.25, 0.25, 0.75, 1.5, np.inf], right=False), 7
    )


def permutation_entropy(f: Frame) -> Series:
    triples = windows_of(f.close, 3)
    order = np.argsort(triples, axis=1, kind="stable") @ np.array([9, 3, 1])
    return shares_entropy(Series(order), 6)


say("return_mad_ratio_60", mad_ratio, 1e-5)
say("tail_ratio_60", tail_ratio, 1e-6)
say("return_entropy_60", entropy, 1e-6, differ=1e-2)
say("permutation_entropy_60", permutation_entropy, 1e-6)

# Group autocorrelation.

for k in (1, 2, 5, 10):
    say(f"return_autocorr_lag{k}", lambda f, k=k: f.r.rolling(20).corr(f.r.shift(k)), 1e-6)
for k in (1, 5):
    say(f"return_autocorr_60_lag{k}", lambda f, k=k: f.r.rolling(60).corr(f.r.shift(k)), 1e-6)
    say(f"abs_return_autocorr_lag{k}", lambda f, k=k: f.r.abs().rolling(60).corr(f.r.abs().shift(k)), 1e-6)
for k in (2, 5, 10):
    say(
        f"variance_ratio_{k}",
        lambda f, k=k: f.lc.diff(k).rolling(120).var() / k / f.r.rolling(120).var(),
        1e-5,
    )


def hurst(f: Frame) -> Series:
    lags = np.array([1, 2, 4, 8, 16])
    sizes = np.stack([f.lc.diff(k).abs().rolling(120).mean() for k in lags])
    known = np.isfinite(sizes).all(axis=0)
    out = np.full(len(f), np.nan)
    out[known] = np.polyfit(np.log(lags), np.log(sizes[:, known]), 1)[0]
    return Series(out)


say("hurst_120", hurst, 1e-6)
say("sign_persistence_60", lambda f: (f.sign * f.sign.shift()).rolling(60).mean(), 1e-6)
say("leverage_60", lambda f: f.r.abs().rolling(60).corr(f.r.shift()), 1e-6)

# Group volume.

for k in (5, 20, 60):
    say(f"volume_ratio_{k}", lambda f, k=k: f.volume / f.volume.rolling(k).mean(), 1e-5)
for k in (20, 60):
    say(f"volume_zscore_{k}", lambda f, k=k: zscore(f.volume, k), 1e-5)
    say(f"price_volume_corr_{k}", lambda f, k=k: f.r.rolling(k).corr(f.volume), 1e-6)
    say(
        f"obv_{k}",
        lambda f, k=k: (f.sign * f.volume).rolling(k).sum() / f.volume.rolling(k).sum(),
        1e-6,
    )
say("log_volume", lambda f: np.log(1 + f.volume), 1e-6)
say("volume_trend_5_60", lambda f: f.volume.rolling(5).mean() / f.volume.rolling(60).mean(), 1e-6)
say("volume_variation_60", lambda f: f.volume.rolling(60).std() / f.volume.rolling(60).mean(), 1e-6)


def money_flow(f: Frame) -> Series:
    place = over(2 * f.close - f.high - f.low, f.span)
    return (place * f.volume).rolling(20).sum() / f.volume.rolling(20).sum()


say("cmf_20", money_flow, 1e-6)
say("abs_return_volume_corr_60", lambda f: f.r.abs().rolling(60).corr(f.volume), 1e-6)
say("volume_autocorr_lag1", lambda f: f.volume.rolling(60).corr(f.volume.shift()), 1e-6)
say("force_13", lambda f: ema((f.r * f.volume).fillna(0), 13) / ema(f.volume, 13), 1e-8)


def ease(f: Frame) -> Series:
    scarce = over(f.volume.rolling(14).mean(), f.volume).clip(upper=100)
    width = over(f.span, f.span.rolling(14).mean())
    middle = (f.high + f.low) / 2
    return (1e4 * np.log(middle / middle.shift()) * width * scarce).rolling(14).mean()


say("ease_14", ease, 1e-4)


def vwap(f: Frame) -> Series:
    days = f.assign(money=f.typical * f.volume).groupby("session")
    return days.money.cumsum() / days.volume.cumsum()


say("vwap", vwap, 1e-3)
say("price_to_vwap", lambda f: f.close / vwap(f) - 1, 1e-7)
say(
    "session_obv",
    lambda f: (
        f.assign(flow=f.sign * f.volume).groupby("session").flow.cumsum()
        / f.groupby("session").volume.cumsum()
    ),
    1e-6,
)
say(
    "price_to_vwma_20",
    lambda f: f.close / ((f.close * f.volume).rolling(20).sum() / f.volume.rolling(20).sum()) - 1,
    1e-7,
)
say(
    "up_volume_share_20",
    lambda f: f.volume.where(f.sign > 0, 0).rolling(20).sum() / f.volume.rolling(20).sum(),
    1e-6,
)
say("volume_rank_120", lambda f: (f.volume.rolling(120).rank() - 1) / 119, 1e-6)

# Group trend.

DMI = ("high", "low", "close")
say("plus_di_14", by_talib("PLUS_DI", *DMI, timeperiod=14), 1e-3)
say("minus_di_14", by_talib("MINUS_DI", *DMI, timeperiod=14), 1e-3)
say("adx_14", by_talib("ADX", *DMI, timeperiod=14), 2e-2)


def strong_trend(f: Frame) -> Series:
    plus, minus, adx = (by_talib(name, *DMI, timeperiod=14)(f) for name in ("PLUS_DI", "MINUS_DI", "ADX"))
    return np.sign(plus - minus) * (adx > 25)


say("adx_14_strong", strong_trend, differ=2e-3)
say("aroon_down_25", by_talib("AROON", "high", "low", output=0, timeperiod=25), 1e-5)
say("aroon_up_25", by_talib("AROON", "high", "low", output=1, timeperiod=25), 1e-5)
say(
    "vortex_plus_14",
    lambda f: (f.high - f.low.shift()).abs().rolling(14).sum() / f.tr.rolling(14).sum(),
    1e-6,
)
say(
    "vortex_minus_14",
    lambda f: (f.low - f.high.shift()).abs().rolling(14).sum() / f.tr.rolling(14).sum(),
    1e-6,
)


def choppiness(f: Frame) -> Series:
    high, low = place(f, 14)
    return 100 * np.log10(f.tr.rolling(14).sum() / (high - low)) / np.log10(14)


say("choppiness_14", choppiness, 1e-4)


def fit(f: Frame, k: int) -> Series:
    return f.lc.rolling(k).corr(Series(np.arange(float(len(f))))) ** 2


for k in (20, 60):
    say(f"linreg_slope_{k}", by_talib("LINEARREG_SLOPE", "lc", timeperiod=k))
    say(f"linreg_r2_{k}", lambda f, k=k: fit(f, k), 1e-5)
    say(f"linreg_gap_{k}", lambda f, k=k: f.lc - by_talib("LINEARREG", "lc", timeperiod=k)(f), 1e-8)
    say(f"donchian_width_{k}", lambda f, k=k: (place(f, k)[0] - place(f, k)[1]) / f.close, 1e-8)
    say(
        f"breakout_{k}",
        lambda f, k=k: (
            (f.close > place(f, k)[0].shift()).astype(float)
            - (f.close < place(f, k)[1].shift()).astype(float)
        ),
    )
say("donchian_upper_20", lambda f: place(f, 20)[0], 1e-3)
say("donchian_lower_20", lambda f: place(f, 20)[1], 1e-3)
for k in (20, 120):
    say(
        f"donchian_position_{k}",
        lambda f, k=k: over(f.close - place(f, k)[1], place(f, k)[0] - place(f, k)[1], 0.5),
        1e-6,
    )


def middle_of(f: Frame, k: int) -> Series:
    return sum(place(f, k)) / 2


say("tenkan_gap", lambda f: 1 - middle_of(f, 9) / f.close, 1e-8)
say("kijun_gap", lambda f: 1 - middle_of(f, 26) / f.close, 1e-8)
say(
    "cloud_gap",
    lambda f: 1 - ((middle_of(f, 9) + middle_of(f, 26)) / 2 + middle_of(f, 52)).shift(26) / 2 / f.close,
    1e-8,
)


def mass(f: Frame) -> Series:
    single = ema(f.span, 9)
    return (single / ema(single, 9)).rolling(25).sum()


say("mass_25", mass, 1e-4)


def streak(f: Frame) -> Series:
    run = f.groupby((f.sign != f.sign.shift()).cumsum()).cumcount() + 1
    return f.sign * run.clip(upper=20)


say("streak_20", streak)

# Group candles.

MIXED = dict(differ=2e-3)  # a body against the mean of ten: pandas carries rounding from bar to bar


def shadows(f: Frame) -> tuple[Series, Series]:
    return f.high - f[["open", "close"]].max(axis=1), f[["open", "close"]].min(axis=1) - f.low


def signed(up: Series, down: Series) -> Series:
    return up.astype(float) - down.astype(float)


say("body_ratio", lambda f: over(f.body, f.span), 1e-6)
say("upper_shadow", lambda f: over(shadows(f)[0], f.span), 1e-6)
say("lower_shadow", lambda f: over(shadows(f)[1], f.span), 1e-6)
say("body_size_10", lambda f: f.body / f.usual, 1e-5)
say("doji", lambda f: ((f.body * 10 <= f.span) & (f.span > 0)).astype(float), **MIXED)
say("marubozu", lambda f: f.side * ((f.body > f.usual) & (f.body * 10 >= f.span * 9)), **MIXED)


def pin(f: Frame, long: int, sign: int) -> Series:
    shape = (shadows(f)[long] >= 2 * f.body) & (shadows(f)[1 - long] * 5 < f.span)
    return (shape & (sign * f.close.diff(5) > 0)).astype(float)


say("hammer", lambda f: pin(f, 1, -1), **MIXED)
say("shooting_star", lambda f: pin(f, 0, 1), **MIXED)


def engulfing(f: Frame) -> Series:
    covers = (f.close >= f.open.shift()) & (f.open <= f.close.shift())
    covered = (f.open >= f.close.shift()) & (f.close <= f.open.shift())
    larger = f.body > f.body.shift()
    up = covers & (f.side > 0) & (f.side.shift() < 0)
    return signed(up & larger, covered & (f.side < 0) & (f.side.shift() > 0) & larger)


say("engulfing", engulfing)


def harami(f: Frame) -> Series:
    before = f.shift()
    long, smaller = before.body > before.usual, f.body < before.body
    up = (before.side < 0) & (f.side > 0) & (f.open >= before.close) & (f.close <= before.open)
    down = (before.side > 0) & (f.side < 0) & (f.open <= before.close) & (f.close >= before.open)
    return signed(up & long & smaller, down & long & smaller)


say("harami", harami, **MIXED)


def piercing(f: Frame) -> Series:
    before = f.shift()
    middle, long = (before.open + before.close) / 2, before.body > before.usual
    up = (before.side < 0) & (f.side > 0) & (f.close > middle) & (f.close < before.open)
    down = (before.side > 0) & (f.side < 0) & (f.close < middle) & (f.close > before.open)
    return signed(up & long, down & long)


say("piercing", piercing, **MIXED)


def star(f: Frame) -> Series:
    first, second = f.shift(2), f.shift()
    shape = (first.body > first.usual) & (2 * second.body < second.usual)
    middle = (first.open + first.close) / 2
    up = shape & (first.side < 0) & (f.side > 0) & (f.close > middle)
    return signed(up, shape & (first.side > 0) & (f.side < 0) & (f.close < middle))


say("star", star, **MIXED)


def soldiers(f: Frame) -> Series:
    rising, falling = ((f.side == s) & (f.sign == s) for s in (1, -1))
    return signed(rising.rolling(3).sum() == 3, falling.rolling(3).sum() == 3)


say("three_soldiers", soldiers)


def inside(f: Frame) -> Series:
    within = (f.high <= f.high.shift()) & (f.low >= f.low.shift())
    return (within & ((f.high < f.high.shift()) | (f.low > f.low.shift()))).astype(float)


say("inside_bar", inside)
say("outside_bar", lambda f: f.side * ((f.high > f.high.shift()) & (f.low < f.low.shift())))


def tweezer(f: Frame) -> Series:
    bottom = (f.low == f.low.shift()) & (f.side.shift() == -1) & (f.side == 1)
    return signed(bottom, (f.high == f.high.shift()) & (f.side.shift() == 1) & (f.side == -1))


say("tweezer", tweezer)
say(
    "pressure_10",
    lambda f: over((shadows(f)[1] - shadows(f)[0]).rolling(10).sum(), f.span.rolling(10).sum()),
    1e-6,
)

# Group temporal.


def circle(name: str, turns: Callable[[Frame], Series]) -> None:
    say(f"{name}_sin", lambda f: np.sin(2 * np.pi * turns(f)), 1e-6)
    say(f"{name}_cos", lambda f: np.cos(2 * np.pi * turns(f)), 1e-6)


def clock(f: Frame) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(pd.to_datetime(f.minute, unit="m"))


say("minutes_since_open", lambda f: f.elapsed.astype(float))
say("log_minutes_to_close", lambda f: np.log(1 + (f.length - f.elapsed - f.bar).clip(lower=0)), 1e-6)
say("log_idle_minutes", lambda f: np.log(f.minute.diff() - f.bar + 1), 1e-6)
circle("session", lambda f: f.elapsed / f.length)
circle("hour", lambda f: Series((clock(f).hour * 60 + clock(f).minute) / 1440))
circle("minute", lambda f: Series(clock(f).minute / 60))
circle("day_of_week", lambda f: Series(pd.DatetimeIndex(pd.to_datetime(f.session, unit="D")).day_of_week / 7))

# Group microstructure.


def illiquidity(f: Frame) -> Series:
    return over(1e6 * f.r.abs(), f.close * f.volume)


for k in (10, 20, 60):
    say(f"amihud_{k}", lambda f, k=k: illiquidity(f).rolling(k).mean())
    say(
        f"efficiency_{k}",
        lambda f, k=k: f.close.diff(k).abs() / f.close.diff().abs().rolling(k).sum(),
        1e-6,
    )
say(
    "amihud_ratio_10_60",
    lambda f: illiquidity(f).rolling(10).mean() / illiquidity(f).rolling(60).mean(),
    1e-5,
)


def roll(f: Frame, k: int) -> Series:
    return 2 * np.sqrt((-f.r.rolling(k).cov(f.r.shift())).clip(lower=0))


def corwin_schultz(f: Frame, k: int) -> Series:
    beta = (np.log(f.high / f.low) ** 2).rolling(2).sum()
    gamma = np.log(f.high.rolling(2).max() / f.low.rolling(2).min()) ** 2
    c = 3 - 2 * np.sqrt(2)
    alpha = (np.sqrt(2 * beta) - np.sqrt(beta)) / c - np.sqrt(gamma / c)
    return (2 * (np.exp(alpha) - 1) / (1 + np.exp(alpha))).clip(lower=0).rolling(k).mean()


def abdi_ranaldo(f: Frame) -> Series:
    middle = np.log((f.high + f.low) / 2)
    terms = (f.lc.shift() - middle.shift()) * (f.lc.shift() - middle)
    return 2 * np.sqrt(terms.rolling(20).mean().clip(lower=0))


def slope(f: Frame, k: int) -> Series:
    flow = f.volume * f.sign
    return f.r.rolling(k).cov(flow) / flow.rolling(k).var()


for k in (20, 60):
    say(f"roll_spread_{k}", lambda f, k=k: roll(f, k), 1e-7)
    say(f"corwin_schultz_{k}", lambda f, k=k: corwin_schultz(f, k), 1e-8)
    say(f"kyle_lambda_{k}", lambda f, k=k: 1e3 * slope(f, k), 1e-7)
say("abdi_ranaldo_20", abdi_ranaldo, 1e-6)
say("flow_return_corr_60", lambda f: f.r.rolling(60).corr(f.volume * f.sign), 1e-6)
say("impact_20", lambda f: slope(f, 20) * f.volume.rolling(20).mean(), 1e-8)
say("imbalance", lambda f: over(f.close - f.open, f.span), 1e-6)
say("body_imbalance_20", lambda f: (f.close - f.open).rolling(20).sum() / f.span.rolling(20).sum(), 1e-6)
say(
    "cum_imbalance_20",
    lambda f: (over(f.close - f.open, f.span) * f.volume).rolling(20).sum() / f.volume.rolling(20).sum(),
    1e-6,
)
say("vol_ratio_5_20", lambda f: f.r.rolling(5).std() / f.r.rolling(20).std(), 1e-5)


def bought(f: Frame) -> Series:
    scaled = over(f.r, f.r.rolling(60).std())
    return f.volume * (2 * scaled.map(NormalDist().cdf, na_action="ignore") - 1)


say("vpin_50", lambda f: bought(f).abs().rolling(50).sum() / f.volume.rolling(50).sum(), 1e-5)
say("bulk_flow_20", lambda f: bought(f).rolling(20).sum() / f.volume.rolling(20).sum(), 1e-5)
say("still_share_20", lambda f: (f.sign == 0).rolling(20).mean(), 1e-6)
say("reversal_20", lambda f: (f.sign * f.sign.shift() == -1).rolling(20).mean(), 1e-6)
say("spread_to_range_20", lambda f: roll(f, 20) / np.log(f.high / f.low).rolling(20).mean(), 1e-3)

# Group wavelets. The stationary transform of PyWavelets, as many bars ago as its filters reach forward


def bands(x: Series, levels: int) -> list[Series]:
    """Details of each level, then the approximation."""
    ahead = -len(x) % 2**levels  # the transform wants a multiple
    values = np.r_[np.zeros(ahead), x.fillna(0).to_numpy(float)]
    pairs = pywt.swt(values, "db4", level=levels, norm=True)[::-1]
    delayed = [np.roll(detail, (2 ** (j + 1) - 1) * 4) for j, (_, detail) in enumerate(pairs)]
    return [Series(band[ahead:]) for band in (*delayed, np.roll(pairs[-1][0], (2**levels - 1) * 4))]


def waves(kind: str, source: Callable[[Frame], Series], levels: int) -> None:
    names = [*(f"d{j + 1}" for j in range(levels)), f"a{levels}"]

    def energy(f: Frame) -> pd.DataFrame:
        return pd.concat([(band**2).rolling(64).mean() for band in bands(source(f), levels)], axis=1)

    for i, name in enumerate(names):
        say(
            f"wave_{kind}_{name}",
            lambda f, i=i: bands(source(f), levels)[i] / np.sqrt(energy(f)[i]),
            1e-5,
        )
        say(f"wave_{kind}_energy_{name}", lambda f, i=i: energy(f)[i] / energy(f).sum(axis=1), 1e-5)


def trend_strength(f: Frame) -> Series:
    found = bands(f.r, 4)
    return found[4].abs() / np.sqrt(sum((band**2).rolling(64).mean() for band in found))


waves("close", lambda f: f.r, 4)
waves("volume", lambda f: np.log(1 + f.volume).diff(), 3)
say("wave_trend_strength", trend_strength, 1e-5)
say("wave_trend_direction", lambda f: np.sign(bands(f.r, 4)[4]), differ=1e-3)
say("wave_noise_60", lambda f: np.sqrt(np.pi) * bands(f.r, 4)[0].abs().rolling(60).mean(), 1e-8)
for k in (2, 4, 8, 16, 32):
    say(f"haar_{k}", lambda f, k=k: f.lc.rolling(k).mean().diff(k) / 2, 1e-8)
