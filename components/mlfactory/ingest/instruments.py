"""The instruments that are known by symbol, and how a user adds one."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from mlfactory.common.bars import Instrument
from mlfactory.common.errors import InputError
from mlfactory.common.params import parse

GENERIC: Final = "GENERIC"
_CONTRACT: Final = re.compile(r"^(?P<root>.+?)[FGHJKMNQUVXZ]\d{1,4}$")
"""A futures contract: root, month letter, year; NQH6 is NQ of March 2026."""


def load_instruments(path: Path) -> dict[str, dict[str, Any]]:
    """Read a user's instrument entries by symbol from a YAML file.

    Raises:
        InputError: the file is missing, holds anything but entries of fields, or a field is missing or wrong.
    """
    entries = _read(path)
    instruments(entries)
    return entries


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise InputError(f"{path} must map each symbol to its fields")
    return {str(symbol): entry for symbol, entry in entries.items()}


@cache
def _known() -> dict[str, Instrument]:
    entries = _read(Path(__file__).with_name("instruments.yaml"))
    return {symbol: _instrument(symbol, entry) for symbol, entry in entries.items()}


def _instrument(symbol: str, fields: Mapping[str, Any]) -> Instrument:
    known = {"root": symbol, **fields, "symbol": symbol}
    return parse(Instrument, known, f"instrument {symbol}")


def instruments(extra: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, Instrument]:
    """List the known instruments by symbol, ``extra`` entries added; an entry of a known symbol replaces its fields."""
    known = dict(_known())
    for symbol, fields in (extra or {}).items():
        base = known[symbol].model_dump() if symbol in known else {}
        known[symbol] = _instrument(symbol, {**base, **fields})
    return known


def root(symbol: str, known: Mapping[str, Instrument]) -> str | None:
    """Find the entry that ``symbol`` belongs to: itself, or the root of a contract such as NQH6 or 6EH4."""
    if symbol in known:
        return symbol
    match = _CONTRACT.match(symbol)
    return match["root"] if match and match["root"] in known else None


def instrument(symbol: str, fields: Mapping[str, Any] | None = None) -> Instrument:
    """Look up an instrument; the result keeps the symbol as given.

    Args:
        symbol: a known symbol, a contract of one (NQH6), or any name when ``fields`` holds a whole entry.
        fields: replace the entry's fields, or are the entry of an unknown symbol.

    Raises:
        InputError: the symbol is unknown (the known ones are listed), or a field is missing or wrong.
    """
    known = _known()
    name = root(symbol, known)
    if name is None and not fields:
        raise InputError(f"symbol {symbol!r} is not known; known: {', '.join(sorted(known))}")
    base = known[name].model_dump() if name else {}
    return _instrument(symbol, {**base, **(fields or {})})
