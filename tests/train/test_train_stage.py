"""The stage: what a training task leaves behind, whatever happens to its fit."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_training import (
    COLUMNS,
    HORIZON,
    OUTPUTS,
    Data,
    Train,
    Trained,
    make_data,
    write_inputs,
)

import mlfactory
from mlfactory.common.artifacts import read_folder, read_provenance, sha256
from mlfactory.common.errors import InputError
from mlfactory.common.multi_resolution import BarWindows
from mlfactory.common.splits import HELD_OUT, INNER, REFIT, TRAIN
from mlfactory.models.bundle import Bundle
from mlfactory.models.registry import load_model
from mlfactory.train.workers import WORKERS

MODELS = ("logistic", "lightgbm", "lstm")


@pytest.fixture(scope="module", params=MODELS)
def trained(request: pytest.FixtureRequest, train: Train) -> Trained:
    return train(request.param)


def log_loss(p: np.ndarray, label: np.ndarray) -> float:
    return float(-np.log(p[np.arange(len(label)), label]).mean())


def test_every_held_out_row_with_a_full_window_is_predicted_once(trained: Trained, data: Data) -> None:
    predicted = trained.predictions("fold_predictions")
    for fold in (0, 1):
        rows = data.index.rows(HORIZON, fold, HELD_OUT)
        if trained.fit["family"] == "neural":  # five rows of one segment, which starts at 0 and at 450
            rows = rows[(rows >= 4) & ~((rows >= 450) & (rows < 454))]
        np.testing.assert_array_equal(predicted.row[predicted.fold == fold], rows)
    assert set(predicted.fold) == {0, 1}


def test_the_refitted_model_predicts_the_locked_test(trained: Trained, data: Data) -> None:
    predicted = trained.predictions("test_predictions")
    np.testing.assert_array_equal(predicted.row, data.index.rows(HORIZON, REFIT, HELD_OUT))
    np.testing.assert_array_equal(predicted.minute, data.index.minute[predicted.row])
    assert set(predicted.fold) == {REFIT}


@pytest.mark.parametrize("kind", ["fold_predictions", "test_predictions"])
def test_a_planted_signal_is_found_out_of_fold(trained: Trained, data: Data, kind: str) -> None:
    predicted = trained.predictions(kind)
    label = data.label[predicted.row]
    frequency = np.bincount(data.label, minlength=3) / len(data.label)
    assert log_loss(predicted.probability, label) < log_loss(np.tile(frequency, (len(label), 1)), label) - 0.1


def test_the_saved_model_predicts_the_test_rows_bit_for_bit(trained: Trained, data: Data) -> None:
    predicted = trained.predictions("test_predictions")
    bundle = Bundle.load(trained.folder / "model")
    row, probability = bundle.predict(data.values, data.index.segment, predicted.row)
    np.testing.assert_array_equal(row, predicted.row)
    np.testing.assert_array_equal(probability, predicted.probability)


def test_the_contract_says_what_the_model_reads(trained: Trained) -> None:
    contract = Bundle.load(trained.folder / "model").contract
    assert contract.columns == COLUMNS
    assert contract.classes == ("short", "flat", "long")
    assert contract.horizon == HORIZON
    neural = contract.family == "neural"
    assert contract.steps == (5 if neural else 1)
    assert contract.feature_set == ("neural_optimal" if neural else "boosting_optimal")
    assert read_folder(trained.folder / "model", "model")["status"] == "ok"


def test_the_fit_file_counts_the_rows_of_every_fold(trained: Trained, data: Data) -> None:
    fit = trained.fit
    assert fit["artifact"] == "fit"
    assert fit["status"] == "ok"
    assert fit["error"] is None
    assert [fold["fold"] for fold in fit["folds"]] == [0, 1, REFIT]
    for fold in fit["folds"]:
        of_index = [len(data.index.rows(HORIZON, fold["fold"], code)) for code in (TRAIN, INNER)]
        if load_model(fit["model"]).stops_early:
            assert 20 < fold["inner_rows"] < fold["train_rows"] <= of_index[0]
            assert 0 < fold["inner_log_loss"] < 1.1
        else:
            assert fold["train_rows"] == sum(of_index)
            assert fold["inner_rows"] == 0
    predicted = sum(fold["held_out_rows"] for fold in fit["folds"][:2])
    assert trained.summary.metrics["rows"] == predicted == len(trained.predictions("fold_predictions"))
    if fit["model"] == "lightgbm":
        assert max(fit["feature_importance"], key=fit["feature_importance"].get) == "signal"


def test_the_same_seed_gives_the_same_bytes(trained: Trained, train: Train) -> None:
    again = train(trained.fit["model"])
    assert [sha256(again.folder / name) for name in OUTPUTS] == [
        sha256(trained.folder / name) for name in OUTPUTS
    ]


def test_artifacts_state_their_inputs_and_no_path(trained: Trained, inputs: Path) -> None:
    for name in OUTPUTS[:3]:
        facts = read_provenance(trained.folder / name)
        assert facts["inputs"]["index"] == sha256(inputs / "index")
        assert str(inputs.parent) not in str(facts)
    assert trained.fit["inputs"]["index"] == sha256(inputs / "index")


# Windows of several timeframes, from the artifact to the saved model and back.


@pytest.fixture
def windowed(train: Train, extra_transformer: str) -> Trained:
    return train(extra_transformer, {"steps": 5})


def test_a_model_of_several_timeframes_is_trained_saved_and_served(windowed: Trained, data: Data) -> None:
    full = BarWindows.of(data.raw, 5).full
    for kind, folds in (("fold_predictions", (0, 1)), ("test_predictions", (REFIT,))):
        predicted = windowed.predictions(kind)
        held = np.concatenate([data.index.rows(HORIZON, fold, HELD_OUT) for fold in folds])
        np.testing.assert_array_equal(predicted.row, held[full[held]])
        label = data.label[predicted.row]
        frequency = np.bincount(data.label, minlength=3) / len(data.label)
        assert (
            log_loss(predicted.probability, label)
            < log_loss(np.tile(frequency, (len(label), 1)), label) - 0.1
        )
    bundle = Bundle.load(windowed.folder / "model")
    row, probability = bundle.predict(data.raw, data.index.segment, np.arange(len(data.index)))
    np.testing.assert_array_equal(row, np.flatnonzero(full))
    same = np.isin(row, predicted.row)
    np.testing.assert_allclose(probability[same], predicted.probability, rtol=1e-12)
    _, served = bundle.predict(data.raw, data.index.segment, predicted.row)
    np.testing.assert_array_equal(served, predicted.probability)


def test_its_contract_states_timeframes_channels_and_steps(windowed: Trained, data: Data) -> None:
    bundle = Bundle.load(windowed.folder / "model")
    assert bundle.contract.timeframes == (1, 5)
    assert bundle.contract.columns == ("open", "high", "low", "close")
    assert bundle.contract.steps == 5
    assert bundle.contract.feature_set == "transformer_raw"
    other = replace(data.raw, timeframes=(1, 15))
    with pytest.raises(InputError, match=r"have timeframes \(1, 15\); linear_windows was fitted on \(1, 5\)"):
        bundle.predict(other, data.index.segment, np.arange(20))


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        ("import os; os._exit(9)", "ProcessDied", "exit code 9"),
        ("import os; os.kill(os.getpid(), 9)", "ProcessDied", "killed by SIGKILL"),
        ("raise MemoryError", "MemoryError", "MemoryError"),
        ("raise RuntimeError('the library gave up')", "RuntimeError", "the library gave up"),
        ("raise SystemExit(3)", "SystemExit", "3"),
    ],
)
def test_a_fit_that_crashes_leaves_its_reason_and_no_predictions(
    train: Train,
    extra_model: Callable[[str, str], None],
    monkeypatch: pytest.MonkeyPatch,
    body: str,
    error: str,
    message: str,
) -> None:
    monkeypatch.setenv(WORKERS, "1")
    extra_model("crasher", body)
    trained = train("crasher")
    assert trained.fit["status"] == "failed"
    assert trained.fit["error"]["type"] == error
    assert message in trained.fit["error"]["message"]
    assert trained.fit["folds"] == []
    for kind in ("fold_predictions", "test_predictions"):
        predicted = trained.predictions(kind)
        assert len(predicted) == 0
        assert (predicted.model, predicted.family, predicted.status) == ("crasher", "classical", "failed")
    assert read_folder(trained.folder / "model", "model")["status"] == "failed"
    assert "crasher, horizon 6: failed" in trained.summary.line
    assert trained.summary.metrics == {"failed": 1}


def test_a_failure_is_the_same_bytes_again(train: Train, extra_model: Callable[[str, str], None]) -> None:
    extra_model("crasher", "raise MemoryError")
    first, second = train("crasher"), train("crasher")
    assert [sha256(first.folder / name) for name in OUTPUTS] == [
        sha256(second.folder / name) for name in OUTPUTS
    ]


def test_a_model_from_another_folder_is_trained_like_any_other(
    train: Train, extra_model: Callable[[str, str], None]
) -> None:
    extra_model("frequencies", "pass")
    trained = train("frequencies", {"smoothing": 2.0})
    assert trained.fit["status"] == "ok"
    assert trained.fit["settings"] == {"seed": 1, "smoothing": 2.0}
    assert Bundle.load(trained.folder / "model").contract.model == "frequencies"


@pytest.mark.parametrize(
    ("model", "job", "message"),
    [
        ("lightgbm", {"model": "lihgtgbm"}, "model 'lihgtgbm' is not in the registry; known: blending"),
        ("lightgbm", {"horizon": 7}, "horizon 7 is not in the index"),
        ("lightgbm", {"params": {"leafs": 3}}, "models.lightgbm.leafs is not a parameter; known: bins"),
        ("lightgbm", {"params": {"rounds": 0}}, "models.lightgbm.rounds is 0"),
        ("lstm", {"params": {"steps": 500}}, "keeps none of its"),
        ("lightgbm", {"model": "meta_ridge"}, "the stacking stage fits it"),
        ("lightgbm", {"models": "lightgbm"}, "models is not a parameter"),
    ],
)
def test_a_job_that_cannot_be_done_is_one_clear_error(
    train: Train, model: str, job: dict[str, object], message: str
) -> None:
    whole = {"model": model, "horizon": HORIZON, "params": {}, **job}
    with pytest.raises(InputError, match=message):
        train(model, job=whole)


def test_floats_that_kfp_makes_of_integers_are_integers_again(train: Train) -> None:
    assert train("lightgbm", {"rounds": 3.0, "leaves": 4.0}).fit["settings"]["rounds"] == 3


def test_the_matrix_of_another_family_is_refused(train: Train, inputs: Path) -> None:
    with pytest.raises(InputError, match="is the artifact 'neural_optimal'; expected 'boosting_optimal'"):
        train("lightgbm", matrix=inputs / "neural_optimal")


@pytest.mark.parametrize(("model", "matrix"), [("lightgbm", "boosting_optimal"), ("lstm", "neural_optimal")])
def test_a_value_that_is_not_finite_is_refused_by_its_columns_name(
    train: Train, tmp_path: Path, model: str, matrix: str
) -> None:
    broken = make_data()
    broken.values[300, 2] = np.nan
    write_inputs(tmp_path, broken)
    with pytest.raises(InputError, match="column noise_b is nan at row 300"):
        train(model, matrix=tmp_path / matrix, **{name: tmp_path / name for name in OUTPUTS})
    assert not any((tmp_path / name).exists() for name in OUTPUTS)


def test_the_stage_runs_from_a_shell(inputs: Path, tmp_path: Path) -> None:
    job = '{"model": "logistic", "horizon": 6, "params": {"C": 0.1}}'
    outputs = [part for name in OUTPUTS for part in (f"--{name.replace('_', '-')}", tmp_path / name)]
    command = [sys.executable, "-m", "mlfactory.train.stage", "--job", job, *outputs]
    command += ["--matrix", inputs / "boosting_optimal", "--index", inputs / "index", "--seed", "1"]
    environment = {**os.environ, "PYTHONPATH": str(Path(mlfactory.__file__).parents[1])}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env=environment, check=True
    )
    assert "mlfactory > logistic, horizon 6 | 3/3" in done.stdout
    assert "train: logistic, horizon 6: 2 folds" in done.stdout
    assert (tmp_path / "model" / "contract.json").is_file()
