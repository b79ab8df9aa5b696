"""Law 8: every row of a source is a bar, is set aside with a reason, or lies before the last rows asked for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlfactory.common.bars import PRICES
from mlfactory.common.errors import InputError
from mlfactory.ingest.checks import REASONS, reason_counts
from mlfactory.ingest.clean import Clean, clean, describe, quarantine_table
from mlfactory.ingest.instruments import instrument
from mlfactory.ingest.params import Params, Synthetic
from mlfactory.ingest.source import NO_TIME, Rows, read_rows
from mlfactory.ingest.synthetic import generate

ES = instrument("ES")
MINUTE = 60_000_000
SERIES = [
    ("es_5m_front.parquet", "ES", Params(), 204, 11),
    ("btcusd_1m_2017_2018.parquet", "BTCUSD", Params(), 0, 8),
    ("spy_1m.parquet", "SPY", Params(), 2972, 1),
    ("nq_1m_thin.parquet", "NQH6", Params(), 45, 50),
    ("nq_1m_2015_2018_novol.parquet", "NQ", Params(), 3544, 4),
    ("fesx_1m_2006.parquet", "FESX", Params(stamp="close", instrument={"open_time": "09:00"}), 0, 2),
    ("6eh4_1m_2024_01.parquet", "6EH4", Params(stamp="close"), 0, 1),
]


@pytest.fixture
def rows() -> Rows:
    """Four hundred clean bars of the S&P future, from the first session of 2022 on."""
    return generate(Synthetic(bars=400, seed=3), ES).rows()


def key(microsecond: np.ndarray, values: dict[str, np.ndarray]) -> list[tuple[float, ...]]:
    return sorted(
        zip(microsecond, *(np.nan_to_num(v, nan=-1, posinf=-2) for v in values.values()), strict=True)
    )


def assert_nothing_is_lost(rows: Rows, result: Clean, params: Params) -> None:
    bars = result.bars
    shift = bars.bar_minutes if params.stamp == "close" else 0
    kept = key((bars.minute + shift) * MINUTE, {name: getattr(bars, name) for name in (*PRICES, "volume")})
    rejected = key(result.rejected.microsecond, result.rejected.values)
    assert result.rows_in == len(rows)
    assert len(bars) + len(result.rejected) + result.skipped == len(rows)
    assert (result.reason > 0).all()
    if not params.last:
        assert sorted(kept + rejected) == key(rows.microsecond, rows.values)


@pytest.mark.parametrize(("file", "symbol", "params", "rejected", "segments"), SERIES)
def test_no_row_of_a_real_series_is_lost(
    shared_data: Path, file: str, symbol: str, params: Params, rejected: int, segments: int
) -> None:
    rows = read_rows(shared_data / file, params)
    contract = instrument(symbol, params.instrument)
    result = clean(rows, contract, params)
    bars = result.bars
    assert result.rows_in == len(rows) == len(bars) + len(result.rejected)
    stamps = (bars.minute + (bars.bar_minutes if params.stamp == "close" else 0)) * MINUTE
    together = np.sort(np.concatenate([stamps, result.rejected.microsecond]))
    np.testing.assert_array_equal(together, np.sort(rows.microsecond))
    assert np.nansum(bars.close) + result.rejected.values["close"].sum() == pytest.approx(
        rows.values["close"].sum()
    )
    assert set(reason_counts(result.reason)) <= {"outside_session"}
    assert (len(result.rejected), len(bars.segments())) == (rejected, segments)
    assert (np.diff(bars.minute) > 0).all()
    assert (bars.session_open <= bars.minute).all()
    assert (bars.minute < bars.session_close).all()


def put(name: str, row: int, value: float) -> Callable[[Rows], None]:
    def change(rows: Rows) -> None:
        rows.values[name][row] = value

    return change


def stamp(row: int, move: int) -> Callable[[Rows], None]:
    def change(rows: Rows) -> None:
        rows.microsecond[row] += move

    return change


def unreadable(rows: Rows) -> None:
    rows.microsecond[7] = NO_TIME


def repeated(rows: Rows) -> None:
    for values in (rows.microsecond, *rows.values.values()):
        values[8] = values[7]


def conflicting(rows: Rows) -> None:
    rows.microsecond[8] = rows.microsecond[7]


DEFECTS: list[tuple[str, Callable[[Rows], None], int]] = [
    ("unreadable_timestamp", unreadable, 7),
    *[("price_not_finite", put(name, 7, bad), 7) for name in PRICES for bad in (np.nan, np.inf)],
    ("price_not_finite", put("low", 7, -np.inf), 7),
    *[("price_not_positive", put(name, 7, bad), 7) for name in PRICES for bad in (0.0, -5.0)],
    ("high_below_open_or_close", put("high", 7, 1.0), 7),
    ("high_below_open_or_close", put("close", 7, 99_999.0), 7),
    ("low_above_open_or_close", put("low", 7, 99_999.0), 7),
    ("low_above_open_or_close", put("open", 7, 1.0), 7),
    ("volume_not_finite", put("volume", 7, np.nan), 7),
    ("volume_not_finite", put("volume", 7, np.inf), 7),
    ("volume_negative", put("volume", 7, -1.0), 7),
    ("off_bar_grid", stamp(7, 20_000_000), 7),
    ("off_bar_grid", stamp(7, 1), 7),
    ("outside_session", stamp(7, -60 * MINUTE), 7),
    ("outside_session", stamp(-1, 5 * 1440 * MINUTE), 399),
    ("duplicate", repeated, 8),
    ("conflicting_duplicate", conflicting, 8),
]


@pytest.mark.parametrize(("reason", "plant", "row"), DEFECTS)
def test_a_defective_row_is_set_aside_with_its_reason(
    rows: Rows, reason: str, plant: Callable[[Rows], None], row: int
) -> None:
    plant(rows)
    result = clean(rows, ES, Params())
    assert reason_counts(result.reason) == {reason: 1}
    assert result.rejected.row.tolist() == [row]
    assert_nothing_is_lost(rows, result, Params())


def test_every_reason_has_a_planted_defect() -> None:
    assert {reason for reason, _, _ in DEFECTS} == set(REASONS[1:])


@pytest.mark.parametrize("params", [Params(), Params(last=100), Params(stamp="close")])
def test_many_defects_at_once_lose_nothing(rows: Rows, params: Params) -> None:
    rng = np.random.default_rng(0)
    for row in rng.choice(len(rows), 40, replace=False):
        name = rng.choice(list(rows.values))
        rows.values[name][row] = rng.choice([np.nan, np.inf, -1.0, 0.0, 99_999.0])
    shuffled = rows.take(rng.permutation(len(rows)))
    assert_nothing_is_lost(shuffled, clean(shuffled, ES, params), params)


def test_a_row_out_of_order_is_sorted_in_and_counted(rows: Rows) -> None:
    order = np.r_[np.arange(50), 51, 50, np.arange(52, 400)]
    result = clean(rows.take(order), ES, Params())
    assert result.backward_steps == 1
    np.testing.assert_array_equal(result.bars.close, rows.values["close"])


def test_the_first_of_two_rows_with_one_stamp_stays_also_when_a_defect_precedes_it(rows: Rows) -> None:
    conflicting(rows)
    rows.values["high"][7] = np.nan
    result = clean(rows, ES, Params())
    assert reason_counts(result.reason) == {"price_not_finite": 1}
    assert result.bars.open[7] == rows.values["open"][8]


def test_a_series_without_volume_is_whole_and_says_so(rows: Rows) -> None:
    rows.values["volume"][:] = np.nan
    result = clean(rows, ES, Params())
    assert not result.bars.has_volume
    assert len(result.rejected) == 0
    assert "the source has no volume" in describe(result)["advice"][0]


def test_stamps_at_the_end_of_bars_are_moved_to_their_open(rows: Rows) -> None:
    ends = Rows(rows.row, rows.microsecond + MINUTE, rows.values)
    moved = clean(ends, ES, Params(stamp="close")).bars
    np.testing.assert_array_equal(moved.minute, clean(rows, ES, Params()).bars.minute)


def test_stamps_at_session_closes_draw_advice(shared_data: Path) -> None:
    rows = read_rows(shared_data / "6eh4_1m_2024_01.parquet", Params())
    assert "ingest.stamp=close" in describe(clean(rows, instrument("6EH4"), Params()))["advice"][0]
    assert describe(clean(rows, instrument("6EH4"), Params(stamp="close")))["advice"] == []


def test_sessions_that_begin_late_draw_advice(shared_data: Path) -> None:
    params = Params(stamp="close")
    rows = read_rows(shared_data / "fesx_1m_2006.parquet", params)
    advice = describe(clean(rows, instrument("FESX"), params))["advice"]
    assert "sessions begin a median of 60 minutes after EUREX opens" in advice[0]


def test_a_series_with_a_daily_halt_and_no_symbol_draws_advice(shared_data: Path) -> None:
    rows = read_rows(shared_data / "6eh4_1m_2024_01.parquet", Params())
    advice = describe(clean(rows, instrument("GENERIC"), Params()))["advice"]
    assert "GENERIC trades around the clock: state the symbol" in advice[0]


def test_the_bar_length_is_the_most_frequent_step(rows: Rows) -> None:
    five = rows.take(rows.microsecond // MINUTE % 5 == 0)
    assert clean(five, ES, Params()).bars.bar_minutes == 5
    assert clean(five, ES, Params(bar_minutes=1)).bars.bar_minutes == 1


def test_the_last_bars_are_kept(rows: Rows) -> None:
    result = clean(rows, ES, Params(last=100))
    assert (len(result.bars), result.skipped) == (100, 300)
    assert result.bars.minute[-1] * MINUTE == rows.microsecond[-1]


def test_the_quarantine_lists_rows_in_source_order_with_their_values(rows: Rows) -> None:
    rows.values["volume"][30] = -4.0
    rows.microsecond[9] = NO_TIME
    table = quarantine_table(clean(rows, ES, Params()))
    assert table["row"].tolist() == [9, 30]
    assert table["reason"].tolist() == ["unreadable_timestamp", "volume_negative"]
    assert table["timestamp"].isna().tolist() == [True, False]
    assert table["volume"].tolist()[1] == -4.0
    assert table["timestamp"][1] == pd.Timestamp(rows.microsecond[30], unit="us", tz="UTC")


def test_the_report_counts_what_it_saw(rows: Rows) -> None:
    rows.values["volume"][3] = 0.0
    for name in PRICES:
        rows.values[name][5] = rows.values["open"][5]
    cut = rows.take(np.r_[0:100, 150:400])
    about = describe(clean(cut, ES, Params()))
    hole = int((rows.microsecond[150] - rows.microsecond[99]) // MINUTE) - 1
    assert about["bars"] == 350
    assert about["segments"] == 2
    assert about["zero_volume_bars"] == 1
    assert about["flat_bars"] >= 1
    assert about["off_tick_bars"] == 0
    assert about["gaps"]["longest"][0]["open_minutes_missing"] == hole
    assert len(about["largest_jumps"]) == 10


def break_all(rows: Rows) -> None:
    rows.values["high"][:] = 1.0


def break_some(rows: Rows) -> None:
    rows.values["high"][:100] = 1.0


def move_to_saturday(rows: Rows) -> None:
    rows.microsecond[:] = 19_000 * 1440 * MINUTE + np.arange(len(rows)) * MINUTE  # 2022-01-08


def one_stamp(rows: Rows) -> None:
    rows.microsecond[:] = rows.microsecond[0]


def yearly(rows: Rows) -> None:
    rows.microsecond[:] = rows.microsecond[0] + np.arange(len(rows)) * 1441 * MINUTE


@pytest.mark.parametrize(
    ("plant", "message"),
    [
        (break_all, r"400 of 400 rows break a rule \(high_below_open_or_close 400\)"),
        (break_some, r"100 of 400 rows break a rule .* more than ingest.max_rejected=0.2 allows"),
        (move_to_saturday, r"400 of 400 rows lie outside the sessions of ES \(CME_Equity\)"),
        (one_stamp, "the source has 1 usable stamps"),
        (yearly, "more than a day apart"),
    ],
)
def test_an_unusable_series_is_one_clear_error(rows: Rows, plant: Any, message: str) -> None:
    plant(rows)
    with pytest.raises(InputError, match=message):
        clean(rows, ES, Params())


def test_a_wrong_instrument_is_told_from_the_share_outside_its_sessions(shared_data: Path) -> None:
    rows = read_rows(shared_data / "es_5m_front.parquet", Params())
    with pytest.raises(InputError, match=r"outside the sessions of SPY \(NYSE\).*is the symbol right"):
        clean(rows, instrument("SPY"), Params())
