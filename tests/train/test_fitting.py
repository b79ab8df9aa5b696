"""Law 4 and law 2 inside one fold: what is held out, its spans and its embargo leave no trace in a fitted model."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_models import toy
from toy_training import COLUMNS, EMBARGO, HORIZON, TIMEFRAMES, Data, cut

from mlfactory.common.artifacts import sha256
from mlfactory.common.errors import InputError
from mlfactory.common.multi_resolution import BarWindows
from mlfactory.common.scaling import Scaler
from mlfactory.common.splits import HELD_OUT, INNER, REFIT, TRAIN, Split, clear_of
from mlfactory.models.bundle import Bundle, Columns, Contract, Inputs, steps_of
from mlfactory.models.registry import load_model, models
from mlfactory.train.fitting import FoldRows, fit_fold, fold_rows

TRAINED = [name for name, info in models().items() if info.feature_set != "probabilities"]
EVERY_MODEL = pytest.mark.parametrize("name", TRAINED)
EVERY_FOLD = pytest.mark.parametrize("fold", [0, 1, REFIT])

Fit = Callable[[str, Data, int], Bundle]


def fit(name: str, data: Data, fold: int, rows: FoldRows | None = None) -> Bundle:
    """Fit as the stage does, or on other rows than the index's."""
    model = load_model(name)(**toy(name))
    return fit_fold(model, data.contract(name, model), data.source(model), data.index, fold, rows).bundle


def with_garbage(data: Data, fold: int) -> Data:
    """Change all that the fold's model must not read: features, raw bars, labels, returns; spans part the rows."""
    sealed = data.index.sealed(HORIZON, fold)
    values, rng = data.values.copy(), np.random.default_rng(9)
    values[sealed] = 1e6 * rng.normal(size=(sealed.sum(), values.shape[1]))
    raw = replace(data.raw, tables={minutes: garbled(data, minutes, fold, rng) for minutes in TIMEFRAMES})
    label = data.index.label[HORIZON].copy()
    label[sealed] = 2 - np.maximum(label[sealed], 0)
    net = {HORIZON: np.where(sealed, 7.0, data.index.long_net[HORIZON])}
    index = replace(data.index, label={HORIZON: label}, long_net=net)
    return replace(data, values=values, raw=raw, index=index)


def garbled(data: Data, minutes: int, fold: int, rng: np.random.Generator) -> np.ndarray:
    """Bars of a timeframe, with other prices wherever a bar holds a minute that is sealed."""
    table, first = data.raw.tables[minutes], data.raw.first[minutes]
    meets = ~clear_of(data.index.sealed_bars(HORIZON, fold), first, first + minutes - 1)
    return np.where(meets[:, None], table * rng.uniform(0.5, 2.0, table.shape), table)


def traces(fit: Fit, name: str, data: Data, fold: int, folder: Path) -> list[str]:
    """Files of a fitted bundle that change when the held-out rows do: none, unless something leaks."""
    for copy, seen in (("clean", data), ("garbage", with_garbage(data, fold))):
        fit(name, seen, fold).save(folder / copy)
    clean = sorted(path for path in (folder / "clean").rglob("*") if path.is_file())
    return [
        path.name
        for path in clean
        if sha256(path) != sha256(folder / "garbage" / path.relative_to(folder / "clean"))
    ]


@EVERY_MODEL
@EVERY_FOLD
def test_held_out_rows_leave_no_trace_in_scaler_and_model(
    name: str, fold: int, data: Data, tmp_path: Path
) -> None:
    assert data.index.sealed(HORIZON, fold).sum() > 100
    assert traces(fit, name, data, fold, tmp_path) == []


def scaled_on_all_rows(name: str, data: Data, fold: int) -> Bundle:
    """A fold whose scaler knows the held-out rows."""
    honest = fit(name, data, fold)
    scaler = Scaler.fit(honest.model.scaling, data.values)
    rows = fold_rows(data.index, HORIZON, fold, steps_of(honest.model)).train
    X = Inputs(honest.model, scaler, data.source(honest.model)).at(rows)
    model = type(honest.model)(**honest.model.settings()).fit(
        X, data.index.label[HORIZON][rows], np.ones(len(rows))
    )
    return Bundle(model, scaler, honest.contract)


def stopped_on_the_held_out_rows(name: str, data: Data, fold: int) -> Bundle:
    """A fold whose early stopping sees the rows that it predicts."""
    rows = fold_rows(data.index, HORIZON, fold, 1)
    return fit(name, data, fold, replace(rows, inner=rows.held_out))


def trained_on_a_held_out_row(name: str, data: Data, fold: int) -> Bundle:
    rows = fold_rows(data.index, HORIZON, fold, 1)
    return fit(name, data, fold, replace(rows, train=np.append(rows.train, rows.held_out[:30])))


def windows_not_cleared(name: str, data: Data, fold: int) -> Bundle:
    """A sequence model that keeps training windows reaching back into the held-out rows' embargo."""
    steps = steps_of(load_model(name)(**toy(name)))
    rows = data.index.rows(HORIZON, fold, TRAIN)
    whole = rows[(rows >= steps - 1) & ~((rows >= 450) & (rows < 450 + steps - 1))]
    return fit(name, data, fold, replace(fold_rows(data.index, HORIZON, fold, steps), train=whole))


@pytest.mark.parametrize(
    ("name", "leak", "trace"),
    [
        ("logistic", scaled_on_all_rows, "scaler.json"),
        ("lstm", scaled_on_all_rows, "scaler.json"),
        ("lightgbm", stopped_on_the_held_out_rows, "model.txt"),
        ("xgboost", stopped_on_the_held_out_rows, "model.ubj"),
        ("catboost", trained_on_a_held_out_row, "model.cbm"),
        ("lstm", windows_not_cleared, "network.safetensors"),
    ],
)
def test_a_leak_would_be_caught(name: str, leak: Fit, trace: str, data: Data, tmp_path: Path) -> None:
    assert trace in traces(leak, name, data, 0, tmp_path)


# Folds that hold out blocks which are apart, and train between them.

APART = [Split((0, 2), (1, 3))]


@pytest.fixture(scope="module")
def apart(data: Data) -> Data:
    return cut(data, 4, APART)


@pytest.mark.parametrize("name", ["lightgbm", "logistic", "lstm", "patchtst"])
def test_held_out_blocks_that_are_apart_leave_no_trace(name: str, apart: Data, tmp_path: Path) -> None:
    first, second = apart.index.sealed_bars(HORIZON, 0)
    steps = steps_of(load_model(name)(**toy(name)))
    rows = fold_rows(apart.index, HORIZON, 0, steps)
    bar = apart.index.bar[np.concatenate([rows.train, rows.inner])]
    assert ((bar > first[1]) & (bar < second[0])).sum() > 50
    assert (bar > second[1]).sum() > 50
    assert traces(fit, name, apart, 0, tmp_path) == []


def test_a_window_that_reaches_back_into_the_second_block_would_be_caught(
    apart: Data, tmp_path: Path
) -> None:
    def cleared_of_the_first(name: str, data: Data, fold: int) -> Bundle:
        steps = steps_of(load_model(name)(**toy(name)))
        honest = fold_rows(data.index, HORIZON, fold, steps)
        rows = data.index.rows(HORIZON, fold, TRAIN)
        beyond = rows[data.index.bar[rows] > data.index.sealed_bars(HORIZON, fold)[1][1]]
        return fit(name, data, fold, replace(honest, train=np.union1d(honest.train, beyond)))

    assert "network.safetensors" in traces(cleared_of_the_first, "lstm", apart, 0, tmp_path)


# Windows of several timeframes; a model that needs no network stands for those that do.


@EVERY_FOLD
def test_held_out_rows_leave_no_trace_in_windows_of_several_timeframes(
    extra_transformer: str, fold: int, data: Data, tmp_path: Path
) -> None:
    assert traces(fit, extra_transformer, data, fold, tmp_path) == []


def cleared_as_rows_are(name: str, data: Data, fold: int) -> Bundle:
    """A fold that clears its windows as if each reached back ``steps`` minutes in every timeframe."""
    model = load_model(name)(**toy(name))
    source = data.source(model)
    as_rows = fold_rows(data.index, HORIZON, fold, model.steps)
    train = as_rows.train[source.full[as_rows.train]]
    return fit(name, data, fold, replace(as_rows, train=train))


def test_windows_cleared_by_rows_alone_would_be_caught(
    extra_transformer: str, data: Data, tmp_path: Path
) -> None:
    assert "coefficients.npy" in traces(cleared_as_rows_are, extra_transformer, data, 0, tmp_path)


@EVERY_FOLD
def test_no_bar_of_a_window_that_is_learned_from_is_sealed(fold: int, data: Data) -> None:
    windows = BarWindows.of(data.raw, 5)
    rows = fold_rows(data.index, HORIZON, fold, 5, windows)
    sealed = [range(a, min(b, 10_000) + 1) for a, b in data.index.sealed_bars(HORIZON, fold)]
    for row in (*rows.train, *rows.inner):
        for k, minutes in enumerate(TIMEFRAMES):
            last = data.raw.end[row, k]
            first = data.raw.first[minutes][last - 4]
            stop = data.raw.first[minutes][last] + minutes - 1
            assert windows.first_bar[row] <= first
            assert stop <= data.index.bar[row]
            assert not any(bar in part for part in sealed for bar in range(first, stop + 1))
    assert len(rows.train) > 50


@EVERY_FOLD
@pytest.mark.parametrize("steps", [1, 5, 40])
def test_no_window_that_is_learned_from_reaches_a_sealed_row(fold: int, steps: int, data: Data) -> None:
    rows, sealed = fold_rows(data.index, HORIZON, fold, steps), data.index.sealed(HORIZON, fold)
    for end in (*rows.train, *rows.inner):
        window = slice(end - steps + 1, end + 1)
        assert window.start >= 0
        assert not sealed[window].any()
        assert len(set(data.index.segment[window])) == 1
    assert len(rows.train) > 50


def test_training_resumes_a_window_and_an_embargo_after_the_held_out_spans(data: Data) -> None:
    index = data.index
    last = int(index.end[HORIZON][index.rows(HORIZON, 0, HELD_OUT)].max())  # bar position; bars start at 100
    first = {steps: int(fold_rows(index, HORIZON, 0, steps).train[0]) for steps in (1, 5)}
    resumed = last + EMBARGO - 100 + 1
    assert first[1] == resumed + resumed % 2  # events are the even rows
    assert first[5] in (resumed + 4, resumed + 5)


def test_inner_rows_come_from_the_training_side_and_never_from_the_held_out_fold(data: Data) -> None:
    rows = fold_rows(data.index, HORIZON, 0, 1)
    np.testing.assert_array_equal(rows.inner, data.index.rows(HORIZON, 0, INNER))
    assert not set(rows.inner) & set(rows.held_out)
    assert rows.inner.min() > rows.train.max()


@pytest.mark.parametrize(("name", "stops"), [("logistic", False), ("lightgbm", True)])
def test_a_model_that_does_not_stop_early_learns_from_the_validation_rows(
    data: Data, name: str, stops: bool
) -> None:
    seen = []

    class Spy(load_model(name)):  # type: ignore[misc]
        def fit(self, X, y, weight, validation=None):  # type: ignore[no-untyped-def]
            seen.append((len(X), None if validation is None else len(validation.X)))
            return super().fit(X, y, weight, validation)

    contract = Contract(name, "classical", HORIZON, "boosting_optimal", COLUMNS, 1)
    fit = fit_fold(Spy(), contract, Columns.of(data.values, COLUMNS), data.index, 0)
    rows = fold_rows(data.index, HORIZON, 0, 1)
    train, inner = len(rows.train), len(rows.inner)
    assert seen == [(train, inner) if stops else (train + inner, None)]
    assert fit.facts["train_rows"] == seen[0][0]


def test_windows_longer_than_the_training_side_are_an_error(data: Data) -> None:
    with pytest.raises(InputError, match=r"fold 1 keeps none of its .* windows of 400 steps: give more bars"):
        fold_rows(data.index, HORIZON, 0, 400)
