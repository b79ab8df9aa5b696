"""Folds against an exhaustive pairwise check of closed intervals."""

import numpy as np
import pytest
from skfolio.model_selection import CombinatorialPurgedCV, WalkForward

from mlfactory.common.errors import InputError
from mlfactory.common.splits import (
    HELD_OUT,
    INNER,
    TRAIN,
    UNUSED,
    Codes,
    Ints,
    Split,
    blocks,
    clear_of,
    combinatorial,
    fold_codes,
    inner_codes,
    k_fold,
    meets,
    path_numbers,
    refit_codes,
    walk_forward,
)

SCHEMES = {
    "k-fold": (5, k_fold(5)),
    "expanding": (5, walk_forward(4)),
    "rolling": (5, walk_forward(4, train_blocks=2)),
    "combinatorial": (6, combinatorial(6, 2)),
}
every_scheme = pytest.mark.parametrize("scheme", SCHEMES)


def spans(n: int, longest: int, seed: int, unit: int = 1) -> tuple[Ints, Ints]:
    """Draw events with holes between them and random label ends."""
    rng = np.random.default_rng(seed)
    start = np.cumsum(rng.integers(1, 4, n)).astype(np.int64)
    return start * unit, (start + rng.integers(0, longest + 1, n)) * unit


def touching(start: Ints, end: Ints, code: Codes, embargo: int) -> list[tuple[int, int]]:
    """List every pair of spans of two parts that share a bar or violate the embargo."""
    apart = (end[:, None] < start) | (start[:, None] > end + embargo)
    train, inner, held = (code == part for part in (TRAIN, INNER, HELD_OUT))
    together = ((train | inner)[:, None] & held) | (train[:, None] & inner)
    return [(int(i), int(j)) for i, j in np.argwhere(together & ~apart)]


@every_scheme
@pytest.mark.parametrize("unit", [1, 60_000_000], ids=["positions", "microseconds"])
@pytest.mark.parametrize("seed", range(3))
def test_training_and_held_out_spans_never_meet(scheme: str, unit: int, seed: int) -> None:
    n_blocks, splits = SCHEMES[scheme]
    start, end = spans(800, longest=12, seed=seed, unit=unit)
    codes = fold_codes(start, end, blocks(800, n_blocks), splits, embargo=7 * unit, inner_fraction=0.2)
    for k in range(len(splits)):
        assert touching(start, end, codes[:, k], 7 * unit) == []


def test_the_pairwise_check_catches_a_fold_whose_spans_touch() -> None:
    start, end = spans(500, longest=12, seed=0)
    codes = fold_codes(start, end, blocks(500, 5), k_fold(5), embargo=0, inner_fraction=0.2)[:, 2]
    before = np.flatnonzero((codes == UNUSED) & (blocks(500, 5) == 1))
    codes[before] = TRAIN
    assert touching(start, end, codes, 0)


def test_the_pairwise_check_catches_a_training_row_within_the_embargo() -> None:
    start, end = spans(500, longest=12, seed=0)
    codes = fold_codes(start, end, blocks(500, 5), k_fold(5), embargo=0, inner_fraction=0.2)[:, 2]
    assert touching(start, end, codes, 0) == []
    assert touching(start, end, codes, 10)


@pytest.mark.parametrize("seed", range(20))
def test_a_span_is_purged_when_and_only_when_it_meets_one_that_is_held_out(seed: int) -> None:
    rng = np.random.default_rng(seed)
    start = rng.integers(0, 300, 80)
    end = start + rng.integers(0, 30, 80)
    held_start = rng.integers(0, 300, 4)
    held_end = held_start + rng.integers(0, 30, 4)
    embargo = int(rng.integers(0, 20))
    expected = [
        any(s <= f + embargo and e >= h for h, f in zip(held_start, held_end, strict=True))
        for s, e in zip(start, end, strict=True)
    ]
    assert meets(start, end, held_start, held_end, embargo).tolist() == expected


@every_scheme
@pytest.mark.parametrize("seed", range(3))
def test_every_training_row_that_meets_no_held_out_span_is_kept(scheme: str, seed: int) -> None:
    n_blocks, splits = SCHEMES[scheme]
    start, end = spans(500, longest=12, seed=seed)
    block = blocks(500, n_blocks)
    codes = fold_codes(start, end, block, splits, embargo=7, inner_fraction=0.0)
    for k, split in enumerate(splits):
        held = np.isin(block, split.held_out)
        kept = np.isin(block, split.train) & ~meets(start, end, start[held], end[held], 7)
        assert ((codes[:, k] == TRAIN) == kept).all()


@every_scheme
def test_purging_drops_nothing_that_is_far_from_every_held_out_span(scheme: str) -> None:
    n_blocks, splits = SCHEMES[scheme]
    start = np.arange(600)
    codes = fold_codes(start, start, blocks(600, n_blocks), splits, embargo=0, inner_fraction=0.0)
    allowed = np.column_stack([np.isin(blocks(600, n_blocks), split.train) for split in splits])
    assert ((codes == TRAIN) == allowed).all()


@every_scheme
def test_walk_forward_trains_on_the_past_alone(scheme: str) -> None:
    n_blocks, splits = SCHEMES[scheme]
    start, end = spans(500, longest=12, seed=3)
    codes = fold_codes(start, end, blocks(500, n_blocks), splits, embargo=5, inner_fraction=0.2)
    past_only = [end[np.isin(code, (TRAIN, INNER))].max() < start[code == HELD_OUT].min() for code in codes.T]
    assert all(past_only) == (scheme in ("expanding", "rolling"))


@pytest.mark.parametrize("scheme", ["k-fold", "combinatorial"])
def test_every_event_is_held_out_equally_often(scheme: str) -> None:
    n_blocks, splits = SCHEMES[scheme]
    start, end = spans(501, longest=12, seed=1)
    codes = fold_codes(start, end, blocks(501, n_blocks), splits, embargo=5, inner_fraction=0.2)
    assert len(set((codes == HELD_OUT).sum(axis=1))) == 1


def test_inner_rows_are_the_last_training_rows() -> None:
    start, end = spans(500, longest=12, seed=5)
    code = fold_codes(start, end, blocks(500, 5), k_fold(5), embargo=9, inner_fraction=0.25)[:, 4]
    assert np.flatnonzero(code == INNER).min() > np.flatnonzero(code == TRAIN).max()


def test_a_small_purge_by_hand() -> None:
    # events at bars 0..9, labels of 2 bars, bars 4 and 5 held out, one bar of embargo:
    # 2 and 3 end at 4 and 5, and 6, 7 start inside held-out labels; 8 is the embargo after the label end 7
    start = np.arange(10)
    gone = meets(start, start + 2, start[4:6], start[4:6] + 2, embargo=1)
    assert np.flatnonzero(~gone).tolist() == [0, 1, 9]


def test_an_inner_split_by_hand() -> None:
    # ten events of 2 bars, the last 20 % are events 8 and 9; events 6 and 7 end at 8 and 9
    start = np.arange(10)
    code = inner_codes(start, start + 2, np.ones(10, np.bool_), 0.2)
    assert code.tolist() == [TRAIN] * 6 + [UNUSED] * 2 + [INNER] * 2


def test_events_that_reach_the_locked_test_are_in_no_part_of_the_refit() -> None:
    start, end = spans(300, longest=12, seed=2)
    test_start = int(start[250])
    finished, code = refit_codes(start[:250], end[:250], test_start, embargo=5, inner_fraction=0.2)
    assert (end[:250][~finished] >= test_start).all()
    assert (code[~finished] == UNUSED).all()
    assert not finished.all()


def path_of_block(n_blocks: int, splits: list[Split]) -> Ints:
    """Path that each split's prediction of each block belongs to, shape (blocks, splits); -1 where there is none."""
    return path_numbers(np.array([[b in split.held_out for split in splits] for b in range(n_blocks)]))


def test_combinatorial_paths_cover_every_block_once_each() -> None:
    number = path_of_block(6, combinatorial(6, 2))
    for block in number:
        assert sorted(block[block >= 0]) == [0, 1, 2, 3, 4]


def test_paths_of_three_blocks_by_hand() -> None:
    # splits hold out (0, 1), (0, 2), (1, 2): path 0 is of splits 0, 0, 1 and path 1 of splits 1, 2, 2
    assert path_of_block(3, combinatorial(3, 2)).tolist() == [[0, 1, -1], [0, -1, 1], [-1, 0, 1]]


def test_blocks_are_contiguous_and_differ_by_at_most_one_event() -> None:
    assert blocks(7, 3).tolist() == [0, 0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("seed", range(10))
def test_a_window_is_clear_when_it_meets_no_sealed_interval(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sealed = [(int(a), int(a + rng.integers(0, 20))) for a in rng.integers(0, 200, 3)]
    first = rng.integers(0, 190, 60)
    last = first + rng.integers(0, 10, 60)
    inside = {bar for start, end in sealed for bar in range(start, end + 1)}
    expected = [not inside & set(range(a, b + 1)) for a, b in zip(first, last, strict=True)]
    assert clear_of(sealed, first, last).tolist() == expected


def test_folds_that_purge_everything_away_are_an_error_with_numbers() -> None:
    start = np.arange(200)
    with pytest.raises(InputError, match=r"fold 1 of 5 keeps 0 training rows of 200 .* embargo of 500 bars"):
        fold_codes(start, start + 2, blocks(200, 5), k_fold(5), embargo=500, inner_fraction=0.2)


def test_a_label_that_ends_before_its_event_is_an_error() -> None:
    with pytest.raises(InputError, match="event at 7 ends at 5"):
        fold_codes(
            np.array([3, 7]), np.array([4, 5]), np.zeros(2, np.int64), [Split((0,), ())],
            embargo=0, inner_fraction=0.0,
        )  # fmt: skip


# Against skfolio, whose purge is a constant number of rows: labels of constant length.

LENGTH = 3


@pytest.mark.parametrize(("n_blocks", "held_out"), [(5, 2), (6, 2), (8, 3), (10, 8)])
@pytest.mark.parametrize("embargo", [0, 4])
def test_combinatorial_folds_of_constant_spans_are_those_of_skfolio(
    n_blocks: int, held_out: int, embargo: int
) -> None:
    start = np.arange(n_blocks * 30)
    splits = combinatorial(n_blocks, held_out)
    codes = fold_codes(
        start, start + LENGTH, blocks(len(start), n_blocks), splits, embargo=embargo, inner_fraction=0.0
    )
    theirs = CombinatorialPurgedCV(n_blocks, held_out, purged_size=LENGTH, embargo_size=embargo)
    assert theirs.n_splits == len(splits)
    for code, (train, tests) in zip(codes.T, theirs.split(start[:, None]), strict=True):
        assert np.flatnonzero(code == TRAIN).tolist() == train.tolist()
        assert np.flatnonzero(code == HELD_OUT).tolist() == np.sort(np.concatenate(tests)).tolist()


@pytest.mark.parametrize(("n_blocks", "held_out"), [(5, 2), (6, 2), (8, 3)])
def test_paths_are_those_of_skfolio(n_blocks: int, held_out: int) -> None:
    splits = combinatorial(n_blocks, held_out)
    theirs = CombinatorialPurgedCV(n_blocks, held_out, purged_size=0, embargo_size=0)
    number = path_of_block(n_blocks, splits)
    assert number.max() + 1 == theirs.n_test_paths
    for k, (split, path) in enumerate(zip(splits, theirs.get_path_ids(), strict=True)):
        assert number[list(split.held_out), k].tolist() == path.tolist()


@pytest.mark.parametrize("train_blocks", [None, 2])
def test_walk_forward_folds_of_constant_spans_are_those_of_skfolio(train_blocks: int | None) -> None:
    start, splits = np.arange(240), walk_forward(5, train_blocks)
    codes = fold_codes(start, start + LENGTH, blocks(240, 6), splits, embargo=0, inner_fraction=0.0).T[
        (train_blocks or 1) - 1 :
    ]
    theirs = WalkForward(
        test_size=40,
        train_size=40 * (train_blocks or 1) - LENGTH,
        purged_size=LENGTH,
        expand_train=train_blocks is None,
    )
    for code, (train, test) in zip(codes, theirs.split(start[:, None]), strict=True):
        assert np.flatnonzero(code == TRAIN).tolist() == train.tolist()
        assert np.flatnonzero(code == HELD_OUT).tolist() == test.tolist()


def test_a_fold_in_time_states_its_embargo_in_minutes() -> None:
    start = np.arange(200)
    with pytest.raises(InputError, match=r"embargo of 500 minutes; .* or a shorter embargo"):
        fold_codes(
            start, start + 2, blocks(200, 5), k_fold(5), embargo=500, inner_fraction=0.2, unit="minutes"
        )
