"""Weights against the loops of the book."""

import numpy as np
import pytest

from mlfactory.common.errors import InputError
from mlfactory.common.weights import concurrency, sample_weights, time_decay, uniqueness


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


def test_weights_have_mean_one() -> None:
    start, end = spans(0)
    assert sample_weights(start, end).mean() == pytest.approx(1)
    assert sample_weights(start, end, oldest=-0.3).mean() == pytest.approx(1)


def test_weights_do_not_depend_on_where_the_bars_are_counted_from() -> None:
    start, end = spans(1)
    np.testing.assert_allclose(sample_weights(start, end), sample_weights(start - 900, end - 900), rtol=1e-12)


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
    assert sample_weights(nothing, nothing).shape == (0,)


@pytest.mark.parametrize("oldest", [-1.0, 1.5])
def test_a_decay_out_of_range_is_an_error(oldest: float) -> None:
    with pytest.raises(InputError, match=r"must lie in \(-1, 1\]"):
        time_decay(np.ones(3), oldest)


def test_a_span_that_ends_before_it_starts_is_an_error() -> None:
    with pytest.raises(InputError, match="1 label spans end before they start"):
        uniqueness(np.array([3, 4]), np.array([4, 3]))
