"""Train one model at one horizon: on every fold for out-of-fold predictions, and on all development rows."""

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
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
    size,
    to_json,
    write_json,
)
from mlfactory.common.errors import InputError
from mlfactory.common.index import Index, read_index
from mlfactory.common.machine import limit_bytes
from mlfactory.common.multi_resolution import BarWindows
from mlfactory.common.params import parse
from mlfactory.common.predictions import COMBINERS, FAILED, OK, Predictions, failed, write_predictions
from mlfactory.common.raw_bars import KIND as RAW
from mlfactory.common.raw_bars import read_raw_bars
from mlfactory.common.splits import REFIT, TRAIN
from mlfactory.common.stage import Summary, main, progress
from mlfactory.models.bundle import Columns, Contract, Source, steps_of
from mlfactory.models.checkpoint import Checkpoints, Slot
from mlfactory.models.memory import refuse_excess
from mlfactory.models.protocol import Context, Model, context
from mlfactory.models.registry import load_model, models, source_version
from mlfactory.train.child import Failure, isolated
from mlfactory.train.comparison import Pair, compare
from mlfactory.train.fitting import FoldFit, check_source, explanation_of, fit_fold, importance_of, name_of
from mlfactory.train.params import Job, Reading, Selection, Weighting
from mlfactory.train.selection import stability
from mlfactory.train.workers import side_by_side, wanted

_FACTS: Final = "facts.json"
_BUNDLE: Final = "bundle"


@dataclass(frozen=True)
class Task:
    """A job with all that its folds share."""

    contract: Contract
    settings: dict[str, Any]
    """the model's hyper-parameters, with the seed"""
    source: Source
    reading: Reading
    read_bytes: dict[str, int]
    """size of every input artifact: what a step downloads"""
    index: Index
    accelerator: bool
    trials: int = 0
    """hyper-parameter settings to try in each fold"""
    checkpoints: Checkpoints | None = None

    def slot(self, name: str) -> Slot | None:
        """Name a checkpoint; None where the task keeps none."""
        return None if self.checkpoints is None else self.checkpoints.slot(name)

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
    checkpoint_uri: str = "",
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
        checkpoint_uri: folder or object store where finished folds and epochs are kept until the task ends, so that
            a killed task goes on from there; empty for none.

    Raises:
        InputError: an unknown model, horizon or hyper-parameter, a value in the matrix that is not finite, or a
            ``checkpoint_uri`` that cannot be written to.
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
    task = replace(task, checkpoints=_checkpoints(checkpoint_uri, common))

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
            "feature_set": task.contract.feature_set,
            "available_columns": len(task.contract.columns),
            "read_bytes": task.read_bytes,
            "selection": job.reading.selection.model_dump(),
            "trials": max(1, job.tune),
            "weights": job.reading.weights.model_dump(),
            "scaling": None,
            "stability": None,
            "comparison": None,
            "explanation": None,
            **found,
        },
    )
    if task.checkpoints is not None and not failure:
        task.checkpoints.clear()
    return _summary(task, failure, found)


def _checkpoints(uri: str, about: Provenance) -> Checkpoints | None:
    """Name the task's checkpoints by the hash of its inputs, its settings and the code."""
    if not uri:
        return None
    key = hashlib.sha256(to_json(about).encode()).hexdigest()[:32]
    checkpoints = Checkpoints(uri, key)
    checkpoints.check()
    return checkpoints


def _task(job: Job, matrix: Path, index: Path, seed: int, accelerator: str) -> Task:
    """Read and check everything before the child process starts."""
    kind = load_model(job.model)
    info = models()[job.model]
    if info.family in COMBINERS:
        raise InputError(f"{job.model} combines the predictions of other models: the stacking stage fits it")
    if job.tune and not kind.search:
        able = ", ".join(name for name, known in models().items() if known.search)
        raise InputError(f"tune: {job.model} declares no hyper-parameters to search; those that do: {able}")
    settings = parse(kind, {**job.params, "seed": seed}, f"models.{job.model}").settings()
    steps = steps_of(parse(kind, settings, job.model))
    rows = read_index(index)
    if "gap" in settings:  # labels that overlap must not meet inside the fit either
        every = rows.rows(job.horizon, REFIT, TRAIN)
        settings["gap"] = max(settings["gap"], rows.longest_overlap(job.horizon, every))
    source, timeframes = _source(matrix, info.feature_set, job, steps)
    contract = Contract(
        model=job.model,
        family=info.family,
        horizon=job.horizon,
        feature_set=job.reading.feature_set or info.feature_set,
        columns=source.names if isinstance(source, Columns) else source.channels,
        steps=steps,
        timeframes=timeframes,
    )
    check_source(source, rows, job.horizon, steps)
    sizes = {"matrix": size(matrix), "index": size(index)}
    return Task(contract, settings, source, job.reading, sizes, rows, accelerator not in ("", "0"), job.tune)


def _source(path: Path, own_set: str, job: Job, steps: int) -> tuple[Source, tuple[int, ...]]:
    """Read what the job's model reads, and the timeframes of raw bars.

    Raises:
        InputError: the matrix does not hold the job's feature set, or a model that reads raw bars is given one.
    """
    if own_set == RAW:
        if job.reading.model_copy(update={"weights": Weighting()}) not in (
            Reading(),
            Reading(feature_set=RAW),
        ):
            raise InputError(
                f"{job.model} reads raw bars, which carry their own scale: it takes no feature_set, scaling or "
                "selection"
            )
        windows = BarWindows.of(read_raw_bars(path), steps)
        return windows, windows.timeframes
    table = read_matrix(path, own_set)
    every = Columns.of(table.values, table.columns)
    sets = {own_set: list(table.columns), **table.facts.get("sets", {})}
    wanted = job.reading.feature_set or own_set
    if wanted not in sets:
        raise InputError(
            f"{job.model} is to read the feature set {wanted!r}, which {path.name} does not hold; it holds "
            f"{', '.join(sets)}: name it in dataset.extra_sets.{own_set}"
        )
    return every.keep(sets[wanted]), ()


def _fit_all(task: Task, folder: Path) -> None:
    """Fit every fold and all development rows; leave predictions, the last model and facts in ``folder``."""
    workers = _workers(task)
    folds = [*range(task.index.n_folds), REFIT]
    selection = task.reading.selection
    compared = selection.method != "none" and selection.compare
    what = f"{task.contract.model}, horizon {task.contract.horizon}"

    def work(fold: int) -> tuple[dict[str, Any], dict[str, Any]]:
        if fold == REFIT:
            return _refit(task, folder, what)
        return _fold(task, fold, what, compared=compared)

    facts: list[dict[str, Any]] = []
    pairs: list[Pair] = []
    for fold, (arrays, told) in zip(folds, side_by_side(work, folds, workers), strict=True):
        _keep(folder, fold, arrays)
        facts.append(told)
        if "whole" in arrays:
            pairs.append(Pair(arrays["row"], arrays["probability"], arrays["whole"]))
        progress(what, len(facts), len(folds))
    found: dict[str, Any] = {**facts[-1].pop("fitted"), "folds": facts}
    if selection.method != "none":
        available = len(task.contract.columns)
        found["stability"] = stability([fold["columns"] for fold in facts[:-1]], available)
    if pairs:
        found["comparison"] = compare(pairs, task.index, task.contract.horizon, task.settings["seed"])
    write_json(folder / _FACTS, found)


def _refit(task: Task, folder: Path, what: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fit all development rows and save the model; give rows and probabilities of the test, and facts."""
    last = _fit(task, REFIT, what, task.reading)
    last.bundle.save(folder / _BUNDLE)
    model = last.bundle.model
    fitted = {
        "n_parameters": model.n_parameters_,
        "feature_importance": importance_of(model, last.bundle.contract.columns),
        "explanation": explanation_of(model, last.bundle.contract),
        "scaling": last.bundle.scaler.kind,
    }
    return {"row": last.row, "probability": last.probability}, {**last.facts, "fitted": fitted}


def _fold(task: Task, fold: int, what: str, *, compared: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give rows, probabilities and facts of a fold: of its checkpoint where it was finished before."""
    slot = task.slot(f"fold-{fold}")
    if slot and (kept := slot.read()):
        return kept
    done = _fit(task, fold, what, task.reading)
    arrays = {"row": done.row, "probability": done.probability}
    if compared:
        every = task.reading.model_copy(update={"selection": Selection()})
        arrays["whole"] = _fit(task, fold, f"{what}, all columns", every).probability
    if slot:
        slot.write(arrays, done.facts)
    return arrays, done.facts


def _fit(task: Task, fold: int, what: str, reading: Reading) -> FoldFit:
    columns = "" if reading == task.reading else "-all-columns"
    slot = task.slot(f"fold-{fold}-epoch{columns}")
    context.set(Context(f"{what}, {name_of(fold)}", task.accelerator, slot))
    return fit_fold(
        task.model(), task.contract, task.source, task.index, fold, reading=reading, trials=task.trials
    )


def _keep(folder: Path, fold: int, arrays: Mapping[str, Any]) -> None:
    np.save(folder / f"rows{fold}.npy", arrays["row"])
    np.save(folder / f"probability{fold}.npy", arrays["probability"])


def _workers(task: Task) -> int:
    """Decide how many folds are fitted at once: as many as cores and memory allow, one where a GPU may be used.

    Raises:
        MemoryError: not even one fit would go into memory; states the estimate, its parts and the limit.
    """
    source, limit = task.source, limit_bytes()
    columns = len(task.contract.columns)
    held = source.table.nbytes if isinstance(source, BarWindows) else 4 * len(source) * columns
    rows = len(task.index.rows(task.contract.horizon, REFIT, TRAIN))
    fit = task.model().memory_estimate(rows, columns)
    shrink = (
        "dataset.stride"
        if task.contract.steps == 1
        else f"dataset.stride, or a smaller model.{task.contract.model}.batch_rows"
    )
    remedy = f"give the step more memory, a larger {shrink}"
    what = f"{task.contract.model}, horizon {task.contract.horizon},"
    refuse_excess(what, {"table": held, **fit}, limit, remedy)
    if models()[task.contract.model].device != "cpu":
        return 1
    return max(1, min(wanted(), (limit - held) // max(1, sum(fit.values()))))


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
