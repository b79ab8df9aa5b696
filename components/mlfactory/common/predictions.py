"""Tables of class probabilities: what a trained model says about rows, aligned to them by row id."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlfactory.common.artifacts import Provenance, read_table, write_table
from mlfactory.common.bars import Floats, Ints, minutes, timestamps
from mlfactory.common.errors import InputError

CLASSES: Final = ("short", "flat", "long")
"""Order of the three classes everywhere: labels -1, 0, 1 are classes 0, 1, 2."""
PROBABILITIES: Final = tuple(f"p_{name}" for name in CLASSES)
COLUMNS: Final = ("row", "timestamp", "fold", *PROBABILITIES)
COMBINERS: Final = ("ensemble", "meta")
"""Families that combine the predictions of others; the stacking stage fits them."""
OK: Final = "ok"
FAILED: Final = "failed"


@dataclass(frozen=True)
class Predictions:
    """Class probabilities of one model at one horizon, sorted by fold and row; arrays of length n."""

    row: Ints
    """matrix row that was predicted"""
    minute: Ints
    """open time of its bar, in minutes since the epoch"""
    fold: Ints
    """fold whose held-out rows these are; -1 for the model refitted on all development rows"""
    probability: Floats
    """shape (n, 3): short, flat, long"""
    model: str
    family: str
    horizon: int
    status: str = OK
    """``failed`` where the fit ended in an error: the table is empty then"""

    def __len__(self) -> int:
        return len(self.row)


def failed(model: str, family: str, horizon: int) -> Predictions:
    """The empty predictions of a model whose fit failed."""
    none = np.zeros(0, np.int64)
    return Predictions(none, none, none, np.zeros((0, 3)), model, family, horizon, FAILED)


def write_predictions(path: Path, predictions: Predictions, facts: Provenance) -> None:
    """Write a table of predictions; model, family, horizon and status join ``facts``.

    Raises:
        InputError: a probability is not finite, is outside [0, 1], or a row's do not sum to one.
    """
    _check(predictions, str(path))
    frame = pd.DataFrame(
        {
            "row": predictions.row.astype(np.int64),
            "timestamp": timestamps(predictions.minute),
            "fold": predictions.fold.astype(np.int16),
            **{name: predictions.probability[:, k] for k, name in enumerate(PROBABILITIES)},
        }
    )
    about: dict[str, Any] = {
        name: getattr(predictions, name) for name in ("model", "family", "horizon", "status")
    }
    write_table(path, frame, {**facts, **about})


def read_predictions(path: Path, kind: str) -> Predictions:
    """Read a table of predictions: ``kind`` is ``fold_predictions`` or ``test_predictions``.

    Raises:
        InputError: another artifact, a row predicted twice by one fold, or values that are no probabilities.
    """
    frame, facts = read_table(path, kind, COLUMNS)
    predictions = Predictions(
        row=frame["row"].to_numpy(dtype=np.int64, copy=True),
        minute=minutes(frame["timestamp"]) if len(frame) else np.zeros(0, np.int64),
        fold=frame["fold"].to_numpy(dtype=np.int64, copy=True),
        probability=frame[list(PROBABILITIES)].to_numpy(dtype=np.float64, copy=True),
        model=str(facts["model"]),
        family=str(facts["family"]),
        horizon=int(facts["horizon"]),
        status=str(facts["status"]),
    )
    _check(predictions, str(path))
    return predictions


def _check(predictions: Predictions, where: str) -> None:
    p: NDArray[np.float64] = predictions.probability
    if p.shape != (len(predictions), 3):
        raise InputError(f"{where}: probabilities have shape {p.shape}; expected ({len(predictions)}, 3)")
    if not (np.isfinite(p).all() and (p >= 0).all() and (np.abs(p.sum(axis=1) - 1) <= 1e-9).all()):
        raise InputError(f"{where}: a row's probabilities are not finite, not in [0, 1] or do not sum to 1")
    pairs = np.stack([predictions.fold, predictions.row], axis=1)
    if len(np.unique(pairs, axis=0)) != len(pairs):
        raise InputError(f"{where}: a fold predicts the same row twice")
