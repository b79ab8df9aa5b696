"""Generated bars look like a futures market, tell nothing without the signal, and with it no more than they should."""

from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from mlfactory.common.bars import Bars
from mlfactory.ingest import synthetic
from mlfactory.ingest.clean import clean
from mlfactory.ingest.instruments import instrument, instruments
from mlfactory.ingest.params import Params, Synthetic
from mlfactory.ingest.sessions import schedule
from mlfactory.ingest.synthetic import Series, generate
from mlfactory.labels.params import Barrier
from mlfactory.labels.triple_barrier import triple_barrier, true_range_mean

ES = instrument("ES")
N = 60_000
SHORT = Barrier(take_profit=1.5, stop_loss=1.0, max_bars=12)
MIDDLE = Barrier(take_profit=2.0, stop_loss=1.4, max_bars=25)
LONG = Barrier(take_profit=3.0, stop_loss=2.1, max_bars=50)
Floats = Any


@pytest.fixture(scope="module")
def planted() -> Series:
    return generate(Synthetic(bars=N, seed=1), ES)


@pytest.fixture(scope="module")
def blank() -> Series:
    return generate(Synthetic(bars=N, seed=1, signal="none"), ES)


@pytest.fixture(params=["planted", "none"])
def series(request: pytest.FixtureRequest, planted: Series, blank: Series) -> Series:
    return planted if request.param == "planted" else blank


def returns(series: Series) -> Floats:
    """Log return of each bar but the first, over its volatility."""
    return np.diff(np.log(series.close)) / series.volatility[1:]


def assert_no_correlation(one: Floats, other: Floats) -> None:
    assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(len(one))


def test_no_row_is_rejected_and_no_hole_parts_the_series(series: Series) -> None:
    result = clean(series.rows(), ES, Params())
    assert len(result.rejected) == 0
    assert len(result.bars.segments()) == 1
    assert len(result.bars) == N


def test_equal_settings_give_equal_bytes_and_another_seed_other_bars(blank: Series) -> None:
    again = generate(Synthetic(bars=N, seed=1, signal="none"), ES)
    for field in fields(Series):
        assert getattr(again, field.name).tobytes() == getattr(blank, field.name).tobytes()
    other = generate(Synthetic(bars=N, seed=2, signal="none"), ES)
    assert not np.array_equal(other.close, blank.close)


def test_prices_lie_on_the_tick(series: Series) -> None:
    for name in ("open", "high", "low", "close"):
        ticks = getattr(series, name) / ES.tick_size
        np.testing.assert_array_equal(ticks, np.round(ticks))


def test_nothing_trades_in_the_daily_halt_or_on_a_weekend(series: Series) -> None:
    local = pd.DatetimeIndex(series.minute.astype("datetime64[m]"), tz="UTC").tz_convert("America/Chicago")
    assert not (local.hour == 16).any()
    assert not (local.day_of_week == 5).any()
    assert local[local.day_of_week == 6].hour.min() == 17
    assert (local[local.day_of_week == 4].hour <= 15).all()


def test_some_minutes_have_no_trade_and_more_of_them_at_night(series: Series) -> None:
    calendar = schedule(ES, int(series.minute[0]), int(series.minute[-1]))
    opened = calendar.open_minutes()
    opened = opened[(opened >= series.minute[0]) & (opened <= series.minute[-1])]
    absent = ~np.isin(opened, series.minute)
    hour = opened // 60 % 24
    assert 0.01 < absent.mean() < 0.05
    assert absent[hour < 8].mean() > 1.5 * absent[(hour >= 14) & (hour < 21)].mean()


def test_volume_is_whole_positive_and_largest_at_both_ends_of_the_day(series: Series) -> None:
    calendar = schedule(ES, int(series.minute[0]), int(series.minute[-1]))
    since = series.minute - calendar.open[calendar.latest(series.minute)]
    night, morning, noon, afternoon = (
        np.median(series.volume[(since >= first) & (since < first + 60)]) for first in (480, 900, 1080, 1240)
    )
    assert (series.volume >= 1).all()
    assert (series.volume == np.round(series.volume)).all()
    assert night < noon < morning
    assert noon < afternoon


def test_volatility_switches_between_regimes_only_with_the_signal(planted: Series, blank: Series) -> None:
    assert set(np.unique(planted.regime)) == {0, 1, 2}
    stay = N / (1 + (np.diff(planted.regime) != 0).sum())
    assert 1000 < stay < 4000
    measured = [np.std(returns(planted)[planted.regime[1:] == state]) for state in range(3)]
    np.testing.assert_allclose(measured, 1, atol=0.03)
    assert planted.volatility.max() / planted.volatility.min() > 2
    assert np.ptp(blank.volatility) == 0


def test_a_series_begins_where_it_is_told(series: Series) -> None:
    other = generate(Synthetic(bars=100, start="2023-07-03"), ES)
    assert str(pd.Timestamp(int(series.minute[0]), unit="m"))[:15] == "2022-01-02 23:0"
    assert str(pd.Timestamp(int(other.minute[0]), unit="m"))[:15] == "2023-07-02 22:0"


@pytest.mark.parametrize("symbol", sorted(instruments()))
def test_every_instrument_can_be_generated(symbol: str) -> None:
    known = instrument(symbol)
    result = clean(generate(Synthetic(bars=3000), known).rows(), known, Params())
    assert len(result.bars) == 3000


def test_the_momentum_is_that_of_the_last_closed_quarter_hour(planted: Series) -> None:
    calendar = schedule(ES, int(planted.minute[0]), int(planted.minute[-1]))
    number = calendar.latest(planted.minute)
    since = planted.minute - calendar.open[number]
    place = pd.Series(number * 1000 + since // 15)
    last = pd.Series(np.log(planted.close)).groupby(place).last()
    move = last.diff() / np.sqrt(15)
    closed = np.where(
        (since + 1) % 15 == 0, place, place.map(dict(zip(last.index[1:], last.index, strict=False)))
    )
    rows = np.flatnonzero(since % 15 == 7)[10:]  # in the middle, where the clock leaves no doubt
    expected = pd.Series(closed[rows]).map(move).to_numpy() / planted.volatility[rows]
    inside = np.abs(expected) < 2
    np.testing.assert_allclose(planted.momentum[rows][inside], expected[inside], rtol=0.1, atol=0.05)


def test_returns_drift_as_the_signal_says(planted: Series) -> None:
    """The next return on the drift has slope 1 and intercept 0, within three standard errors."""
    drift, following = planted.drift[:-1], returns(planted)
    slope, intercept = np.polyfit(drift, following, 1)
    assert abs(slope - 1) < 3 / (np.std(drift) * np.sqrt(N))
    assert abs(intercept) < 3 / np.sqrt(N)
    assert np.std(drift) == pytest.approx(synthetic.KAPPA, rel=0.15)


@pytest.mark.parametrize("name", ["momentum", "pressure", "volume", "minute", "regime"])
def test_without_signal_nothing_correlates_with_the_next_return(blank: Series, name: str) -> None:
    assert_no_correlation(getattr(blank, name)[:-1], returns(blank))


@pytest.mark.parametrize("lag", [1, 2, 5, 15, 60])
def test_without_signal_returns_have_neither_memory_nor_volatility_clusters(blank: Series, lag: int) -> None:
    change = returns(blank)
    assert_no_correlation(change[lag:], change[:-lag])
    assert_no_correlation(np.abs(change[lag:]), np.abs(change[:-lag]))


def test_without_signal_ranges_and_wicks_do_not_tell_the_next_bar(blank: Series) -> None:
    reach = (blank.high - blank.low) / blank.close
    place = (2 * blank.close - blank.high - blank.low) / (blank.high - blank.low)
    for column in (reach, place):
        assert_no_correlation(column[:-1], returns(blank))
        assert_no_correlation(column[:-1], np.abs(returns(blank)))
        assert_no_correlation(column[:-1], place[1:])


def labelled(series: Series, barrier: Barrier) -> tuple[Bars, Floats, Floats, Floats]:
    """Bars, ATR, valid rows, and the class of each (0 short, 1 flat, 2 long)."""
    bars = clean(series.rows(), ES, Params()).bars
    unit = true_range_mean(bars, 14)
    outcome = triple_barrier(bars, unit, np.full(len(bars), ES.round_trip_cost), barrier)
    rows = np.flatnonzero(outcome.valid)
    return bars, unit, rows, outcome.label[rows] + 1


def gain(columns: Floats, label: Floats) -> float:
    """Log-loss gain over the class frequencies, in the second half, of a logistic model fitted on the first."""
    half = len(label) // 2
    z = (columns - columns.mean(axis=0)) / columns.std(axis=0)
    model = LogisticRegression(C=100.0).fit(z[: half - 50], label[: half - 50])
    prior = np.bincount(label[: half - 50]) / (half - 50)
    held_out = label[half:]
    likelihood = model.predict_proba(z[half:])[np.arange(len(held_out)), held_out]
    return float(np.mean(np.log(likelihood) - np.log(prior[held_out])))


def parts(series: Series, rows: Floats) -> dict[str, Floats]:
    bounded = np.clip(series.pressure, -synthetic.BOUND, synthetic.BOUND)
    return {"momentum": series.momentum[rows], "pressure": bounded[rows]}


def test_the_signal_is_worth_less_than_three_hundredths_and_takes_both_parts(planted: Series) -> None:
    _, _, rows, label = labelled(planted, SHORT)
    part = parts(planted, rows)
    both = gain(np.column_stack(list(part.values())), label)
    alone = [gain(column[:, None], label) for column in part.values()]
    assert 0.012 < both < 0.03
    assert max(alone) < 0.75 * both
    assert min(alone) > 0.1 * both


def test_without_signal_neither_part_nor_volatility_tells_the_label(blank: Series) -> None:
    _, unit, rows, label = labelled(blank, SHORT)
    part = parts(blank, rows)
    known = np.column_stack(
        [*part.values(), blank.close[rows], unit[rows], unit[rows] ** 2, blank.volume[rows]]
    )
    assert gain(known, label) < 5e-4


class Branches:
    """Draws what may follow a bar of a generated series: the law of its label, given all that is known."""

    horizon = 52

    def __init__(self, settings: Synthetic, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings = settings
        walks: list[synthetic.Walk] = []

        def kept(walk: synthetic.Walk, *rest: Any) -> None:
            advance(walk, *rest)
            walks.append(walk)

        advance = synthetic.advance
        with monkeypatch.context() as patch:
            patch.setattr(synthetic, "advance", kept)
            self.series = generate(settings, ES)
        self.walk = walks[0]
        self.bars = clean(self.series.rows(), ES, Params()).bars
        self.unit = true_range_mean(self.bars, 14)
        since = self.bars.minute - self.bars.session_open
        self.ladder_bar = self.bars.session * 1440 + since // synthetic.LADDER_MINUTES
        last = self.bars.minute + 1 == self.bars.session_close
        self.ends = ((since + 1) % synthetic.LADDER_MINUTES == 0) | last

    def prices(self, row: int, random: np.random.Generator) -> Floats:
        """Draw open, high, low and close of the bars after ``row``, its own close before them: shape (4, 53)."""
        n, series, memory = self.horizon, self.series, synthetic.PRESSURE_MEMORY
        regime = synthetic.draw_regimes(n, int(series.regime[row]), random)
        start = np.log(series.volatility[row] / self.settings.volatility)
        level = synthetic.fade(synthetic.LEVELS[regime], start, synthetic.FADE)
        planted = self.settings.signal == "planted"
        volatility = self.settings.volatility * (np.exp(level) if planted else np.ones(n))
        pressure = synthetic.autoregression(random.standard_normal(n), series.pressure[row], memory)
        walk = synthetic.Walk(*(np.full(n + 2, part[row + 1]) for part in self.walk))
        drawn = (
            np.r_[series.volatility[row], volatility],
            np.r_[0.0, series.pressure[row], pressure],
            np.r_[0.0, random.standard_normal(n)],
        )
        ladder = (self.ladder_bar[row : row + n + 1], self.ends[row : row + n + 1])
        synthetic.advance(walk, 1, drawn, ladder, synthetic.KAPPA if planted else 0.0)
        candles = np.stack(synthetic.candles(walk.price[1:], volatility, ES.tick_size, random))
        return np.column_stack([np.full(4, series.close[row]), candles])

    def law(self, row: int, futures: int, barriers: list[Barrier], random: np.random.Generator) -> Floats:
        """Share of each class among the labels of ``row``: shape (barriers, 3)."""
        prices = np.concatenate([self.prices(row, random) for _ in range(futures)], axis=1)
        bars_each = self.horizon + 1
        n = futures * bars_each
        zero, minute = np.zeros(n, np.int64), np.tile(np.arange(bars_each), futures)
        segment = np.repeat(np.arange(futures), bars_each)
        bars = Bars(minute, *prices, np.ones(n), zero, zero, zero, segment, 1, ES)
        unit = np.full(n, np.nan)
        unit[::bars_each] = self.unit[row]
        cost = np.full(n, ES.round_trip_cost)
        labels = [triple_barrier(bars, unit, cost, barrier).label[::bars_each] + 1 for barrier in barriers]
        return np.stack([np.bincount(label, minlength=3) / futures for label in labels])


def information(law: Floats, futures: int) -> tuple[float, float]:
    """What the law of each row tells about its label beyond the mean law, in nats, and its standard error.

    Source: Miller (1955) for the bias of an entropy estimated from counts.
    """
    entropy = -np.sum(law * np.log(np.maximum(law, 1e-12)), axis=1) + ((law > 0).sum(axis=1) - 1) / (
        2 * futures
    )
    mean = law.mean(axis=0)
    told = -np.sum(law * np.log(mean), axis=1) - entropy
    return float(told.mean()), float(told.std() / np.sqrt(len(told)))


@pytest.mark.slow
@pytest.mark.parametrize(("signal", "low", "high"), [("planted", 0.018, 0.03), ("none", -0.001, 0.0007)])
def test_all_that_is_known_tells_no_more_than_the_stated_bayes_gain(
    signal: Any, low: float, high: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nested simulation: the exact conditional law of the label at 500 bars, from 200 futures each."""
    branches = Branches(Synthetic(bars=N, seed=5, signal=signal), monkeypatch)
    random = np.random.default_rng(11)
    rows = random.choice(np.arange(500, N - 100), 500, replace=False)
    law = np.stack([branches.law(int(row), 200, [SHORT, MIDDLE, LONG], random) for row in np.sort(rows)])
    for number in range(3):
        gained, error = information(law[:, number], 200)
        assert low < gained < high
        assert error < 0.002
