"""Scalers know the rows they were fitted on and no others."""

import json

import numpy as np
import pytest

from mlfactory.common.errors import InputError
from mlfactory.common.scaling import Scaler

EVERY_KIND = pytest.mark.parametrize("kind", ["none", "standard", "robust"])


@pytest.fixture
def rows() -> np.ndarray:
    table = np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32)
    return table * np.float32([1, 1000, 1e-4, 1]) + np.float32([0, 5e5, 0, 3])


@EVERY_KIND
def test_a_scaler_survives_json_bit_for_bit(kind: str, rows: np.ndarray) -> None:
    scaler = Scaler.fit(kind, rows)
    again = Scaler.from_dict(json.loads(json.dumps(scaler.to_dict())))
    np.testing.assert_array_equal(again.transform(rows), scaler.transform(rows))


@EVERY_KIND
def test_scaled_values_are_float32(kind: str, rows: np.ndarray) -> None:
    assert Scaler.fit(kind, rows).transform(rows).dtype == np.float32


def test_standard_scaling_gives_mean_zero_and_deviation_one(rows: np.ndarray) -> None:
    scaled = Scaler.fit("standard", rows).transform(rows).astype(float)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(scaled.std(axis=0), 1, atol=1e-3)


def test_robust_scaling_uses_median_and_quartiles_whatever_the_extremes() -> None:
    column = np.array([[1.0], [2.0], [3.0], [4.0], [1e9]], np.float32)
    scaler = Scaler.fit("robust", column)
    assert scaler.centre[0] == 3
    assert scaler.spread[0] == pytest.approx((4 - 2) / 1.349, rel=1e-4)
    assert scaler.transform(column)[4, 0] == 10  # clipped


@pytest.mark.parametrize("unit", [1e-5, 1.0, 1e5])
def test_a_column_that_is_mostly_zero_is_scaled_by_its_standard_deviation(unit: float) -> None:
    X = (unit * np.repeat([0.0, 1.0, -2.0], [80, 10, 10]))[:, None].astype(np.float32)
    out = Scaler.fit("robust", X).transform(X)
    np.testing.assert_allclose(out, X / X.std(dtype=np.float64), rtol=1e-6)


def test_none_leaves_every_value_as_it_is(rows: np.ndarray) -> None:
    assert Scaler.fit("none", rows).transform(rows) is rows


@pytest.mark.parametrize("kind", ["standard", "robust"])
@pytest.mark.parametrize("level", [0.0, 7.0, 1e6 + 0.1])
def test_a_constant_column_is_centred_and_not_divided_by_zero(kind: str, level: float) -> None:
    column = np.full((100, 1), level, np.float32)
    np.testing.assert_array_equal(Scaler.fit(kind, column).transform(column), np.zeros((100, 1)))


@EVERY_KIND
def test_missing_values_stay_missing(kind: str, rows: np.ndarray) -> None:
    scaler = Scaler.fit(kind, rows)
    rows[3, 2] = np.nan
    assert np.isnan(scaler.transform(rows)).sum() == 1


@pytest.mark.parametrize(
    ("change", "value"),
    [("kind", "minmax"), ("spread", [0.0]), ("centre", [1.0, 2.0]), ("centre", [None]), ("clip", "far")],
)
def test_a_scaler_of_another_shape_is_refused(change: str, value: object) -> None:
    held = {"kind": "standard", "centre": [0.0], "spread": [1.0], "clip": 10.0, change: value}
    with pytest.raises(InputError, match="not a scaler"):
        Scaler.from_dict(held)


@pytest.mark.parametrize("held", [None, [], {}, "scaler"])
def test_what_is_no_scaler_is_refused(held: object) -> None:
    with pytest.raises(InputError, match="not a scaler"):
        Scaler.from_dict(held)


def test_bad_calls_are_errors(rows: np.ndarray) -> None:
    with pytest.raises(InputError, match="known: none, standard, robust"):
        Scaler.fit("minmax", rows)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at least one row"):
        Scaler.fit("standard", rows[:0])
    with pytest.raises(InputError, match="2 columns; the scaler was fitted on 4"):
        Scaler.fit("standard", rows).transform(rows[:, :2])
