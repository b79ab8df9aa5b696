"""Bars keep their values and their calendar through a file, and split where a hole starts a segment."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlfactory.common.artifacts import provenance
from mlfactory.common.bars import Bars, Instrument, minutes, read_bars, timestamps, write_bars
from mlfactory.common.errors import InputError


def test_bars_come_back_from_a_file_bit_for_bit(tmp_path: Path, bars: Bars) -> None:
    write_bars(tmp_path / "bars", bars, provenance("bars", "ingest", {}, {}))
    back = read_bars(tmp_path / "bars")
    for name, value in vars(bars).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(getattr(back, name), value, err_msg=name)
    assert back.instrument == bars.instrument
    assert back.bar_minutes == bars.bar_minutes


def test_segments_cover_every_row_once_in_order(bars: Bars) -> None:
    rows = np.concatenate([np.arange(len(bars))[part] for part in bars.segments()])
    np.testing.assert_array_equal(rows, np.arange(len(bars)))
    assert len(bars.segments()) == 2
    assert [bars.row_in_segment[part].min() for part in bars.segments()] == [0, 0]


def test_a_bar_is_known_when_it_closes(bars: Bars) -> None:
    assert bars.close_minute[0] == bars.minute[0] + 1


def test_minutes_and_timestamps_are_inverse_across_time_zones() -> None:
    berlin = pd.DatetimeIndex(["2024-03-31 01:59", "2024-03-31 03:00"]).tz_localize("Europe/Berlin")
    assert np.diff(minutes(berlin)).tolist() == [1]
    assert (timestamps(minutes(berlin)) == berlin).all()


def test_a_round_trip_costs_commission_once_and_each_fill_twice_in_price_units() -> None:
    contract = Instrument(
        symbol="MES",
        tick_size=0.25,
        tick_value=1.25,
        commission_ticks=0.5,
        slippage_ticks=0.5,
        half_spread_ticks=0.5,
        calendar="CME_Equity",
    )
    assert contract.round_trip_cost == pytest.approx((0.5 + 2 * (0.5 + 0.5)) * 0.25)


def test_an_empty_bars_artifact_is_an_error(tmp_path: Path, bars: Bars) -> None:
    write_bars(tmp_path / "bars", bars[0:0], provenance("bars", "ingest", {}, {}))
    with pytest.raises(InputError, match="holds no bars"):
        read_bars(tmp_path / "bars")
