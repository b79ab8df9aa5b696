"""Laws over every regime column: strictly before its bar, lagged once, no memory of where the series starts."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from tests.conftest import make_bars

from mlfactory.audit.compare import same_bits
from mlfactory.common.bars import Bars, Floats
from mlfactory.regime.compute import Columns, compute, lag_once, lookbacks, unlagged
from mlfactory.regime.params import Params
from mlfactory.regime.walk import refits

PARAMS = Params(window_bars=300, burn_in_bars=60, iterations=8, volatility_window=40, hurst_window=60)
LOOKBACK = lookbacks(PARAMS, 1)
EVERY_COLUMN = pytest.mark.parametrize("name", LOOKBACK)
PRICES = ("open", "high", "low", "close")

Compute = Callable[[Bars], Columns]


@cache
def series() -> Bars:
    return make_bars(6000)


@cache
def whole() -> Columns:
    return compute(series(), PARAMS)


def changed_rows(a: Floats, b: Floats) -> Floats:
    return np.flatnonzero(~same_bits(a, b))


def delay(name: str, run: Compute) -> int:
    """Rows from a changed bar to the first row that differs: how often a column was lagged."""
    bars, delays = series(), []
    reference = run(bars)[name]
    for bar in (2500, 2611, 2702, 2803, 3004, 3205):
        touched = {field: getattr(bars, field).copy() for field in PRICES}
        for price in touched.values():
            price[bar] *= 1.02
        rows = changed_rows(reference, run(replace(bars, **touched))[name])
        delays.append(int(rows[0]) - bar if len(rows) else len(bars))
    return min(delays)


READS_PRICES = [name for name in LOOKBACK if name != "hmm_fit_age"]


@pytest.mark.parametrize("name", READS_PRICES)
def test_every_column_is_lagged_exactly_once(name: str) -> None:
    assert delay(name, lambda bars: compute(bars, PARAMS)) == 1


def later(columns: dict[str, Floats]) -> dict[str, Floats]:
    return {name: lag_once(column) for name, column in columns.items()}


def earlier(columns: dict[str, Floats]) -> dict[str, Floats]:
    return {name: np.append(column[1:], np.nan) for name, column in columns.items()}


@pytest.mark.parametrize(("planted", "shift"), [(earlier, 0), (later, 2)])
@pytest.mark.parametrize("name", ["regime_volatility_rank", "regime_trend", "hmm_p0"])
def test_a_lag_of_zero_or_two_bars_would_be_caught(
    name: str, planted: Callable[[dict[str, Floats]], dict[str, Floats]], shift: int
) -> None:
    assert delay(name, lambda bars: compute(bars, PARAMS, lambda b, p: planted(unlagged(b, p)))) == shift


def test_the_age_of_a_fit_is_that_of_the_bar_before() -> None:
    bars = series()
    rows = bars.segments()[0]
    second = refits(bars[rows], PARAMS)[1]
    age = whole()["hmm_fit_age"]
    np.testing.assert_array_equal(age[second + 1 : second + 4], [0, 1, 2])


@EVERY_COLUMN
def test_a_column_is_empty_before_its_lookback_and_finite_after_it(name: str) -> None:
    for rows in series().segments():
        column = whole()[name][rows]
        assert np.isnan(column[: LOOKBACK[name] - 1]).all()
        assert np.isfinite(column[LOOKBACK[name] - 1 :]).all()
        assert len(column) > LOOKBACK[name]


@cache
def from_origin(first: int) -> Columns:
    return compute(series()[first:], PARAMS)


def assert_origin_free(bars: Bars, lookback: int, run: Callable[[Bars], Floats], first: int) -> None:
    everything, part = run(bars)[first:], run(bars[first:])
    rows = slice(lookback - 1, None)
    np.testing.assert_array_equal(part[rows], everything[rows])


@EVERY_COLUMN
@pytest.mark.parametrize("first", [1, 7, 333, 1350, 1777])
def test_a_value_has_the_same_bits_wherever_the_series_starts(name: str, first: int) -> None:
    start = LOOKBACK[name] - 1
    np.testing.assert_array_equal(from_origin(first)[name][start:], whole()[name][first + start :])


@cache
def last_row(end: int, lookback: int) -> dict[str, np.float32]:
    part = compute(series()[end + 1 - lookback : end + 1], PARAMS)
    return {name: column[-1] for name, column in part.items()}


@EVERY_COLUMN
def test_the_declared_lookback_is_all_that_a_value_needs(name: str) -> None:
    bars = series()
    opens = np.flatnonzero(np.diff(bars.session)) + 1
    for end in (int(opens[1]) - 1, int(opens[1]), int(opens[1]) + 1, 3007, 3599, 5999):
        assert last_row(end, LOOKBACK[name])[name] == whole()[name][end]
    assert np.isnan(last_row(3007, LOOKBACK[name] - 1)[name])


def test_a_column_that_remembers_the_start_would_be_caught() -> None:
    def planted(bars: Bars) -> Floats:
        smooth = pd.Series(bars.close).ewm(span=20).mean().to_numpy(copy=True)
        return lag_once(np.asarray(smooth))

    with pytest.raises(AssertionError, match="not equal"):
        assert_origin_free(series(), 61, planted, 333)
    assert_origin_free(series(), 2, lambda bars: lag_once(bars.close), 333)


@pytest.mark.parametrize("pattern", ["constant", "one tick to and fro", "flat between two moves"])
def test_bars_that_hardly_move_have_a_value_in_every_column(pattern: str) -> None:
    bars = make_bars(3000, hole=False)
    step = {
        "constant": np.zeros(3000),
        "one tick to and fro": np.arange(3000) % 2,
        "flat between two moves": (np.arange(3000) > 2500).astype(float),
    }[pattern]
    flat = replace(bars, **{name: 4000 + 0.25 * step for name in PRICES})
    for name, column in compute(flat, PARAMS).items():
        assert np.isfinite(column[LOOKBACK[name] - 1 :]).all(), name


def test_nothing_crosses_a_hole() -> None:
    bars = series()
    second = bars.segments()[1]
    alone = compute(bars[second], PARAMS)
    for name, column in whole().items():
        np.testing.assert_array_equal(column[second], alone[name])


def test_a_series_shorter_than_every_lookback_is_empty_but_no_error() -> None:
    for n in (1, 2, 50):
        for column in compute(make_bars(n, hole=False), PARAMS).values():
            assert np.isnan(column).all()
