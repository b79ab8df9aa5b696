"""Sample weights from the spans of a fold's own training labels.

Labels that overlap in time tell partly the same story; a row counts for the share of its span that it has to itself.

Source: Lopez de Prado (2018), Advances in Financial Machine Learning, ch. 4.
"""

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.errors import InputError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def concurrency(start: Ints, end: Ints) -> Ints:
    """Count the spans that cover each bar, from the first start to the last end.

    Args:
        start: shape (n,); first bar of each closed span.
        end: shape (n,); last bar.

    Returns:
        shape (end.max() - start.min() + 1,)
    """
    first = int(start.min())
    bars = int(end.max()) - first + 1
    begun = np.bincount(start - first, minlength=bars)
    ended = np.bincount(end - first + 1, minlength=bars + 1)[:bars]
    return np.cumsum(begun - ended)


def uniqueness(start: Ints, end: Ints) -> Floats:
    """Average, over the bars of each span, of one over the number of spans that cover the bar.

    Args:
        start: shape (n,); first bar of each closed span; of training rows only.
        end: shape (n,); last bar.

    Returns:
        shape (n,), in (0, 1]

    Raises:
        InputError: a span ends before it starts.
    """
    if not len(start):
        return np.empty(0)
    if (end < start).any():
        raise InputError(f"{int((end < start).sum())} label spans end before they start")
    covered = concurrency(start, end)
    share = np.r_[0.0, np.cumsum(np.divide(1.0, covered, where=covered > 0, out=np.zeros(len(covered))))]
    first = start.min()
    mean: Floats = (share[end - first + 1] - share[start - first]) / (end - start + 1)
    return mean


def time_decay(unique: Floats, oldest: float) -> Floats:
    """Let weights fall linearly with age, measured in cumulative uniqueness; the newest row keeps 1.

    Args:
        unique: shape (n,); uniqueness of rows in order of time.
        oldest: weight that the oldest row tends to, in (-1, 1]; 1 is no decay, and below 0 the oldest share
            ``-oldest`` of the rows weighs nothing.

    Returns:
        shape (n,)

    Raises:
        InputError: ``oldest`` is out of range.
    """
    if not -1 < oldest <= 1:
        raise InputError(f"the weight of the oldest row is {oldest}; it must lie in (-1, 1]")
    age = np.cumsum(unique)
    if not len(age):
        return np.empty(0)
    slope = (1 - oldest) / age[-1] if oldest >= 0 else 1 / ((oldest + 1) * age[-1])
    decayed: Floats = np.maximum(1 - slope * (age[-1] - age), 0.0)
    return decayed


def sample_weights(start: Ints, end: Ints, *, oldest: float = 1.0) -> Floats:
    """Weigh training rows by average uniqueness and, where asked, by age.

    Args:
        start: shape (n,), ascending; bar of each training row.
        end: shape (n,); last bar of its label's span.
        oldest: see ``time_decay``; 1 is no decay.

    Returns:
        shape (n,), mean 1

    Raises:
        InputError: a span ends before it starts, or ``oldest`` is out of range.
    """
    unique = uniqueness(start, end)
    weight = unique * time_decay(unique, oldest)
    return weight / weight.mean() if len(weight) else weight
