"""Law 4: in the index that training receives, no trained span meets a held-out span, by position or by time."""

from collections.abc import Iterator

import numpy as np
import pytest

from mlfactory.common.bars import read_bars
from mlfactory.common.index import Index, read_index
from mlfactory.common.splits import HELD_OUT, INNER, REFIT, TRAIN

from .conftest import Chain


def touching(start: np.ndarray, end: np.ndarray, held_start: np.ndarray, held_end: np.ndarray) -> int:
    """Count pairs of closed spans that share an instant, by comparing every pair."""
    return int(((start[:, None] <= held_end[None, :]) & (held_start[None, :] <= end[:, None])).sum())


def folds(index: Index) -> Iterator[tuple[int, int]]:
    return ((h, k) for h in index.horizons for k in range(index.n_folds))


@pytest.fixture(scope="module")
def index(chain: Chain) -> Index:
    return read_index(chain.artifacts["index"])


@pytest.mark.parametrize("unit", ["position", "time"])
@pytest.mark.parametrize(("fitted", "kept_apart"), [(TRAIN, HELD_OUT), (INNER, HELD_OUT), (TRAIN, INNER)])
def test_spans_never_meet(index: Index, chain: Chain, unit: str, fitted: int, kept_apart: int) -> None:
    close = read_bars(chain.artifacts["bars"]).close_minute
    for h, k in folds(index):
        rows, held = index.rows(h, k, fitted), index.rows(h, k, kept_apart)
        assert len(rows)
        assert len(held)
        spans = [index.bar[rows], index.end[h][rows], index.bar[held], index.end[h][held]]
        if unit == "time":
            spans = [close[position] for position in spans]
        assert touching(*spans) == 0


def test_a_fold_whose_spans_touch_by_one_bar_is_caught(index: Index) -> None:
    h, k = index.horizons[0], 1
    rows, held = index.rows(h, k, TRAIN), index.rows(h, k, HELD_OUT)
    end = index.end[h][rows].copy()
    before = np.flatnonzero(index.bar[rows] < index.bar[held[0]])[-1]
    end[before] = index.bar[held[0]]
    assert touching(index.bar[rows], end, index.bar[held], index.end[h][held]) > 0


def test_the_refit_trains_on_spans_that_end_before_the_locked_test(index: Index) -> None:
    for h in index.horizons:
        first = index.bar[index.rows(h, REFIT, HELD_OUT)].min()
        for code in (TRAIN, INNER):
            assert index.end[h][index.rows(h, REFIT, code)].max() < first


def test_every_development_row_is_held_out_at_most_once(index: Index) -> None:
    for h in index.horizons:
        held = np.concatenate([index.rows(h, k, HELD_OUT) for k in range(index.n_folds)])
        assert len(np.unique(held)) == len(held) > 0
