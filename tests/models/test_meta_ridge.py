"""Ridge stacking: calibrated without having seen its own rows, and modest where the base models know nothing."""

import numpy as np
import pytest

from mlfactory.common.errors import InputError
from mlfactory.models.meta.meta_ridge import MetaRidge
from mlfactory.models.protocol import Sample
from mlfactory.models.stacked import calibrate, log_ratios


def softmax(score: np.ndarray) -> np.ndarray:
    e = np.exp(score - score.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def log_loss(p: np.ndarray, y: np.ndarray) -> float:
    return float(-np.log(p[np.arange(len(y)), y]).mean())


def draw(rows: int, models: int, skill: float, seed: int, sharpness: float = 1.0) -> tuple[np.ndarray, ...]:
    """Classes, their true probabilities, and base models that see the true scores through noise."""
    rng = np.random.default_rng(seed)
    score = rng.normal(size=(rows, 3)) + np.array([0.0, 0.5, 0.0])
    truth = softmax(score)
    y = (rng.random(rows)[:, None] > np.cumsum(truth, axis=1)).sum(axis=1).clip(max=2).astype(np.int8)
    seen = skill * score[:, None, :] + rng.normal(size=(rows, models, 3))
    return softmax(sharpness * seen).reshape(rows, -1), y, truth


def fitted(X: np.ndarray, y: np.ndarray, **settings: object) -> MetaRidge:
    return MetaRidge(**settings).fit(X, y, np.ones(len(y)))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("models", [1, 6, 20])
def test_base_models_that_know_nothing_leave_the_class_frequencies(models: int, seed: int) -> None:
    X, y, _ = draw(1500, models, 0.0, seed)
    p = fitted(X[:1000], y[:1000]).predict_proba(X[1000:])
    frequency = np.bincount(y[:1000], minlength=3) / 1000
    assert log_loss(p, y[1000:]) < log_loss(np.tile(frequency, (500, 1)), y[1000:]) + 0.005
    np.testing.assert_allclose(p.mean(axis=0), frequency, atol=0.02)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sharpness", [0.2, 1.0, 5.0])
def test_it_beats_the_average_of_its_base_models_however_badly_they_are_calibrated(
    seed: int, sharpness: float
) -> None:
    X, y, truth = draw(4000, 4, 1.0, seed, sharpness)
    p = fitted(X[:3000], y[:3000]).predict_proba(X[3000:])
    average = X[3000:].reshape(1000, 4, 3).mean(axis=1)
    best = log_loss(truth[3000:], y[3000:])
    assert log_loss(p, y[3000:]) < log_loss(average, y[3000:])
    assert log_loss(p, y[3000:]) < best + 0.1


def test_predicted_probabilities_come_true_as_often_as_they_say() -> None:
    X, y, _ = draw(20_000, 3, 1.0, 0)
    p = fitted(X[:10_000], y[:10_000]).predict_proba(X[10_000:])
    for k in range(3):
        for group in np.array_split(np.argsort(p[:, k]), 10):
            assert abs((y[10_000:][group] == k).mean() - p[group, k].mean()) < 0.06


def test_calibration_on_rows_that_the_scores_were_fitted_to_would_be_overconfident() -> None:
    X, y, _ = draw(300, 20, 0.0, 1)
    honest = fitted(X, y, gap=0)
    leaking = fitted(X, y)
    features = (log_ratios(X) - leaking._centre) / leaking._spread
    leaking._calibration = calibrate(features @ leaking._slope, y, np.ones(len(y)))
    fresh, later, _ = draw(2000, 20, 0.0, 2)
    assert log_loss(leaking.predict_proba(fresh), later) > log_loss(honest.predict_proba(fresh), later) + 0.02


@pytest.mark.parametrize("gap", [0, 40])
def test_labels_within_the_gap_around_a_block_leave_its_scores_alone(gap: int) -> None:
    X, y, _ = draw(400, 3, 1.0, 0)
    model = fitted(X, y, blocks=4, gap=gap)
    features = (log_ratios(X) - model._centre) / model._spread
    near = np.zeros(400, np.bool_)
    near[100 - gap : 200 + gap] = True  # the second block, and the rows on either side
    other = np.where(near, (y + 1) % 3, y).astype(np.int8)
    beyond = other.copy()
    beyond[200 + gap] = (y[200 + gap] + 1) % 3
    before, same, changed = (
        model._cross_fitted(features, Sample(X, label, np.ones(400)))[100:200] for label in (y, other, beyond)
    )
    np.testing.assert_array_equal(same, before)
    assert not np.array_equal(changed, before)


def test_a_base_model_that_is_always_wrong_is_turned_around() -> None:
    X, y, _ = draw(3000, 1, 1.0, 0)
    wrong = softmax(-np.log(X))
    p = fitted(wrong[:2000], y[:2000]).predict_proba(wrong[2000:])
    assert log_loss(p, y[2000:]) < log_loss(X[2000:], y[2000:]) + 0.1


def test_certain_base_models_give_finite_probabilities() -> None:
    y = np.arange(90, dtype=np.int8) % 3
    X = np.eye(3)[y]
    p = fitted(X, y, gap=2).predict_proba(X)
    assert (p > 0).all()
    assert log_loss(p, y) < 0.01


def test_a_single_row_gives_nearly_even_odds() -> None:
    p = fitted(np.array([[0.2, 0.3, 0.5]]), np.array([2], np.int8)).predict_proba(np.array([[0.5, 0.3, 0.2]]))
    np.testing.assert_allclose(p, [[0.25, 0.25, 0.5]], rtol=1e-6)  # one row and one of each class


@pytest.mark.parametrize(("column", "value"), [(0, 1.5), (2, -0.1)])
def test_what_are_no_probabilities_is_refused(column: int, value: float) -> None:
    X, y, _ = draw(50, 1, 1.0, 0)
    X[7, column] = value
    with pytest.raises(InputError, match="must be probabilities"):
        fitted(X, y)


def test_columns_that_are_no_multiple_of_three_are_refused() -> None:
    with pytest.raises(InputError, match="4 columns: expected three probabilities per base model"):
        fitted(np.full((10, 4), 0.25), np.zeros(10, np.int8))
