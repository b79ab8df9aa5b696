"""Train one model at one horizon: on every fold for out-of-fold predictions, and on all development rows."""

import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from mlfactory.common.artifacts import (
    PROVENANCE,
    Provenance,
    new_folder,
    provenance,
    read_json,
    read_matrix,
    write_json,
)
from mlfactory.common.errors import InputError
from mlfactory.common.index import Index, read_index
from mlfactory.common.multi_resolution import BarWindows
from mlfactory.common.params import parse
from mlfactory.common.predictions import COMBINERS, FAILED, OK, Predictions, failed, write_predictions
from mlfactory.common.raw_bars import KIND as RAW
from mlfactory.common.raw_bars import read_raw_bars
from mlfactory.common.splits import REFIT
from mlfactory.common.stage import Summary, main, progress
from mlfactory.models.bundle import Contract, Source, steps_of
from mlfactory.models.protocol import Context, Model, context
from mlfactory.models.registry import load_model, models, source_version
from mlfactory.train.child import Failure, isolated
from mlfactory.train.fitting import check_source, fit_fold, importance_of, name_of
from mlfactory.train.params import Job

_FACTS: Final = "facts.json"
_BUNDLE: Final = "bundle"


@dataclass(frozen=True)
class Task:
    """A job with all that its folds share."""

    contract: Contract
    settings: dict[str, Any]
    """the model's hyper-parameters, with the seed"""
    source: Source
    index: Index
    accelerator: bool

    def model(self) -> Model:
        """A model that is not fitted."""
        return parse(load_model(self.contract.model), self.settings, f"models.{self.contract.model}")


def run(  # noqa: PLR0913  (two inputs, four outputs)
    job: Job,
    matrix: Path,
    index: Path,
    fold_predictions: Path,
    test_predictions: Path,
    model: Path,
    fit: Path,
    seed: int = 0,
    accelerator: str = "0",
) -> Summary:
    """Train one model at one horizon; a fit that crashes leaves empty predictions and says why in ``fit``.

    Args:
        job: model, horizon and hyper-parameters.
        matrix: the feature set of the model's family.
        index: labels, spans and folds of the matrix's rows.
        fold_predictions: table to write; held-out rows of all folds.
        test_predictions: table to write; rows of the locked test, by the refitted model.
        model: folder to write; that model, its scaler and its contract.
        fit: JSON file to write; rows, best iterations and inner losses, or the error.
        seed: of everything random in the fit.
        accelerator: number of GPUs; ``0`` trains on the CPU.

    Raises:
        InputError: an unknown model, horizon or hyper-parameter, or a value in the matrix that is not finite.
    """
    task = _task(job, matrix, index, seed, accelerator)
    common = provenance(
        "",
        "train",
        {"matrix": matrix, "index": index},
        {"job": job.model_dump()},
        model=task.contract.model,
        family=task.contract.family,
        horizon=task.contract.horizon,
        settings=task.settings,
        model_code=source_version(job.model),
    )

    def about(kind: str) -> Provenance:
        return {**common, "artifact": kind}

    model.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=model.parent, prefix=".fit-") as name:
        work = Path(name)
        failure = isolated(lambda: _fit_all(task, work), work / "error.json")
        status = FAILED if failure else OK
        found = read_json(work / _FACTS) if not failure else {}
        for path, kind, refit in (
            (fold_predictions, "fold_predictions", False),
            (test_predictions, "test_predictions", True),
        ):
            write_predictions(path, _collect(task, work, refit, failure), about(kind))
        with new_folder(model) as folder:
            if not failure:
                shutil.copytree(work / _BUNDLE, folder, dirs_exist_ok=True)
            write_json(folder / PROVENANCE, {**about("model"), "status": status})
    write_json(
        fit,
        {
            **about("fit"),
            "status": status,
            "error": asdict(failure) if failure else None,
            "folds": [],
            "n_parameters": None,
            "feature_importance": None,
            **found,
        },
    )
    return _summary(task, failure, found)


def _task(job: Job, matrix: Path, index: Path, seed: int, accelerator: str) -> Task:
    """Read and check everything before the child process starts."""
    kind = load_model(job.model)
    info = models()[job.model]
    if info.family in COMBINERS:
        raise InputError(f"{job.model} combines the predictions of other models: the stacking stage fits it")
    settings = parse(kind, {**job.params, "seed": seed}, f"models.{job.model}").settings()
    steps = steps_of(parse(kind, settings, job.model))
    source, columns, timeframes = _source(matrix, info.feature_set, steps)
    contract = Contract(
        model=job.model,
        family=info.family,
        horizon=job.horizon,
        feature_set=info.feature_set,
        columns=columns,
        steps=steps,
        timeframes=timeframes,
    )
    rows = read_index(index)
    check_source(source, columns, rows, job.horizon, steps)
    return Task(contract, settings, source, rows, accelerator not in ("", "0"))


def _source(path: Path, feature_set: str, steps: int) -> tuple[Source, tuple[str, ...], tuple[int, ...]]:
    """Read what the family's models read, with its columns and timeframes."""
    if feature_set == RAW:
        windows = BarWindows.of(read_raw_bars(path), steps)
        return windows, windows.channels, windows.timeframes
    table = read_matrix(path, feature_set)
    return table.values, table.columns, ()


def _fit_all(task: Task, folder: Path) -> None:
    """Fit every fold and then all development rows; leave predictions, the last model and facts in ``folder``."""
    facts, last = [], None
    folds = (*range(task.index.n_folds), REFIT)
    what = f"{task.contract.model}, horizon {task.contract.horizon}"
    for done, fold in enumerate(folds, start=1):
        context.set(Context(f"{what}, {name_of(fold)}", task.accelerator))
        last = fit_fold(task.model(), task.contract, task.source, task.index, fold)
        np.save(folder / f"rows{fold}.npy", last.row)
        np.save(folder / f"probability{fold}.npy", last.probability)
        facts.append(last.facts)
        progress(what, done, len(folds))
    assert last is not None
    last.bundle.save(folder / _BUNDLE)
    fitted = last.bundle.model
    write_json(
        folder / _FACTS,
        {
            "folds": facts,
            "n_parameters": fitted.n_parameters_,
            "feature_importance": importance_of(fitted, task.contract.columns),
        },
    )


def _collect(task: Task, work: Path, refit: bool, failure: Failure | None) -> Predictions:
    """Put the child's predictions together: of the folds, or of the refitted model."""
    contract = task.contract
    if failure:
        return failed(contract.model, contract.family, contract.horizon)
    folds = [REFIT] if refit else list(range(task.index.n_folds))
    rows = [np.load(work / f"rows{fold}.npy", allow_pickle=False) for fold in folds]
    probability = [np.load(work / f"probability{fold}.npy", allow_pickle=False) for fold in folds]
    row = np.concatenate(rows)
    return Predictions(
        row=row,
        minute=task.index.minute[row],
        fold=np.repeat(np.array(folds, np.int64), [len(part) for part in rows]),
        probability=np.concatenate(probability),
        model=contract.model,
        family=contract.family,
        horizon=contract.horizon,
    )


def _summary(task: Task, failure: Failure | None, found: dict[str, Any]) -> Summary:
    what = f"{task.contract.model}, horizon {task.contract.horizon}"
    if failure:
        return Summary(
            f"{what}: failed, {failure.type}: {failure.message.partition(chr(10))[0]}", {"failed": 1}
        )
    *folds, refit = found["folds"]
    predicted = sum(fold["held_out_rows"] for fold in folds)
    line = (
        f"{what}: {len(folds)} folds, {predicted:,} rows out of fold, {refit['held_out_rows']:,} of the test"
    )
    return Summary(line, {"rows": predicted, "test_rows": refit["held_out_rows"]})


if __name__ == "__main__":
    main(run)
