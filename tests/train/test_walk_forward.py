"""Law 2 in walk-forward splits: garbage after row t leaves scaler and predictions up to t bit-identical."""

from dataclasses import replace

import numpy as np
import pytest
from toy_models import toy
from toy_training import HORIZON, Data, cut

from mlfactory.common.index import Index
from mlfactory.common.splits import HELD_OUT, k_fold, walk_forward
from mlfactory.models.registry import load_model, models
from mlfactory.train.fitting import FoldFit, fit_fold

TRAINED = [name for name, info in models().items() if info.feature_set != "probabilities"]
FOLDS = 2


def with_garbage_after(data: Data, row: int) -> Data:
    """Change later rows, bars that close later, and every label that is not finished at ``row``."""
    index = data.index
    values = data.values.copy()
    values[row + 1 :] = 1e6 * np.random.default_rng(9).normal(size=values[row + 1 :].shape)
    tables = {}
    for minutes, table in data.raw.tables.items():
        after = data.raw.first[minutes] + minutes - 1 > index.bar[row]
        tables[minutes] = np.where(after[:, None], table * 1.5, table)
    label = index.label[HORIZON]
    unfinished = (label >= 0) & (index.end[HORIZON] > index.bar[row])
    other = {HORIZON: np.where(unfinished, 2 - label, label).astype(np.int8)}
    changed = replace(index, label=other)
    return replace(data, values=values, raw=replace(data.raw, tables=tables), index=changed)


def fit(name: str, data: Data, fold: int) -> FoldFit:
    model = load_model(name)(**toy(name))
    return fit_fold(model, data.contract(name, model), data.source(model), data.index, fold)


def middle(index: Index, fold: int) -> int:
    """A row in the midst of those that a fold holds out."""
    held = index.rows(HORIZON, fold, HELD_OUT)
    return int(held[len(held) // 2])


def known_then(name: str, data: Data, fold: int) -> list[bytes]:
    """Scaler and predictions of a fold up to the middle of its held-out rows."""
    found = fit(name, data, fold)
    past = found.row <= middle(data.index, fold)
    assert past.sum() > 20
    return [repr(found.bundle.scaler.to_dict()).encode(), found.probability[past].tobytes()]


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("fold", range(FOLDS))
def test_what_comes_after_a_row_does_not_change_what_was_said_of_it(name: str, fold: int, data: Data) -> None:
    walked = cut(data, FOLDS + 1, walk_forward(FOLDS))
    after = with_garbage_after(walked, middle(walked.index, fold))
    assert known_then(name, after, fold) == known_then(name, walked, fold)


@pytest.mark.parametrize("fold", range(FOLDS))
def test_what_comes_after_a_row_does_not_change_windows_of_several_timeframes(
    fold: int, data: Data, extra_transformer: str
) -> None:
    walked = cut(data, FOLDS + 1, walk_forward(FOLDS))
    after = with_garbage_after(walked, middle(walked.index, fold))
    assert known_then(extra_transformer, after, fold) == known_then(extra_transformer, walked, fold)


def test_a_fold_that_trains_on_later_rows_is_caught(data: Data) -> None:
    crossed = cut(data, FOLDS + 1, k_fold(FOLDS + 1))
    after = with_garbage_after(crossed, middle(crossed.index, 0))
    honest, changed = known_then("logistic", crossed, 0), known_then("logistic", after, 0)
    assert [a == b for a, b in zip(honest, changed, strict=True)] == [False, False]
