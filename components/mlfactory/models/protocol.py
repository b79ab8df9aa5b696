"""What every model is: a dataclass whose fields are its hyper-parameters, with four methods.

``fit`` learns, ``predict_proba`` gives the probabilities of short, flat and long, ``save`` and ``load`` keep
the model as data that executes nothing. What a fit found ends in an underscore.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.artifacts import read_json, sha256, write_json
from mlfactory.common.bars import Floats
from mlfactory.common.errors import InputError
from mlfactory.common.params import parse
from mlfactory.common.scaling import Scaling

if TYPE_CHECKING:
    from mlfactory.models.checkpoint import Slot

InputKind = Literal["tabular", "sequence", "multi_resolution"]
Classes = NDArray[np.int8]
N_CLASSES: Final = 3
FLOOR: Final = 1e-6
"""Smallest probability that a model gives: a surprise costs 14 nats, not infinity."""
SETTINGS: Final = "settings.json"
MOST_FEATURES: Final = 100_000


class Range(NamedTuple):
    """Values of one hyper-parameter that a search may try, both ends included; whole numbers where ``low`` is one."""

    low: float
    high: float
    log: bool = False
    """try orders of magnitude equally often"""


class Sample(NamedTuple):
    """Rows with their classes and weights."""

    X: Any
    """what the model's ``input`` says: float32 (rows, features), ``Windows`` or a ``MultiResolutionDataset``"""
    y: Classes
    """shape (rows,); 0 short, 1 flat, 2 long"""
    weight: Floats
    """shape (rows,)"""


@dataclass(frozen=True)
class Context:
    """Where a fit takes place; none of it is a hyper-parameter."""

    task: str = ""
    """what the lines of progress are about"""
    accelerator: bool = False
    """use a GPU where there is one"""
    checkpoint: "Slot | None" = None
    """where a network leaves its progress after each epoch, and finds it when it is fitted again"""


context: ContextVar[Context] = ContextVar("context", default=Context())  # noqa: B039  (it is frozen)


@dataclass
class Model(ABC):
    """Base of all models; a model file defines one subclass and names it ``MODEL``."""

    input: ClassVar[InputKind] = "tabular"
    scaling: ClassVar[Scaling] = "none"
    """how the features are scaled before they reach the model, fitted on its training rows alone"""
    device: ClassVar[Literal["cpu", "gpu"]] = "cpu"
    shape: ClassVar[Mapping[str, int]] = {"features": MOST_FEATURES}
    """what a fit learns of the shape of its input, each kept as ``<name>_``, and the largest size of it"""
    stops_early: ClassVar[bool] = False
    """a fit uses ``validation``; a model that does not is given those rows to learn from"""
    search: ClassVar[Mapping[str, Range]] = {}
    """hyper-parameters that tuning may choose, with their ranges; a model without any is not tuned"""
    bytes_per_value: ClassVar[int] = 0
    """memory that a fit takes at its peak for each value of the training rows, as measured, besides the rows"""
    uses_returns: ClassVar[bool] = False
    """``fit`` takes ``returns``, the net return of each training row's long trade, besides its class"""
    source: ClassVar[str]
    """paper"""

    seed: int = 0
    features_: int = field(default=0, init=False, repr=False)
    """columns that the model was fitted on"""
    best_iteration_: int | None = field(default=None, init=False, repr=False)
    """rounds or epochs that early stopping kept; None where the method has none"""
    n_parameters_: int | None = field(default=None, init=False, repr=False)
    importance_: list[float] | None = field(default=None, init=False, repr=False)
    """share of each feature, summing to one; None where the method has none"""
    explanation_: dict[str, list[float]] | None = field(default=None, init=False, repr=False)
    """what the fitted model attends to, by the name of the quantity; None where the method does not say"""

    @abstractmethod
    def fit(self, X: Any, y: Classes, weight: Floats, validation: Sample | None = None) -> Self:
        """Learn from weighted rows.

        Args:
            X: float32 (rows, features) for ``tabular`` models, ``Windows`` for ``sequence`` models, a
                ``MultiResolutionDataset`` for ``multi_resolution`` models.
            y: shape (rows,); classes 0, 1, 2; a class may be missing.
            weight: shape (rows,); only their ratios matter.
            validation: purged rows for early stopping; without them the full number of rounds is used.

        Raises:
            InputError: a value is NaN or infinite, or the shapes differ.
        """

    def memory_estimate(self, rows: int, columns: int) -> dict[str, int]:
        """Estimate the bytes that a fit holds besides the source it reads, by what they hold.

        Args:
            rows: training rows.
            columns: of a row, or channels of a bar.
        """
        parts = {"a copy of the training rows": 4 * rows * columns}
        return (
            {**parts, "working memory": self.bytes_per_value * rows * columns}
            if self.bytes_per_value
            else parts
        )

    @abstractmethod
    def predict_proba(self, X: Any) -> Floats:
        """Give the probabilities of short, flat and long: float64 (rows, 3), each row summing to one."""

    @abstractmethod
    def write(self, folder: Path) -> None:
        """Write the fitted state into an existing folder, in a format that executes nothing when read."""

    @abstractmethod
    def read(self, folder: Path) -> None:
        """Restore the fitted state.

        Raises:
            InputError: a file is missing or is not what ``write`` made.
        """

    def save(self, folder: Path) -> None:
        """Write the hyper-parameters and the fitted state; the same fit gives the same bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        self.write(folder)
        shape = {name: getattr(self, f"{name}_") for name in self.shape}
        write_json(folder / SETTINGS, {**shape, "settings": self.settings(), "files": _hashes(folder)})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Restore a saved model; nothing in its files is executed.

        The files' hashes come first: some libraries abort the process on a file that is cut short.

        Raises:
            InputError: a file is missing, damaged or hostile.
        """
        held = read_json(folder / SETTINGS)
        if not isinstance(held, dict) or not isinstance(held.get("settings"), dict):
            raise InputError(f"{folder / SETTINGS} holds no hyper-parameters")
        model = parse(cls, held["settings"], cls.__name__)
        for name, most in cls.shape.items():
            size = held.get(name, 0)
            if not isinstance(size, int) or not 0 < size <= most:
                raise InputError(f"{folder / SETTINGS} states {size!r} {name}")
            setattr(model, f"{name}_", size)
        if held.get("files") != (found := _hashes(folder)):
            raise InputError(
                f"the files of {folder} are not the ones that were saved: it holds {sorted(found)}"
            )
        model.read(folder)
        return model

    def readable(self, X: NDArray[Any]) -> None:
        """Refuse rows that the fitted model cannot read.

        Raises:
            InputError: another number of columns than at fit, or a value that is not finite.
        """
        finite(X)
        if X.shape[1] != self.features_:
            raise InputError(f"{X.shape[1]} columns; the model was fitted on {self.features_}")

    def settings(self) -> dict[str, Any]:
        """The hyper-parameters by name."""
        return {spec.name: getattr(self, spec.name) for spec in fields(self) if spec.init}


def _hashes(folder: Path) -> dict[str, str]:
    files = (path for path in folder.iterdir() if path.is_file() and path.name != SETTINGS)
    return {path.name: sha256(path) for path in sorted(files)}


def probabilities(raw: NDArray[Any], classes: NDArray[Any] | None = None) -> Floats:
    """Turn what a library predicts into float64 (rows, 3): absent classes filled, floored, summing to one.

    Args:
        raw: shape (rows, known classes); probabilities.
        classes: the class of each column; all three in order when omitted.
    """
    out = np.zeros((len(raw), N_CLASSES))
    out[:, range(N_CLASSES) if classes is None else classes] = raw
    out = np.maximum(out, FLOOR)
    return np.asarray(out / out.sum(axis=1, keepdims=True), dtype=np.float64)


def softmax(scores: Floats) -> Floats:
    """Exponentiate and normalise along the last axis, safe against overflow."""
    shifted = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


def checked(X: NDArray[Any], y: Classes, weight: Floats) -> Sample:
    """Check tabular training rows and scale their weights to a mean of one.

    Raises:
        InputError: no rows, shapes that differ, a class other than 0, 1, 2, a weight that is negative or not
            finite, or a feature that is.
    """
    finite(X)
    check_rows(len(X), y, weight)
    return Sample(X, y.astype(np.int8), weight / weight.mean())


def check_rows(rows: int, y: Classes, weight: Floats) -> None:
    """Check that there are rows, each with a class and a weight.

    Raises:
        InputError: no rows, lengths that differ, an unknown class, or a weight below zero or not finite.
    """
    if rows == 0 or len(y) != rows or len(weight) != rows:
        raise InputError(
            f"{rows} rows, {len(y)} classes and {len(weight)} weights: expected equally many, not none"
        )
    if not np.isin(y, range(N_CLASSES)).all():
        raise InputError(f"classes {np.unique(y).tolist()}: expected 0 short, 1 flat, 2 long")
    if not (np.isfinite(weight).all() and (weight >= 0).all() and weight.sum() > 0):
        raise InputError("weights must be finite, at least zero, and not all zero")


def finite(X: NDArray[Any], columns: tuple[str, ...] | None = None, first_row: int = 0) -> None:
    """Refuse NaN and infinity; ``first_row`` is the number of the first row, for the message.

    Raises:
        InputError: names the first column that holds one.
    """
    if X.ndim != 2:
        raise InputError(f"features have shape {X.shape}; expected (rows, features)")
    for start in range(0, len(X), _SLAB):
        slab = X[start : start + _SLAB]
        if np.isfinite(slab.sum(axis=1)).all():
            continue
        bad = ~np.isfinite(slab)
        if bad.any():  # a sum may overflow where its terms do not
            row, column = (int(position[0]) for position in np.nonzero(bad))
            name = columns[column] if columns else str(column)
            value, where = X[start + row, column], first_row + start + row
            raise InputError(f"column {name} is {value} at row {where}: expected a finite number")


_SLAB: Final = 16_384


def shares(values: list[float]) -> list[float]:
    """Divide by the sum; all zero where the sum is."""
    total = sum(values)
    return [value / total if total > 0 else 0.0 for value in values]


def one_thread() -> AbstractContextManager[Any]:
    """Hold the BLAS and OpenMP pools to one thread, so that sums are taken in one order."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    limit: AbstractContextManager[Any] = threadpool_limits(1)
    return limit
