"""Parting rows in time: development and locked test, then the folds of each horizon."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import comb
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.errors import InputError
from mlfactory.common.index import UNKNOWN, Index
from mlfactory.common.predictions import CLASSES
from mlfactory.common.splits import (
    COMBINATORIAL,
    HELD_OUT,
    MIN_ROWS,
    TRAIN,
    Split,
    blocks,
    combinatorial,
    fold_codes,
    k_fold,
    refit_codes,
    walk_forward,
)
from mlfactory.dataset.params import Params

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
MOST_FOLDS: Final = 500
"""the index has a column per fold, and every model is fitted once per fold"""


@dataclass(frozen=True)
class Rows:
    """The rows of every matrix, in order of time; arrays of shape (n,)."""

    bar: Ints
    minute: Ints
    segment: Ints
    session: Ints
    log_return: Floats
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
    open_until: Ints
    """bar position; -1 where no trade was opened"""
    exit: Ints
    """shape (n, 2); bar position at which the long and the short trade end"""
    long_net: Floats
    short_net: Floats


@dataclass(frozen=True)
class Embargo:
    """How long after a held-out label no training row may start."""

    length: int
    by_time: bool
    """in minutes, and spans are compared by time; otherwise in bars"""

    @property
    def unit(self) -> str:
        """Unit of ``length``."""
        return "minutes" if self.by_time else "bars"


def choose_rows(
    minute: Ints,
    segment: Ints,
    session: Ints,
    log_return: Floats,
    *,
    lookback: int,
    bar_minutes: int,
    params: Params,
) -> Rows:
    """Keep the bars after the warm-up of each segment, mark the events, and lock the end away.

    Args:
        minute: shape (bars,); open time.
        segment: shape (bars,), ascending.
        session: shape (bars,).
        log_return: shape (bars,).
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
    rows = Rows(
        bar,
        minute[bar],
        segment[bar],
        session[bar],
        log_return[bar],
        event,
        min(test_row, len(bar) - 1),
    )
    for name, found in (("development", rows.development), ("locked test", rows.test)):
        if len(found) < MIN_ROWS:
            raise InputError(
                f"the {name} has {len(found)} rows, of {len(bar)} after a warm-up of {lookback - 1} bars and with "
                f"stride {params.stride}; at least {MIN_ROWS} are needed: give more bars"
            )
    return rows


def splits(params: Params) -> tuple[int, list[Split]]:
    """Number of blocks that the development events are cut into, and the split of each fold.

    Raises:
        InputError: a parameter of another scheme is set, or the choices of held-out blocks are none or too many.
    """
    _check_scheme(params)
    if params.scheme == "kfold":
        return params.n_folds, k_fold(params.n_folds)
    if params.scheme == COMBINATORIAL:
        return params.n_folds, combinatorial(params.n_folds, params.held_out_blocks)
    return params.n_folds + 1, walk_forward(params.n_folds, params.train_blocks or None)


def _check_scheme(params: Params) -> None:
    for name, scheme in (("train_blocks", "walk_forward"), ("held_out_blocks", COMBINATORIAL)):
        value, default = getattr(params, name), Params.model_fields[name].default
        if params.scheme != scheme and value != default:
            raise InputError(
                f"dataset.{name} is {value}: only the scheme {scheme} has it; it is {params.scheme}"
            )
    if params.scheme != COMBINATORIAL:
        return
    n, k = params.n_folds, params.held_out_blocks
    if k >= n:
        raise InputError(
            f"dataset.held_out_blocks is {k} of {n} blocks (n_folds): nothing is left to train on"
        )
    if (count := comb(n, k)) > MOST_FOLDS:
        raise InputError(
            f"dataset.n_folds {n} and held_out_blocks {k} make {count:,} folds, each of which fits every model; at "
            f"most {MOST_FOLDS} are allowed: choose fewer blocks, or hold out fewer at once"
        )


def embargo_of(params: Params, rows: Rows, labels: Mapping[int, Labels], longest: int) -> Embargo:
    """The embargo asked for, or one that covers the longest label.

    Args:
        params: what spans are compared by, and the embargo.
        rows: of the matrices.
        labels: per horizon, at those rows.
        longest: time limit of the longest label, in bars.

    Raises:
        InputError: an embargo is given in the other unit.
    """
    by_time = params.purge_by == "time"
    given, other = ("minutes", "bars") if by_time else ("bars", "minutes")
    if value := getattr(params, f"embargo_{other}"):
        raise InputError(
            f"dataset.embargo_{other} is {value}, but spans are compared by {params.purge_by}: give "
            f"dataset.embargo_{given}, or change dataset.purge_by"
        )
    if length := int(getattr(params, f"embargo_{given}")):
        return Embargo(length, by_time)
    if not by_time:
        return Embargo(longest, by_time)
    spans = [
        _minute_of(rows, found.end[known]) - rows.minute[known]
        for found in labels.values()
        if (known := _known(rows, found)).any()
    ]
    return Embargo(max((int(span.max()) for span in spans), default=0), by_time)


def _minute_of(rows: Rows, bar: Ints) -> Ints:
    """Open time of bars that lie between two rows of one segment: each of them is a row."""
    return rows.minute[np.searchsorted(rows.bar, bar)]


def build_index(rows: Rows, labels: Mapping[int, Labels], embargo: Embargo, params: Params) -> Index:
    """Part the rows of every horizon and blank what the locked test would tell.

    Every horizon holds out the same blocks of rows; within them, rows whose label is not known or reaches
    into the locked test are unused.

    Args:
        rows: the rows of the matrices.
        labels: per horizon, at those rows.
        embargo: and what spans are compared by.
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
        log_return=np.where(rows.bar < rows.test_bar, rows.log_return, np.nan),
        event=rows.event,
        horizons=tuple(labels),
        n_folds=len(folds),
        label={h: np.where(known[h], x.label, UNKNOWN).astype(np.int8) for h, x in labels.items()},
        end={h: np.where(known[h], x.end, UNKNOWN) for h, x in labels.items()},
        open_until={h: _open_until(rows, x) for h, x in labels.items()},
        exit={h: np.where(known[h][:, None], x.exit, UNKNOWN) for h, x in labels.items()},
        long_net={h: np.where(known[h], x.long_net, np.nan) for h, x in labels.items()},
        short_net={h: np.where(known[h], x.short_net, np.nan) for h, x in labels.items()},
        code=codes,
    )


def _known(rows: Rows, found: Labels) -> Bools:
    """Tell which rows have a label that is finished before the locked test starts."""
    return found.valid & (rows.bar < rows.test_bar) & (found.end < rows.test_bar)


def _open_until(rows: Rows, found: Labels) -> Ints:
    """Last bar before the locked test over which a trade of each row was open."""
    opened = (found.open_until != UNKNOWN) & (rows.bar < rows.test_bar)
    return np.where(opened, np.minimum(found.open_until, rows.test_bar - 1), UNKNOWN)


def _codes(
    rows: Rows, used: Ints, found: Labels, block: Ints, folds: list[Split], embargo: Embargo, params: Params
) -> NDArray[np.uint8]:
    start, end, test_start = rows.bar[used], found.end[used], rows.test_bar
    if embargo.by_time:
        start, end, test_start = _minute_of(rows, start), _minute_of(rows, end), rows.minute[rows.test_row]
    share, length, unit = params.inner_fraction, embargo.length, embargo.unit
    out = np.zeros((len(rows.bar), len(folds) + 1), np.uint8)
    out[used, :-1] = fold_codes(
        start, end, block[used], folds, embargo=length, inner_fraction=share, unit=unit
    )
    out[used, -1] = refit_codes(start, end, int(test_start), embargo=length, inner_fraction=share, unit=unit)[
        1
    ]
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
