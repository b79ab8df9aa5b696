"""What a fit will need and what there is: refused with a number instead of killed without a word."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

CGROUP: Final = Path("/sys/fs/cgroup")
_LIMITS: Final = ("memory.max", "memory/memory.limit_in_bytes")
"""files of control groups, version 2 and 1"""
MIB: Final = 1 << 20


def limit_bytes(cgroup: Path = CGROUP) -> int:
    """Bytes that this process may use: the container's limit, or the machine's memory where that is less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in _LIMITS:
        file = cgroup / name
        if file.is_file() and (text := file.read_text(encoding="ascii").strip()).isdigit():
            return min(int(text), machine)
    return machine


def refuse_excess(what: str, parts: Mapping[str, int], limit: int, remedy: str) -> None:
    """Refuse a fit whose estimate exceeds the limit.

    Args:
        what: the fit, for the message.
        parts: bytes by what they hold.
        limit: bytes.
        remedy: what the user can do.

    Raises:
        MemoryError: states the estimate, its parts and the limit.
    """
    total = sum(parts.values())
    if total > limit:
        listed = ", ".join(f"{name} {value / MIB:,.0f} MiB" for name, value in parts.items())
        raise MemoryError(
            f"{what} needs about {total / MIB:,.0f} MiB ({listed}); the limit is {limit / MIB:,.0f} MiB: {remedy}"
        )
