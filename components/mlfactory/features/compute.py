"""All feature columns of a series, block by block; nothing reaches across a segment.

A block is computed together with the bars before it that its columns look back on. Because a value depends on its
look-back alone, neither the size of the blocks nor how many are computed at once changes a bit of the result. Small
blocks keep the work inside the processor's cache, and every core of the container takes one.
"""

import difflib
from collections.abc import Container, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.bars import Bars
from mlfactory.common.errors import InputError
from mlfactory.common.jit import kernel
from mlfactory.common.ladder import Ladder
from mlfactory.common.machine import cores
from mlfactory.features.kernels import last_closed
from mlfactory.features.params import Params
from mlfactory.features.registry import Column, Feature, describe
from mlfactory.features.segment import Floats, Floats32, Segment, Setting, StepBars

Regime = Mapping[str, Floats32]
_Gap = tuple[
    Column, Floats32, int
]  # a column with a value that is not finite, its rows, and the unknown ones

_LARGEST = float(np.finfo(np.float32).max)
_LISTED = 50  # names that an error message lists in full

BLOCK = 32_768
"""Rows computed at a time, at least."""


@dataclass(frozen=True)
class Plan:
    """What will be computed for one series."""

    columns: tuple[Column, ...]
    """in the order of the table"""
    switched_off: tuple[Column, ...]
    """columns that need a volume the series does not have"""
    work: tuple[tuple[Feature, tuple[int, ...]], ...]
    """each feature, and for each of its results the row in the table or -1"""

    def only(self, names: Container[str]) -> "Plan":
        """Keep some columns."""
        kept = [i for i, column in enumerate(self.columns) if column.name in names]
        place = {row: at for at, row in enumerate(kept)}
        work = ((f, tuple(place.get(row, -1) for row in rows)) for f, rows in self.work)
        needed = tuple((f, rows) for f, rows in work if max(rows) >= 0)
        return Plan(tuple(self.columns[i] for i in kept), self.switched_off, needed)


def setting_of(bars: Bars, ladder: Ladder, regime: Mapping[str, int]) -> Setting:
    """State what decides the columns of a series.

    Args:
        bars: the series.
        ladder: its ladder; the step equal to the base yields no columns.
        regime: look-back of each regime column.
    """
    steps = tuple(step for step in ladder.steps if step > bars.bar_minutes)
    return Setting(bars.bar_minutes, steps, regime, bars.has_volume)


def plan(found: Sequence[Feature], setting: Setting, params: Params) -> Plan:
    """Select the columns to compute.

    Raises:
        InputError: a group or a column of ``params`` is unknown, none is left, or two features yield the same one.
    """
    known = list(dict.fromkeys(f.group for f in found))
    _refuse_unknown("features.groups", params.groups, known)
    described = describe(found, setting)
    _refuse_unknown("features.exclude", params.exclude, [c.name for cs in described.values() for c in cs])
    chosen: list[Column] = []
    off: list[Column] = []
    work = []
    for f, columns in described.items():
        if params.groups and f.group not in params.groups:
            continue
        rows = []
        for column in columns:
            wanted = column.name not in params.exclude and (params.levels or not column.level)
            missing = column.needs_volume and not setting.has_volume
            rows.append(len(chosen) if wanted and not missing else -1)
            if wanted:
                (off if missing else chosen).append(column)
        if max(rows, default=-1) >= 0:
            work.append((f, tuple(rows)))
    if not chosen:
        raise InputError("features.groups, features.exclude and features.levels leave no column")
    return Plan(tuple(chosen), tuple(off), tuple(work))


def _refuse_unknown(where: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known)
            hint = (
                f"known: {', '.join(known)}" if len(known) < _LISTED else f"close to it: {', '.join(close)}"
            )
            raise InputError(f"{where} holds {name!r}, which does not exist; {hint}")


def compute(
    bars: Bars,
    regime: Regime,
    ladder: Ladder,
    plan: Plan,
    *,
    check: bool = True,
    block: int = BLOCK,
    threads: int = 1,
) -> Floats32:
    """Compute the planned columns; shape (columns, bars), NaN in the warm-up of each segment.

    Args:
        bars: shape (n,).
        regime: the regime columns, shape (n,) each.
        ladder: the ladder aligned with ``bars``.
        plan: the columns.
        check: refuse a value that is not finite after the look-back.
        block: rows computed at a time, at least.
        threads: blocks computed at once, at most.

    Raises:
        InputError: a price is not positive, or a value is not finite: the column and the bar are named.
    """
    series = _Series(bars, regime, ladder, plan)
    out = np.empty((len(plan.columns), len(bars)), np.float32)
    series.fill(out, slice(0, len(bars)), check=check, block=block, threads=threads)
    return out


def compute_parts(
    bars: Bars, regime: Regime, ladder: Ladder, plan: Plan, size: int, threads: int | None = None
) -> Iterator[tuple[slice, Floats32]]:
    """Compute the planned columns in parts of ``size`` rows, with the bits that ``compute`` gives.

    Args:
        bars: shape (n,).
        regime: the regime columns, shape (n,) each.
        ladder: the ladder aligned with ``bars``.
        plan: the columns.
        size: rows of a part.
        threads: blocks of a part computed at once, at most; one per core where omitted.

    Yields:
        the rows, and their values, shape (columns, rows); the part after the next overwrites them.

    Raises:
        InputError: as in ``compute``.
    """
    series = _Series(bars, regime, ladder, plan)
    # two buffers in turn: one part may still be in use while the next is made, and no fresh memory is asked for
    buffers = [np.empty((len(plan.columns), min(size, len(bars))), np.float32) for _ in range(2)]
    for number, start in enumerate(range(0, len(bars), size)):
        rows = slice(start, min(start + size, len(bars)))
        out = buffers[number % 2][:, : rows.stop - rows.start]
        series.fill(out, rows, check=True, block=BLOCK, threads=threads or cores())
        yield rows, out


@dataclass(frozen=True)
class _Series:
    bars: Bars
    regime: Regime
    ladder: Ladder
    plan: Plan

    @cached_property
    def segments(self) -> list[slice]:
        return self.bars.segments()

    @cached_property
    def halo(self) -> int:
        """Rows before a block that its columns look back on."""
        return max([c.lookback for c in self.plan.columns if c.group != "regime"], default=1) - 1

    def fill(self, out: Floats32, wanted: slice, *, check: bool, block: int, threads: int) -> None:
        """Compute some rows, those before them only looked back on."""
        if check:
            _refuse_prices(self.bars[wanted])
        size = max(block, 2 * self.halo)
        blocks = [(s, at) for s in self.segments for at in _blocks(s, wanted, size)]

        def work(block: tuple[slice, slice]) -> list[_Gap]:
            segment, at = block
            return self._block(out[:, at.start - wanted.start : at.stop - wanted.start], segment, at)

        with ThreadPoolExecutor(max(1, min(threads, len(blocks)))) as pool:
            found = map(work, blocks) if threads == 1 else pool.map(work, blocks)
            for (_, at), gaps in zip(blocks, found, strict=True):
                if check and gaps:
                    _refuse(*gaps[0], self.bars[at])

    def _block(self, out: Floats32, segment: slice, at: slice) -> list[_Gap]:
        start = max(at.start - self.halo, segment.start)
        part = _cut(self.bars, self.regime, self.ladder, slice(start, at.stop), segment)
        with np.errstate(all="ignore"):  # what is not finite is refused by name
            return _fill(out, part, self.plan, at.start - start, at.start - segment.start)


def _blocks(segment: slice, wanted: slice, size: int) -> Iterator[slice]:
    stop = min(segment.stop, wanted.stop)
    for start in range(max(segment.start, wanted.start), stop, size):
        yield slice(start, min(start + size, stop))


def _cut(bars: Bars, regime: Regime, ladder: Ladder, rows: slice, segment: slice) -> Segment:
    number = bars.segment[segment.start]
    steps = {}
    for step in ladder.steps:
        if step <= bars.bar_minutes:
            continue
        table = ladder.tables[step]
        alignment = np.array(ladder.column(step)[rows])  # however it is stored, kernels get one layout
        first = max(int(np.searchsorted(table.segment, number)), int(alignment[0]))
        part = slice(first, max(int(alignment[-1]) + 1, first))
        last, begin, age = last_closed(alignment, first, table.session_known, ladder.session_minute[rows])
        steps[step] = StepBars(
            open=table.open[part],
            high=table.high[part],
            low=table.low[part],
            close=table.close[part],
            volume=table.volume[part],
            last=last,
            begin=begin,
            age=age,
        )
    return Segment(bars[rows], {name: values[rows].astype(float) for name, values in regime.items()}, steps)


@kernel
def _store(values: Floats, out: Floats32, unknown: int) -> int:
    """Write a column as float32, its first ``unknown`` rows as NaN; return how many of the others are not finite."""
    out[:unknown] = np.nan
    known, kept = values[unknown:], out[unknown:]
    missing = 0
    for t in range(len(kept)):
        kept[t] = known[t]
        missing += not abs(known[t]) <= _LARGEST
    return missing


def _fill(out: Floats32, part: Segment, plan: Plan, skip: int, age: int) -> list[_Gap]:
    """Compute the rows of ``part`` after the first ``skip``; return the columns with a value that is not finite.

    Args:
        out: shape (columns, rows).
        part: the bars, those that only serve to look back on first.
        plan: the columns.
        skip: number of those.
        age: rows of the segment before the first one of ``out``.
    """
    gaps = []
    for f, rows in plan.work:
        found = f.compute(part)
        count = 0
        for values in [found] if isinstance(found, np.ndarray) else found:
            if count < len(rows) and rows[count] >= 0:
                column, row = plan.columns[rows[count]], out[rows[count]]
                unknown = min(max(column.lookback - 1 - age, 0), len(row))
                if _store(_plain(values)[skip:], row, unknown):
                    gaps.append((column, row, unknown))
            count += 1
        if count != len(rows):
            raise InputError(
                f"feature {f.group}.{f.compute.__name__} returns {count} arrays for {len(rows)} columns"
            )
    return gaps


def _plain(values: NDArray[Any]) -> Floats:
    known = values.dtype in (np.float32, np.float64) and values.flags.c_contiguous
    return values if known else np.ascontiguousarray(values, dtype=np.float64)


def _refuse_prices(bars: Bars) -> None:
    wrong = np.flatnonzero(~(np.minimum(bars.low, bars.close) > 0))
    if wrong.size:
        i = int(wrong[0])
        when = np.datetime64(int(bars.minute[i]), "m")
        raise InputError(f"the bar of {when} has a low of {bars.low[i]}: features need positive prices")


def _refuse(column: Column, row: Floats32, unknown: int, bars: Bars) -> None:
    i = unknown + int(np.flatnonzero(~np.isfinite(row[unknown:]))[0])
    when = np.datetime64(int(bars.minute[i]), "m")
    raise InputError(
        f"feature {column.name!r} of group {column.group!r} is {row[i]} at the bar of {when}, "
        f"after its look-back of {column.lookback} bars"
    )
