"""What every model made on each path of combinatorial folds: a distribution of results instead of one.

A path is a whole history of development rows in which every row is predicted by a model that did not see it; see
``mlfactory.common.splits.path_numbers``. Paths share folds, so their spread understates that of independent histories.

Source: Lopez de Prado (2018), Advances in Financial Machine Learning, ch. 12.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from mlfactory.common.bars import Floats, Ints
from mlfactory.common.index import Index
from mlfactory.common.metrics import (
    class_frequencies,
    drawdown,
    row_log_loss,
    sessions_per_year,
    sharpe,
)
from mlfactory.common.predictions import Predictions
from mlfactory.common.splits import INNER, TRAIN
from mlfactory.report.trading import Outcomes, Trades, decide, payoff, per_session, trade

MEASURES: Final = ("sharpe", "net_return", "max_drawdown", "gain")
"""what is measured on each path: annualised Sharpe ratio of the sums per session, sum of net returns, largest fall of
that sum, and the log loss saved against the prior of each fold"""


def path_results(pool: Sequence[Predictions], index: Index) -> dict[str, Any]:
    """Measure every model on every path, on the rows that all models predict.

    Class frequencies and expected payoffs of a row are those of its fold's training rows.

    Args:
        pool: out-of-fold predictions of base models and combiners.
        index: of all rows and folds.

    Returns:
        per horizon, as text: ``paths``, ``rows``, ``sessions``, and ``models``: for each its name, family, trades
        on the paths, and per measure a ``summary``; best median Sharpe ratio first. Empty where none is held out twice.
    """
    found = {}
    for horizon in sorted({p.horizon for p in pool}):
        of_horizon = [p for p in pool if p.horizon == horizon]
        numbers = [index.path(horizon, p.row, p.fold) for p in of_horizon]
        count = 1 + max(int(path.max()) for path in numbers)
        if count > 1:
            found[str(horizon)] = _Horizon(index, horizon, of_horizon, numbers).measured(count)
    return found


class _Horizon:
    """The paths of one horizon."""

    def __init__(
        self, index: Index, horizon: int, pool: Sequence[Predictions], numbers: Sequence[Ints]
    ) -> None:
        self._index, self._horizon, self._pool, self._numbers = index, horizon, pool, numbers
        rows = pool[0].row
        for predictions in pool[1:]:
            rows = np.intersect1d(rows, predictions.row)
        self._rows = np.unique(rows)
        self._sessions = np.unique(index.session[self._rows])
        self._per_year = sessions_per_year(index.session)
        learned = [
            np.flatnonzero(np.isin(index.code[horizon][:, k], (TRAIN, INNER))) for k in range(index.n_folds)
        ]
        self._payoff = np.stack([payoff(index, horizon, part) for part in learned])
        self._prior = np.stack([class_frequencies(index.label[horizon][part]) for part in learned])

    def measured(self, paths: int) -> dict[str, Any]:
        models = [
            {
                "model": predictions.model,
                "family": predictions.family,
                **self._distributions(predictions, number, paths),
            }
            for predictions, number in zip(self._pool, self._numbers, strict=True)
        ]
        models.sort(key=lambda row: (-_order(row["sharpe"]["median"]), row["model"]))
        return {"paths": paths, "rows": len(self._rows), "sessions": len(self._sessions), "models": models}

    def _distributions(self, predictions: Predictions, number: Ints, paths: int) -> dict[str, Any]:
        kept = np.isin(predictions.row, self._rows)
        values = []
        for path in range(paths):
            at = np.flatnonzero(kept & (number == path))
            at = at[np.argsort(predictions.row[at], kind="stable")]
            values.append(
                self._measure(predictions.row[at], predictions.fold[at], predictions.probability[at])
            )
        return {
            "trades": [int(one["trades"]) for one in values],
            **{name: summary(np.array([one[name] for one in values])) for name in MEASURES},
        }

    def _measure(self, row: Ints, fold: Ints, probability: Floats) -> dict[str, float]:
        outcomes = self._outcomes(row)
        side = np.zeros(len(row), np.int8)
        for k in np.unique(fold):
            side[fold == k] = decide(probability[fold == k], self._payoff[k])
        trades: Trades = trade(side, outcomes)
        daily = per_session(trades, outcomes, self._sessions)
        prior = row_log_loss(self._prior[fold], outcomes.label)
        return {
            "trades": len(trades),
            "sharpe": sharpe(daily, self._per_year),
            "net_return": float(trades.net.sum()),
            "max_drawdown": drawdown(trades.net),
            "gain": float((prior - row_log_loss(probability, outcomes.label)).mean()),
        }

    def _outcomes(self, row: Ints) -> Outcomes:
        index, h = self._index, self._horizon
        return Outcomes(
            row=row,
            minute=index.minute[row],
            session=index.session[row],
            bar=index.bar[row],
            label=index.label[h][row],
            end=index.end[h][row],
            net=np.column_stack([index.long_net[h][row], index.short_net[h][row]]),
            exit=index.exit[h][row],
        )


def summary(values: Floats) -> dict[str, Any]:
    """Describe a measure over the paths: ``values``, ``mean``, ``std``, ``least``, ``median``, ``largest``.

    Where it is undefined (a Sharpe ratio without trades), a path is left out of the numbers and NaN in ``values``.

    Args:
        values: shape (paths,).
    """
    known = values[np.isfinite(values)]
    if not len(known):
        nothing = dict.fromkeys(("mean", "std", "least", "median", "largest"), float("nan"))
        return {"values": values.tolist(), **nothing, "above_zero": 0}
    return {
        "values": values.tolist(),
        "mean": float(known.mean()),
        "std": float(known.std(ddof=1)) if len(known) > 1 else float("nan"),
        "least": float(known.min()),
        "median": float(np.median(known)),
        "largest": float(known.max()),
        "above_zero": int((known > 0).sum()),
    }


def _order(value: float) -> float:
    return value if np.isfinite(value) else -np.inf
