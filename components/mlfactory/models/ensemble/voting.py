"""Voting: the weighted mean of the base models' probabilities."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.bars import Floats
from mlfactory.models.arrays import ArrayModel
from mlfactory.models.protocol import N_CLASSES, Classes, Sample, checked, probabilities
from mlfactory.models.stacked import by_model, pool_weights
from mlfactory.models.storage import Arrays


@dataclass
class Voting(ArrayModel):
    """Soft vote: every base model has one vote, or as large a share as makes the vote most likely.

    It changes no forecast, so it is never further from the classes that come than the worst of its voters.

    ``X`` holds probabilities, shape (rows, 3 x models), three columns per model.
    """

    source: ClassVar[str] = "Stone (1961), The opinion pool; Clemen (1989), Combining forecasts"

    shares: Literal["equal", "likelihood"] = "likelihood"
    """``equal`` votes, or the convex weights of the best log loss on the training rows"""

    def __post_init__(self) -> None:
        self._share: Floats = np.zeros(0)

    def fit(self, X: NDArray[Any], y: Classes, weight: Floats, validation: Sample | None = None) -> Self:
        train = checked(X, y, weight)
        self.features_ = X.shape[1]
        votes = by_model(train.X)
        self._share = np.full(votes.shape[1], 1 / votes.shape[1])
        if self.shares == "likelihood":
            self._share = pool_weights(votes[np.arange(len(votes)), :, train.y], train.weight)
            self.n_parameters_ = len(self._share)
        return self

    def predict_proba(self, X: NDArray[Any]) -> Floats:
        self.readable(X)
        return probabilities(np.einsum("nmk,m->nk", by_model(X), self._share))

    def state(self) -> Arrays:
        return {"share": self._share}

    def restore(self, arrays: Arrays) -> None:
        self._share = arrays["share"]
        if self._share.shape != (self.features_ // N_CLASSES,) or not (self._share >= 0).all():
            raise ValueError("its shares do not fit the columns")


MODEL = Voting
