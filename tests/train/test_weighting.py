"""Sample weights of a fold: by hand, without a trace of what the fold may not know, and from the configuration on."""

from dataclasses import replace

import numpy as np
import pytest
from toy_training import COLUMNS, HORIZON, Data, Train, cut

from mlfactory.common.errors import InputError
from mlfactory.common.index import Index
from mlfactory.common.splits import INNER, REFIT, TRAIN, k_fold
from mlfactory.models.bundle import Columns, Contract
from mlfactory.models.registry import load_model
from mlfactory.train.fitting import barred_bars, fit_fold, fold_rows
from mlfactory.train.params import Reading, Weighting
from mlfactory.train.weighting import row_weights, unfinished
from mlfactory_pipelines import plan


def paper_index(data: Data, start: list[int], end: list[int], until: list[int], label: list[int]) -> Index:
    """Rows at ``start`` whose labels end at ``end`` and whose trades were open ``until`` then; one row per bar."""
    n = 70
    every, at = np.arange(90, 90 + n), np.array(start) - 90

    def put(values: list[int]) -> np.ndarray:
        out = np.full(n, -1)
        out[at] = values
        return out

    blank = {HORIZON: np.full(n, np.nan)}
    return replace(
        data.index,
        bar=every,
        minute=every,
        segment=np.zeros(n, np.int64),
        session=np.zeros(n, np.int64),
        log_return=np.zeros(n),
        event=np.isin(every, start),
        label={HORIZON: put(label).astype(np.int8)},
        end={HORIZON: put(end)},
        open_until={HORIZON: put(until)},
        long_net=blank,
        short_net=blank,
    )


def test_rows_weigh_what_their_spans_have_to_themselves_and_classes_what_they_have_in_rows(
    data: Data,
) -> None:
    # trades over bars 100-103 and 102-103 share two bars; those over 140-143 and 150 stand alone
    start, end = [99, 101, 139, 149], [103, 103, 143, 150]
    rows = np.array(start) - 90
    unique = np.array([(1 + 1 + 0.5 + 0.5) / 4, 0.5, 1.0, 1.0])
    one_class = row_weights(paper_index(data, start, end, end, [0] * 4), HORIZON, rows)
    np.testing.assert_allclose(one_class, unique / unique.mean(), rtol=1e-12)
    two = row_weights(paper_index(data, start, end, end, [2, 2, 0, 0]), HORIZON, rows)
    np.testing.assert_allclose(two, [1.2, 0.8, 1.0, 1.0], rtol=1e-12)


def test_unfinished_labels_count_up_to_the_first_bar_that_the_fold_does_not_know(data: Data) -> None:
    # the fold knows nothing from bar 110 to 120; rows at 106 and 108 are purged, 115 is held out, 104 never ends
    start, until = [99, 103, 105, 107, 109, 115, 124], [107, 105, 112, 130, 112, 118, 127]
    end = [107, -1, 112, 130, 112, 118, 127]
    index, rows = paper_index(data, start, end, until, [0] * 7), np.array([9, 34])
    others = unfinished(index, HORIZON, rows, [(110, 120)])
    assert [part.tolist() for part in others] == [[104, 106, 108], [105, 109, 109]]
    weight = row_weights(index, HORIZON, rows, [(110, 120)])
    unique = np.array([(4 * 1 + 4 * 0.5) / 8, 1.0])
    np.testing.assert_allclose(weight, unique / unique.mean(), rtol=1e-12)


HOW = {
    "uniqueness": Weighting(),
    "return": Weighting(by="return"),
    "decay": Weighting(oldest=-0.2),
    "both": Weighting(by="return", oldest=0.3),
}
every_way = pytest.mark.parametrize("how", HOW.values(), ids=HOW)


def weights_seen(data: Data, fold: int, how: Weighting) -> list[np.ndarray]:
    """The weights that the model of a fold is given: of its training and of its inner rows."""
    seen: list[np.ndarray] = []

    class Spy(load_model("logistic")):  # type: ignore[misc]
        stops_early = True

        def fit(self, X, y, weight, validation=None):  # type: ignore[no-untyped-def]
            seen.extend([weight, validation.weight])
            return super().fit(X, y, weight, validation)

    contract = Contract("logistic", "classical", HORIZON, "boosting_optimal", COLUMNS, 1)
    source, reading = Columns.of(data.values, COLUMNS), Reading(weights=how)
    fit_fold(Spy(), contract, source, data.index, fold, reading=reading)
    return seen


@every_way
def test_a_fold_weighs_its_rows_by_their_own_spans_and_what_was_open_beside_them(
    how: Weighting, data: Data
) -> None:
    rows = fold_rows(data.index, HORIZON, 0, 1)
    barred = barred_bars(data.index, HORIZON, 0, rows.train)
    seen = weights_seen(data, 0, how)
    for part, code, weight in zip((rows.train, rows.inner), (TRAIN, INNER), seen, strict=True):
        np.testing.assert_array_equal(weight, row_weights(data.index, HORIZON, part, barred[code], how))
        assert np.ptp(weight) > 0.1
        if how != Weighting():
            assert (weight != row_weights(data.index, HORIZON, part, barred[code])).any()


@pytest.fixture(scope="module")
def both_sides(data: Data) -> Data:
    """The same rows in three folds, of which the second trains before and after what it holds out."""
    return cut(data, 3, k_fold(3))


@every_way
@pytest.mark.parametrize("fold", [0, 1, 2, REFIT])
def test_what_held_out_and_purged_labels_become_changes_no_weight(
    how: Weighting, fold: int, both_sides: Data
) -> None:
    clean = weights_seen(both_sides, fold, how)
    garbage = weights_seen(other_ends(both_sides, fold), fold, how)
    for before, after in zip(clean, garbage, strict=True):
        assert before.tobytes() == after.tobytes()


def other_ends(data: Data, fold: int) -> Data:
    """Move every end that the fold's rows do not know, and the returns of the sealed bars."""
    index = data.index
    rows = fold_rows(index, HORIZON, fold, 1)
    learned = np.isin(np.arange(len(index)), np.r_[rows.train, rows.inner])
    until, move = index.open_until[HORIZON].copy(), index.log_return.copy()
    cuts = [first for first, _ in index.sealed_bars(HORIZON, fold)] + [int(index.bar[rows.inner[0]])]
    for first in cuts:
        across = ~learned & (index.bar < first) & (until >= first)
        until[across] = first + np.random.default_rng(first).integers(0, 90, across.sum())
    sealed = index.sealed(HORIZON, fold)
    until[sealed] = np.where(until[sealed] < 0, -1, index.bar[sealed] + 40)
    move[sealed] = 7.0
    assert (until != index.open_until[HORIZON]).any()
    return replace(data, index=replace(index, open_until={HORIZON: until}, log_return=move))


def test_a_weight_that_counts_purged_labels_to_their_ends_is_caught(both_sides: Data) -> None:
    rows = fold_rows(both_sides.index, HORIZON, 1, 1).train
    seen = (both_sides, other_ends(both_sides, 1))
    clean, garbage = (row_weights(some.index, HORIZON, rows) for some in seen)
    assert clean.tobytes() != garbage.tobytes()


# From the configuration to the model.

OPTIONS = [{"by": "return"}, {"oldest": -0.4}]


@pytest.mark.parametrize("option", OPTIONS, ids=["return", "decay"])
def test_an_option_of_the_configuration_reaches_the_job_and_changes_every_fold(
    option: dict[str, object], train: Train
) -> None:
    tree = {"models": ["logistic"], "reading": {"classical": {"weights": option}}}
    (job,) = plan.resolve(tree).jobs()["classical"]
    assert job["reading"] == {"weights": option}
    plain, weighed = train("logistic"), train("logistic", reading=job["reading"])
    assert weighed.fit["weights"] == {"by": "uniqueness", "oldest": 1.0, **option}
    for kind in ("fold_predictions", "test_predictions"):
        before, after = (trained.predictions(kind) for trained in (plain, weighed))
        for fold in np.unique(before.fold):
            assert (before.probability != after.probability)[before.fold == fold].any()


def test_windows_of_several_timeframes_take_weights_too(train: Train, extra_transformer: str) -> None:
    plain = train(extra_transformer, {"steps": 5})
    decayed = train(extra_transformer, {"steps": 5}, {"weights": {"oldest": -0.4}})
    before, after = (trained.predictions("test_predictions") for trained in (plain, decayed))
    assert (before.probability != after.probability).any()


def test_a_model_inherits_and_overrides_the_weights_of_its_family() -> None:
    reading = {
        "boosting": {"weights": {"by": "return", "oldest": 0.5}},
        "xgboost": {"weights": {"oldest": 0.25}},
    }
    jobs = plan.resolve({"models": ["xgboost", "lightgbm"], "reading": reading}).jobs()["boosting"]
    assert {job["model"]: job["reading"]["weights"] for job in jobs} == {
        "lightgbm": {"by": "return", "oldest": 0.5},
        "xgboost": {"by": "return", "oldest": 0.25},
    }


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"by": "volume"}, "reading.svm.weights.by is 'volume'"),
        ({"oldest": 2}, "reading.svm.weights.oldest is 2"),
    ],
)
def test_weights_that_mean_nothing_are_told(weights: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan.resolve({"reading": {"svm": {"weights": weights}}})
