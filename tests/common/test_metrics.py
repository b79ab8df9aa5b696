import math

import numpy as np
import pytest

from mlfactory.common.metrics import (
    Floats,
    StationaryBootstrap,
    accuracy,
    block_length,
    brier,
    calibration,
    class_frequencies,
    confusion,
    drawdown,
    expected_best,
    percentiles,
    prior_log_loss,
    row_log_loss,
    sessions_per_year,
    sharpe,
    sharpe_error,
    sharpe_interval,
)

P = np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])
LABEL = np.array([0, 1, 0])


def autoregression(n: int, seed: int, phi: float) -> Floats:
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=n)
    out = np.empty(n)
    out[0] = noise[0] / math.sqrt(1 - phi**2)
    for i in range(1, n):
        out[i] = phi * out[i - 1] + noise[i]
    return out


def test_the_loss_of_a_row_is_the_negative_log_of_what_came_true() -> None:
    assert row_log_loss(P, LABEL) == pytest.approx([math.log(2), -math.log(0.8), math.log(5)])


def test_a_probability_of_zero_costs_much_but_not_infinitely() -> None:
    loss = row_log_loss(np.array([[1.0, 0.0, 0.0]]), np.array([2]))
    assert 30 < loss[0] < 40


def test_frequencies_add_one_row_per_class() -> None:
    assert class_frequencies(np.array([0, 0, 2])) == pytest.approx([3 / 6, 1 / 6, 2 / 6])


def test_the_prior_s_loss_is_the_entropy_of_the_class_that_came_true() -> None:
    prior = np.array([0.5, 0.25, 0.25])
    assert prior_log_loss(prior, np.array([0, 2])) == pytest.approx([math.log(2), math.log(4)])


def test_accuracy_brier_and_confusion_agree_with_paper_and_pencil() -> None:
    assert accuracy(P, LABEL) == pytest.approx(2 / 3)
    by_hand = (0.25 + 0.0625 + 0.0625) + (0.01 + 0.04 + 0.01) + (0.64 + 0.04 + 0.36)
    assert brier(P, LABEL) == pytest.approx(by_hand / 3)
    assert confusion(P, LABEL).tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]


def test_calibration_bins_hold_equal_counts_in_order_of_probability() -> None:
    result = calibration(np.array([0.9, 0.1, 0.2, 0.8]), np.array([True, False, True, True]), bins=2)
    assert result.stated == pytest.approx([0.15, 0.85])
    assert result.observed == pytest.approx([0.5, 1.0])
    assert result.rows.tolist() == [2, 2]
    assert result.error == pytest.approx((0.35 + 0.15) / 2)


def test_equal_probabilities_share_a_calibration_bin() -> None:
    result = calibration(np.full(6, 0.4), np.array([True, False, False, True, False, False]), bins=3)
    assert result.stated == pytest.approx([0.4])
    assert result.observed == pytest.approx([1 / 3])
    result = calibration(np.array([0.1, 0.3, 0.3, 0.3]), np.array([False, True, False, True]), bins=2)
    assert result.rows.tolist() == [4]  # the first of the equal ones ranks in the lower half


def test_a_block_spans_twice_the_rows_that_one_label_overlaps() -> None:
    bar = np.arange(0, 400, 4)
    assert block_length(bar, bar + 39) == pytest.approx(2 * 10, abs=1)  # ten rows start within 40 bars
    assert block_length(bar, bar) == 5  # no overlap: the cube root of 100 rows, rounded up
    assert block_length(bar[:2], bar[:2] + 1000) == 2  # never more than there are rows


@pytest.mark.parametrize("block", [1.0, 7.5, 40.0, 1000.0])
def test_every_resample_holds_n_rows_of_the_series(block: float) -> None:
    bootstrap = StationaryBootstrap(n=60, block=block, draws=500, seed=1)
    assert bootstrap.means(np.full(60, 3.0)) == pytest.approx(3.0)
    counts = bootstrap.means(np.eye(60)) * 60  # how often each row was drawn
    assert counts == pytest.approx(np.rint(counts), abs=1e-6)
    assert counts.sum(axis=1) == pytest.approx(60)
    assert counts.mean(axis=0) == pytest.approx(1.0, abs=0.35)


def test_resamples_depend_on_the_seed_alone() -> None:
    values = np.random.default_rng(0).normal(size=300)
    first, again = (StationaryBootstrap(300, 9, 400, seed=5).means(values) for _ in range(2))
    other = StationaryBootstrap(300, 9, 400, seed=6).means(values)
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_columns_are_resampled_together() -> None:
    values = np.random.default_rng(0).normal(size=200)
    both = StationaryBootstrap(200, 9, 100, seed=5).means(np.column_stack([values, -values]))
    assert both[:, 0] == pytest.approx(-both[:, 1])


def test_blocks_of_one_row_give_the_textbook_error_of_a_mean() -> None:
    values = np.random.default_rng(3).normal(size=400)
    spread = np.std(StationaryBootstrap(400, 1, 4000, seed=0).means(values))
    assert spread == pytest.approx(np.std(values) / 20, rel=0.06)


def test_an_interval_of_a_dependent_series_covers_its_mean_as_often_as_it_says() -> None:
    covered = missed = 0
    for seed in range(120):
        series = autoregression(500, seed, phi=0.7)
        wide = percentiles(StationaryBootstrap(500, 25, 400, seed).means(series), 0.95)
        covered += wide.low <= 0 <= wide.high
        narrow = percentiles(StationaryBootstrap(500, 1, 400, seed).means(series), 0.95)
        missed += not narrow.low <= 0 <= narrow.high
    assert covered / 120 > 0.86
    assert missed / 120 > 0.25  # rows drawn one by one ignore the dependence


def test_percentiles_are_equal_tailed() -> None:
    interval = percentiles(np.arange(101.0), 0.9)
    assert (interval.low, interval.high) == pytest.approx((5, 95))


def test_the_sharpe_ratio_is_annualised_by_the_root_of_periods() -> None:
    returns = np.array([0.01, 0.03, -0.01, 0.01])
    assert sharpe(returns, 252) == pytest.approx(0.01 / np.std(returns, ddof=1) * math.sqrt(252))


@pytest.mark.parametrize("returns", [[], [0.01], [0.0, 0.0, 0.0], [0.5, 0.5]])
def test_a_sharpe_ratio_without_variation_is_undefined(returns: list[float]) -> None:
    values = np.array(returns)
    assert math.isnan(sharpe(values, 252))
    bootstrap = StationaryBootstrap(max(len(values), 1), 1, 10, 0)
    assert math.isnan(sharpe_interval(values, 252, bootstrap, 0.95).low)


def test_the_sharpe_interval_holds_the_ratio_and_matches_lo_s_error_for_independent_returns() -> None:
    returns = np.random.default_rng(8).normal(2e-6, 1e-5, 500)
    ratio = sharpe(returns, 252)
    interval = sharpe_interval(returns, 252, StationaryBootstrap(500, 1, 3000, 0), 0.95)
    assert interval.low < ratio < interval.high
    assert (interval.high - interval.low) / 2 == pytest.approx(1.96 * sharpe_error(ratio, 500, 252), rel=0.1)


def test_the_sharpe_interval_of_few_sessions_misses_no_more_often_than_it_says() -> None:
    missed = 0
    for seed in range(300):
        returns = np.random.default_rng(seed).standard_t(4, 10)
        interval = sharpe_interval(returns, 252, StationaryBootstrap(10, 3, 300, seed), 0.95)
        missed += not interval.low <= 0 <= interval.high
    assert missed / 300 < 0.10


def test_lo_s_error_of_a_ratio_of_zero_is_one_over_the_root_of_years() -> None:
    assert sharpe_error(0.0, 504, 252) == pytest.approx(1 / math.sqrt(2))
    assert sharpe_error(2.0, 252, 252) == pytest.approx(math.sqrt((1 + 2 / 252) / 252 * 252))


def test_the_best_of_many_draws_of_luck_agrees_with_simulation() -> None:
    best = np.random.default_rng(0).normal(size=(20_000, 92)).max(axis=1).mean()
    assert expected_best(92) == pytest.approx(best, rel=0.02)
    assert expected_best(1) == 0


@pytest.mark.parametrize(("returns", "fall"), [([1, -2, 1, -3, 5], 4), ([-1, -1], 2), ([1, 2], 0), ([], 0)])
def test_drawdown_is_the_largest_fall_from_an_earlier_peak(returns: list[float], fall: float) -> None:
    assert drawdown(np.array(returns, float)) == fall


def test_sessions_per_year_are_counted_or_follow_from_the_weekdays() -> None:
    weekdays = np.array([d for d in range(3000) if d % 7 < 5])
    assert sessions_per_year(weekdays) == pytest.approx(260.9, abs=0.5)
    assert sessions_per_year(weekdays[:7]) == pytest.approx(260.9, abs=0.1)
    assert sessions_per_year(np.arange(30)) == pytest.approx(365.25)
