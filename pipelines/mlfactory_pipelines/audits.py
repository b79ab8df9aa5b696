"""One audit on this machine: ingest the bars of a plan, compare, and say in a few lines what came out."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from mlfactory.audit.params import AUDITED, FAILED
from mlfactory.common.stage import single_threaded
from mlfactory_pipelines.plan import Plan

_WIDE: Final = 112  # columns of a terminal that fit every fact
_FACTS: Final = (
    "stage", "group", "column", "lookback", "cuts", "differed", "leaks", "rows", "error", "verdict",
)  # fmt: skip
_BRIEF: Final = ("column", "cuts", "differed", "rows", "error", "verdict")


def shown() -> tuple[str, ...]:
    """Choose the facts of a column that fit the terminal; a file or a pipe has all of them."""
    console = Console()
    return _FACTS if not console.is_terminal or console.width >= _WIDE else _BRIEF


def perform(plan: Plan) -> dict[str, Any]:
    """Ingest the source of a plan and audit its bars; progress goes to the terminal, where there is one.

    Raises:
        InputError: the source or a parameter cannot be used.
    """
    os.environ.update(single_threaded())
    from mlfactory.audit import stage
    from mlfactory.audit.params import Params, Settings
    from mlfactory.common.params import parse
    from mlfactory.common.stage import call
    from mlfactory.ingest.stage import run as ingest

    with tempfile.TemporaryDirectory(prefix="mlfactory-") as folder, _shown() as bar:
        paths = {name: Path(folder) / name for name in ("bars", "quarantine", "data_report")}
        given = {"source": plan.top.source, "symbol": plan.top.symbol, "params": plan.sections["ingest"]}
        task = bar.add_task("reading bars", total=None)
        call(ingest, {**paths, **given})
        settings = parse(Settings, {name: plan.sections[name] for name in AUDITED}, "")
        params = parse(Params, plan.sections["audit"], "audit")

        def tell(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        return stage.perform(paths["bars"], settings, params, tell)


def _shown() -> Progress:
    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def write_page(path: Path, document: dict[str, Any]) -> None:
    """Write the page of an audit."""
    from mlfactory.audit import stage

    stage.write_page(path, document)


def rows(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Write the columns of an audit as rows of a table for people."""
    return [
        {
            **row,
            "lookback": "unbounded" if row["lookback"] is None else row["lookback"],
            "error": "not finite" if row["worst_error"] is None else f"{row['worst_error']:.1g}",
        }
        for row in document["columns"]
    ]


def findings(document: Mapping[str, Any]) -> list[str]:
    """Say what makes an audit fail, a line per column: what is wrong or, where the audit is strict, not tested."""
    strict = document["params"]["audit"]["strict"]
    return [
        _line(row) for row in document["columns"] if row["verdict"] == FAILED or (strict and row["reasons"])
    ]


def verdict(document: Mapping[str, Any]) -> list[str]:
    """Say what failed, what could not be tested, and how many columns passed."""
    told = [row for row in document["columns"] if row["reasons"]]
    lines = [_line(row) for row in sorted(told, key=lambda row: row["verdict"] == FAILED)]
    counts = ", ".join(f"{count} {what}" for what, count in document["counts"].items())
    return [*document["notes"], *lines, f"{len(document['columns'])} columns: {counts}"]


def _line(row: Mapping[str, Any]) -> str:
    return f"{row['verdict']}: {row['stage']}.{row['column']}: {'; '.join(row['reasons'])}"
