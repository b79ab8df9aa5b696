"""Combining models without leaks: on rows that all predict, by combiners that never saw the rows they predict.

A combiner that predicts fold k learns from the out-of-fold predictions of the rows that fold k trains on,
purged and embargoed like the base models' rows. Where folds hold a row out more than once, as combinatorial ones do,
every path is a stack of its own: a combiner learns from one prediction per row, all of the path that it predicts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.errors import InputError
from mlfactory.common.index import Index
from mlfactory.common.pools import name
from mlfactory.common.predictions import PROBABILITIES, Predictions
from mlfactory.common.splits import INNER, TRAIN

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Fit = Callable[[Floats, NDArray[np.int8]], Callable[[Floats], Floats]]
"""Learn from probabilities, shape (n, 3 x models), and classes, shape (n,); give what predicts."""


@dataclass(frozen=True)
class Stack:
    """One horizon's models side by side, on the rows that all of them predict; ordered by row, then by fold."""

    horizon: int
    models: tuple[str, ...]
    """ascending"""
    row: Ints
    """shape (n,); a row occurs once for every fold that holds it out"""
    minute: Ints
    fold: Ints
    probability: Floats
    """shape (n, models, 3)"""
    lost: tuple[int, ...]
    """per model: rows it predicts that another model does not"""

    def __len__(self) -> int:
        return len(self.row)

    @property
    def columns(self) -> list[str]:
        """What each column of ``features`` is: ``lstm.p_short``, ..."""
        return [f"{model}.{p}" for model in self.models for p in PROBABILITIES]

    @property
    def features(self) -> Floats:
        """The combiner's input: shape (n, 3 x models)."""
        return self.probability.reshape(len(self), -1)

    def take(self, rows: NDArray[np.bool_]) -> "Stack":
        """Keep the rows where ``rows``, of shape (n,), is true."""
        return replace(
            self,
            row=self.row[rows],
            minute=self.minute[rows],
            fold=self.fold[rows],
            probability=self.probability[rows],
        )


def stack(pool: Sequence[Predictions]) -> Stack:
    """Put one horizon's models side by side.

    Args:
        pool: at least one, of one horizon; each predicts a row once per fold.

    Raises:
        InputError: no row is predicted by all models, or two models predict a row in different folds.
    """
    pool = sorted(pool, key=lambda p: p.model)
    row = pool[0].row
    for predictions in pool[1:]:
        row = np.intersect1d(row, predictions.row)
    if not len(row):
        counts = ", ".join(f"{p.model} {len(p)}" for p in pool)
        raise InputError(
            f"horizon {pool[0].horizon}: no row is predicted by all models; rows of each: {counts}"
        )
    rows = len(np.unique(row))
    found = [_positions(p, row) for p in pool]
    first = np.column_stack([pool[0].row, pool[0].fold])[found[0]]
    for predictions, position in zip(pool, found, strict=True):
        own = np.column_stack([predictions.row, predictions.fold])[position]
        if not np.array_equal(own, first):
            other = min({tuple(pair) for pair in own} ^ {tuple(pair) for pair in first})
            raise InputError(f"{name(predictions)}: row {other[0]} is in another fold than {pool[0].model}'s")
    return Stack(
        horizon=pool[0].horizon,
        models=tuple(p.model for p in pool),
        row=first[:, 0],
        minute=pool[0].minute[found[0]],
        fold=first[:, 1],
        probability=np.stack([p.probability[at] for p, at in zip(pool, found, strict=True)], axis=1),
        lost=tuple(len(np.unique(p.row)) - rows for p in pool),
    )


def _positions(predictions: Predictions, row: Ints) -> Ints:
    """Places of the predictions of some rows, by row and then by fold."""
    order = np.lexsort((predictions.fold, predictions.row))
    return order[np.isin(predictions.row[order], row)]


def nested(stack: Stack, index: Index, fit: Fit) -> tuple[Floats, dict[int, int]]:
    """Predict every fold with a combiner that learned from that fold's training rows alone.

    Returns:
        shape (n, 3), NaN in folds of whose training rows none has out-of-fold predictions (the first of a
        walk-forward); and per fold the rows learned from
    """
    out = np.full((len(stack), len(PROBABILITIES)), np.nan)
    trained_on: dict[int, int] = {}
    path = index.path(stack.horizon, stack.row, stack.fold)
    for number in np.unique(path):
        of_path = np.flatnonzero(path == number)
        row, features = stack.row[of_path], stack.features[of_path]
        label, code = index.label[stack.horizon][row], index.code[stack.horizon][row]
        for fold in range(index.n_folds):
            held_out = stack.fold[of_path] == fold
            train = np.isin(code[:, fold], (TRAIN, INNER))
            trained_on[fold] = int(train.sum())
            if held_out.any() and train.any():
                out[of_path[held_out]] = fit(features[train], label[train])(features[held_out])
    return out, trained_on


def fold_priors(
    index: Index, horizon: int, fold: Ints, frequencies: Callable[[NDArray[np.int8]], Floats]
) -> Floats:
    """Class frequencies of each row's own training rows: shape (n, 3) for ``fold`` of shape (n,)."""
    table = [
        frequencies(index.label[horizon][np.isin(index.code[horizon][:, k], (TRAIN, INNER))])
        for k in range(index.n_folds)
    ]
    return np.stack(table)[fold]
