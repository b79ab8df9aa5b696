"""Cross-validation folds that leak nothing through overlapping labels.

An event's span is the closed interval [start, end] of the bars that its label has seen. Training and held-out
spans never meet, and an embargo follows every held-out span. Positions and timestamps serve alike.

Source: Lopez de Prado (2018), Advances in Financial Machine Learning, ch. 7 and 12.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.errors import InputError

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Codes = NDArray[np.uint8]

UNUSED: Final = 0
"""no event, no known label, purged or embargoed"""
TRAIN: Final = 1
INNER: Final = 2
"""validation rows for early stopping, taken from the training rows"""
HELD_OUT: Final = 3
REFIT: Final = -1
"""the fold number of the model that is refitted on the development rows, the last of which validate it, and
predicts the locked test"""
COMBINATORIAL: Final = "combinatorial"
"""the scheme whose folds hold a row out more than once"""
MIN_ROWS: Final = 20
"""fewest rows that a fold may keep in each of its training, inner and held-out parts"""


@dataclass(frozen=True)
class Split:
    """One train/held-out split, in numbers of contiguous blocks of events."""

    held_out: tuple[int, ...]
    train: tuple[int, ...]


def k_fold(n_folds: int) -> list[Split]:
    """Hold out each of ``n_folds`` blocks once and train on all others, before and after it."""
    return [Split((k,), tuple(j for j in range(n_folds) if j != k)) for k in range(n_folds)]


def walk_forward(n_folds: int, train_blocks: int | None = None) -> list[Split]:
    """Hold out blocks 1 to ``n_folds``; train on all blocks before each, or on the last ``train_blocks``."""
    first = [0 if train_blocks is None else max(0, k - train_blocks) for k in range(n_folds + 1)]
    return [Split((k,), tuple(range(first[k], k))) for k in range(1, n_folds + 1)]


def combinatorial(n_blocks: int, n_held_out: int) -> list[Split]:
    """Hold out every choice of ``n_held_out`` out of ``n_blocks`` blocks."""
    blocks = range(n_blocks)
    return [
        Split(held, tuple(b for b in blocks if b not in held)) for held in combinations(blocks, n_held_out)
    ]


def path_numbers(held_out: Bools) -> Ints:
    """Put held-out predictions together to whole histories: the n-th split that holds a row out belongs to path n.

    Args:
        held_out: shape (n, splits).

    Returns:
        shape (n, splits); from 0 on, -1 where a split does not hold the row out
    """
    return np.asarray(np.where(held_out, np.cumsum(held_out, axis=1) - 1, -1), np.int64)


def blocks(n_events: int, n_blocks: int) -> Ints:
    """Number events, in order of time, by contiguous blocks of equal size (the first ones by one larger)."""
    edges = [len(part) for part in np.array_split(np.empty(n_events, np.int8), n_blocks)]
    return np.repeat(np.arange(n_blocks, dtype=np.int64), edges)


def meets(start: Ints, end: Ints, held_start: Ints, held_end: Ints, embargo: int = 0) -> Bools:
    """Tell which spans meet a held-out span, or start at most ``embargo`` after the end of one.

    Args:
        start: shape (n,); first bar or instant of each span, in any order.
        end: shape (n,); last bar or instant, not before ``start``.
        held_start: shape (m,); the held-out spans.
        held_end: shape (m,).
        embargo: in the unit of ``end``.

    Returns:
        shape (n,)
    """
    if not len(held_start):
        return np.zeros(len(start), np.bool_)
    order = np.argsort(held_start, kind="stable")
    reach = np.maximum.accumulate(held_end[order] + embargo)
    begun = np.searchsorted(held_start[order], end, side="right")
    met: Bools = (begun > 0) & (reach[begun - 1] >= start)
    return met


def clear_of(sealed: Sequence[tuple[int, int]], first: Ints, last: Ints) -> Bools:
    """Tell which closed intervals [first, last] meet none of the closed intervals ``sealed``.

    Args:
        sealed: few; for example from the first held-out bar to the end of the embargo.
        first: shape (n,); for example the first bar of each window.
        last: shape (n,).

    Returns:
        shape (n,)
    """
    clear = np.ones(len(first), np.bool_)
    for start, end in sealed:
        clear &= (first > end) | (last < start)
    return clear


def inner_codes(start: Ints, end: Ints, train: Bools, fraction: float) -> Codes:
    """Part the training events into TRAIN and INNER: the last ``fraction`` in time, purged against the rest.

    No training event follows the inner part, so it needs no embargo.

    Args:
        start: shape (n,), ascending.
        end: shape (n,).
        train: shape (n,); the events that a fold may train on.
        fraction: share of the training events; 0 makes no inner part.

    Returns:
        shape (n,); TRAIN, INNER, or UNUSED where purged and outside ``train``.
    """
    out = train.astype(np.uint8)  # TRAIN is 1
    if rows := round(np.count_nonzero(train) * fraction):
        first = int(np.flatnonzero(train)[-rows])
        out[first:] *= INNER
        out[:first] *= end[:first] < start[first]
    return out


def fold_codes(
    start: Ints,
    end: Ints,
    block: Ints,
    splits: Sequence[Split],
    *,
    embargo: int,
    inner_fraction: float,
    unit: str = "bars",
) -> Codes:
    """Give every event its part in every split: UNUSED, TRAIN, INNER or HELD_OUT.

    Args:
        start: shape (n,), ascending; bar or instant of each event.
        end: shape (n,); end of its label's span.
        block: shape (n,), ascending; block number of each event.
        splits: which blocks are held out and which may be trained on.
        embargo: bars (or time) after each held-out span in which no training event may start.
        inner_fraction: share of the training events that validates early stopping.
        unit: of spans and embargo, for messages.

    Returns:
        shape (n, splits)

    Raises:
        InputError: a label ends before it starts, events or blocks are not in order of time, or a split keeps
            fewer than ``MIN_ROWS`` rows in one of its parts.
    """
    _check_spans(start, end)
    if (block[1:] < block[:-1]).any():
        raise InputError("blocks of events are not in order of time")
    n_blocks = _count_blocks(splits)
    edges = np.searchsorted(block, np.arange(n_blocks + 1)).tolist()
    events = [slice(a, b) for a, b in pairwise(edges)]
    held_blocks = {b for split in splits for b in split.held_out if events[b].start < events[b].stop}
    near = {b: _near(start, end, events[b], embargo) for b in held_blocks}
    out = np.zeros((len(splits), len(start)), np.uint8)  # a split's codes lie together in memory
    for k, (split, code) in enumerate(zip(splits, out, strict=True)):
        for b in split.train:
            code[events[b]] = TRAIN
        held = [b for b in split.held_out if b in near]
        for b in held:
            for purged in (*near[b], events[b]):
                code[purged] = UNUSED
        train = code.view(np.bool_)  # of nothing but TRAIN so far
        parts = {"training": int(np.count_nonzero(train))}
        if inner_fraction > 0:
            code[:] = inner_codes(start, end, train, inner_fraction)
            parts = _count_parts(code)
        for b in held:
            code[events[b]] = HELD_OUT
        parts["held-out"] = sum(events[b].stop - events[b].start for b in held)
        where = f"fold {k + 1} of {len(splits)}"
        _check_parts(parts, len(code), where, inner_fraction, f"{embargo} {unit}")
    return out.T


def _near(start: Ints, end: Ints, held: slice, embargo: int) -> tuple[Ints, slice]:
    """Events that may not be trained on where a block is held out: those before it that meet it, and those after."""
    before = np.flatnonzero(end[: held.start] >= start[held.start])
    last = end[held].max() + embargo
    return before, slice(held.stop, int(np.searchsorted(start, last, side="right")))


def _count_blocks(splits: Sequence[Split]) -> int:
    return 1 + max(block for split in splits for block in (*split.held_out, *split.train))


def refit_codes(
    start: Ints, end: Ints, test_start: int, *, embargo: int, inner_fraction: float, unit: str = "bars"
) -> tuple[Bools, Codes]:
    """Part the development events for the model that predicts the locked test.

    Args:
        start: shape (n,), ascending; development events only.
        end: shape (n,).
        test_start: first bar (or instant) of the locked test.
        embargo: no training row follows the test or the inner part, so it only appears in an error.
        inner_fraction: share of the training events that validates early stopping.
        unit: of spans and embargo, for messages.

    Returns:
        the events whose span ends before the test, shape (n,); and the codes, shape (n,)

    Raises:
        InputError: fewer than ``MIN_ROWS`` rows are left in a part.
    """
    _check_spans(start, end)
    finished: Bools = end < test_start
    code = inner_codes(start, end, finished, inner_fraction)
    _check_parts(_count_parts(code), len(code), "the refit", inner_fraction, f"{embargo} {unit}")
    return finished, code


def _check_spans(start: Ints, end: Ints) -> None:
    if (end < start).any():
        i = int(np.argmax(end < start))
        raise InputError(f"the label of the event at {start[i]} ends at {end[i]}, before the event")
    if (start[1:] < start[:-1]).any():
        raise InputError("events are not in order of time")


def _count_parts(code: Codes) -> dict[str, int]:
    return {
        name: int(np.count_nonzero(code == part))
        for name, part in (("training", TRAIN), ("inner validation", INNER))
    }


def _check_parts(
    parts: Mapping[str, int], events: int, where: str, inner_fraction: float, embargo: str
) -> None:
    for name, kept in parts.items():
        if kept < MIN_ROWS and (name != "inner validation" or inner_fraction > 0):
            raise InputError(
                f"{where} keeps {kept} {name} rows of {events} after purging by label end and an embargo "
                f"of {embargo}; at least {MIN_ROWS} are needed: give more bars, fewer folds or a shorter embargo"
            )
