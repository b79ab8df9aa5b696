"""The regime stage from file to table."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlfactory.common.artifacts import provenance, read_json, read_table, sha256
from mlfactory.common.bars import Bars, timestamps, write_bars
from mlfactory.common.errors import InputError
from mlfactory.common.stage import Summary, call
from mlfactory.regime.comparison import FIRST, difference, with_own_bar
from mlfactory.regime.compute import check_finite, compute, lookbacks, unlagged
from mlfactory.regime.params import Params
from mlfactory.regime.stage import run

SMALL = {"window_bars": 300, "burn_in_bars": 60, "iterations": 5}


def classify(file: Path, folder: Path, params: Params = Params()) -> Summary:  # noqa: B008  (frozen)
    """Run the stage; its outputs are named in ``folder`` as they are in the pipeline."""
    return run(file, folder / "regime", folder / "regime_report", folder / "states", params)


def written(folder: Path, bars: Bars) -> Path:
    path = folder / "bars.parquet"
    write_bars(path, bars, provenance("bars", "ingest", {}, {}))
    return path


@pytest.fixture
def file(tmp_path: Path, bars: Bars) -> Path:
    return written(tmp_path, bars)


def test_the_table_holds_a_float32_column_per_regime(tmp_path: Path, file: Path, bars: Bars) -> None:
    summary = classify(file, tmp_path, Params(**SMALL))
    frame, facts = read_table(tmp_path / "regime", "regime")
    np.testing.assert_array_equal(frame.pop("timestamp"), timestamps(bars.minute))
    assert set(frame.dtypes) == {np.dtype(np.float32)}
    assert set(frame) == set(facts["lookback"])
    assert facts["lookback"] == lookbacks(Params(**SMALL), 1)
    for name, column in compute(bars, Params(**SMALL)).items():
        np.testing.assert_array_equal(frame[name], column)
    assert sum(summary.metrics[f"hmm_share_{s}"] for s in range(3)) == pytest.approx(1)


def test_the_report_compares_states_with_and_without_the_own_bar(
    tmp_path: Path, file: Path, bars: Bars
) -> None:
    params = Params(**SMALL)
    classify(file, tmp_path, params)
    document = read_json(tmp_path / "regime_report")
    assert document["artifact"] == "regime_report"
    assert set(document["columns"]) == set(FIRST)
    served = compute(bars, params)
    for name, told in document["columns"].items():
        own = np.concatenate([unlagged(bars[rows], params)[name] for rows in bars.segments()])  # never served
        last = [rows.stop - 1 for rows in bars.segments()]
        own[last] = np.nan
        pairs = np.column_stack([own, served[name]])
        pairs = pairs[np.isfinite(pairs).all(axis=1)] - FIRST[name]
        assert told["rows"] == len(pairs) > 1000
        assert told["differs"] == pytest.approx((pairs[:, 0] != pairs[:, 1]).mean())
        for end, column in (("included", 0), ("excluded", 1)):
            shares = [(pairs[:, column] == state).mean() for state in range(len(told["states"]))]
            assert told[end] == pytest.approx(shares)
        assert sum(told["included"]) == pytest.approx(1)


def test_a_comparison_by_hand() -> None:
    nan = np.nan
    segments = [slice(0, 6), slice(6, 9)]
    served = np.array([nan, nan, 1, 1, -1, -1, nan, 0, 0]) + 1
    told = difference(with_own_bar(segments, served), served, ["down", "sideways", "up"])
    # with their own bar, rows 2, 3, 4 and 7 would hold 1, -1, -1 and 0; rows 5 and 8 end a segment
    assert told["rows"] == 4
    assert told["included"] == [0.5, 0.25, 0.25]
    assert told["excluded"] == [0.25, 0.25, 0.5]
    assert told["differs"] == 0.25
    assert told["mean_stay_bars"] == [1, 1, 2]


def test_the_markdown_lists_every_state(tmp_path: Path, file: Path) -> None:
    classify(file, tmp_path, Params(**SMALL, n_states=4))
    text = (tmp_path / "states").read_text(encoding="utf-8")
    document = read_json(tmp_path / "regime_report")
    for name, told in document["columns"].items():
        for state, share in zip(told["states"], told["excluded"], strict=True):
            assert re.search(rf"\| {name} \| {state} \| [\d.]+% \| {share:.2%} \|", text)
    assert len(document["columns"]["hmm_state"]["states"]) == 4


@pytest.mark.parametrize("warm", [False, True])
def test_the_table_declares_a_look_back_without_bound_where_fits_start_warm(
    tmp_path: Path, file: Path, warm: bool
) -> None:
    summary = classify(file, tmp_path, Params(**SMALL, warm_start=warm))
    _, facts = read_table(tmp_path / "regime", "regime")
    hidden = [name for name in facts["lookback"] if name.startswith("hmm_")]
    assert sorted(facts["unbounded_lookback"]) == (sorted(hidden) if warm else [])
    assert ("the look-back of hidden states is unbounded" in summary.line) == warm


def test_two_runs_write_the_same_bytes(tmp_path: Path, file: Path) -> None:
    for folder in ("a", "b"):
        classify(file, tmp_path / folder, Params(**SMALL))
    for name in ("regime", "regime_report", "states"):
        assert sha256(tmp_path / "a" / name) == sha256(tmp_path / "b" / name)


def test_a_short_series_is_empty_but_no_error(tmp_path: Path, bars: Bars) -> None:
    summary = classify(written(tmp_path, bars[:200]), tmp_path)
    assert "0 compared" in summary.line


def test_a_price_without_a_logarithm_is_an_error(tmp_path: Path, bars: Bars) -> None:
    low = bars.low.copy()
    low[77] = 0.0
    with pytest.raises(
        InputError, match=r"the bar of 2024-01-01T.* has a low of 0.0: regimes need positive prices"
    ):
        classify(written(tmp_path, replace(bars, low=low)), tmp_path)


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
    outputs = {name: tmp_path / name for name in ("regime", "regime_report", "states")}
    with pytest.raises(InputError, match=message):
        call(run, {"bars": file, **outputs, "params": params})
