"""The rules of the labels, each worked out by hand on a path drawn on paper."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from tests.conftest import TOY

from mlfactory.common.bars import Bars, Floats, Instrument
from mlfactory.common.errors import InputError
from mlfactory.labels.costs import round_trip
from mlfactory.labels.params import Barrier, Params
from mlfactory.labels.stage import check_rolls, outcome, split_at_rolls
from mlfactory.labels.triple_barrier import (
    LONG,
    PROFIT,
    SHORT,
    STOP,
    TIME,
    Outcome,
    sign_timeouts,
    triple_barrier,
    true_range_mean,
)

# On paper: the unit is 10, take profit 2, stop 1, cost 1, four bars. The long trade from 1000 wins at 1021
# and stops at 990, the short one wins at 979 and stops at 1010.

PAPER = Barrier(take_profit=2, stop_loss=1, max_bars=4)
QUIET = (1000, 1001, 999, 1000)


Bar = tuple[float, float, float, float]


def drawn(*path: Bar, instrument: Instrument = TOY) -> Bars:
    """One-minute bars of one segment: (open, high, low, close)."""
    rows = np.array(path, float)
    n = len(rows)
    same = np.zeros(n, np.int64)
    return Bars(
        np.arange(n), *rows.T, volume=np.ones(n), session=same, session_open=same, session_close=same,
        segment=same, bar_minutes=1, instrument=instrument,
    )  # fmt: skip


def on_paper(*path: Bar, barrier: Barrier = PAPER, **rules: Any) -> Outcome:
    """Label bar 0, a quiet one, of the path that follows it."""
    return label(drawn(QUIET, *path), barrier, **rules)


def label(bars: Bars, barrier: Barrier = PAPER, **rules: Any) -> Outcome:
    n = len(bars)
    return triple_barrier(bars, np.full(n, 10.0), np.full(n, 1.0), barrier, **rules)


def seen(found: Outcome, side: int) -> tuple[int, int, float]:
    return int(found.side_end[0, side]), int(found.touch[0, side]), float(found.fill[0, side])


def test_the_long_trade_wins_at_its_barrier_plus_the_cost() -> None:
    found = on_paper(QUIET, (1000, 1012, 995, 1010), (1010, 1021, 1005, 1015), QUIET)
    assert (found.label[0], found.end[0]) == (1, 3)
    assert seen(found, LONG) == (3, PROFIT, 1021.0)
    assert seen(found, SHORT) == (2, STOP, 1010.0)
    assert found.net[0].tolist() == [0.020, -0.011]


def test_one_price_step_below_the_barrier_is_not_a_touch() -> None:
    found = on_paper(QUIET, (1000, 1012, 995, 1010), (1010, 1020.75, 1005, 1015), QUIET)
    assert (found.label[0], found.end[0]) == (0, 4)
    assert seen(found, LONG) == (4, TIME, 1000.0)
    assert found.net[0, LONG] == -0.001


def test_the_short_trade_wins_at_its_barrier_plus_the_cost() -> None:
    found = on_paper(QUIET, (1000, 1005, 989, 990), (990, 991, 979, 980), QUIET)
    assert (found.label[0], found.end[0]) == (-1, 3)
    assert seen(found, SHORT) == (3, PROFIT, 979.0)
    assert found.net[0].tolist() == [-0.011, 0.020]


def test_the_range_of_the_entry_bar_counts() -> None:
    found = on_paper((1000, 1025, 998, 1000), QUIET, QUIET, QUIET)
    assert (found.label[0], found.end[0]) == (1, 1)


def test_the_barriers_centre_on_the_open_of_the_next_bar() -> None:
    found = on_paper((1004, 1024, 1003, 1005), (1005, 1025, 1003, 1010), QUIET, QUIET)
    assert seen(found, LONG) == (2, PROFIT, 1025.0)


def test_an_entry_at_the_close_centres_them_on_bar_t() -> None:
    found = on_paper((1004, 1021, 1003, 1005), QUIET, QUIET, QUIET, at_close=True)
    assert seen(found, LONG) == (1, PROFIT, 1021.0)


def test_a_bar_that_opens_beyond_the_profit_barrier_fills_at_its_open() -> None:
    found = on_paper(QUIET, (1030, 1031, 980, 990), QUIET, QUIET)
    assert seen(found, LONG) == (2, PROFIT, 1030.0)
    assert seen(found, SHORT) == (2, STOP, 1030.0)
    assert found.net[0].tolist() == [0.029, -0.031]


def test_a_bar_that_opens_beyond_the_stop_loses_more_than_the_stop() -> None:
    found = on_paper(QUIET, (985, 1025, 984, 990), QUIET, QUIET)
    assert seen(found, LONG) == (2, STOP, 985.0)
    assert found.net[0, LONG] == -0.016


@pytest.mark.parametrize(("policy", "touch"), [("stop_first", STOP), ("nearest", PROFIT), ("invalid", None)])
def test_a_bar_that_holds_both_barriers_follows_the_policy(policy: str, touch: int | None) -> None:
    # bar 2 opens at 1012: the profit barrier 1021 is nearer than the stop 990
    found = on_paper((1000, 1012, 995, 1010), (1012, 1022, 989, 1000), QUIET, QUIET, policy=policy)
    if touch is None:
        assert not found.valid[0]
        assert found.label[0] == 0
        assert np.isnan(found.net[0]).all()
    else:
        assert seen(found, LONG) == (2, touch, 1021.0 if touch == PROFIT else 990.0)


@pytest.mark.parametrize(
    ("policy", "opened", "label"),
    [
        ("stop_first", 1002, 0),
        ("nearest", 1002, 1),
        ("nearest", 998, -1),
        ("nearest", 1000, 0),
        ("invalid", 1000, None),
    ],
)
def test_two_wins_in_one_bar_follow_the_policy(policy: str, opened: float, label: int | None) -> None:
    wide = Barrier(take_profit=1, stop_loss=3, max_bars=4)  # wins at 1011 and 989, stops at 970 and 1030
    found = on_paper(QUIET, (opened, 1012, 988, 1000), QUIET, QUIET, policy=policy, barrier=wide)
    assert (int(found.label[0]) if found.valid[0] else None) == label


def test_the_earlier_of_two_wins_gives_the_label_and_the_later_one_the_end() -> None:
    wide = Barrier(take_profit=1, stop_loss=3, max_bars=4)
    found = on_paper(QUIET, (1000, 1005, 988, 1000), (1000, 1012, 999, 1000), QUIET, barrier=wide)
    assert (found.label[0], found.end[0]) == (-1, 3)


def test_the_time_limit_exits_at_the_close_and_keeps_the_return() -> None:
    found = on_paper(QUIET, QUIET, QUIET, (1000, 1006, 999, 1005))
    assert (found.label[0], found.end[0]) == (0, 4)
    assert found.net[0].tolist() == [0.004, -0.006]
    assert sign_timeouts(found).label[0] == 1


def test_a_timeout_that_does_not_earn_its_cost_stays_flat_under_the_sign_rule() -> None:
    assert sign_timeouts(on_paper(QUIET, QUIET, QUIET, QUIET)).label[0] == 0


def test_excursions_are_those_of_the_open_trade() -> None:
    found = on_paper(QUIET, (1000, 1012, 995, 1010), (1010, 1030, 992, 1015), QUIET)
    assert found.mae[0].tolist() == [0.005, 0.010]  # long: low 995 of bar 2; short: its stop at 1010
    assert found.mfe[0].tolist() == [0.021, 0.001]  # long: its fill, not the 1030 after it


def test_a_row_whose_trades_are_open_at_the_end_of_the_data_is_invalid() -> None:
    assert not on_paper(QUIET, QUIET, QUIET).valid[0]
    assert on_paper(QUIET, QUIET, QUIET, QUIET).valid[0]


def test_a_row_whose_trades_end_before_the_data_does_is_valid() -> None:
    assert on_paper((1000, 1025, 998, 1000)).valid[0]


# When a row has no outcome.


def test_a_row_whose_segment_ends_while_a_trade_is_open_is_invalid() -> None:
    bars = drawn(*[QUIET] * 8)
    hole = replace(bars, segment=np.array([0, 0, 0, 0, 1, 1, 1, 1]))
    assert label(bars).valid.tolist() == [True] * 4 + [False] * 4
    assert label(hole).valid.tolist() == [False] * 8
    assert label(hole).open_until.tolist() == [3, 3, 3, -1, 7, 7, 7, -1]


def test_a_row_whose_trades_end_before_its_segment_does_is_valid() -> None:
    bars = drawn(QUIET, (1000, 1025, 998, 1000), QUIET)
    assert label(replace(bars, segment=np.array([0, 0, 1]))).valid.tolist() == [True, False, False]


def test_a_trade_that_is_open_at_a_roll_is_invalid() -> None:
    bars = drawn(*[QUIET] * 8)
    at_minute_5 = Params(rolls=(datetime(1970, 1, 1, 0, 5, tzinfo=UTC),))
    found = label(split_at_rolls(bars, at_minute_5))
    assert found.valid.tolist() == [True] + [False] * 7
    assert found.open_until.tolist() == [4, 4, 4, 4, -1, 7, 7, -1]


def test_a_roll_jump_is_no_part_of_the_true_range() -> None:
    bars = drawn((100, 101, 99, 100), (100, 102, 100, 101), (150, 153, 150, 152), (152, 153, 151, 152))
    rolled = split_at_rolls(bars, Params(rolls=(datetime(1970, 1, 1, 0, 2, tzinfo=UTC),)))
    assert true_range_mean(bars, 1)[1:].tolist() == [2, 52, 2]
    np.testing.assert_array_equal(true_range_mean(rolled, 1), [np.nan, 2, np.nan, 2])


@pytest.mark.parametrize("minute", [0, 8])
def test_a_roll_outside_the_series_is_an_error_with_its_ends(minute: int) -> None:
    roll = datetime(1970, 1, 1, 0, minute, tzinfo=UTC)
    with pytest.raises(
        InputError, match=f"holds 1970-01-01 00:0{minute}.* from 1970-01-01 00:00 to 1970-01-01 00:07 UTC"
    ):
        check_rolls(drawn(*[QUIET] * 8), Params(rolls=(roll,)))


@pytest.mark.parametrize(("max_gap", "valid"), [(30, False), (59, False), (60, True)])
def test_an_entry_bar_that_opens_too_late_makes_the_row_invalid(max_gap: int, valid: bool) -> None:
    # bar 0 closes at minute 1; bar 1 opens at minute 61
    bars = drawn(*[QUIET] * 6)
    late = replace(bars, minute=np.array([0, 61, 62, 63, 64, 65]))
    found = label(late, max_gap=max_gap)
    assert found.valid.tolist()[:2] == [valid, True]
    assert found.open_until[0] == (4 if valid else -1)


def test_a_row_whose_order_of_touches_cannot_be_told_was_open_until_then() -> None:
    found = on_paper(QUIET, (1000, 1022, 989, 1000), QUIET, QUIET, policy="invalid")
    assert (found.valid[0], found.end[0], found.open_until[0]) == (False, -1, 2)


# Unit, barriers and costs.


def test_the_unit_is_the_mean_true_range_up_to_the_close_of_the_bar() -> None:
    # true ranges 2 (bar 1), 5 (bar 2: from the close 101 up to 106), 4 (bar 3: from 105 down to 101)
    bars = drawn((100, 101, 99, 100), (100, 102, 100, 101), (103, 106, 103, 105), (103, 104, 101, 102))
    np.testing.assert_allclose(true_range_mean(bars, 2), [np.nan, np.nan, 3.5, 4.5])


def test_barriers_lie_in_multiples_of_that_unit_from_the_entry() -> None:
    # the unit at bar 2 is 3.5; 2 units up from the entry 105 and the cost 0.25 is 112.25, 1 down is 101.5
    start = ((100, 101, 99, 100), (100, 102, 100, 101), (103, 106, 103, 105))
    won = drawn(*start, (105, 112.25, 104, 112), (112, 112, 112, 112))
    missed = drawn(*start, (105, 112, 101.75, 112), (112, 112, 112, 112))
    barrier = Barrier(take_profit=2, stop_loss=1, max_bars=2)

    def first(bars: Bars) -> tuple[int, int, float]:
        found = triple_barrier(bars, true_range_mean(bars, 2), np.full(len(bars), 0.25), barrier)
        return int(found.label[2]), int(found.touch[2, LONG]), float(found.fill[2, LONG])

    assert first(won) == (1, PROFIT, 112.25)
    assert first(missed) == (0, TIME, 112.0)


@pytest.mark.parametrize(
    ("symbol", "take_profit", "stop_loss"),
    [("MES", (1.5, 2, 2.5, 3), (1, 1.4, 1.75, 2.1)), ("GC", (1.2, 1.6, 2, 2.5), (1.2, 1.6, 2, 2.5)),
     ("BTCUSD", (1.35, 1.8, 2.25, 2.75), (1.1, 1.35, 1.7, 2.3))],
)  # fmt: skip
def test_the_default_barriers_of_each_symbol_and_horizon(
    symbol: str, take_profit: tuple[float, ...], stop_loss: tuple[float, ...]
) -> None:
    found = [Params().barrier(h, symbol) for h in (5, 10, 15, 20)]
    assert tuple(b.take_profit for b in found) == take_profit
    assert tuple(b.stop_loss for b in found) == stop_loss
    assert [b.max_bars for b in found] == [12, 25, 38, 50]


DEAR = TOY.model_copy(
    update={"tick_size": 0.5, "commission_ticks": 1.0, "slippage_ticks": 0.75, "half_spread_ticks": 0.5}
)


def test_a_round_trip_costs_its_ticks_times_the_tick_size_on_either_side() -> None:
    # 1 tick of commission and twice 0.75 + 0.5 ticks are 3.5 ticks, which are 1.75 points
    bars = drawn(*[QUIET] * 6, instrument=DEAR)
    cost = round_trip(bars, np.full(6, 10.0), Params())
    assert cost.tolist() == [1.75] * 6
    found = triple_barrier(bars, np.full(6, 10.0), cost, PAPER)
    assert found.net[0].tolist() == [-0.00175, -0.00175]


def test_slippage_is_multiplied_in_volatile_bars() -> None:
    # the last bar's true range 4 is more than 1.5 times the mean 2.5 of the last two: its slippage of 1.5 ticks is
    # paid three times, 4.5 + 1 + 1 = 6.5 ticks, which are 3.25 points
    bars = drawn((100, 100.5, 99.5, 100), (100, 100.5, 99.5, 100), (100, 102, 98, 100), instrument=DEAR)
    rule = Params(volatile_slippage=3, volatile_ratio=1.5, volatile_bars=2)
    found: Floats = round_trip(bars, true_range_mean(bars, 1), rule)
    np.testing.assert_array_equal(found, [np.nan, np.nan, 3.25])
    calm = Params(volatile_slippage=3, volatile_ratio=1.7, volatile_bars=2)
    assert round_trip(bars, true_range_mean(bars, 1), calm)[2] == 1.75


def test_every_rule_of_the_parameters_reaches_the_kernel() -> None:
    bars, unit, cost = drawn(QUIET, *[QUIET] * 3, (1000, 1006, 999, 1005)), np.full(5, 10.0), np.full(5, 1.0)
    signed = outcome(bars, unit, cost, PAPER, Params(timeout_sign=True))
    assert (signed.label[0], outcome(bars, unit, cost, PAPER, Params()).label[0]) == (1, 0)
    both = drawn((1000, 1001, 999, 1000), (1004, 1030, 980, 1005), *[QUIET] * 4)
    unit, cost = np.full(6, 10.0), np.full(6, 1.0)
    fills = {
        (entry, rule): outcome(both, unit, cost, PAPER, Params(entry=entry, ambiguous=rule)).fill[0, LONG]
        for entry in ("next_open", "close")
        for rule in ("stop_first", "nearest", "invalid")
    }
    assert fills.pop(("next_open", "stop_first")) == 994
    assert fills.pop(("close", "stop_first")) == 990
    assert fills.pop(("next_open", "nearest")) == 994
    assert fills.pop(("close", "nearest")) == 990
    assert np.isnan(list(fills.values())).all()
