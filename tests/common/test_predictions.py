"""Prediction tables: what is written is read, and what are no probabilities is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlfactory.common.artifacts import read_provenance, sha256
from mlfactory.common.errors import InputError
from mlfactory.common.predictions import Predictions, failed, read_predictions, write_predictions

FACTS = {"artifact": "fold_predictions", "schema_version": 1}


@pytest.fixture
def predictions() -> Predictions:
    p = np.random.default_rng(0).dirichlet([1, 2, 3], 6)
    row = np.array([0, 2, 4, 1, 3, 5])
    return Predictions(row, row + 28_000_000, np.array([0, 0, 0, 1, 1, 1]), p, "xgboost", "boosting", 20)


def test_a_table_comes_back_bit_for_bit(predictions: Predictions, tmp_path: Path) -> None:
    write_predictions(tmp_path / "p", predictions, FACTS)
    again = read_predictions(tmp_path / "p", "fold_predictions")
    for name, value in vars(predictions).items():
        np.testing.assert_array_equal(getattr(again, name), value)
    assert read_provenance(tmp_path / "p")["rows"] == 6


def test_equal_predictions_give_equal_bytes(predictions: Predictions, tmp_path: Path) -> None:
    for copy in ("a", "b"):
        write_predictions(tmp_path / copy, predictions, FACTS)
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b")


def test_a_failed_fit_has_an_empty_table_that_says_so(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p", failed("lstm", "neural", 5), FACTS)
    again = read_predictions(tmp_path / "p", "fold_predictions")
    assert len(again) == 0
    assert again.probability.shape == (0, 3)
    assert (again.model, again.horizon, again.status) == ("lstm", 5, "failed")


@pytest.mark.parametrize("value", [np.nan, -0.1, 1.1, 0.5])
def test_what_are_no_probabilities_is_refused(predictions: Predictions, value: float, tmp_path: Path) -> None:
    p = predictions.probability.copy()
    p[3, 1] = value
    with pytest.raises(InputError, match="do not sum to 1"):
        write_predictions(tmp_path / "p", replace(predictions, probability=p), FACTS)
    assert not (tmp_path / "p").exists()


def test_a_row_predicted_twice_by_one_fold_is_refused_and_by_two_folds_is_not(
    predictions: Predictions, tmp_path: Path
) -> None:
    write_predictions(tmp_path / "p", replace(predictions, row=np.array([0, 2, 4, 0, 3, 5])), FACTS)
    with pytest.raises(InputError, match="a fold predicts the same row twice"):
        write_predictions(tmp_path / "p", replace(predictions, row=np.array([0, 2, 2, 1, 3, 5])), FACTS)


def test_another_table_is_refused(predictions: Predictions, tmp_path: Path) -> None:
    write_predictions(tmp_path / "p", predictions, FACTS)
    with pytest.raises(InputError, match="expected 'test_predictions'"):
        read_predictions(tmp_path / "p", "test_predictions")
