"""Universal Binary JSON as XGBoost writes it, read with every length checked.

XGBoost's own reader aborts the process on a file that is cut short, and follows the nodes of a tree unchecked.
"""

from typing import Any, Final

import numpy as np

_NUMBERS: Final = {"i": ">i1", "U": ">u1", "I": ">i2", "l": ">i4", "L": ">i8", "d": ">f4", "D": ">f8"}
_CONSTANTS: Final = {"T": True, "F": False, "Z": None}
_DEEPEST: Final = 20


def parse(content: bytes) -> Any:
    """Read a whole document: objects become dicts, typed arrays numpy arrays, other arrays lists.

    Raises:
        ValueError: the document is cut short, goes on after its end, or is of another format.
    """
    reader = _Reader(content)
    value = reader.value(reader.marker(), 0)
    if reader.at != len(content):
        raise ValueError(f"{len(content) - reader.at} bytes follow the document")
    return value


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content, self.at = content, 0

    def take(self, size: int) -> bytes:
        if not 0 <= size <= len(self._content) - self.at:
            raise ValueError(f"it is cut short: {size} bytes expected at byte {self.at}")
        self.at += size
        return self._content[self.at - size : self.at]

    def marker(self) -> str:
        return self.take(1).decode("latin-1")

    def numbers(self, kind: str, count: int) -> Any:
        if kind not in _NUMBERS:
            raise ValueError(f"unknown type {kind!r} at byte {self.at}")
        stored = np.dtype(_NUMBERS[kind])
        return np.frombuffer(self.take(count * stored.itemsize), stored)

    def length(self) -> int:
        return int(self.numbers(self.marker(), 1)[0])

    def text(self) -> str:
        return self.take(self.length()).decode("utf-8")

    def value(self, marker: str, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError("it is nested too deeply")
        if marker in _CONSTANTS:
            return _CONSTANTS[marker]
        if marker == "S":
            return self.text()
        if marker == "{":
            return self.object(depth)
        if marker == "[":
            return self.array(depth)
        return self.numbers(marker, 1)[0].item()

    def object(self, depth: int) -> dict[str, Any]:
        found = {}
        while self._content[self.at : self.at + 1] != b"}":
            key = self.text()
            found[key] = self.value(self.marker(), depth + 1)
        self.at += 1
        return found

    def array(self, depth: int) -> Any:
        marker = self.marker()
        if marker == "$":
            kind = self.marker()
            if self.marker() != "#":
                raise ValueError(f"a typed array without a length at byte {self.at}")
            return self.numbers(kind, self.length())
        if marker != "#":
            raise ValueError(f"an array without a length at byte {self.at}")
        return [self.value(self.marker(), depth + 1) for _ in range(self.length())]
