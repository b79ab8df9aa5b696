import numpy as np
import pytest
from toy_run import ToyRun

from mlfactory.common.metrics import Floats
from mlfactory.report.trading import (
    Outcomes,
    block_shuffle,
    decide,
    development_rows,
    payoff,
    per_session,
    performance,
    trade,
)


def outcomes(bars: list[int], ends: list[int], nets: list[float]) -> Outcomes:
    """Long trades as stated; the short ones end one bar later and make the negative."""
    bar, end, net = np.array(bars), np.array(ends), np.array(nets, float)
    return Outcomes(
        row=bar,
        minute=bar * 1,
        session=bar // 10,
        bar=bar,
        label=np.ones(len(bar), np.int8),
        end=end + 1,
        net=np.column_stack([net, -net]),
        exit=np.column_stack([end, end + 1]),
    )


def test_a_trade_starts_only_after_the_one_before_has_left_the_market() -> None:
    # row 0 leaves in bar 4; row 2 is inside it; row 4 enters at the open of bar 5
    result = outcomes([0, 2, 4, 6, 8], [4, 5, 7, 9, 12], [1, 2, 4, 8, 16])
    trades = trade(np.ones(5, np.int8), result)
    assert trades.at.tolist() == [0, 2, 4]
    assert trades.net.tolist() == [1, 4, 16]
    assert trades.bars.tolist() == [4, 3, 4]


def test_a_short_trade_has_its_own_exit_and_return() -> None:
    result = outcomes([0, 4, 5], [4, 7, 9], [1, 2, 4])
    trades = trade(np.array([-1, 1, 1], np.int8), result)
    assert trades.at.tolist() == [0, 2]  # the short of row 0 leaves in bar 5
    assert trades.net.tolist() == [-1, 4]
    assert trades.side.tolist() == [-1, 1]


def test_staying_out_costs_nothing() -> None:
    trades = trade(np.zeros(3, np.int8), outcomes([0, 1, 2], [3, 4, 5], [1, 1, 1]))
    assert len(trades) == 0


def brute_force(side: np.ndarray, result: Outcomes) -> list[int]:
    taken, busy_until = [], -1
    for i, bar in enumerate(result.bar):
        if side[i] and bar >= busy_until:
            taken.append(i)
            busy_until = result.exit[i, 0 if side[i] > 0 else 1]
    return taken


@pytest.mark.parametrize("seed", range(10))
def test_trades_agree_with_a_bar_by_bar_walk(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bar = np.sort(rng.choice(500, 200, replace=False))
    ends = bar + rng.integers(1, 30, 200)
    result = outcomes(bar.tolist(), ends.tolist(), rng.normal(size=200).tolist())
    side = rng.integers(-1, 2, 200).astype(np.int8)
    assert trade(side, result).at.tolist() == brute_force(side, result)


PAYOFF = np.array([[-0.003, 0.002], [-0.001, -0.001], [0.002, -0.003]])


@pytest.mark.parametrize(
    ("probabilities", "side"),
    [
        ([0.0, 0.0, 1.0], 1),
        ([1.0, 0.0, 0.0], -1),
        ([0.0, 1.0, 0.0], 0),
        ([0.4, 0.2, 0.4], 0),  # both sides lose on average
        ([0.1, 0.2, 0.7], 1),  # 0.0009 long
        ([0.35, 0.05, 0.6], 1),  # 0.0001 long
    ],
)
def test_the_side_with_the_larger_positive_expectation_is_traded(
    probabilities: list[float], side: int
) -> None:
    assert decide(np.array([probabilities]), PAYOFF).tolist() == [side]


def test_payoffs_are_means_per_class_on_development_rows_alone(tmp_path) -> None:
    toy = ToyRun(tmp_path)
    label, pays = toy.content.label[20], payoff(toy.content, 20, development_rows(toy.content, 20))
    for k in range(3):
        assert pays[k, 0] == pytest.approx(toy.truth[20]["long_net"][label == k].mean())
        assert pays[k, 1] == pytest.approx(toy.truth[20]["short_net"][label == k].mean())


def test_sessions_without_a_trade_count_as_zero() -> None:
    result = outcomes([1, 5, 31], [4, 6, 33], [1.0, 2.0, 4.0])
    trades = trade(np.ones(3, np.int8), result)
    assert per_session(trades, result, np.arange(5)).tolist() == [3, 0, 0, 4, 0]


def test_performance_agrees_with_paper_and_pencil() -> None:
    result = outcomes([0, 10, 20, 39], [4, 15, 28, 40], [0.01, -0.03, 0.01, 0.02])
    trades = trade(np.array([1, 1, -1, 1], np.int8), result)
    numbers = performance(trades, result, np.arange(4), 260, draws=1000, seed=0)
    daily: Floats = np.array([0.01, -0.03, -0.01, 0.02])
    assert numbers["trades"] == 4
    assert numbers["long_trades"] == 3
    assert numbers["hit_rate"] == 0.5
    assert numbers["net_return"] == pytest.approx(-0.01)
    assert numbers["mean_trade"] == pytest.approx(-0.0025)
    assert numbers["max_drawdown"] == pytest.approx(0.04)
    assert numbers["trades_per_session"] == 1
    assert numbers["time_in_market"] == pytest.approx((4 + 5 + 9 + 1) / 41)
    assert numbers["sharpe"] == pytest.approx(daily.mean() / daily.std(ddof=1) * np.sqrt(260))
    assert numbers["sharpe_low"] < numbers["sharpe"] < numbers["sharpe_high"]


def test_trades_that_follow_each_other_fill_the_time_and_no_more() -> None:
    result = outcomes([0, 10, 20], [10, 20, 70], [1, 1, 1])
    numbers = performance(trade(-np.ones(3, np.int8), result), result, np.arange(3), 260, draws=1000, seed=0)
    assert numbers["trades"] == 2  # the short of row 0 leaves in bar 11
    assert numbers["time_in_market"] == pytest.approx((11 + 51) / 71)


def test_no_trade_has_no_sharpe_ratio_and_no_hit_rate() -> None:
    result = outcomes([0, 10, 20], [4, 15, 28], [1, 1, 1])
    numbers = performance(trade(np.zeros(3, np.int8), result), result, np.arange(3), 260, draws=1000, seed=0)
    assert numbers["net_return"] == 0
    assert np.isnan([numbers["sharpe"], numbers["sharpe_low"], numbers["hit_rate"]]).all()


@pytest.mark.parametrize(("n", "block"), [(100, 7), (10, 10), (13, 1), (5, 100)])
def test_a_block_shuffle_is_a_permutation_that_keeps_neighbours(n: int, block: int) -> None:
    order = block_shuffle(n, block, np.random.default_rng(0))
    assert sorted(order.tolist()) == list(range(n))
    broken = ((np.diff(order) % n) != 1).sum()
    assert broken <= -(-n // block)


def test_a_shuffled_outcome_takes_its_returns_and_its_time_along() -> None:
    result = outcomes([0, 2, 10], [4, 3, 19], [1, 2, 4]).happening(np.array([2, 0, 1]))
    assert result.net[:, 0].tolist() == [4, 1, 2]
    assert result.exit[:, 0].tolist() == [0 + 9, 2 + 4, 10 + 1]
    assert result.bar.tolist() == [0, 2, 10]
