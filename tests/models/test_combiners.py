"""What combiners of forecasts promise beyond the contract: by hand, by an independent library, and by planted leaks."""

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from toy_models import toy

from mlfactory.common.errors import InputError
from mlfactory.common.predictions import COMBINERS
from mlfactory.models.ensemble.blending import Blending
from mlfactory.models.ensemble.stacking import Stacking
from mlfactory.models.ensemble.voting import Voting
from mlfactory.models.meta import meta_mlp
from mlfactory.models.meta.meta_calibrated import MetaCalibrated
from mlfactory.models.meta.meta_mlp import MetaMLP
from mlfactory.models.registry import load_model, models
from mlfactory.models.stacked import frequencies, log_ratios, pool_weights, purged_blocks, purged_tail

NAMES = sorted(name for name, entry in models().items() if entry.family in COMBINERS)
EVERY_COMBINER = pytest.mark.parametrize("name", NAMES)
LEARNERS = sorted(set(NAMES) - {"voting"})


def softmax(scores: np.ndarray) -> np.ndarray:
    p = np.exp(scores)
    return p / p.sum(axis=-1, keepdims=True)


def drawn(
    rng: np.random.Generator, rows: int, models: int = 2, skill: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Classes, and forecasts that each see another part of what the class depends on."""
    parts = rng.normal(size=(rows, models, 3))
    y = (softmax(1.5 * skill * parts.sum(axis=1)).cumsum(axis=1) < rng.random((rows, 1))).sum(axis=1)
    return softmax(parts).reshape(rows, 3 * models), y.clip(max=2).astype(np.int8)


def loss(p: np.ndarray, y: np.ndarray) -> float:
    return float(-np.log(p[np.arange(len(y)), y]).mean())


@EVERY_COMBINER
def test_two_forecasts_that_know_different_things_beat_the_better_of_them(name: str) -> None:
    rng = np.random.default_rng(1)
    (X, y), (X_test, y_test) = drawn(rng, 1500), drawn(rng, 1500)
    model = load_model(name)(**toy(name)).fit(X, y, np.ones(len(y)))
    best = min(loss(X_test[:, :3], y_test), loss(X_test[:, 3:], y_test))
    assert loss(model.predict_proba(X_test), y_test) < best - 0.01


@pytest.mark.parametrize("name", LEARNERS)
def test_forecasts_that_know_nothing_leave_the_class_frequencies(name: str) -> None:
    rng = np.random.default_rng(2)
    X = softmax(rng.normal(size=(3000, 2, 3))).reshape(3000, 6)
    y = rng.choice(3, 3000, p=[0.2, 0.5, 0.3]).astype(np.int8)
    p = load_model(name)(**toy(name)).fit(X[:2000], y[:2000], np.ones(2000)).predict_proba(X[2000:])
    prior = np.bincount(y[:2000], minlength=3) / 2000
    assert loss(p, y[2000:]) < loss(np.tile(prior, (1000, 1)), y[2000:]) + 0.02
    assert np.abs(p.mean(axis=0) - prior).max() < 0.05


@EVERY_COMBINER
@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.full((20, 4), 0.25), "4 columns: expected three probabilities per base model"),
        (np.full((20, 3), -0.1), "must be probabilities between 0 and 1"),
        (np.full((20, 3), 1.5), "must be probabilities between 0 and 1"),
    ],
)
def test_what_is_no_forecast_is_refused(name: str, X: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_model(name)(**toy(name)).fit(X, np.zeros(20, np.int8), np.ones(20))


def test_equal_votes_are_the_mean() -> None:
    X = np.array([[0.2, 0.3, 0.5, 0.6, 0.3, 0.1]])
    model = Voting(shares="equal").fit(X, np.array([0], np.int8), np.ones(1))
    np.testing.assert_allclose(model.predict_proba(X), [[0.4, 0.3, 0.3]], rtol=0, atol=1e-15)


def test_votes_go_to_the_forecast_that_is_right() -> None:
    rng = np.random.default_rng(3)
    X, y = drawn(rng, 800)
    X[:, 3:] = softmax(rng.normal(size=(800, 3)))
    model = Voting().fit(X, y, np.ones(800))
    p = model.predict_proba(X)
    share = np.linalg.lstsq((X[:, :3] - X[:, 3:]).reshape(-1, 1), (p - X[:, 3:]).ravel(), rcond=None)[0]
    assert share > 0.8


def test_weights_decide_which_forecast_has_the_votes() -> None:
    right = np.array([[0.8, 0.1, 0.1]])
    X = np.repeat([np.r_[right[0], right[0, ::-1]]], 10, axis=0)
    y = np.repeat(np.array([0, 2], np.int8), 5)
    first = Voting().fit(X, y, np.where(y == 0, 9.0, 1.0)).predict_proba(X)
    last = Voting().fit(X, y, np.where(y == 2, 9.0, 1.0)).predict_proba(X)
    assert first[0, 0] > 0.7
    assert last[0, 2] > 0.7


def test_pool_weights_are_the_maximum_of_the_likelihood() -> None:
    rng = np.random.default_rng(4)
    chosen, weight = rng.uniform(0.05, 0.95, (300, 2)), rng.uniform(0.5, 2, 300)
    grid = np.linspace(0, 1, 10_001)
    likelihood = [weight @ np.log(chosen @ [a, 1 - a]) for a in grid]
    found = pool_weights(chosen, weight, rounds=2000)
    assert found.sum() == pytest.approx(1)
    assert found[0] == pytest.approx(grid[np.argmax(likelihood)], abs=2e-3)


def test_stacking_is_a_conditional_logit() -> None:
    """One forecast, almost no penalty: with classes as alternatives, equal to a logistic regression on log-odds.

    For two classes of three (the third impossible) the log-odds are ``coefficient * (log p0 - log p2) + bias``.
    """
    rng = np.random.default_rng(5)
    p = rng.uniform(0.1, 0.85, 2000)
    y = np.where(rng.random(2000) < 1 / (1 + np.exp(-1.7 * np.log(p / (0.95 - p)) - 0.4)), 0, 2).astype(
        np.int8
    )
    X = np.c_[p, np.full(2000, 0.05), 0.95 - p]
    model = Stacking(penalties=(1e-9,), gap=0).fit(X, y, np.ones(2000))
    oracle = LogisticRegression(C=1e9, tol=1e-10).fit(np.log(X[:, :1] / X[:, 2:]), y == 0)
    q = model.predict_proba(X)
    odds = np.log(q[:, 0] / q[:, 2])
    np.testing.assert_allclose(odds, oracle.decision_function(np.log(X[:, :1] / X[:, 2:])), atol=0.02)


def test_stacking_takes_the_penalty_that_predicts_other_blocks_best() -> None:
    rng = np.random.default_rng(6)
    noise = softmax(rng.normal(size=(200, 12, 3))).reshape(200, 36)
    y = rng.choice(3, 200).astype(np.int8)
    chosen = Stacking(gap=0).fit(noise, y, np.ones(200)).predict_proba(noise)
    free = Stacking(gap=0, penalties=(1e-6,)).fit(noise, y, np.ones(200)).predict_proba(noise)
    assert loss(free, y) < loss(chosen, y)
    assert np.ptp(chosen, axis=0).max() < 0.5 * np.ptp(free, axis=0).max()


def test_calibrated_probabilities_rise_with_the_given_and_are_those_of_isotonic_regression() -> None:
    rng = np.random.default_rng(7)
    X, y = drawn(rng, 1200, models=1)
    model = MetaCalibrated(gap=0).fit(X, y, np.ones(1200))
    grid = np.linspace(0.01, 0.97, 50)
    p = model.predict_proba(np.c_[grid, np.full(50, 0.02), 0.98 - grid])
    assert (np.diff(p[:, 0]) >= -1e-12).all()
    oracle = np.stack(
        [
            IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(X[:, k], y == k).predict(X[:, k])
            for k in range(3)
        ],
        axis=1,
    )
    oracle = np.maximum(oracle, 1e-6)
    oracle /= oracle.sum(axis=1, keepdims=True)
    mixed = model.predict_proba(X)
    prior = frequencies(y, np.ones(1200))
    share = np.linalg.lstsq((oracle - prior).reshape(-1, 1), (mixed - prior).ravel(), rcond=None)[0]
    np.testing.assert_allclose(mixed, prior + share * (oracle - prior), atol=1e-5)
    assert share > 0.9


def test_a_forecast_that_learned_the_training_rows_by_heart_is_not_believed() -> None:
    """Isotonic maps fitted and mixed on the same rows would trust a forecast whose every value is its own step."""
    rng = np.random.default_rng(8)
    X, y = drawn(rng, 900)
    X[:, 3:] = softmax(
        rng.normal(size=(900, 3))
    )  # noise: 900 different values, which isotonic maps may follow
    model = MetaCalibrated(gap=0).fit(X, y, np.ones(900))
    X_test, y_test = drawn(rng, 900)
    X_test[:, 3:] = softmax(rng.normal(size=(900, 3)))
    alone = MetaCalibrated(gap=0).fit(X[:, :3], y, np.ones(900)).predict_proba(X_test[:, :3])
    assert loss(model.predict_proba(X_test), y_test) < loss(alone, y_test) + 0.01


@pytest.mark.parametrize("gap", [0, 7])
def test_blocks_cover_all_rows_and_keep_their_distance(gap: int) -> None:
    covered = []
    for block, away in purged_blocks(103, 5, gap):
        covered.extend(block.tolist())
        distance = np.abs(np.arange(103)[:, None] - block).min(axis=1)
        np.testing.assert_array_equal(away, distance > gap)
    assert covered == list(range(103))


def test_a_tail_is_behind_its_gap_and_disappears_where_nothing_is_left() -> None:
    assert purged_tail(100, 0.2, 10) == (slice(0, 70), slice(80, 100))
    assert purged_tail(20, 0.5, 10) == (slice(0, 20), slice(20, 20))


def opposite(y: np.ndarray, early: slice, late: slice) -> np.ndarray:
    """Classes that differ in the gap alone."""
    other = y.copy()
    other[early.stop : late.start] = (other[early.stop : late.start] + 1) % 3
    return other


def test_labels_of_the_gap_do_not_reach_what_the_tail_stops() -> None:
    X, y = drawn(np.random.default_rng(9), 400)
    settings = toy("meta_xgboost", gap=40, tail=0.25)
    other = opposite(y, *purged_tail(400, 0.25, 40))
    first, second = (load_model("meta_xgboost")(**settings).fit(X, c, np.ones(400)) for c in (y, other))
    np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))


def test_labels_of_the_gap_do_not_reach_the_mixture_of_a_blend() -> None:
    X, y = drawn(np.random.default_rng(9), 400)
    other = opposite(y, *purged_tail(400, 0.25, 40))
    first, second = (Blending(gap=40, hold_out=0.25).fit(X, c, np.ones(400)) for c in (y, other))
    np.testing.assert_array_equal(first._share, second._share)


@pytest.mark.parametrize("gap", [0, 25])
def test_the_networks_that_score_a_block_do_not_see_its_neighbours(
    gap: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = drawn(np.random.default_rng(9), 300)
    seen = []
    epoch = meta_mlp._Network.epoch
    monkeypatch.setattr(
        meta_mlp._Network, "epoch", lambda self, rows: (seen.append(len(rows.X)), epoch(self, rows))
    )
    MetaMLP(epochs=1, gap=gap).fit(X, y, np.ones(300))
    assert seen[:3] == [200 - gap, 200 - 2 * gap, 200 - gap]


@pytest.mark.parametrize("seed", range(4))
def test_a_network_of_many_forecasts_that_know_nothing_is_not_believed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = softmax(0.2 * rng.normal(size=(1400, 16, 3))).reshape(1400, 48)
    y = rng.choice(3, 1400).astype(np.int8)
    p = MetaMLP(gap=10).fit(X[:1000], y[:1000], np.ones(1000)).predict_proba(X[1000:])
    assert loss(p, y[1000:]) < np.log(3) + 0.02


def test_blending_trusts_what_held_in_the_last_rows() -> None:
    """Early the first forecast is right and the second is noise, late the other way round: the prior wins the mix."""
    rng = np.random.default_rng(10)
    X, y = drawn(rng, 1000, models=1)
    noise = softmax(2 * rng.normal(size=(1000, 3)))
    late = np.arange(1000) >= 700
    both = np.where(late[:, None], np.c_[noise, noise], np.c_[X, noise])
    turned = Blending(gap=0, hold_out=0.3).fit(both, y, np.ones(1000))
    steady = Blending(gap=0, hold_out=0.3).fit(np.c_[X, noise], y, np.ones(1000))
    assert turned._share[0] > 0.8
    assert steady._share[0] < 0.2


def test_log_ratios_do_not_change_with_the_scale_of_a_forecast() -> None:
    X = np.array([[0.2, 0.3, 0.5]])
    np.testing.assert_allclose(log_ratios(X), log_ratios(X / 2), rtol=1e-12)
    assert log_ratios(X).sum() == pytest.approx(0)
