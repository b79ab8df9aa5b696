"""The part of the page about regimes: how often each is held, and what rows would hold had they seen their own bar."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

from mlfactory.report.tables import cells, head, table
from mlfactory.report.text import many, number, percent

Document = Mapping[str, Any]
_TITLES: Final = {
    "regime_volatility": "Volatility",
    "regime_trend": "Trend",
    "regime_structure": "Structure",
    "hmm_state": "Hidden Markov model",
}
_COLOURS: Final = ("short", "flat", "long", "fourth")
_ENDS: Final = (("included", "own bar included"), ("excluded", "own bar excluded, as served"))


def regimes(document: Document) -> str:
    """Write a card per regime: shares of its states with the row's own bar and without it."""
    told = document["regimes"]
    cards = "".join(_card(_TITLES[name], told[name]) for name in sorted(told, key=list(_TITLES).index))
    return (
        '<h2 id="regimes">Regimes <small>strictly before each bar</small></h2>\n'
        f'<div class="grid">{cards}</div>\n'
        '<p class="note">A row is served the regime of the bar before it. Included: the same model and windows, '
        "one bar further, which no row sees. Rows that differ are those whose own bar would have changed their "
        "regime: what a feature without the lag would have peeked at. Hidden states are numbered by the variance of "
        "returns, 0 the calmest.</p>"
    )


def _card(title: str, told: Document) -> str:
    columns = head(
        ("state", ""),
        ("own bar included", "number"),
        ("own bar excluded", "number"),
        ("difference", "number"),
        ("mean stay, bars", "number"),
    )
    differs = f"<b>{percent(told['differs'])}</b> of {many(told['rows'], 'row')} differ"
    return (
        f'<div class="card"><h3>{escape(title)}</h3>{"".join(_bars(told))}'
        f'{table(columns, _rows(told))}<p class="note">{differs}.</p></div>'
    )


def _bars(told: Document) -> Iterator[str]:
    for end, name in _ENDS:
        parts = (
            f'<span class="{style}" style="width:{100 * share:.2f}%">{escape(state)}</span>'
            for state, share, style in zip(told["states"], told[end], _COLOURS, strict=False)
        )
        yield f'<span class="range">{name}</span><div class="bar">{"".join(parts)}</div>'


def _rows(told: Document) -> Iterator[str]:
    values = zip(*(told[key] for key in ("states", "included", "excluded", "mean_stay_bars")), strict=True)
    for state, included, excluded, stay in values:
        shares = [percent(included), percent(excluded), percent(included - excluded, sign=True)]
        yield f"<tr><td>{escape(state)}</td>{cells([*shares, number(stay, 1)])}</tr>"
