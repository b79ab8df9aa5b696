"""Weights against the loops of the book."""

import numpy as np
import pytest

from mlfactory.common.errors import InputError
from mlfactory.common.weights import (
    concurrency,
    return_attribution,
    sample_weights,
    time_decay,
    uniqueness,
)

ONE_CLASS = np.zeros(120, np.int8)


def spans(seed: int, n: int = 120) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    start = np.sort(rng.choice(400, n, replace=False)) + 1000
    return start, start + rng.integers(0, 25, n)


@pytest.mark.parametrize("seed", range(5))
def test_uniqueness_equals_the_naive_loop(seed: int) -> None:
    start, end = spans(seed)
    count = {bar: sum(s <= bar <= e for s, e in zip(start, end, strict=True)) for bar in range(1000, 1430)}
    naive = [np.mean([1 / count[bar] for bar in range(s, e + 1)]) for s, e in zip(start, end, strict=True)]
    np.testing.assert_allclose(uniqueness(start, end), naive, rtol=1e-12)


def test_uniqueness_by_hand() -> None:
    # spans 0-1, 1-2 and 5-5: bar 1 is shared by two
    start, end = np.array([0, 1, 5]), np.array([1, 2, 5])
    assert concurrency(start, end).tolist() == [1, 2, 1, 0, 0, 1]
    assert uniqueness(start, end).tolist() == [0.75, 0.75, 1.0]


def test_unfinished_spans_count_in_the_concurrency_by_hand() -> None:
    # the span 1-2 is not finished: bar 1 is shared by two, bar 2 is beyond the span that is weighed
    unfinished = (np.array([1]), np.array([2]))
    assert uniqueness(np.array([0, 5]), np.array([1, 5]), unfinished).tolist() == [0.75, 1.0]


def test_what_starts_after_the_last_span_or_ended_before_the_first_changes_nothing() -> None:
    start, end = spans(3)
    far = (np.array([10, end.max() + 1]), np.array([900, end.max() + 50]))
    assert uniqueness(start, end, far).tobytes() == uniqueness(start, end).tobytes()


def test_return_attribution_by_hand() -> None:
    # spans 0-2 and 2-3; bar 2 is shared
    log_return = np.array([0.5, 0.25, -1.0, 0.125])
    unique = return_attribution(np.array([0, 2]), np.array([2, 3]), log_return)
    assert unique.tolist() == [abs(0.5 + 0.25 - 1 / 2), abs(-1 / 2 + 0.125)]


@pytest.mark.parametrize("seed", range(5))
def test_return_attribution_equals_the_naive_loop(seed: int) -> None:
    start, end = spans(seed)
    move = np.random.default_rng(seed).normal(size=end.max() - start.min() + 1)
    unfinished = (start[100:] + 3, end[100:] + 20)
    rows = slice(0, 100)
    first, last = start[rows].min(), end[rows].max()
    every = [*zip(start[rows], end[rows], strict=True), *zip(*unfinished, strict=True)]
    naive = [
        abs(sum(move[bar - first] / sum(s <= bar <= e for s, e in every) for bar in range(a, b + 1)))
        for a, b in every[:100]
    ]
    found = return_attribution(start[rows], end[rows], move[: last - first + 1], unfinished)
    np.testing.assert_allclose(found, naive, rtol=1e-9, atol=1e-12)


def test_weights_have_mean_one() -> None:
    start, end = spans(0)
    move = np.random.default_rng(0).normal(size=end.max() - start.min() + 1)
    for how in ({}, {"oldest": -0.3}, {"log_return": move}, {"log_return": move, "oldest": 0.2}):
        assert sample_weights(start, end, ONE_CLASS, **how).mean() == pytest.approx(1)


def test_each_class_weighs_as_much_as_its_decayed_rows() -> None:
    start, end = spans(0)
    rng = np.random.default_rng(0)
    label, move = rng.integers(0, 3, 120).astype(np.int8), rng.normal(size=end.max() - start.min() + 1)
    decay = time_decay(uniqueness(start, end), 0.1)
    for how, worth in (({}, np.ones(120)), ({"oldest": 0.1}, decay), ({"log_return": move}, np.ones(120))):
        found = np.bincount(label, weights=sample_weights(start, end, label, **how))
        np.testing.assert_allclose(found / 120, np.bincount(label, weights=worth) / worth.sum(), rtol=1e-12)


def test_a_class_without_any_return_keeps_its_weight() -> None:
    start, label = np.arange(6) * 4, np.array([0, 1, 0, 1, 0, 1], np.int8)
    move = np.zeros(23)
    move[[0, 8, 16]] = (0.1, 0.2, 0.3)  # rows 0, 2 and 4, of class 0
    found = sample_weights(start, start + 2, label, log_return=move)
    np.testing.assert_allclose(found, [0.5, 1, 1, 1, 1.5, 1])


def test_weights_do_not_depend_on_where_the_bars_are_counted_from() -> None:
    start, end = spans(1)
    np.testing.assert_allclose(
        sample_weights(start, end, ONE_CLASS), sample_weights(start - 900, end - 900, ONE_CLASS), rtol=1e-12
    )


def test_spans_that_are_not_given_do_not_count() -> None:
    start, end = spans(2)
    half = slice(0, 60)
    assert uniqueness(start[half], end[half]).sum() > uniqueness(start, end)[half].sum()


@pytest.mark.parametrize(("oldest", "first"), [(1.0, 1.0), (0.5, 0.505), (0.0, 0.01)])
def test_the_oldest_row_decays_to_the_weight_asked_for(oldest: float, first: float) -> None:
    decay = time_decay(np.ones(100), oldest)
    assert decay[0] == pytest.approx(first)
    assert decay[-1] == 1
    assert (np.diff(decay) >= 0).all()


def test_a_negative_weight_silences_that_share_of_the_oldest_rows() -> None:
    assert (time_decay(np.ones(100), -0.25) == 0).sum() == 25


def test_no_rows_have_no_weights() -> None:
    nothing = np.empty(0, np.int64)
    assert sample_weights(nothing, nothing, ONE_CLASS[:0]).shape == (0,)


@pytest.mark.parametrize("oldest", [-1.0, 1.5])
def test_a_decay_out_of_range_is_an_error(oldest: float) -> None:
    with pytest.raises(InputError, match=r"must lie in \(-1, 1\]"):
        time_decay(np.ones(3), oldest)


def test_a_span_that_ends_before_it_starts_is_an_error() -> None:
    with pytest.raises(InputError, match="1 label spans end before they start"):
        uniqueness(np.array([3, 4]), np.array([4, 3]))


def test_a_row_weighs_the_same_to_the_last_bit_whatever_rows_come_before_and_after_its_neighbours() -> None:
    start = np.arange(1000, 3000)
    end = start + np.random.default_rng(5).integers(0, 25, len(start))
    move = np.random.default_rng(6).normal(0, 1e-3, int(end.max()) - 999)
    whole = (uniqueness(start, end), return_attribution(start, end, move))
    for first in (1, 7, 400):
        rows = slice(first, 1500)
        known = move[first : int(end[rows].max()) - 999]
        part = (uniqueness(start[rows], end[rows]), return_attribution(start[rows], end[rows], known))
        for some, every in zip(part, whole, strict=True):
            np.testing.assert_array_equal(some[30:-30], every[first + 30 : 1470])
