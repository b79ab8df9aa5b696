"""Purging and weights side by side with their plain counterparts."""

from typing import Any

import numpy as np
import pytest

from mlfactory.common.splits import HELD_OUT, MIN_ROWS, TRAIN, blocks, combinatorial, fold_codes, k_fold
from mlfactory.common.weights import uniqueness

pytestmark = pytest.mark.slow

ROWS = 1_000_000
SCHEMES = {"5 folds": (5, k_fold(5)), "45 combinatorial splits": (10, combinatorial(10, 2))}


@pytest.fixture(scope="module")
def spans() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    start = np.arange(ROWS)
    return start, start + rng.integers(1, 60, ROWS)


def searchsorted_per_split(start: Any, end: Any, block: Any, splits: Any, embargo: int) -> Any:
    """The plain vectorised way: per split and held-out block, a search in sorted starts and a comparison of ends.

    It refuses the same input and gives the same codes.
    """
    if (end < start).any() or (start[1:] < start[:-1]).any() or (block[1:] < block[:-1]).any():
        raise ValueError("spans or blocks are not in order")
    edges = np.searchsorted(block, np.arange(block[-1] + 2))
    out = np.zeros((len(splits), len(start)), np.uint8)
    for code, split in zip(out, splits, strict=True):
        for b in split.train:
            code[edges[b] : edges[b + 1]] = TRAIN
        for held in split.held_out:
            first, last = start[edges[held]], end[edges[held] : edges[held + 1]].max() + embargo
            near = np.searchsorted(start, last, "right")
            code[:near] *= end[:near] < first
        for held in split.held_out:
            code[edges[held] : edges[held + 1]] = HELD_OUT
        if min(np.count_nonzero(code == TRAIN), np.count_nonzero(code == HELD_OUT)) < MIN_ROWS:
            raise ValueError("a split keeps too few rows")
    return out.T


@pytest.mark.parametrize("scheme", SCHEMES)
def test_searchsorted_per_split(benchmark: Any, spans: Any, scheme: str) -> None:
    n_blocks, splits = SCHEMES[scheme]
    benchmark.group = f"purge and embargo, {scheme}, {ROWS:,} rows"
    benchmark.pedantic(searchsorted_per_split, (*spans, blocks(ROWS, n_blocks), splits, 60), rounds=7)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_fold_codes(benchmark: Any, spans: Any, scheme: str) -> None:
    n_blocks, splits = SCHEMES[scheme]
    benchmark.group = f"purge and embargo, {scheme}, {ROWS:,} rows"
    benchmark.pedantic(
        fold_codes,
        (*spans, blocks(ROWS, n_blocks), splits),
        {"embargo": 60, "inner_fraction": 0.0},
        rounds=7,
    )


@pytest.mark.parametrize("scheme", SCHEMES)
def test_both_keep_the_same_rows(spans: tuple[Any, Any], scheme: str) -> None:
    n_blocks, splits = SCHEMES[scheme]
    start, end = (part[:100_000] for part in spans)
    block = blocks(len(start), n_blocks)
    codes = fold_codes(start, end, block, splits, embargo=60, inner_fraction=0.0)
    np.testing.assert_array_equal(codes, searchsorted_per_split(start, end, block, splits, 60))


def test_uniqueness(benchmark: Any, spans: Any) -> None:
    benchmark.group = f"average uniqueness, {ROWS:,} rows"
    benchmark.pedantic(uniqueness, spans, rounds=7)
