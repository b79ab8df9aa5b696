"""Predictions of many models in one table, which ``stacking`` and ``report`` read back model by model."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from mlfactory.common.artifacts import Provenance, read_provenance, read_table, write_table
from mlfactory.common.bars import minutes, timestamps
from mlfactory.common.errors import InputError
from mlfactory.common.predictions import FAILED, PROBABILITIES, Predictions, read_predictions

NO_PATHS: Final[list[Path]] = []
"""Default of a family without jobs."""


def order(pool: Iterable[Predictions]) -> list[Predictions]:
    """Sort by horizon, then by model name: the one order of models in tables, lists and reports."""
    return sorted(pool, key=lambda p: (p.horizon, p.model))


def read_family_lists(
    lists: Iterable[Sequence[Path]], kind: str, index_sha: str
) -> tuple[list[Predictions], list[Predictions]]:
    """Read the prediction tables of all families.

    Args:
        lists: one list of files per family, in any order.
        kind: ``fold_predictions`` or ``test_predictions``.
        index_sha: hash of the ``index`` artifact that every table must have been made with.

    Returns:
        those that hold predictions, and those of jobs that failed; both in ``order``

    Raises:
        InputError: a table was made with another index, or two tables are of one model and horizon.
    """
    pool: list[Predictions] = []
    for path in (path for paths in lists for path in paths or ()):
        predictions = read_predictions(path, kind)
        made_with = read_provenance(path)["inputs"].get("index")
        if made_with != index_sha:
            raise InputError(
                f"{path} ({name(predictions)}) was made with the index {short(made_with)}; this run's is "
                f"{short(index_sha)}: train the model again"
            )
        pool.append(predictions)
    pool = order(pool)
    for one, other in pairwise(pool):
        if (one.model, one.horizon) == (other.model, other.horizon):
            raise InputError(f"two tables hold {kind} of {name(one)}")
    return [p for p in pool if p.status != FAILED], [p for p in pool if p.status == FAILED]


def name(predictions: Predictions) -> str:
    """Name a model and its horizon as people read it."""
    return f"{predictions.model}, horizon {predictions.horizon}"


def short(digest: str | None) -> str:
    """Shorten a hash for a message."""
    return digest[:12] if digest else "(none)"


def write_pool(path: Path, pool: Sequence[Predictions], facts: Provenance) -> None:
    """Write many models' predictions as one table: blocks in ``order``, each sorted by fold and row.

    Columns: row, timestamp, horizon, model, part (``oof``, or ``test`` where the refitted model predicted),
    fold and the three probabilities. ``facts`` gain ``models``: name, family, horizon and rows of each block.
    """
    pool = order(pool)
    about = [{"model": p.model, "family": p.family, "horizon": p.horizon, "rows": len(p)} for p in pool]
    model = np.repeat([p.model for p in pool], [len(p) for p in pool])
    fold = _joined([p.fold for p in pool]).astype(np.int16)
    probability = np.concatenate([np.zeros((0, 3)), *(p.probability for p in pool)])
    frame = pd.DataFrame(
        {
            "row": _joined([p.row for p in pool]),
            "timestamp": timestamps(_joined([p.minute for p in pool])),
            "horizon": np.repeat([p.horizon for p in pool], [len(p) for p in pool]).astype(np.int16),
            "model": pd.Categorical(model),
            "part": pd.Categorical(np.where(fold < 0, "test", "oof")),
            "fold": fold,
            **{column: probability[:, k] for k, column in enumerate(PROBABILITIES)},
        }
    )
    write_table(path, frame, {**facts, "models": about})


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int64), *parts]).astype(np.int64)


def read_pool(path: Path, kind: str) -> tuple[list[Predictions], Provenance]:
    """Read the models of a table that ``write_pool`` wrote, and its provenance.

    Raises:
        InputError: another artifact, or its provenance counts other rows than the table holds.
    """
    frame, facts = read_table(path, kind, ["row", "timestamp", "fold", *PROBABILITIES])
    if sum(block["rows"] for block in facts["models"]) != len(frame):
        raise InputError(f"{path} holds {len(frame)} rows; its provenance counts others")
    row = frame["row"].to_numpy(dtype=np.int64, copy=True)
    minute = minutes(frame["timestamp"]) if len(frame) else row
    fold = frame["fold"].to_numpy(dtype=np.int64, copy=True)
    probability = frame[list(PROBABILITIES)].to_numpy(dtype=np.float64, copy=True)
    pool, start = [], 0
    for block in facts["models"]:
        cut = slice(start, start := start + block["rows"])
        pool.append(
            Predictions(
                row[cut],
                minute[cut],
                fold[cut],
                probability[cut],
                block["model"],
                block["family"],
                int(block["horizon"]),
            )
        )
    return pool, facts
