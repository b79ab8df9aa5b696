"""Windows of several timeframes: each timeframe's own closed bars, relative inside the window, whatever came before."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import make_bars

from mlfactory.common.artifacts import read_json, write_json
from mlfactory.common.errors import InputError
from mlfactory.common.multi_resolution import (
    CLOSE,
    MIN_SCALE,
    VOLUME_BARS,
    BarWindows,
    MultiResolutionDataset,
    relative_volume,
    trailing_sum,
    true_range_unit,
)
from mlfactory.common.raw_bars import CHANNELS, RawBars, depths, read_raw_bars, write_raw_bars

STEPS, MINUTES = 6, (1, 5, 15)


def raw_bars(n: int = 1500, *, channels: int = 5, skip: int = 0, seed: int = 0) -> RawBars:
    """Raw bars of ``n`` base bars in two segments, without the first ``skip``; higher bars count by position."""
    bars = make_bars(n, seed)
    base = np.column_stack([getattr(bars, name) for name in CHANNELS])[:, :channels]
    tables, first, end, depth = {}, {}, [], []
    for step in MINUTES:
        start = np.arange(0, n - step + 1, step)
        start = start[(bars.segment[start] == bars.segment[start + step - 1]) & (start >= skip)]
        part = np.stack([base[at : at + step] for at in start])
        table = part[:, -1].copy()
        table[:, 0], table[:, 1], table[:, 2] = part[:, 0, 0], part[..., 1].max(1), part[..., 2].min(1)
        if channels == 5:
            table[:, 4] = part[..., 4].sum(1)
        last = np.searchsorted(start + step - 1, np.arange(skip, n), side="right") - 1
        here = (last >= 0) & (bars.segment[start[last]] == bars.segment[skip:])
        last = np.where(here, last, -1).astype(np.int32)
        tables[step], first[step] = table, start
        end.append(last)
        depth.append(depths(bars.segment[start], last))
    return RawBars(
        MINUTES, tables, first, np.stack(end, 1), np.stack(depth, 1), STEPS, CHANNELS[:channels], {}
    )


@pytest.fixture(scope="module")
def raw() -> RawBars:
    return raw_bars()


@pytest.fixture(scope="module")
def windows(raw: RawBars) -> BarWindows:
    return BarWindows.of(raw, STEPS)


def by_hand(raw: RawBars, row: int, k: int) -> np.ndarray:
    """One timeframe of one row's window, from its formula: shape (steps, 4)."""
    end = raw.end[row, k]
    prices = np.log(raw.tables[raw.timeframes[k]][end - STEPS + 1 : end + 1, :4])
    ranges = [prices[0, 1] - prices[0, 2]]
    for before, bar in pairwise(prices):
        ranges.append(max(bar[1], before[3]) - min(bar[2], before[3]))
    return np.asarray((prices - prices[-1, 3]) / np.sqrt(np.mean(np.square(ranges))))


def test_a_window_holds_each_timeframes_own_last_closed_bars(raw: RawBars, windows: BarWindows) -> None:
    rows = np.flatnonzero(windows.full)[[0, 5, 100, -1]]
    data = windows.at(rows)
    batch = data.gather(np.arange(4))
    assert batch.shape == (4, 3, STEPS, 5)
    assert batch.dtype == np.float32
    for i, row in enumerate(rows):
        for k in range(3):
            error = (batch[i, k, :, :4] - by_hand(raw, row, k)) * data.scale[i, k]
            assert np.abs(error).max() < 1.2e-6  # two logarithms near 8.3, each exact to half a millionth


def test_windows_are_gathered_in_any_order_and_more_than_once(windows: BarWindows) -> None:
    data = windows.at(np.flatnonzero(windows.full))
    batch = data.gather(np.array([7, 0, 7]))
    np.testing.assert_array_equal(batch[0], batch[2])
    np.testing.assert_array_equal(batch[1], data.gather(np.array([0]))[0])
    assert len(data.gather(np.array([], int))) == 0


def test_the_last_close_is_zero_and_no_price_is_further_than_a_window_of_units(windows: BarWindows) -> None:
    data = windows.at(np.flatnonzero(windows.full))
    batch = data.gather(np.arange(len(data)))
    assert (batch[:, :, -1, CLOSE] == 0).all()
    assert np.abs(batch[..., :4]).max() <= STEPS * 1.01


def test_no_window_straddles_a_segment(raw: RawBars, windows: BarWindows) -> None:
    rows = np.flatnonzero(windows.full)
    assert len(rows) > 200
    segment = make_bars(1500).segment
    for row in rows:
        assert segment[windows.first_bar[row]] == segment[row]
    assert not windows.full[900 : 900 + 15 * STEPS - 1].any()  # the second segment starts at 900
    assert windows.full[900:].any()


def test_the_first_bar_is_the_earliest_that_any_timeframe_reads(raw: RawBars, windows: BarWindows) -> None:
    row = int(np.flatnonzero(windows.full)[50])
    reach = STEPS + VOLUME_BARS - 1
    assert windows.first_bar[row] == min(
        raw.first[m][raw.end[row, k] - reach + 1] for k, m in enumerate(MINUTES)
    )
    assert windows.first_bar[row] <= row - (15 * reach - 15)


def test_bars_before_the_window_and_after_it_change_nothing(raw: RawBars, windows: BarWindows) -> None:
    row = int(np.flatnonzero(windows.full)[120])
    rng = np.random.default_rng(3)
    tables = {}
    for k, (minutes, table) in enumerate(raw.tables.items()):
        outside = np.ones(len(table), bool)
        outside[raw.end[row, k] - (STEPS + VOLUME_BARS - 2) : raw.end[row, k] + 1] = False
        tables[minutes] = np.where(outside[:, None], table * rng.uniform(0.5, 2, table.shape), table)
    other = BarWindows.of(replace(raw, tables=tables), STEPS)
    one = np.array([row])
    np.testing.assert_array_equal(other.at(one).gather(np.array([0])), windows.at(one).gather(np.array([0])))


def test_the_last_bars_alone_give_the_same_windows(windows: BarWindows) -> None:
    late = BarWindows.of(raw_bars(skip=915), STEPS)
    rows = np.flatnonzero(late.full)
    assert len(rows) > 5
    whole = windows.at(rows + 915)
    np.testing.assert_array_equal(
        late.at(rows).gather(np.arange(len(rows))), whole.gather(np.arange(len(rows)))
    )


def test_that_check_catches_a_reference_taken_from_the_file(raw: RawBars, windows: BarWindows) -> None:
    rows = np.flatnonzero(windows.full)[-5:]
    referred = windows.table.copy()
    for k, table in enumerate(raw.tables.values()):
        start = sum(len(other) for other in list(raw.tables.values())[:k])
        referred[start : start + len(table), :4] = np.log(table[:, :4] / raw.tables[1][0, CLOSE])
    data = windows.at(rows)
    moved = replace(data, table=referred).gather(np.arange(5))
    assert np.abs(moved - data.gather(np.arange(5))).max() > 1e-6


def test_a_window_whose_prices_do_not_move_is_zero() -> None:
    raw = raw_bars()
    flat = {minutes: np.full_like(table, 4321.25) for minutes, table in raw.tables.items()}
    windows = BarWindows.of(replace(raw, tables=flat), STEPS)
    data = windows.at(np.flatnonzero(windows.full)[:3])
    assert (data.scale == np.float32(MIN_SCALE)).all()
    assert (data.gather(np.arange(3)) == 0).all()


def test_the_unit_is_the_root_mean_square_true_range_on_paper() -> None:
    bars = np.exp(np.array([[0, 0.3, 0.0, 0.1], [0.1, 0.2, 0.1, 0.2], [0.5, 0.6, 0.5, 0.6]]))
    # own range 0.3; then high 0.2 - low 0.1 = 0.1; then high 0.6 - close before 0.2 = 0.4
    expected = np.sqrt((0.3**2 + 0.1**2 + 0.4**2) / 3)
    assert true_range_unit(bars, 3)[2] == pytest.approx(expected, rel=1e-12)
    assert true_range_unit(bars, 1) == pytest.approx([0.3, 0.1, 0.1], rel=1e-12)


def test_a_trailing_sum_is_that_of_each_window() -> None:
    values = np.random.default_rng(0).normal(size=50)
    expected = [values[max(0, i - 6) : i + 1].sum() for i in range(50)]
    np.testing.assert_allclose(trailing_sum(values, 7), expected, rtol=1e-12, atol=1e-14)


def test_volume_is_relative_to_its_own_past_and_zero_where_there_is_none() -> None:
    steady = relative_volume(np.full(60, 250.0))
    assert steady[VOLUME_BARS:] == pytest.approx(0, abs=1e-12)
    double = relative_volume(np.r_[np.full(40, 100.0), 0.0])
    assert double[-1] == pytest.approx(-np.log(2))
    assert (relative_volume(np.full(30, np.nan)) == 0).all()
    assert (relative_volume(np.zeros(30)) == 0).all()


def test_windows_with_volume_need_its_past_too() -> None:
    prices, volumes = BarWindows.of(raw_bars(channels=4), STEPS), BarWindows.of(raw_bars(), STEPS)
    assert prices.channels == CHANNELS[:4]
    assert prices.full.sum() > volumes.full.sum() > 0
    rows = np.flatnonzero(volumes.full)
    np.testing.assert_array_equal(
        prices.at(rows).gather(np.arange(9)), volumes.at(rows).gather(np.arange(9))[..., :4]
    )


def test_no_window_is_held_as_a_copy(windows: BarWindows) -> None:
    data = windows.at(np.flatnonzero(windows.full))
    assert data.table is windows.table
    assert np.shares_memory(data.flat, windows.table)


def test_a_row_without_a_full_window_is_refused_by_number(windows: BarWindows) -> None:
    with pytest.raises(InputError, match="row 3 has fewer than 6 closed bars"):
        windows.at(np.array([3]))


@pytest.mark.parametrize("price", [0.0, -1.0, np.nan, np.inf])
def test_a_price_that_has_no_logarithm_is_named(price: float) -> None:
    raw = raw_bars()
    raw.tables[5][17, 2] = price
    with pytest.raises(InputError, match=rf"low of bar 17 of the 5-minute timeframe is {price}: .*\(1 such"):
        BarWindows.of(raw, STEPS)


@pytest.mark.parametrize(
    ("ends", "scale", "message"),
    [
        ([[3, 9]], np.ones((1, 2)), "windows of 5 steps end at rows 3 to 9; the table has 20 rows"),
        ([[5, 20]], np.ones((1, 2)), "end at rows 5 to 20"),
        ([[5, 9]], np.ones((1, 1)), r"scale \(1, 1\)"),
        ([[5]], np.ones((1, 1)), "each of 2 timeframes"),
    ],
)
def test_windows_that_do_not_fit_their_table_are_an_error(
    ends: object, scale: np.ndarray, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        MultiResolutionDataset(
            np.zeros((20, 4), np.float32), np.array(ends, np.int32), scale.astype(np.float32), 5, (1, 5)
        )


def test_the_artifact_is_mapped_and_checked(raw: RawBars, tmp_path: Path) -> None:
    facts = {"artifact": "transformer_raw", "schema_version": 1}
    write_raw_bars(tmp_path / "raw", raw, facts)
    read = read_raw_bars(tmp_path / "raw")
    assert isinstance(read.end, np.memmap)
    np.testing.assert_array_equal(BarWindows.of(read, STEPS).ends, BarWindows.of(raw, STEPS).ends)
    stated = read_json(tmp_path / "raw" / "provenance.json")
    write_json(tmp_path / "raw" / "provenance.json", {**stated, "rows": 7})
    with pytest.raises(InputError, match=r"end.npy has shape \(1500, 3\); its provenance says \(7, 3\)"):
        read_raw_bars(tmp_path / "raw")
