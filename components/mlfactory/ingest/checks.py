"""The rules that a bar must keep; a row that breaks one is set aside with the reason, never repaired."""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.bars import PRICES, Ints
from mlfactory.common.errors import InputError
from mlfactory.ingest.source import NO_TIME, Rows

KEPT: Final = 0
REASONS: Final = (
    "kept",
    "unreadable_timestamp",
    "price_not_finite",
    "price_not_positive",
    "high_below_open_or_close",
    "low_above_open_or_close",
    "volume_not_finite",
    "volume_negative",
    "off_bar_grid",
    "outside_session",
    "duplicate",
    "conflicting_duplicate",
)
"""A row is set aside for the first of these that applies; its position is the reason's code."""
CODE: Final = {reason: code for code, reason in enumerate(REASONS)}
_MINUTE: Final = 60_000_000  # microseconds

Codes = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def row_reasons(rows: Rows) -> Codes:
    """Judge each row by itself: code of the first broken rule, ``KEPT`` where there is none; shape (n,)."""
    opened, high, low, close = (rows.values[name] for name in PRICES)
    volume = rows.values["volume"]
    prices = np.stack([opened, high, low, close])
    no_volume = bool(np.isnan(volume).all())
    with np.errstate(invalid="ignore"):
        broken = {
            "unreadable_timestamp": rows.microsecond == NO_TIME,
            "price_not_finite": ~np.isfinite(prices).all(axis=0),
            "price_not_positive": (prices <= 0).any(axis=0),
            "high_below_open_or_close": high < np.maximum(opened, close),
            "low_above_open_or_close": low > np.minimum(opened, close),
            "volume_not_finite": np.zeros(len(rows), bool) if no_volume else ~np.isfinite(volume),
            "volume_negative": volume < 0,
        }
    return _first(broken, len(rows))


def _first(broken: dict[str, Mask], n: int) -> Codes:
    code = np.zeros(n, np.uint8)
    for reason, mask in broken.items():
        code[mask & (code == KEPT)] = CODE[reason]
    return code


@dataclass(frozen=True)
class Grid:
    """The instants at which bars may be stamped."""

    bar_minutes: int
    phase: int
    """minutes past the grid step"""

    @property
    def step(self) -> int:
        """Minutes between grid instants: bars longer than an hour follow local clocks, which move."""
        return math.gcd(self.bar_minutes, 60)

    def contains(self, microsecond: Ints) -> Mask:
        """Whether each stamp is a whole minute on the grid."""
        on_grid = (microsecond // _MINUTE - self.phase) % self.step == 0
        return np.asarray(on_grid & (microsecond % _MINUTE == 0))


def detect_grid(microsecond: Ints, bar_minutes: int) -> Grid:
    """Find the bar length (most frequent step between stamps, unless given) and the stamps' phase.

    Raises:
        InputError: fewer than two stamps, or the most frequent step is not between a minute and a day.
    """
    minute = np.unique(microsecond // _MINUTE)
    if not bar_minutes:
        if len(minute) < 2:
            raise InputError(f"the source has {len(minute)} usable stamps: the bar length takes two or more")
        bar_minutes = _mode(np.minimum(np.diff(minute), 1441))
        if bar_minutes > 1440:
            raise InputError(
                "the stamps are mostly more than a day apart: the source must hold bars within days"
            )
    step = math.gcd(bar_minutes, 60)
    return Grid(bar_minutes, _mode(minute % step))


def _mode(values: Ints) -> int:
    return int(np.argmax(np.bincount(values)))


def duplicate_reasons(rows: Rows) -> Codes:
    """Judge rows that share a stamp: the first in the source stays, equal ones are duplicates, others conflict.

    Args:
        rows: sorted by stamp, and by position in the source within a stamp.
    """
    again = np.zeros(len(rows), bool)
    again[1:] = np.diff(rows.microsecond) == 0
    first = np.maximum.accumulate(np.where(again, 0, np.arange(len(rows))))
    equal = np.ones(len(rows), bool)
    for values in rows.values.values():
        equal &= (values == values[first]) | (np.isnan(values) & np.isnan(values[first]))
    return _first({"duplicate": again & equal, "conflicting_duplicate": again}, len(rows))


def reason_counts(code: NDArray[Any]) -> dict[str, int]:
    """Count the rows set aside by reason, in order of ``REASONS``; reasons without rows are left out."""
    counts = np.bincount(code, minlength=len(REASONS))
    return {reason: int(counts[CODE[reason]]) for reason in REASONS[1:] if counts[CODE[reason]]}
