"""Out-of-fold predictions aligned by row id: each row's label was unknown to the model that predicts it."""

import numpy as np

from mlfactory.common.errors import InputError
from mlfactory.common.index import Index
from mlfactory.common.pools import name
from mlfactory.common.predictions import Predictions
from mlfactory.common.splits import COMBINATORIAL, HELD_OUT


def check_out_of_fold(predictions: Predictions, index: Index) -> None:
    """Refuse predictions that are not out of fold or not of this index's rows.

    Raises:
        InputError: the horizon, a fold or a row is unknown, a row's time differs, a fold predicts a row that
            it did not hold out, or two folds predict the same row; of combinatorial folds, not all that hold a row
            out predict it.
    """
    if predictions.horizon not in index.horizons:
        raise InputError(f"{name(predictions)}: the index knows only the horizons {list(index.horizons)}")
    row, fold = predictions.row, predictions.fold
    _refuse(
        predictions, (fold < 0) | (fold >= index.n_folds), f"the index has the folds 0 to {index.n_folds - 1}"
    )
    _refuse(predictions, (row < 0) | (row >= len(index)), f"the index has the rows 0 to {len(index) - 1}")
    _refuse(predictions, index.minute[row] != predictions.minute, "the index gives this row another time")
    seen = index.code[predictions.horizon][row, fold] != HELD_OUT
    _refuse(predictions, seen, "the fold did not hold this row out: its model may have seen the label")
    if index.facts["scheme"] == COMBINATORIAL:
        held_out = (index.code[predictions.horizon][row, : index.n_folds] == HELD_OUT).sum(axis=1)
        times = np.bincount(row, minlength=len(index))[row]
        _refuse(
            predictions,
            times != held_out,
            "not every fold that holds this row out predicts it: a path has a hole",
        )
        return
    again = np.ones(len(row), np.bool_)
    again[np.unique(row, return_index=True)[1]] = False
    _refuse(predictions, again, "another fold predicts this row too")


def _refuse(predictions: Predictions, wrong: np.ndarray, rule: str) -> None:
    if wrong.any():
        i = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"{name(predictions)}: row {predictions.row[i]} predicted by fold {predictions.fold[i]}: {rule} "
            f"({int(wrong.sum())} of {len(wrong)} rows)"
        )


def held_out_rows(index: Index, horizon: int) -> int:
    """Count the held-out rows of all folds: what a model can predict out of fold at most."""
    return int((index.code[horizon][:, : index.n_folds] == HELD_OUT).sum())
