"""What a search found is on the page: how much it tried, what it chose, and how much better that seemed."""

from typing import Any

import pytest

from mlfactory.report.model_inputs import describe, model_inputs


def fit(**changes: Any) -> dict[str, Any]:
    about = {
        "horizon": 20,
        "model": "xgboost",
        "family": "boosting",
        "feature_set": "boosting_optimal",
        "available_columns": 7,
        "read_bytes": {"matrix": 1 << 20, "index": 1 << 20},
    }
    folds = [
        {"tuned": {"params": {"l2": 3.0}, "first_log_loss": 1.2, "log_loss": 1.1, "trials": 9, "pruned": 2}},
        {
            "tuned": {
                "params": {"max_depth": 5, "l2": 0.123456},
                "first_log_loss": 1.0,
                "log_loss": 0.98,
                "trials": 9,
                "pruned": 4,
            }
        },
    ]
    return {**about, "folds": folds, **changes}


def test_the_search_of_the_refit_and_the_mean_gain_are_told() -> None:
    (row,) = describe([fit(), fit(model="plain", folds=[{"tuned": None}]), fit(model="bad", folds=[])])[
        "tuning"
    ]
    assert (row["model"], row["trials"], row["pruned"]) == ("xgboost", 9, 4)
    assert row["params"] == {"max_depth": 5, "l2": 0.123456}
    assert row["gain_per_fold"] == pytest.approx((0.1 + 0.02) / 2)


def test_the_page_shows_settings_only_where_there_was_a_search() -> None:
    page = model_inputs({"model_inputs": describe([fit()])})
    assert "Tuned hyper-parameters" in page
    assert "<code>max_depth</code>&nbsp;5, <code>l2</code>&nbsp;0.1235" in page
    assert "Tuned hyper-parameters" not in model_inputs({"model_inputs": describe([fit(folds=[])])})
