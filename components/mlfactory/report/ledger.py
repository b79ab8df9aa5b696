"""The append-only ledger of openings of the locked test."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mlfactory.common.errors import InputError


def append(uri: str, entry: Mapping[str, Any]) -> None:
    """Append one JSON line, with the time, before the test's labels are looked at.

    A local file is appended to in one write. A store that cannot append (most object stores) gets the old lines and
    the new one as a new object.

    Args:
        uri: path or fsspec URI; its folder is made when missing.
        entry: what was opened, by which models.

    Raises:
        InputError: the ledger cannot be written: then the test stays closed.
    """
    import fsspec

    line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="seconds"), **entry}, sort_keys=True)
    try:
        system, path = fsspec.core.url_to_fs(uri)
        if parent := system._parent(path):
            system.makedirs(parent, exist_ok=True)
        _write(system, path, (line + "\n").encode())
    except (OSError, ValueError, ImportError) as error:
        raise InputError(
            f"report.ledger {uri} cannot be written, so the test stays closed: {error}"
        ) from None


def _write(system: Any, path: str, line: bytes) -> None:
    try:
        with system.open(path, "ab") as stream:
            stream.write(line)
    except (NotImplementedError, ValueError):
        old = system.cat_file(path) if system.exists(path) else b""
        system.pipe_file(path, old + line)


def openings(uri: str, test_labels_sha256: str) -> int:
    """Count the openings of one test segment that the ledger holds."""
    import fsspec

    with fsspec.open(uri, "rb") as stream:
        lines = [json.loads(line) for line in stream.read().splitlines() if line.strip()]
    return sum(line.get("test_labels_sha256") == test_labels_sha256 for line in lines)
