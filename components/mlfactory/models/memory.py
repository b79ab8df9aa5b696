"""What a fit will need and what there is: refused with a number instead of killed without a word."""

from collections.abc import Mapping
from typing import Final

MIB: Final = 1 << 20


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
