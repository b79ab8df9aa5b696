"""Windows of several timeframes on real series: finite, bounded, and the same from the last bars alone."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.dataset.conftest import Case
from tests.support import real_bars

from mlfactory.common.bars import Bars
from mlfactory.common.index import read_index
from mlfactory.common.multi_resolution import CLOSE, BarWindows, MultiResolutionDataset
from mlfactory.common.raw_bars import read_raw_bars

STEPS = 20
SERIES: dict[str, Callable[[Path], Bars]] = {
    "BTC": lambda folder: real_bars.btc(folder, slice(300_000, 312_000)),
    "SPY": lambda folder: real_bars.spy(folder, slice(0, 12_000)),
}


def windows(bars: Bars, folder: Path) -> tuple[BarWindows, np.ndarray]:
    """Windows of the rows of a dataset, and the minute of each row."""
    folder.mkdir()
    out = Case(folder, bars, horizons=(20,)).make(steps=STEPS, channels="ohlcv")
    return BarWindows.of(read_raw_bars(out / "transformer_raw"), STEPS), read_index(out / "index").minute


@pytest.mark.parametrize("name", SERIES)
def test_real_windows_are_finite_bounded_and_independent_of_the_origin(
    name: str, shared_data: Path, tmp_path: Path
) -> None:
    bars = SERIES[name](shared_data)
    whole, minute = windows(bars, tmp_path / "whole")
    rows = np.flatnonzero(whole.full)
    assert len(rows) > 1000
    batch = whole.at(rows).gather(np.arange(len(rows)))
    assert np.isfinite(batch).all()
    assert np.abs(batch[..., :4]).max() <= STEPS * 1.01
    assert (batch[:, :, -1, CLOSE] == 0).all()
    assert 0.2 < batch[..., :4].std() < 5
    start = 4000
    late, late_minute = windows(
        replace(bars[start:], segment=bars.segment[start:] - bars.segment[start]), tmp_path / "late"
    )
    late_rows = np.flatnonzero(late.full)
    same = np.searchsorted(minute, late_minute[late_rows])
    assert len(late_rows) > 1000
    assert whole.full[same].all()
    np.testing.assert_array_equal(first(late.at(late_rows)), first(whole.at(same)))


def first(data: MultiResolutionDataset) -> np.ndarray:
    return data.gather(np.arange(0, len(data), 7))
