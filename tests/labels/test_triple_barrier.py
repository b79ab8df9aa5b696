"""Labels against a plain oracle, and against the laws of time and cost."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from tests.conftest import TOY, make_bars

from mlfactory.common.bars import Bars, Floats
from mlfactory.common.weights import NO_SPANS, uniqueness
from mlfactory.labels.params import Barrier
from mlfactory.labels.triple_barrier import (
    LONG,
    POLICIES,
    PROFIT,
    SHORT,
    STOP,
    TIME,
    Outcome,
    triple_barrier,
    true_range_mean,
)

TIGHT = Barrier(take_profit=1.2, stop_loss=1.0, max_bars=12)
COST = 0.5
every_policy = pytest.mark.parametrize("policy", POLICIES)


def follow(bars: Bars, barrier: Barrier = TIGHT, cost: float = COST, **rules: Any) -> Outcome:
    return triple_barrier(bars, true_range_mean(bars, 14), np.full(len(bars), cost), barrier, **rules)


def trade_of(
    bars: Bars, t: int, last: int, sign: int, entry: float, reward: float, risk: float, policy: str
) -> tuple[int, int, float, float, float] | None:
    """Follow one trade in gains: (end, touch, fill, mae, mfe), or None where the order is not known."""
    worst = best = 0.0
    for i in range(t + 1, last + 1):
        opened = sign * (bars.open[i] - entry)
        low, high = sorted((sign * (bars.low[i] - entry), sign * (bars.high[i] - entry)))
        if low > -risk and high < reward:
            worst, best = max(worst, -low), max(best, high)
            continue
        stop_is_nearer = opened + risk <= reward - opened
        stopped = low <= -risk and (high < reward or policy != "nearest" or stop_is_nearer)
        gain = -risk if stopped else reward
        if opened >= reward or opened <= -risk:
            gain = opened
        elif low <= -risk and high >= reward and policy == "invalid":
            return None
        touch = PROFIT if gain >= reward else STOP
        return i, touch, entry + sign * gain, max(worst, -opened, -gain), max(best, opened, gain)
    return last, TIME, bars.close[last], worst, best


def oracle(bars: Bars, unit: Floats, barrier: Barrier, policy: str, max_gap: int) -> list[Any]:
    """Label bar by bar in plain Python; None where a row is invalid."""
    rows: list[Any] = []
    last_of = {int(s): i for i, s in enumerate(bars.segment)}
    for t in range(len(bars)):
        rows.append(None)
        final = last_of[int(bars.segment[t])]
        if t == final or not unit[t] > 0:
            continue
        if bars.minute[t + 1] - (bars.minute[t] + bars.bar_minutes) > max_gap:
            continue
        entry = bars.open[t + 1]
        reward, risk = barrier.take_profit * unit[t] + COST, barrier.stop_loss * unit[t]
        trades = []
        for sign in (1, -1):
            last = min(t + barrier.max_bars, final)
            trade = trade_of(bars, t, last, sign, entry, reward, risk, policy)
            if trade and not (trade[1] == TIME and t + barrier.max_bars > final):
                trades.append((*trade, (sign * (trade[2] - entry) - COST) / entry))
        if len(trades) == 2:
            wins = sorted((trade[0], side) for side, trade in enumerate(trades) if trade[1] == PROFIT)
            assert len({end for end, _ in wins}) == len(wins), "a tie: not in this oracle"
            rows[t] = (0 if not wins else (1, -1)[wins[0][1]], trades, entry)
    return rows


@every_policy
@pytest.mark.parametrize(
    "barrier",
    [
        TIGHT,
        Barrier(take_profit=0.5, stop_loss=0.4, max_bars=5),
        Barrier(take_profit=4, stop_loss=5, max_bars=60),
    ],
    ids=["tight", "ambiguous", "wide"],
)
def test_every_row_equals_the_plain_oracle(policy: str, barrier: Barrier) -> None:
    bars = make_bars(1500, seed=3)
    unit = true_range_mean(bars, 14)
    found = follow(bars, barrier, policy=policy)
    expected = oracle(bars, unit, barrier, policy, max_gap=30)
    assert found.valid.tolist() == [row is not None for row in expected]
    for t in np.flatnonzero(found.valid):
        label, trades, entry = expected[t]
        assert found.label[t] == label
        assert found.end[t] == max(trade[0] for trade in trades)
        for side, (end, touch, fill, mae, mfe, net) in enumerate(trades):
            assert (found.side_end[t, side], found.touch[t, side]) == (end, touch)
            got = [values[t, side] for values in (found.fill, found.mae, found.mfe, found.net)]
            np.testing.assert_allclose(got, [fill, mae / entry, mfe / entry, net], rtol=1e-12, atol=1e-15)


def test_real_bars_equal_the_plain_oracle(shared_data: Any) -> None:
    bars = real_bars(shared_data, 3000)
    unit = true_range_mean(bars, 14)
    found = follow(bars)
    expected = oracle(bars, unit, TIGHT, "stop_first", max_gap=30)
    assert [row and row[0] for row in expected] == [
        int(label) if valid else None for label, valid in zip(found.label, found.valid, strict=True)
    ]


def real_bars(folder: Any, n: int) -> Bars:
    import pandas as pd

    frame = pd.read_parquet(folder / "es_5m_front.parquet").iloc[:n]
    column = {name: frame[name].to_numpy(dtype=float, copy=True) for name in ("open", "high", "low", "close")}
    minute = (pd.DatetimeIndex(frame["timestamp"]).as_unit("s").asi8 // 60).astype(np.int64)
    same = np.zeros(n, np.int64)
    return Bars(
        minute=minute, **column, volume=frame["volume"].to_numpy(dtype=float, copy=True),
        session=same, session_open=same, session_close=same, segment=same, bar_minutes=5, instrument=TOY,
    )  # fmt: skip


def rows_of(found: Outcome, rows: Any) -> list[bytes]:
    return [getattr(found, field.name)[rows].tobytes() for field in fields(Outcome)]


def garbage_after(bars: Bars, cut: int, seed: int = 0) -> Bars:
    """Replace every price after bar ``cut`` by a wilder path."""
    rng = np.random.default_rng(seed)
    wild = {name: getattr(bars, name).copy() for name in ("open", "high", "low", "close")}
    n = len(bars) - cut - 1
    wild["open"][cut + 1 :] = 4000 + 200 * rng.normal(size=n)
    wild["close"][cut + 1 :] = 4000 + 200 * rng.normal(size=n)
    wild["high"][cut + 1 :] = np.maximum(wild["open"], wild["close"])[cut + 1 :] + 50
    wild["low"][cut + 1 :] = np.minimum(wild["open"], wild["close"])[cut + 1 :] - 50
    return replace(bars, **wild)


@every_policy
@pytest.mark.parametrize("cut", [700, 1100])
def test_garbage_after_the_end_of_a_row_leaves_it_bit_identical(policy: str, cut: int) -> None:
    bars = make_bars(1500, seed=4)
    clean = follow(bars, policy=policy)
    wild = follow(garbage_after(bars, cut), policy=policy)
    finished = clean.valid & (clean.end <= cut)
    assert finished.sum() > 500
    assert rows_of(wild, finished) == rows_of(clean, finished)
    assert rows_of(wild, slice(None)) != rows_of(clean, slice(None))


def test_appended_bars_never_change_a_finished_row() -> None:
    bars = make_bars(1500, seed=5)
    whole = follow(bars)
    for n in (300, 899, 1200):
        part = follow(bars[:n])
        assert rows_of(part, part.valid) == rows_of(whole, np.flatnonzero(part.valid))


def test_labels_do_not_depend_on_where_the_file_starts() -> None:
    bars = make_bars(1500, seed=5, hole=False)
    whole, late = follow(bars), follow(bars[600:])
    warm = np.arange(14, 900)
    np.testing.assert_array_equal(late.label[warm], whole.label[600 + warm])
    np.testing.assert_array_equal(late.net[warm], whole.net[600 + warm])
    assert (late.end[warm] + 600 == whole.end[600 + warm])[late.valid[warm]].all()


def test_a_trade_that_is_still_open_is_followed_to_the_last_bar() -> None:
    bars, wide = make_bars(1500, seed=5, hole=False), Barrier(take_profit=4, stop_loss=5, max_bars=60)
    whole, part = follow(bars, wide), follow(bars[:900], wide)
    opened = part.open_until >= 0
    assert np.flatnonzero(~opened).tolist() == [*range(14), 899]
    np.testing.assert_array_equal(part.open_until[opened], np.minimum(whole.open_until[:900][opened], 899))
    assert 10 < (opened & ~part.valid).sum() <= 60


def worth(found: Outcome, *, unfinished: bool = True) -> Floats:
    """Average uniqueness of the rows with a known outcome; NaN elsewhere."""
    rows, others = np.flatnonzero(found.valid), np.flatnonzero(~found.valid & (found.open_until >= 0))
    spans = (others + 1, found.open_until[others].astype(np.int64)) if unfinished else NO_SPANS
    out = np.full(len(found.valid), np.nan)
    out[rows] = uniqueness(rows + 1, found.end[rows].astype(np.int64), spans)
    return out


@every_policy
@pytest.mark.parametrize("barrier", [TIGHT, Barrier(take_profit=0.5, stop_loss=0.4, max_bars=40)])
def test_appended_bars_never_change_the_uniqueness_of_a_finished_row(policy: str, barrier: Barrier) -> None:
    bars = make_bars(1500, seed=5)
    whole = worth(follow(bars, barrier, policy=policy))
    for n in range(300, 1400, 43):
        part = follow(bars[:n], barrier, policy=policy)
        assert whole[:n][part.valid].tobytes() == worth(part)[part.valid].tobytes()


def test_that_law_catches_weights_that_leave_unfinished_labels_out() -> None:
    bars = make_bars(1500, seed=5)
    whole, part = follow(bars), follow(bars[:429])
    assert (worth(whole)[:429] != worth(part, unfinished=False))[part.valid].any()


def test_the_law_catches_a_unit_that_peeks_beyond_the_end() -> None:
    bars = make_bars(1500, seed=4)

    def peeking(some: Bars) -> Outcome:
        unit = np.roll(true_range_mean(some, 14), -20)
        return triple_barrier(some, unit, np.full(len(some), COST), TIGHT)

    clean, wild = peeking(bars), peeking(garbage_after(bars, 700))
    finished = clean.valid & (clean.end <= 700)
    assert rows_of(wild, finished) != rows_of(clean, finished)


def test_the_unit_is_known_at_the_close_of_its_bar() -> None:
    bars = make_bars(1500, seed=4)
    wild = true_range_mean(garbage_after(bars, 700), 14)
    assert wild[:701].tobytes() == true_range_mean(bars, 14)[:701].tobytes()
    assert wild[701] != true_range_mean(bars, 14)[701]


def test_the_unit_of_a_bar_needs_its_window_and_nothing_before() -> None:
    bars = make_bars(500, hole=False)
    whole = true_range_mean(bars, 14)
    for t in (14, 200, 499):
        assert true_range_mean(bars[t - 14 : t + 1], 14)[-1] == whole[t]


def test_a_trade_that_wins_earns_its_barrier_after_costs() -> None:
    bars = make_bars(3000, seed=6)
    found, unit = follow(bars), true_range_mean(bars, 14)
    for side in (LONG, SHORT):
        t = np.flatnonzero(found.touch[:, side] == PROFIT)
        assert len(t) > 200
        floor = TIGHT.take_profit * unit[t] / bars.open[t + 1]
        assert (found.net[t, side] >= floor * (1 - 1e-9)).all()
    assert (found.net[found.label == 1, LONG] > 0).all()
    assert (found.net[found.label == -1, SHORT] > 0).all()


def test_a_label_computed_without_cost_breaks_that_law() -> None:
    bars = make_bars(3000, seed=6)
    free, priced = follow(bars, cost=0.0), follow(bars)
    entry = np.r_[bars.open[1:], np.nan]
    t = np.flatnonzero(free.touch[:, LONG] == PROFIT)
    floor = TIGHT.take_profit * true_range_mean(bars, 14)[t] / entry[t]
    assert (free.net[t, LONG] - COST / entry[t] < floor * (1 - 1e-9)).any()
    assert (free.label != priced.label).any()


@pytest.mark.parametrize("side", [LONG, SHORT])
def test_doubled_costs_lower_every_timed_out_return_by_exactly_the_cost(side: int) -> None:
    bars = make_bars(3000, seed=7)
    once, twice = follow(bars), follow(bars, cost=2 * COST)
    t = np.flatnonzero(
        once.valid & twice.valid & (once.touch[:, side] == TIME) & (twice.touch[:, side] == TIME)
    )
    assert len(t) > 50
    np.testing.assert_allclose(once.net[t, side] - twice.net[t, side], COST / bars.open[t + 1], rtol=1e-9)


def test_long_and_short_mirror_each_other_under_reflected_prices() -> None:
    bars = make_bars(1500, seed=8)
    mirror = replace(
        bars, open=8000 - bars.open, high=8000 - bars.low, low=8000 - bars.high, close=8000 - bars.close
    )
    found, reflected = follow(bars), follow(mirror)
    np.testing.assert_array_equal(found.label, -reflected.label)
    np.testing.assert_array_equal(found.side_end, reflected.side_end[:, ::-1])


def test_no_label_straddles_two_segments() -> None:
    bars = make_bars(1500, seed=9)
    found = follow(bars)
    t = np.flatnonzero(found.valid)
    assert (bars.segment[found.end[t]] == bars.segment[t]).all()


def test_an_entry_after_a_session_break_is_invalid_unless_allowed() -> None:
    bars = make_bars(4000, hole=False)
    breaks = np.flatnonzero(np.diff(bars.minute) > 31)
    assert len(breaks)
    assert not follow(bars).valid[breaks].any()
    assert follow(bars, max_gap=100_000).valid[breaks].all()


def test_rows_without_a_unit_are_invalid_instead_of_flat() -> None:
    bars = make_bars(400)
    assert not follow(bars).valid[:14].any()
    still = replace(bars, **{name: np.full(400, 4000.0) for name in ("open", "high", "low", "close")})
    assert not follow(still).valid.any()
