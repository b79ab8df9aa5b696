"""The audit of real series: what a market does that no generator draws."""

import json
from pathlib import Path
from typing import Any

import pytest
from real_bars import ingested
from tests.audit.conftest import settings

from mlfactory.audit.audit import audit
from mlfactory.audit.params import Params
from mlfactory_pipelines import cli

SERIES = {
    "es": ("es_5m_front.parquet", "ES", slice(60_000, 64_000)),
    "btc": ("btcusd_1m_2017_2018.parquet", "BTCUSD", slice(100_000, 104_000)),
    "spy": ("spy_1m.parquet", "SPY", slice(92_000, 96_000)),
    "nq_without_volume": ("nq_1m_2015_2018_novol.parquet", "NQ", slice(300_000, 304_000)),
}
DAYS = {"day_of_week_sin", "day_of_week_cos"}
"""May rest: a stretch of a few sessions can lie between two days that share a value."""
GROUPS = ["microstructure", "mtf", "regime", "temporal", "trend", "volume"]


@pytest.mark.parametrize("name", SERIES)
def test_every_column_of_a_real_stretch_passes(name: str, shared_data: Path, tmp_path: Path) -> None:
    file, symbol, rows = SERIES[name]
    bars = ingested(shared_data / file, rows, symbol, tmp_path)
    document = audit(bars, settings(features={"groups": GROUPS}), Params())
    untested = {row["column"] for row in document["columns"] if row["verdict"] == "not tested"}
    assert document["counts"]["failed"] == 0
    assert untested - DAYS == (set() if bars.has_volume else {"volume_1m", "volume_5m", "volume_15m"})
    assert bool(document["switched_off"]) != bars.has_volume


@pytest.mark.slow
@pytest.mark.parametrize("name", SERIES)
def test_every_column_of_a_whole_real_series_passes(
    name: str, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, symbol, _ = SERIES[name]
    with pytest.raises(SystemExit) as end:
        cli.main(["audit", str(shared_data / file), "--symbol", symbol, "--json"])
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert not end.value.code
    assert document["counts"]["failed"] == 0
    assert {row["stage"] for row in document["columns"] if row["verdict"] != "passed"} <= {"mtf"}
