"""Sessions match what the exchanges publish, and holes are measured in open-market minutes alone."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlfactory.common.bars import Ints, minutes, timestamps
from mlfactory.common.errors import InputError
from mlfactory.ingest.instruments import instrument, instruments
from mlfactory.ingest.sessions import Schedule, schedule, segment_numbers


def at(*stamps: str) -> Ints:
    return minutes(pd.DatetimeIndex(stamps, tz="UTC"))


@cache
def sessions(symbol: str, first: str, last: str, **fields: str) -> Schedule:
    return schedule(instrument(symbol, fields), int(at(first)[0]), int(at(last)[0]))


def hours(calendar: Schedule, date: str) -> tuple[str, str]:
    row = int(np.flatnonzero(calendar.date == int(np.datetime64(date, "D").astype(int)))[0])
    opened, closed = timestamps(calendar.open[[row]])[0], timestamps(calendar.close[[row]])[0]
    return f"{opened:%m-%d %H:%M}", f"{closed:%m-%d %H:%M}"


@pytest.mark.parametrize("symbol", sorted(instruments()))
def test_sessions_of_every_instrument_are_ordered_and_do_not_overlap(symbol: str) -> None:
    calendar = sessions(symbol, "2005-06-01", "2026-06-01")
    assert len(calendar) > 5000
    assert (np.diff(calendar.date) > 0).all()
    assert (calendar.open < calendar.close).all()
    assert (calendar.open[1:] >= calendar.close[:-1]).all()
    assert (calendar.open <= calendar.break_start).all()
    assert (calendar.break_start <= calendar.break_end).all()
    assert (calendar.break_end <= calendar.close).all()


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["ES", "SPY", "BTCUSD", "FESX"]), st.integers(0, 9000), st.integers(0, 9000))
def test_elapsed_minutes_count_the_open_minutes_one_by_one(symbol: str, one: int, other: int) -> None:
    calendar = sessions(symbol, "2018-11-19", "2018-11-26")  # Thanksgiving, and the afternoon break of CME
    start = int(at("2018-11-19")[0])
    first, last = start + min(one, other), start + max(one, other)
    counted = calendar.is_open(np.arange(first, last)).sum()
    before, after = calendar.elapsed(np.array([first, last]))
    assert after - before == counted


def test_every_open_minute_is_listed_once() -> None:
    calendar = sessions("ES", "2018-11-19", "2018-11-26")
    whole = np.arange(calendar.open[0], calendar.close[-1])
    np.testing.assert_array_equal(calendar.open_minutes(), whole[calendar.is_open(whole)])


def test_a_cme_session_opens_on_sunday_evening_and_is_dated_monday() -> None:
    calendar = sessions("ES", "2024-11-20", "2024-11-30")
    assert hours(calendar, "2024-11-25") == ("11-24 23:00", "11-25 22:00")
    assert calendar.is_open(at("2024-11-24 22:59", "2024-11-24 23:00")).tolist() == [False, True]


def test_summer_time_moves_a_session_by_an_hour_of_utc() -> None:
    calendar = sessions("SPY", "2024-03-01", "2024-03-20")
    assert hours(calendar, "2024-03-08") == ("03-08 14:30", "03-08 21:00")
    assert hours(calendar, "2024-03-11") == ("03-11 13:30", "03-11 20:00")
    assert hours(sessions("ES", "2024-03-01", "2024-03-20"), "2024-03-12") == ("03-11 22:00", "03-12 21:00")


def test_a_half_day_closes_early() -> None:
    assert hours(sessions("SPY", "2024-11-20", "2024-12-05"), "2024-11-29") == ("11-29 14:30", "11-29 18:00")


def test_the_daily_halt_and_the_weekend_are_closed() -> None:
    calendar = sessions("ES", "2024-11-18", "2024-11-25")
    stamps = at("2024-11-21 21:59", "2024-11-21 22:00", "2024-11-21 22:59", "2024-11-23 12:00")
    assert calendar.is_open(stamps).tolist() == [True, False, False, False]


def test_the_afternoon_break_of_cme_ended_in_june_2021() -> None:
    before, after = sessions("ES", "2021-06-24", "2021-06-26"), sessions("ES", "2021-07-01", "2021-07-02")
    assert before.is_open(at("2021-06-24 20:14", "2021-06-24 20:15", "2021-06-24 20:30")).tolist() == [
        True,
        False,
        True,
    ]
    assert after.is_open(at("2021-07-01 20:15")).all()


def test_a_market_that_never_closes_has_one_session_per_utc_day() -> None:
    calendar = sessions("BTCUSD", "2024-11-23", "2024-11-24")
    assert hours(calendar, "2024-11-23") == ("11-23 00:00", "11-24 00:00")


def test_own_hours_replace_the_calendars_and_early_closes_stay() -> None:
    calendar = sessions("SPY", "2024-11-20", "2024-12-05", open_time="04:00", close_time="20:00")
    assert hours(calendar, "2024-11-27") == ("11-27 09:00", "11-28 01:00")
    assert hours(calendar, "2024-11-29") == ("11-29 09:00", "11-29 18:00")


def test_an_unknown_calendar_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(InputError, match=r"instrument ES: calendar 'CBOT' .* known: .*CME_Equity"):
        sessions("ES", "2024-11-20", "2024-12-05", calendar="CBOT")


def segments(symbol: str, *stamps: str, max_gap: int = 30) -> tuple[list[int], list[int]]:
    minute = at(*stamps)
    number, missing = segment_numbers(sessions(symbol, stamps[0], stamps[-1]), minute, 1, max_gap)
    return number.tolist(), missing.tolist()


def test_a_hole_starts_a_segment_when_more_open_minutes_are_missing_than_allowed() -> None:
    stamps = ("2024-11-21 15:00", "2024-11-21 15:31", "2024-11-21 16:03")
    assert segments("ES", *stamps) == ([0, 0, 1], [0, 30, 31])


def test_halts_weekends_holidays_and_breaks_are_bridged() -> None:
    halt = segments("ES", "2024-11-21 21:59", "2024-11-21 23:00")
    weekend = segments("ES", "2024-11-22 21:59", "2024-11-24 23:00")
    thanksgiving = segments("SPY", "2024-11-27 20:59", "2024-11-29 14:30")
    afternoon = segments("ES", "2018-11-20 21:14", "2018-11-20 21:30")
    assert halt == weekend == thanksgiving == afternoon == ([0, 0], [0, 0])


def test_minutes_missing_on_both_sides_of_a_halt_add_up() -> None:
    assert segments("ES", "2024-11-21 21:49", "2024-11-21 23:20") == ([0, 0], [0, 30])
    assert segments("ES", "2024-11-21 21:48", "2024-11-21 23:20") == ([0, 1], [0, 31])


def test_a_missing_session_starts_a_segment() -> None:
    assert segments("SPY", "2024-11-25 20:59", "2024-11-27 14:30") == ([0, 1], [0, 390])
