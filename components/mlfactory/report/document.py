"""The contents of ``report.json``: every number that the page shows."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlfactory.common.artifacts import clean
from mlfactory.common.index import Index
from mlfactory.common.metrics import expected_best, sharpe_error
from mlfactory.common.predictions import COMBINERS, FAILED, Predictions
from mlfactory.common.splits import HELD_OUT, REFIT
from mlfactory.report import explanations, model_inputs
from mlfactory.report.evaluation import Result


def chosen(ranking: Mapping[str, Any], horizon: int) -> dict[str, str]:
    """Name the ensemble and the base model that development rows rank first: the test chooses nothing."""
    rows = [row for row in ranking["rows"] if row["horizon"] == horizon]
    return {
        "ensemble": next(row["model"] for row in rows if row["family"] in COMBINERS),
        "best_base": next(row["model"] for row in rows if row["family"] not in COMBINERS),
    }


def contents(
    results: Sequence[Result],
    pool: Sequence[Predictions],
    fits: Sequence[Mapping[str, Any]],
    ranking: Mapping[str, Any],
    index: Index,
    data: Mapping[str, Any],
) -> dict[str, Any]:
    """Put the report together; JSON values.

    Args:
        results: one per horizon.
        pool: test predictions of base models and combiners.
        fits: ``fit`` documents of all jobs, failed ones included.
        ranking: scores on development rows, best first.
        index: rows and folds.
        data: facts about the bars.
    """
    family = {p.model: p.family for p in pool}
    out_of_fold = {(row["horizon"], row["model"]): row for row in ranking["rows"]}
    broken = _failed(fits, ranking)
    board = []
    for row in (row for result in results for row in result.leaderboard):
        oof = out_of_fold[row["horizon"], row["model"]]
        known = {"family": family[row["model"]], "status": "ok"}
        board.append({**row, **known, "oof_log_loss": oof["log_loss"], "oof_gain": oof["gain"]})
    board.sort(key=lambda row: (row["horizon"], row["log_loss"], row["model"]))
    details = {str(result.details["horizon"]): result.details for result in results}
    report = {
        "facts": _facts(index, data),
        "leaderboard": [*board, *({**row, "status": FAILED} for row in broken)],
        "baselines": [row for result in results for row in result.baselines],
        "horizons": details,
        "class_balance": {h: one["class_balance"] for h, one in details.items()},
        "development_ranking": ranking["rows"],
        "loss_of_rows": ranking["loss_of_rows"],
        "trials": _trials(board, details, sum(fit.get("trials", 1) - 1 for fit in fits)),
        "feature_importance": _importance(fits, ranking),
        "explanations": explanations.describe(fits),
        "model_inputs": model_inputs.describe(fits),
        "failed": broken,
    }
    cleaned: dict[str, Any] = clean(report)
    return cleaned


def _failed(fits: Sequence[Mapping[str, Any]], ranking: Mapping[str, Any]) -> list[dict[str, Any]]:
    errors = {(fit["horizon"], fit["model"]): fit for fit in fits if fit["status"] == FAILED}
    jobs = {(row["horizon"], row["model"]): row["family"] for row in ranking["failed"]}
    jobs |= {key: fit["family"] for key, fit in errors.items()}
    return [
        {
            "horizon": h,
            "model": model,
            "family": jobs[h, model],
            "error": errors.get((h, model), {}).get("error"),
        }
        for h, model in sorted(jobs)
    ]


def _facts(index: Index, data: Mapping[str, Any]) -> dict[str, Any]:
    names = (
        "instrument",
        "bar_minutes",
        "bars",
        "sessions",
        "segments",
        "first",
        "last",
        "rejected",
        "advice",
    )
    spans = {}
    for h in index.horizons:
        test = index.rows(h, REFIT, HELD_OUT)
        development = index.label[h] >= 0
        spans[str(h)] = {
            "development_rows": int(development.sum()),
            "test_rows": len(test),
            "development": _period(index.minute[development]),
            "test": _period(index.minute[test]),
        }
    return {
        **{name: data.get(name) for name in names},
        "rows": len(index),
        "events": int(index.event.sum()),
        "folds": index.n_folds,
        "scheme": index.facts["scheme"],
        "horizons": spans,
    }


def _period(minute: Any) -> list[int]:
    """First and last minute since the epoch."""
    return [int(minute.min()), int(minute.max())] if len(minute) else []


def _trials(
    board: Sequence[Mapping[str, Any]], details: Mapping[str, Mapping[str, Any]], tuned: int
) -> dict[str, Any]:
    """State how many models were tried and what the best of them would show by luck alone.

    ``tuned`` settings that a search tried and discarded count as trials too.

    The expected best Sharpe ratio holds for independent trials without skill; models of one run are not, so it is an
    upper end. Source: Bailey and Lopez de Prado (2014); Lo (2002).
    """
    count = len(board) + tuned
    first = next(iter(details.values()))
    error = sharpe_error(0.0, first["sessions"], first["sessions_per_year"])
    return {
        "trials": count,
        "discarded_by_tuning": tuned,
        "models": len({row["model"] for row in board}),
        "horizons": len(details),
        "sharpe_standard_error": error,
        "expected_best_sharpe_without_skill": expected_best(count) * error,
        "gains_above_zero_95": sum(row["gain_low"] > 0 for row in board),
        "gains_above_zero_999": sum(row["gain_low_999"] > 0 for row in board),
        "expected_above_zero_95_by_luck": 0.025 * len(board),
    }


def _importance(fits: Sequence[Mapping[str, Any]], ranking: Mapping[str, Any]) -> dict[str, Any]:
    """Per horizon, the features of the model that development rows rank first among those that state shares."""
    found: dict[str, Any] = {}
    shares = {(fit["horizon"], fit["model"]): fit.get("feature_importance") for fit in fits}
    for row in ranking["rows"]:
        share = shares.get((row["horizon"], row["model"]))
        if share and str(row["horizon"]) not in found:
            ordered = sorted(share.items(), key=lambda item: (-item[1], item[0]))
            found[str(row["horizon"])] = {
                "model": row["model"],
                "share": [{"feature": name, "share": value} for name, value in ordered],
            }
    return found
