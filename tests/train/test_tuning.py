"""Tuning: it finds what is better, on training rows alone, and says how much it tried."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import optuna
import pytest
from toy_training import COLUMNS, HORIZON, Data, Train, cut, write_inputs

from mlfactory.common.errors import InputError
from mlfactory.common.index import Index
from mlfactory.common.splits import REFIT, k_fold
from mlfactory.models.bundle import Columns, Contract
from mlfactory.models.protocol import Model
from mlfactory.models.registry import load_model, models
from mlfactory.train import fitting
from mlfactory.train.fitting import fit_fold, fold_rows
from mlfactory.train.tuning import INNER_FOLDS, tune

TUNED = sorted(name for name, info in models().items() if info.search)
XGB = load_model("xgboost")


def bowl(model: Model) -> Iterator[float]:
    """A loss that is least at a depth of 6 and a share of 0.7."""
    for fold in range(3):
        yield (model.max_depth - 6) ** 2 + (model.row_share - 0.7) ** 2 + 0.01 * fold


def test_the_boosters_can_be_tuned() -> None:
    assert TUNED == ["catboost", "lightgbm", "xgboost"]


@pytest.mark.parametrize("name", TUNED)
def test_ranges_are_of_parameters_and_hold_their_defaults(name: str) -> None:
    model = load_model(name)()
    for parameter, values in model.search.items():
        assert values.low <= getattr(model, parameter) <= values.high
        assert type(values.low) is type(values.high) is type(getattr(model, parameter))
        for end in (values.low, values.high):
            type(model)(**{parameter: end})


def test_the_search_finds_what_is_best_and_never_worse_than_it_began() -> None:
    found, facts = tune(XGB(max_depth=2), 40, bowl)
    assert found.max_depth == 6
    assert abs(found.row_share - 0.7) < 0.15
    assert facts["first_log_loss"] == pytest.approx(np.mean(list(bowl(XGB(max_depth=2)))))
    assert facts["log_loss"] < facts["first_log_loss"]
    assert facts["trials"] == 40
    assert 0 < facts["pruned"] < 40
    one, facts = tune(XGB(max_depth=5), 1, bowl)
    assert (one.max_depth, facts["log_loss"]) == (5, facts["first_log_loss"])


def test_a_hopeless_trial_is_not_judged_in_all_folds() -> None:
    judged = []

    def losses(model: Model) -> Iterator[float]:
        for value in bowl(model):
            judged.append(model)
            yield value

    _, facts = tune(XGB(max_depth=2), 30, losses)
    assert len(judged) < 3 * 30
    assert len(judged) >= 3 * (30 - facts["pruned"])


def test_the_same_seed_searches_the_same_settings() -> None:
    assert tune(XGB(seed=4), 12, bowl) == tune(XGB(seed=4), 12, bowl)
    assert tune(XGB(seed=4), 12, bowl)[1]["params"] != tune(XGB(seed=5), 12, bowl)[1]["params"]


def test_a_search_says_nothing_on_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    tune(XGB(), 2, bowl)
    assert capsys.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == optuna.logging.ERROR


@pytest.fixture(scope="module")
def quarters(data: Data) -> Data:
    """Four folds: training rows enough to be cut into inner folds with an embargo each."""
    return cut(data, 4, k_fold(4))


def spied(
    monkeypatch: pytest.MonkeyPatch, data: Data, fold: int, name: str = "lightgbm"
) -> list[tuple[str, Index]]:
    """Rows that the fits of a tuned fold read, by their use."""
    seen: list[tuple[str, np.ndarray]] = []
    call = fitting.Sampling.__call__

    def spy(self: fitting.Sampling, rows: np.ndarray, barred: object = ()) -> object:
        seen.append(("fit" if barred else "judge", rows))
        return call(self, rows, barred)

    monkeypatch.setattr(fitting.Sampling, "__call__", spy)
    contract = Contract(name, "boosting", HORIZON, "boosting_optimal", COLUMNS, 1)
    source = Columns.of(data.values, COLUMNS)
    fit_fold(load_model(name)(rounds=5), contract, source, data.index, fold, trials=2)
    return seen


@pytest.mark.parametrize("fold", [0, 1, REFIT])
def test_only_training_rows_of_the_fold_are_tuned_on(
    fold: int, quarters: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    *tuning, train, inner = spied(monkeypatch, quarters, fold)
    rows = fold_rows(quarters.index, HORIZON, fold, 1)
    assert len(tuning) >= 2 * 3  # training, stopping and held-out rows
    for _, used in tuning:
        assert set(used) <= set(rows.train)
    np.testing.assert_array_equal(train[1], rows.train)
    np.testing.assert_array_equal(inner[1], rows.inner)


def test_what_judges_a_setting_is_purged_from_what_it_was_fitted_on(
    quarters: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = quarters
    seen = spied(monkeypatch, data, 0)[: 3 * INNER_FOLDS]
    end = data.index.end[HORIZON]
    judged = [rows for use, rows in seen if use == "judge"]
    assert len(judged) == INNER_FOLDS
    for k, held in enumerate(judged):
        for use, rows in seen[3 * k : 3 * k + 3]:
            if use == "fit":
                overlap = (data.index.bar[rows][:, None] <= end[held]) & (
                    data.index.bar[held] <= end[rows][:, None]
                )
                assert not overlap.any()


def test_a_job_is_tuned_in_every_fold_and_says_so(quarters: Data, train: Train, tmp_path: Path) -> None:
    write_inputs(tmp_path, quarters)
    where = {"matrix": tmp_path / "boosting_optimal", "index": tmp_path / "index"}
    fit = train("xgboost", {"rounds": 5}, tune=3, **where).fit
    assert fit["trials"] == 3
    for fold in fit["folds"]:
        assert fold["tuned"]["trials"] == 3
        assert set(fold["tuned"]["params"]) == set(models()["xgboost"].search)
        assert fold["tuned"]["log_loss"] <= fold["tuned"]["first_log_loss"]
    untuned = train("xgboost", {"rounds": 5}, **where).fit
    assert untuned["trials"] == 1
    assert [fold["tuned"] for fold in untuned["folds"]] == [None] * 5


def test_a_model_without_a_search_is_refused(train: Train) -> None:
    with pytest.raises(
        InputError, match=r"logistic declares no hyper-parameters to search; .*: catboost, light"
    ):
        train("logistic", {}, tune=3)
