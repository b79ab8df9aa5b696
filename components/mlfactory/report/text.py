"""Numbers as people read them: fixed digits, a true minus sign, a dash where there is none."""

from datetime import UTC, datetime
from typing import Any

NONE = "–"  # noqa: RUF001  (an en dash)


def number(value: Any, digits: int = 4, *, sign: bool = False) -> str:
    """Write a number; ``sign`` puts a plus before positive ones."""
    if value is None:
        return NONE
    text = f"{value:{'+' if sign else ''},.{digits}f}"
    if not float(text.replace(",", "")):
        text = text.lstrip("+-")
    return text.replace("-", "\N{MINUS SIGN}")


def percent(value: Any, digits: int = 2, *, sign: bool = False) -> str:
    """Write a share as per cent."""
    return NONE if value is None else f"{number(100 * value, digits, sign=sign)}\N{NO-BREAK SPACE}%"


def interval(low: Any, high: Any, digits: int = 4) -> str:
    """Write the two ends of an interval."""
    return NONE if low is None or high is None else f"{number(low, digits)} … {number(high, digits)}"


def count(value: Any) -> str:
    """Write a whole number with thousands."""
    return NONE if value is None else f"{value:,}"


def mebibytes(value: Any) -> str:
    """Write a number of bytes in MiB."""
    return NONE if value is None else f"{number(value / 2**20, 1)}\N{NO-BREAK SPACE}MiB"


def day(minute: int) -> str:
    """Write the UTC date of a minute since the epoch."""
    return datetime.fromtimestamp(minute * 60, UTC).strftime("%Y-%m-%d")


def many(value: int, what: str) -> str:
    """Write a count and its noun, in the singular for one."""
    return f"{value:,} {what}{'' if value == 1 else 's'}"
