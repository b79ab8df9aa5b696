"""The hidden Markov model equals hmmlearn, its likelihood never falls, and it survives what bars can hold."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import real_bars
from tests.conftest import make_bars

from mlfactory.common.bars import Bars
from mlfactory.regime import hmm, reference
from mlfactory.regime.compute import compute, lookbacks
from mlfactory.regime.params import Params
from mlfactory.regime.walk import names, observations, refits, unbounded, walk_forward

EVERY_K = pytest.mark.parametrize("states", [2, 3, 4])


def standardised(x: np.ndarray) -> np.ndarray:
    mean, deviation = hmm.moments(x)
    return (x - mean) / deviation


def toy(n: int = 1500, seed: int = 0) -> np.ndarray:
    return standardised(observations(make_bars(n + 20, seed, hole=False), Params())[20:])


def mostly_zero(n: int = 1500) -> np.ndarray:
    rng = np.random.default_rng(5)
    moves = np.where(rng.random(n) < 0.9, 0.0, rng.choice([-1.0, 1.0], n))
    return standardised(np.column_stack([moves, np.abs(moves) + 0.01 * rng.normal(size=n)]))


def outliers(n: int = 1500) -> np.ndarray:
    x = toy(n)
    x[::97] *= 80
    return x


SAMPLES = {"toy": toy, "ticks mostly at zero": mostly_zero, "outliers": outliers}


def cold(x: np.ndarray, states: int = 3) -> hmm.Model:
    return hmm.first_guess(x, states, 0.95)


EVERY_SAMPLE = pytest.mark.parametrize("sample", SAMPLES)


@EVERY_SAMPLE
@EVERY_K
def test_the_likelihood_never_falls(sample: str, states: int) -> None:
    x = SAMPLES[sample]()
    model, history = hmm.fit(x, cold(x, states), 60, -np.inf)
    assert np.diff(history).min() > -1e-9 * abs(history[0])
    assert history[-1] > history[0]
    assert model.variance.min() >= hmm.VARIANCE_FLOOR


def test_without_the_floor_a_state_would_collapse_on_the_zero_returns() -> None:
    x = mostly_zero()
    model, _ = hmm.fit(x, cold(x), 60, 0.0)
    assert model.variance[0, 0] == hmm.VARIANCE_FLOOR


@EVERY_SAMPLE
@EVERY_K
def test_a_fit_equals_hmmlearn(sample: str, states: int) -> None:
    x = SAMPLES[sample]()
    (ours, history), (theirs, expected) = (
        engine.fit(x, cold(x, states), 15, -np.inf) for engine in (hmm, reference)
    )
    np.testing.assert_allclose(history, expected, rtol=1e-10)
    for mine, reference_value in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, reference_value, atol=1e-8)


def test_a_fit_stops_where_hmmlearn_stops() -> None:
    x = toy()
    (_, history), (_, expected) = (engine.fit(x, cold(x), 60, 1e-4) for engine in (hmm, reference))
    assert len(history) == len(expected) < 60


@EVERY_SAMPLE
def test_the_filter_equals_the_last_row_of_hmmlearns_posterior(sample: str) -> None:
    x = SAMPLES[sample](300)
    model, _ = hmm.fit(x, cold(x), 10, 0.0)
    filtered, loglik = hmm.run_filter(model, x)
    expected, expected_loglik = reference.run_filter(model, x)
    np.testing.assert_allclose(filtered, expected, atol=1e-10)
    np.testing.assert_allclose(loglik, expected_loglik, atol=1e-7)
    np.testing.assert_allclose(filtered.sum(axis=1), 1, rtol=1e-14)


def test_the_smoothed_posterior_inside_a_segment_would_have_seen_the_future() -> None:
    x = toy(400)
    model, _ = hmm.fit(x, cold(x), 10, 0.0)
    relative, _ = hmm.likelihoods(x, model.mean, model.variance)
    filtered, scale = hmm.forward(model, relative)
    smoothed = filtered.copy()
    hmm.smooth(model, relative, smoothed, scale)
    np.testing.assert_allclose(smoothed[-1], filtered[-1], rtol=1e-14)
    assert (smoothed.argmax(axis=1) != filtered.argmax(axis=1)).mean() > 0.02


@EVERY_K
def test_states_are_numbered_by_the_variance_of_returns(states: int) -> None:
    x = toy()
    model, _ = hmm.fit(x, cold(x, states), 20, 0.0)
    assert (np.diff(model.variance[:, 0]) >= 0).all()
    np.testing.assert_allclose(model.transition.sum(axis=1), 1, rtol=1e-12)


def test_the_model_finds_the_states_that_made_the_data() -> None:
    rng = np.random.default_rng(7)
    truth = np.repeat(rng.permuted(np.tile([0, 1, 2], (40, 1)), axis=1).ravel(), 40)
    x = np.column_stack([rng.normal(0, np.array([0.3, 1.0, 3.0])[truth]), rng.normal(2.0 * truth, 0.5)])
    x = standardised(x)
    model, _ = hmm.fit(x, cold(x), 50, 1e-6)
    filtered, _ = hmm.run_filter(model, x)
    assert (filtered.argmax(axis=1) == truth).mean() > 0.97


def test_constant_observations_give_finite_equal_states() -> None:
    x = standardised(np.full((500, 2), 3.0))
    model, history = hmm.fit(x, cold(x), 20, 0.0)
    filtered, loglik = hmm.run_filter(model, x)
    for values in (*model, history, filtered, loglik):
        assert np.isfinite(values).all()


def test_an_observation_that_no_state_explains_keeps_probabilities_finite() -> None:
    x = toy(600)
    model, _ = hmm.fit(x, cold(x), 20, 0.0)
    x[100] = [1e4, -1e4]
    filtered, loglik = hmm.run_filter(model, x)
    assert np.isfinite(filtered).all()
    assert np.isfinite(loglik).all()
    np.testing.assert_allclose(filtered.sum(axis=1), 1, rtol=1e-12)


def test_floored_probabilities_keep_their_ratio_above_the_floor() -> None:
    p = hmm.floored(np.array([3.0, 1.0, 0.0, 1e-30]))
    assert p.sum() == pytest.approx(1, abs=1e-15)
    np.testing.assert_array_equal(p[2:], hmm.PROBABILITY_FLOOR)
    assert p[0] / p[1] == pytest.approx(3)


SMALL = Params(window_bars=300, burn_in_bars=80, iterations=12, tolerance=0.0)


def naive_loop(bars: Bars, params: Params, rows: Iterable[int]) -> np.ndarray:
    """Probabilities for rows, each from observations strictly before it, by pandas and hmmlearn alone.

    The model is fitted at the first bar of the session that the row's last observation lies in.
    """
    move = pd.Series(np.log(bars.close)).diff()
    tick = bars.instrument.tick_size / bars.close
    mean_square = np.maximum((move**2).rolling(params.realised_bars).mean(), tick**2 / params.realised_bars)
    everything = np.column_stack([move, np.log(np.sqrt(mean_square))])
    fitted, out = -1, []
    for row in rows:
        refit = int(np.flatnonzero(np.diff(bars.session[:row]))[-1]) + 1
        window = everything[refit - params.window_bars : refit]
        seen = (everything[:row] - window.mean(axis=0)) / window.std(axis=0)
        if refit != fitted:
            x = np.ascontiguousarray(seen[refit - params.window_bars : refit])
            start = hmm.first_guess(x, params.n_states, params.stickiness)
            model, _ = reference.fit(x, start, params.iterations, params.tolerance)
            fitted = refit
        chain = reference._hmmlearn(model, 1, 0.0)
        out.append(chain.predict_proba(seen[refit - params.burn_in_bars :])[-1])
    return np.array(out)


def assert_equals_the_naive_loop(bars: Bars, params: Params, every: int) -> None:
    served = compute(bars, params)
    first = refits(bars, params)[0]
    rows = np.unique(
        [*refits(bars, params) + 1, first + 2, *range(first + 1, len(bars), every), len(bars) - 1]
    )
    expected = naive_loop(bars, params, rows)
    warm = rows >= lookbacks(params, bars.bar_minutes)["hmm_state"] - 1
    ours = walk_forward(bars, params)
    for s in range(params.n_states):
        np.testing.assert_allclose(ours[f"hmm_p{s}"][rows - 1], expected[:, s], atol=1e-8, rtol=0)
        # after the warm-up a row is served the same, rounded to the artifact's precision
        np.testing.assert_allclose(served[f"hmm_p{s}"][rows[warm]], expected[warm, s], atol=1e-7, rtol=0)
    clear = warm & (np.diff(np.sort(expected, axis=1)[:, -2:]).ravel() > 1e-6)  # else a tie
    np.testing.assert_array_equal(served["hmm_state"][rows[clear]], expected[clear].argmax(axis=1))
    assert clear.sum() > 0.99 * warm.sum() > 5


def one_segment(bars: Bars) -> Bars:
    """The longest stretch without a hole: the loop knows nothing of segments."""
    return bars[max(bars.segments(), key=lambda rows: rows.stop - rows.start)]


@pytest.mark.parametrize("series", ["toy", "ES", "BTC"])
def test_served_probabilities_equal_the_naive_loop_that_ends_one_bar_earlier(
    request: pytest.FixtureRequest, series: str
) -> None:
    if series == "toy":
        bars = make_bars(4000, hole=False)
    else:
        folder = request.getfixturevalue("shared_data")
        bars = real_bars.es(folder, slice(1500)) if series == "ES" else real_bars.btc(folder, slice(4000))
    assert_equals_the_naive_loop(one_segment(bars), SMALL, every=97)


@pytest.mark.slow
@pytest.mark.parametrize("states", [2, 3, 4])
@pytest.mark.parametrize("series", ["ES", "BTC"])
def test_long_series_equal_the_naive_loop_at_the_default_parameters(
    shared_data: Path, series: str, states: int
) -> None:
    part = {
        "ES": lambda: real_bars.es(shared_data, slice(20_000, 50_000)),
        "BTC": lambda: real_bars.btc(shared_data, slice(300_000, 350_000)),
    }[series]()
    assert_equals_the_naive_loop(one_segment(part), Params(n_states=states), every=11)


def test_a_loop_that_sees_one_bar_more_or_less_would_be_told_apart(shared_data: Path) -> None:
    bars = one_segment(real_bars.es(shared_data, slice(1500)))
    rows = np.arange(refits(bars, SMALL)[0] + 10, len(bars) - 1, 7)
    ours = walk_forward(bars, SMALL)["hmm_p0"]
    for shift in (0, -2):
        assert np.abs(ours[rows + shift] - naive_loop(bars, SMALL, rows)[:, 0]).max() > 0.1


WARM = SMALL.model_copy(update={"warm_start": True})


def test_fits_start_cold_unless_asked() -> None:
    assert not Params().warm_start
    assert unbounded(Params()) == []
    assert unbounded(WARM) == names(WARM)


def test_a_warm_fit_starts_from_the_fit_before_in_the_units_of_its_own_window() -> None:
    bars = make_bars(4000, hole=False)
    first, second = refits(bars, WARM)[:2]
    seen = observations(bars, WARM)
    windows = [seen[at - WARM.window_bars : at] for at in (first, second)]
    (mean, deviation), (next_mean, next_deviation) = (hmm.moments(window) for window in windows)
    model, _ = hmm.fit((windows[0] - mean) / deviation, cold((windows[0] - mean) / deviation), 12, 0.0)
    raw_mean, raw_variance = model.mean * deviation + mean, model.variance * deviation**2
    start = model._replace(
        start=np.full(3, 1 / 3),
        mean=(raw_mean - next_mean) / next_deviation,
        variance=np.maximum(raw_variance / next_deviation**2, hmm.VARIANCE_FLOOR),
    )
    again, _ = hmm.fit((windows[1] - next_mean) / next_deviation, start, 12, 0.0)
    x = (seen[second - WARM.burn_in_bars : second + 50] - next_mean) / next_deviation
    expected = hmm.run_filter(again, x)[0][WARM.burn_in_bars :]
    columns, from_cold = walk_forward(bars, WARM), walk_forward(bars, SMALL)
    np.testing.assert_allclose(columns["hmm_p0"][second : second + 50], expected[:, 0], atol=1e-9)
    np.testing.assert_array_equal(columns["hmm_p0"][first:second], from_cold["hmm_p0"][first:second])
    assert np.abs(columns["hmm_p0"] - from_cold["hmm_p0"])[second:].max() > 1e-6


def test_warm_starts_remember_where_the_series_starts_and_cold_ones_do_not() -> None:
    bars = make_bars(6000, hole=False)
    later = 1700
    for params, same in ((SMALL, True), (WARM, False)):
        everything, part = walk_forward(bars, params), walk_forward(bars[later:], params)
        first = refits(bars[later:], params)[1]
        a, b = (columns["hmm_p0"][-(len(bars) - later - first) :] for columns in (everything, part))
        assert np.array_equal(a, b) == same


def test_warm_starts_look_no_further_ahead() -> None:
    bars = make_bars(4000, hole=False)
    cut = int(refits(bars, WARM)[1]) + 40
    whole, past = walk_forward(bars, WARM), walk_forward(bars[:cut], WARM)
    for name, column in past.items():
        np.testing.assert_array_equal(column, whole[name][:cut])


def test_both_engines_start_warm_alike() -> None:
    bars = make_bars(3500, hole=False)
    ours, theirs = (
        walk_forward(bars, WARM.model_copy(update={"engine": engine, "iterations": 4}))
        for engine in ("numba", "hmmlearn")
    )
    for name in ("hmm_p0", "hmm_p1", "hmm_p2"):
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-7)


def test_both_engines_give_the_same_columns(shared_data: Path) -> None:
    bars = real_bars.es(shared_data, slice(1200))
    ours = walk_forward(bars, SMALL)
    theirs = walk_forward(bars, SMALL.model_copy(update={"engine": "hmmlearn"}))
    for name, column in ours.items():
        np.testing.assert_allclose(column, theirs[name], atol=1e-7 if name == "hmm_loglik" else 1e-8)


def test_a_trailing_window_of_a_trading_year_gives_nearly_the_same_probabilities(shared_data: Path) -> None:
    bars = real_bars.es(shared_data, slice(1500))
    params = SMALL.model_copy(update={"burn_in_bars": 252})
    columns = walk_forward(bars, params)
    ours = np.column_stack([columns[f"hmm_p{s}"] for s in range(3)])
    start = refits(bars, params)[-1]
    seen = observations(bars, params)
    window = seen[start - params.window_bars : start]
    mean, deviation = hmm.moments(window)
    inside = (window - mean) / deviation
    model, _ = hmm.fit(inside, cold(inside), params.iterations, 0.0)
    for end in range(start + 5, len(bars), 31):
        x = (seen[end - 252 : end] - mean) / deviation
        np.testing.assert_allclose(ours[end - 1], reference.run_filter(model, x)[0][-1], atol=1e-6)


@pytest.mark.parametrize("first", [0, 1, 500, 1111, 1360])
def test_refits_happen_at_session_starts_wherever_the_series_starts(first: int) -> None:
    bars = make_bars(6000, hole=False)
    params = SMALL.model_copy(update={"refit_sessions": 2})
    everywhere, here = refits(bars, params), refits(bars[first:], params) + first
    assert len(here)
    np.testing.assert_array_equal(here, everywhere[everywhere >= here[0]])
    for row in here:
        assert bars.session[row] // 2 != bars.session[row - 1] // 2


def test_the_age_of_a_fit_counts_bars_since_the_refit() -> None:
    bars = make_bars(3000, hole=False)
    age = walk_forward(bars, SMALL)["hmm_fit_age"]
    first, second = refits(bars, SMALL)[:2]
    assert np.isnan(age[:first]).all()
    np.testing.assert_array_equal(age[first:second], np.arange(second - first))
    assert age[second] == 0


def test_more_observations_and_fewer_states_can_be_had() -> None:
    bars = make_bars(3000, hole=False)
    params = Params(
        **{**SMALL.model_dump(), "n_states": 2, "observations": ["return", "volatility", "range"]}
    )
    columns = walk_forward(bars, params)
    assert list(columns) == ["hmm_state", "hmm_p0", "hmm_p1", "hmm_fit_age", "hmm_loglik"]
    assert np.isfinite(columns["hmm_p1"][refits(bars, params)[0] :]).all()
