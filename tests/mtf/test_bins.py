"""The ladder equals pandas on every series, and no row sees a bar that has not closed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import real_bars
from tests.conftest import TOY, make_bars

from mlfactory.common.bars import Bars, Instrument, timestamps
from mlfactory.common.errors import InputError
from mlfactory.common.ladder import NONE, Ladder
from mlfactory.mtf.bins import build, usable

STEPS = [1, 5, 10, 15, 20, 25, 30, 45, 60]
LONG = [240, 1440]
EVERY_STEP = pytest.mark.parametrize("step", STEPS + LONG)
FIELDS = ("open", "high", "low", "close", "volume")

Folded = tuple[pd.DataFrame, pd.Series]


def by_pandas(bars: Bars, step: int) -> Folded:
    """Resample each session of each segment from its open, and join backwards on the time of closing.

    Trades after a close have bins from there on, which end where the next session begins.
    """
    whole = pd.DataFrame({name: getattr(bars, name) for name in (*FIELDS, "segment", "session")})
    whole["opened"], whole["closed"] = timestamps(bars.session_open), timestamps(bars.session_close)
    whole.index = timestamps(bars.minute)
    if bars.instrument.continuous:
        whole["session"], whole["opened"] = 0, pd.Timestamp(0, tz="UTC")
        whole["closed"] = pd.Timestamp("2200-01-01", tz="UTC")
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    begins = whole.groupby(["segment", "session"]).apply(
        lambda rows: min(rows.index[0], rows["opened"].iloc[0])
    )
    ends = begins.groupby("segment").shift(-1, fill_value=pd.Timestamp("2200-01-01", tz="UTC"))
    parts = []
    whole["late"] = whole.index >= whole["closed"]
    for (segment, session, late), rows in whole.groupby(["segment", "session", "late"]):
        opened, closed = rows["opened"].iloc[0], rows["closed"].iloc[0]
        origin = closed if late else opened
        folded = rows.resample(f"{step}min", origin=origin).agg(how).dropna(subset=["open"])
        known = folded.index + pd.Timedelta(minutes=step)
        end = ends[segment, session] if late else closed
        folded["known"] = known.where(known <= end, end)
        folded["segment"] = segment
        parts.append(folded.reset_index(names="start"))
    table = pd.concat(parts, ignore_index=True).astype({"known": "datetime64[us, UTC]"})
    left = pd.DataFrame({"close_time": timestamps(bars.close_minute), "segment": bars.segment})
    right = table[["known", "segment", "start"]]
    joined = pd.merge_asof(left, right, left_on="close_time", right_on="known", by="segment")
    return table, joined["start"]


def assert_equals_pandas(bars: Bars, ladder: Ladder, step: int) -> None:
    table, start = by_pandas(bars, step)
    ours = ladder.tables[step]
    seen = table[table["start"] <= table["segment"].map(start.groupby(bars.segment).max())]
    np.testing.assert_array_equal(timestamps(ours.start), seen["start"])
    np.testing.assert_array_equal(timestamps(ours.known), seen["known"])
    np.testing.assert_array_equal(ours.segment, seen["segment"])
    for name in ("open", "high", "low", "close"):
        np.testing.assert_array_equal(getattr(ours, name), seen[name])
    np.testing.assert_allclose(ours.volume, seen["volume"], rtol=1e-12)
    at = ladder.column(step)
    np.testing.assert_array_equal(at == NONE, start.isna())
    np.testing.assert_array_equal(timestamps(ours.start[at[at != NONE]]), start.dropna())


@pytest.fixture(scope="module")
def toy() -> tuple[Bars, Ladder]:
    bars = make_bars(4000)
    return bars, build(bars, STEPS + LONG)


@EVERY_STEP
def test_a_step_equals_resample_and_merge_asof(toy: tuple[Bars, Ladder], step: int) -> None:
    assert_equals_pandas(*toy, step)


REAL: dict[str, Callable[[Path], Bars]] = {
    "ES": lambda folder: real_bars.es(folder, slice(20_000, 23_000)),
    "ES halts": lambda folder: real_bars.es(folder, slice(108_000, 110_000)),
    "BTC": lambda folder: real_bars.btc(folder, slice(3_000, 9_000)),
    "SPY": lambda folder: real_bars.spy(folder, slice(-4_000, None)),
}


@pytest.mark.parametrize("series", REAL)
def test_real_bars_equal_resample_and_merge_asof(shared_data: Path, series: str) -> None:
    bars = REAL[series](shared_data)
    steps, _ = usable(STEPS + LONG, bars.bar_minutes)
    ladder = build(bars, steps)
    for step in steps:
        assert_equals_pandas(bars, ladder, step)


@EVERY_STEP
def test_a_row_never_sees_a_bar_before_it_has_closed(toy: tuple[Bars, Ladder], step: int) -> None:
    bars, ladder = toy
    age = ladder.age(step)
    assert np.nanmin(age) >= 0
    at = ladder.column(step)
    seen = at != NONE
    np.testing.assert_array_equal(ladder.tables[step].segment[at[seen]], bars.segment[seen])


@EVERY_STEP
@pytest.mark.parametrize("cut", [700, 1377, 2399, 2400, 3111])
def test_bars_after_a_row_change_nothing_that_it_sees(toy: tuple[Bars, Ladder], step: int, cut: int) -> None:
    bars, ladder = toy
    garbage = {
        name: np.where(np.arange(len(bars)) > cut, 10 * getattr(bars, name), getattr(bars, name))
        for name in FIELDS
    }
    for future in (replace(bars, **garbage), bars[: cut + 1]):
        other = build(future, [step])
        np.testing.assert_array_equal(other.column(step)[: cut + 1], ladder.column(step)[: cut + 1])
        known = int(ladder.column(step)[: cut + 1].max()) + 1
        for name in vars(other.tables[step]):
            ours, theirs = (
                getattr(table, name)[:known] for table in (ladder.tables[step], other.tables[step])
            )
            np.testing.assert_array_equal(ours, theirs)


@EVERY_STEP
def test_streaming_equals_batch(toy: tuple[Bars, Ladder], step: int) -> None:
    bars, ladder = toy
    for n in range(1330, 1400, 7):  # over a session's end
        streamed = build(bars[:n], [step])
        assert len(streamed.tables[step]) == ladder.column(step)[n - 1] + 1
        np.testing.assert_array_equal(streamed.column(step), ladder.column(step)[:n])


@pytest.mark.parametrize("step", [*STEPS, *LONG])
@pytest.mark.parametrize("continuous", [False, True])
def test_bins_do_not_depend_on_where_the_series_starts(step: int, continuous: bool) -> None:
    instrument = Instrument(**{**TOY.model_dump(), "calendar": "24/7"}) if continuous else TOY
    bars = make_bars(6000, hole=False, instrument=instrument)
    whole = build(bars, [step]).tables[step]
    for first in (411, 1500, 2903):
        part = build(bars[first:], [step]).tables[step]
        same = np.isin(whole.start, part.start[1:])  # the first bin may have lost its first bars
        for name in ("start", "known", *FIELDS):
            np.testing.assert_array_equal(getattr(whole, name)[same], getattr(part, name)[1:])


def test_a_bin_is_known_when_the_clock_says_so_whatever_bars_follow(toy: tuple[Bars, Ladder]) -> None:
    bars, ladder = toy
    last = {day: bars.session_close[bars.session == day][0] for day in np.unique(bars.session)}
    for step in [*STEPS, *LONG]:
        table = ladder.tables[step]
        closes = [close for start in table.start for close in [min(c for c in last.values() if c > start)]]
        np.testing.assert_array_equal(table.known, np.minimum(table.start + step, closes))


@EVERY_STEP
def test_a_row_sees_the_latest_bar_that_is_known_when_it_closes(toy: tuple[Bars, Ladder], step: int) -> None:
    bars, ladder = toy
    table, at = ladder.tables[step], ladder.column(step)
    for row in range(0, len(bars), 17):
        known = np.flatnonzero((table.known <= bars.close_minute[row]) & (table.segment == bars.segment[row]))
        assert at[row] == (known[-1] if len(known) else NONE)


@EVERY_STEP
def test_bars_that_are_absent_after_a_bin_neither_close_nor_keep_it(
    toy: tuple[Bars, Ladder], step: int
) -> None:
    bars, ladder = toy
    table = ladder.tables[step]
    j = len(table) // 2
    gone = (bars.minute >= table.known[j]) & (bars.minute < table.known[j] + 20)
    kept = {name: v[~gone] for name, v in vars(bars).items() if isinstance(v, np.ndarray)}
    thinned = build(replace(bars, **kept), [step])
    same = int(np.flatnonzero(thinned.tables[step].start == table.start[j])[0])
    assert thinned.tables[step].known[same] == table.known[j]
    first = int(np.flatnonzero(kept["minute"] + 1 >= table.known[j])[0])
    assert thinned.column(step)[first] == same
    assert first == 0 or thinned.column(step)[first - 1] < same


@pytest.mark.parametrize("continuous", [False, True])
def test_any_multiple_is_a_step_and_no_step_changes_another(continuous: bool) -> None:
    instrument = Instrument(**{**TOY.model_dump(), "calendar": "24/7"}) if continuous else TOY
    bars = make_bars(4000, instrument=instrument)
    alone = build(bars, STEPS)
    together = build(bars, sorted([*STEPS, *LONG, 3, 7, 90, 100, 1000, 4000]))
    for step in STEPS:
        np.testing.assert_array_equal(alone.column(step), together.column(step))
        for name, column in vars(alone.tables[step]).items():
            np.testing.assert_array_equal(column, getattr(together.tables[step], name))
    for step in (3, 7, 90, 100, 1000, 4000):
        assert_equals_pandas(bars, together, step)


def test_the_declared_lookback_holds_the_bars_that_a_row_sees() -> None:
    bars = make_bars(4000, hole=False)
    for step in STEPS:
        whole = build(bars, [step])
        length = whole.lookback(step, 3)
        for row in (1500, 2207, 3999):
            part = build(bars[row + 1 - length : row + 1], [step])
            mine, theirs = whole.tables[step], part.tables[step]
            a, b = whole.column(step)[row], part.column(step)[-1]
            assert b >= 2
            for name in ("start", *FIELDS):
                np.testing.assert_array_equal(
                    getattr(mine, name)[a - 2 : a + 1], getattr(theirs, name)[b - 2 : b + 1]
                )


def tiny(
    minute: list[int], segment: list[int] | None = None, close: int = 1380, bar_minutes: int = 1
) -> Bars:
    n = len(minute)
    price = np.arange(1.0, n + 1)
    return Bars(
        minute=np.array(minute),
        open=price,
        high=price + 0.5,
        low=price - 0.5,
        close=price + 0.25,
        volume=np.ones(n),
        session=np.zeros(n, np.int64),
        session_open=np.zeros(n, np.int64),
        session_close=np.full(n, close),
        segment=np.array(segment or [0] * n),
        bar_minutes=bar_minutes,
        instrument=TOY,
    )


def test_a_bin_closes_by_the_clock_at_the_first_bar_that_closes_then_or_later() -> None:
    ladder = build(tiny([0, 1, 2, 7, 9, 10]), [5])
    # minutes 3 and 4 had no trade: bin 0 ends at 5 and is first seen when bar 7 closes
    np.testing.assert_array_equal(ladder.column(5), [NONE, NONE, NONE, 0, 1, 1])
    np.testing.assert_array_equal(ladder.tables[5].known, [5, 10])
    np.testing.assert_array_equal(ladder.tables[5].close, [3.25, 5.25])
    np.testing.assert_array_equal(ladder.tables[5].volume, [3, 2])
    np.testing.assert_array_equal(ladder.age(5), [np.nan, np.nan, np.nan, 3, 0, 1])


def test_the_last_bin_of_a_session_ends_at_the_close() -> None:
    bars = tiny([0, 5, 21, 22], close=23)
    ladder = build(bars, [10])
    np.testing.assert_array_equal(ladder.tables[10].start, [0, 20])
    np.testing.assert_array_equal(ladder.tables[10].known, [10, 23])
    np.testing.assert_array_equal(ladder.column(10), [NONE, NONE, 0, 1])


def test_empty_bins_are_absent_and_age_tells_it() -> None:
    ladder = build(tiny([0, 4, 21, 22]), [5])
    np.testing.assert_array_equal(ladder.tables[5].start, [0])
    np.testing.assert_array_equal(ladder.age(5), [np.nan, 0, 17, 18])


def test_a_segment_starts_without_ladder_bars() -> None:
    ladder = build(tiny([0, 4, 5, 6, 100, 104], segment=[0, 0, 0, 0, 1, 1]), [5])
    np.testing.assert_array_equal(ladder.column(5), [NONE, 0, 0, 0, NONE, 1])
    np.testing.assert_array_equal(ladder.tables[5].start, [0, 100])  # minutes 5 and 6 were never seen closed
    np.testing.assert_array_equal(ladder.tables[5].segment, [0, 1])


def test_a_bar_that_reaches_over_the_end_of_its_bin_holds_it_back() -> None:
    ladder = build(tiny([2, 7, 12, 17], bar_minutes=5), [15])
    np.testing.assert_array_equal(ladder.tables[15].known, [17])
    np.testing.assert_array_equal(ladder.column(15), [NONE, NONE, 0, 0])


def sessions(minute: list[int], hours: list[tuple[int, int]]) -> Bars:
    """One-minute bars, each of the last session that opens by then; ``hours`` are (open, close)."""
    bars = tiny(minute)
    of = np.searchsorted([opened for opened, _ in hours], minute, side="right") - 1
    opened, closed = np.array(hours)[of].T
    return replace(bars, session=of, session_open=opened, session_close=closed)


@pytest.mark.parametrize(
    ("step", "first", "second"),
    [
        (25, [0, 25, 50, 75], [180, 205, 230, 255]),
        (45, [0, 45, 90], [180, 225, 270]),
        (240, [0], [180]),
    ],
)
def test_bins_start_at_the_open_of_each_session_and_the_last_is_cut_at_its_close(
    step: int, first: list[int], second: list[int]
) -> None:
    # 100 minutes of trading, 80 of rest: neither 25 nor 45 divides the way from one open to the next
    bars = sessions([*range(100), *range(180, 280), 400], [(0, 100), (180, 280), (400, 500)])
    for part in (bars, bars[37:]):
        table = build(part, [step]).tables[step]
        starts = np.array([*first, *second])
        np.testing.assert_array_equal(table.start, starts[starts > part.minute[0] - step])
        known = np.array([*np.minimum(np.add(first, step), 100), *np.minimum(np.add(second, step), 280)])
        np.testing.assert_array_equal(table.known, known[starts > part.minute[0] - step])


@pytest.mark.parametrize("step", [25, 45])
def test_a_market_that_never_closes_counts_bins_from_the_epoch(step: int) -> None:
    always = Instrument(**{**TOY.model_dump(), "calendar": "24/7"})
    midnight = 19_723 * 1440
    bars = replace(tiny(list(range(midnight - 70, midnight + 70))), instrument=always)
    table = build(bars, [step]).tables[step]
    assert len(table) > 2
    assert not (table.start % step).any()
    assert (midnight in table.start) == (1440 % step == 0)  # a bin of 25 minutes goes on over midnight
    np.testing.assert_array_equal(table.known, table.start + step)


def test_both_ages_by_hand() -> None:
    bars = sessions([0, 9, 15, 20, 43, 44, 53], [(0, 23), (43, 66)])
    ladder = build(bars, [10])
    # bins [0, 10), [10, 20) and [20, 23), cut at the close; [43, 53) is known at 53
    np.testing.assert_array_equal(ladder.tables[10].known, [10, 20, 23, 53])
    np.testing.assert_array_equal(ladder.age(10), [np.nan, 0, 6, 1, 21, 22, 1])
    np.testing.assert_array_equal(ladder.age(10, "session"), [np.nan, 0, 6, 1, 1, 2, 1])


def test_trades_after_a_close_end_their_bin_where_the_next_session_opens() -> None:
    bars = sessions([20, 25, 33, 34], [(0, 23), (30, 53)])
    table = build(bars, [10]).tables[10]
    np.testing.assert_array_equal(table.start, [20, 23])
    np.testing.assert_array_equal(table.known, [23, 30])  # not 33, when the next bar arrives


def test_session_age_does_not_count_the_hours_between_sessions() -> None:
    bars = make_bars(3000, hole=False)
    ladder = build(bars, [60])
    opens = np.flatnonzero(np.diff(bars.session)) + 1
    clock, session = ladder.age(60), ladder.age(60, "session")
    closed_minutes = bars.session_open[opens] - bars.session_close[opens - 1]
    np.testing.assert_array_equal(clock[opens] - session[opens], closed_minutes)
    inside = np.setdiff1d(np.arange(61, 1000), opens)
    np.testing.assert_array_equal(clock[inside], session[inside])


def test_a_series_without_volume_keeps_its_ladder() -> None:
    bars = make_bars(500)
    silent = build(replace(bars, volume=np.full(500, np.nan)), [5])
    assert np.isnan(silent.tables[5].volume).all()
    np.testing.assert_array_equal(silent.tables[5].close, build(bars, [5]).tables[5].close)


def test_steps_below_the_bars_are_left_out_with_a_note() -> None:
    assert usable([60, 1, 5, 5], 5) == ([5, 60], ["1 min left out: the bars have 5 minutes"])


def test_a_step_that_is_no_multiple_is_an_error_that_names_it_and_those_that_are() -> None:
    message = r"holds 20: bars of 15 minutes give multiples of 15; of \[1, 15, 20, 45\] that is 15, 45"
    with pytest.raises(InputError, match=message):
        usable([15, 20, 45, 1], 15)


def test_no_usable_step_is_an_error() -> None:
    with pytest.raises(InputError, match="no step is as long as a bar of 5 minutes"):
        usable([1], 5)
