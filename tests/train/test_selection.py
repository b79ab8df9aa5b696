"""Columns are chosen by what they say about rows that were not used to find it, inside the training rows of a fold."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.feature_selection import mutual_info_classif
from toy_models import problem, toy
from toy_training import COLUMNS, HORIZON, OUTPUTS, Data, Train, Trained, write_inputs

from mlfactory.common.artifacts import read_json, sha256
from mlfactory.common.errors import InputError
from mlfactory.common.index import Index
from mlfactory.common.splits import HELD_OUT, REFIT
from mlfactory.models.bundle import Bundle, Columns
from mlfactory.models.registry import load_model
from mlfactory.train.comparison import Pair, compare
from mlfactory.train.fitting import column_scores, fold_rows
from mlfactory.train.params import Reading, Selection
from mlfactory.train.selection import best, inner_folds, mutual_information, permutation, stability

METHODS = ("mutual_information", "permutation")
CASES = [("logistic", method) for method in METHODS] + [("lstm", method) for method in METHODS]
every_case = pytest.mark.parametrize(("name", "method"), CASES)


def reading(method: str, columns: int = 1, **more: Any) -> Reading:
    return Reading(selection=Selection(method=method, columns=columns, folds=2, **more))


def scores(name: str, data: Data, method: str, fold: int = 0) -> np.ndarray:
    model = load_model(name)(**toy(name))
    contract, source = data.contract(name, model), data.source(model)
    rows = fold_rows(data.index, HORIZON, fold, contract.steps).train
    return column_scores(model, contract, source, data.index, (fold, rows), reading(method))


# What a score is.


def test_an_information_score_is_the_gain_of_a_histogram_on_rows_it_has_not_seen() -> None:
    x = np.repeat([0.0, 1.0], 40).astype(np.float32)[:, None]
    y = np.repeat([0, 2], 40).astype(np.int8)
    weight, rows = np.ones(80), np.arange(80)
    train, held_out = rows[rows % 2 == 0], rows[rows % 2 == 1]
    share = np.array([21, 1, 21]) / 43
    known = np.array([20 + 3 * share[0], 3 * share[1], 3 * share[2]]) / 23
    expected = np.log(known[0]) - np.log(share[0])
    assert mutual_information(x, y, weight, train, held_out) == pytest.approx([expected])


def test_it_agrees_with_the_nearest_neighbour_estimate_where_there_is_information() -> None:
    rng = np.random.default_rng(0)
    n, strength = 6000, np.array([0.0, 0.4, 0.8, 1.5])
    y = rng.integers(0, 3, n).astype(np.int8)
    x = (strength * (y[:, None] - 1.0) + rng.normal(size=(n, 4))).astype(np.float32)
    rows = np.arange(n)
    ours = mutual_information(x, y, np.ones(n), rows[: n // 2], rows[n // 2 :])
    theirs = mutual_info_classif(x, y, random_state=0)
    np.testing.assert_allclose(ours, theirs, atol=0.04)
    assert np.argsort(ours).tolist() == [0, 1, 2, 3]
    assert ours[0] < 0.002


def test_a_column_that_remembers_its_training_rows_earns_nothing() -> None:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, 400).astype(np.int8)
    x = np.column_stack([np.arange(400), y + 0.1 * rng.normal(size=400)]).astype(np.float32)
    trend, real = mutual_information(x, y, np.ones(400), np.arange(200), np.arange(200, 400))
    assert trend < 0.05 < real


def test_shuffling_a_column_raises_the_loss_of_a_model_that_leans_on_it() -> None:
    data = problem(load_model("logistic"))
    model = load_model("logistic")(**toy("logistic")).fit(*data.train)
    before = data.test.X.copy()
    rise = permutation(model, data.test, (0, 0))
    np.testing.assert_array_equal(data.test.X, before)
    assert np.argmax(rise) == 0
    assert rise[0] > 0.1 > np.abs(rise[1:]).max()
    np.testing.assert_array_equal(rise, permutation(model, data.test, (0, 0)))
    shuffled = before.copy()
    shuffled[:, 0] = np.random.default_rng([0, 0, 0]).permutation(before[:, 0])
    y = data.test.y
    losses = [-np.log(model.predict_proba(X)[np.arange(len(y)), y]).mean() for X in (before, shuffled)]
    assert rise[0] == pytest.approx(losses[1] - losses[0])


def test_windows_are_shuffled_in_the_rows_that_they_cover_and_put_back() -> None:
    data = problem(load_model("lstm"))
    model = load_model("lstm")(**toy("lstm", learning_rate=0.02)).fit(*data.train)
    before = data.table.copy()
    rise = permutation(model, data.test, (0,))
    np.testing.assert_array_equal(data.table, before)
    assert np.argmax(rise) == 0


def test_the_best_are_kept_in_their_own_order_and_the_first_wins_a_tie() -> None:
    assert best(np.array([0.1, 0.5, 0.5, -1.0]), 2).tolist() == [1, 2]
    assert best(np.array([0.5, 0.1, 0.5, 0.5]), 2).tolist() == [0, 2]
    assert best(np.array([0.1]), 9).tolist() == [0]


@every_case
def test_the_column_that_carries_the_signal_is_found(name: str, method: str, data: Data) -> None:
    assert np.argmax(scores(name, data, method)) == COLUMNS.index("signal")


def test_stability_on_paper() -> None:
    assert stability([["a"], ["a"], ["a"]], 4) == 1
    # two of four columns each; shares a 1, b 1/2, c 1/2: variance 2 (1/4 + 1/4) / 4 = 1/4, of 1/2 (1 - 1/2)
    assert stability([["a", "b"], ["a", "c"]], 4) == pytest.approx(0)
    assert stability([["a"], ["b"]], 2) == pytest.approx(-1)
    assert stability([["a", "b"]], 2) is None
    assert stability([["a", "b"], ["a", "b"]], 2) is None


# Nothing of the held-out rows, law 2.


@pytest.mark.parametrize("fold", [0, 1, REFIT])
@every_case
def test_garbage_in_held_out_rows_leaves_every_score(name: str, method: str, fold: int, data: Data) -> None:
    np.testing.assert_array_equal(
        scores(name, data, method, fold), scores(name, garbled(data, fold), method, fold)
    )


def garbled(data: Data, fold: int) -> Data:
    sealed = data.index.sealed(HORIZON, fold)
    values = data.values.copy()
    values[sealed] = 1e3 * np.random.default_rng(9).normal(size=(sealed.sum(), values.shape[1]))
    label = data.index.label[HORIZON].copy()
    label[sealed] = 2 - np.maximum(label[sealed], 0)
    return replace(data, values=values, index=replace(data.index, label={HORIZON: label}))


@pytest.mark.parametrize("method", METHODS)
def test_a_selection_that_sees_the_held_out_rows_is_caught(method: str, data: Data) -> None:
    def leaky(seen: Data) -> np.ndarray:
        model = load_model("logistic")(**toy("logistic"))
        rows = np.sort(
            np.r_[fold_rows(seen.index, HORIZON, 0, 1).train, seen.index.rows(HORIZON, 0, HELD_OUT)]
        )
        contract = seen.contract("logistic", model)
        return column_scores(model, contract, seen.source(model), seen.index, (0, rows), reading(method))

    assert np.abs(leaky(data) - leaky(garbled(data, 0))).max() > 1e-3


@pytest.mark.parametrize("steps", [1, 5])
def test_inner_folds_part_spans_and_windows(steps: int, data: Data) -> None:
    index = data.index
    rows = fold_rows(index, HORIZON, 0, steps).train
    first = index.bar - (steps - 1)
    parts = list(inner_folds(index, HORIZON, rows, first, 2))
    assert np.concatenate([part.held_out for part in parts]).tolist() == rows.tolist()
    for part in parts:
        assert len(part.train) > 50
        assert apart(index, part.train, part.held_out, steps)
    crossed = replace(parts[0], train=rows)
    assert not apart(index, crossed.train, crossed.held_out, steps)


def apart(index: Index, train: np.ndarray, held: np.ndarray, steps: int) -> bool:
    """Compare every pair of a training row's reach and a held-out span."""
    first, last = index.bar[train] - (steps - 1), index.end[HORIZON][train]
    starts, ends = index.bar[held], index.end[HORIZON][held]
    return not ((first[:, None] <= ends) & (last[:, None] >= starts)).any()


# The whole task.


@pytest.fixture(scope="module")
def selected(train: Train) -> Trained:
    how = {"selection": {"method": "mutual_information", "columns": 2, "folds": 2}, "scaling": "robust"}
    return train("logistic", reading=how)


def test_the_columns_of_every_fold_are_recorded(selected: Trained) -> None:
    fit = selected.fit
    assert [len(fold["columns"]) for fold in fit["folds"]] == [2, 2, 2]
    assert all("signal" in fold["columns"] for fold in fit["folds"])
    assert fit["selection"] == {"method": "mutual_information", "columns": 2, "folds": 2, "compare": True}
    assert fit["available_columns"] == 4
    assert fit["stability"] <= 1
    assert fit["read_bytes"]["matrix"] > 900 * 4 * 4


def test_the_served_model_reads_the_columns_that_its_refit_chose(selected: Trained, data: Data) -> None:
    bundle = Bundle.load(selected.folder / "model")
    assert bundle.contract.columns == tuple(selected.fit["folds"][-1]["columns"])
    source = Columns.of(data.values, COLUMNS).keep(bundle.contract.columns)
    predicted = selected.predictions("test_predictions")
    _, probability = bundle.predict(source.table(), data.index.segment, predicted.row)
    np.testing.assert_array_equal(probability, predicted.probability)


def test_the_comparison_is_of_the_same_rows_and_states_an_interval(
    selected: Trained, train: Train, data: Data
) -> None:
    found = selected.fit["comparison"]
    whole = train("logistic", reading={"scaling": "robust"})
    row = selected.predictions("fold_predictions").row
    assert found["rows"] == len(row)
    for key, trained in (("log_loss", selected), ("log_loss_without", whole)):
        p = trained.predictions("fold_predictions").probability
        assert found[key] == pytest.approx(-np.log(p[np.arange(len(row)), data.label[row]]).mean())
    assert found["gain"] == pytest.approx(found["log_loss_without"] - found["log_loss"])
    assert (
        found["gain_low_999"]
        < found["gain_low"]
        < found["gain"]
        < found["gain_high"]
        < found["gain_high_999"]
    )
    assert whole.fit["comparison"] is None
    assert whole.fit["folds"][0]["columns"] is None


def test_windows_of_a_matrix_on_disk_are_shuffled_in_a_copy(train: Train, inputs: Path) -> None:
    before = sha256(inputs / "neural_optimal")
    how = {
        "selection": {"method": "permutation", "columns": 1, "folds": 2, "compare": False},
        "scaling": "none",
    }
    fit = train("lstm", reading=how).fit
    assert fit["status"] == "ok"
    assert [len(fold["columns"]) for fold in fit["folds"]] == [1, 1, 1]
    assert sha256(inputs / "neural_optimal") == before


def test_an_interval_of_equal_predictions_is_zero(data: Data) -> None:
    rows = data.index.rows(HORIZON, 0, HELD_OUT)
    p = np.tile([0.2, 0.3, 0.5], (len(rows), 1))
    same = compare([Pair(rows, p, p)], data.index, HORIZON, 0)
    assert [same[key] for key in ("gain", "gain_low", "gain_high")] == [0, 0, 0]
    better = p[:, ::-1]
    turned = compare([Pair(rows, better, p)], data.index, HORIZON, 0)
    back = compare([Pair(rows, p, better)], data.index, HORIZON, 0)
    assert turned["gain"] == pytest.approx(-back["gain"])


def test_a_comparison_that_is_not_wanted_is_not_made(train: Train) -> None:
    how = {"selection": {"method": "mutual_information", "columns": 2, "folds": 2, "compare": False}}
    assert train("logistic", reading=how).fit["comparison"] is None


# Every model trains on its own set.


def corrupted(folder: Path, data: Data, used: tuple[str, ...]) -> Path:
    """The same inputs, with other values in every column that is not used."""
    values = data.values.copy()
    unused = [j for j, name in enumerate(COLUMNS) if name not in used]
    values[:, unused] = 1e3 * np.random.default_rng(5).normal(size=(len(values), len(unused)))
    folder.mkdir()
    write_inputs(folder, replace(data, values=values), {"own": list(used)})
    return folder


@pytest.mark.parametrize("name", ["logistic", "lightgbm", "lstm"])
def test_columns_outside_a_models_set_reach_neither_folds_nor_refit_nor_prediction(
    name: str, train: Train, data: Data, tmp_path: Path
) -> None:
    used = ("noise_a", "signal")
    write_inputs(tmp_path / "clean", data, {"own": list(used)})
    found = []
    for folder in (tmp_path / "clean", corrupted(tmp_path / "other", data, used)):
        matrix = folder / ("neural_optimal" if name == "lstm" else "boosting_optimal")
        trained = train(name, matrix=matrix, index=folder / "index", reading={"feature_set": "own"})
        found.append([trained.predictions(kind).probability for kind in OUTPUTS[:2]])
        contract = read_json(trained.folder / "model" / "contract.json")
        assert contract["columns"] == list(used)
        assert contract["feature_set"] == "own"
        assert trained.fit["feature_set"] == "own"
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_that_check_catches_a_model_that_reads_its_familys_set(
    train: Train, data: Data, tmp_path: Path
) -> None:
    write_inputs(tmp_path / "clean", data, {})
    other = corrupted(tmp_path / "other", data, ("signal",))
    found = [
        train("logistic", matrix=folder / "boosting_optimal", index=folder / "index").predictions(
            "fold_predictions"
        )
        for folder in (tmp_path / "clean", other)
    ]
    assert np.abs(found[0].probability - found[1].probability).max() > 0.01


# Scaling.


@pytest.mark.parametrize("kind", ["none", "standard", "robust"])
@pytest.mark.parametrize("name", ["logistic", "lightgbm", "lstm"])
def test_the_scaling_asked_for_is_the_one_that_acts(name: str, kind: str, train: Train) -> None:
    trained = train(name, reading={"scaling": kind})
    assert trained.fit["scaling"] == kind
    scaler = read_json(trained.folder / "model" / "scaler.json")
    assert scaler["kind"] == kind
    moved = any(centre != 0 for centre in scaler["centre"])
    assert moved == (kind != "none")


def test_trees_get_values_as_they_are_and_others_their_own_scaling(train: Train) -> None:
    kinds = {name: train(name).fit["scaling"] for name in ("lightgbm", "logistic", "lstm")}
    assert kinds == {"lightgbm": "none", "logistic": "standard", "lstm": "robust"}


# Errors.


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            {"feature_set": "mine"},
            "the feature set 'mine', which boosting_optimal does not hold; it holds boosting_op",
        ),
        ({"scaling": "minmax"}, "train.job.reading.scaling|reading.scaling"),
        ({"selection": {"method": "lasso"}}, "reading.selection.method"),
        ({"selection": {"method": "permutation", "columns": 0}}, "reading.selection.columns"),
        (
            {"selection": {"method": "permutation", "folds": 40}},
            "fold [0-9]+ of 40 keeps [0-9]+ held-out rows",
        ),
        ({"columns": 3}, "reading"),
    ],
)
def test_a_reading_that_cannot_be_done_is_one_clear_error(train: Train, how: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        train("logistic", reading=how)


def test_windows_of_raw_bars_take_no_scaling_and_no_selection(train: Train, extra_transformer: str) -> None:
    for how in ({"scaling": "robust"}, {"selection": {"method": "permutation"}}, {"feature_set": "own"}):
        with pytest.raises(
            InputError, match="carry their own scale: it takes no feature_set, scaling or selection"
        ):
            train(extra_transformer, {"steps": 5}, reading=how)


def test_a_column_that_is_not_there_is_named(data: Data) -> None:
    with pytest.raises(InputError, match="no column rsi_14"):
        Columns.of(data.values, COLUMNS).keep(["signal", "rsi_14"])
    with pytest.raises(InputError, match="has 4 columns; 2 are named"):
        Columns.of(data.values, ("a", "b"))
