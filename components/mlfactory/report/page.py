"""The report as one self-contained HTML page: no script, no request, readable in light and dark."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from mlfactory.report.explanations import explanations
from mlfactory.report.frame import page, tiles
from mlfactory.report.locked_test import locked_test
from mlfactory.report.model_inputs import model_inputs
from mlfactory.report.notes import development, failures, method
from mlfactory.report.path_tables import paths
from mlfactory.report.regimes import regimes
from mlfactory.report.tables import ensemble
from mlfactory.report.text import NONE, count, interval, many, number, percent

RESOURCES: Final = "<!-- resources -->"
"""Where ``mlfactory run`` puts time and memory per stage: they vary, so the artifact itself never holds them."""
_LINKS: Final = (
    ("development", "Development rows"),
    ("regimes", "Regimes"),
    ("reading", "What models read"),
    ("explanations", "What models look at"),
    ("method", "Method"),
    ("resources", "Time and memory"),
    ("inputs", "Inputs"),
)
Document = Mapping[str, Any]


def render(document: Document) -> str:
    """Write the page of a ``report.json``."""
    horizons = sorted(document["horizons"], key=int)
    parts = [
        _header(document, horizons),
        _tiles(document),
        *(_verdict(document, horizon) for horizon in horizons),
        *(locked_test(document, horizon) for horizon in horizons),
        development(document),
        paths(document),
        failures(document),
        regimes(document),
        model_inputs(document),
        explanations(document),
        method(document),
        f'<h2 id="resources">Time and memory</h2>\n<div class="card scroll">{RESOURCES}</div>',
        _provenance(document),
    ]
    return page(document["facts"]["instrument"]["symbol"], parts)


def _header(document: Document, horizons: Sequence[str]) -> str:
    facts, instrument = document["facts"], document["facts"]["instrument"]
    links = [(f"h{horizon}", f"Horizon {horizon}") for horizon in horizons] + list(_LINKS)
    if document["paths"]:
        links.insert(len(horizons) + 1, ("paths", "Paths"))
    anchors = "".join(f'<a href="#{anchor}">{label}</a>' for anchor, label in links)
    return (
        f"<header><h1>ML Factory: {escape(instrument['symbol'])} <small>{escape(instrument['description'])}</small>"
        f"</h1><p>{_moment(facts['first'])} to {_moment(facts['last'])}. Results are those of the locked test segment."
        f"</p><nav>{anchors}</nav></header>"
    )


def _tiles(document: Document) -> str:
    facts, contract, trials = document["facts"], document["facts"]["instrument"], document["trials"]
    fills = 2 * (contract["slippage_ticks"] + contract["half_spread_ticks"])
    ticks = fills + contract["commission_ticks"]
    money = f"{number(ticks * contract['tick_value'], 2)} {escape(contract['currency'])}"
    entries = [
        (
            "bars",
            count(facts["bars"]),
            f"of {facts['bar_minutes']} min, {many(facts['sessions'], 'session')}",
        ),
        (
            "rows after warm-up",
            count(facts["rows"]),
            f"{count(facts['events'])} sampled, {many(facts['folds'], 'fold')}",
        ),
        (
            "models",
            count(trials["models"]),
            f"{many(trials['trials'], 'trial')}, {len(document['failed'])} failed",
        ),
        ("costs", f"{number(ticks, 2)} ticks", f"{money} a contract and round trip"),
    ]
    return tiles(entries)


def _moment(text: str) -> str:
    return escape(text.replace("+00:00", " UTC")) if text else NONE


def _verdict(document: Document, horizon: str) -> str:
    """Say in words whether the ensemble beat the prior, and what its trades made."""
    row, details = ensemble(document, horizon), document["horizons"][horizon]
    above, below = row["gain_low"] > 0, row["gain_high"] < 0
    word = "knows more than" if above else "is worse than" if below else "cannot be told from"
    sure = row["gain_low_999"] > 0 or row["gain_high_999"] < 0
    ends = f"{interval(row['gain_low'], row['gain_high'])} (95&nbsp;%), "
    ends += f"{interval(row['gain_low_999'], row['gain_high_999'])} (99.9&nbsp;%)"
    sharpe = f"Sharpe {number(row['sharpe'], 2)} ({interval(row['sharpe_low'], row['sharpe_high'], 2)})"
    trades = (
        f"{many(row['trades'], 'trade')} after costs: net {percent(row['net_return'], sign=True)}, {sharpe}."
        if row["trades"]
        else "It takes no trade: no expected return exceeds the costs."
    )
    return (
        f'<div class="card verdict {"above" if above else "below" if below else ""}"><p><b>Horizon {horizon}: '
        f"{escape(row['model'])} {word} the prior.</b> Log loss {number(row['log_loss'])} against "
        f"{number(row['prior_log_loss'])} on {many(details['rows'], 'row')}; gain {number(row['gain'], sign=True)}, "
        f"{ends}: the 95&nbsp;% interval {'excludes' if above or below else 'includes'} zero, the 99.9&nbsp;% interval "
        f"{'excludes' if sure else 'includes'} it.</p><p>{trades}</p></div>"
    )


def _provenance(document: Document) -> str:
    entries = [
        *document["inputs"].items(),
        ("code", document["code"]),
        ("schema version", document["schema_version"]),
    ]
    items = "".join(
        f"<dt>{escape(name)}</dt><dd><code>{escape(str(value))}</code></dd>" for name, value in entries
    )
    note = '<p class="note">SHA-256 of every artifact that this report was made of.</p>'
    return f'<h2 id="inputs">Inputs</h2>\n<div class="card"><dl>{items}</dl>{note}</div>'
