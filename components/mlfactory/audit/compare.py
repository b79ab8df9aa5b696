"""The three comparisons: a corrupted future, a stretch of the series alone, a row from its look-back alone."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlfactory.audit.chain import NEVER, Chain, Column, Part, Values
from mlfactory.audit.cuts import Cut
from mlfactory.audit.garbage import GARBAGE
from mlfactory.common.bars import Bars, Ints

Bools = NDArray[np.bool_]
Tell = Callable[[str, int, int], None]
"""Is told what is being compared, how much is done, and how much there is."""


@dataclass
class Finding:
    """What the comparisons found out about one column."""

    column: Column
    cuts: set[int] = field(default_factory=set)
    """cuts before which the column had values to compare"""
    differed: set[int] = field(default_factory=set)
    """cuts after which some garbage changed it: what the comparison before them is worth"""
    leaks: list[dict[str, Any]] = field(default_factory=list)
    """cut, garbage and row of each change before a cut"""
    fed: int = 0
    """rows computed from their look-back alone"""
    origin: list[dict[str, Any]] = field(default_factory=list)
    """row, value and error of each that differs by more than the declared tolerance"""
    worst: float = 0.0
    """largest relative error from the look-back alone"""


@dataclass(frozen=True)
class Window:
    """A stretch of the series around a cut."""

    bars: Bars
    start: int
    """its first bar in the whole series"""
    cut: int
    """the first bar that is corrupted, counted from ``start``"""


def same_bits(a: Values, b: Values) -> Bools:
    """Tell where two arrays of one type hold the same bits; two NaN are the same value."""
    whole = np.dtype(f"i{a.dtype.itemsize}")
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    return np.asarray((a.view(whole) == b.view(whole)) | (np.isnan(a) & np.isnan(b)))


def window_of(bars: Bars, bar: int, before: int, after: int) -> Window:
    """Cut out the bars around a cut that its columns look back on, and some after it."""
    start = max(bar - before, 0)
    return Window(bars[start : bar + after], start, bar - start)


def corrupt_future(
    chain: Chain, window: Window, clean: Sequence[Part], cut: Cut, rng: np.random.Generator, found: "Findings"
) -> list[str]:
    """Corrupt the window from its cut on, in every way in turn; return those that the series has room for."""
    done = []
    for kind, corrupt in GARBAGE.items():
        other = corrupt(window.bars, window.cut, rng)
        if other is None or not len(other):
            continue
        done.append(kind)
        for part, changed in zip(clean, chain.parts(other), strict=True):
            _compare_past(part, changed, window, other, cut, kind, found)
    return done


def _compare_past(
    clean: Part, changed: Part, window: Window, other: Bars, cut: Cut, kind: str, found: "Findings"
) -> None:
    size = min(len(window.bars), len(other))
    same = same_bits(clean.values[:, :size], changed.values[:, :size])
    # a row that was final before the cut, or claims to be, must not have changed
    past: Bools = (clean.final[:size] < window.cut) | (changed.final[:size] < window.cut)
    # of bars after the cut only those regimes are final that the same segment goes on with
    past &= window.bars.segment[:size] == other.segment[:size]
    had_values: Bools = np.asarray(np.isfinite(clean.values[:, :size][:, past]).any(axis=1))
    leaks: Bools = np.asarray((~same & past).any(axis=1))
    differs: Bools = np.asarray((~same & ~past).any(axis=1))
    for i in np.flatnonzero(had_values | leaks | differs):
        finding = found[clean.columns[i]]
        if had_values[i]:
            finding.cuts.add(cut.bar)
        if differs[i]:
            finding.differed.add(cut.bar)
        if leaks[i]:
            row = window.start + int(np.flatnonzero(~same[i] & past)[-1])
            finding.leaks.append({"cut": cut.bar, "kind": cut.kind, "garbage": kind, "row": row})


class Findings:
    """Findings by column, in the order of the chain."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._by_column = {column: Finding(column) for part in parts for column in part.columns}

    def __getitem__(self, column: Column) -> Finding:
        return self._by_column[column]

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._by_column.values())


def compare_stretch(window: Window, alone: Part, whole: Part, found: Findings) -> None:
    """Compare every row that has its look-back inside a stretch with the row computed from the whole series."""
    rows = slice(window.start, window.start + len(window.bars))
    ready = (alone.final < len(window.bars)) & (window.bars.row_in_segment >= alone.lookback[:, None] - 1)
    bad = ~same_bits(alone.values, whole.values[:, rows]) & ready
    for i in np.flatnonzero(bad.any(axis=1)):
        error = np.abs(alone.values[i] - whole.values[i, rows])
        worst = int(np.argmax(np.where(bad[i], np.nan_to_num(error, nan=np.inf), -1.0)))
        _judge(found[alone.columns[i]], whole.values[i], window.start + worst, alone.values[i, worst])


def feed_lookback(chain: Chain, bars: Bars, whole: Part, row: int, found: Findings) -> None:
    """Compute a row from the look-back of each column alone and compare it with that from the whole series."""
    stop = max(int(whole.final[row]), row) + 1
    if whole.final[row] == NEVER or stop > len(bars):
        return
    for lookback in np.unique(whole.lookback[whole.lookback <= bars.row_in_segment[row] + 1]):
        start = row - int(lookback) + 1
        place = {whole.columns[i].name: i for i in np.flatnonzero(whole.lookback == lookback)}
        for alone in chain.of_stage(whole.group[0], bars[start:stop], place):
            for column, values in zip(alone.columns, alone.values, strict=True):
                found[column].fed += 1
                _judge(found[column], whole.values[place[column.name]], row, values[row - start])


def _judge(finding: Finding, values: Values, row: int, alone: Any) -> None:
    """Keep the error of a row from its look-back alone, relative to the column's recent scale."""
    value = values[row]
    if same_bits(np.array([value]), np.array([alone])).all():
        return
    lookback = finding.column.lookback or 1
    recent = np.abs(values[max(row - lookback, 0) : row + 1])
    scale = float(np.max(recent, initial=0.0, where=np.isfinite(recent)))
    known = bool(np.isfinite([value, alone]).all())
    error = abs(float(value) - float(alone)) / (scale or 1.0) if known else np.inf
    finding.worst = max(finding.worst, error)
    if not error <= finding.column.tolerance:
        finding.origin.append({"row": row, "value": float(value), "alone": float(alone), "error": error})


def rows_to_feed(bars: Bars, warm_up: int, count: int, rng: np.random.Generator) -> list[int]:
    """Choose rows that have their look-back: random ones, the last one, and first bars of sessions."""
    warm = np.flatnonzero(bars.row_in_segment >= warm_up)
    if not len(warm):
        warm = np.arange(len(bars) // 2, len(bars))
    opens = np.intersect1d(np.flatnonzero(np.diff(bars.session)) + 1, warm)
    chosen: Ints = np.concatenate([rng.choice(warm, count), rng.permutation(opens)[:2], [len(bars) - 1]])
    return sorted({int(row) for row in chosen})
