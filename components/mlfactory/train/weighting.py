"""What a fold's rows weigh: by their spans, those of unfinished labels, and nothing that the fold may not know."""

from collections.abc import Sequence

import numpy as np

from mlfactory.common.bars import Floats, Ints
from mlfactory.common.index import UNKNOWN, Index
from mlfactory.common.weights import Spans, sample_weights
from mlfactory.train.params import Weighting

Interval = tuple[int, int]
"""First and last bar, both included."""


def row_weights(
    index: Index,
    horizon: int,
    rows: Ints,
    barred: Sequence[Interval] = (),
    how: Weighting = Weighting(),  # noqa: B008
) -> Floats:
    """Weigh the rows that a model learns from.

    Args:
        index: spans of the labels, and returns of the bars.
        horizon: bars.
        rows: ascending.
        barred: bars of which the rows' part of the fold knows nothing; see ``unfinished``.
        how: what a row is worth, and how it ages.

    Returns:
        shape (len(rows),), mean 1
    """
    start, end = index.bar[rows] + 1, index.end[horizon][rows]
    return sample_weights(
        start,
        end,
        index.label[horizon][rows],
        unfinished=unfinished(index, horizon, rows, barred),
        log_return=_returns(index, start, end) if how.by == "return" else None,
        oldest=how.oldest,
    )


def unfinished(index: Index, horizon: int, rows: Ints, barred: Sequence[Interval]) -> Spans:
    """Spans of the events besides ``rows`` whose trades were open beside theirs, as far as the fold can know.

    Only those from the first of ``rows`` on count: what lies before is not of this part of the fold.
    Purged events are among them: their outcome is not known to the fold, but that they were open up to the first barred
    bar is. So are events whose outcome nobody knows. An event in a barred interval is not: the fold does not know it.

    Args:
        index: events, and how long their trades were open.
        horizon: bars.
        rows: ascending; rows that are weighed.
        barred: intervals of bars that the fold may not know; a span that reaches one ends before it.

    Returns:
        their first and last bars
    """
    until = index.open_until[horizon]
    counted = index.event & (until != UNKNOWN)
    counted[rows] = False
    counted[: rows[0] if len(rows) else None] = False
    bar, end = index.bar[counted], until[counted]
    known = np.ones(len(bar), np.bool_)
    for first, last in barred:
        known &= (bar < first) | (bar > last)
        end = np.where(bar < first, np.minimum(end, first - 1), end)
    known &= bar < end
    return bar[known] + 1, end[known]


def _returns(index: Index, start: Ints, end: Ints) -> Floats:
    """Return of every bar from the first start to the last end; 0 between segments, which no span covers."""
    if not len(start):
        return np.empty(0)
    first, last = int(start.min()), int(end.max())
    out = np.zeros(last - first + 1)
    inside = slice(*np.searchsorted(index.bar, (first, last + 1)))
    out[index.bar[inside] - first] = index.log_return[inside]
    return out
