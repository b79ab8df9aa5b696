"""What combiners of base models share: their inputs, purged parts of rows, and convex fits.

Rows are in order of time; ``gap`` rows on either side of what is scored are left out of what is learned from, because
their labels may overlap.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.bars import Floats
from mlfactory.common.errors import InputError
from mlfactory.models.protocol import FLOOR, N_CLASSES, Classes, softmax

Bools = NDArray[np.bool_]
Rows = NDArray[np.int64]

_KEEP_FINITE = np.array([1e-3, 1e-6, 1e-6, 1e-6])
"""penalties on sharpness and biases: they bound them where scores part the classes or a class is missing"""


def check_probabilities(X: NDArray[Any]) -> None:
    """Refuse what is not three probabilities per base model.

    Raises:
        InputError: the number of columns is no multiple of three, or a value is no probability.
    """
    if X.shape[1] % N_CLASSES:
        raise InputError(f"{X.shape[1]} columns: expected three probabilities per base model")
    if (X < 0).any() or (X > 1).any():
        raise InputError("base predictions must be probabilities between 0 and 1")


def log_ratios(X: NDArray[Any]) -> Floats:
    """Log-probabilities minus their mean over the three classes, model by model; the shape stays.

    Raises:
        InputError: the number of columns is no multiple of three, or a value is no probability.
    """
    check_probabilities(X)
    logs = np.log(np.maximum(np.asarray(X, np.float64), FLOOR)).reshape(len(X), -1, N_CLASSES)
    return np.asarray((logs - logs.mean(axis=2, keepdims=True)).reshape(len(X), -1))


def calibrate(scores: Floats, y: Classes, weight: Floats) -> Floats:
    """Find the sharpness and biases of ``softmax(sharpness * scores + bias)`` with the best log loss.

    The loss is convex; Newton's method with step halving finds its minimum. A best sharpness below zero
    (scores worse than none) becomes zero, with the biases that are best then.

    Args:
        scores: shape (rows, 3).
        y: shape (rows,).
        weight: shape (rows,).

    Returns:
        shape (4,): sharpness, then three biases with mean zero
    """
    counts = np.bincount(y, weights=weight, minlength=N_CLASSES) + 1.0
    bias = np.log(counts / counts.sum())
    prior: Floats = np.r_[0.0, bias - bias.mean()]
    size = float(np.abs(scores).max(initial=0.0))
    if size < 1e-12:
        return prior
    # design[i, k] = derivative of row i's k-th logit by each of the four parameters
    design = np.zeros((len(scores), N_CLASSES, 1 + N_CLASSES))
    design[:, :, 0] = scores / size
    design[:, range(N_CLASSES), range(1, 1 + N_CLASSES)] = 1.0
    found = newton(design, y, weight, prior, _KEEP_FINITE)
    if found[0] <= 0:
        return prior
    return np.asarray(np.r_[found[0] / size, found[1:] - found[1:].mean()])


def newton(design: Floats, y: Classes, weight: Floats, start: Floats, penalty: Floats) -> Floats:
    """Minimise the weighted log loss of ``softmax(design @ parameters)`` plus half the penalised squares.

    The loss is convex; Newton's method with step halving finds its minimum.

    Args:
        design: shape (rows, 3, parameters); derivative of each logit by each parameter.
        y: shape (rows,).
        weight: shape (rows,).
        start: shape (parameters,).
        penalty: shape (parameters,), above 0.

    Returns:
        shape (parameters,)
    """
    rows = np.arange(len(y))

    def loss(parameters: Floats) -> float:
        p = softmax(np.asarray(design @ parameters))[rows, y]
        return float(-(weight * np.log(np.maximum(p, 1e-300))).sum() + 0.5 * (penalty * parameters**2).sum())

    at, best = start, loss(start)
    for _ in range(50):
        p = softmax(np.asarray(design @ at))
        residual = p.copy()
        residual[rows, y] -= 1
        gradient = np.einsum("n,nk,nkj->j", weight, residual, design, optimize=True) + penalty * at
        mean = np.einsum("nk,nkj->nj", p, design)
        flat = (design * np.sqrt(weight[:, None, None] * p[:, :, None])).reshape(-1, design.shape[2])
        second = flat.T @ flat - (mean * weight[:, None]).T @ mean
        step = np.linalg.solve(second + np.diag(penalty), gradient)
        lengths = 0.5 ** np.arange(20)
        length = next((part for part in lengths if loss(at - part * step) < best), 0.0)
        at = at - length * step
        gained, best = best - loss(at), loss(at)
        if gained <= 1e-10 * abs(best):
            break
    return at


def purged_blocks(n: int, blocks: int, gap: int) -> Iterator[tuple[Rows, Bools]]:
    """Cut rows in order of time into contiguous blocks, each with the rows that are away from it.

    Args:
        n: rows.
        blocks: at most as many as rows.
        gap: rows left out on either side of a block.

    Yields:
        the rows of a block, and a mask of shape (n,) of the rows that something that scores the block may learn from
    """
    for block in np.array_split(np.arange(n), min(blocks, n)):
        away = np.ones(n, np.bool_)
        away[max(0, block[0] - gap) : block[-1] + 1 + gap] = False
        yield block, away


def purged_tail(n: int, share: float, gap: int) -> tuple[slice, slice]:
    """Part rows in order of time: those to learn from, and the last ``share``, ``gap`` rows after them.

    Where nothing would be left to learn from, all rows are, and the tail is empty.
    """
    first = n - round(n * share)
    return (
        (slice(0, first - gap), slice(first, n))
        if first - gap > 0 and first < n
        else (slice(0, n), slice(n, n))
    )


def frequencies(y: Classes, weight: Floats) -> Floats:
    """Weighted share of each class, with one row of average weight more of each; shape (3,)."""
    counts = np.bincount(y, weights=weight / max(float(weight.mean()), 1e-12), minlength=N_CLASSES) + 1.0
    return np.asarray(counts / counts.sum())


def pool_weights(chosen: Floats, weight: Floats, rounds: int = 200) -> Floats:
    """Find the convex weights under which the mean of several forecasts has the best log loss.

    Expectation maximisation for mixture weights: every round raises the likelihood, from equal weights on.

    Args:
        chosen: shape (rows, forecasts); probability that each forecast gave to the class that came.
        weight: shape (rows,).
        rounds: of the maximisation.

    Returns:
        shape (forecasts,), summing to one

    Source: Dempster, Laird and Rubin (1977); Stone (1961) for the linear opinion pool.
    """
    share = np.full(chosen.shape[1], 1 / chosen.shape[1])
    if not len(chosen):
        return share
    safe = np.maximum(chosen, FLOOR)
    for _ in range(rounds):
        credit = safe * share
        credit /= credit.sum(axis=1, keepdims=True)
        share = weight @ credit / weight.sum()
    return np.asarray(share / share.sum())


def by_model(X: NDArray[Any]) -> Floats:
    """Probabilities (rows, 3 x models) as (rows, models, 3).

    Raises:
        InputError: as in ``log_ratios``.
    """
    check_probabilities(X)
    return np.asarray(X, np.float64).reshape(len(X), -1, N_CLASSES)
