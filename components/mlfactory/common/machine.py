"""What the container grants to this process: cores and memory."""

import os
from pathlib import Path
from typing import Final

CGROUP: Final = Path("/sys/fs/cgroup")
_LIMITS: Final = ("memory.max", "memory/memory.limit_in_bytes")
"""files of control groups, version 2 and 1"""


def cores(cgroup: Path = CGROUP) -> int:
    """Whole cores that this process may use: those of its affinity, or the container's quota where that is less."""
    allowed = len(os.sched_getaffinity(0))
    quota, _, period = (_text(cgroup / "cpu.max") or "max").partition(" ")
    if quota.isdigit() and period.isdigit():
        allowed = min(allowed, int(quota) // int(period))
    return max(1, allowed)


def limit_bytes(cgroup: Path = CGROUP) -> int:
    """Bytes that this process may use: the container's limit, or the machine's memory where that is less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in _LIMITS:
        if (text := _text(cgroup / name)).isdigit():
            return min(int(text), machine)
    return machine


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii").strip() if path.is_file() else ""
