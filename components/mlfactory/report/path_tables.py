"""The part of the page about combinatorial folds: what each model made on every path, as a distribution."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

from mlfactory.report.tables import cells, head, table
from mlfactory.report.text import NONE, interval, many, number, percent

Document = Mapping[str, Any]
_WIDTH: Final = 120
_HEIGHT: Final = 20


def paths(document: Document) -> str:
    """Write a card per horizon; nothing where folds hold every row out once."""
    if not document["paths"]:
        return ""
    cards = "".join(_card(horizon, told) for horizon, told in sorted(document["paths"].items(), key=_horizon))
    return (
        '<h2 id="paths">Combinatorial paths <small>not a result: development rows, folds that train on both sides'
        f"</small></h2>\n{cards}"
        '<p class="note">A path predicts every development row once, each by a fold that did not see it. Least, median '
        "and largest are over the paths, which share folds: independent histories would differ more. Trades follow the "
        "rule of the locked test, with expected payoffs of each fold&rsquo;s training rows; costs are included.</p>"
    )


def _horizon(entry: tuple[str, Any]) -> int:
    return int(entry[0])


def _card(horizon: str, told: Document) -> str:
    columns = head(
        ("model", ""),
        ("Sharpe on each path", ""),
        ("median", "number"),
        ("least … largest", "number"),
        ("deviation", "number"),
        ("above zero", "number"),
        ("net return", "number"),
        ("least … largest", "number"),
        ("worst drawdown", "number"),
        ("gain", "number"),
        ("least … largest", "number"),
    )
    size = (
        f"{many(told['paths'], 'path')} of {many(told['rows'], 'row')}, {many(told['sessions'], 'session')}"
    )
    return (
        f'<div class="card"><h3>Horizon {escape(horizon)} <span class="range">{size}</span></h3>'
        f"{table(columns, _rows(told))}</div>"
    )


def _rows(told: Document) -> Iterator[str]:
    shown = [value for row in told["models"] for value in row["sharpe"]["values"] if value is not None]
    reach = max((abs(value) for value in shown), default=0.0) or 1.0
    for row in told["models"]:
        ratio, net, gain = row["sharpe"], row["net_return"], row["gain"]
        values = [
            number(ratio["median"], 2),
            interval(ratio["least"], ratio["largest"], 2),
            number(ratio["std"], 2),
            f"{ratio['above_zero']} of {told['paths']}",
            percent(net["median"], sign=True),
            _percents(net["least"], net["largest"]),
            percent(row["max_drawdown"]["largest"]),
            number(gain["median"], sign=True),
            interval(gain["least"], gain["largest"]),
        ]
        yield f"<tr><td>{escape(row['model'])}</td><td>{_strip(ratio['values'], reach)}</td>{cells(values)}</tr>"


def _percents(low: Any, high: Any) -> str:
    return NONE if low is None else f"{percent(low, sign=True)} … {percent(high, sign=True)}"


def _strip(values: list[Any], reach: float) -> str:
    """Draw one dot per path on a line whose middle is zero."""
    middle, scale = _WIDTH / 2, (_WIDTH / 2 - 6) / reach
    dots = "".join(
        f'<circle class="dot {"above" if value > 0 else "below"}" cx="{middle + scale * value:.1f}" '
        f'cy="{_HEIGHT / 2:.0f}" r="3.5" fill-opacity="0.6"><title>{number(value, 2)}</title></circle>'
        for value in values
        if value is not None
    )
    return (
        f'<svg class="small" width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">'
        f'<line class="zero" x1="{middle:.0f}" y1="0" x2="{middle:.0f}" y2="{_HEIGHT}"/>{dots}</svg>'
    )
