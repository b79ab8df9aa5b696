"""What cannot be labelled, parted or trained on ends a stage with one line, names and numbers, code 2 and no output."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlfactory.common.artifacts import read_matrix, read_table, write_table
from mlfactory.common.index import read_index
from mlfactory.common.splits import TRAIN
from mlfactory.common.stage import main
from mlfactory.dataset.stage import run as dataset
from mlfactory.labels.stage import run as labels
from mlfactory.oof.stage import run as oof
from mlfactory.train.stage import run as train

from .conftest import PARAMS, Chain

Case = Callable[[Chain, Path], tuple[Any, dict[str, Any], str]]


def refused(run: Any, arguments: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a stage as from a shell and give its one line."""
    argv = []
    for name, value in arguments.items():
        text = json.dumps(value) if isinstance(value, dict) else str(value)
        argv += [f"--{name.replace('_', '-')}", text]
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(run, argv)
    said = capsys.readouterr()
    assert end.value.code == 2
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    return said.err


def horizon_longer_than_the_data(chain: Chain, out: Path) -> tuple[Any, dict[str, Any], str]:
    limit = {"take_profit": 1, "stop_loss": 1, "max_bars": 20_000}
    given = {"bars": chain.artifacts["bars"], "params": {"horizons": [20], "barriers": {"20": limit}}}
    told = "horizon 20 needs 20015 bars (time limit 20000, ATR 14); the data has 9000"
    return labels, {**given, "labels": out / "labels"}, told


def _dataset(chain: Chain, out: Path, **params: Any) -> dict[str, Any]:
    inputs = {name: chain.artifacts[name] for name in ("features", "labels", "mtf")}
    outputs = {name: out / name for name in chain.outputs["dataset"]}
    return {**inputs, **outputs, "params": {**PARAMS["dataset"], **params}}


def folds_that_purge_everything_away(chain: Chain, out: Path) -> tuple[Any, dict[str, Any], str]:
    told = "horizon 20: fold 1 of 2 keeps 0 training rows of"
    return dataset, _dataset(chain, out, embargo_bars=9000), told


def combinatorial_folds_with_nothing_left(chain: Chain, out: Path) -> tuple[Any, dict[str, Any], str]:
    given = _dataset(chain, out, scheme="combinatorial", n_folds=3, held_out_blocks=3)
    return dataset, given, "dataset.held_out_blocks is 3 of 3 blocks (n_folds): nothing is left to train on"


def a_feature_set_that_names_a_missing_column(chain: Chain, out: Path) -> tuple[Any, dict[str, Any], str]:
    given = _dataset(chain, out, feature_sets={"neural_optimal": ["log_return_5", "rsi_99"]})
    return dataset, given, "rsi_99"


def _train(chain: Chain, out: Path, **inputs: Path) -> dict[str, Any]:
    outputs = {name: out / name for name in chain.outputs["train-boosting"]}
    job = {"model": "lightgbm", "horizon": 20, "params": {"rounds": 3}}
    given = {"matrix": chain.artifacts["boosting_optimal"], "index": chain.artifacts["index"], **inputs}
    return {"job": job, **given, **outputs}


def nan_in_a_training_matrix(chain: Chain, out: Path) -> tuple[Any, dict[str, Any], str]:
    shutil.copytree(chain.artifacts["boosting_optimal"], out / "matrix")
    row = int(read_index(chain.artifacts["index"]).rows(20, 0, TRAIN)[7])
    values = np.lib.format.open_memmap(out / "matrix" / "matrix.npy", mode="r+")
    values[row, 3] = np.nan
    values.flush()
    column = read_matrix(out / "matrix", "boosting_optimal").columns[3]
    return train, _train(chain, out, matrix=out / "matrix"), f"column {column} is nan at row {row}"


def duplicate_row_ids_in_the_index(chain: Chain, out: Path) -> tuple[Any, dict[str, Any], str]:
    shutil.copytree(chain.artifacts["index"], out / "index")
    path = out / "index" / "rows.parquet"
    frame, facts = read_table(path, "rows.parquet")
    frame.loc[12, "bar"] = frame.loc[11, "bar"]
    _rewrite(path, frame, facts)
    bar = frame.loc[11, "bar"]
    told = f"row 12 is of bar {bar} and the row before it of bar {bar}"
    return train, _train(chain, out, index=out / "index"), told


def duplicate_row_ids_in_predictions(chain: Chain, out: Path) -> tuple[Any, dict[str, Any], str]:
    path = out / "predictions"
    frame, facts = read_table(chain.folder / "train-boosting" / "fold_predictions", "fold_predictions")
    _rewrite(path, pd.concat([frame, frame.iloc[:1]], ignore_index=True), facts)
    given = {"index": chain.artifacts["index"], "boosting": path, "oof": out / "oof"}
    return oof, given, f"{path}: a fold predicts the same row twice"


def duplicate_labels(chain: Chain, out: Path) -> tuple[Any, dict[str, Any], str]:
    frame, facts = read_table(chain.artifacts["labels"], "labels")
    frame.loc[40, "timestamp"] = stamp = frame.loc[39, "timestamp"]
    _rewrite(out / "twice", frame, facts)
    told = "every row must be later than the one before (1 of 9000 are not)"
    return (
        dataset,
        {**_dataset(chain, out), "labels": out / "twice"},
        f"row 40 of the labels is stamped {stamp:%Y-%m-%d %H:%M} and the row before it {stamp:%Y-%m-%d %H:%M}: {told}",
    )


def _rewrite(path: Path, frame: pd.DataFrame, facts: dict[str, Any]) -> None:
    write_table(path, frame, {key: value for key, value in facts.items() if key not in ("rows", "columns")})


CASES: list[Case] = [
    horizon_longer_than_the_data,
    folds_that_purge_everything_away,
    combinatorial_folds_with_nothing_left,
    a_feature_set_that_names_a_missing_column,
    nan_in_a_training_matrix,
    duplicate_row_ids_in_the_index,
    duplicate_row_ids_in_predictions,
    duplicate_labels,
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_it_is_told_in_one_line_with_code_2_and_nothing_is_written(
    case: Case, chain: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, arguments, told = case(chain, tmp_path)
    before = sorted(tmp_path.iterdir())
    assert told in refused(run, arguments, capsys)
    assert sorted(tmp_path.iterdir()) == before
