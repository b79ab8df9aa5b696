"""Every feature column has values from its look-back on, the same in blocks of any size; the audit proves the rest."""

import feature_chain as chain
import numpy as np
import pytest

from mlfactory.audit.compare import same_bits
from mlfactory.common.bars import Bars
from mlfactory.features.compute import compute, plan, setting_of
from mlfactory.features.params import Params
from mlfactory.features.registry import catalogue, load
from mlfactory.features.segment import Setting
from mlfactory.mtf.bins import build
from mlfactory.regime import compute as regimes

SETTING = Setting(1, chain.STEPS[1:], regimes.lookbacks(chain.REGIME, 1))
EVERY_COLUMN = pytest.mark.parametrize("name", [column["name"] for column in catalogue(SETTING, ())])


@pytest.fixture(scope="module")
def whole(bars: Bars) -> chain.Table:
    return chain.table(bars, check=True)


@EVERY_COLUMN
def test_a_column_is_finite_after_its_look_back_and_masked_before(
    name: str, whole: chain.Table, bars: Bars
) -> None:
    lookback = next(column.lookback for column in whole.columns if column.name == name)
    np.testing.assert_array_equal(np.isfinite(whole[name]), bars.row_in_segment >= lookback - 1)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_size_of_the_blocks_and_how_many_at_once_change_no_bit(
    threads: int, bars: Bars, whole: chain.Table
) -> None:
    ladder = build(bars, chain.STEPS)
    chosen = plan(load(()), SETTING, Params())
    states = regimes.compute(bars, chain.REGIME)
    assert setting_of(bars, ladder, SETTING.regime) == SETTING
    blocks = compute(bars, states, ladder, chosen, block=1, threads=threads)
    halo = max(column.lookback for column in chosen.columns if column.group != "regime")
    assert 2 * halo < 3600, "the first segment must be computed in several blocks"
    assert same_bits(whole.values, blocks).all()
