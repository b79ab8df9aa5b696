"""Artifacts on disk: written whole or not at all, byte-reproducible, and carrying where they came from.

A table is one Parquet file; its provenance is a JSON text under the key ``mlfactory`` of the schema metadata.
Everything else is a folder with a ``provenance.json``. Provenance holds no time, path or host, so the same
input, parameters and code give the same bytes.
"""

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mlfactory.common.errors import InputError

SCHEMA_VERSION = 1
PROVENANCE = "provenance.json"
_KEY = b"mlfactory"
_SLAB = 4096  # rows written at a time: keeps the row-major conversion inside the cache

Provenance = dict[str, Any]


def sha256(path: Path) -> str:
    """Hash a file's bytes, or a folder's relative names and bytes in sorted order.

    Raises:
        InputError: there is nothing at ``path``.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if path.is_dir():
        digest = hashlib.sha256()
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(f"{file.relative_to(path).as_posix()}\0{sha256(file)}\n".encode())
        return digest.hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def size(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size


@cache
def code_version(stage: str) -> str:
    """Hash the sources that made an artifact: the kernel's and the stage's."""
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for part in ("common", stage):
        for file in sorted((root / part).rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(root).as_posix()}\0".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def provenance(
    kind: str, stage: str, inputs: Mapping[str, Path], params: Mapping[str, Any], **facts: Any
) -> Provenance:
    """State what an artifact is and was made of; ``facts`` are counts and contents, never times or paths."""
    return {
        "artifact": kind,
        "schema_version": SCHEMA_VERSION,
        "stage": stage,
        "code": code_version(stage),
        "inputs": {name: sha256(path) for name, path in sorted(inputs.items())},
        "params": dict(params),
        **facts,
    }


def clean(value: Any) -> Any:
    """Turn numpy scalars, arrays and non-finite floats into values that JSON and KFP metadata accept."""
    if isinstance(value, Mapping):
        return {str(key): clean(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return clean(value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [clean(item) for item in value]
    if isinstance(value, np.generic):
        return clean(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def to_json(value: Any) -> str:
    """Serialise with sorted keys, so that equal values give equal bytes; non-finite numbers become null."""
    return json.dumps(clean(value), sort_keys=True, indent=1, allow_nan=False) + "\n"


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; give it the final name only when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; it replaces ``path`` only when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        temporary.chmod(0o755)
        if path.is_dir():
            shutil.rmtree(path)
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write one JSON document."""
    with new_file(path) as temporary:
        temporary.write_text(to_json(value), encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read one JSON document.

    Raises:
        InputError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from None


def write_table(path: Path, frame: pd.DataFrame, facts: Provenance) -> None:
    """Write a table as Parquet (zstd -1, BYTE_STREAM_SPLIT, no dictionary) with ``facts`` and its counts."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    schema = _schema(table, facts, len(frame))
    with new_file(path) as temporary, pq.ParquetWriter(temporary, schema, **_encoding(schema)) as writer:
        writer.write_table(table.cast(schema), row_group_size=1 << 20)


def write_parts(path: Path, parts: Iterable[Mapping[str, Any]], facts: Provenance, rows: int) -> None:
    """Write a table part by part, each a row group, while the next part is being made.

    Args:
        path: file to write.
        parts: the columns of successive rows, by name, in the same order and of the same types in every part; the
            arrays of a part are read until the part after the next is asked for.
        facts: what the table is.
        rows: rows of all parts together.
    """
    tables = (
        pa.table({name: pa.array(values, from_pandas=True) for name, values in part.items()})
        for part in parts
    )
    first = next(tables)
    schema = _schema(first, facts, rows)
    with (
        new_file(path) as temporary,
        pq.ParquetWriter(temporary, schema, **_encoding(schema)) as writer,
        ThreadPoolExecutor(1) as behind,
    ):
        written: Future[None] = behind.submit(_write_group, writer, first.cast(schema))
        del first
        for table in tables:
            written.result()  # one part is being written, one is being made: no third waits in memory
            written = behind.submit(_write_group, writer, table.cast(schema))
        written.result()


def _write_group(writer: pq.ParquetWriter, table: pa.Table) -> None:
    writer.write_table(table, row_group_size=len(table))


def _schema(table: pa.Table, facts: Provenance, rows: int) -> pa.Schema:
    full = {**facts, "rows": rows, "columns": table.num_columns}
    return table.schema.with_metadata({_KEY: to_json(full).encode()})


def _encoding(schema: pa.Schema) -> dict[str, Any]:
    floats = [field.name for field in schema if pa.types.is_floating(field.type)]
    return {
        "compression": "zstd",
        "compression_level": -1,  # the size of level 1 in seven eighths of its time
        "use_dictionary": False,
        "use_byte_stream_split": floats or False,
        # nobody searches by a float's range, and finding it takes a tenth of the time
        "write_statistics": [field.name for field in schema if field.name not in floats] or False,
    }


def read_table(
    path: Path, kind: str, columns: Sequence[str] | None = None
) -> tuple[pd.DataFrame, Provenance]:
    """Read a table and its provenance.

    Raises:
        InputError: the file is missing, is not Parquet, is not a ``kind``, or has another schema version.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist: expected the table {kind!r}")
    try:
        facts = json.loads((pq.read_schema(path).metadata or {}).get(_KEY, b"{}"))
        _check(path, facts, kind)
        table = pq.read_table(path, columns=list(columns) if columns is not None else None)
    except pa.ArrowInvalid as error:
        raise InputError(f"{path} is not a Parquet file: {error}") from None
    return table.to_pandas(), facts


def read_provenance(path: Path) -> Provenance:
    """Read the provenance of any artifact, table or folder; empty where it carries none."""
    if path.is_dir():
        return dict(read_json(path / PROVENANCE)) if (path / PROVENANCE).is_file() else {}
    if path.is_file() and path.stat().st_size > 8:
        with path.open("rb") as stream:
            magic = stream.read(4)
        if magic == b"PAR1":
            return dict(json.loads((pq.read_schema(path).metadata or {}).get(_KEY, b"{}")))
    return {}


def read_folder(path: Path, kind: str) -> Provenance:
    """Check that ``path`` is the folder artifact ``kind`` and return its provenance.

    Raises:
        InputError: it is missing, another artifact, or of another schema version.
    """
    if not (path / PROVENANCE).is_file():
        raise InputError(f"{path} is not the artifact {kind!r}: it has no {PROVENANCE}")
    facts = dict(read_json(path / PROVENANCE))
    _check(path, facts, kind)
    return facts


def _check(path: Path, facts: Mapping[str, Any], kind: str) -> None:
    if not facts.get("artifact"):
        raise InputError(f"{path} was not written by a stage; expected the artifact {kind!r}")
    if facts["artifact"] != kind:
        raise InputError(f"{path} is the artifact {facts['artifact']!r}; expected {kind!r}")
    if facts["schema_version"] != SCHEMA_VERSION:
        raise InputError(
            f"{path} has schema version {facts['schema_version']}; this code reads {SCHEMA_VERSION}: "
            "run the stage that makes it again"
        )


@dataclass(frozen=True)
class Matrix:
    """A feature set, row-major and memory-mapped."""

    values: NDArray[np.float32]
    """shape (rows, columns)"""
    columns: tuple[str, ...]
    facts: Provenance


def write_matrix(path: Path, columns: Mapping[str, NDArray[Any]], facts: Provenance) -> None:
    """Write equally long columns as one row-major float32 ``matrix.npy`` in a folder."""
    names = list(columns)
    rows = len(columns[names[0]])
    with new_folder(path) as folder:
        shape = (rows, len(names))
        out = np.lib.format.open_memmap(folder / "matrix.npy", mode="w+", dtype=np.float32, shape=shape)
        for start in range(0, rows, _SLAB):
            for j, name in enumerate(names):
                out[start : start + _SLAB, j] = columns[name][start : start + _SLAB]
        out.flush()
        del out
        write_json(folder / PROVENANCE, {**facts, "rows": rows, "columns": names})


def read_matrix(path: Path, kind: str) -> Matrix:
    """Map a matrix into memory without reading it.

    Raises:
        InputError: not the matrix ``kind``, of another schema version, of another shape or type than its provenance
            states, or a column is named twice.
    """
    facts = read_folder(path, kind)
    values = np.load(path / "matrix.npy", mmap_mode="r", allow_pickle=False)
    columns = tuple(facts["columns"])
    stated = (facts["rows"], len(columns))
    if values.shape != stated or values.dtype != np.float32 or not values.flags.c_contiguous:
        raise InputError(
            f"{path / 'matrix.npy'} holds {values.dtype} of shape {values.shape}; its provenance says row-major "
            f"float32 of shape {stated}"
        )
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise InputError(f"{path} names the column {', '.join(twice)} twice")
    return Matrix(values, columns, facts)
