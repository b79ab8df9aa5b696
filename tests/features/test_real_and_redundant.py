"""On real series every column is finite after warm-up and varies; on toy bars no two columns say the same."""

from pathlib import Path

import feature_chain as chain
import numpy as np
import pytest
from real_bars import ingested
from tests.conftest import make_bars

from mlfactory.common.bars import Bars

SLICES = {
    "es": ("es_5m_front.parquet", "ES", slice(60_000, 72_000)),
    "btc": ("btcusd_1m_2017_2018.parquet", "BTCUSD", slice(100_000, 112_000)),
    "spy": ("spy_1m.parquet", "SPY", slice(90_000, 102_000)),
    "nq_without_volume": ("nq_1m_2015_2018_novol.parquet", "NQ", slice(300_000, 312_000)),
    "nq_padded": ("nq_1m_thin.parquet", "NQH6", slice(20_000, 32_000)),
    "fesx": ("fesx_1m_2006.parquet", "FESX", slice(0, 12_000)),
}


@pytest.fixture(scope="module", params=list(SLICES))
def real(
    request: pytest.FixtureRequest, shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Bars]:
    file, symbol, rows = SLICES[request.param]
    bars = ingested(shared_data / file, rows, symbol, tmp_path_factory.mktemp(request.param))
    return request.param, bars


def test_every_column_is_finite_after_its_look_back_and_varies(real: tuple[str, Bars]) -> None:
    name, bars = real
    found = chain.table(bars, check=True)  # refuses what is not finite
    known = np.isfinite(found.values)
    for column, row in zip(found.columns, known, strict=True):
        np.testing.assert_array_equal(row, bars.row_in_segment >= column.lookback - 1)
    spread = [
        np.ptp(values[row]) if row.any() else 1.0 for values, row in zip(found.values, known, strict=True)
    ]
    constant = {c.name for c, s in zip(found.columns, spread, strict=True) if s == 0}
    # minutes without a trade are padded flat: candle patterns need not occur
    patterns = {column.name for column in found.columns if column.group == "candles"}
    assert constant <= (patterns if name == "nq_padded" else set())
    if name == "nq_without_volume":
        assert not any(column.needs_volume for column in found.columns)


def test_no_two_columns_of_the_models_are_perfectly_correlated_and_none_is_constant() -> None:
    found = chain.table(make_bars(9000, hole=False))
    rows = [i for i, column in enumerate(found.columns) if not column.level]
    values = found.values[rows].astype(float)
    values = values[:, np.isfinite(values).all(axis=0)]
    assert values.shape[1] > 4000
    names = [found.columns[i].name for i in rows]
    deviation = values.std(axis=1)
    assert [n for n, d in zip(names, deviation, strict=True) if d == 0] == []
    scaled = (values - values.mean(axis=1, keepdims=True)) / deviation[:, None]
    correlation = np.abs(scaled @ scaled.T) / values.shape[1]
    first, second = np.nonzero(np.triu(correlation > 1 - 1e-6, 1))
    assert [(names[i], names[j]) for i, j in zip(first, second, strict=True)] == []
