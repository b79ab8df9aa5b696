"""Stacking: one coefficient per base model on its log-probabilities, whatever family it is of."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlfactory.common.bars import Floats
from mlfactory.models.arrays import ArrayModel
from mlfactory.models.protocol import (
    N_CLASSES,
    Classes,
    Sample,
    checked,
    one_thread,
    probabilities,
    softmax,
)
from mlfactory.models.stacked import frequencies, log_ratios, newton, purged_blocks
from mlfactory.models.storage import Arrays

_FREE = 1e-6  # penalty that keeps the biases of the classes finite


@dataclass
class Stacking(ArrayModel):
    """Logarithmic opinion pool: ``softmax(sum of coefficient * log-probability + bias of the class)``.

    A coefficient sharpens or flattens its model and may be negative: a model that errs with another is worth having
    against it. The ridge penalty on the coefficients is the one of ``penalties`` with the best log loss on
    ``blocks`` contiguous blocks, each predicted by a fit on the others without the ``gap`` rows beside it.

    ``X`` holds probabilities, shape (rows, 3 x models), rows in order of time, three columns per model.
    """

    source: ClassVar[str] = (
        "Wolpert (1992), Stacked generalization; Genest and Zidek (1986), Combining probability distributions"
    )

    penalties: tuple[Annotated[float, Field(gt=0)], ...] = (0.001, 0.01, 0.1, 1.0, 10.0)
    """ridge penalties to choose from, as shares of the summed weight"""
    blocks: Annotated[int, Field(ge=2)] = 5
    gap: Annotated[int, Field(ge=0)] = 60
    """rows left out on either side of a predicted block; at least the longest label's rows"""

    def __post_init__(self) -> None:
        self._coefficient: Floats = np.zeros(0)
        self._bias: Floats = np.zeros(N_CLASSES)

    def fit(self, X: NDArray[Any], y: Classes, weight: Floats, validation: Sample | None = None) -> Self:
        train = checked(X, y, weight)
        self.features_ = X.shape[1]
        with one_thread():
            design = _design(train.X)
            losses = [self._cross_loss(design, train, penalty) for penalty in self.penalties]
            chosen = self.penalties[int(np.argmin(losses))]
            found = _pool(design, train.y, train.weight, chosen)
        self._coefficient, self._bias = found[:-N_CLASSES], found[-N_CLASSES:]
        self.n_parameters_ = len(found)
        return self

    def _cross_loss(self, design: Floats, train: Sample, penalty: float) -> float:
        total = 0.0
        for block, away in purged_blocks(len(design), self.blocks, self.gap):
            if away.any():
                found = _pool(design[away], train.y[away], train.weight[away], penalty)
                p = softmax(design[block] @ found)[np.arange(len(block)), train.y[block]]
                total -= float(train.weight[block] @ np.log(np.maximum(p, 1e-300)))
        return total

    def predict_proba(self, X: NDArray[Any]) -> Floats:
        self.readable(X)
        logs = log_ratios(X).reshape(len(X), -1, N_CLASSES)
        return probabilities(softmax(np.einsum("nmk,m->nk", logs, self._coefficient) + self._bias))

    def state(self) -> Arrays:
        return {"coefficient": self._coefficient, "bias": self._bias}

    def restore(self, arrays: Arrays) -> None:
        self._coefficient, self._bias = arrays["coefficient"], arrays["bias"]
        if self._coefficient.shape != (self.features_ // N_CLASSES,) or self._bias.shape != (N_CLASSES,):
            raise ValueError("its coefficients do not fit the columns")


def _design(X: NDArray[Any]) -> Floats:
    """Derivative of each logit by each parameter, shape (rows, 3, models + 3)."""
    logs = log_ratios(X).reshape(len(X), -1, N_CLASSES)
    biases = np.broadcast_to(np.eye(N_CLASSES), (len(X), N_CLASSES, N_CLASSES))
    return np.concatenate([logs.transpose(0, 2, 1), biases], axis=2)


def _pool(design: Floats, y: Classes, weight: Floats, penalty: float) -> Floats:
    models = design.shape[2] - N_CLASSES
    start = np.r_[np.zeros(models), np.log(frequencies(y, weight))]
    ridge = np.r_[np.full(models, penalty * weight.sum()), np.full(N_CLASSES, _FREE)]
    return newton(design, y, weight, start, ridge)


MODEL = Stacking
