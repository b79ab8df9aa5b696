"""Blending: combinations learned on early rows, mixed by how they did on a purged hold-out of later ones."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlfactory.common.bars import Floats
from mlfactory.models.arrays import ArrayModel
from mlfactory.models.ensemble.stacking import Stacking
from mlfactory.models.ensemble.voting import Voting
from mlfactory.models.protocol import N_CLASSES, Classes, Sample, checked, probabilities
from mlfactory.models.stacked import by_model, frequencies, pool_weights, purged_tail
from mlfactory.models.storage import Arrays

_CANDIDATES: Final = ("frequencies", "equal", "likelihood", "stacking")
"""forecasts that are blended; the class frequencies are the one that needs no skill"""


@dataclass
class Blending(ArrayModel):
    """Convex mixture of class frequencies, equal votes, likelihood-weighted votes and stacking.

    Each is fitted on the rows before the hold-out, which is the last ``hold_out`` of the rows, without the ``gap``
    before it. On the hold-out the mixture with the best log loss is found; then each is fitted on all rows.
    Early and late rows thus have different roles, and the mixture leans on what held in the most recent stretch.

    ``X`` holds probabilities, shape (rows, 3 x models), rows in order of time, three columns per model.
    """

    source: ClassVar[str] = (
        "Toscher, Jahrer and Bell (2009), The BigChaos solution to the Netflix grand prize"
    )

    hold_out: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """last share of the rows, on which the mixture is found"""
    gap: Annotated[int, Field(ge=0)] = 60
    """rows left out before the hold-out; at least the longest label's rows"""

    def __post_init__(self) -> None:
        self._parts: tuple[Voting, Stacking] | None = None
        self._prior: Floats = np.zeros(N_CLASSES)
        self._share: Floats = np.zeros(len(_CANDIDATES))

    def fit(self, X: NDArray[Any], y: Classes, weight: Floats, validation: Sample | None = None) -> Self:
        train = checked(X, y, weight)
        early, late = purged_tail(len(train.X), self.hold_out, self.gap)
        self._learn(train.X[early], train.y[early], train.weight[early])
        p = self._candidates(train.X[late])
        self._share = pool_weights(p[np.arange(len(p)), :, train.y[late]], train.weight[late])
        self._learn(train.X, train.y, train.weight)
        self.n_parameters_ = len(self._share)
        return self

    def _learn(self, X: NDArray[Any], y: Classes, weight: Floats) -> None:
        self.features_ = X.shape[1]
        self._prior = frequencies(y, weight)
        votes, stacking = self._unfitted()
        self._parts = votes.fit(X, y, weight), stacking.fit(X, y, weight)

    def _candidates(self, X: NDArray[Any]) -> Floats:
        """Forecasts of every candidate, shape (rows, candidates, 3)."""
        assert self._parts is not None
        votes, stacking = self._parts
        prior = np.broadcast_to(self._prior, (len(X), N_CLASSES))
        equal = by_model(X).mean(axis=1)
        return np.stack([prior, equal, votes.predict_proba(X), stacking.predict_proba(X)], axis=1)

    def predict_proba(self, X: NDArray[Any]) -> Floats:
        self.readable(X)
        return probabilities(np.einsum("nck,c->nk", self._candidates(X), self._share))

    def state(self) -> Arrays:
        votes, stacking = self._parts or self._unfitted()
        return {"prior": self._prior, "mixture": self._share, **votes.state(), **stacking.state()}

    def restore(self, arrays: Arrays) -> None:
        votes, stacking = self._parts = self._unfitted()
        for part in (votes, stacking):
            part.features_ = self.features_
            part.restore(arrays)
        self._prior, self._share = arrays["prior"], arrays["mixture"]
        if self._prior.shape != (N_CLASSES,) or self._share.shape != (len(_CANDIDATES),):
            raise ValueError("its arrays do not fit together")

    def _unfitted(self) -> tuple[Voting, Stacking]:
        return Voting(seed=self.seed), Stacking(seed=self.seed, gap=self.gap)


MODEL = Blending
