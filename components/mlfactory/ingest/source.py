"""Rows as the source states them: read from a Parquet or CSV file, named and typed, nothing dropped."""

import csv
import gzip
import os
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mlfactory.common.bars import COLUMNS, Ints
from mlfactory.common.errors import InputError
from mlfactory.ingest.params import Params

VALUES: Final = COLUMNS[1:]
NO_TIME: Final = np.iinfo(np.int64).min
"""Stands for a stamp that cannot be read."""
ALIASES: Final = {"timestamp": ("datetime", "date", "time", "ts", "date_time"), "volume": ("vol",)}
_EPOCH_UNITS: Final = ((1e6, 1e11), (1e3, 1e14), (1.0, 1e17), (1e-3, np.inf))
"""Microseconds per unit of a numeric stamp, by the size of the largest: seconds, milli-, micro- or nanoseconds."""
_EARLIEST: Final = 31_536_000_000_000  # 1971: an empty stamp often reads as the epoch itself
_LATEST: Final = 4_102_444_800_000_000  # 2100
_BLOCK: Final = 1 << 20


@dataclass(frozen=True)
class Rows:
    """Rows of a source; arrays of shape (n,)."""

    row: Ints
    """position in the source: 0 is its first row of data"""
    microsecond: Ints
    """stamp in microseconds since the epoch, ``NO_TIME`` where it cannot be read"""
    values: dict[str, NDArray[np.float64]]
    """open, high, low, close and volume; NaN where the source holds no number"""

    def __len__(self) -> int:
        return len(self.row)

    def take(self, which: NDArray[Any]) -> "Rows":
        """Select rows by mask or position."""
        return Rows(
            self.row[which], self.microsecond[which], {name: v[which] for name, v in self.values.items()}
        )


@contextmanager
def local_copy(source: str) -> Iterator[Path]:
    """Yield a local path of ``source``: itself, or a temporary copy where it is a URI.

    Raises:
        InputError: it does not exist or cannot be read.
    """
    if "://" not in source:
        path = Path(source)
        if not path.is_file():
            raise InputError(f"source {source} {'is not a file' if path.exists() else 'does not exist'}")
        if not os.access(path, os.R_OK):
            raise InputError(f"source {source} may not be read by this user")
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / source.rsplit("/", 1)[-1]
        _download(source, path)
        yield path


def _download(source: str, path: Path) -> None:
    try:
        with fsspec.open(source, "rb") as remote, path.open("wb") as copy:
            while block := remote.read(_BLOCK):
                copy.write(block)
    except FileNotFoundError:
        raise InputError(f"source {source} does not exist") from None
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"source {source} cannot be read: {error}") from None


def read_rows(path: Path, params: Params) -> Rows:
    """Read a Parquet or CSV file with the six columns; every row of it is in the result.

    Raises:
        InputError: the file is empty, unreadable, ragged, lacks a column or a readable stamp; the time zone is unknown.
    """
    if not path.stat().st_size:
        raise InputError(f"source {path.name} is empty")
    table = _parquet(path, params) if _is_parquet(path) else _csv(path, params)
    if not len(table):
        raise InputError(f"source {path.name} holds no rows")
    values = {name: _numbers(table[name]) for name in VALUES}
    microsecond = _microseconds(table["timestamp"], params)
    if (microsecond == NO_TIME).all():
        raise InputError(
            f"source {path.name}: no timestamp can be read as a time from 1971 on, for example "
            f"{str(table['timestamp'].iloc[0])!r}; state the layout with ingest.timestamp_format"
        )
    return Rows(np.arange(len(table)), microsecond, values)


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(4) == b"PAR1" or path.suffix in {".parquet", ".pq"}


def _parquet(path: Path, params: Params) -> pd.DataFrame:
    try:
        names = pq.read_schema(path).names
        chosen = choose_columns(names, params.columns, path.name)
        table = pq.read_table(path, columns=list(chosen.values()))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"source {path.name} is not a readable Parquet file: {_line(error)}") from None
    frame: pd.DataFrame = table.to_pandas(ignore_metadata=True)
    return frame.rename(columns={theirs: ours for ours, theirs in chosen.items()})


def _csv(path: Path, params: Params) -> pd.DataFrame:
    first = _first_line(path)
    delimiter = max(",;\t|", key=first.count)
    stated = [field.strip() for field in next(csv.reader([first], delimiter=delimiter))]
    headed = not any(map(_is_number, stated))
    if not headed and not params.header:
        raise InputError(
            f"source {path.name} has no header line ({first[:60]!r}): name its columns with ingest.header"
        )
    names = params.header or stated
    if len(set(names)) < len(names):
        raise InputError(f"source {path.name}: a column name occurs twice in {', '.join(names)}")
    frame = _text_columns(path, names, delimiter, skip=int(headed))
    known = {name.lower(): name for name in names}
    if {"date", "time"} <= set(known) and "timestamp" not in params.columns:
        frame["timestamp"] = frame[known["date"]] + " " + frame[known["time"]]
        frame = frame.drop(columns=[known["date"], known["time"]])
    chosen = choose_columns(list(frame.columns), params.columns, path.name)
    return frame.rename(columns={theirs: ours for ours, theirs in chosen.items()})


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _first_line(path: Path) -> str:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline=None) as stream:
            return str(stream.readline()).rstrip("\n")
    except (UnicodeDecodeError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise InputError(f"source {path.name} is neither Parquet nor CSV text: {_line(error)}") from None


def _text_columns(path: Path, names: Sequence[str], delimiter: str, skip: int) -> pd.DataFrame:
    ragged: list[pa.csv.InvalidRow] = []

    def note(row: pa.csv.InvalidRow) -> str:
        ragged.append(row)
        return "error"

    try:
        table = pa.csv.read_csv(
            path,
            # one thread: only then does a bad row know its number
            read_options=pa.csv.ReadOptions(column_names=list(names), skip_rows=skip, use_threads=False),
            parse_options=pa.csv.ParseOptions(delimiter=delimiter, invalid_row_handler=note),
            convert_options=pa.csv.ConvertOptions(
                column_types={name: pa.string() for name in names}, strings_can_be_null=True
            ),
        )
    except (pa.ArrowException, OSError) as error:
        if ragged:
            row = ragged[0]
            raise InputError(
                f"source {path.name}: {_place(row)} has {row.actual_columns} fields but the header names "
                f"{row.expected_columns} ({', '.join(names)}): name every field with ingest.header"
            ) from None
        raise InputError(f"source {path.name} is not readable as CSV: {_line(error)}") from None
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _place(row: Any) -> str:
    return f"line {row.number}" if row.number is not None else f"a line ({row.text[:60]!r})"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def choose_columns(names: Sequence[str], mapping: dict[str, str], where: str) -> dict[str, str]:
    """Find the source's name of each of the six columns: by ``mapping``, by name in any case, or by one alias.

    Raises:
        InputError: a column is absent, or more than one could be meant.
    """
    for ours, theirs in mapping.items():
        if ours not in COLUMNS:
            raise InputError(f"ingest.columns.{ours} is not a column; known: {', '.join(COLUMNS)}")
        if theirs not in names:
            raise InputError(f"source {where} has no column {theirs!r}; found: {', '.join(names)}")
    return {ours: mapping.get(ours) or _find(ours, names, where) for ours in COLUMNS}


def _find(ours: str, names: Sequence[str], where: str) -> str:
    exact = [name for name in names if name.strip().lower() == ours]
    found = exact or [name for name in names if name.strip().lower() in ALIASES.get(ours, ())]
    if len(found) == 1:
        return found[0]
    said = (
        f"has several columns that could be {ours!r} ({', '.join(found)})"
        if found
        else f"has no column {ours!r}"
    )
    raise InputError(
        f"source {where} {said}; found: {', '.join(map(str, names))}; name it with ingest.columns.{ours}"
    )


def _numbers(column: pd.Series) -> NDArray[np.float64]:
    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan, copy=True)


def _microseconds(stamp: pd.Series, params: Params) -> Ints:
    number = None if pd.api.types.is_datetime64_any_dtype(stamp) else pd.to_numeric(stamp, errors="coerce")
    if number is not None and number.notna().any():
        size = float(number.abs().max())
        value = number.to_numpy(dtype=np.float64, na_value=np.nan) * next(
            f for f, top in _EPOCH_UNITS if size < top
        )
        readable = np.isfinite(value)
        out = np.round(np.where(readable, value, 0.0)).astype(np.int64)
    else:
        moment = _moments(stamp, params)
        readable = moment.notna().to_numpy(dtype=bool)
        out = moment.dt.tz_localize(None).to_numpy(dtype="datetime64[us]", copy=True).astype(np.int64)
    return np.where(readable & (out >= _EARLIEST) & (out < _LATEST), out, NO_TIME)


def _moments(stamp: pd.Series, params: Params) -> pd.Series:
    """Read stamps as UTC; those that do not exist or occur twice in the source's zone are missing."""
    if not pd.api.types.is_datetime64_any_dtype(stamp):
        stamp = _parsed(stamp.astype("string"), params.timestamp_format)
    if stamp.dt.tz is None:
        stamp = stamp.dt.tz_localize(_zone(params.timezone), ambiguous="NaT", nonexistent="NaT")
    moment: pd.Series = stamp.dt.tz_convert("UTC")
    return moment


def _parsed(text: pd.Series, layout: str) -> pd.Series:
    examples = text.dropna().to_numpy(dtype=str)
    zoned = text.dropna().str.contains(r"(?:[+-]\d{2}:?\d{2}|Z)$", regex=True).to_numpy(dtype=bool)
    if zoned.any() and not zoned.all():
        raise InputError(
            f"{int(zoned.sum()):,} of {len(zoned):,} stamps state a time zone and the others do not: "
            f"for example {examples[zoned][0]!r} and {examples[~zoned][0]!r}"
        )
    # offsets may change with summer time, which only UTC can hold in one column
    return pd.Series(pd.to_datetime(text, format=layout or "ISO8601", errors="coerce", utc=bool(zoned.any())))


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise InputError(
            f"ingest.timezone {name!r} is not a time zone; expected a name such as Europe/Berlin"
        ) from None
