"""Seeded one-minute futures bars to run the factory on: with a weak signal that can be learnt, or with none.

Bars lie in the instrument's own session calendar, so daily halts, weekends and holidays are real. Minutes without a
trade are absent, more of them when volume is thin. Volume has a U shape over the day session, follows volatility, and
carries a *pressure* of its own half of which is forgotten in five minutes. Prices are rounded to the tick.

With ``planted`` the log volatility follows three Markov regimes that last some two thousand bars each and fade into
one another, and prices drift: at the close of bar t, the expected log return of bar t+1 in units of its volatility is

    kappa (momentum_t + pressure_t) / sqrt(2)

``momentum`` is the log return of the last closed 15-minute bar, anchored at the session open, over its volatility;
``pressure`` is the standardised excess of log volume over its usual level. Neither gives the whole alone: the first
is a column of the ladder, the second of the volume group. The sum is linear on purpose, so that every family of
models can find it.

With ``none`` no column says anything about a label whose barriers are multiples of ATR. The price is a martingale
with innovations independent of the past. That alone would not do: where volatility changes, or ATR errs, the ratio of
coming volatility to ATR tells how likely it is that no barrier is reached; and where it changes the cost, which is
fixed in ticks, weighs differently. So volatility is constant, and a bar's range is nearly the same multiple of it
whatever its return: ATR stays within two percent of its mean.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.bars import DAY_MINUTES, Instrument, Ints
from mlfactory.common.jit import kernel
from mlfactory.ingest.params import Synthetic
from mlfactory.ingest.sessions import Schedule, schedule
from mlfactory.ingest.source import Rows

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

KAPPA: Final = 0.1
"""Strength of the planted drift: its standard deviation in units of a bar's volatility, momentum's feedback aside."""
LADDER_MINUTES: Final = 15
BOUND: Final = 2.5
"""Largest absolute value of either part of the signal."""
PRESSURE_MEMORY: Final = 0.5 ** (1 / 5)
"""Autocorrelation of the pressure from bar to bar: half is forgotten in 5 bars."""
LEVELS: Final = np.array([-0.45, 0.0, 0.5])
"""Log volatility of the regimes."""
SWITCH: Final = 1 / 2000
"""Probability per bar of leaving a regime."""
FADE: Final = 1 / 200
"""Share of the distance to its regime that volatility covers per bar: slow against the 14 bars of ATR."""
_MIDDLE: Final = 1  # the regime of the first bar
_PRESSURE_WEIGHT: Final = 0.35  # of the pressure in log volume
_VOLUME_NOISE: Final = 0.08
_RANGE: Final = 2.4  # a bar's range in units of its volatility: few returns exceed it
_RANGE_NOISE: Final = 0.1
_VOLUME: Final = 400.0  # contracts a minute at the usual level
_ABSENT: Final = 0.06  # share of minutes without a trade when volume is thinnest
_SPARE: Final = 1.1  # open minutes drawn per bar wanted


@dataclass(frozen=True)
class Series:
    """Generated bars and the truth behind them; arrays of shape (n,), one row per bar."""

    minute: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    regime: Ints
    volatility: Floats
    """standard deviation of the bar's log return"""
    momentum: Floats
    """standardised return of the last closed 15-minute bar, known at the bar's close"""
    pressure: Floats
    """standardised excess volume, known at the bar's close"""
    drift: Floats
    """expected log return of the *next* bar in units of its volatility, known at the bar's close"""

    def rows(self) -> Rows:
        """The bars as a source states them."""
        values = {name: getattr(self, name) for name in ("open", "high", "low", "close", "volume")}
        return Rows(np.arange(len(self.minute)), self.minute * 60_000_000, values)


class Clock(NamedTuple):
    """Where bars lie in the calendar; arrays of shape (n,)."""

    minute: Ints
    fraction: Floats
    """part of the session elapsed, 0 to 1"""
    ladder_bar: Ints
    """number of the 15-minute bar, increasing with time"""
    ends: Bools
    """whether the 15-minute bar ends with this bar"""


class Walk(NamedTuple):
    """A walk and its memory; arrays of shape (n + 1,), of which element 0 is the state before the first bar."""

    price: Floats
    """log close"""
    momentum: Floats
    opened: Floats
    """log price at which the running 15-minute bar began"""


def generate(settings: Synthetic, instrument: Instrument) -> Series:
    """Draw a series; equal settings give equal bytes."""
    random = np.random.default_rng(settings.seed)
    clock = draw_clock(settings, instrument, random)
    n = len(clock.minute)
    regime = draw_regimes(n, _MIDDLE, random)
    planted = settings.signal == "planted"
    relative = np.exp(fade(LEVELS[regime], LEVELS[_MIDDLE], FADE)) if planted else np.ones(n)
    pressure = autoregression(random.standard_normal(n), random.standard_normal(), PRESSURE_MEMORY)
    shock = random.standard_normal(n)
    kappa = KAPPA if planted else 0.0
    walk = Walk(
        np.full(n + 1, np.log(settings.price)), np.zeros(n + 1), np.full(n + 1, np.log(settings.price))
    )
    pressed = np.concatenate([[0.0], pressure])
    advance(walk, 0, (settings.volatility * relative, pressed, shock), (clock.ladder_bar, clock.ends), kappa)
    prices = candles(walk.price, settings.volatility * relative, instrument.tick_size, random)
    momentum = walk.momentum[1:]
    return Series(
        clock.minute,
        *prices,
        volume=_volume(clock.fraction, relative, pressure, random),
        regime=regime,
        volatility=settings.volatility * relative,
        momentum=momentum,
        pressure=pressure,
        drift=kappa * expected(momentum, pressure),
    )


def expected(momentum: Floats, pressure: Floats) -> Floats:
    """The planted relation before its strength: about unit variance."""
    return np.asarray((momentum + np.clip(pressure, -BOUND, BOUND)) / np.sqrt(2.0))


def draw_clock(settings: Synthetic, instrument: Instrument, random: np.random.Generator) -> Clock:
    """Draw the minutes that have a trade, from the first session on."""
    wanted = int(settings.bars * _SPARE) + 1000
    calendar, minute = _open_minutes(instrument, settings.start, wanted)
    traded = random.random(wanted) > _ABSENT * np.exp(-_activity(_fraction(calendar, minute)))
    minute = minute[traded][: settings.bars]
    number = calendar.latest(minute)
    since = minute - calendar.open[number]
    ladder_bar = number * DAY_MINUTES + since // LADDER_MINUTES
    ends = ((since + 1) % LADDER_MINUTES == 0) | (minute + 1 == calendar.close[number])
    return Clock(minute, _fraction(calendar, minute), ladder_bar, ends)


def _open_minutes(instrument: Instrument, start: str, wanted: int) -> tuple[Schedule, Ints]:
    first = int(np.datetime64(start, "D").astype(np.int64))
    days = 30
    while True:
        calendar = schedule(instrument, first * DAY_MINUTES, (first + days) * DAY_MINUTES).since(first)
        minute = calendar.open_minutes()
        if len(minute) >= wanted:
            return calendar, minute[:wanted]
        days *= 2


def _fraction(calendar: Schedule, minute: Ints) -> Floats:
    number = calendar.latest(minute)
    length = calendar.close[number] - calendar.open[number]
    return np.asarray((minute - calendar.open[number] + 0.5) / length)


def _activity(fraction: Floats) -> Floats:
    """Usual volume over a session, about 1 on average: a U over the last third, the day, that swells slowly."""
    morning = np.exp(-(((fraction - 0.68) / 0.08) ** 2))
    afternoon = np.exp(-(((fraction - 0.92) / 0.08) ** 2))
    return np.asarray(0.6 + 1.2 * morning + 1.5 * afternoon)


def draw_regimes(n: int, regime: int, random: np.random.Generator) -> Ints:
    """Draw the regime of the next ``n`` bars after one in ``regime``; each of the others is as likely to follow."""
    switch = random.random(n) < SWITCH
    step = random.integers(1, len(LEVELS), n)
    return np.asarray((regime + np.cumsum(np.where(switch, step, 0))) % len(LEVELS))


@kernel
def fade(level: Floats, start: float, share: float) -> Floats:
    """Approach ``level`` from ``start``, by a ``share`` of the distance per bar."""
    out = np.empty(len(level))
    value = start
    for t in range(len(level)):
        value += share * (level[t] - value)
        out[t] = value
    return out


@kernel
def autoregression(shock: Floats, start: float, memory: float) -> Floats:
    """First-order autoregression of unit variance after ``start``; ``memory`` is its correlation from bar to bar."""
    out = np.empty(len(shock))
    value = start
    scale = np.sqrt(1 - memory * memory)
    for t in range(len(shock)):
        value = memory * value + scale * shock[t]
        out[t] = value
    return out


@kernel
def advance(
    walk: Walk, first: int, bars: tuple[Floats, Floats, Floats], ladder: tuple[Ints, Bools], kappa: float
) -> None:
    """Walk the log price forward, each step's drift from what was known at the close before.

    Args:
        walk: filled up to element ``first``; the rest is overwritten.
        first: bar to begin with.
        bars: volatility and shock of each bar, shape (n,), and between them the pressure, shape (n + 1,), whose
            element 0 is the pressure before the first bar.
        ladder: number of each bar's 15-minute bar, and whether that ends with the bar; shape (n,).
        kappa: strength of the drift.
    """
    volatility, pressure, shock = bars
    ladder_bar, ends = ladder
    price, momentum, opened = walk
    for t in range(first, len(shock)):
        known = min(max(pressure[t], -BOUND), BOUND)
        drift = kappa * (momentum[t] + known) / np.sqrt(2.0)
        # half the variance off, so that the price and not its logarithm is the martingale
        price[t + 1] = price[t] + volatility[t] * (drift - 0.5 * volatility[t] + shock[t])
        scale = volatility[t] * np.sqrt(LADDER_MINUTES)
        momentum[t + 1] = momentum[t]
        opened[t + 1] = opened[t]
        if t > 0 and ladder_bar[t] != ladder_bar[t - 1] and not ends[t - 1]:
            # the minute that ends a 15-minute bar had no trade: its end is known a bar later, by the clock
            momentum[t + 1] = min(max((price[t] - opened[t]) / scale, -BOUND), BOUND)
            opened[t + 1] = price[t]
        if ends[t]:
            momentum[t + 1] = min(max((price[t + 1] - opened[t + 1]) / scale, -BOUND), BOUND)
            opened[t + 1] = price[t + 1]


def candles(
    price: Floats, volatility: Floats, tick: float, random: np.random.Generator
) -> tuple[Floats, Floats, Floats, Floats]:
    """Draw open, high, low and close on the tick: the range hardly depends on the return, the wicks share the rest.

    Args:
        price: log close, shape (n + 1,); element 0 is the close before the first bar.
        volatility: of each bar's log return, shape (n,).
        tick: price units.
        random: where the wicks come from.
    """
    n = len(volatility)
    level = np.round(np.exp(price) / tick)
    close = level[1:]
    opened = level[:-1] + random.choice(np.array([-1.0, 0.0, 1.0]), n, p=[0.15, 0.7, 0.15])
    spread = 1 + _RANGE_NOISE * random.uniform(-1.0, 1.0, n)
    wicks = np.maximum(_RANGE * spread * volatility * np.exp(price[1:]) / tick - np.abs(close - opened), 0.0)
    above = np.floor(wicks * random.random(n) + random.random(n))
    below = np.maximum(np.round(wicks - above), 0.0)
    high, low = np.maximum(opened, close) + above, np.minimum(opened, close) - below
    opened, high, low, close = (np.round(ticks * tick, 10) for ticks in (opened, high, low, close))
    return opened, high, low, close


def _volume(fraction: Floats, relative: Floats, pressure: Floats, random: np.random.Generator) -> Floats:
    noise = _PRESSURE_WEIGHT * pressure + _VOLUME_NOISE * random.standard_normal(len(pressure))
    return np.asarray(np.maximum(np.round(_VOLUME * _activity(fraction) * relative * np.exp(noise)), 1.0))
