"""Indicators of the higher ladder steps: computed on closed bars of the step, read at the last one known.

Names end in the step's minutes: ``rsi_14_15m``. Windows are finite and at most 20 bars of the step, so the
look-back in base bars is (window + 2) * step / bar. The step equal to the base is left out.
"""

from collections.abc import Callable, Iterator

import numpy as np

from mlfactory.features import inputs, kernels
from mlfactory.features import windows as w
from mlfactory.features.registry import feature
from mlfactory.features.segment import Floats, Floats32, Segment, Setting, StepBars

PER_STEP: dict[str, int] = {
    "return_1": 2,
    "return_5": 6,
    "return_t_20": 21,
    "hvol_20": 21,
    "close_to_sma_20": 20,
    "sma_slope_10": 20,
    "rsi_14": 15,
    "atr_14_pct": 15,
    "bb_position": 20,
    "clv": 1,
    "range_ratio_20": 20,
    "body": 1,
    "efficiency_10": 11,
    "donchian_position_20": 20,
    "di_balance_14": 15,
}
"""Window in bars of the step, the close before included, of each indicator."""
WITH_VOLUME: dict[str, int] = {"volume_ratio_20": 20, "cmf_20": 20}
AT_BASE: dict[str, int] = {"price_to_close": 1, "age": 1}
LEVELS: dict[str, int] = {"high": 1, "low": 1, "sma_20": 20}


def _columns(windows: dict[str, int]) -> Callable[[Setting], dict[str, int]]:
    def columns(setting: Setting) -> dict[str, int]:
        return {
            f"{name}_{step}m": (window + 2) * -(-step // setting.bar_minutes)
            for step in setting.steps
            for name, window in windows.items()
        }

    return columns


@feature(_columns(PER_STEP), unit="as the base column of the same name")
def step_indicators(x: Segment) -> Iterator[Floats32]:
    """Simple-mean indicators of the last closed bar of the step."""
    return (_at_base(bars, values) for bars in x.ladder.values() for values in _indicators(bars))


@feature(_columns(WITH_VOLUME), unit="ratio", needs_volume=True)
def step_volume(x: Segment) -> Iterator[Floats32]:
    """Volume of the last closed bar over its mean, and Chaikin money flow, of the step."""
    return (_at_base(bars, values) for bars in x.ladder.values() for values in _flow(bars))


@feature(_columns(AT_BASE), unit="log price; minutes of trading")
def step_distance(x: Segment) -> Iterator[Floats]:
    """Log close against the step's last close, and minutes of trading since it closed."""
    for bars in x.ladder.values():
        yield inputs.log_close(x) - kernels.bring(np.append(np.log(bars.close), 0.0), bars.last, bars.begin)
        yield bars.age


@feature(_columns(LEVELS), unit="price", level=True)
def step_levels(x: Segment) -> Iterator[Floats32]:
    """High and low of the last closed bar of the step, and the mean of its last 20 closes."""
    for bars in x.ladder.values():
        yield from (_at_base(bars, values) for values in (bars.high, bars.low, w.mean(bars.close, 20)))


def _at_base(bars: StepBars, values: Floats) -> Floats32:
    known = np.zeros(len(values) + 1, np.float32)  # -1, no bar yet, is the zero at the end
    known[:-1] = values
    return kernels.bring(known, bars.last, bars.begin)


def _indicators(bars: StepBars) -> list[Floats]:
    if not len(bars.close):
        return [bars.close] * len(PER_STEP)
    span = bars.high - bars.low
    price = np.log(bars.close)
    move = w.difference(price)
    change = w.difference(bars.close)
    before = w.lag(bars.close, 1)
    true = np.maximum(bars.high, before) - np.minimum(bars.low, before)
    drift, spread, level = w.spread(move, 20), w.spread(bars.close, 20), w.mean(bars.close, 10)
    mean = spread.mean[0]
    rise, size = w.total(np.maximum(change, 0.0), 14), w.total(np.abs(change), 14)
    high, low = w.highest(bars.high, 20), w.lowest(bars.low, 20)
    return [
        move,
        w.difference(price, 5),
        w.ratio(drift.mean[0], drift.std[0]) * np.sqrt(20),
        drift.std[0],
        (bars.close - mean) / mean,
        np.log(level / w.lag(level, 10)),
        w.ratio(100 * rise, size, 50.0),
        w.mean(true, 14) / bars.close,
        0.5 + w.ratio(bars.close - mean, 4 * spread.std[0]),
        w.ratio((bars.close - bars.low) - (bars.high - bars.close), span),
        w.ratio(span, w.mean(span, 20), 1.0),
        np.log(bars.close / bars.open),
        w.ratio(np.abs(bars.close - w.lag(bars.close, 10)), w.total(np.abs(change), 10)),
        w.ratio(bars.close - low, high - low, 0.5),
        _directional(bars, true),
    ]


def _directional(bars: StepBars, true: Floats) -> Floats:
    rise, fall = bars.high - w.lag(bars.high, 1), w.lag(bars.low, 1) - bars.low
    up, down = np.maximum(rise, 0.0) * (rise > fall), np.maximum(fall, 0.0) * (fall > rise)
    return w.ratio(100 * w.total(up - down, 14), w.total(true, 14))


def _flow(bars: StepBars) -> list[Floats]:
    if not len(bars.close):
        return [bars.close] * len(WITH_VOLUME)
    place = w.ratio((bars.close - bars.low) - (bars.high - bars.close), bars.high - bars.low)
    return [
        w.ratio(bars.volume, w.mean(bars.volume, 20), 1.0),
        w.ratio(w.total(place * bars.volume, 20), w.total(bars.volume, 20)),
    ]
