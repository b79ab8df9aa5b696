"""Raw bars of every timeframe for models that read prices: flat tables, and where each row's window ends in them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.artifacts import PROVENANCE, Provenance, new_folder, read_folder, write_json
from mlfactory.common.bars import PRICES

Ints32 = NDArray[np.int32]
Floats = NDArray[np.float64]

CHANNELS: Final = (*PRICES, "volume")
KIND: Final = "transformer_raw"


@dataclass(frozen=True)
class RawBars:
    """Windows are the last bars of each timeframe that have closed when a matrix row is known."""

    timeframes: tuple[int, ...]
    """minutes, ascending"""
    tables: dict[int, Floats]
    """per timeframe, shape (bars, 5): open, high, low, close, volume; memory-mapped"""
    end: Ints32
    """shape (rows, timeframes); position of the last closed bar in the timeframe's table, -1 where there is none"""
    depth: Ints32
    """shape (rows, timeframes); closed bars of the row's segment up to and including ``end``"""
    steps: int
    """bars per window"""
    facts: Provenance

    def full(self, steps: int | None = None) -> NDArray[np.bool_]:
        """Tell which rows have ``steps`` closed bars of their own segment in every timeframe, shape (rows,)."""
        return np.asarray((self.depth >= (steps or self.steps)).all(axis=1))


def depths(segment: NDArray[np.int64], end: Ints32) -> Ints32:
    """Count the bars of a table's segment up to and including each position of ``end``; 0 where it is -1.

    Args:
        segment: shape (bars,), ascending.
        end: shape (rows,)
    """
    if not len(segment):
        return np.zeros(len(end), np.int32)
    first = np.searchsorted(segment, segment, side="left")
    bar = np.maximum(end, 0)
    return np.where(end < 0, 0, bar - first[bar] + 1).astype(np.int32)


def write_raw_bars(path: Path, raw: RawBars, facts: Provenance) -> None:
    """Write the ``transformer_raw`` folder: ``bars_<minutes>.npy``, ``end.npy`` and ``depth.npy``."""
    about = {
        "timeframes": list(raw.timeframes),
        "channels": list(CHANNELS),
        "steps": raw.steps,
        "rows": len(raw.end),
        "full_rows": int(raw.full().sum()),
    }
    with new_folder(path) as folder:
        for minutes, table in raw.tables.items():
            np.save(folder / f"bars_{minutes}.npy", table, allow_pickle=False)
        np.save(folder / "end.npy", raw.end, allow_pickle=False)
        np.save(folder / "depth.npy", raw.depth, allow_pickle=False)
        write_json(folder / PROVENANCE, {**facts, **about})


def read_raw_bars(path: Path) -> RawBars:
    """Map the ``transformer_raw`` folder into memory.

    Raises:
        InputError: not the ``transformer_raw`` artifact.
    """
    facts = read_folder(path, KIND)
    timeframes = tuple(int(minutes) for minutes in facts["timeframes"])

    def mapped(name: str) -> Any:
        return np.load(path / f"{name}.npy", mmap_mode="r", allow_pickle=False)

    return RawBars(
        timeframes,
        {minutes: mapped(f"bars_{minutes}") for minutes in timeframes},
        mapped("end"),
        mapped("depth"),
        int(facts["steps"]),
        facts,
    )
