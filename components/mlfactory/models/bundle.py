"""A trained model with all that predicting needs: its scaler, and the contract that says what it reads."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.artifacts import read_json, write_json
from mlfactory.common.bars import Floats, Ints
from mlfactory.common.errors import InputError
from mlfactory.common.multi_resolution import BarWindows, MultiResolutionDataset
from mlfactory.common.params import parse
from mlfactory.common.predictions import CLASSES
from mlfactory.common.raw_bars import RawBars
from mlfactory.common.scaling import Scaler
from mlfactory.common.windows import Windows, valid_ends
from mlfactory.models.protocol import Model
from mlfactory.models.registry import load_model

_CONTRACT: Final = "contract.json"
_SCALER: Final = "scaler.json"
_MODEL: Final = "model"

Table = NDArray[np.float32]


@dataclass(frozen=True)
class Columns:
    """Columns of an unscaled matrix; the others are neither read nor copied."""

    values: Table
    """shape (n, columns of the matrix); may be memory-mapped"""
    names: tuple[str, ...]
    """of the columns chosen, in the order that a model reads them"""
    at: Ints
    """shape (len(names),); their positions in the matrix"""

    @classmethod
    def of(cls, values: Table, names: Sequence[str]) -> "Columns":
        """All columns of a matrix, by name.

        Raises:
            InputError: another number of columns than names.
        """
        if values.shape[1] != len(names):
            raise InputError(f"the matrix has {values.shape[1]} columns; {len(names)} are named")
        return cls(values, tuple(names), np.arange(len(names)))

    def __len__(self) -> int:
        return len(self.values)

    def keep(self, names: Sequence[str]) -> "Columns":
        """Choose among the columns.

        Raises:
            InputError: a name is not among them.
        """
        position = dict(zip(self.names, self.at.tolist(), strict=True))
        if missing := [name for name in names if name not in position]:
            raise InputError(f"the matrix has no column {', '.join(missing)}")
        return Columns(self.values, tuple(names), np.array([position[name] for name in names], np.int64))

    def rows(self, rows: Ints) -> Table:
        """Copy some rows, shape (len(rows), columns), row-major."""
        return np.ascontiguousarray(self.values[rows[:, None], self.at])

    def table(self) -> Table:
        """All rows, shape (n, columns): the matrix itself where every column is chosen."""
        if np.array_equal(self.at, np.arange(self.values.shape[1])):
            return self.values
        return np.ascontiguousarray(self.values[:, self.at])


Source = Columns | BarWindows
"""What a model reads: columns of a matrix of n rows, or the windows of raw bars of n rows."""


@dataclass(frozen=True)
class Contract:
    """What a trained model reads and says."""

    model: str
    family: str
    horizon: int
    """bars"""
    feature_set: str
    columns: tuple[str, ...]
    """columns of the matrix, or channels of the raw bars, in order"""
    steps: int
    """rows, or bars per timeframe, that one prediction reads: its own and those before it; 1 for tabular models"""
    timeframes: tuple[int, ...] = ()
    """of the raw bars, in minutes; empty for models that read a matrix"""
    classes: tuple[str, ...] = CLASSES


@dataclass(frozen=True)
class Bundle:
    """A trained model that predicts rows of a matrix."""

    model: Model
    scaler: Scaler
    contract: Contract

    def predict(self, values: Table | RawBars, segment: Ints, rows: Ints) -> tuple[Ints, Floats]:
        """Predict the rows that have full windows.

        Args:
            values: the contract's columns unscaled, shape (n, columns), or the raw bars of n rows.
            segment: shape (n,).
            rows: shape (m,); rows to predict.

        Returns:
            the rows predicted, shape (k,), in the order given; and their probabilities, shape (k, 3)

        Raises:
            InputError: other columns, timeframes or channels than the model was fitted on.
        """
        source = self._source(values)
        rows = rows[full_rows(source, segment, self.contract.steps)[rows]]
        return rows, self.model.predict_proba(Inputs(self.model, self.scaler, source).at(rows))

    def _source(self, values: Table | RawBars) -> Source:
        if not isinstance(values, RawBars):
            return Columns.of(values, self.contract.columns)
        for what, found, expected in (
            ("timeframes", values.timeframes, self.contract.timeframes),
            ("channels", values.channels, self.contract.columns),
        ):
            if tuple(found) != tuple(expected):
                raise InputError(
                    f"the raw bars have {what} {found}; {self.contract.model} was fitted on {expected}"
                )
        return BarWindows.of(values, self.contract.steps)

    def save(self, folder: Path) -> None:
        """Write model, scaler and contract into ``folder``."""
        self.model.save(folder / _MODEL)
        write_json(folder / _SCALER, self.scaler.to_dict())
        write_json(folder / _CONTRACT, asdict(self.contract))

    @classmethod
    def load(cls, folder: Path) -> "Bundle":
        """Restore a saved bundle; nothing in its files is executed.

        Raises:
            InputError: a file is missing, damaged or hostile, or the model is not in the registry.
        """
        stated: Any = read_json(folder / _CONTRACT)
        if not isinstance(stated, dict):
            raise InputError(f"{folder / _CONTRACT} holds no contract")
        contract = parse(Contract, stated, "contract")
        scaler = Scaler.from_dict(read_json(folder / _SCALER))
        return cls(load_model(contract.model).load(folder / _MODEL), scaler, contract)


def steps_of(model: Model) -> int:
    """Rows, or bars per timeframe, that one prediction of the model reads."""
    return 1 if model.input == "tabular" else int(model.settings()["steps"])


def full_rows(source: Source, segment: Ints, steps: int) -> NDArray[np.bool_]:
    """Tell which rows have a full window in their segment.

    Args:
        source: what the model reads.
        segment: shape (n,), ascending.
        steps: rows per window of a matrix; 1 for tabular models.

    Returns:
        shape (n,)
    """
    if isinstance(source, BarWindows):
        return source.full
    full = np.zeros(len(segment), np.bool_)
    full[valid_ends(segment, np.arange(len(segment)), steps)] = True
    return full


class Inputs:
    """What a model reads of a source: rows scaled when asked for, or windows of one table that is scaled once."""

    def __init__(self, model: Model, scaler: Scaler, source: Source) -> None:
        """Scale a matrix where the model reads windows of it; windows of raw bars carry their own scale."""
        self._scaler, self._steps, self._source = scaler, steps_of(model), source
        self._table: Table | None = None
        if model.input == "sequence" and isinstance(source, Columns):
            self._table = np.ascontiguousarray(scaler.transform(source.table()))

    def at(self, rows: Ints) -> Table | Windows | MultiResolutionDataset:
        """Give what the model reads at ``rows``: a table (rows, columns), or the windows that end there."""
        if isinstance(self._source, BarWindows):
            return self._source.at(rows)
        if self._table is not None:
            return Windows(self._table, rows, self._steps)
        return self._scaler.transform(self._source.rows(rows))
