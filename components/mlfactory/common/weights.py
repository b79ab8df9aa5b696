"""Sample weights from the spans of a fold's own training labels.

Labels that overlap in time tell partly the same story; a row counts for the share of its span that it has to itself.
Two labels overlap where both depend on the return of one bar, so a span runs from the bar of the entry, after the row's
own bar, to the end. Labels whose outcome is not known yet overlap like others: without them a row's weight would fall
when they finish.

Source: Lopez de Prado (2018), Advances in Financial Machine Learning, ch. 4.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.errors import InputError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Spans = tuple[Ints, Ints]
"""First and last bar of closed spans; each of shape (m,)."""
_SHARE_BITS: Final = 48  # after the point: spans of up to 32,767 bars do not overflow
_RETURN_BITS: Final = 56  # likewise: log returns of up to 127
NO_SPANS: Final[Spans] = (np.empty(0, np.int64), np.empty(0, np.int64))


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


def uniqueness(start: Ints, end: Ints, unfinished: Spans = NO_SPANS) -> Floats:
    """Average, over the bars of each span, of one over the number of spans that cover the bar.

    Args:
        start: shape (n,); first bar of each closed span; of training rows only.
        end: shape (n,); last bar.
        unfinished: spans of rows that count but are not weighed: their outcome is not known, so far as they go.

    Returns:
        shape (n,), in (0, 1]

    Raises:
        InputError: a span ends before it starts.
    """
    if not len(start):
        return np.empty(0)
    _check(start, end)
    covered = _covered(start, end, unfinished)
    share = np.divide(1.0, covered, where=covered > 0, out=np.zeros(len(covered)))
    return np.asarray(_span_sums(share, start, end, _SHARE_BITS) / (end - start + 1))


def return_attribution(start: Ints, end: Ints, log_return: Floats, unfinished: Spans = NO_SPANS) -> Floats:
    """Size of the return that each label accounts for: every bar's return is shared by the spans that cover it.

    Args:
        start: shape (n,); first bar of each closed span.
        end: shape (n,); last bar.
        log_return: shape (end.max() - start.min() + 1,); from the close before to the close of each bar.
        unfinished: as in ``uniqueness``.

    Returns:
        shape (n,), not negative

    Raises:
        InputError: a span ends before it starts.
    """
    if not len(start):
        return np.empty(0)
    _check(start, end)
    covered = _covered(start, end, unfinished)
    share = np.divide(log_return, covered, where=covered > 0, out=np.zeros(len(covered)))
    return np.abs(_span_sums(share, start, end, _RETURN_BITS))


def _check(start: Ints, end: Ints) -> None:
    if (end < start).any():
        raise InputError(f"{int((end < start).sum())} label spans end before they start")


def _covered(start: Ints, end: Ints, unfinished: Spans) -> Ints:
    """Count the spans that cover each bar from the first start to the last end of the rows that are weighed."""
    first, last = start.min(), end.max()
    near = (unfinished[1] >= first) & (unfinished[0] <= last)
    others = (np.maximum(unfinished[0][near], first), np.minimum(unfinished[1][near], last))
    return concurrency(np.concatenate([start, others[0]]), np.concatenate([end, others[1]]))


def _span_sums(values: Floats, start: Ints, end: Ints, bits: int) -> Floats:
    """Sum the values from the first start on over each span, in fixed point.

    Running sums of floats carry rounding from where they begin, so the last bits of a row's weight would depend on
    which rows are there besides it. Whole numbers are exact; where they overflow, it cancels in the differences.
    """
    first = start.min()
    whole = np.rint(np.ldexp(values, bits)).astype(np.int64)
    running = np.concatenate([np.zeros(1, np.int64), np.cumsum(whole)])
    total = running[end - first + 1] - running[start - first]
    return np.asarray(np.ldexp(total.astype(np.float64), -bits))


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


def sample_weights(
    start: Ints,
    end: Ints,
    label: NDArray[np.int8],
    *,
    unfinished: Spans = NO_SPANS,
    log_return: Floats | None = None,
    oldest: float = 1.0,
) -> Floats:
    """Weigh training rows by average uniqueness or by return, and by age where asked; each class as much as its rows.

    A span is short where a barrier is hit soon and its return is large, so either weight alone would favour the
    classes of hit barriers, and every model would predict them more often than they come. Within its class a row
    weighs what it is worth; the class in total weighs as its rows do, decayed by age.

    Args:
        start: shape (n,), ascending; first bar whose return each label depends on.
        end: shape (n,); the last one.
        label: shape (n,); classes 0, 1, 2.
        unfinished: spans that count in the concurrency and are not weighed.
        log_return: see ``return_attribution``, which takes the place of uniqueness where it is given.
        oldest: see ``time_decay``; 1 is no decay.

    Returns:
        shape (n,), mean 1

    Raises:
        InputError: a span ends before it starts, or ``oldest`` is out of range.
    """
    unique = uniqueness(start, end, unfinished)
    decay = time_decay(unique, oldest)
    worth = unique if log_return is None else return_attribution(start, end, log_return, unfinished)
    nothing = np.bincount(label, weights=worth) == 0  # a class whose returns are all zero
    weight = np.where(nothing[label], unique, worth) * decay
    total, rows = np.bincount(label, weights=weight), np.bincount(label, weights=decay)
    weight = weight * np.divide(rows, total, out=np.ones(len(rows)), where=total > 0)[label]
    return np.asarray(weight / weight.mean() if len(weight) else weight)
