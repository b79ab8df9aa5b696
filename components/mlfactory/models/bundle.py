"""A trained model with all that predicting needs: its scaler, and the contract that says what it reads."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.artifacts import read_json, write_json
from mlfactory.common.bars import Floats, Ints
from mlfactory.common.errors import InputError
from mlfactory.common.params import parse
from mlfactory.common.predictions import CLASSES
from mlfactory.common.scaling import Scaler
from mlfactory.common.windows import Windows, valid_ends
from mlfactory.models.protocol import Model
from mlfactory.models.registry import load_model

_CONTRACT: Final = "contract.json"
_SCALER: Final = "scaler.json"
_MODEL: Final = "model"


@dataclass(frozen=True)
class Contract:
    """What a trained model reads and says."""

    model: str
    family: str
    horizon: int
    """bars"""
    feature_set: str
    columns: tuple[str, ...]
    """columns of the matrix, in order"""
    steps: int
    """rows that one prediction reads: its own and those before it; 1 for tabular models"""
    classes: tuple[str, ...] = CLASSES


@dataclass(frozen=True)
class Bundle:
    """A trained model that predicts rows of a matrix."""

    model: Model
    scaler: Scaler
    contract: Contract

    def predict(self, values: NDArray[np.float32], segment: Ints, rows: Ints) -> tuple[Ints, Floats]:
        """Predict the rows that have enough rows of their segment before them.

        Args:
            values: shape (n, columns); the unscaled matrix.
            segment: shape (n,).
            rows: shape (m,); rows to predict.

        Returns:
            the rows predicted, shape (k,), in the order given; and their probabilities, shape (k, 3)
        """
        rows = valid_ends(segment, rows, self.contract.steps)
        return rows, self.model.predict_proba(Inputs(self.model, self.scaler, values).at(rows))

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
    """Rows that one prediction of the model reads."""
    return int(model.settings()["steps"]) if model.input == "sequence" else 1


class Inputs:
    """A matrix as a model reads it: rows scaled when asked for, or windows of one table that is scaled once."""

    def __init__(self, model: Model, scaler: Scaler, values: NDArray[np.float32]) -> None:
        """Scale ``values``, shape (n, columns), where the model reads windows of it."""
        self._scaler, self._steps = scaler, steps_of(model)
        windows = model.input == "sequence"
        self._table = np.ascontiguousarray(scaler.transform(values)) if windows else None
        self._values = values

    def at(self, rows: Ints) -> NDArray[np.float32] | Windows:
        """Give what the model reads at ``rows``: a table (rows, columns), or the windows that end there."""
        if self._table is not None:
            return Windows(self._table, rows, self._steps)
        return self._scaler.transform(np.ascontiguousarray(self._values[rows]))
