"""The part of the page about what models are given: bytes, selected columns, and tuned hyper-parameters."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

from mlfactory.report.tables import cells, head, table
from mlfactory.report.text import count, interval, many, mebibytes, number

Document = Mapping[str, Any]
_METHODS: Final = {"mutual_information": "mutual information", "permutation": "permutation importance"}
_SHOWN: Final = 12
"""columns listed per model"""


def describe(fits: Sequence[Document]) -> dict[str, Any]:
    """Sum up what the fits read; JSON values.

    Args:
        fits: ``fit`` documents, failed ones included: they read their inputs too.

    Returns:
        ``families``: per family its sets, columns, jobs and bytes; ``selection``: per fit with selection of columns;
        ``tuning``: per fit with tuned hyper-parameters
    """
    families: dict[str, dict[str, Any]] = {}
    for fit in fits:
        if "read_bytes" not in fit:
            continue
        row = families.setdefault(
            fit["family"], {"family": fit["family"], "sets": {}, "jobs": 0, **fit["read_bytes"]}
        )
        row["sets"][fit["feature_set"]] = fit["available_columns"]
        row["jobs"] += 1
    chosen = [fit for fit in fits if fit["folds"] and fit["folds"][0].get("columns")]
    tuned = [fit for fit in fits if fit["folds"] and fit["folds"][-1].get("tuned")]
    return {
        "families": list(families.values()),
        "selection": [_selected(fit) for fit in chosen],
        "tuning": [_tuned(fit) for fit in tuned],
    }


def _tuned(fit: Document) -> dict[str, Any]:
    """Sum up the search of the refit, and how far the settings of the folds helped on the whole."""
    searches = [fold["tuned"] for fold in fit["folds"]]
    gains = [search["first_log_loss"] - search["log_loss"] for search in searches]
    return {
        "horizon": fit["horizon"],
        "model": fit["model"],
        **searches[-1],
        "gain_per_fold": sum(gains) / len(gains),
    }


def _selected(fit: Document) -> dict[str, Any]:
    folds = [fold["columns"] for fold in fit["folds"][:-1]]  # the last one is the refit
    counted = Counter(name for columns in folds for name in columns)
    ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return {
        "horizon": fit["horizon"],
        "model": fit["model"],
        "method": fit["selection"]["method"],
        "available": fit["available_columns"],
        "kept": len(fit["folds"][-1]["columns"]),
        "folds": len(folds),
        "stability": fit["stability"],
        "comparison": fit["comparison"],
        "chosen": [{"column": name, "folds": folds} for name, folds in ordered],
        "refit": list(fit["folds"][-1]["columns"]),
    }


def model_inputs(document: Document) -> str:
    """Write the tables of bytes per family and, where columns were selected, of what that is worth."""
    told = document["model_inputs"]
    columns = head(
        ("family", ""),
        ("feature sets (columns)", ""),
        ("matrix", "number"),
        ("index", "number"),
        ("jobs", "number"),
        ("downloaded in all", "number"),
    )
    return (
        '<h2 id="reading">What the models read</h2>\n'
        f'<div class="card">{table(columns, map(_family, told["families"]))}<p class="note">Every training job '
        "downloads its family&rsquo;s matrix and the index whole, each model reading the columns of its own feature "
        f"set.</p></div>{_selection(told['selection'])}{_tuning(told['tuning'])}"
    )


def _family(row: Document) -> str:
    sets = ", ".join(f"{escape(name)} ({count(columns)})" for name, columns in row["sets"].items())
    values = [
        mebibytes(row["matrix"]),
        mebibytes(row["index"]),
        count(row["jobs"]),
        mebibytes(row["jobs"] * (row["matrix"] + row["index"])),
    ]
    return f"<tr><td>{escape(row['family'])}</td><td>{sets}</td>{cells(values)}</tr>"


def _selection(rows: Sequence[Document]) -> str:
    if not rows:
        return ""
    columns = head(
        ("horizon", "number"),
        ("model", ""),
        ("ranked by", ""),
        ("kept", "number"),
        ("stability", "number"),
        ("log loss with", "number"),
        ("without", "number"),
        ("gain (95&nbsp;%)", "number"),
    )
    details = "".join(_columns(row) for row in rows)
    return (
        '<div class="card"><h3>Selection of columns, with and without</h3>'
        f"{table(columns, _compared(rows))}"
        '<p class="note">Columns are ranked on the training rows of each fold alone, in purged folds of their own. '
        "Gain: log loss without selection less log loss with it, on the same held-out development rows of the same "
        "folds; the interval resamples blocks of rows. Stability: agreement of the folds&rsquo; choices, 1 where all "
        "are equal, about 0 where they might be drawn at random (Nogueira, Sechidis and Brown 2018).</p>"
        f"{details}</div>"
    )


def _tuning(rows: Sequence[Document]) -> str:
    if not rows:
        return ""
    columns = head(
        ("horizon", "number"),
        ("model", ""),
        ("settings tried", "number"),
        ("stopped early", "number"),
        ("inner log loss, first", "number"),
        ("best", "number"),
        ("mean gain", "number"),
        ("settings of the refit", ""),
    )
    return (
        f'<div class="card"><h3>Tuned hyper-parameters</h3>{table(columns, map(_search, rows))}'
        '<p class="note">Every fold searches for itself, on purged folds of its own training rows; the log losses are '
        "those of the refit&rsquo;s search. Mean gain: of the best setting over the first in the search of each fold. "
        "Held-out rows will show less, because the best of many is chosen.</p></div>"
    )


def _search(row: Document) -> str:
    settings = ", ".join(
        f"<code>{escape(name)}</code>&nbsp;{value:.4g}" for name, value in row["params"].items()
    )
    values = [
        count(row["trials"]),
        count(row["pruned"]),
        number(row["first_log_loss"]),
        number(row["log_loss"]),
        number(row["gain_per_fold"], sign=True),
    ]
    return (
        f"<tr>{cells([str(row['horizon'])])}<td>{escape(row['model'])}</td>{cells(values)}"
        f'<td class="wrap">{settings}</td></tr>'
    )


def _compared(rows: Sequence[Document]) -> Iterator[str]:
    for row in rows:
        found = row["comparison"] or {}
        gain = number(found.get("gain"), sign=True)
        if found:
            ends = interval(found["gain_low"], found["gain_high"])
            gain += f' <span class="range">({ends})</span>'
        values = [
            f"{count(row['kept'])} of {count(row['available'])}",
            number(row["stability"], 2),
            number(found.get("log_loss")),
            number(found.get("log_loss_without")),
            gain,
        ]
        yield (
            f"<tr>{cells([str(row['horizon'])])}<td>{escape(row['model'])}</td><td>{_METHODS[row['method']]}</td>"
            f"{cells(values)}</tr>"
        )


def _columns(row: Document) -> str:
    """List the columns chosen most often, with the folds that chose them."""
    shown = ", ".join(
        f"<code>{escape(one['column'])}</code> {one['folds']}" for one in row["chosen"][:_SHOWN]
    )
    rest = len(row["chosen"]) - _SHOWN
    more = f" and {many(rest, 'other')}" if rest > 0 else ""
    return (
        f'<p class="note"><b>{escape(row["model"])}, horizon {row["horizon"]}</b>: folds, of {row["folds"]}, that '
        f"chose each column: {shown}{more}.</p>"
    )
