"""Pieces of tables that every part of the page uses."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from mlfactory.report.text import many, percent

Row = Mapping[str, Any]


def head(*columns: tuple[str, str]) -> str:
    """Write the head of a table; each column has a title and a class of the style sheet, or none."""
    cells = (f'<th class="{style}">{name}</th>' if style else f"<th>{name}</th>" for name, style in columns)
    return f"<thead><tr>{''.join(cells)}</tr></thead>"


def table(columns: str, rows: Iterable[str]) -> str:
    """Write a table that scrolls sideways where the screen is narrow."""
    return f'<div class="scroll"><table>{columns}<tbody>{"".join(rows)}</tbody></table></div>'


def cells(values: Iterable[str]) -> str:
    """Write cells that are aligned to the right."""
    return "".join(f'<td class="number">{value}</td>' for value in values)


def key(entries: Iterable[tuple[str, str]]) -> str:
    """Write the key of a figure: a class of the style sheet and a text for each line."""
    items = (f'<span><i class="{style}"></i>{text}</span>' for style, text in entries)
    return f'<div class="key">{"".join(items)}</div>'


def shares(entries: Sequence[tuple[str, float]]) -> str:
    """Write names with a bar and a percentage each; the longest bar is as wide as there is room."""
    top = max((share for _, share in entries), default=0.0) or 1.0
    rows = (
        f'<span title="{escape(name)}">{escape(name)}</span>'
        f'<div style="width:{100 * share / top:.1f}%"></div><b>{percent(share, 1)}</b>'
        for name, share in entries
    )
    return f'<div class="share">{"".join(rows)}</div>'


def tried(trials: Row) -> str:
    """Write what the trials of a report consist of."""
    parts = [many(trials["models"], "model"), many(trials["horizons"], "horizon")]
    if discarded := trials["discarded_by_tuning"]:
        parts.append(f"{many(discarded, 'setting')} discarded by tuning")
    return ", ".join(parts)


def error(row: Row) -> str:
    """Write what ended a fit."""
    what = row["error"] or {"type": "unknown", "message": "no error was kept"}
    return escape(f"{what['type']}: {what['message']}")


def of_horizon(rows: Iterable[Row], horizon: str) -> list[Row]:
    """Keep the rows of one horizon."""
    return [row for row in rows if row["horizon"] == int(horizon)]


def ensemble(document: Mapping[str, Any], horizon: str) -> Row:
    """Find the leaderboard row of the ensemble that development rows chose."""
    name = document["horizons"][horizon]["ensemble"]
    return next(row for row in of_horizon(document["leaderboard"], horizon) if row["model"] == name)
