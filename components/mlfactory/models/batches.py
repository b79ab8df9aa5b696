"""Windows as a training step wants them: one table resident on the device, a batch by one gather."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mlfactory.common.multi_resolution import CLOSE, N_PRICES, MultiResolutionDataset
from mlfactory.models.sequence import AnyWindows


@dataclass(frozen=True)
class Layout:
    """The axes of a batch besides its rows."""

    timeframes: int
    """0 where windows have no axis of timeframes"""
    steps: int
    features: int
    """columns of a row, or channels of a bar"""


class Batches:
    """Windows of a table that is resident on the device.

    A batch is copied into a buffer that the next one overwrites: a fresh block of memory per step would cost page
    faults that take longer than the copy.
    """

    def __init__(
        self, windows: AnyWindows, device: torch.device, table: Tensor | None = None, *, axis: bool = False
    ) -> None:
        """Move the table to ``device``, or share ``table`` where it is there already.

        Args:
            windows: of rows, or of several timeframes.
            device: where batches are made.
            table: the windows' table, on the device.
            axis: give windows of rows an axis of one timeframe.
        """
        values = np.require(windows.table, np.float32, ["C", "W"])
        self.table = torch.from_numpy(values).to(device) if table is None else table
        rows, features = self.table.shape
        several = windows if isinstance(windows, MultiResolutionDataset) else None
        timeframes = len(several.timeframes) if several else int(axis)
        self.layout = Layout(timeframes, windows.steps, features)
        self.first = torch.from_numpy(windows.ends.astype(np.int64) - (windows.steps - 1)).to(device)
        self._scale = torch.from_numpy(several.scale).to(device) if several else None
        # overlapping view in which a window is one contiguous row: a gather is a plain copy
        shape = (max(0, rows - windows.steps + 1), windows.steps * features)
        self._flat = self.table.as_strided(shape, (features, 1))
        self._buffer = torch.empty(0, device=device)
        self._out = self._buffer.view(0, 0)

    def __len__(self) -> int:
        return len(self.first)

    def gather(self, which: Tensor) -> Tensor:
        """Copy windows into the buffer of this object.

        Args:
            which: shape (b,); numbers of windows.

        Returns:
            shape (b, steps, features), or (b, timeframes, steps, channels); valid until the next call
        """
        first = self.first.index_select(0, which).view(-1)
        out = torch.index_select(self._flat, 0, first, out=self._room(len(first)))
        steps, features = self.layout.steps, self.layout.features
        if not self.layout.timeframes:
            return out.view(len(which), steps, features)
        batch = out.view(len(which), self.layout.timeframes, steps, features)
        if self._scale is not None:
            prices = batch[..., :N_PRICES]
            prices.sub_(batch[..., -1:, CLOSE : CLOSE + 1].clone())
            prices.div_(self._scale.index_select(0, which)[..., None, None])
        return batch

    def _room(self, rows: int) -> Tensor:
        """Part of the buffer for some rows of the flat view; the next call for as many finds it as it is."""
        if len(self._out) != rows:
            values = rows * self._flat.shape[1]
            if self._buffer.numel() < values:
                self._buffer = self.table.new_empty(values)
            self._out = self._buffer[:values].view(rows, -1)
        return self._out
