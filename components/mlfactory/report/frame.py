"""The frame of a page: one self-contained HTML file, no script, no request, readable in light and dark."""

from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Final

_STYLE: Final = Path(__file__).with_name("page.css")


def page(title: str, parts: Iterable[str]) -> str:
    """Write a page of parts that are HTML already."""
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>ML Factory: {escape(title)}</title>\n<style>\n{_STYLE.read_text(encoding='utf-8')}</style></head>\n"
        f"<body><main>\n{body}\n</main></body></html>\n"
    )


def tiles(entries: Iterable[tuple[str, str, str]]) -> str:
    """Write tiles of a label, a value and what there is to say about it."""
    told = (
        f'<div class="tile"><span>{label}</span><b>{value}</b><i>{more}</i></div>'
        for label, value, more in entries
    )
    return f'<div class="tiles">{"".join(told)}</div>'
