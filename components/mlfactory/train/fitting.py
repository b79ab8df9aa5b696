"""One fold of one model: which rows it may learn from, and what it learns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.bars import Floats, Ints
from mlfactory.common.errors import InputError
from mlfactory.common.index import LAST, Index
from mlfactory.common.multi_resolution import BarWindows
from mlfactory.common.scaling import Scaler, Scaling
from mlfactory.common.splits import HELD_OUT, INNER, REFIT, TRAIN, UNUSED, clear_of
from mlfactory.common.windows import Windows, valid_ends
from mlfactory.models.bundle import Bundle, Columns, Contract, Inputs, Source
from mlfactory.models.protocol import Model, Sample, finite
from mlfactory.models.sequence import finite_windows
from mlfactory.train.params import Reading, Weighting
from mlfactory.train.selection import best, inner_folds, loss, mutual_information, permutation
from mlfactory.train.tuning import INNER_FOLDS, tune
from mlfactory.train.weighting import Interval, row_weights

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class FoldRows:
    """Matrix rows of one fold, ascending."""

    train: Ints
    inner: Ints
    """validation rows for early stopping, purged from ``train``"""
    held_out: Ints


@dataclass(frozen=True)
class FoldFit:
    """What one fold gave."""

    bundle: Bundle
    row: Ints
    """held-out rows that the model predicts, shape (n,)"""
    probability: Floats
    """shape (n, 3)"""
    facts: dict[str, Any]


def fold_rows(
    index: Index, horizon: int, fold: int, steps: int, windows: BarWindows | None = None
) -> FoldRows:
    """Choose the rows of a fold that a model reading ``steps`` rows at once may use.

    Rows without a full window are left out; so are training and validation rows whose window reaches into the
    held-out rows, their spans or their embargo.

    Args:
        index: of all folds.
        horizon: bars.
        fold: 0 to ``n_folds - 1``, or ``REFIT``.
        steps: rows per window; 1 for tabular models.
        windows: of raw bars, where the model reads those in place of rows.

    Raises:
        InputError: no training rows are left, or no inner rows although the index has some.
    """
    reach = Reach.of_rows(index, steps) if windows is None else Reach(windows.full, windows.first_bar)
    sealed = index.sealed_bars(horizon, fold)

    def learnable(code: int) -> Ints:
        rows = index.rows(horizon, fold, code)
        ends = rows[reach.full[rows]]
        kept = ends[clear_of(sealed, reach.first_bar[ends], index.bar[ends])]
        if len(kept) == 0 and (len(rows) or code == TRAIN):
            raise InputError(
                f"{name_of(fold)} keeps none of its {len(rows)} rows of code {code} for windows of {steps} steps: "
                "give more bars, fewer folds or shorter windows"
            )
        return kept

    held_out = index.rows(horizon, fold, HELD_OUT)
    return FoldRows(learnable(TRAIN), learnable(INNER), held_out[reach.full[held_out]])


def without_validation(rows: FoldRows) -> FoldRows:
    """Count the validation rows among the training rows, for a model that does not stop early."""
    return replace(rows, train=np.sort(np.concatenate([rows.train, rows.inner])), inner=rows.inner[:0])


@dataclass(frozen=True)
class Reach:
    """How far back the windows of rows go; arrays of shape (n,)."""

    full: Bools
    """rows that have a full window"""
    first_bar: Ints
    """position of the first bar in the window of a full row"""

    @classmethod
    def of_rows(cls, index: Index, steps: int) -> "Reach":
        """Reach of windows of ``steps`` consecutive rows."""
        every = np.arange(len(index))
        full = np.zeros(len(index), np.bool_)
        full[valid_ends(index.segment, every, steps)] = True
        return cls(full, index.bar[np.maximum(every - (steps - 1), 0)])


def fit_fold(  # noqa: PLR0913  (what a fold consists of, and how to fit it)
    model: Model,
    contract: Contract,
    source: Source,
    index: Index,
    fold: int,
    rows: FoldRows | None = None,
    reading: Reading = Reading(),  # noqa: B008  (frozen)
    trials: int = 0,
) -> FoldFit:
    """Choose columns and hyper-parameters, fit on a fold's training rows, and predict its held-out rows.

    Args:
        model: with its hyper-parameters set; it is fitted here.
        contract: of the job; the bundle's contract states the columns that were chosen.
        source: the columns of the job's feature set, or the windows of raw bars.
        index: of the source's rows.
        fold: 0 to ``n_folds - 1``, or ``REFIT``.
        rows: other rows than the index's; for tests of what a leak would do.
        reading: scaling and selection of columns.
        trials: settings of hyper-parameters to try; 0 keeps the model's own.
    """
    windows = source if isinstance(source, BarWindows) else None
    rows = rows or fold_rows(index, contract.horizon, fold, contract.steps, windows)
    if not model.stops_early:
        rows = without_validation(rows)
    barred = barred_bars(index, contract.horizon, fold, rows.train)
    if isinstance(source, Columns) and reading.selection.method != "none":
        score = column_scores(model, contract, source, index, (fold, rows.train), reading)
        source = source.keep([source.names[j] for j in best(score, reading.selection.columns)])
        contract = replace(contract, columns=source.names)
    tuned = None
    if trials:
        share = len(rows.inner) / (len(rows.inner) + len(rows.train))
        model, tuned = tune(
            model, trials, partial(inner_losses, contract, source, index, (fold, rows.train), reading, share)
        )
    scaler = fit_scaler(model, source, rows.train, reading.scaling)
    inputs = Inputs(model, scaler, source)
    draw = Sampling(inputs, index, contract.horizon, reading.weights)
    train = draw(rows.train, barred[TRAIN])
    inner = draw(rows.inner, barred[INNER]) if len(rows.inner) else None
    extra: dict[str, Any] = (
        {"returns": index.long_net[contract.horizon][rows.train]} if model.uses_returns else {}
    )
    model.fit(*train, validation=inner, **extra)
    facts = {
        "fold": fold,
        "train_rows": len(rows.train),
        "inner_rows": len(rows.inner),
        "held_out_rows": len(rows.held_out),
        "best_iteration": model.best_iteration_,
        "inner_log_loss": None if inner is None else loss(model.predict_proba(inner.X), inner),
        "columns": list(contract.columns) if reading.selection.method != "none" else None,
        "tuned": tuned,
    }
    probability = model.predict_proba(inputs.at(rows.held_out))
    return FoldFit(Bundle(model, scaler, contract), rows.held_out, probability, facts)


def barred_bars(index: Index, horizon: int, fold: int, train: Ints) -> dict[int, list[Interval]]:
    """Bars of which the training part of a fold knows nothing, and its inner part unless that is trained on too."""
    sealed, inner = index.sealed_bars(horizon, fold), index.rows(horizon, fold, INNER)
    if not len(inner) or np.isin(inner, train).any():
        return {TRAIN: sealed}
    first = int(index.bar[inner[0]])
    return {TRAIN: [*sealed, (first, LAST)], INNER: [*sealed, (0, first - 1)]}


def column_scores(
    model: Model,
    contract: Contract,
    source: Columns,
    index: Index,
    train: tuple[int, Ints],
    reading: Reading,
) -> Floats:
    """Score the columns on a fold's training rows: the mean over purged folds of these rows.

    Args:
        model: with its hyper-parameters set; copies of it are fitted where the method needs fits.
        contract: of the job.
        source: columns to choose from.
        index: of the source's rows.
        train: number of the fold and its training rows, ascending.
        reading: scaling, and how to select.

    Returns:
        shape (columns,)
    """
    fold, rows = train
    horizon, how = contract.horizon, reading.selection
    barred = barred_bars(index, horizon, fold, rows)[TRAIN]
    reach = Reach.of_rows(index, contract.steps)
    parts = inner_folds(index, horizon, rows, reach.first_bar, how.folds)
    if how.method == "mutual_information":
        table, label = source.rows(rows), index.label[horizon][rows]
        weight = row_weights(index, horizon, rows, barred, reading.weights)
        scores = [
            mutual_information(
                table, label, weight, np.searchsorted(rows, part.train), np.searchsorted(rows, part.held_out)
            )
            for part in parts
        ]
        return np.asarray(np.mean(scores, axis=0))
    scores = []
    for k, part in enumerate(parts):
        copy = type(model)(**model.settings())
        scaler = fit_scaler(copy, source, part.train, reading.scaling)
        inputs = Inputs(copy, scaler, source)
        draw = Sampling(inputs, index, horizon, reading.weights)
        copy.fit(*draw(part.train, [*barred, part.sealed]))
        held_out = draw(part.held_out)
        scores.append(permutation(copy, held_out, (model.seed, fold + 1, k)))
    return np.asarray(np.mean(scores, axis=0))


def inner_losses(
    contract: Contract,
    source: Source,
    index: Index,
    train: tuple[int, Ints],
    reading: Reading,
    inner_fraction: float,
    model: Model,
) -> Iterator[float]:
    """Fit a model in purged folds of a fold's training rows, one after the other, and give the loss of each.

    Args:
        contract: of the job.
        source: what the model reads.
        index: of the source's rows.
        train: number of the fold and its training rows, ascending.
        reading: scaling and weights.
        inner_fraction: last share of the training rows of each fold that stops the fit early.
        model: with its hyper-parameters set; copies of it are fitted.

    Yields:
        log loss on the held-out rows of the next fold
    """
    fold, rows = train
    horizon = contract.horizon
    barred = barred_bars(index, horizon, fold, rows)[TRAIN]
    windows = source if isinstance(source, BarWindows) else None
    reach = (
        Reach.of_rows(index, contract.steps) if windows is None else Reach(windows.full, windows.first_bar)
    )
    for part in inner_folds(index, horizon, rows, reach.first_bar, INNER_FOLDS, inner_fraction):
        copy = type(model)(**model.settings())
        inputs = Inputs(copy, fit_scaler(copy, source, part.train, reading.scaling), source)
        draw = Sampling(inputs, index, horizon, reading.weights)
        known = [*barred, part.sealed]
        if len(part.inner):
            first = int(index.bar[part.inner[0]])
            inner = draw(part.inner, [*known, (0, first - 1)])
            copy.fit(*draw(part.train, [*known, (first, LAST)]), validation=inner)
        else:
            copy.fit(*draw(part.train, known))
        held_out = draw(part.held_out)
        yield loss(copy.predict_proba(held_out.X), held_out)


def fit_scaler(model: Model, source: Source, train: Ints, scaling: Scaling | Literal[""] = "") -> Scaler:
    """Fit a scaler on training rows alone; windows of raw bars carry their own scale.

    Args:
        model: its own kind is used where none is given.
        source: what the model reads.
        train: training rows.
        scaling: kind; empty for the model's own.
    """
    if isinstance(source, BarWindows):
        return Scaler.none(len(source.channels))
    return Scaler.fit(scaling or model.scaling, source.rows(train))


@dataclass(frozen=True)
class Sampling:
    """Gives what a model learns from at some rows: inputs, labels and weights."""

    inputs: Inputs
    index: Index
    horizon: int
    weighting: Weighting

    def __call__(self, rows: Ints, barred: Sequence[Interval] = ()) -> Sample:
        """Draw the sample of ``rows``, which know nothing of the bars ``barred``."""
        weight = row_weights(self.index, self.horizon, rows, barred, self.weighting)
        return Sample(self.inputs.at(rows), self.index.label[self.horizon][rows], weight)


def check_source(source: Source, index: Index, horizon: int, steps: int) -> None:
    """Refuse a matrix that holds NaN or infinity where a model would read it, and windows of other rows.

    Raises:
        InputError: another number of rows than the index, an unknown horizon, or a value that is not finite;
            names its column.
    """
    if len(source) != len(index):
        raise InputError(f"the matrix has {len(source)} rows; the index has {len(index)}")
    index.rows(horizon, REFIT, UNUSED)  # names the horizons when this one is not among them
    if isinstance(source, BarWindows):
        return
    used = np.flatnonzero((index.code[horizon] != UNUSED).any(axis=1))
    ends = valid_ends(index.segment, used, steps)
    if steps > 1:
        finite_windows(Windows(source.table(), ends, steps), source.names)
    else:
        for row in np.array_split(ends, max(1, len(ends) // 16_384)):
            _finite_rows(source, row)


def _finite_rows(source: Columns, rows: Ints) -> None:
    values = source.rows(rows)
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        finite(values[bad[:1]], source.names, int(rows[bad[0]]))


def name_of(fold: int) -> str:
    """Name a fold for people."""
    return "the refit" if fold == REFIT else f"fold {fold + 1}"


def importance_of(model: Model, columns: tuple[str, ...], most: int = 30) -> dict[str, float] | None:
    """The columns that matter most, with their shares, rounded; None where the model does not say."""
    if model.importance_ is None:
        return None
    shares = sorted(zip(columns, model.importance_, strict=True), key=lambda pair: (-pair[1], pair[0]))
    return {name: round(share, 6) for name, share in shares[:most] if share > 0}


def explanation_of(model: Model, contract: Contract) -> dict[str, Any] | None:
    """What the model attends to, with the names of what it reads; None where the model does not say."""
    if model.explanation_ is None:
        return None
    return {
        **model.explanation_,
        "columns": list(contract.columns),
        "timeframes": list(contract.timeframes),
        "steps": contract.steps,
    }
