"""Parting rows in time: development and locked test, then the folds of each horizon."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.errors import InputError
from mlfactory.common.index import UNKNOWN, Index
from mlfactory.common.predictions import CLASSES
from mlfactory.common.splits import (
    HELD_OUT,
    MIN_ROWS,
    TRAIN,
    Split,
    blocks,
    fold_codes,
    k_fold,
    refit_codes,
    walk_forward,
)
from mlfactory.dataset.params import Params

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """The rows of every matrix, in order of time; arrays of shape (n,)."""

    bar: Ints
    minute: Ints
    segment: Ints
    session: Ints
    event: Bools
    test_row: int
    """first row of the locked test"""

    @property
    def test_bar(self) -> int:
        """First bar of the locked test."""
        return int(self.bar[self.test_row])

    @property
    def development(self) -> Ints:
        """Rows of the events before the locked test."""
        return np.flatnonzero(self.event[: self.test_row])

    @property
    def test(self) -> Ints:
        """Rows of the events in the locked test."""
        return self.test_row + np.flatnonzero(self.event[self.test_row :])


@dataclass(frozen=True)
class Labels:
    """The labels of one horizon at the matrix rows; arrays of shape (n,)."""

    label: NDArray[np.int8]
    """0 short, 1 flat, 2 long"""
    valid: Bools
    end: Ints
    """bar position"""
    long_net: Floats
    short_net: Floats


def choose_rows(
    minute: Ints, segment: Ints, session: Ints, *, lookback: int, bar_minutes: int, params: Params
) -> Rows:
    """Keep the bars after the warm-up of each segment, mark the events, and lock the end away.

    Args:
        minute: shape (bars,); open time.
        segment: shape (bars,), ascending.
        session: shape (bars,).
        lookback: bars that a row's columns need, its own included.
        bar_minutes: minutes per bar.
        params: stride and share of the locked test.

    Raises:
        InputError: no row is left, or too few for a locked test.
    """
    first = np.flatnonzero(np.diff(segment, prepend=segment[0] - 1))
    row_in_segment = np.arange(len(segment)) - np.repeat(first, np.diff(np.r_[first, len(segment)]))
    bar = np.flatnonzero(row_in_segment >= lookback - 1)
    if not len(bar):
        raise InputError(
            f"the columns need {lookback} bars of history without a hole, and the longest of {len(first)} segments "
            f"has {row_in_segment.max() + 1} of {len(minute)} bars: give more bars, bridge longer holes with "
            f"ingest.max_gap_minutes, or leave out the columns with the longest look-back (`mlfactory features` "
            f"lists it) in dataset.feature_sets"
        )
    event = (minute[bar] // bar_minutes) % params.stride == 0
    test_row = len(bar) - round(len(bar) * params.test_fraction)
    rows = Rows(bar, minute[bar], segment[bar], session[bar], event, min(test_row, len(bar) - 1))
    for name, found in (("development", rows.development), ("locked test", rows.test)):
        if len(found) < MIN_ROWS:
            raise InputError(
                f"the {name} has {len(found)} rows, of {len(bar)} after a warm-up of {lookback - 1} bars and with "
                f"stride {params.stride}; at least {MIN_ROWS} are needed: give more bars"
            )
    return rows


def splits(params: Params) -> tuple[int, list[Split]]:
    """Number of blocks that the development events are cut into, and the split of each fold."""
    if params.scheme == "kfold":
        return params.n_folds, k_fold(params.n_folds)
    return params.n_folds + 1, walk_forward(params.n_folds, params.train_blocks or None)


def build_index(rows: Rows, labels: Mapping[int, Labels], embargo: int, params: Params) -> Index:
    """Part the rows of every horizon and blank what the locked test would tell.

    Every horizon holds out the same blocks of rows; within them, rows whose label is not known or reaches
    into the locked test are unused.

    Args:
        rows: the rows of the matrices.
        labels: per horizon, at those rows.
        embargo: bars.
        params: scheme, folds and inner share.

    Raises:
        InputError: a part of a fold is too small, or its training rows lack a class.
    """
    n_blocks, folds = splits(params)
    block = np.full(len(rows.bar), -1, np.int64)
    block[rows.development] = blocks(len(rows.development), n_blocks)
    known = {h: _known(rows, found) for h, found in labels.items()}
    codes = {}
    for h, found in labels.items():
        used = np.flatnonzero(known[h] & (block >= 0))
        try:
            codes[h] = _codes(rows, used, found, block, folds, embargo, params)
        except InputError as error:
            raise InputError(f"horizon {h}: {error}") from None
        _check_classes(h, found.label, codes[h])
    return Index(
        bar=rows.bar,
        minute=rows.minute,
        segment=rows.segment,
        session=rows.session,
        event=rows.event,
        horizons=tuple(labels),
        n_folds=len(folds),
        label={h: np.where(known[h], x.label, UNKNOWN).astype(np.int8) for h, x in labels.items()},
        end={h: np.where(known[h], x.end, UNKNOWN) for h, x in labels.items()},
        long_net={h: np.where(known[h], x.long_net, np.nan) for h, x in labels.items()},
        short_net={h: np.where(known[h], x.short_net, np.nan) for h, x in labels.items()},
        code=codes,
    )


def _known(rows: Rows, found: Labels) -> Bools:
    """Tell which rows have a label that is finished before the locked test starts."""
    return found.valid & (rows.bar < rows.test_bar) & (found.end < rows.test_bar)


def _codes(
    rows: Rows, used: Ints, found: Labels, block: Ints, folds: list[Split], embargo: int, params: Params
) -> NDArray[np.uint8]:
    start, end = rows.bar[used], found.end[used]
    share = params.inner_fraction
    out = np.zeros((len(rows.bar), len(folds) + 1), np.uint8)
    out[used, :-1] = fold_codes(start, end, block[used], folds, embargo=embargo, inner_fraction=share)
    out[used, -1] = refit_codes(start, end, rows.test_bar, embargo=embargo, inner_fraction=share)[1]
    out[rows.test, -1] = HELD_OUT
    return out


def _check_classes(horizon: int, label: NDArray[np.int8], code: NDArray[np.uint8]) -> None:
    for k in range(code.shape[1]):
        found = np.bincount(label[code[:, k] == TRAIN], minlength=len(CLASSES))
        if missing := [name for name, rows in zip(CLASSES, found, strict=True) if not rows]:
            where = "the refit" if k == code.shape[1] - 1 else f"fold {k + 1} of {code.shape[1] - 1}"
            raise InputError(
                f"horizon {horizon}: the {found.sum()} training rows of {where} hold no label "
                f"{' or '.join(missing)}: give more bars or nearer barriers"
            )
