"""What the report reads: outcomes of the locked test, and predictions aligned with them by row id."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.artifacts import SCHEMA_VERSION, read_json, read_table
from mlfactory.common.bars import minutes
from mlfactory.common.errors import InputError
from mlfactory.common.index import Index
from mlfactory.common.metrics import sessions_per_year
from mlfactory.common.predictions import Predictions
from mlfactory.common.splits import HELD_OUT, REFIT
from mlfactory.report.evaluation import Test
from mlfactory.report.trading import Outcomes


def read_document(path: Path, kind: str) -> dict[str, Any]:
    """Read a JSON artifact.

    Raises:
        InputError: it is missing, another artifact, or of another schema version.
    """
    document = read_json(path)
    if not isinstance(document, dict) or document.get("artifact") != kind:
        raise InputError(f"{path} is not the artifact {kind!r}")
    if document.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"{path} has schema version {document.get('schema_version')}; expected {SCHEMA_VERSION}"
        )
    return document


def read_test_labels(path: Path, index: Index) -> dict[int, Outcomes]:
    """Open the locked test: outcomes per horizon, in order of time.

    Raises:
        InputError: another artifact, or its rows are not the index's test rows.
    """
    frame, _ = read_table(path, "test_labels")
    out = {}
    for horizon in index.horizons:
        part = frame[frame["horizon"] == horizon].sort_values("row")
        if part.empty:
            raise InputError(f"{path} holds no outcome at horizon {horizon}: the test segment is too short")

        def column(name: str, part: Any = part) -> NDArray[Any]:
            return np.asarray(part[name].to_numpy(copy=True))

        row, minute = column("row"), minutes(part["timestamp"])
        foreign = (row < 0) | (row >= len(index))
        if not foreign.any():
            foreign = (index.minute[row] != minute) | (index.code[horizon][row, REFIT] != HELD_OUT)
        if foreign.any():
            raise InputError(f"{path}: row {row[foreign][0]} is not a test row of this index")
        out[horizon] = Outcomes(
            row=row,
            minute=minute,
            session=column("session"),
            bar=column("bar"),
            label=column("label"),
            end=column("end"),
            net=np.column_stack([column("long_net"), column("short_net")]),
            exit=np.column_stack([column("long_end"), column("short_end")]),
        )
    return out


def align(horizon: int, outcomes: Outcomes, pool: Sequence[Predictions], index: Index) -> Test:
    """Keep the rows that every model predicts and whose outcome is known.

    Args:
        horizon: of all of ``pool``.
        outcomes: of the locked test.
        pool: test predictions of base models and combiners.
        index: sessions.

    Raises:
        InputError: no such row is left.
    """
    row = outcomes.row
    for predictions in pool:
        row = np.intersect1d(row, predictions.row)
    if not len(row):
        raise InputError(f"horizon {horizon}: no row of the locked test is predicted by every model")
    models = {}
    for predictions in sorted(pool, key=lambda p: p.model):
        order = np.argsort(predictions.row, kind="stable")
        models[predictions.model] = predictions.probability[order][
            np.searchsorted(predictions.row[order], row)
        ]
    return Test(
        horizon=horizon,
        outcomes=outcomes.take(np.searchsorted(outcomes.row, row)),
        models=models,
        sessions=np.unique(index.session[index.rows(horizon, REFIT, HELD_OUT)]),
        per_year=sessions_per_year(index.session),
    )
