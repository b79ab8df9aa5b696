"""Batches of multi-resolution windows in one compiled pass, for training loops that stay on the CPU."""

from typing import Any

import numpy as np

from mlfactory.common.bars import Ints
from mlfactory.common.jit import kernel
from mlfactory.common.multi_resolution import CLOSE, N_PRICES, Floats32, MultiResolutionDataset


def gather(data: MultiResolutionDataset, which: Ints, out: Floats32 | None = None) -> Floats32:
    """Copy some windows, bit for bit as ``data.gather`` does, without its passes through memory.

    Args:
        data: windows.
        which: shape (b,); numbers of windows, 0 to ``len(data) - 1``.
        out: shape (b, timeframes, steps, channels), contiguous; an array to fill in place of a fresh one.

    Returns:
        ``out``

    Raises:
        IndexError: a number is out of range.
    """
    if len(which) and not (which.min() >= 0 and which.max() < len(data)):
        raise IndexError(f"windows {which.min()} to {which.max()} are not all within 0 to {len(data) - 1}")
    channels = data.table.shape[1]
    shape = (len(which), len(data.timeframes), data.steps, channels)
    filled = np.empty(shape, np.float32) if out is None else out
    if filled.shape != shape or not filled.flags.c_contiguous:
        raise ValueError(f"out must be contiguous and of shape {shape}")
    flat = filled.reshape(*shape[:2], data.steps * channels)
    _gather(data.table.reshape(-1), channels, data.ends, data.scale, which, data.steps, flat)
    return filled


@kernel
def _gather(table: Any, channels: int, ends: Any, scale: Any, which: Any, steps: int, out: Any) -> None:
    """Copy each window as one contiguous run of the table, relative to its last close."""
    for b in range(len(which)):
        for k in range(ends.shape[1]):
            end, unit = ends[which[b], k], scale[which[b], k]
            first = (end - steps + 1) * channels
            close = table[end * channels + CLOSE]
            window, target = table[first : first + steps * channels], out[b, k]
            for i in range(steps * channels):
                target[i] = (window[i] - close) / unit
            for channel in range(N_PRICES, channels):  # what is no price stays as it is
                for step in range(steps):
                    target[step * channels + channel] = window[step * channels + channel]
