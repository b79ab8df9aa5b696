"""Rows keep their numbers: a model of one row, of windows of rows and of several timeframes predict the same ones."""

from pathlib import Path

import numpy as np
import pytest

from mlfactory.common.index import read_index
from mlfactory.common.multi_resolution import BarWindows
from mlfactory.common.predictions import read_predictions
from mlfactory.common.raw_bars import read_raw_bars
from mlfactory.common.splits import HELD_OUT, REFIT
from mlfactory.common.stage import call
from mlfactory.train.stage import run

from .conftest import Chain

EXTRA_MODELS = Path(__file__).parents[1] / "support" / "extra_models"
STEPS = 8


@pytest.fixture
def windowed(chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of several timeframes, trained on the chain's raw bars; one that needs no network is enough."""
    monkeypatch.setenv("MLF_MODELS", str(EXTRA_MODELS))
    job = {"model": "linear_windows", "horizon": 20, "params": {"steps": STEPS, "epochs": 3}}
    outputs = {name: tmp_path / name for name in ("fold_predictions", "test_predictions", "model", "fit")}
    inputs = {"matrix": chain.artifacts["transformer_raw"], "index": chain.artifacts["index"]}
    call(run, {"job": job, **inputs, **outputs})
    return tmp_path


def test_predictions_of_tables_windows_and_timeframes_align_by_row(chain: Chain, windowed: Path) -> None:
    index = read_index(chain.artifacts["index"])
    full = BarWindows.of(read_raw_bars(chain.artifacts["transformer_raw"]), STEPS).full
    for kind, folds in (("fold_predictions", range(index.n_folds)), ("test_predictions", [REFIT])):
        held = np.concatenate([index.rows(20, fold, HELD_OUT) for fold in folds])
        two, three, four = (
            read_predictions(folder / kind, kind)
            for folder in (chain.folder / "train-boosting", chain.folder / "train-neural", windowed)
        )
        assert two.row.tolist() == held.tolist()
        assert four.row.tolist() == held[full[held]].tolist()
        assert set(three.row) <= set(held)
        assert len(four) > 100
        for part in (two, three, four):
            np.testing.assert_array_equal(part.minute, index.minute[part.row])
