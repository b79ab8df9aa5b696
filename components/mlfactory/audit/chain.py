"""Every audited column of a series, computed by the code of the stages that write it."""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlfactory.audit.params import AUDITED, Settings
from mlfactory.common.bars import Bars, Ints
from mlfactory.common.weights import return_attribution, uniqueness
from mlfactory.features.compute import compute, plan
from mlfactory.features.registry import load
from mlfactory.features.segment import Setting
from mlfactory.labels.stage import columns as label_columns
from mlfactory.labels.stage import follow, log_returns, split_at_rolls
from mlfactory.mtf.bins import FIELDS, build, usable
from mlfactory.regime import compute as regimes
from mlfactory.regime.walk import unbounded

NEVER: Final = np.iinfo(np.int64).max
"""In ``Part.final``: the row is not final yet, whatever bars are there."""
REGIME: Final = "regime"
"""Feature group that repeats the columns of the regime stage."""

Values = NDArray[np.floating[Any]]
Names = Container[str] | None
"""Columns to keep; None keeps all."""


@dataclass(frozen=True)
class Column:
    """What a column declares about itself."""

    stage: str
    group: str
    name: str
    lookback: int | None
    """bars, up to and including the row, that hold everything a value needs besides the bars after the row that it
    waits for; None where the stage declares that no number of bars does"""
    tolerance: float = 0.0
    """largest error of a value from its look-back alone, relative to the column's scale; 0 is bit for bit"""


@dataclass(frozen=True)
class Part:
    """The columns of one group, whose rows become final at the same bars."""

    columns: tuple[Column, ...]
    values: Values
    """shape (columns, bars)"""
    final: Ints
    """shape (bars,); last bar that the values of a row may depend on, ``NEVER`` where it is still to come"""

    @property
    def group(self) -> tuple[str, str]:
        """Stage and group of the columns."""
        return self.columns[0].stage, self.columns[0].group

    @cached_property
    def lookback(self) -> Ints:
        """Look-back of each column, ``NEVER`` where it is unbounded; shape (columns,)."""
        return np.array([NEVER if c.lookback is None else c.lookback for c in self.columns], np.int64)

    def of(self, names: Names) -> "Part":
        """Keep some columns."""
        kept = [i for i, column in enumerate(self.columns) if names is None or column.name in names]
        if len(kept) == len(self.columns):
            return self
        return Part(tuple(self.columns[i] for i in kept), self.values[kept], self.final)


class Chain:
    """The stages from bars to labels with fixed parameters; one series decides which columns there are."""

    def __init__(self, bars: Bars, settings: Settings) -> None:
        """Plan the columns.

        Raises:
            InputError: a parameter does not suit the series, or a feature group cannot be loaded.
        """
        self.settings = settings
        self.steps = tuple(usable(settings.mtf.steps, bars.bar_minutes)[0])
        self.regime_lookback = regimes.lookbacks(settings.regime, bars.bar_minutes)
        higher = tuple(step for step in self.steps if step > bars.bar_minutes)
        setting = Setting(bars.bar_minutes, higher, self.regime_lookback, bars.has_volume)
        self.plan = plan(load(), setting, settings.features)
        contract = bars.instrument.root or bars.instrument.symbol
        self._states: tuple[Bars, regimes.Columns] | None = None
        self.barriers = {h: settings.labels.barrier(h, contract) for h in sorted(settings.labels.horizons)}

    @property
    def stages(self) -> tuple[str, ...]:
        """Stages in the order of their parts; ``weights`` are those that training computes from the labels."""
        return (*AUDITED, "weights")

    def parts(self, bars: Bars) -> list[Part]:
        """Compute every column of a series or a stretch of it; the order of parts and columns is always the same."""
        return [part for stage in self.stages for part in self.of_stage(stage, bars)]

    def of_stage(self, stage: str, bars: Bars, names: Names = None) -> Iterator[Part]:
        """Compute the groups of one stage, those without a column of ``names`` left out."""
        for part in getattr(self, f"_{stage}")(bars, names):
            if (chosen := part.of(names)).columns:
                yield chosen

    def one_by_one(self, stage: str, bars: Bars) -> Iterator[Part]:
        """Compute the groups of one stage, each when it is asked for: a table of all features may not fit memory."""
        if stage != "features":
            yield from self.of_stage(stage, bars)
            return
        for group in dict.fromkeys(column.group for column in self.plan.columns):
            yield from self.of_stage(stage, bars, {c.name for c in self.plan.columns if c.group == group})

    def _regimes(self, bars: Bars) -> regimes.Columns:
        """Compute the regimes of a stretch once for the two stages that have them."""
        if self._states is None or self._states[0] is not bars:
            self._states = bars, regimes.compute(bars, self.settings.regime)
        return self._states[1]

    def _regime(self, bars: Bars, names: Names) -> Iterator[Part]:
        found, last = self._regimes(bars), np.arange(len(bars)) - regimes.LAG
        free = unbounded(self.settings.regime)
        columns = [
            Column(
                "regime",
                "hidden" if name.startswith("hmm") else "thresholds",
                name,
                None if name in free else rows,
            )
            for name, rows in self.regime_lookback.items()
        ]
        for _, members in groupby(columns, lambda column: column.group):
            chosen = tuple(members)
            yield Part(chosen, np.stack([found[column.name] for column in chosen]), last)

    def _mtf(self, bars: Bars, names: Names) -> Iterator[Part]:
        ladder = build(bars, self.steps)  # every step: sums of coarser bins are sums of finer ones
        for step in self.steps:
            table = ladder.tables[step]
            told = {name: ladder.gather(step, getattr(table, name)) for name in FIELDS}
            if step > bars.bar_minutes:  # the bars themselves have no age
                told |= {"age": ladder.age(step), "session_age": ladder.age(step, "session")}
            rows = ladder.lookback(step)
            columns = tuple(Column("mtf", f"{step} min", f"{name}_{step}m", rows) for name in told)
            yield Part(columns, np.stack(list(told.values())), np.arange(len(bars)))

    def _features(self, bars: Bars, names: Names) -> Iterator[Part]:
        chosen = self.plan if names is None else self.plan.only(names)
        if not chosen.columns:
            return
        free = unbounded(self.settings.regime)
        columns = [
            Column("features", c.group, c.name, None if c.name in free else c.lookback, c.tolerance)
            for c in chosen.columns
        ]
        with_regime = any(column.group == REGIME for column in columns)
        states = self._regimes(bars) if with_regime else {}
        values = compute(bars, states, build(bars, self.steps), chosen, check=False)
        first = 0
        for _, members in groupby(columns, lambda column: column.group):
            of_group = tuple(members)
            rows = slice(first, first + len(of_group))
            yield Part(of_group, values[rows], np.arange(len(bars)))
            first = rows.stop

    def _labels(self, bars: Bars, names: Names) -> Iterator[Part]:
        bar = np.arange(len(bars))
        moved = log_returns(split_at_rolls(bars, self.settings.labels))
        yield Part((Column("labels", "every horizon", "log_return", 2),), moved[None], bar)
        for h, found in follow(bars, self.barriers, self.settings.labels).items():
            told = label_columns(h, found)
            # positions count from where the file starts: the audit compares how many bars after its row a trade ends
            told = {k: np.where(v < 0, v, v - bar) if _is_position(k, v) else v for k, v in told.items()}
            rows = self.settings.labels.lookback
            columns = tuple(Column("labels", f"horizon {h}", name, rows) for name in told)
            values = np.stack([np.asarray(value, np.float64) for value in told.values()])
            yield Part(columns, values, np.where(found.valid, found.end.astype(np.int64), NEVER))

    def _weights(self, bars: Bars, names: Names) -> Iterator[Part]:
        moved = log_returns(split_at_rolls(bars, self.settings.labels))
        for h, found in follow(bars, self.barriers, self.settings.labels).items():
            until = found.open_until.astype(np.int64)
            rows, others = np.flatnonzero(found.valid), np.flatnonzero(~found.valid & (until >= 0))
            start, end, still_open = rows + 1, until[rows], (others + 1, until[others])
            weights = np.full((2, len(bars)), np.nan)
            weights[0, rows] = uniqueness(start, end, still_open)
            if len(rows):
                span = slice(int(start.min()), int(end.max()) + 1)
                weights[1, rows] = return_attribution(start, end, moved[span], still_open)
            needed = self.settings.labels.lookback + self.barriers[h].max_bars
            columns = tuple(
                Column("weights", f"horizon {h}", f"{name}_h{h}", needed)
                for name in ("uniqueness", "return_attribution")
            )
            yield Part(columns, weights, np.where(found.valid, until, NEVER))


def _is_position(name: str, values: NDArray[Any]) -> bool:
    return values.dtype == np.int32 and ("end_h" in name or name.startswith("open_until"))
