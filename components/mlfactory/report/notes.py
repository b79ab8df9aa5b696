"""The parts of the page below the test: scores on development rows, failed models, and how to read it all."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

from mlfactory.report.tables import cells, error, head, table, tried
from mlfactory.report.text import count, interval, number, percent

Document = Mapping[str, Any]
_SCHEMES: Final = {
    "kfold": ("K-fold", "train before and after the rows they predict, as live trading never can"),
    "walk_forward": ("Walk-forward", "train on what came before the rows they predict"),
    "combinatorial": (
        "Combinatorial folds",
        "train before and after the rows they predict; a row&rsquo;s loss is the mean over its folds",
    ),
}
"""Per scheme of the dataset stage: its name, and what its folds do."""


def development(document: Document) -> str:
    """Write the scores on development rows, marked as what they are."""
    name, nature = _SCHEMES[document["facts"]["scheme"]]
    columns = head(
        ("horizon", "number"),
        ("model", ""),
        ("log loss", "number"),
        ("prior", "number"),
        ("gain (95&nbsp;%)", "number"),
        ("accuracy", "number"),
        ("rows", "number"),
        ("rows lost", "number"),
    )
    return (
        f'<h2 id="development">{name} on development rows <small>not a result: it chose the ensemble and the best '
        f'base model</small></h2>\n<div class="card">{table(columns, _development_rows(document))}'
        f'<p class="note">Out-of-fold predictions of purged and embargoed folds that {nature}. The prior of a row is '
        "the class frequencies of its fold&rsquo;s training rows. Rows lost: predicted by the model, but not by every "
        "other one.</p></div>"
    )


def _development_rows(document: Document) -> Iterator[str]:
    lost = {(row["horizon"], row["model"]): row["lost"] for row in document["loss_of_rows"]}
    for row in document["development_ranking"]:
        ends = f'<span class="range">({interval(row["gain_low"], row["gain_high"])})</span>'
        values = [
            number(row["log_loss"]),
            number(row["prior_log_loss"]),
            f"{number(row['gain'], sign=True)} {ends}",
            percent(row["accuracy"], 1),
            count(row["n"]),
            count(lost.get((row["horizon"], row["model"]))),
        ]
        yield f"<tr>{cells([str(row['horizon'])])}<td>{escape(row['model'])}</td>{cells(values)}</tr>"


def failures(document: Document) -> str:
    """List the models whose fit ended in an error; nothing where there is none."""
    if not document["failed"]:
        return ""
    columns = head(("horizon", "number"), ("model", ""), ("error", ""))
    rows = (
        f"<tr>{cells([str(row['horizon'])])}<td>{escape(row['model'])}</td>"
        f'<td class="wrap bad">{error(row)}</td></tr>'
        for row in document["failed"]
    )
    return f'<h2 id="failed">Failed models</h2>\n<div class="card">{table(columns, rows)}</div>'


def method(document: Document) -> str:
    """Say how the numbers were made and how far they can be trusted."""
    entries = [*_METHOD, ("Many trials", _trials(document["trials"]))]
    if advice := document["facts"]["advice"]:
        entries.append(("About the bars", " ".join(escape(str(text)) for text in advice)))
    items = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in entries)
    return f'<h2 id="method">How to read this</h2>\n<div class="card"><dl>{items}</dl></div>'


_METHOD = (
    (
        "Locked test",
        (
            "The last stretch of the series. Nothing was fitted, chosen, calibrated or stopped early on it; only this "
            "report reads its outcomes."
        ),
    ),
    (
        "Decision",
        (
            "Expected net return of the long and of the short trade: the model&rsquo;s probabilities times the mean "
            "net return per class on development rows. The larger one is traded if it is positive, and the next trade "
            "waits until this one has left the market."
        ),
    ),
    (
        "Costs",
        "Commission, slippage and half spread on both fills, for long and short alike, are in every net return.",
    ),
)


def _trials(trials: Mapping[str, Any]) -> str:
    best = number(trials["expected_best_sharpe_without_skill"], 1)
    of = tried(trials)
    return (
        f"{trials['trials']} ({of}). The best Sharpe ratio of as "
        f"many independent models without skill would be about {best} on a test of this length, where one standard "
        f"error is {number(trials['sharpe_standard_error'], 1)}. Gains above zero: {trials['gains_above_zero_95']} at "
        f"95&nbsp;% (by luck alone about {number(trials['expected_above_zero_95_by_luck'], 1)}), "
        f"{trials['gains_above_zero_999']} at 99.9&nbsp;%."
    )
