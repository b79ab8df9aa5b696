"""Garbage corrupts every bar from the cut on, leaves those before it alone, and is a series that could be."""

from dataclasses import replace

import numpy as np
import pytest
from tests.conftest import make_bars

from mlfactory.audit.garbage import GARBAGE
from mlfactory.common.bars import Bars

EVERY_KIND = pytest.mark.parametrize("kind", GARBAGE)
CUTS = pytest.mark.parametrize("cut", [1, 700, 1199, 1200, 1900])


def corrupted(bars: Bars, kind: str, cut: int) -> Bars:
    other = GARBAGE[kind](bars, cut, np.random.default_rng(0))
    assert other is not None
    return other


def arrays(bars: Bars, rows: slice) -> list[bytes]:
    return [value[rows].tobytes() for value in vars(bars).values() if isinstance(value, np.ndarray)]


@EVERY_KIND
@CUTS
def test_the_bars_before_the_cut_keep_every_bit_and_those_after_it_do_not(kind: str, cut: int) -> None:
    bars = make_bars(2000)
    other = corrupted(bars, kind, cut)
    assert arrays(other, slice(cut)) == arrays(bars, slice(cut))
    assert arrays(other, slice(cut, None)) != arrays(bars, slice(cut, None))


@EVERY_KIND
@CUTS
def test_garbage_is_a_series_of_bars(kind: str, cut: int) -> None:
    other = corrupted(make_bars(2000), kind, cut)
    assert (np.diff(other.minute) > 0).all()
    assert (np.diff(other.session) >= 0).all()
    assert (np.diff(other.segment) >= 0).all()
    assert (other.high >= np.maximum(other.open, other.close)).all()
    assert (other.low <= np.minimum(other.open, other.close)).all()
    assert (other.low > 0).all()
    assert (other.minute >= other.session_open).all()


@pytest.mark.parametrize(
    ("kind", "change"), [("thinned", -1), ("holed", -1), ("truncated", -1), ("inserted", 1)]
)
def test_deleting_shortens_and_inserting_lengthens_a_series(kind: str, change: int) -> None:
    assert np.sign(len(corrupted(make_bars(2000), kind, 700)) - 2000) == change


def test_a_hole_starts_a_segment() -> None:
    bars = make_bars(2000, hole=False)
    other = corrupted(bars, "holed", 700)
    assert len(bars.segments()) == 1
    assert [rows.start for rows in other.segments()] == [0, 700]


def test_a_kind_that_a_series_has_no_room_for_is_not_made_up() -> None:
    bars = make_bars(900, hole=False)
    rng = np.random.default_rng(0)
    silent = replace(bars, volume=np.full(len(bars), np.nan))
    assert GARBAGE["voiceless"](silent, 300, rng) is None
    assert np.isnan(corrupted(silent, "wild", 300).volume).all()
    full = replace(bars, minute=bars.minute[0] + np.arange(len(bars)))
    assert GARBAGE["inserted"](full, 300, rng) is None
    assert GARBAGE["holed"](bars, len(bars) - 2, rng) is None
