"""Purging and weights side by side with their plain counterparts."""

from typing import Any

import numpy as np
import pytest

from mlfactory.common.splits import blocks, combinatorial, fold_codes, k_fold
from mlfactory.common.weights import uniqueness

pytestmark = pytest.mark.slow

ROWS = 1_000_000
SCHEMES = {"5 folds": (5, k_fold(5)), "45 combinatorial splits": (10, combinatorial(10, 2))}


@pytest.fixture(scope="module")
def spans() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    start = np.arange(ROWS)
    return start, start + rng.integers(1, 60, ROWS)


def searchsorted_per_split(start: Any, end: Any, block: Any, splits: Any, embargo: int) -> int:
    """The plain vectorised way for blocks: per split and held-out block, two searches in sorted label times."""
    kept = 0
    for split in splits:
        train = np.isin(block, split.train)
        for held in split.held_out:
            rows = np.flatnonzero(block == held)
            last = end[rows].max() + embargo
            train[: np.searchsorted(start, last, "right")] &= (
                end[: np.searchsorted(start, last, "right")] < start[rows[0]]
            )
        kept += int(train.sum())
    return kept


@pytest.mark.parametrize("scheme", SCHEMES)
def test_searchsorted_per_split(benchmark: Any, spans: Any, scheme: str) -> None:
    n_blocks, splits = SCHEMES[scheme]
    benchmark.group = f"purge and embargo, {scheme}, {ROWS:,} rows"
    benchmark.pedantic(searchsorted_per_split, (*spans, blocks(ROWS, n_blocks), splits, 60), rounds=3)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_fold_codes(benchmark: Any, spans: Any, scheme: str) -> None:
    n_blocks, splits = SCHEMES[scheme]
    benchmark.group = f"purge and embargo, {scheme}, {ROWS:,} rows"
    benchmark.pedantic(
        fold_codes,
        (*spans, blocks(ROWS, n_blocks), splits),
        {"embargo": 60, "inner_fraction": 0.0},
        rounds=3,
    )


def test_uniqueness(benchmark: Any, spans: Any) -> None:
    benchmark.group = f"average uniqueness, {ROWS:,} rows"
    benchmark.pedantic(uniqueness, spans, rounds=3)
