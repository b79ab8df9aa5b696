"""Prices at every row are those of the last closed bar that the ladder's alignment names."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import real_bars
from tests.conftest import TOY, make_bars

from mlfactory.common.bars import Bars, Instrument
from mlfactory.mtf.aligned import aligned
from mlfactory.mtf.bins import FIELDS, build, usable

STEPS = [1, 5, 10, 15, 20, 25, 30, 45, 60, 240, 1440]


def expected(bars: Bars, steps: list[int]) -> np.ndarray:
    ladder = build(bars, steps)
    columns = [ladder.gather(step, getattr(ladder.tables[step], name)) for step in steps for name in FIELDS]
    return np.column_stack(columns).astype(np.float32).reshape(len(bars), len(steps), len(FIELDS))


def always_open(n: int) -> Bars:
    return make_bars(n, instrument=Instrument(**{**TOY.model_dump(), "calendar": "24/7"}))


def shifted(n: int) -> Bars:
    """Bars of two minutes that start on odd minutes: none is a bin of its own."""
    bars = make_bars(2 * n, hole=False)[::2]
    return replace(bars, minute=bars.minute // 2 * 2 + 1, bar_minutes=2)


TOYS: dict[str, Callable[[int], Bars]] = {"sessions": make_bars, "24/7": always_open, "off the grid": shifted}


@pytest.mark.parametrize("steps", [STEPS, [7, 10, 14, 15], [60], [1], [2, 3, 6]], ids=str)
@pytest.mark.parametrize("toy", TOYS)
def test_prices_are_those_of_the_aligned_bars(toy: str, steps: list[int]) -> None:
    bars = TOYS[toy](4000)
    kept = [step for step in steps if step % bars.bar_minutes == 0]
    if kept:
        np.testing.assert_array_equal(aligned(bars, kept), expected(bars, kept))


REAL: dict[str, Callable[[Path], Bars]] = {
    "ES": lambda folder: real_bars.es(folder, slice(20_000, 26_000)),
    "ES halts": lambda folder: real_bars.es(folder, slice(108_000, 110_000)),
    "BTC": lambda folder: real_bars.btc(folder, slice(3_000, 12_000)),
    "SPY": lambda folder: real_bars.spy(folder, slice(-6_000, None)),
}


@pytest.mark.parametrize("series", REAL)
def test_real_bars_too(shared_data: Path, series: str) -> None:
    bars = REAL[series](shared_data)
    steps, _ = usable(STEPS, bars.bar_minutes)
    np.testing.assert_array_equal(aligned(bars, steps), expected(bars, steps))


@pytest.mark.parametrize("cut", [700, 1377, 2399, 2400, 3111])
def test_bars_after_a_row_change_nothing_in_it(cut: int) -> None:
    bars = make_bars(4000)
    whole = aligned(bars, STEPS)
    garbage = {
        name: np.r_[getattr(bars, name)[: cut + 1], 7 * getattr(bars, name)[cut + 1 :]] for name in FIELDS
    }
    for future in (replace(bars, **garbage), bars[: cut + 1]):
        np.testing.assert_array_equal(aligned(future, STEPS)[: cut + 1], whole[: cut + 1])
    early = replace(
        bars, **{name: np.append(getattr(bars, name)[1:], 1.0) for name in FIELDS}
    )  # a planted peek
    assert (aligned(early, STEPS)[cut] != whole[cut]).any()


def test_a_row_sees_a_bar_from_its_close_on_and_nothing_before(bars: Bars) -> None:
    values = aligned(bars[:12], [1, 5])
    closes = (bars.minute[:12] + 1 - bars.session_open[0]) // 5  # five-minute bins that each row has seen end
    assert np.isnan(values[closes == 0, 1]).all()
    for row in np.flatnonzero(closes):
        inside = (bars.minute[:12] - bars.session_open[0]) // 5 == closes[row] - 1
        np.testing.assert_array_equal(
            values[row, 1],
            [
                bars.open[:12][inside][0],
                bars.high[:12][inside].max(),
                bars.low[:12][inside].min(),
                bars.close[:12][inside][-1],
                bars.volume[:12][inside].sum(),
            ],
        )


def test_a_missing_volume_stays_missing_and_prices_stay(bars: Bars) -> None:
    silent = aligned(replace(bars, volume=np.full(len(bars), np.nan)), [5, 15])
    assert np.isnan(silent[..., 4]).all()
    np.testing.assert_array_equal(silent[..., :4], aligned(bars, [5, 15])[..., :4])


def test_memory_that_is_given_is_written_whole(bars: Bars) -> None:
    out = np.full((len(bars), 2, len(FIELDS)), 99.0, np.float32)
    assert aligned(bars, [5, 60], out) is out
    np.testing.assert_array_equal(out, aligned(bars, [5, 60]))
