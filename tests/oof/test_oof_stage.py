from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from toy_run import ToyRun

from mlfactory.common.artifacts import provenance, read_table, sha256, write_table
from mlfactory.common.bars import timestamps
from mlfactory.common.errors import InputError
from mlfactory.common.pools import read_pool
from mlfactory.common.predictions import Predictions
from mlfactory.common.splits import HELD_OUT
from mlfactory.oof.stage import run


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> ToyRun:
    return ToyRun(tmp_path_factory.mktemp("toy"), horizons=(10, 20))


def test_every_held_out_row_has_one_prediction_of_every_model(toy: ToyRun, tmp_path: Path) -> None:
    summary = run(toy.index, tmp_path / "oof.parquet", **toy.lists("fold_predictions"))
    pool, facts = read_pool(tmp_path / "oof.parquet", "oof")
    assert [(p.horizon, p.model) for p in pool] == [
        (h, m) for h in (10, 20) for m in ("lightgbm", "lstm", "xgboost")
    ]
    for p in pool:
        held_out = np.concatenate([toy.content.rows(p.horizon, k, HELD_OUT) for k in range(toy.folds)])
        expected = held_out[5:] if p.model == "lstm" else held_out
        assert p.row.tolist() == expected.tolist()
        assert np.allclose(p.probability, toy.predict(p.model, p.horizon)[expected])
    assert facts["failed"] == []
    assert summary.metrics["models"] == 6


def test_the_table_names_its_columns_and_parts(toy: ToyRun, tmp_path: Path) -> None:
    run(toy.index, tmp_path / "oof.parquet", **toy.lists("fold_predictions"))
    frame, _ = read_table(tmp_path / "oof.parquet", "oof")
    assert list(frame) == [
        "row", "timestamp", "horizon", "model", "part", "fold", "p_short", "p_flat", "p_long",
    ]  # fmt: skip
    assert set(frame["part"]) == {"oof"}
    first = frame[(frame["model"] == "lstm") & (frame["horizon"] == 20)]
    assert len(first) == len(toy.job("lstm", 20, "fold_predictions"))


def test_the_order_in_which_jobs_end_changes_no_byte(toy: ToyRun, tmp_path: Path) -> None:
    lists = toy.lists("fold_predictions")
    run(toy.index, tmp_path / "a", **lists)
    run(toy.index, tmp_path / "b", **{family: paths[::-1] for family, paths in reversed(lists.items())})
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b")


def test_a_failed_job_is_named_and_the_others_stay(tmp_path: Path) -> None:
    toy = ToyRun(tmp_path, broken=["xgboost"])
    summary = run(toy.index, tmp_path / "oof", **toy.lists("fold_predictions"))
    pool, facts = read_pool(tmp_path / "oof", "oof")
    assert facts["failed"] == [{"model": "xgboost", "family": "boosting", "horizon": 20}]
    assert {p.model for p in pool} == {"lightgbm", "lstm"}
    assert "failed: xgboost, horizon 20" in summary.line


def test_a_run_in_which_every_job_failed_is_an_error(tmp_path: Path) -> None:
    toy = ToyRun(tmp_path, models={"lstm": 0.5, "xgboost": 0.5}, broken=["lstm", "xgboost"])
    with pytest.raises(InputError, match="no training job left predictions: lstm, horizon 20; xgboost"):
        run(toy.index, tmp_path / "oof", **toy.lists("fold_predictions"))
    assert not (tmp_path / "oof").exists()


def seen_by_its_model(toy: ToyRun, p: Predictions) -> Predictions:
    return replace(p, fold=(p.fold + (p.row == p.row[7])) % toy.folds)


def predicted_by_two_folds(toy: ToyRun, p: Predictions) -> Predictions:
    # a row of two folds' held-out parts does not occur in K-fold: only its index can say so
    toy.content.code[20][p.row[0], :2] = HELD_OUT
    fold = np.r_[p.fold, 1 - p.fold[0]]
    return replace(
        p, row=np.r_[p.row, p.row[0]], minute=np.r_[p.minute, p.minute[0]], fold=fold,
        probability=np.vstack([p.probability, p.probability[:1]]),
    )  # fmt: skip


def of_the_locked_test(toy: ToyRun, p: Predictions) -> Predictions:
    test = toy.content.rows(20, -1, HELD_OUT)[: len(p)]
    n = len(test)
    return replace(p, row=test, minute=toy.minute[test], fold=p.fold[:n], probability=p.probability[:n])


def shifted_in_time(toy: ToyRun, p: Predictions) -> Predictions:
    return replace(p, minute=p.minute + 1)


def by_the_refit(toy: ToyRun, p: Predictions) -> Predictions:
    return replace(p, fold=np.full(len(p), -1))


def of_rows_that_do_not_exist(toy: ToyRun, p: Predictions) -> Predictions:
    return replace(p, row=p.row + toy.rows)


def at_an_unknown_horizon(toy: ToyRun, p: Predictions) -> Predictions:
    return replace(p, horizon=7)


@pytest.mark.parametrize(
    ("plant", "message"),
    [
        (seen_by_its_model, r"row 14 predicted by fold 1: the fold did not hold this row out.* \(1 of"),
        (predicted_by_two_folds, "another fold predicts this row too"),
        (of_the_locked_test, "the fold did not hold this row out"),
        (shifted_in_time, "another time"),
        (by_the_refit, "folds 0 to 2"),
        (of_rows_that_do_not_exist, "rows 0 to 2399"),
        (at_an_unknown_horizon, "knows only the horizons"),
    ],
)
def test_predictions_that_are_not_out_of_fold_are_refused(
    plant: Callable[[ToyRun, Predictions], Predictions], message: str, tmp_path: Path
) -> None:
    toy = ToyRun(tmp_path)
    planted = plant(toy, toy.job("xgboost", 20, "fold_predictions"))
    with pytest.raises(InputError, match=f"xgboost, horizon .*{message}"):
        run(toy.index, tmp_path / "oof", boosting=[toy.write_job(planted, "fold_predictions")])
    assert not (tmp_path / "oof").exists()


@pytest.mark.parametrize(
    "row", [[0.5, 0.5, np.nan], [0.5, 0.5, 0.5], [1.2, -0.2, 0.0], [np.inf, 0.0, 0.0]], ids=str
)
def test_numbers_that_are_no_probabilities_are_refused(row: list[float], tmp_path: Path) -> None:
    toy = ToyRun(tmp_path)
    good = toy.job("xgboost", 20, "fold_predictions")
    values = good.probability.copy()
    values[3] = row
    frame = pd.DataFrame({"row": good.row, "timestamp": timestamps(good.minute), "fold": good.fold})
    frame[["p_short", "p_flat", "p_long"]] = values
    about = {"model": "xgboost", "family": "boosting", "horizon": 20, "status": "ok"}
    write_table(
        tmp_path / "bad", frame, provenance("fold_predictions", "train", {"index": toy.index}, {}, **about)
    )
    with pytest.raises(InputError, match="not finite, not in"):
        run(toy.index, tmp_path / "oof", boosting=[tmp_path / "bad"])


def test_predictions_made_with_another_index_are_refused(tmp_path: Path) -> None:
    toy, other = ToyRun(tmp_path / "a"), ToyRun(tmp_path / "b", seed=1)
    with pytest.raises(
        InputError, match=r"xgboost, horizon 20\) was made with the index .* train the model again"
    ):
        run(toy.index, tmp_path / "oof", **other.lists("fold_predictions"))


def test_two_tables_of_one_model_and_horizon_are_refused(tmp_path: Path) -> None:
    toy = ToyRun(tmp_path)
    path = toy.write_job(toy.job("xgboost", 20, "fold_predictions"), "fold_predictions")
    with pytest.raises(InputError, match="two tables hold fold_predictions of xgboost, horizon 20"):
        run(toy.index, tmp_path / "oof", boosting=[path, path])


def test_combinatorial_folds_predict_a_row_once_each(tmp_path: Path) -> None:
    toy = ToyRun(tmp_path, scheme="combinatorial", folds=6)
    summary = run(toy.index, tmp_path / "oof", **toy.lists("fold_predictions"))
    pool, _ = read_pool(tmp_path / "oof", "oof")
    for p in pool:
        _, times = np.unique(p.row, return_counts=True)
        assert set(times) == {3}
    assert "99." in summary.line


def test_a_path_with_a_hole_is_refused(tmp_path: Path) -> None:
    toy = ToyRun(tmp_path, scheme="combinatorial", folds=6)
    p = toy.job("xgboost", 20, "fold_predictions")
    keep = np.arange(len(p)) != 7
    holed = replace(p, **{name: getattr(p, name)[keep] for name in ("row", "minute", "fold", "probability")})
    with pytest.raises(InputError, match=rf"row {p.row[7]} .* a path has a hole \(2 of"):
        run(toy.index, tmp_path / "oof", boosting=[toy.write_job(holed, "fold_predictions")])
