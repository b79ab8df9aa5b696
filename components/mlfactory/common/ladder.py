"""The ladder of timeframes as stages see it: closed bars per step, and the one that each row may use."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlfactory.common.artifacts import (
    PROVENANCE,
    SCHEMA_VERSION,
    Provenance,
    new_folder,
    read_folder,
    read_table,
    write_json,
    write_table,
)
from mlfactory.common.bars import PRICES, Floats, Ints, minutes, timestamps

NONE: Final = -1
"""In the alignment: no bar of that step has closed in the row's segment."""

F = TypeVar("F", bound=np.floating[Any])
Clock = Literal["clock", "session"]


@dataclass(frozen=True)
class LadderBars:
    """The closed bars of one step, in order of time; arrays of shape (bars,), times in minutes."""

    start: Ints
    """where the bin begins by the calendar, which may be before its first trade"""
    known: Ints
    """where the bin ends by the calendar, which may be after its last trade; rows from then on may use it"""
    session_known: Ints
    """``known`` on the clock that runs only while the market is open"""
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    segment: Ints

    def __len__(self) -> int:
        return len(self.start)


@dataclass(frozen=True)
class Ladder:
    """Closed bars of every step, and for each row the last one known when the row's bar closes."""

    steps: tuple[int, ...]
    """minutes, ascending"""
    tables: dict[int, LadderBars]
    alignment: NDArray[np.int32]
    """shape (rows, steps): position in the step's table, ``NONE`` where no bar has closed in the segment"""
    close_minute: Ints
    """shape (rows,): when each row is known"""
    session_minute: Ints
    """shape (rows,): the same on a clock that runs only while the market is open, from an arbitrary zero"""
    bar_minutes: int

    def column(self, step: int) -> NDArray[np.int32]:
        """Return the alignment of one step, shape (rows,)."""
        return self.alignment[:, self.steps.index(step)]

    def gather(self, step: int, values: NDArray[F]) -> NDArray[F]:
        """Bring a value per bar of a step to the rows that may use it, shape (rows,); NaN where none is."""
        # position NONE is the last one
        return np.append(values, values.dtype.type(np.nan))[self.column(step)]

    def age(self, step: int, clock: Clock = "clock") -> Floats:
        """Measure a ladder bar's age: close of the row minus close of the bar, in minutes; NaN where none is.

        Args:
            step: minutes.
            clock: ``clock`` counts every minute, ``session`` only those in which the market is open.
        """
        bars = self.tables[step]
        known, row = (
            (bars.known, self.close_minute) if clock == "clock" else (bars.session_known, self.session_minute)
        )
        return row - self.gather(step, known.astype(np.float64))

    def lookback(self, step: int, bars: int = 1) -> int:
        """Count the base bars, up to and including a row, that hold its last ``bars`` ladder bars whole."""
        return (bars + 1) * (step // self.bar_minutes) - 1


def write_ladder(path: Path, ladder: Ladder, facts: Provenance) -> None:
    """Write the ``mtf`` folder: ``ladder_<minutes>.parquet``, ``alignment.npy`` and ``clock.npy``."""
    about = {"steps": list(ladder.steps), "bar_minutes": ladder.bar_minutes, "rows": len(ladder.close_minute)}
    with new_folder(path) as folder:
        for step in ladder.steps:
            table = {"artifact": "ladder", "schema_version": SCHEMA_VERSION, "step": step}
            write_table(folder / f"ladder_{step}.parquet", _frame(ladder.tables[step]), table)
        np.save(folder / "alignment.npy", ladder.alignment, allow_pickle=False)
        np.save(
            folder / "clock.npy", np.stack([ladder.close_minute, ladder.session_minute]), allow_pickle=False
        )
        write_json(folder / PROVENANCE, {**facts, **about})


def read_ladder(path: Path) -> Ladder:
    """Read the ``mtf`` folder; the alignment is mapped into memory, not read.

    Raises:
        InputError: not the ``mtf`` artifact, or of another schema version.
    """
    facts = read_folder(path, "mtf")
    steps = tuple(int(step) for step in facts["steps"])
    clock = np.load(path / "clock.npy", allow_pickle=False)
    return Ladder(
        steps=steps,
        tables={step: _bars(read_table(path / f"ladder_{step}.parquet", "ladder")[0]) for step in steps},
        alignment=np.load(path / "alignment.npy", mmap_mode="r", allow_pickle=False),
        close_minute=clock[0],
        session_minute=clock[1],
        bar_minutes=int(facts["bar_minutes"]),
    )


def _frame(bars: LadderBars) -> pd.DataFrame:
    columns = {field.name: getattr(bars, field.name) for field in fields(bars)}
    times = {"timestamp": timestamps(columns.pop("start")), "known": timestamps(columns.pop("known"))}
    return pd.DataFrame({**times, **columns})


def _bars(frame: pd.DataFrame) -> LadderBars:
    prices = {name: frame[name].to_numpy(dtype=np.float64, copy=True) for name in (*PRICES, "volume")}
    return LadderBars(
        start=minutes(frame["timestamp"]),
        known=minutes(frame["known"]),
        session_known=frame["session_known"].to_numpy(dtype=np.int64, copy=True),
        segment=frame["segment"].to_numpy(dtype=np.int64, copy=True),
        **prices,
    )
