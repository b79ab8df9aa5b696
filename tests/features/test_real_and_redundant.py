"""On every shared series all columns are finite after warm-up; over them none is constant and no two say the same."""

from collections.abc import Mapping
from pathlib import Path

import feature_chain as chain
import numpy as np
import pytest
from real_bars import ingested
from tests.conftest import make_bars

from mlfactory.common.bars import Bars
from mlfactory.features.compute import compute_parts, plan, setting_of
from mlfactory.features.params import Params
from mlfactory.features.registry import catalogue, load
from mlfactory.mtf.bins import build, usable

SLICES = {
    "es": ("es_5m_front.parquet", "ES", slice(60_000, 72_000)),
    "btc": ("btcusd_1m_2017_2018.parquet", "BTCUSD", slice(100_000, 112_000)),
    "spy": ("spy_1m.parquet", "SPY", slice(90_000, 102_000)),
    "nq_without_volume": ("nq_1m_2015_2018_novol.parquet", "NQ", slice(300_000, 312_000)),
    "nq_padded": ("nq_1m_thin.parquet", "NQH6", slice(20_000, 32_000)),
    "fesx": ("fesx_1m_2006.parquet", "FESX", slice(0, 12_000)),
    "6e": ("6eh4_1m_2024_01.parquet", "6E", slice(5_000, 17_000)),
}
EVERY_SERIES = pytest.mark.parametrize("name", list(SLICES))
Pair = tuple[str, str]


@pytest.fixture(scope="module")
def real(
    shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, tuple[Bars, chain.Table]]:
    found = {}
    for name, (file, symbol, rows) in SLICES.items():
        bars = ingested(shared_data / file, rows, symbol, tmp_path_factory.mktemp(name))
        found[name] = bars, chain.table(bars, check=True)  # refuses what is not finite
    return found


@EVERY_SERIES
def test_every_column_is_finite_after_its_look_back_and_varies(
    name: str, real: Mapping[str, tuple[Bars, chain.Table]]
) -> None:
    bars, found = real[name]
    known = np.isfinite(found.values)
    for column, row in zip(found.columns, known, strict=True):
        np.testing.assert_array_equal(row, bars.row_in_segment >= column.lookback - 1)
    # minutes without a trade are padded flat: candle patterns need not occur
    patterns = {column.name for column in found.columns if column.group == "candles"}
    assert constant(found) <= (patterns if name == "nq_padded" else set())


@pytest.mark.slow
@EVERY_SERIES
def test_every_column_is_finite_on_the_whole_series(name: str, shared_data: Path, tmp_path: Path) -> None:
    file, symbol, _ = SLICES[name]
    bars = ingested(shared_data / file, slice(None), symbol, tmp_path)
    ladder = build(bars, usable(chain.STEPS, bars.bar_minutes)[0])
    chosen = plan(load(()), setting_of(bars, ladder, {}), Params())
    lookback = np.array([column.lookback for column in chosen.columns])
    for rows, values in compute_parts(bars, {}, ladder, chosen, 1 << 17):  # refuses what is not finite
        warm = bars.row_in_segment[rows] >= lookback[:, None] - 1
        np.testing.assert_array_equal(np.isfinite(values), warm)


def test_flat_and_padded_bars_are_among_them(real: Mapping[str, tuple[Bars, chain.Table]]) -> None:
    flat = {name: float((bars.high == bars.low).mean()) for name, (bars, _) in real.items()}
    assert flat["nq_padded"] > 0.5
    assert (real["nq_padded"][0].volume == 0).mean() > 0.5
    assert min(flat["btc"], flat["fesx"], flat["nq_without_volume"], flat["6e"]) > 0.01


def test_a_series_without_volume_lacks_the_columns_that_need_it_and_no_other(
    real: Mapping[str, tuple[Bars, chain.Table]],
) -> None:
    without, whole = ({c.name for c in real[name][1].columns} for name in ("nq_without_volume", "btc"))
    assert whole - without == {column["name"] for column in catalogue() if column["needs_volume"]}
    assert without < whole


def test_no_column_is_constant_over_the_shared_series(
    real: Mapping[str, tuple[Bars, chain.Table]],
) -> None:
    tables = [found for _, found in real.values()]
    names = {column.name for found in tables for column in found.columns}
    assert names - {n for found in tables for n in {c.name for c in found.columns} - constant(found)} == set()


def test_no_two_columns_of_the_models_say_the_same_over_the_shared_series(
    real: Mapping[str, tuple[Bars, chain.Table]],
) -> None:
    assert duplicates([found for _, found in real.values()]) == set()


def test_a_constant_column_and_a_duplicate_are_found() -> None:
    found = chain.table(make_bars(2000, hole=False), groups=["price"])
    first, other = found.values[:2]
    planted = chain.Table(found.columns[:4], np.stack([first, -2 * first, other, np.ones_like(first)]))
    names = [column.name for column in planted.columns]
    assert constant(planted) == {names[3]}
    assert duplicates([planted, planted]) == {(names[0], names[1])}
    distinct = chain.Table(found.columns[:2], found.values[:2])
    assert duplicates([planted, distinct]) == duplicates([distinct, planted]) == set()


def constant(found: chain.Table) -> set[str]:
    """Name the columns with a single value."""
    return {
        column.name
        for column, values in zip(found.columns, found.values, strict=True)
        if np.isfinite(values).any() and np.nanmin(values) == np.nanmax(values)
    }


def duplicates(tables: list[chain.Table]) -> set[Pair]:
    """Name the pairs of columns of the models that are perfectly correlated wherever both vary."""
    alike, varying = zip(*map(correlated, tables), strict=True)
    return {
        pair
        for pair in set().union(*alike)
        if all(
            pair in pairs or not names.issuperset(pair) for pairs, names in zip(alike, varying, strict=True)
        )
    }


def correlated(found: chain.Table) -> tuple[set[Pair], set[str]]:
    """Name the pairs of perfectly correlated columns, and all columns that vary, of those known on enough rows."""
    known = np.isfinite(found.values)
    longest = max(c.lookback for c, row in zip(found.columns, known, strict=True) if row.sum() > 1000)
    rows = [i for i, c in enumerate(found.columns) if not c.level and c.lookback <= longest]
    values = found.values[rows].astype(float)
    values = values[:, known[rows].all(axis=0)]
    assert values.shape[1] > 1000, "too few rows on which every column is known"
    values -= values.mean(axis=1, keepdims=True)
    size = np.sqrt((values**2).sum(axis=1))
    names = [found.columns[i].name for i in rows]
    scaled = values / np.where(size > 0, size, 1)[:, None]
    first, second = np.nonzero(np.triu(np.abs(scaled @ scaled.T) > 1 - 1e-6, 1))
    varying = {name for name, known in zip(names, size > 0, strict=True) if known}
    return {(names[i], names[j]) for i, j in zip(first, second, strict=True)}, varying
