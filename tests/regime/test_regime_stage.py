"""The regime stage from file to table."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlfactory.common.artifacts import provenance, read_table, sha256
from mlfactory.common.bars import Bars, timestamps, write_bars
from mlfactory.common.errors import InputError
from mlfactory.common.stage import call
from mlfactory.regime.compute import check_finite, compute, lookbacks
from mlfactory.regime.params import Params
from mlfactory.regime.stage import run

SMALL = {"window_bars": 300, "burn_in_bars": 60, "iterations": 5}


def written(folder: Path, bars: Bars) -> Path:
    path = folder / "bars.parquet"
    write_bars(path, bars, provenance("bars", "ingest", {}, {}))
    return path


@pytest.fixture
def file(tmp_path: Path, bars: Bars) -> Path:
    return written(tmp_path, bars)


def test_the_table_holds_a_float32_column_per_regime(tmp_path: Path, file: Path, bars: Bars) -> None:
    summary = run(file, tmp_path / "regime.parquet", Params(**SMALL))
    frame, facts = read_table(tmp_path / "regime.parquet", "regime")
    np.testing.assert_array_equal(frame.pop("timestamp"), timestamps(bars.minute))
    assert set(frame.dtypes) == {np.dtype(np.float32)}
    assert set(frame) == set(facts["lookback"])
    assert facts["lookback"] == lookbacks(Params(**SMALL), 1)
    for name, column in compute(bars, Params(**SMALL)).items():
        np.testing.assert_array_equal(frame[name], column)
    assert sum(summary.metrics.values()) == pytest.approx(1)


def test_provenance_compares_states_with_and_without_the_own_bar(
    tmp_path: Path, file: Path, bars: Bars
) -> None:
    run(file, tmp_path / "regime.parquet", Params(**SMALL))
    frame, facts = read_table(tmp_path / "regime.parquet", "regime")
    state, told = frame["hmm_state"].to_numpy(copy=True), facts["own_bar"]
    pairs = [
        (a, b) for rows in bars.segments() for a, b in zip(state[rows][:-1], state[rows][1:], strict=True)
    ]
    pairs = [pair for pair in pairs if np.isfinite(pair).all()]
    assert told["rows"] == len(pairs)
    assert told["share_that_differs"] == pytest.approx(np.mean([a != b for a, b in pairs]))
    assert told["share_excluded"] == pytest.approx([np.mean([a == s for a, _ in pairs]) for s in range(3)])
    assert sum(told["share_included"]) == pytest.approx(1)


def test_two_runs_write_the_same_bytes(tmp_path: Path, file: Path) -> None:
    for name in ("a", "b"):
        run(file, tmp_path / name, Params(**SMALL))
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b")


def test_a_short_series_is_empty_but_no_error(tmp_path: Path, bars: Bars) -> None:
    summary = run(written(tmp_path, bars[:200]), tmp_path / "regime.parquet")
    assert "0 with a hidden state" in summary.line


def test_a_price_without_a_logarithm_is_an_error(tmp_path: Path, bars: Bars) -> None:
    low = bars.low.copy()
    low[77] = 0.0
    with pytest.raises(
        InputError, match=r"the bar of 2024-01-01T.* has a low of 0.0: regimes need positive prices"
    ):
        run(written(tmp_path, replace(bars, low=low)), tmp_path / "regime.parquet")


def test_a_gap_after_the_warm_up_is_an_error_that_names_the_column(bars: Bars) -> None:
    columns = {"regime_trend": np.zeros(len(bars), np.float32)}
    columns["regime_trend"][[3, 500]] = np.nan
    with pytest.raises(
        InputError, match=r"regime_trend has no value at 2024-01-01T07:.* warm-up of 100 bars"
    ):
        check_finite(bars, columns, {"regime_trend": 100})


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_state": 3}, "n_state is not a parameter; known: adx_period"),
        ({"n_states": 5}, "regime.n_states is 5"),
        ({"observations": ["volatility", "return"]}, "observations start with return and volatility"),
        ({"low_quantile": 0.8}, "below its high one"),
        ({"burn_in_bars": 100, "window_bars": 60}, "must not exceed window_bars"),
        ({"engine": "jax"}, "engine is 'jax'"),
    ],
)
def test_wrong_parameters_are_errors(
    tmp_path: Path, file: Path, params: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        call(run, {"bars": file, "regime": tmp_path / "regime.parquet", "params": params})
