"""What the selection of columns is worth: the same folds with and without it, row by row."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from mlfactory.common.bars import Floats, Ints
from mlfactory.common.index import Index
from mlfactory.common.metrics import StationaryBootstrap, block_length, ends, row_log_loss

DRAWS: Final = 10_000
"""resamples; the ends of a 99.9 % interval need thousands"""


@dataclass(frozen=True)
class Pair:
    """Two predictions of one fold's held-out rows."""

    row: Ints
    """shape (n,)"""
    selected: Floats
    """shape (n, 3); by the model that was given the selected columns"""
    whole: Floats
    """shape (n, 3); by the model that was given them all"""


def compare(pairs: Sequence[Pair], index: Index, horizon: int, seed: int) -> dict[str, Any]:
    """Compare the log loss of both models on the held-out rows of all folds.

    Args:
        pairs: one per fold.
        index: labels and spans of the rows.
        horizon: bars.
        seed: of the resamples.

    Returns:
        ``rows``, ``log_loss`` with selection, ``log_loss_without``, ``gain`` (what selection saves per row, in nats)
        and the ends of its block-bootstrap intervals, as in ``metrics.scores``
    """
    row = np.concatenate([pair.row for pair in pairs])
    order = np.argsort(row, kind="stable")
    row = row[order]
    label = index.label[horizon][row]
    selected = row_log_loss(np.concatenate([pair.selected for pair in pairs])[order], label)
    whole = row_log_loss(np.concatenate([pair.whole for pair in pairs])[order], label)
    gain = whole - selected
    block = block_length(index.bar[row], index.end[horizon][row])
    draws = StationaryBootstrap(len(row), block, DRAWS, seed).interval_draws(gain)
    return {
        "rows": len(row),
        "log_loss": float(selected.mean()),
        "log_loss_without": float(whole.mean()),
        "gain": float(gain.mean()),
        **ends("gain", draws),
    }
