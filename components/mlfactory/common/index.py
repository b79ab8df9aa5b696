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
from mlfactory.common.splits import HELD_OUT, REFIT

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

UNKNOWN = -1
"""label or span end of a row whose outcome is unknown or locked away"""
_ROWS = "rows.parquet"


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
    event: Bools
    """rows that are trained on and predicted; the others only fill windows"""
    horizons: tuple[int, ...]
    n_folds: int
    label: Mapping[int, NDArray[np.int8]]
    """per horizon: 0 short, 1 flat, 2 long, -1 unknown or locked"""
    end: Mapping[int, Ints]
    """per horizon: bar position of the last bar that the label has seen, -1 likewise"""
    long_net: Mapping[int, Floats]
    """per horizon: return of the long trade after costs, NaN likewise"""
    short_net: Mapping[int, Floats]
    code: Mapping[int, NDArray[np.uint8]]
    """per horizon: shape (n, n_folds + 1), codes of ``mlfactory.common.splits``; the last column is the
    refit, whose held-out rows are the locked test"""
    facts: Provenance = field(default_factory=dict)
    """provenance: ``embargo_bars``, ``scheme``, ``bar_minutes``, ``instrument`` and others"""

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

        They run from the first held-out row to the end of the last held-out span and its embargo; for the
        refit, to the end of the data.

        Raises:
            InputError: the index has no such horizon or fold.
        """
        held = self._column(horizon, fold) == HELD_OUT
        if not held.any():
            return []
        first = int(self.bar[held].min())
        if fold == REFIT:
            return [(first, np.iinfo(np.int64).max)]
        return [(first, int(self.end[horizon][held].max()) + int(self.facts["embargo_bars"]))]

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
        "event": index.event,
    }
    for h in index.horizons:
        columns[f"label_h{h}"] = index.label[h]
        columns[f"end_h{h}"] = index.end[h]
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
        event=column("event", np.bool_),
        horizons=horizons,
        n_folds=n_folds,
        label=per_horizon("label", np.int8),
        end=per_horizon("end", np.int64),
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
