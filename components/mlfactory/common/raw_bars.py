"""Raw bars of every timeframe for models that read prices: flat tables, and where each row's window ends in them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.artifacts import PROVENANCE, Provenance, new_folder, read_folder, write_json
from mlfactory.common.bars import PRICES
from mlfactory.common.errors import InputError

Ints = NDArray[np.int64]
Ints32 = NDArray[np.int32]
Floats = NDArray[np.float64]

CHANNELS: Final = (*PRICES, "volume")
"""of a table with volume; one without has the prices alone"""
KIND: Final = "transformer_raw"


@dataclass(frozen=True)
class RawBars:
    """Windows are the last bars of each timeframe that have closed when a matrix row is known."""

    timeframes: tuple[int, ...]
    """minutes, ascending"""
    tables: dict[int, Floats]
    """per timeframe, shape (bars, channels); memory-mapped"""
    first: dict[int, Ints]
    """per timeframe, shape (bars,); position in ``bars`` of the first bar that a bar of the timeframe is made of"""
    end: Ints32
    """shape (rows, timeframes); position of the last closed bar in the timeframe's table, -1 where there is none"""
    depth: Ints32
    """shape (rows, timeframes); closed bars of the row's segment up to and including ``end``"""
    steps: int
    """bars per window"""
    channels: tuple[str, ...]
    """columns of every table, a beginning of ``CHANNELS``"""
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
    """Write the ``transformer_raw`` folder.

    It holds ``bars_<minutes>.npy`` and ``first_<minutes>.npy`` of each timeframe, ``end.npy`` and ``depth.npy``.
    """
    about = {
        "timeframes": list(raw.timeframes),
        "channels": list(raw.channels),
        "steps": raw.steps,
        "rows": len(raw.end),
        "full_rows": int(raw.full().sum()),
    }
    with new_folder(path) as folder:
        for minutes, table in raw.tables.items():
            np.save(folder / f"bars_{minutes}.npy", table, allow_pickle=False)
            np.save(folder / f"first_{minutes}.npy", raw.first[minutes], allow_pickle=False)
        np.save(folder / "end.npy", raw.end, allow_pickle=False)
        np.save(folder / "depth.npy", raw.depth, allow_pickle=False)
        write_json(folder / PROVENANCE, {**facts, **about})


def read_raw_bars(path: Path) -> RawBars:
    """Map the ``transformer_raw`` folder into memory.

    Raises:
        InputError: not the ``transformer_raw`` artifact, or an array is not of the shape that its provenance states.
    """
    facts = read_folder(path, KIND)
    timeframes = tuple(int(minutes) for minutes in facts["timeframes"])

    def mapped(name: str) -> Any:
        return np.load(path / f"{name}.npy", mmap_mode="r", allow_pickle=False)

    raw = RawBars(
        timeframes=timeframes,
        tables={minutes: mapped(f"bars_{minutes}") for minutes in timeframes},
        first={minutes: mapped(f"first_{minutes}") for minutes in timeframes},
        end=mapped("end"),
        depth=mapped("depth"),
        steps=int(facts["steps"]),
        channels=tuple(facts["channels"]),
        facts=facts,
    )
    _check_shapes(path, raw)
    return raw


def _check_shapes(path: Path, raw: RawBars) -> None:
    rows = (int(raw.facts["rows"]), len(raw.timeframes))
    expected: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
        "end": (raw.end.shape, rows),
        "depth": (raw.depth.shape, rows),
    }
    for minutes, table in raw.tables.items():
        expected[f"bars_{minutes}"] = (table.shape, (len(table), len(raw.channels)))
        expected[f"first_{minutes}"] = (raw.first[minutes].shape, (len(table),))
    for name, (found, stated) in expected.items():
        if found != stated:
            raise InputError(f"{path / name}.npy has shape {found}; its provenance says {stated}")
