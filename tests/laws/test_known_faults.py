"""Leaks and cost errors that pipelines of this kind have shipped, each with a test that would have found it.

Each test is named by what it proves. Three faults have their test elsewhere: only the report sees the locked test
(``test_law_5_locked_test.py``), rows without a known unit are invalid instead of flat (``tests/labels``), and a failed
fit predicts nothing (``tests/train/test_train_stage.py``).
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.conftest import TOY, make_bars
from tests.support import real_bars
from tests.support.toy_run import ToyRun

from mlfactory.audit.chain import Chain as Columns
from mlfactory.audit.params import Settings
from mlfactory.common.artifacts import provenance, read_matrix, read_table
from mlfactory.common.bars import Bars, read_bars, write_bars
from mlfactory.common.index import Index, read_index
from mlfactory.common.metrics import prior_log_loss, row_log_loss
from mlfactory.common.splits import HELD_OUT, INNER, TRAIN, blocks, fold_codes, k_fold, walk_forward
from mlfactory.common.stage import call
from mlfactory.ingest.instruments import instrument
from mlfactory.ingest.stage import run as ingest
from mlfactory.labels.params import Params as Labels
from mlfactory.labels.stage import barriers, follow
from mlfactory.labels.stage import run as write_labels
from mlfactory.models import bundle
from mlfactory.models.registry import load_model
from mlfactory.stacking.combining import combine
from mlfactory.stacking.nested import stack
from mlfactory.train.fitting import FoldRows, barred_bars, fit_fold, fold_rows
from mlfactory.train.weighting import row_weights

from .conftest import Chain

H = 20


@pytest.fixture(scope="module")
def index(chain: Chain) -> Index:
    return read_index(chain.artifacts["index"])


def other_outcomes(index: Index, rows: np.ndarray) -> Index:
    """Give some rows other labels, returns and exits; their spans stay, since they part the folds."""
    label = index.label[H].copy()
    label[rows] = 2 - label[rows]
    until = index.open_until[H].copy()
    until[rows] += 30
    net = {H: np.where(np.isin(np.arange(len(index)), rows), 9.0, index.long_net[H])}
    return replace(index, label={H: label}, open_until={H: until}, long_net=net)


# Leaks.


def test_no_weight_depends_on_held_out_rows(index: Index) -> None:
    for fold in range(index.n_folds):
        rows = index.rows(H, fold, TRAIN)
        other = other_outcomes(index, index.rows(H, fold, HELD_OUT))
        barred = barred_bars(index, H, fold, rows)[TRAIN]
        before, after = (row_weights(some, H, rows, barred) for some in (index, other))
        assert before.tobytes() == after.tobytes()


def test_a_weight_by_rank_over_the_whole_file_would_be_caught(index: Index) -> None:
    rows, held = index.rows(H, 0, TRAIN), index.rows(H, 0, HELD_OUT)

    def ranked(some: Index) -> np.ndarray:
        known = np.flatnonzero(some.label[H] >= 0)
        order = np.argsort(np.argsort(some.long_net[H][known]))
        return order[np.searchsorted(known, rows)]

    assert (ranked(index) != ranked(other_outcomes(index, held))).any()


@pytest.mark.parametrize("seed", range(3))
def test_no_calibration_sees_the_rows_that_it_calibrates(seed: int, tmp_path: Path) -> None:
    toy = ToyRun(tmp_path, models={"xgboost": 0.0, "lightgbm": 0.0}, seed=seed)
    development, test = (
        stack([toy.job(m, H, kind) for m in toy.models]) for kind in ("fold_predictions", "test_predictions")
    )
    label = toy.content.label[H][development.row]
    best = prior_log_loss(np.bincount(label, minlength=3) / len(label), label).mean()

    def loss(p: np.ndarray) -> float:
        return float(row_log_loss(p, label).mean())

    # forecasts that know nothing cannot beat the best constant, unless the calibration has seen the outcomes
    combined = combine("meta_calibrated", development, test, toy.content, 0, {})
    assert loss(combined.nested) >= best
    in_sample = load_model("meta_calibrated")(gap=0).fit(development.features, label, np.ones(len(label)))
    isotonic = in_sample_isotonic(development.features, label)
    assert loss(isotonic) < best
    assert loss(in_sample.predict_proba(development.features)) < loss(combined.nested)


def in_sample_isotonic(features: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Calibrate the first forecast on the very rows that it is judged on."""
    from sklearn.isotonic import IsotonicRegression

    rise = [IsotonicRegression().fit_transform(features[:, k], label == k) for k in range(3)]
    p = np.column_stack(rise) + 1e-6
    return np.asarray(p / p.sum(axis=1, keepdims=True))


def boosted(chain: Chain, index: Index, rows: FoldRows | None = None) -> dict[str, Any]:
    """Fit a fold with early stopping, and tell where it stopped."""
    matrix = read_matrix(chain.artifacts["boosting_optimal"], "boosting_optimal")
    model = load_model("lightgbm")(rounds=40, patience=3, learning_rate=0.3, min_leaf_rows=20)
    contract = bundle.Contract("lightgbm", "boosting", H, "boosting_optimal", matrix.columns, 1)
    source = bundle.Columns.of(matrix.values, matrix.columns)
    return fit_fold(model, contract, source, index, 0, rows).facts


def test_early_stopping_never_sees_a_held_out_row(chain: Chain, index: Index) -> None:
    held = index.rows(H, 0, HELD_OUT)
    other = other_outcomes(index, held)
    assert boosted(chain, index) == boosted(chain, other)
    rows = fold_rows(index, H, 0, 1)
    leaking = replace(rows, inner=rows.held_out)
    clean, garbage = boosted(chain, index, leaking), boosted(chain, other, leaking)
    assert clean["inner_log_loss"] != garbage["inner_log_loss"]


@pytest.mark.parametrize("unit", ["position", "time"])
def test_purging_by_label_end_fires_by_position_and_by_time(index: Index, unit: str) -> None:
    rows = np.flatnonzero(index.event & (index.label[H] >= 0))
    named = index if unit == "position" else replace(index, facts={"embargo_minutes": 0})
    start, end = named.spans(H, rows)
    block = blocks(len(rows), 4)
    purged, naive = (
        fold_codes(start, ends, block, k_fold(4), embargo=0, inner_fraction=0.0) for ends in (end, start)
    )
    lost = (naive == TRAIN).sum(axis=0) - (purged == TRAIN).sum(axis=0)
    assert (lost > 0).all()
    by_hand = [
        sum(any(start[i] <= end[j] and end[i] >= start[j] for j in np.flatnonzero(block == k))
            for i in np.flatnonzero(block != k))
        for k in (0, 2)
    ]  # fmt: skip
    assert lost[[0, 2]].tolist() == by_hand


def test_walk_forward_trains_on_no_label_that_reaches_the_rows_it_predicts(index: Index) -> None:
    rows = np.flatnonzero(index.event & (index.label[H] >= 0))
    start, end, block = index.bar[rows], index.end[H][rows], blocks(len(rows), 4)
    for ends, leaks in ((end, False), (start, True)):
        codes = fold_codes(start, ends, block, walk_forward(3), embargo=0, inner_fraction=0.0).T
        reach = [end[code == TRAIN].max() >= start[code == HELD_OUT].min() for code in codes]
        assert reach == [leaks] * 3


def test_a_blend_keeps_its_hold_out_a_label_away_from_the_rows_it_learns_from(tmp_path: Path) -> None:
    toy = ToyRun(tmp_path)
    development, test = (
        stack([toy.job(m, H, kind) for m in toy.models]) for kind in ("fold_predictions", "test_predictions")
    )
    blend = combine("blending", development, test, toy.content, 0, {"gap": 0}).model
    reach = toy.content.end[H][development.row]
    apart = [reach[i] < development.row[i + blend.gap] for i in range(len(reach) - blend.gap)]
    assert all(apart)
    assert not all(reach[:-1] < development.row[1:])


def jumped(bars: Bars, at: int) -> Bars:
    """Let the series pass to a contract that is a tenth dearer."""
    scale = np.where(np.arange(len(bars)) < at, 1.0, 1.1)
    prices = {name: getattr(bars, name) * scale for name in ("open", "high", "low", "close")}
    return replace(bars, **prices)


def test_a_roll_marks_no_row_before_it_and_no_trade_straddles_it() -> None:
    bars, at = make_bars(1500, hole=False), 800
    roll = pd.Timestamp(int(bars.minute[at]), unit="m", tz="UTC").to_pydatetime()
    plain, told = Labels(), Labels(rolls=(roll,))
    chosen = barriers(plain, bars)
    before, after = follow(bars, chosen, plain)[H], follow(jumped(bars, at), chosen, told)[H]
    finished = before.valid & (before.end < at)
    assert finished.sum() > 600
    assert before.net[finished].tobytes() == after.net[finished].tobytes()
    known = np.flatnonzero(after.valid)
    assert ((known < at) == (after.end[known] < at)).all()
    assert np.abs(after.net[known]).max() < 0.02
    blind = follow(jumped(bars, at), chosen, plain)[H]
    assert np.nanmax(np.abs(blind.net)) > 0.09  # a trade that earns the jump


def to_file(bars: Bars, path: Path) -> Path:
    frame = pd.DataFrame(
        {"timestamp": pd.to_datetime(bars.minute, unit="m", utc=True),
         **{name: getattr(bars, name) for name in ("open", "high", "low", "close", "volume")}}
    )  # fmt: skip
    frame.to_parquet(path)
    return path


def ingested(bars: Bars, folder: Path) -> Bars:
    folder.mkdir()
    source = to_file(bars, folder / "source.parquet")
    ingest(str(source), folder / "bars", folder / "quarantine", folder / "report", "BTCUSD")
    return read_bars(folder / "bars")


def test_bars_that_follow_decide_nothing_about_the_rows_before_and_no_outlier_is_deleted(
    tmp_path: Path,
) -> None:
    bars = make_bars(3000, hole=False)
    calm, wild = ingested(bars, tmp_path / "calm"), ingested(jumped(bars, 2500), tmp_path / "wild")
    assert len(wild) == len(calm) == 3000
    for name in ("minute", "open", "close", "segment", "session"):
        assert getattr(calm, name)[:2500].tobytes() == getattr(wild, name)[:2500].tobytes()
    assert (wild.close[2500:] == jumped(bars, 2500).close[2500:]).all()


def test_flat_bars_cost_no_row_in_mid_series() -> None:
    bars = make_bars(2600, hole=False)
    flat = np.random.default_rng(0).random(len(bars)) < 0.05
    still = {name: np.where(flat, bars.close, getattr(bars, name)) for name in ("open", "high", "low")}
    small = {
        "regime": {"window_bars": 300, "burn_in_bars": 60, "iterations": 5},
        "mtf": {"steps": [1, 5, 15]},
    }
    columns = Columns(bars, Settings.model_validate(small))
    parts = list(columns.of_stage("features", replace(bars, **still)))
    warm = max(int(part.lookback.max()) for part in parts)
    assert warm < 2000
    assert sum(len(part.columns) for part in parts) > 300
    assert all(np.isfinite(part.values[:, warm:]).all() for part in parts)


# Costs and labels.


def labelled(bars: Bars, folder: Path, **params: Any) -> pd.DataFrame:
    folder.mkdir()
    write_bars(folder / "bars", bars, provenance("bars", "ingest", {}, {}))
    call(write_labels, {"bars": folder / "bars", "labels": folder / "labels", "params": params})
    return read_table(folder / "labels", "labels")[0]


def test_dearer_trades_change_the_labels_of_the_pipeline(tmp_path: Path) -> None:
    bars = make_bars(1500)
    dear = replace(bars, instrument=TOY.model_copy(update={"commission_ticks": 50.0}))
    cheap, costly = labelled(bars, tmp_path / "cheap"), labelled(dear, tmp_path / "dear")
    both = cheap["valid_h20"] & costly["valid_h20"]
    assert (cheap["label_h20"] != costly["label_h20"])[both].mean() > 0.2
    for frame in (cheap, costly):
        assert (frame["long_net_h20"][frame["label_h20"] == 1] > 0).all()
        assert (frame["short_net_h20"][frame["label_h20"] == -1] > 0).all()


@pytest.mark.parametrize(("symbol", "points"), [("MES", 0.25), ("MGC", 0.1), ("ES", 0.25), ("6E", 0.00005)])
def test_costs_are_ticks_of_price_and_never_money(symbol: str, points: float) -> None:
    contract = instrument(symbol, {})
    ticks = contract.commission_ticks + 2 * (contract.slippage_ticks + contract.half_spread_ticks)
    assert contract.tick_size == points
    assert contract.round_trip_cost == pytest.approx(ticks * points)
    assert contract.tick_value != points  # money per tick: using it would be caught


def test_the_short_trade_pays_as_the_long_one_does(tmp_path: Path) -> None:
    bars = make_bars(1500)
    frame = labelled(bars, tmp_path / "labels")
    timed_out = frame["valid_h20"] & (frame["long_touch_h20"] == 0) & (frame["short_touch_h20"] == 0)
    paid = (
        -(frame["long_net_h20"] + frame["short_net_h20"])[timed_out] * np.r_[bars.open[1:], np.nan][timed_out]
    )
    assert timed_out.sum() > 20
    np.testing.assert_allclose(paid, 2 * bars.instrument.round_trip_cost, rtol=1e-6)


REAL: dict[str, Callable[[Path], Bars]] = {
    "ES": lambda folder: real_bars.es(folder, slice(20_000, 40_000)),
    "BTCUSD": lambda folder: real_bars.btc(folder, slice(300_000, 330_000)),
}


@pytest.mark.parametrize("symbol", REAL)
def test_default_labels_of_a_real_series_hold_every_class_and_no_lopsided_sides(
    symbol: str, shared_data: Path
) -> None:
    bars = REAL[symbol](shared_data)
    bars = replace(bars, instrument=instrument(symbol, {}))
    rules = Labels(horizons=(5, 10, 15, 20))
    for found in follow(bars, barriers(rules, bars), rules).values():
        label = found.label[found.valid]
        share = {k: (label == k).mean() for k in (-1, 0, 1)}
        assert found.valid.mean() > 0.9
        assert min(share.values()) > 0.08
        assert 1 / 1.5 < share[1] / share[-1] < 1.5


def test_inner_rows_are_apart_from_both_other_parts(index: Index) -> None:
    for fold in range(index.n_folds):
        train, inner, held = (index.rows(H, fold, code) for code in (TRAIN, INNER, HELD_OUT))
        start, end = index.bar, index.end[H]
        for one, other in ((train, inner), (train, held), (inner, held)):
            apart = (end[one][:, None] < start[other]) | (start[one][:, None] > end[other])
            assert apart.all()
