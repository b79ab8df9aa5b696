"""Windows as a ``torch.utils.data.Dataset``, for training loops of one's own; those here gather whole batches."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from mlfactory.common.batches import gather
from mlfactory.common.errors import InputError
from mlfactory.common.multi_resolution import MultiResolutionDataset
from mlfactory.common.windows import Windows

Item = tuple[Tensor, Tensor, Tensor]


class WindowDataset(Dataset[Item]):
    """An item is (window, class, weight): float32 (steps, features) or (timeframes, steps, channels), int64, float32.

    ``batch`` gives many items in one gather from the resident table. A ``DataLoader`` asks for its batches through
    ``__getitems__``, which does the same.
    """

    def __init__(
        self,
        windows: Windows | MultiResolutionDataset,
        y: NDArray[Any],
        weight: NDArray[Any] | None = None,
    ) -> None:
        """Put windows, classes of shape (windows,) and weights (1 where omitted) together.

        Raises:
            InputError: another number of classes or weights than windows.
        """
        given = np.ones(len(windows)) if weight is None else weight
        if not len(windows) == len(y) == len(given):
            raise InputError(
                f"{len(windows)} windows, {len(y)} classes and {len(given)} weights: expected equally many"
            )
        self.windows = windows
        self.y = np.array(y, np.int8)  # all of them stay in a cache
        self.weight = np.array(given, np.float32)

    def __len__(self) -> int:
        return len(self.windows)

    def batch(self, items: NDArray[Any]) -> Item:
        """Gather items, shape (b,): windows (b, ...), classes (b,) and weights (b,).

        Raises:
            IndexError: a number is out of range; negative ones count from the end.
        """
        which = np.asarray(items, np.int64)
        if len(which) and which.min() < 0:
            which = np.where(which < 0, which + len(self), which)
        if len(which) and not (which.min() >= 0 and which.max() < len(self)):
            raise IndexError(f"items {items.min()} to {items.max()} of {len(self)}")
        data = self.windows
        values = gather(data, which) if isinstance(data, MultiResolutionDataset) else data.gather(which)
        y, weight = self.y[which].astype(np.int64), self.weight[which]
        return torch.from_numpy(values), torch.from_numpy(y), torch.from_numpy(weight)

    def __getitem__(self, item: int) -> Item:
        values, y, weight = self.batch(np.array([item]))
        return values[0], y[0], weight[0]

    def __getitems__(self, items: list[int]) -> list[Item]:
        return list(zip(*self.batch(np.asarray(items)), strict=True))
