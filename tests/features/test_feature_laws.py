"""Laws 2 and 3 over every feature column, from bars through regime and ladder, and planted violations of each."""

from functools import partial
from pathlib import Path

import feature_chain as chain
import numpy as np
import pytest
from tests.conftest import make_bars

from mlfactory.common.bars import Bars
from mlfactory.features.compute import compute, plan, setting_of
from mlfactory.features.params import Params
from mlfactory.features.registry import catalogue, load
from mlfactory.features.segment import Setting
from mlfactory.mtf.bins import build
from mlfactory.regime import compute as regimes

SETTING = Setting(1, chain.STEPS[1:], regimes.lookbacks(chain.REGIME, 1))
EVERY_COLUMN = pytest.mark.parametrize("name", [column["name"] for column in catalogue(SETTING, ())])
PLANTED = '''
"""Two columns that break a law each."""
import numpy as np
from mlfactory.features.registry import feature


@feature({"peek": 1}, unit="ratio")
def peek(x):
    """The next bar's close."""
    return np.roll(x.close, -1) / x.close


@feature({"expanding": 50}, unit="ratio")
def expanding(x):
    """Close over the mean of all closes so far."""
    return x.close * np.arange(1, len(x) + 1) / np.cumsum(x.close)


@feature({"honest": 20}, unit="ratio")
def honest(x):
    """Close over the close 19 bars ago."""
    return x.close / np.r_[x.close[:19], x.close[:-19]][: len(x)]
'''


@pytest.fixture(scope="module")
def whole(bars: Bars) -> chain.Table:
    return chain.table(bars, check=True)


@pytest.fixture(scope="module")
def cuts(bars: Bars) -> list[int]:
    rng = np.random.default_rng(3)
    session = np.flatnonzero(np.diff(bars.session))[[2, 3]] + 1
    segment = np.flatnonzero(np.diff(bars.segment)) + 1
    edge = np.flatnonzero(bars.minute % 60 == 0)[[-40, -25]]
    return sorted({*rng.integers(2700, len(bars) - 200, 3), *session, *segment, *edge} - {0})


@pytest.fixture(scope="module")
def future(bars: Bars, cuts: list[int]) -> chain.LookAhead:
    return chain.look_ahead(bars, cuts, chain.table)


@pytest.fixture(scope="module")
def origin(bars: Bars, whole: chain.Table) -> dict[str, float]:
    opens = np.flatnonzero(np.diff(bars.session)) + 1
    rows = [int(opens[2]) + 1, 3599, 5407, len(bars) - 1]
    return chain.origin_error(bars, rows, whole, chain.table)


@EVERY_COLUMN
def test_a_column_ignores_all_later_bars(name: str, future: chain.LookAhead) -> None:
    assert name in future.changed_after, "no corruption of the future changed the column: not tested"
    assert name not in future.changed_before


@EVERY_COLUMN
def test_a_column_needs_no_more_than_its_look_back(name: str, origin: dict[str, float]) -> None:
    assert origin[name] <= 1e-6


def test_finite_windows_have_the_same_bits_fed_alone(whole: chain.Table, origin: dict[str, float]) -> None:
    assert {column.name for column in whole.columns if origin[column.name]} == set()


@EVERY_COLUMN
def test_a_column_is_finite_after_its_look_back_and_masked_before(
    name: str, whole: chain.Table, bars: Bars
) -> None:
    lookback = next(column.lookback for column in whole.columns if column.name == name)
    np.testing.assert_array_equal(np.isfinite(whole[name]), bars.row_in_segment >= lookback - 1)


def test_the_size_of_the_blocks_changes_no_bit(bars: Bars, whole: chain.Table) -> None:
    ladder = build(bars, chain.STEPS)
    chosen = plan(load(()), SETTING, Params())
    states = regimes.compute(bars, chain.REGIME)
    assert setting_of(bars, ladder, SETTING.regime) == SETTING
    blocks = compute(bars, states, ladder, chosen, block=1)
    halo = max(column.lookback for column in chosen.columns if column.group != "regime")
    assert 2 * halo < 3600, "the first segment must be computed in several blocks"
    assert chain.same_bits(whole.values, blocks).all()


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    (tmp_path / "planted.py").write_text(PLANTED)
    return tmp_path


def test_a_column_that_peeks_one_bar_is_caught(planted: Path) -> None:
    bars = make_bars(2000, hole=False)
    compute_planted = partial(chain.table, folders=[planted], groups=["planted"])
    found = chain.look_ahead(bars, [900, 1500], compute_planted)
    assert found.changed_before == {"peek"}
    assert found.changed_after == {"peek", "expanding", "honest"}


def test_a_column_that_depends_on_where_the_file_starts_is_caught(planted: Path) -> None:
    bars = make_bars(2000, hole=False)
    compute_planted = partial(chain.table, folders=[planted])
    error = chain.origin_error(bars, [1200, 1900], compute_planted(bars, groups=["planted"]), compute_planted)
    assert {name for name, worst in error.items() if worst > 1e-6} == {"expanding", "peek"}
