"""What training may know of each matrix row: where it lies in time, its label, and its part in every fold.

The index holds nothing of the locked test but the rows' times: labels, spans and returns of test rows, and of
development rows whose span reaches into the test, are blank (-1 or NaN).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlfactory.common.artifacts import (
    PROVENANCE,
    Provenance,
    new_folder,
    read_folder,
    read_table,
    write_json,
    write_table,
)
from mlfactory.common.bars import minutes, timestamps
from mlfactory.common.errors import InputError
from mlfactory.common.splits import HELD_OUT, INNER, REFIT, TRAIN, path_numbers

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

UNKNOWN = -1
"""label or span end of a row whose outcome is unknown or locked away"""
LAST = int(np.iinfo(np.int64).max)
"""bar position that no bar is beyond"""
_ROWS = "rows.parquet"
_EXITS = ("long_end", "short_end")


@dataclass(frozen=True)
class Index:
    """Rows of the matrices, in order of time; arrays have shape (n,) unless stated."""

    bar: Ints
    """position of the row's bar in the ``bars`` artifact"""
    minute: Ints
    """open time of that bar, in minutes since the epoch"""
    segment: Ints
    session: Ints
    """date of the session, in days since the epoch"""
    log_return: Floats
    """from the close before to the bar's close, NaN in the locked test"""
    event: Bools
    """rows that are trained on and predicted; the others only fill windows"""
    horizons: tuple[int, ...]
    n_folds: int
    label: Mapping[int, NDArray[np.int8]]
    """per horizon: 0 short, 1 flat, 2 long, -1 unknown or locked"""
    end: Mapping[int, Ints]
    """per horizon: bar position of the last bar that the label has seen, -1 likewise"""
    open_until: Mapping[int, Ints]
    """per horizon: last bar before the locked test over which a trade of the row was open, its outcome known or not; -1
    where none was opened and in the test"""
    exit: Mapping[int, Ints]
    """per horizon: shape (n, 2), bar position at which the long and the short trade end, -1 like ``end``"""
    long_net: Mapping[int, Floats]
    """per horizon: return of the long trade after costs, NaN likewise"""
    short_net: Mapping[int, Floats]
    code: Mapping[int, NDArray[np.uint8]]
    """per horizon: shape (n, n_folds + 1), codes of ``mlfactory.common.splits``; the last column is the
    refit, whose held-out rows are the locked test"""
    facts: Provenance = field(default_factory=dict)
    """provenance: ``scheme``, ``bar_minutes``, ``instrument``, and ``embargo_bars`` or, where spans are compared by
    time, ``embargo_minutes``"""

    def __len__(self) -> int:
        return len(self.bar)

    def rows(self, horizon: int, fold: int, code: int) -> Ints:
        """Matrix rows that have ``code`` in ``fold`` (0 to n_folds - 1, or ``REFIT``).

        Raises:
            InputError: the index has no such horizon or fold.
        """
        return np.flatnonzero(self._column(horizon, fold) == code)

    def longest_overlap(self, horizon: int, rows: Ints) -> int:
        """Count how many of ``rows``, ascending, may start within one's span: rows further apart share no bar."""
        start, end = self.bar[rows], self.end[horizon][rows]
        reached = np.searchsorted(start, end, side="right") - np.arange(len(start))
        return int(reached.max(initial=0))

    def sealed(self, horizon: int, fold: int) -> Bools:
        """Tell which rows a fold's model may not even read as part of a window, shape (n,); see ``sealed_bars``.

        Raises:
            InputError: the index has no such horizon or fold.
        """
        out = np.zeros(len(self), np.bool_)
        for first, last in self.sealed_bars(horizon, fold):
            out |= (self.bar >= first) & (self.bar <= last)
        return out

    def sealed_bars(self, horizon: int, fold: int) -> list[tuple[int, int]]:
        """Closed intervals of bar positions that a fold's model may not read.

        Each runs from the first of consecutive held-out rows to the end of their last span and its embargo; for the
        refit, to the end of the data. Held-out rows are consecutive where the fold learns from no row between them.

        Raises:
            InputError: the index has no such horizon or fold.
        """
        code = self._column(horizon, fold)
        held = np.flatnonzero(code == HELD_OUT)
        if not len(held):
            return []
        if fold == REFIT:
            return [(int(self.bar[held[0]]), LAST)]
        learned = np.cumsum((code == TRAIN) | (code == INNER))[held]
        runs = np.split(held, np.flatnonzero(np.diff(learned)) + 1)
        return [self.seal(horizon, run) for run in runs]

    def seal(self, horizon: int, rows: Ints) -> tuple[int, int]:
        """Closed interval of bar positions from the first of some rows to the end of their spans and the embargo."""
        first, last = int(self.bar[rows].min()), int(self.end[horizon][rows].max())
        if not self.by_time:
            return first, last + self.embargo
        free = int(np.searchsorted(self.minute, self._minute_of(last) + self.embargo, side="right"))
        return first, int(self.bar[free]) - 1 if free < len(self) else LAST

    @property
    def by_time(self) -> bool:
        """Whether spans are compared by time, in minutes, instead of bar positions."""
        return "embargo_minutes" in self.facts

    @property
    def embargo(self) -> int:
        """Bars, or minutes where spans are compared by time, that follow each held-out span."""
        return int(self.facts["embargo_minutes" if self.by_time else "embargo_bars"])

    def spans(self, horizon: int, rows: Ints) -> tuple[Ints, Ints]:
        """Start and end of the labels of ``rows``, as purging compares them: bar positions, or minutes."""
        start, end = self.bar[rows], self.end[horizon][rows]
        return (self._minute_of(start), self._minute_of(end)) if self.by_time else (start, end)

    def _minute_of(self, bar: Any) -> Any:
        """Open time of bars between two rows of one segment: each of them is a row."""
        return self.minute[np.searchsorted(self.bar, bar)]

    def path(self, horizon: int, row: Ints, fold: Ints) -> Ints:
        """Number the path that each held-out prediction belongs to; 0 where a row is held out once.

        A path predicts every development row once; combinatorial splits have as many as they hold a row out.

        Args:
            horizon: bars.
            row: shape (m,); matrix rows.
            fold: shape (m,); folds that hold them out.
        """
        return path_numbers(self.code[horizon][:, : self.n_folds] == HELD_OUT)[row, fold]

    def _column(self, horizon: int, fold: int) -> NDArray[np.uint8]:
        if horizon not in self.code:
            raise InputError(f"horizon {horizon} is not in the index; known: {sorted(self.code)}")
        if not REFIT <= fold < self.n_folds:
            raise InputError(f"fold {fold} is not in the index; known: {REFIT} to {self.n_folds - 1}")
        return self.code[horizon][:, fold]


def write_index(path: Path, index: Index, facts: Provenance) -> None:
    """Write the ``index`` artifact: a folder with ``rows.parquet`` and its provenance."""
    columns: dict[str, Any] = {
        "bar": index.bar,
        "timestamp": timestamps(index.minute),
        "segment": index.segment,
        "session": index.session,
        "log_return": index.log_return,
        "event": index.event,
    }
    for h in index.horizons:
        columns[f"label_h{h}"] = index.label[h]
        columns[f"end_h{h}"] = index.end[h]
        columns[f"open_until_h{h}"] = index.open_until[h]
        for side, name in enumerate(_EXITS):
            columns[f"{name}_h{h}"] = index.exit[h][:, side]
        columns[f"long_net_h{h}"] = index.long_net[h]
        columns[f"short_net_h{h}"] = index.short_net[h]
        for fold in (*range(index.n_folds), REFIT):
            columns[_code_column(h, fold)] = index.code[h][:, fold]
    about = {**facts, "horizons": list(index.horizons), "n_folds": index.n_folds, "rows": len(index)}
    with new_folder(path) as folder:
        write_table(folder / _ROWS, pd.DataFrame(columns), {"artifact": _ROWS, "schema_version": 1})
        write_json(folder / PROVENANCE, about)


def read_index(path: Path) -> Index:
    """Read the ``index`` artifact.

    Raises:
        InputError: not the ``index`` artifact, its table and provenance disagree, or two rows are of one bar.
    """
    facts = read_folder(path, "index")
    frame, _ = read_table(path / _ROWS, _ROWS)
    horizons, n_folds = tuple(int(h) for h in facts["horizons"]), int(facts["n_folds"])
    if len(frame) != facts["rows"]:
        raise InputError(f"{path} holds {len(frame)} rows; its provenance says {facts['rows']}")
    _check_rows(path, frame["bar"].to_numpy(dtype=np.int64, copy=True))

    def column(name: str, kind: type) -> NDArray[Any]:
        return frame[name].to_numpy(dtype=kind, copy=True)

    def per_horizon(name: str, kind: type) -> dict[int, NDArray[Any]]:
        return {h: column(f"{name}_h{h}", kind) for h in horizons}

    folds = (*range(n_folds), REFIT)
    codes = {h: np.column_stack([column(_code_column(h, k), np.uint8) for k in folds]) for h in horizons}
    return Index(
        bar=column("bar", np.int64),
        minute=minutes(frame["timestamp"]),
        segment=column("segment", np.int64),
        session=column("session", np.int64),
        log_return=column("log_return", np.float64),
        event=column("event", np.bool_),
        horizons=horizons,
        n_folds=n_folds,
        label=per_horizon("label", np.int8),
        end=per_horizon("end", np.int64),
        open_until=per_horizon("open_until", np.int64),
        exit={h: np.column_stack([column(f"{name}_h{h}", np.int64) for name in _EXITS]) for h in horizons},
        long_net=per_horizon("long_net", np.float64),
        short_net=per_horizon("short_net", np.float64),
        code=codes,
        facts=facts,
    )


def _check_rows(path: Path, bar: Ints) -> None:
    if (wrong := np.flatnonzero(np.diff(bar) <= 0) + 1).size:
        row = int(wrong[0])
        raise InputError(
            f"{path}: row {row} is of bar {bar[row]} and the row before it of bar {bar[row - 1]}: every row must be "
            f"of a later bar than the one before ({wrong.size} of {len(bar)} rows are not)"
        )


def _code_column(horizon: int, fold: int) -> str:
    return f"refit_h{horizon}" if fold == REFIT else f"fold_{fold}_h{horizon}"
