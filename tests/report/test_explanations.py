"""What each model looks at: every share under its own name, and the longest lists kept readable."""

import re
from typing import Any

import pytest

from mlfactory.report.explanations import describe, explanations
from mlfactory.report.text import percent

TFT = {
    "horizon": 20,
    "model": "tft",
    "explanation": {
        "columns": ["open", "close"],
        "timeframes": [1, 60],
        "steps": 3,
        "variable weights": [0.1, 0.2, 0.3, 0.4],
        "attention to steps": [0.5, 0.3, 0.2],
        "timeframe weights": [0.7, 0.3],
        "something else": [1.0, 2.0],
    },
}
BOOSTER = {"horizon": 10, "model": "xgboost", "feature_importance": {"b": 0.4, "a": 0.4, "c": 0.2}}
SILENT = {"horizon": 10, "model": "svm", "feature_importance": None, "explanation": None}


def named(fit: dict[str, Any], quantity: str) -> list[tuple[str, float]]:
    (one,) = (told for told in describe([fit]) if told["quantity"] == quantity)
    return [(row["name"], row["share"]) for row in one["shares"]]


@pytest.mark.parametrize(
    ("fit", "quantity", "expected"),
    [
        (
            TFT,
            "variable weights",
            [("1 min open", 0.1), ("1 min close", 0.2), ("60 min open", 0.3), ("60 min close", 0.4)],
        ),
        (
            TFT,
            "attention to steps",
            [("2 bars back", 0.5), ("1 bar back", 0.3), ("last bar", 0.2)],
        ),
        (TFT, "timeframe weights", [("1 min", 0.7), ("60 min", 0.3)]),
        (TFT, "something else", [("0", 1.0), ("1", 2.0)]),
        (BOOSTER, "feature importance", [("a", 0.4), ("b", 0.4), ("c", 0.2)]),
    ],
)
def test_every_share_has_its_name(
    fit: dict[str, Any], quantity: str, expected: list[tuple[str, float]]
) -> None:
    assert named(fit, quantity) == expected


def test_models_come_by_horizon_and_name_and_silent_ones_not_at_all() -> None:
    order = [(told["horizon"], told["model"]) for told in describe([TFT, SILENT, BOOSTER])]
    assert order == [(10, "xgboost"), *[(20, "tft")] * 4]


def test_the_page_shows_the_largest_shares_first_and_long_windows_in_ten_parts() -> None:
    many = {f"column_{k:02}": (k + 1) / 210 for k in range(20)}
    window = {**TFT["explanation"], "steps": 60, "attention to steps": [1 / 60] * 60}
    page = explanations(
        {"explanations": describe([{**BOOSTER, "feature_importance": many}, {**TFT, "explanation": window}])}
    )
    boosters, _, networks = page.partition("tft, horizon 20")
    listed = re.findall(r">(column_\d+)<", boosters)
    assert listed == [f"column_{k}" for k in range(19, 9, -1)]
    assert ">59 to 54 bars back<" in networks
    assert ">5 to 0 bars back<" in networks
    assert networks.count(f"<b>{percent(0.1, 1)}</b>") == 11  # ten parts, and one variable weight


def test_a_run_of_silent_models_says_so() -> None:
    assert "No model of this run says what it looks at" in explanations({"explanations": describe([SILENT])})
