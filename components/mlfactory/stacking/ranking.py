"""The ranking of all models on development rows: out-of-fold log loss against the prior of each fold."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.index import Index
from mlfactory.common.metrics import (
    StationaryBootstrap,
    block_length,
    class_frequencies,
    row_log_loss,
    scores,
)
from mlfactory.stacking.nested import Stack, fold_priors

Floats = NDArray[np.float64]


def predicted_by_all(combined: Sequence[Floats]) -> NDArray[np.bool_]:
    """Tell which rows of a stack all combiners predict: in a walk-forward the first fold teaches them none.

    Args:
        combined: per combiner, shape (n, 3); NaN where it does not predict.

    Returns:
        shape (n,)
    """
    return np.asarray(np.isfinite(np.sum(combined, axis=(0, 2))))


def rank(
    stack: Stack, combined: Mapping[str, Floats], index: Index, *, draws: int, seed: int
) -> list[dict[str, Any]]:
    """Score base models and combiners of one horizon on the rows that all of them predict.

    Args:
        stack: the base models; of several predictions of one row, the mean loss counts.
        combined: per combiner, shape (n, 3); NaN where it does not predict.
        index: labels and folds.
        draws: resamples of the block bootstrap.
        seed: of the resamples.

    Returns:
        per model: horizon, model and the numbers of ``metrics.scores``; best log loss first, ties by name
    """
    known = predicted_by_all(list(combined.values()))
    stack = stack.take(known)
    label, row = index.label[stack.horizon][stack.row], np.unique(stack.row)
    prior = fold_priors(index, stack.horizon, stack.fold, class_frequencies)
    block = block_length(index.bar[row], index.end[stack.horizon][row])
    table = scores(
        {model: stack.probability[:, j] for j, model in enumerate(stack.models)}
        | {model: p[known] for model, p in combined.items()},
        label,
        row_log_loss(prior, label),
        StationaryBootstrap(len(row), block, draws, seed),
        stack.row,
    )
    rows = [
        {"horizon": stack.horizon, "model": model, "block_rows": block, **numbers}
        for model, numbers in table.items()
    ]
    return sorted(rows, key=lambda row: (row["log_loss"], row["model"]))
