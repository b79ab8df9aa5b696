"""What the container grants: its own limits where it states them, else the machine's."""

import os
from pathlib import Path

import pytest

from mlfactory.common.machine import cores, limit_bytes


@pytest.mark.parametrize(
    ("text", "expected"), [("max 100000", 64), ("250000 100000", 2), ("50000 100000", 1), (None, 64)]
)
def test_cores_are_those_of_the_container(
    text: str | None, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    if text is not None:
        (tmp_path / "cpu.max").write_text(text + "\n")
    assert cores(tmp_path) == expected


def test_the_limit_is_the_containers_or_the_machines(tmp_path: Path) -> None:
    machine = limit_bytes(tmp_path)
    assert machine == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    (tmp_path / "memory.max").write_text("max\n")
    assert limit_bytes(tmp_path) == machine
    (tmp_path / "memory.max").write_text(f"{64 << 20}\n")
    assert limit_bytes(tmp_path) == 64 << 20
    (tmp_path / "memory.max").unlink()
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text(f"{1 << 62}\n")
    assert limit_bytes(tmp_path) == machine
