"""The part of the page about one horizon of the locked test."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

from mlfactory.common.predictions import CLASSES, FAILED
from mlfactory.report.figures import Line, equity, reliability, whisker
from mlfactory.report.tables import cells, error, head, key, of_horizon, shares, table
from mlfactory.report.text import NONE, count, day, interval, many, number, percent

_LINES: Final = ("one", "two", "three")
Document = Mapping[str, Any]
Row = Mapping[str, Any]


def locked_test(document: Document, horizon: str) -> str:
    """Write one horizon: leaderboard, equity, calibration, what came true, and what the best booster uses."""
    details = document["horizons"][horizon]
    span = document["facts"]["horizons"][horizon]["test"]
    period = f"{day(span[0])} to {day(span[1])}"
    truth = f"<h3>What came true (rows) and what it said (columns)</h3>{_confusion(details)}"
    balance = f'<h3 class="second">Class balance</h3>{_balance(details)}'
    cards = [
        f'<div class="card wide"><h3>Equity after costs, one position at a time</h3>{_equity(details)}</div>',
        f'<div class="card"><h3>Is {escape(details["ensemble"])} calibrated?</h3>{_reliability(details)}</div>',
        f'<div class="card">{truth}{balance}</div>',
    ]
    if importance := document["feature_importance"].get(horizon):
        cards.append(_importance(importance))
    return (
        f'<h2 id="h{horizon}">Locked test, horizon {horizon} bars <small>{period}, {many(details["rows"], "row")}, '
        f"{many(details['sessions'], 'session')}</small></h2>\n"
        f'<div class="card">{_leaderboard(document, horizon)}{_leaderboard_note(details)}</div>\n'
        f'<div class="grid">{"".join(cards)}</div>'
    )


def _leaderboard(document: Document, horizon: str) -> str:
    rows = of_horizon(document["leaderboard"], horizon)
    scored = [row for row in rows if row["status"] != FAILED]
    ends = [row[end] for row in scored for end in ("gain_low_999", "gain_high_999")]
    limits = (min(*ends, 0.0), max(*ends, 0.0))
    chosen = document["horizons"][horizon]["ensemble"]
    columns = head(
        ("model", ""),
        ("log loss", "number"),
        ("gain over prior", "number"),
        ("95&nbsp;% interval", ""),
        ("accuracy", "number"),
        ("trades", "number"),
        ("hit rate", "number"),
        ("net return", "number"),
        ("max drawdown", "number"),
        ("Sharpe (95&nbsp;%)", "number"),
    )
    body = [_model(row, limits, chosen) for row in scored]
    body += [_failed_row(row) for row in rows if row["status"] == FAILED]
    baselines = of_horizon(document["baselines"], horizon)
    body += [_baseline(row, first=i == 0) for i, row in enumerate(baselines)]
    return table(columns, body)


def _model(row: Row, limits: tuple[float, float], chosen: str) -> str:
    style = "good" if row["gain_low"] > 0 else "bad" if row["gain_high"] < 0 else ""
    name = f'{escape(row["model"])} <span class="tag">{escape(row["family"])}</span>'
    return (
        f'<tr class="{"chosen" if row["model"] == chosen else ""}"><td>{name}</td>'
        + cells([number(row["log_loss"]), f'<span class="{style}">{number(row["gain"], sign=True)}</span>'])
        + f"<td>{whisker(row['gain_low'], row['gain'], row['gain_high'], limits)}</td>"
        + cells([percent(row["accuracy"], 1), *_traded(row)])
        + "</tr>"
    )


def _traded(row: Row) -> Iterator[str]:
    yield count(row["trades"])
    yield percent(row["hit_rate"], 1)
    yield percent(row["net_return"], sign=True)
    yield percent(row["max_drawdown"])
    ends = f'<span class="range">({interval(row["sharpe_low"], row["sharpe_high"], 1)})</span>'
    yield NONE if row["sharpe"] is None else f"{number(row['sharpe'], 2)} {ends}"


def _failed_row(row: Row) -> str:
    reason = f'<td colspan="9" class="wrap bad">failed: {error(row)}</td>'
    return f'<tr class="base"><td>{escape(row["model"])}</td>{reason}</tr>'


def _baseline(row: Row, *, first: bool) -> str:
    name = row["model"].replace("_", " ")
    values = _shuffled(row) if row["model"] == "shuffled_labels" else _rule(row)
    return f'<tr class="base{" rule" if first else ""}"><td>{name}</td>{values}</tr>'


def _rule(row: Row) -> str:
    return f"{cells([number(row['log_loss']), ''])}<td></td>{cells(['', *_traded(row)])}"


def _shuffled(row: Row) -> str:
    loss = f"log loss {interval(row['log_loss_low'], row['log_loss_high'])}"
    net = f"net return {percent(row['net_return_low'])} … {percent(row['net_return_high'])}"
    return (
        f"{cells([number(row['log_loss'])])}"
        f'<td colspan="5"><span class="range">95&nbsp;% of shuffles: {loss}, {net}</span></td>'
        f"{cells([percent(row['net_return'], sign=True), '', ''])}"
    )


def _leaderboard_note(details: Row) -> str:
    return (
        '<p class="note">Gain: the prior&rsquo;s log loss minus the model&rsquo;s, in nats per row; the prior is the '
        "class frequencies of development rows. Intervals: stationary block bootstrap, mean block "
        f"{details['block_rows']} rows. The shaded ensemble was chosen on development rows. Net return: sum of "
        "per-trade returns on the entry price, costs included. Sharpe: of the sums per session, "
        f"{many(details['sessions'], 'session')} in this test, {number(details['sessions_per_year'], 0)} a year. "
        "Shuffled labels: the ensemble&rsquo;s predictions against outcomes in shuffled blocks, median.</p>"
    )


def _equity(details: Row) -> str:
    names = (details["ensemble"], details["best_base"], "always_long")
    curves = [details["equity"][name] for name in names]
    shown = [name.replace("always_long", "always long") for name in names]
    lines = [
        Line(name, curve["minute"], curve["net_return"], style)
        for name, curve, style in zip(shown, curves, _LINES, strict=True)
    ]
    entries = [(line.style, f"{escape(line.name)}, {percent(line.y[-1], sign=True)}") for line in lines]
    return key(entries) + equity(lines[:2], lines[2:])


def _reliability(details: Row) -> str:
    curves = details["calibration"]
    lines = [Line(name, curves[name]["stated"], curves[name]["observed"], name) for name in CLASSES]
    entries = [(name, f"{name}, error {percent(curves[name]['error'], 1)}") for name in CLASSES]
    return key(entries) + reliability(lines)


def _confusion(details: Row) -> str:
    said = "".join(f"<th>{name}</th>" for name in CLASSES)
    rows = []
    for name, counts in zip(CLASSES, details["confusion"], strict=True):
        total = sum(counts) or 1
        shaded = (
            f'<td style="background:color-mix(in srgb, var(--blue) {round(70 * n / total)}%, transparent)">'
            f'{count(n)}<br><span class="range">{percent(n / total, 0)}</span></td>'
            for n in counts
        )
        rows.append(f"<tr><th>{name}</th>{''.join(shaded)}</tr>")
    body = "".join(rows)
    return f'<table class="confusion"><thead><tr><th></th>{said}</tr></thead><tbody>{body}</tbody></table>'


def _balance(details: Row) -> str:
    parts = []
    for part, name in (("development", "development rows"), ("test", "locked test")):
        shares = details["class_balance"][part]
        bars = (
            f'<span class="{c}" style="width:{100 * shares[c]:.2f}%">{c} {percent(shares[c], 1)}</span>'
            for c in CLASSES
        )
        parts.append(
            f'<span class="range">{name}, {count(shares["rows"])}</span><div class="bar">{"".join(bars)}</div>'
        )
    return "".join(parts)


def _importance(importance: Row) -> str:
    shown = [(item["feature"], item["share"]) for item in importance["share"][:15]]
    title = f"What {escape(importance['model'])} leans on"
    return f'<div class="card wide"><h3>{title}</h3>{shares(shown)}</div>'
