"""Sequences of rows for models that read time: views of one flat table, never materialised."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.errors import InputError

Ints = NDArray[np.int64]
Floats32 = NDArray[np.float32]


def valid_ends(segment: Ints, rows: Ints, steps: int) -> Ints:
    """Keep the rows that end a full window of ``steps`` rows inside one segment.

    Args:
        segment: shape (n,); segment of every row of the table, ascending.
        rows: shape (m,); candidates, any order; the order is kept.
        steps: rows per window.

    Returns:
        shape (<= m,)
    """
    first = rows - (steps - 1)
    full = first >= 0
    full &= segment[np.maximum(first, 0)] == segment[rows]
    return rows[full]


def row_major(table: Floats32) -> None:
    """Refuse a table whose rows are not contiguous.

    Raises:
        InputError: it is not row-major.
    """
    if not table.flags.c_contiguous:
        raise InputError("the table of a window must be row-major and contiguous")


def window_view(table: Floats32, steps: int) -> Floats32:
    """View all windows of consecutive rows: row i of the view is the window from row i on.

    A window is one contiguous row, so that taking rows of the view, in numpy or torch, is a plain copy.

    Args:
        table: shape (rows, features), row-major; may be memory-mapped.
        steps: rows per window.

    Returns:
        overlapping and read-only, shape (rows - steps + 1, steps * features)

    Raises:
        InputError: the table is not row-major.
    """
    row_major(table)
    rows, features = table.shape
    shape = (max(0, rows - steps + 1), steps * features)
    view = np.lib.stride_tricks.as_strided(table, shape, (table.strides[0], table.itemsize), writeable=False)
    return np.asarray(view)


def take(view: Floats32, first: NDArray[np.integer[Any]]) -> Floats32:
    """Copy windows of a ``window_view``, each as one block of bytes.

    Args:
        view: shape (windows, values).
        first: numbers of windows, of any shape.

    Returns:
        shape (*first.shape, values)
    """
    blocks = view.view(f"V{view.strides[1] * view.shape[1]}")[:, 0]
    copied: Floats32 = blocks[first].view(np.float32)  # np.take would first copy the whole view
    return copied.reshape(*first.shape, view.shape[1])


@dataclass(frozen=True)
class Windows:
    """Windows of ``steps`` consecutive rows of a flat table; each is named by its last row."""

    table: Floats32
    """shape (rows, features), row-major; may be memory-mapped"""
    ends: Ints
    """shape (windows,); last row of each window"""
    steps: int

    def __post_init__(self) -> None:
        row_major(self.table)
        if len(self.ends) and not (self.steps - 1 <= self.ends.min() and self.ends.max() < len(self.table)):
            raise InputError(
                f"windows of {self.steps} steps end at rows {self.ends.min()} to {self.ends.max()}; "
                f"the table has {len(self.table)} rows"
            )

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def first(self) -> Ints:
        """First row of each window, shape (windows,)."""
        return self.ends - (self.steps - 1)

    @property
    def flat(self) -> Floats32:
        """Overlapping view, shape (rows - steps + 1, steps * features); see ``window_view``."""
        return window_view(self.table, self.steps)

    def gather(self, which: Ints) -> Floats32:
        """Copy some windows.

        Args:
            which: shape (b,); numbers of windows, 0 to ``len(self) - 1``.

        Returns:
            shape (b, steps, features)
        """
        batch = take(self.flat, self.ends[which] - (self.steps - 1))
        return batch.reshape(len(which), self.steps, self.table.shape[1])
