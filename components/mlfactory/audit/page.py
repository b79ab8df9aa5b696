"""The audit as one self-contained HTML page."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any, Final

from mlfactory.audit.cuts import ABOUT
from mlfactory.audit.params import FAILED
from mlfactory.audit.verdicts import NOT_TESTED, PASSED, VERDICTS
from mlfactory.report.figures import Line, Mark, marked
from mlfactory.report.frame import page, tiles
from mlfactory.report.tables import cells, head, key, table
from mlfactory.report.text import NONE, count, many

Document = Mapping[str, Any]
Row = Mapping[str, Any]

MARKS: Final = {kind: f"m{k}" for k, kind in enumerate(ABOUT, start=1)}
"""class of the style sheet of each kind of cut"""
_BARS: Final = {PASSED: "passed", NOT_TESTED: "unsure", FAILED: "failed"}
_WORDS: Final = {PASSED: "good", NOT_TESTED: "range", FAILED: "bad"}
_LINKS: Final = (
    ("places", "Where it was corrupted"),
    ("summary", "By group"),
    ("columns", "Every column"),
    ("method", "Method"),
)


def render(document: Document) -> str:
    """Write the page of an audit."""
    symbol = document["facts"]["instrument"]["symbol"]
    parts = [
        _header(document),
        _tiles(document),
        _verdict(document),
        *_list(document, FAILED, "Failed"),
        *_list(document, NOT_TESTED, "Not tested"),
        _places(document),
        _summary(document),
        _columns(document),
        _method(document),
    ]
    return page(f"audit of {symbol}", parts)


def _header(document: Document) -> str:
    facts = document["facts"]
    links = [
        *(
            (verdict.replace(" ", "-"), verdict.capitalize())
            for verdict in (FAILED, NOT_TESTED)
            if document["counts"][verdict]
        ),
        *_LINKS,
    ]
    anchors = "".join(f'<a href="#{anchor}">{label}</a>' for anchor, label in links)
    first, last = (escape(facts[end].replace("+00:00", " UTC")) for end in ("first", "last"))
    return (
        f"<header><h1>Causality audit: {escape(facts['instrument']['symbol'])} "
        f"<small>{escape(facts['instrument']['description'])}</small></h1><p>{first} to {last}. No column may know "
        f"what comes after its row, nor where the file starts.</p><nav>{anchors}</nav></header>"
    )


def _tiles(document: Document) -> str:
    facts, counts = document["facts"], document["counts"]
    corrupted = sum(kind["cuts"] for kind in document["garbage"].values())
    kinds = sum(kind["cuts"] > 0 for kind in document["garbage"].values())
    fed = sum(row["rows"] for row in document["columns"])
    return tiles(
        [
            (
                "bars",
                count(facts["bars"]),
                f"of {facts['bar_minutes']} min, {many(facts['sessions'], 'session')}",
            ),
            ("columns", count(len(document["columns"])), f"{count(counts[PASSED])} passed"),
            ("failed", count(counts[FAILED]), f"{count(counts[NOT_TESTED])} not tested"),
            (
                "corrupted futures",
                count(corrupted),
                f"{many(len(document['cuts']), 'cut')}, {many(kinds, 'kind')} of garbage",
            ),
            ("fed the look-back alone", count(fed), "values, compared with all history"),
        ]
    )


def _verdict(document: Document) -> str:
    counts = document["counts"]
    failed, missing = counts[FAILED], counts[NOT_TESTED]
    if failed:
        word = f"{many(failed, 'column')} {'breaks' if failed == 1 else 'break'} causality."
    elif missing:
        word = f"No column breaks causality; {many(missing, 'column')} could not be tested."
    else:
        word = "Every column is causal."
    style = "below" if failed else "" if missing else "above"
    return (
        f'<div class="card verdict {style}"><p><b>{word}</b></p><p>{count(counts[PASSED])} of '
        f"{count(len(document['columns']))} columns kept every bit of their past whatever the future held, changed "
        "after the cut, and had the same value from their look-back alone.</p></div>"
    )


def _list(document: Document, verdict: str, title: str) -> Iterator[str]:
    rows = [row for row in document["columns"] if row["verdict"] == verdict]
    if rows:
        columns = head(("column", ""), ("stage", ""), ("group", ""), ("why", ""))
        told = (
            f"<tr><td><code>{escape(row['column'])}</code></td><td>{row['stage']}</td><td>{escape(row['group'])}</td>"
            f'<td class="wrap {_WORDS[verdict]}">{"<br>".join(map(escape, row["reasons"]))}</td></tr>'
            for row in rows
        )
        anchor = verdict.replace(" ", "-")
        yield f'<h2 id="{anchor}">{title}</h2>\n<div class="card">{table(columns, told)}</div>'


def _places(document: Document) -> str:
    cuts, close = document["cuts"], document["close"]
    line = Line("Close, logarithmic", close["minute"], close["price"], "three")
    marks = [
        Mark(cut["minute"], cut["close"], MARKS[cut["kind"]], f"{cut['when']} UTC, {cut['kind']}")
        for cut in cuts
    ]
    counted = Counter(cut["kind"] for cut in cuts)
    legend = key((MARKS[kind], f"{kind} ({counted[kind]})") for kind in ABOUT if counted[kind])
    kinds = table(
        head(("garbage", ""), ("from the cut on", ""), ("cuts", "number")),
        (
            f"<tr><td>{name}</td><td class='wrap'>{escape(kind['about'])}</td>{cells([count(kind['cuts'])])}</tr>"
            for name, kind in document["garbage"].items()
        ),
    )
    places = table(
        head(("cut", ""), ("where", ""), ("cuts", "number")),
        (
            f"<tr><td>{kind}</td><td class='wrap'>{escape(about)}</td>{cells([count(counted[kind])])}</tr>"
            for kind, about in ABOUT.items()
        ),
    )
    return (
        '<h2 id="places">Where the future was corrupted</h2>\n'
        f'<div class="card">{legend}{marked(line, marks)}</div>'
        f'<div class="grid"><div class="card">{kinds}</div><div class="card">{places}</div></div>'
    )


def _summary(document: Document) -> str:
    columns = head(
        ("stage", ""), ("group", ""), ("columns", "number"), ("passed", "number"), ("not tested", "number"),
        ("failed", "number"), ("longest look-back, bars", "number"), ("", ""),
    )  # fmt: skip
    rows = []
    for (stage, group), found in _groups(document):
        counts = Counter(row["verdict"] for row in found)
        longest = max((row["lookback"] or 0 for row in found), default=0)
        told = [count(len(found)), *(count(counts[v]) for v in (PASSED, NOT_TESTED, FAILED)), count(longest)]
        bar = "".join(
            f'<span class="{_BARS[v]}" style="width:{100 * counts[v] / len(found):.2f}%"></span>'
            for v in _BARS
        )
        rows.append(
            f'<tr><td>{stage}</td><td>{escape(group)}</td>{cells(told)}<td><div class="bar slim">{bar}</div></td></tr>'
        )
    return f'<h2 id="summary">By group</h2>\n<div class="card">{table(columns, rows)}</div>'


def _groups(document: Document) -> list[tuple[tuple[str, str], list[Row]]]:
    def place(row: Row) -> tuple[str, str]:
        return row["stage"], row["group"]

    stages = list(dict.fromkeys(row["stage"] for row in document["columns"]))
    ordered = sorted(document["columns"], key=lambda row: stages.index(row["stage"]))
    return [(where, list(found)) for where, found in groupby(ordered, place)]


def _columns(document: Document) -> str:
    told = "".join(_detail(stage, group, rows) for (stage, group), rows in _groups(document))
    note = (
        '<p class="note">Cuts: those before which the column had values that were compared bit for bit. Differed: '
        "those after which some garbage changed it; a column that never differs is not tested. Rows: computed from the "
        "look-back alone. Error: the largest of those, relative to the column's recent scale; 0 is bit for bit.</p>"
    )
    return f'<h2 id="columns">Every column</h2>\n<div class="card">{told}{note}</div>'


def _detail(stage: str, group: str, rows: Sequence[Row]) -> str:
    columns = head(
        ("column", ""), ("look-back, bars", "number"), ("cuts", "number"), ("differed", "number"), ("leaks", "number"),
        ("rows", "number"), ("error", "number"), ("verdict", ""),
    )  # fmt: skip
    counts = Counter(row["verdict"] for row in rows)
    opened = " open" if counts[FAILED] else ""
    worst = next(verdict for verdict in VERDICTS if counts[verdict])
    told = ", ".join(f"{counts[v]} {v}" for v in VERDICTS if counts[v])
    return (
        f'<details{opened}><summary>{stage}: {escape(group)} <small class="{_WORDS[worst]}">{told}</small></summary>'
        f"{table(columns, map(_line, rows))}</details>"
    )


def _line(row: Row) -> str:
    lookback = count(row["lookback"]) if row["lookback"] else "unbounded"
    error = NONE if not row["rows"] else "0" if row["worst_error"] == 0 else _error(row["worst_error"])
    numbers = [lookback, *(count(row[k]) for k in ("cuts", "differed", "leaks", "rows")), error]
    why = f' title="{escape("; ".join(row["reasons"]))}"' if row["reasons"] else ""
    return (
        f"<tr><td><code>{escape(row['column'])}</code></td>{cells(numbers)}"
        f'<td class="{_WORDS[row["verdict"]]}"{why}>{row["verdict"]}</td></tr>'
    )


def _error(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.1e}".replace("-", "\N{MINUS SIGN}")


def _method(document: Document) -> str:
    notes = "".join(f"<li>{escape(note)}</li>" for note in document["notes"])
    off = ", ".join(document["switched_off"])
    listed = f'<p class="note">Switched off: {escape(off)}.</p>' if off else ""
    return (
        '<h2 id="method">Method</h2>\n<div class="card"><p>At each cut every bar from the cut on is corrupted, in '
        "every way in turn, and the columns are computed again. Rows that were final before the cut must keep every "
        "bit: a feature is final when its bar closes, a regime one bar earlier, a label when both of its trades have "
        "ended, a weight when every span that shares a bar with its own has. Then rows are computed from their "
        "declared look-back alone, and stretches around the cuts alone, and compared with the whole series.</p>"
        f"<ul>{notes}</ul>{listed}</div>"
    )
