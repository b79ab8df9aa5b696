"""The table of models as Markdown, and the run's result in one line."""

from collections.abc import Iterator, Mapping
from typing import Any

from mlfactory.common.predictions import FAILED
from mlfactory.report.tables import tried
from mlfactory.report.text import count, interval, many, number, percent

Document = Mapping[str, Any]
HEAD = ("model", "log loss", "gain over prior (95 %)", "accuracy", "trades", "net return", "Sharpe (95 %)")


def markdown(document: Document) -> str:
    """Write one table per horizon, best log loss on the locked test first, baselines last."""
    parts = [part for horizon in document["horizons"] for part in _horizon(document, int(horizon))]
    return "\n".join([*parts, *_notes(document)]) + "\n"


def _horizon(document: Document, horizon: int) -> Iterator[str]:
    details = document["horizons"][str(horizon)]
    size = f"{many(details['rows'], 'row')} in {many(details['sessions'], 'session')}"
    yield f"### Locked test, horizon {horizon} bars: {size}; ensemble: {details['ensemble']}\n"
    yield _line(HEAD)
    yield _line(["---", *["---:"] * (len(HEAD) - 1)])
    for row in document["leaderboard"]:
        if row["horizon"] == horizon:
            yield _line(_failed(row) if row["status"] == FAILED else _model(row, details["ensemble"]))
    for row in document["baselines"]:
        if row["horizon"] == horizon:
            yield _line(_baseline(row))
    yield ""


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _model(row: Mapping[str, Any], ensemble: str) -> list[str]:
    name = f"**{row['model']}**" if row["model"] == ensemble else row["model"]
    gain = f"{number(row['gain'], sign=True)} ({interval(row['gain_low'], row['gain_high'])})"
    return [name, number(row["log_loss"]), gain, percent(row["accuracy"], 1), *_traded(row)]


def _traded(row: Mapping[str, Any]) -> list[str]:
    sharpe = number(row.get("sharpe"), 2)
    if row.get("sharpe") is not None:
        sharpe += f" ({interval(row['sharpe_low'], row['sharpe_high'], 2)})"
    return [count(row.get("trades")), percent(row["net_return"], sign=True), sharpe]


def _baseline(row: Mapping[str, Any]) -> list[str]:
    return [f"*{row['model']}*", number(row.get("log_loss")), "", "", *_traded(row)]


def _failed(row: Mapping[str, Any]) -> list[str]:
    return [row["model"], "failed", _error(row), "", "", "", ""]


def _error(row: Mapping[str, Any]) -> str:
    error = row.get("error") or {}
    return (
        f"{error.get('type', '')}: {error.get('message', '')}".strip(": ")
        .replace("|", "/")
        .replace("\n", " ")
    )


def _notes(document: Document) -> Iterator[str]:
    trials = document["trials"]
    of = tried(trials)
    yield (
        f"{many(trials['trials'], 'trial')} ({of}): the best Sharpe ratio of as many independent models without skill "
        f"would be about {number(trials['expected_best_sharpe_without_skill'], 1)}. Net returns are "
        "sums of per-trade returns after costs. The ensemble was chosen on development rows."
    )


def headline(document: Document) -> tuple[str, dict[str, float]]:
    """Say how each horizon's ensemble did, in words and as numbers for the KFP user interface."""
    parts, metrics = [], {}
    for horizon, details in document["horizons"].items():
        row = next(
            r
            for r in document["leaderboard"]
            if r["horizon"] == int(horizon) and r["model"] == details["ensemble"]
        )
        parts.append(
            f"h{horizon}: {row['model']} gains {number(row['gain'], sign=True)} over the prior "
            f"({interval(row['gain_low'], row['gain_high'])}), {row['trades']:,} trades, "
            f"net {percent(row['net_return'], sign=True)}"
        )
        for name in (
            "log_loss",
            "prior_log_loss",
            "gain",
            "gain_low",
            "gain_high",
            "accuracy",
            "net_return",
            "sharpe",
        ):
            if row[name] is not None:
                metrics[f"ensemble_{name}_h{horizon}"] = row[name]
    metrics["models"] = document["trials"]["models"]
    metrics["failed"] = len(document["failed"])
    return "locked test, " + "; ".join(parts), metrics
