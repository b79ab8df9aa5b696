"""One horizon on the locked test: every model's score and trades, and the baselines they must beat."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.index import Index
from mlfactory.common.metrics import (
    StationaryBootstrap,
    block_length,
    calibration,
    class_frequencies,
    confusion,
    prior_log_loss,
    row_log_loss,
    scores,
)
from mlfactory.common.predictions import CLASSES
from mlfactory.report.params import Params
from mlfactory.report.trading import (
    Outcomes,
    Sides,
    Trades,
    block_shuffle,
    decide,
    development_rows,
    payoff,
    performance,
    trade,
)

Floats = NDArray[np.float64]
CURVE_POINTS: Final = 400
"""Most points of an equity curve in the report."""


@dataclass(frozen=True)
class Test:
    """One horizon of the opened test."""

    horizon: int
    outcomes: Outcomes
    """the rows that every model predicts and whose outcome is known"""
    models: Mapping[str, Floats]
    """per model, combiners included: shape (n, 3)"""
    sessions: NDArray[np.int64]
    """ascending dates of all sessions of the locked test"""
    per_year: float
    """sessions in a year"""


@dataclass(frozen=True)
class Result:
    """What one horizon adds to the report; JSON values."""

    leaderboard: list[dict[str, Any]]
    baselines: list[dict[str, Any]]
    details: dict[str, Any]


def evaluate(test: Test, index: Index, chosen: Mapping[str, str], params: Params, seed: int) -> Result:
    """Score all models on the same rows.

    Args:
        test: rows, outcomes and predictions.
        index: development labels and returns: the prior and the expected payoffs come from them alone.
        chosen: ``ensemble`` and ``best_base``: the models that development rows chose, before the test was opened.
        params: resamples, shuffles, bins.
        seed: of the resamples and shuffles.
    """
    label = test.outcomes.label
    developed = development_rows(index, test.horizon)
    known = index.label[test.horizon][developed]
    prior, pays = class_frequencies(known), payoff(index, test.horizon, developed)
    prior_loss = prior_log_loss(prior, label)
    block = block_length(test.outcomes.bar, test.outcomes.end)
    bootstrap = StationaryBootstrap(len(label), block, params.draws, seed)
    table = scores(test.models, label, prior_loss, bootstrap)
    traded = {name: trade(decide(p, pays), test.outcomes) for name, p in test.models.items()}
    leaderboard = [
        {
            "horizon": test.horizon,
            "model": name,
            **table[name],
            **_performance(traded[name], test, params, seed),
        }
        for name in test.models
    ]
    always = {name: trade(side, test.outcomes) for name, side in _rules(prior, pays, len(label)).items()}
    baselines = [
        {
            "horizon": test.horizon,
            "model": name,
            "log_loss": float(prior_loss.mean()) if name == "prior" else None,
            **_performance(trades, test, params, seed),
        }
        for name, trades in always.items()
    ]
    ensemble = test.models[chosen["ensemble"]]
    baselines.append(_shuffled(ensemble, pays, test, block, params, seed))
    curves = {
        chosen["ensemble"]: traded[chosen["ensemble"]],
        chosen["best_base"]: traded[chosen["best_base"]],
    }
    details = {
        "horizon": test.horizon,
        **chosen,
        "rows": len(label),
        "block_rows": block,
        "sessions": len(test.sessions),
        "sessions_per_year": test.per_year,
        "prior": prior,
        "payoff": {name: pays[k] for k, name in enumerate(CLASSES)},
        "class_balance": {"development": _balance(known), "test": _balance(label)},
        "confusion": confusion(ensemble, label),
        "calibration": _calibration(ensemble, label, params.calibration_bins),
        "equity": {
            n: _curve(t, test.outcomes) for n, t in {**curves, "always_long": always["always_long"]}.items()
        },
    }
    return Result(leaderboard, baselines, details)


def _rules(prior: Floats, pays: Floats, n: int) -> dict[str, Sides]:
    """Baselines that look at no feature."""
    side = int(decide(prior[None, :], pays)[0])
    constant = {"always_flat": 0, "always_long": 1, "prior": side}
    return {name: np.full(n, value, np.int8) for name, value in constant.items()}


def _performance(trades: Trades, test: Test, params: Params, seed: int) -> dict[str, float]:
    return performance(trades, test.outcomes, test.sessions, test.per_year, draws=params.draws, seed=seed)


def _shuffled(
    probabilities: Floats, pays: Floats, test: Test, block: int, params: Params, seed: int
) -> dict[str, Any]:
    """Median and 95 % range of the ensemble's log loss and return when outcomes come in another order."""
    rng = np.random.default_rng(seed)
    side = decide(probabilities, pays)
    loss, net = np.empty(params.shuffles), np.empty(params.shuffles)
    for i in range(params.shuffles):
        shuffled = test.outcomes.happening(block_shuffle(len(side), block, rng))
        loss[i] = row_log_loss(probabilities, shuffled.label).mean()
        net[i] = trade(side, shuffled).net.sum()
    out: dict[str, Any] = {"horizon": test.horizon, "model": "shuffled_labels", "shuffles": params.shuffles}
    for name, values in (("log_loss", loss), ("net_return", net)):
        low, middle, high = np.quantile(values, [0.025, 0.5, 0.975])
        out |= {name: middle, f"{name}_low": low, f"{name}_high": high}
    return out


def _balance(label: NDArray[np.int8]) -> dict[str, Any]:
    counts = np.bincount(label, minlength=len(CLASSES))
    return {"rows": len(label), **{name: counts[k] / len(label) for k, name in enumerate(CLASSES)}}


def _calibration(probabilities: Floats, label: NDArray[np.int8], bins: int) -> dict[str, Any]:
    curves = {}
    for k, name in enumerate(CLASSES):
        curve = calibration(probabilities[:, k], label == k, bins)
        curves[name] = {"stated": curve.stated, "observed": curve.observed, "error": curve.error}
    return curves


def _curve(trades: Trades, outcomes: Outcomes) -> dict[str, Any]:
    """Summed net return after each trade, thinned; the test's first and last row are its ends."""
    minute = np.concatenate([outcomes.minute[:1], outcomes.minute[trades.at], outcomes.minute[-1:]])
    value = np.concatenate([[0.0], np.cumsum(trades.net)])
    value = np.append(value, value[-1])
    kept = np.unique(np.linspace(0, len(value) - 1, CURVE_POINTS).astype(np.int64))
    return {"minute": minute[kept], "net_return": value[kept]}
