"""Progress of a run: one line per finished stage, and a bar where there is a terminal to draw it on."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from mlfactory.common.stage import MARK, PROGRESS

_NAME_WIDTH = 34
_WIDTHS = (32, 15)
"""Widest column of numbers, with intervals and without."""
_BRACKETS = re.compile(r" \([^()]*\)")


@dataclass(frozen=True)
class Finished:
    """One stage or job that ended well."""

    task: str
    line: str
    """counts in plain words"""
    seconds: float
    mebibytes: float
    cached: bool


def stage_line(text: str) -> tuple[str, float, float] | None:
    """Read the line that a stage prints when it ends: counts, seconds, peak MiB; None for any other line."""
    if not (text := text.strip()).startswith(MARK):
        return None
    _, _, rest = text.removeprefix(MARK).partition("|")
    line, seconds, mebibytes = rest.rsplit("|", 2)
    return line.strip(), float(seconds), float(mebibytes)


def activity(text: str) -> str | None:
    """Read a line of progress inside a stage, such as ``fold 2 | 3/7``; None for any other line."""
    if not (text := text.strip()).startswith(PROGRESS):
        return None
    what, _, count = text.removeprefix(PROGRESS).rpartition("|")
    return f"{what.strip()} {count.strip()}"


def tables(markdown: str, width: int = 10_000) -> Iterator[RenderableType]:
    """Draw the tables of a Markdown text; other lines stay text.

    A table that is wider than ``width`` loses what its cells hold in brackets: intervals, which the report shows.
    """
    rows: list[list[str]] = []
    for line in [*markdown.splitlines(), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
            continue
        if rows:
            table = _table(rows)
            yield (
                table if Console(width=10_000).measure(table).maximum <= width else _table(rows, narrow=True)
            )
            rows = []
        if line.strip():
            yield Text(line.lstrip("# "), style="bold" if line.startswith("#") else "")


def _table(rows: list[list[str]], *, narrow: bool = False) -> Table:
    head, rule, *body = [[_BRACKETS.sub("", cell) for cell in row] for row in rows] if narrow else rows
    table = Table(box=SIMPLE_HEAD, padding=(0, 0) if narrow else (0, 1))
    for title, dashes in zip(head, rule, strict=True):
        justify: Literal["left", "right"] = "right" if dashes.endswith(":") else "left"
        limit = _WIDTHS[narrow] if justify == "right" else None  # a failed model's error may be long
        table.add_column(title, justify=justify, no_wrap=narrow, max_width=limit)
    for row in body:
        style = "bold" if row[0].startswith("**") else "dim" if row[0].startswith("*") else ""
        table.add_row(row[0].strip("*"), *row[1:], style=style)
    return table


class Display:
    """Lines on stdout; on a terminal also a bar that names what is being done."""

    def __init__(self, console: Console, total: int) -> None:
        self.console = console
        self._now: dict[str, str] = {}
        self._bar = Progress(
            SpinnerColumn(),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._id = self._bar.add_task("starting", total=total)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Draw the bar while the block runs."""
        with self._bar:
            yield

    def doing(self, task: str, what: str = "") -> None:
        """Say what a running task is at."""
        self._now[task] = what
        self._describe()

    def finished(self, done: Finished) -> None:
        """Print the line of a task that ended and move the bar."""
        self._now.pop(done.task, None)
        cost = "cached" if done.cached else f"{done.seconds:.1f} s"
        text = Text(f"{done.task:<{_NAME_WIDTH}} ", style="bold")
        text.append(f"{cost:>8} {done.mebibytes:>6,.0f} MiB  ", style="dim")
        text.append(done.line, style="")
        self.console.print(text, soft_wrap=True)
        self._bar.advance(self._id)
        self._describe()

    def _describe(self) -> None:
        now = [f"{task}: {what}" if what else task for task, what in self._now.items()]
        self._bar.update(self._id, description=", ".join(now)[: max(20, self.console.width - 60)])
