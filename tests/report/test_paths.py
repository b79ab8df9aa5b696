"""Results on the paths of combinatorial folds, against a count by hand and on models of known skill."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_run import ToyRun

from mlfactory.common.index import Index
from mlfactory.common.metrics import class_frequencies, sessions_per_year, sharpe
from mlfactory.common.pools import read_pool
from mlfactory.common.predictions import Predictions
from mlfactory.common.splits import HELD_OUT, INNER, TRAIN, combinatorial
from mlfactory.report.paths import path_results, summary

from .test_report_stage import Judged

MODELS = {"xgboost": 0.9, "lightgbm": 0.0, "lstm": 0.5}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    folder = tmp_path_factory.mktemp("paths")
    return Judged(
        ToyRun(folder / "toy", models=MODELS, scheme="combinatorial", folds=6, rows=12_000, stride=4), folder
    )


@pytest.fixture(scope="module")
def document(judged: Judged, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("out")
    return {**judged.report(folder), "page": (folder / "report" / "report.html").read_text(encoding="utf-8")}


def blocks_of(index: Index, row: np.ndarray) -> np.ndarray:
    """Block of each row, by the pair of blocks that each split holds out: no use of path numbers."""
    splits = combinatorial(4, 2)
    held = index.code[20][row][:, :6] == HELD_OUT
    return np.array(
        [set.intersection(*(set(splits[k].held_out) for k in np.flatnonzero(h))).pop() for h in held]
    )


def test_every_path_predicts_every_row_once_by_the_split_of_its_table(judged: Judged) -> None:
    index, p = judged.toy.content, judged.toy.job("xgboost", 20, "fold_predictions")
    number, splits = index.path(20, p.row, p.fold), combinatorial(4, 2)
    table = np.array([[k for k, split in enumerate(splits) if b in split.held_out] for b in range(4)]).T
    every = np.flatnonzero((index.code[20][:, :6] == HELD_OUT).any(axis=1))
    for path in range(3):
        of_path = number == path
        assert sorted(p.row[of_path]) == every.tolist()
        block = blocks_of(index, p.row[of_path])
        np.testing.assert_array_equal(p.fold[of_path], table[path][block])


def test_a_model_of_a_path_is_measured_as_by_hand(judged: Judged, document: dict[str, Any]) -> None:
    index, h = judged.toy.content, 20
    told = next(m for m in document["paths"]["20"]["models"] if m["model"] == "xgboost")
    p, lstm = (judged.toy.job(m, h, "fold_predictions") for m in ("xgboost", "lstm"))
    shared = np.isin(p.row, lstm.row) & (index.path(h, p.row, p.fold) == 1)
    at = np.flatnonzero(shared)[np.argsort(p.row[shared])]
    net, gain, free = dict.fromkeys(np.unique(index.session[p.row[at]]), 0.0), [], -1
    for i in at:
        row, learned = p.row[i], np.isin(index.code[h][:, p.fold[i]], (TRAIN, INNER))
        label = index.label[h]
        pays = np.array([[side[learned & (label == k)].mean() for side in (index.long_net[h], index.short_net[h])]
                         for k in range(3)])  # fmt: skip
        prior = class_frequencies(label[learned])
        gain.append(np.log(p.probability[i, label[row]] / prior[label[row]]))
        worth = p.probability[i] @ pays
        side = int(worth[1] > worth[0])
        if index.bar[row] >= free and worth[side] > 0:
            net[index.session[row]] += (index.long_net, index.short_net)[side][h][row]
            free = index.exit[h][row, side]
    daily = np.array(list(net.values()))
    assert told["net_return"]["values"][1] == pytest.approx(daily.sum())
    assert told["sharpe"]["values"][1] == pytest.approx(sharpe(daily, sessions_per_year(index.session)))
    assert told["gain"]["values"][1] == pytest.approx(np.mean(gain))


def test_skill_shows_on_every_path_and_its_absence_too(document: dict[str, Any]) -> None:
    told = document["paths"]["20"]
    models = {m["model"]: m for m in told["models"]}
    assert set(models) == {"xgboost", "lightgbm", "lstm", "meta_ridge"}
    assert told["paths"] == 3
    assert told["models"][0]["sharpe"]["median"] == max(m["sharpe"]["median"] or -9 for m in told["models"])
    assert models["xgboost"]["sharpe"]["above_zero"] == 3
    assert models["xgboost"]["gain"]["least"] > 0 > models["lightgbm"]["gain"]["largest"]
    assert models["meta_ridge"]["gain"]["least"] > 0
    assert models["xgboost"]["sharpe"]["least"] < models["xgboost"]["sharpe"]["largest"]


def test_the_page_shows_a_dot_for_every_path(document: dict[str, Any]) -> None:
    section = document["page"].partition('id="paths"')[2].partition("<h2")[0]
    models = document["paths"]["20"]["models"]
    known = [value for m in models for value in m["sharpe"]["values"] if value is not None]
    assert section.count("<circle") == len(known) >= 9
    assert section.count("<svg") == len(models) == 4
    assert "Combinatorial folds on development rows" in document["page"]


def test_folds_that_hold_rows_out_once_have_no_paths_to_tell(tmp_path: Path) -> None:
    judged = Judged(ToyRun(tmp_path / "toy"), tmp_path)
    document = judged.report(tmp_path / "out")
    assert document["paths"] == {}
    assert 'id="paths"' not in (tmp_path / "out" / "report" / "report.html").read_text(encoding="utf-8")


def test_the_ensemble_of_a_path_is_that_of_its_folds(judged: Judged) -> None:
    pool, _ = read_pool(judged.folder / "ensemble_predictions", "ensemble_predictions")
    ensemble = next(p for p in pool if p.fold[0] >= 0)
    base = [judged.toy.job(m, 20, "fold_predictions") for m in MODELS]
    told = path_results([*base, ensemble], judged.toy.content)["20"]
    assert {m["model"]: len(m["trades"]) for m in told["models"]} == dict.fromkeys([*MODELS, "meta_ridge"], 3)


def test_an_undefined_path_counts_in_no_number() -> None:
    told = summary(np.array([1.0, np.nan, 3.0]))
    assert (told["mean"], told["median"], told["above_zero"]) == (2.0, 2.0, 2)
    assert np.isnan(summary(np.array([np.nan]))["mean"])


def test_a_path_that_peeks_at_the_label_is_told_apart(judged: Judged) -> None:
    p = judged.toy.job("lightgbm", 20, "fold_predictions")
    seen = np.eye(3)[judged.toy.truth[20]["label"][p.row]] * 0.9 + 1 / 30
    peeking = Predictions(p.row, p.minute, p.fold, seen, "peeking", "boosting", 20)
    told = {m["model"]: m for m in path_results([p, peeking], judged.toy.content)["20"]["models"]}
    assert told["peeking"]["gain"]["least"] > 0.5 > told["lightgbm"]["gain"]["largest"]
