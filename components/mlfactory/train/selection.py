"""Choosing columns by what they say about the label, on the training rows of a fold and no others.

The training rows are cut into purged folds once more; a column's score is its mean over their held-out parts, so
that a column which only remembers its own training rows earns nothing.

Sources: Barber and Agakov (2003), The IM algorithm (the bound of mutual information); Lopez de Prado (2018),
Advances in Financial Machine Learning, ch. 8 (mean decrease accuracy, here of the log loss); Nogueira, Sechidis and
Brown (2018), On the stability of feature selection algorithms.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.bars import Floats, Ints
from mlfactory.common.index import Index
from mlfactory.common.metrics import row_log_loss
from mlfactory.common.splits import HELD_OUT, INNER, TRAIN, blocks, clear_of, fold_codes, k_fold
from mlfactory.common.windows import Windows
from mlfactory.models.protocol import N_CLASSES, Classes, Model, Sample

BINS: Final = 16
"""groups of equal count that a column's values fall into"""
Table = NDArray[np.float32]
Sampler = Callable[[Ints], Sample]
"""Gives the sample of some rows."""


@dataclass(frozen=True)
class InnerFold:
    """Rows of one purged fold inside a fold's training rows, ascending."""

    train: Ints
    inner: Ints
    """rows that validate early stopping, purged from ``train``; none unless a share of them was asked for"""
    held_out: Ints
    sealed: tuple[int, int]
    """closed interval of bar positions that its model may not read"""


def inner_folds(
    index: Index, horizon: int, rows: Ints, first_bar: Ints, n_folds: int, inner_fraction: float = 0.0
) -> Iterator[InnerFold]:
    """Cut training rows into purged and embargoed folds.

    Args:
        index: spans of the rows' labels, and the embargo.
        horizon: bars.
        rows: shape (n,), ascending; training rows of an outer fold.
        first_bar: shape (rows of the index,); first bar that the model reads for each row. Rows that would read
            a held-out bar are left out.
        n_folds: folds.
        inner_fraction: last share of each fold's training rows that validates early stopping.

    Raises:
        InputError: a fold would keep too few rows.
    """
    codes = fold_codes(
        *index.spans(horizon, rows),
        blocks(len(rows), n_folds),
        k_fold(n_folds),
        embargo=index.embargo,
        inner_fraction=inner_fraction,
        unit="minutes" if index.by_time else "bars",
    )
    for code in codes.T:
        held = rows[code == HELD_OUT]
        sealed = index.seal(horizon, held)
        clear = clear_of([sealed], first_bar[rows], index.bar[rows])
        yield InnerFold(rows[(code == TRAIN) & clear], rows[(code == INNER) & clear], held, sealed)


def mutual_information(table: Table, y: Classes, weight: Floats, train: Ints, held_out: Ints) -> Floats:
    """Lower bound of the mutual information of each column and the label, in nats, on held-out rows.

    It is the mean of log p(class | bin) - log p(class), both learned from ``train``: the information that a
    histogram of the column carries over to rows which it has not seen. It is at most the mutual information, and below
    zero for a column whose bins say something else later.

    Args:
        table: shape (n, columns).
        y: shape (n,).
        weight: shape (n,).
        train: shape (a,); rows to learn from.
        held_out: shape (b,).

    Returns:
        shape (columns,)
    """
    share = np.bincount(y[train], weights=weight[train], minlength=N_CLASSES) + 1.0
    share /= share.sum()
    score = np.empty(table.shape[1])
    quantiles = np.arange(1, BINS) / BINS
    for j in range(table.shape[1]):
        column = table[:, j]
        edges = np.unique(np.quantile(column[train], quantiles))
        group = np.searchsorted(edges, column, side="right")
        cell = group[train] * N_CLASSES + y[train]
        counts = np.bincount(cell, weights=weight[train], minlength=(len(edges) + 1) * N_CLASSES)
        # each bin starts from one row of the overall frequencies, so that an empty one says nothing
        known = counts.reshape(-1, N_CLASSES) + N_CLASSES * share
        known /= known.sum(axis=1, keepdims=True)
        gain = np.log(known[group[held_out], y[held_out]]) - np.log(share[y[held_out]])
        score[j] = np.average(gain, weights=weight[held_out])
    return score


def permutation(model: Model, held_out: Sample, seed: Sequence[int]) -> Floats:
    """Rise of a fitted model's log loss on held-out rows when one column's values are shuffled among them.

    Args:
        model: fitted on other rows.
        held_out: what the model reads; a table of its own or windows of one, which is put back as it was.
        seed: of the shuffles; every column has its own.

    Returns:
        shape (columns,), in nats
    """
    if isinstance(held_out.X, Windows) and not held_out.X.table.flags.writeable:  # a matrix on disk, unscaled
        held_out = held_out._replace(X=replace(held_out.X, table=held_out.X.table.copy()))
    table, rows = _shuffled_part(held_out.X)
    honest = loss(model.predict_proba(held_out.X), held_out)
    rise = np.empty(table.shape[1])
    for j in range(table.shape[1]):
        kept = table[rows, j].copy()
        table[rows, j] = np.random.default_rng([*seed, j]).permutation(kept)
        rise[j] = loss(model.predict_proba(held_out.X), held_out) - honest
        table[rows, j] = kept
    return rise


def _shuffled_part(X: Any) -> tuple[Table, Ints]:
    """The table behind what a model reads, and the rows of it that are read."""
    if not isinstance(X, Windows):
        return X, np.arange(len(X))
    inside = np.zeros(len(X.table) + 1, np.int64)
    np.add.at(inside, X.first, 1)
    np.add.at(inside, X.ends + 1, -1)
    return X.table, np.flatnonzero(np.cumsum(inside[:-1]) > 0)


def best(score: Floats, columns: int) -> Ints:
    """Positions of the highest scores, ascending; the earlier column wins a tie."""
    order = np.lexsort((np.arange(len(score)), -score))
    return np.sort(order[:columns])


def loss(probability: Floats, sample: Sample) -> float:
    """Weighted mean of the log loss."""
    return float(np.average(row_log_loss(probability, sample.y), weights=sample.weight))


def stability(chosen: Sequence[Sequence[str]], available: int) -> float | None:
    """Agreement of the folds' choices: 1 where all are equal, about 0 where they are drawn at random.

    It is one minus the columns' mean variance of being chosen over that of a random choice of the same size.
    Source: Nogueira, Sechidis and Brown (2018), eq. 4.

    Args:
        chosen: the columns of each fold; at least one fold.
        available: columns to choose from.

    Returns:
        None where there is nothing to compare: fewer than two folds, or every column is chosen.
    """
    folds = len(chosen)
    mean = sum(map(len, chosen)) / folds / available
    if folds < 2 or not 0 < mean < 1:
        return None
    names = [name for columns in chosen for name in columns]
    share = np.array([names.count(name) for name in dict.fromkeys(names)]) / folds
    variance = folds / (folds - 1) * (share * (1 - share)).sum() / available
    return float(1 - variance / (mean * (1 - mean)))
