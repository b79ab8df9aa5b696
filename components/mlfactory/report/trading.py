"""From class probabilities to trades after costs, one position at a time."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.index import UNKNOWN, Index
from mlfactory.common.metrics import (
    StationaryBootstrap,
    drawdown,
    percentiles,
    sharpe,
    sharpe_interval,
)
from mlfactory.common.predictions import CLASSES

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Sides = NDArray[np.int8]
"""1 buys, -1 sells, 0 stays out"""


@dataclass(frozen=True)
class Outcomes:
    """What happened after each row of the locked test, at one horizon; arrays of shape (n,), in order of time."""

    row: Ints
    """matrix row"""
    minute: Ints
    session: Ints
    bar: Ints
    """bar position; the trade enters at the open of the next bar"""
    label: NDArray[np.int8]
    end: Ints
    """bar position at which the label's span ends"""
    net: Floats
    """shape (n, 2): return of the long and of the short trade after costs, as a share of the entry price"""
    exit: Ints
    """shape (n, 2): bar position at which each of them ends"""

    def __len__(self) -> int:
        return len(self.row)

    def take(self, rows: Ints) -> "Outcomes":
        """Keep the rows at the given places."""
        return Outcomes(**{name: value[rows] for name, value in vars(self).items()})

    def happening(self, source: Ints) -> "Outcomes":
        """Let row i come out as row ``source[i]`` did: its class, its returns and the time its trades took."""
        return Outcomes(
            row=self.row,
            minute=self.minute,
            session=self.session,
            bar=self.bar,
            label=self.label[source],
            end=self.bar + (self.end - self.bar)[source],
            net=self.net[source],
            exit=self.bar[:, None] + (self.exit - self.bar[:, None])[source],
        )


@dataclass(frozen=True)
class Trades:
    """Trades in order of time; arrays of shape (trades,)."""

    at: Ints
    """place of the row that decided it, within ``Outcomes``"""
    side: Sides
    net: Floats
    bars: Ints
    """bars in the market, entry and exit included"""

    def __len__(self) -> int:
        return len(self.at)


def payoff(index: Index, horizon: int, rows: Ints) -> Floats:
    """Mean net return of the long and the short trade per class, on some development rows: shape (3, 2).

    A class that none of the rows has pays nothing.
    """
    label = index.label[horizon][rows]
    net = np.column_stack([index.long_net[horizon][rows], index.short_net[horizon][rows]])
    classes = [net[label == k] for k in range(len(CLASSES))]
    return np.stack([rows.mean(axis=0) if len(rows) else np.zeros(2) for rows in classes])


def development_rows(index: Index, horizon: int) -> Ints:
    """Matrix rows whose label is known before the test begins."""
    return np.flatnonzero(index.label[horizon] != UNKNOWN)


def decide(probabilities: Floats, payoff: Floats) -> Sides:
    """Choose the side with the larger expected net return if it is positive: shape (n,).

    Args:
        probabilities: shape (n, 3).
        payoff: shape (3, 2); see ``payoff``.
    """
    expected = probabilities @ payoff
    long = (expected[:, 0] > 0) & (expected[:, 0] >= expected[:, 1])
    short = (expected[:, 1] > 0) & ~long
    return long.astype(np.int8) - short.astype(np.int8)


def trade(side: Sides, outcomes: Outcomes) -> Trades:
    """Take the trades that ``side`` asks for, each only after the one before has left the market.

    A trade that exits in bar b frees the row of bar b: the next one enters at the open of bar b + 1.

    Args:
        side: shape (n,).
        outcomes: n rows in order of time.
    """
    n = len(outcomes)
    column = (side < 0).astype(np.int64)
    ends = outcomes.exit[np.arange(n), column]
    free = np.maximum(np.searchsorted(outcomes.bar, ends, side="left"), np.arange(n) + 1)
    wanted = np.where(side != 0, np.arange(n), n)
    following = np.append(
        np.minimum.accumulate(wanted[::-1])[::-1], n
    ).tolist()  # first wanted row from each on
    after, at, i = free.tolist(), [], 0
    while (i := following[i]) < n:
        at.append(i)
        i = after[i]
    rows = np.array(at, np.int64)
    return Trades(
        at=rows,
        side=side[rows],
        net=outcomes.net[rows, column[rows]],
        bars=ends[rows] - outcomes.bar[rows],
    )


def per_session(trades: Trades, outcomes: Outcomes, sessions: Ints) -> Floats:
    """Sum net returns by the session in which a trade was decided: shape (sessions,), zero where none was.

    Args:
        trades: made on ``outcomes``.
        outcomes: of the locked test.
        sessions: ascending dates of all sessions of the locked test.
    """
    place = np.searchsorted(sessions, outcomes.session[trades.at])
    return np.bincount(place, weights=trades.net, minlength=len(sessions)).astype(np.float64)


def performance(
    trades: Trades, outcomes: Outcomes, sessions: Ints, per_year: float, *, draws: int, seed: int
) -> dict[str, float]:
    """Count what the trades made; returns are sums of shares of the entry price, Sharpe ratios are annualised.

    Args:
        trades: made on ``outcomes``.
        outcomes: of the locked test.
        sessions: ascending dates of all sessions of the locked test.
        per_year: sessions in a year.
        draws: resamples of the block bootstrap.
        seed: of the resamples.
    """
    daily = per_session(trades, outcomes, sessions)
    bootstrap = StationaryBootstrap(len(daily), np.ceil(len(daily) ** (1 / 3)), draws, seed)
    interval = sharpe_interval(daily, per_year, bootstrap, 0.95)
    total = percentiles(bootstrap.interval_draws(daily) * len(daily), 0.95)
    count = len(trades)
    market = int(outcomes.exit.max() - outcomes.bar[0])
    return {
        "trades": count,
        "long_trades": int((trades.side > 0).sum()),
        "hit_rate": float((trades.net > 0).mean()) if count else float("nan"),
        "net_return": float(trades.net.sum()),
        "net_return_low": total.low,
        "net_return_high": total.high,
        "mean_trade": float(trades.net.mean()) if count else float("nan"),
        "trades_per_session": count / len(daily),
        "time_in_market": float(trades.bars.sum()) / market,
        "max_drawdown": drawdown(trades.net),
        "sharpe": sharpe(daily, per_year),
        "sharpe_low": interval.low,
        "sharpe_high": interval.high,
    }


def block_shuffle(n: int, block: int, rng: np.random.Generator) -> Ints:
    """Put blocks of consecutive rows in random order, from a random start of the circle: shape (n,)."""
    start = int(rng.integers(n))
    circle = (np.arange(n) + start) % n
    parts = [circle[first : first + block] for first in range(0, n, block)]
    return np.concatenate([parts[i] for i in rng.permutation(len(parts))])
