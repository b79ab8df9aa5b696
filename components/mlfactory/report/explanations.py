"""The part of the page about what each model looks at: columns, variables, timeframes and steps, by their shares."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import pairwise, product
from typing import Any, Final

from mlfactory.report.tables import shares
from mlfactory.report.text import many

Document = Mapping[str, Any]
IMPORTANCE: Final = "feature importance"
_SHOWN: Final = 10
"""shares listed per model"""
_WIDEST: Final = 10
"""steps of a window that are listed one by one; longer windows are cut into ten parts"""
_PARTS: Final = 10
_TEXTS: Final = {
    IMPORTANCE: "share of what its trees gained, or of its coefficients, by column",
    "variable weights": "mean weight of each variable in the selection network",
    "timeframe weights": "mean weight of each timeframe in the fusion",
    "attention to steps": "mean attention that the last step pays to each bar of the window",
}


def describe(fits: Sequence[Document]) -> list[dict[str, Any]]:
    """Name the shares that fitted models state; JSON values.

    Args:
        fits: ``fit`` documents of all jobs; those that say nothing have no part in it.

    Returns:
        per fit and quantity: horizon, model, quantity, and ``shares`` with a name each, in their own order
    """
    found = []
    for fit in sorted(fits, key=lambda fit: (fit["horizon"], fit["model"])):
        for quantity, named in _quantities(fit):
            about = {"horizon": fit["horizon"], "model": fit["model"], "quantity": quantity}
            found.append({**about, "shares": [{"name": name, "share": share} for name, share in named]})
    return found


def _quantities(fit: Document) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    if importance := fit.get("feature_importance"):
        yield IMPORTANCE, sorted(importance.items(), key=lambda item: (-item[1], item[0]))
    told = fit.get("explanation") or {}
    for quantity in sorted(set(told) - {"columns", "timeframes", "steps"}):
        values = told[quantity]
        names = _names(quantity, told)
        if len(names) != len(values):  # a quantity that this module does not know
            names = [str(number) for number in range(len(values))]
        yield quantity, list(zip(names, values, strict=True))


def _names(quantity: str, told: Document) -> list[str]:
    timeframes = [f"{minutes} min" for minutes in told["timeframes"]]
    if quantity == "timeframe weights":
        return timeframes
    if quantity == "variable weights":
        return [" ".join(pair) for pair in product(timeframes, told["columns"])]
    if quantity == "attention to steps":
        return [f"{many(back, 'bar')} back" for back in range(told["steps"] - 1, 0, -1)] + ["last bar"]
    return []


def explanations(document: Document) -> str:
    """Write the cards of all models that say what they look at."""
    cards = "".join(map(_card, document["explanations"]))
    heading = '<h2 id="explanations">What the models look at</h2>\n'
    if not cards:
        return f'{heading}<div class="card"><p class="note">No model of this run says what it looks at.</p></div>'
    return (
        f'{heading}<div class="grid">{cards}</div>\n'
        '<p class="note">Of each model fitted on all development rows. Shares say what a model uses, not what causes '
        "returns, and correlated columns divide a share among themselves.</p>"
    )


def _card(told: Document) -> str:
    ordered = told["quantity"] == "attention to steps"
    entries = [(row["name"], row["share"]) for row in told["shares"]]
    if not ordered:
        entries = sorted(entries, key=lambda entry: -entry[1])[:_SHOWN]
    elif len(entries) > _WIDEST:
        entries = _grouped(entries)
    title = f"{escape(told['model'])}, horizon {told['horizon']}"
    text = _TEXTS.get(told["quantity"], escape(told["quantity"]))
    return f'<div class="card"><h3>{title}</h3><p class="note">{text}</p>{shares(entries)}</div>'


def _grouped(entries: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """Sum shares of neighbouring steps, oldest first."""
    steps = len(entries)
    edges = [round(part * steps / _PARTS) for part in range(_PARTS + 1)]
    return [
        (f"{steps - 1 - first} to {steps - last} bars back", sum(share for _, share in entries[first:last]))
        for first, last in pairwise(edges)
    ]
