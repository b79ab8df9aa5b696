"""What every model keeps to, whatever its family: one test per promise, over the whole registry."""

from pathlib import Path

import numpy as np
import pytest
from toy_models import CONSTANT, FEATURES, Problem, log_loss, problem, sample, toy

from mlfactory.common.artifacts import sha256
from mlfactory.common.errors import InputError
from mlfactory.common.predictions import COMBINERS
from mlfactory.common.windows import Windows
from mlfactory.models.protocol import Model, Sample
from mlfactory.models.registry import load_model, models

ALL = sorted(models())
EVERY_MODEL = pytest.mark.parametrize("name", ALL)
BASE = [name for name in ALL if models()[name].family not in COMBINERS]
CLASS_FREQUENCIES = pytest.mark.parametrize("name", [name for name in ALL if name != "voting"])
"""A vote mixes forecasts and adds nothing: it has no frequency of a class; test_combiners.py has its own laws."""
STOPS_EARLY = [name for name in BASE if load_model(name).stops_early]
SEQUENCES = [name for name in ALL if models()[name].input != "tabular"]


def drawn(name: str, **how: object) -> Problem:
    return problem(load_model(name), combiner=models()[name].family in COMBINERS, **how)


def fitted(name: str, data: Problem, *, validate: bool = True, **changes: object) -> Model:
    model = load_model(name)(**toy(name, **changes))
    return model.fit(*data.train, validation=data.inner if validate else None)


def with_table(data: Sample, table: np.ndarray) -> Sample:
    """The same rows of another table."""
    X = Windows(table, data.X.ends, data.X.steps) if isinstance(data.X, Windows) else table
    return data._replace(X=X)


@EVERY_MODEL
def test_a_planted_signal_is_learned(name: str) -> None:
    data = drawn(name)
    assert log_loss(fitted(name, data).predict_proba(data.test.X), data) < data.prior - 0.1


@EVERY_MODEL
def test_without_validation_rows_a_signal_is_learned_too(name: str) -> None:
    data = drawn(name)
    assert log_loss(fitted(name, data, validate=False).predict_proba(data.test.X), data) < data.prior - 0.1


@EVERY_MODEL
def test_random_labels_are_not_predicted_better_than_by_their_frequencies(name: str) -> None:
    data = drawn(name, signal=0.0, rows=960)
    p = fitted(name, data).predict_proba(data.test.X)
    y = data.test.y
    frequency = np.bincount(data.train.y, minlength=3) / len(data.train.y)
    gain = np.log(p[np.arange(len(y)), y]) - np.log(frequency[y])
    assert gain.mean() < 3.3 * gain.std() / np.sqrt(len(gain)) + 1e-9
    assert gain.mean() > -0.2


@EVERY_MODEL
def test_probabilities_are_three_finite_shares_of_one(name: str) -> None:
    data = drawn(name)
    p = fitted(name, data).predict_proba(data.test.X)
    assert p.dtype == np.float64
    assert p.shape == (len(data.test.y), 3)
    assert np.isfinite(p).all()
    assert (p > 0).all()
    assert (p <= 1).all()
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=0, atol=1e-12)


@CLASS_FREQUENCIES
@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_class_without_training_rows_is_predicted_as_rare(name: str, missing: int) -> None:
    data = drawn(name)
    y = np.where(data.train.y == missing, (missing + 1) % 3, data.train.y).astype(np.int8)
    model = load_model(name)(**toy(name)).fit(data.train.X, y, data.train.weight, data.inner)
    p = model.predict_proba(data.test.X)
    assert p.shape[1] == 3
    assert p[:, missing].mean() < 0.1
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=0, atol=1e-12)


@EVERY_MODEL
def test_one_row_is_predicted_as_it_is_among_others(name: str) -> None:
    data = drawn(name)
    model, X = fitted(name, data), data.test.X
    one = Windows(X.table, X.ends[:1], X.steps) if isinstance(X, Windows) else X[:1]
    np.testing.assert_allclose(model.predict_proba(one), model.predict_proba(X)[:1], rtol=1e-5)


@EVERY_MODEL
def test_no_row_at_all_is_refused(name: str) -> None:
    data = drawn(name)
    X = data.train.X
    none = Windows(X.table, X.ends[:0], X.steps) if isinstance(X, Windows) else X[:0]
    with pytest.raises(InputError, match="0 rows"):
        load_model(name)(**toy(name)).fit(none, data.y[:0], np.ones(0))


@pytest.mark.parametrize("name", BASE)
def test_a_constant_column_carries_no_weight(name: str) -> None:
    data = drawn(name)
    assert (data.table[:, CONSTANT] == data.table[0, CONSTANT]).all()
    model = fitted(name, data)
    if model.importance_ is not None:
        assert len(model.importance_) == FEATURES
        assert sum(model.importance_) == pytest.approx(1)
        assert model.importance_[CONSTANT] == 0 or name == "logistic"
        assert np.argmax(model.importance_) == 0
    assert np.isfinite(model.predict_proba(data.test.X)).all()


@EVERY_MODEL
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("when", ["fit", "predict"])
def test_a_value_that_is_not_finite_is_refused_by_column(name: str, value: float, when: str) -> None:
    data = drawn(name)
    table = (data.table if isinstance(data.train.X, Windows) else data.train.X).copy()
    table[100, 3] = value
    bad = with_table(data.train, table)
    model = load_model(name)(**toy(name)) if when == "fit" else fitted(name, data)
    with pytest.raises(InputError, match=r"column 3 is .* at row 100"):
        model.fit(*bad) if when == "fit" else model.predict_proba(bad.X)


@EVERY_MODEL
def test_the_same_seed_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    for copy in ("a", "b"):
        data = drawn(name)
        fitted(name, data, seed=3).save(tmp_path / copy)
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b")


@EVERY_MODEL
def test_a_loaded_model_predicts_bit_for_bit_what_the_saved_one_does(name: str, tmp_path: Path) -> None:
    data = drawn(name)
    model = fitted(name, data)
    model.save(tmp_path / "m")
    loaded = load_model(name).load(tmp_path / "m")
    assert loaded.settings() == model.settings()
    np.testing.assert_array_equal(loaded.predict_proba(data.test.X), model.predict_proba(data.test.X))


@CLASS_FREQUENCIES
def test_weights_move_the_probabilities(name: str) -> None:
    data = drawn(name)
    heavy = data.train._replace(weight=np.where(data.train.y == 0, 20.0, 1.0))
    kind, settings = load_model(name), toy(name)
    plain = kind(**settings).fit(*data.train).predict_proba(data.test.X)
    moved = kind(**settings).fit(*heavy).predict_proba(data.test.X)
    assert moved[:, 0].mean() > plain[:, 0].mean() + 0.02


@EVERY_MODEL
def test_only_the_ratios_of_weights_matter(name: str) -> None:
    data = drawn(name)
    kind, settings = load_model(name), toy(name)
    plain = kind(**settings).fit(*data.train).predict_proba(data.test.X)
    scaled = (
        kind(**settings)
        .fit(*data.train._replace(weight=data.train.weight * 1024.0))
        .predict_proba(data.test.X)
    )
    np.testing.assert_array_equal(scaled, plain)


@EVERY_MODEL
@pytest.mark.parametrize("weight", [-1.0, np.nan])
def test_a_weight_that_is_no_weight_is_refused(name: str, weight: float) -> None:
    data = drawn(name)
    data.train.weight[5] = weight
    with pytest.raises(InputError, match="weights must be"):
        load_model(name)(**toy(name)).fit(*data.train)


@pytest.mark.parametrize("name", sorted(set(ALL) - set(STOPS_EARLY)))
def test_a_model_that_does_not_say_so_makes_no_use_of_validation_rows(name: str) -> None:
    data = drawn(name)
    p = [fitted(name, data, validate=validate).predict_proba(data.test.X) for validate in (True, False)]
    np.testing.assert_array_equal(*p)


@pytest.mark.parametrize("name", STOPS_EARLY)
def test_validation_rows_that_contradict_stop_the_fit_early(name: str) -> None:
    data = drawn(name)
    contrary = data.inner._replace(y=(2 - data.inner.y).astype(np.int8))
    agreeing = fitted(name, data)
    stopped = load_model(name)(**toy(name)).fit(*data.train, validation=contrary)
    assert agreeing.best_iteration_ is not None
    assert stopped.best_iteration_ is not None
    assert stopped.best_iteration_ < agreeing.best_iteration_
    assert stopped.best_iteration_ <= 1


@pytest.mark.parametrize("name", SEQUENCES)
def test_rows_outside_a_window_change_nothing(name: str) -> None:
    data = drawn(name)
    model, end = fitted(name, data), int(data.test.X.ends[0])
    one = Windows(data.table, np.array([end]), data.test.X.steps)
    other = data.table.copy()
    other[end + 1 :] = 99.0
    other[: end + 1 - one.steps] = -99.0
    alone = Windows(other, one.ends, one.steps)
    np.testing.assert_array_equal(model.predict_proba(alone), model.predict_proba(one))


@EVERY_MODEL
def test_another_number_of_columns_is_an_error(name: str) -> None:
    data = drawn(name)
    wide = np.ascontiguousarray(np.tile(data.table, (1, 2)))
    with pytest.raises(InputError, match="12 columns; the model was fitted on 6"):
        fitted(name, data).predict_proba(sample(load_model(name), wide, data.y, np.arange(10, 20)).X)


@pytest.mark.parametrize("name", SEQUENCES)
def test_windows_of_another_length_are_refused(name: str) -> None:
    data = drawn(name)
    with pytest.raises(InputError, match="windows have 3 steps; the model reads 5"):
        fitted(name, data).predict_proba(Windows(data.table, np.array([10]), 3))
